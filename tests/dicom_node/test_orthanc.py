"""A node between real peers: DCMTK sends, Orthanc keeps, commits and finds. In a network namespace of the test's own."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from pacs import chest_film

from mtclip_edge.dicom_node.settings import CLASSES

FILMS = {uid for uids in CLASSES.values() for uid in uids}
HOSPITAL = Path(__file__).parents[1] / "support" / "hospital.py"
_MISSING = [
    name for name in ("Orthanc", "storescu", "findscu", "ip", "unshare") if shutil.which(name) is None
]
_NAMESPACE = not _MISSING and subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed here: {', '.join(_MISSING)}"),
    pytest.mark.skipif(not _MISSING and not _NAMESPACE, reason="network namespaces are not allowed here"),
]


def hospital(folder: Path, films: list[Path]) -> dict:
    found = subprocess.run(
        ["unshare", "-rn", sys.executable, str(HOSPITAL), str(folder), *map(str, films)],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    log = folder / "node.log"
    assert found.returncode == 0, found.stderr[-2000:] + (log.read_text() if log.exists() else "")
    return json.loads(found.stdout)


def check(told: dict) -> int:
    """Films by UID, each once; returns how many sets of results there are."""
    kinds = Counter(one["Modality"] for one in told["instances"])
    films = [one for one in told["instances"] if one["SOPClassUID"] in FILMS and one["Modality"] != "OT"]
    sets = kinds["OT"]
    assert (kinds["SR"], kinds["DOC"]) == (2 * sets, sets)
    assert told["status"]["films"]["committed"] == len(films)
    assert told["status"]["uncommitted"] == 0
    studies = {one["StudyInstanceUID"] for one in films}
    assert {
        one["StudyInstanceUID"] for one in told["instances"]
    } == studies  # each result in its film's study
    assert len(studies) <= sets <= len(films)
    assert told["found_by_query"] == 2 * sets
    if told["web"] is not None:
        assert len(told["web"]) == sets
    return sets


def test_stored_answered_committed_and_found(tmp_path: Path) -> None:
    films = []
    for number in range(3):
        films.append(tmp_path / f"{number}.dcm")
        films[-1].write_bytes(chest_film(number, PatientName="Quirke^Zebedee", PatientID=f"p{number}"))
    assert check(hospital(tmp_path, films)) == 3


@pytest.mark.realdata
def test_real_films_in_their_own_syntaxes(tmp_path: Path, real_data: Path) -> None:
    films = sorted((real_data / "dicom").glob("cr_chest*.dcm"))
    assert len(films) >= 4
    assert check(hospital(tmp_path, films)) >= 3  # two of them are of one study, two are one film
