"""Previews: one small film of each report, only where asked for, shown and taken out like its text."""

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import ArtefactDamaged, WrongOption
from mtclip_edge.films.read import read_film
from mtclip_edge.index.filters import Filters
from mtclip_edge.indexing.build import rebuild
from mtclip_edge.indexing.previews import check_longest, opened, previews_of
from mtclip_edge.indexing.update import add, merge, remove
from mtclip_edge.progress import silent
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Film, Study


@pytest.fixture
def studies(source: Path) -> list[Study]:
    return [s for s in open_source(str(source)).studies if s.report_id]


@pytest.fixture
def shown(bundle: Path, studies: list[Study]) -> Path:
    """A bundle of some studies, with previews of their reports."""
    rebuild(bundle, studies[:30])
    add(bundle, studies[:30], previews=True)
    return bundle


def test_each_report_with_a_film_has_one_of_its_own(shown: Path, studies: list[Study]) -> None:
    reports = {s.report_id for s in studies[:30] if s.films}
    bundle = Bundle.open(shown)
    record = bundle.manifest.site.previews
    with opened(bundle) as old:
        assert record and old and record.reports == len(reports) == len(old.report_ids())
        packed = {report_id: old.of(str(report_id)) or (b"", "") for report_id in reports}
    films = {s.study_id: s for s in studies}
    for report_id, (webp, study_id) in packed.items():
        picture = Image.open(io.BytesIO(webp))
        assert (
            picture.format == "WEBP" and max(picture.size) <= record.longest and not picture.info.get("exif")
        )
        grey = read_film(films[study_id].films[0].path).grey
        assert films[study_id].report_id == report_id
        assert np.abs(np.asarray(picture.convert("L"), float) - grey).mean() < 6
    old.close()


def test_a_frontal_film_that_can_be_read_goes_before_others(studies: list[Study], tmp_path: Path) -> None:
    with_film = next(s for s in studies if s.films)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    films = (
        replace(with_film.films[0], view="lateral"),
        Film(broken, "broken.png", "PA"),
        replace(with_film.films[0], view="AP"),
    )
    tall = tmp_path / "tall.png"
    Image.fromarray(np.full((900, 300), 90, np.uint8)).save(tall)
    study = replace(with_film, films=(*films[:2], Film(tall, "tall.png", "PA")))
    ((_, _, webp),) = previews_of([study], set(), 128, "voi", silent)
    assert Image.open(io.BytesIO(webp)).size == (43, 128)
    assert not list(previews_of([replace(study, films=films[1:2])], set(), 128, "voi", silent))
    assert not list(previews_of([study], {str(study.report_id)}, 128, "voi", silent))


def test_without_them_a_bundle_is_as_it_was(bundle: Path, studies: list[Study]) -> None:
    copy = Path(shutil.copytree(bundle, bundle.parent / "copy"))
    rebuild(bundle, studies[:20])
    add(bundle, studies[20:30])
    assert "previews" not in Bundle.open(bundle).manifest.to_dict()
    assert not list(bundle.glob("previews*"))
    rebuild(copy, studies[:20])
    add(copy, studies[:20], previews=True)
    add(copy, studies[20:30])
    one, other = Bundle.open(bundle).manifest, Bundle.open(copy).manifest
    named = {kind: getattr(one.site.index, kind) for kind in ("store", "vectors", "terms")}
    for kind, name in named.items():
        assert one.files[name].sha256 == other.files[getattr(other.site.index, kind)].sha256
    assert one.model.to_dict() == other.model.to_dict()


def test_a_removed_film_is_in_no_byte(shown: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 255, (90, 80), np.uint8)).save(own)
    secret = Study(
        "secret-8",
        "patient-8",
        films=(Film(own, "own.png", "PA"),),
        report="A zebrafish swims through the mediastinum.",
        label="abnormal",
        source="manifest:s",
    )
    add(shown, [secret], previews=True)
    bundle = Bundle.open(shown)
    with opened(bundle) as previews:
        webp = (previews.of(str(secret.report_id)) or (b"", ""))[0] if previews else b""
    before = bundle.manifest.site.previews
    # SQLite lays a long value over pages: what must be gone is asked by pieces that lie within one.
    pieces = [webp[start : start + 64] for start in range(0, len(webp) - 64, 512)]
    found = b"\n".join(p.read_bytes() for p in shown.iterdir())
    assert len(webp) > 2000 and sum(piece in found for piece in pieces) > len(pieces) // 2
    said: list[str] = []
    remove(shown, patients=["patient-8"], say=said.append)
    found = b"\n".join(p.read_bytes() for p in shown.iterdir())
    assert not any(piece in found for piece in pieces) and b"secret-8" not in found
    left = Bundle.open(shown).manifest.site.previews
    assert before and left and left.reports == before.reports - 1
    assert f"previews: {left.reports} reports have a film (1 less)" in said
    assert all(problem is None for _, problem in Bundle.open(shown).verify())


def test_a_report_whose_film_went_gets_another_when_asked(shown: Path, studies: list[Study]) -> None:
    twins: dict[str, list[Study]] = {}
    for study in studies[:30]:
        if study.films:
            twins.setdefault(str(study.report_id), []).append(study)
    report_id, held = next((key, some) for key, some in twins.items() if len(some) > 1)
    first = min(held, key=lambda s: s.study_id)
    remove(shown, studies=[first.study_id])
    with Retriever.open(shown) as retriever:
        assert retriever.preview(report_id) is None
    add(shown, held[1:] if held[0] is first else held[:1], previews=True)
    with Retriever.open(shown) as retriever:
        assert retriever.preview(report_id)


def test_a_filtered_patients_film_is_not_shown(shown: Path, studies: list[Study]) -> None:
    study = next(s for s in studies[:30] if s.films)
    with opened(Bundle.open(shown)) as previews:
        assert previews
        _, owner = previews.of(str(study.report_id)) or (b"", "")
    patient = next(s.patient_id for s in studies if s.study_id == owner)
    with Retriever.open(shown) as all_of_them:
        assert all_of_them.preview(str(study.report_id)) and all_of_them.preview("nobody") is None
    with Retriever.open(shown, filters=Filters(exclude_patient=(patient,))) as without:
        assert without.preview(str(study.report_id)) is None


def test_merge_brings_those_of_reports_without(shown: Path, studies: list[Study], tmp_path: Path) -> None:
    other, plain = (Path(shutil.copytree(shown, tmp_path / name)) for name in ("other", "plain"))
    rebuild(other, studies[30:60])
    assert (theirs := Bundle.open(other).manifest.site.previews)
    before = Bundle.open(shown).manifest.site.previews
    held = {s.report_id for s in studies[:30] if s.films}
    new = {s.report_id for s in studies[30:60] if s.films} - held
    merge(shown, other)
    now = Bundle.open(shown).manifest.site.previews
    assert before and now and theirs.reports >= len(new) and now.reports == before.reports + len(new)
    before_bytes = (shown / now.file).read_bytes()
    add(shown, studies[:60], previews=True)
    assert (shown / now.file).read_bytes() == before_bytes  # there already: the file stays
    rebuild(plain, studies[:30])
    assert (again := Bundle.open(plain).manifest.site.previews) and again.reports == before.reports


def test_a_damaged_file_stops_those_who_read_it_only(shown: Path, film: Path, studies: list[Study]) -> None:
    record = Bundle.open(shown).manifest.site.previews
    assert record
    file = shown / record.file
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with Retriever.open(shown) as retriever:
        assert retriever.query(film).hits
        with pytest.raises(ArtefactDamaged, match=record.file):
            retriever.preview(str(studies[0].report_id))
    file.unlink()
    with Retriever.open(shown) as retriever:
        assert retriever.query(film).hits


def test_a_query_that_shows_none_opens_nothing_of_it(shown: Path, film: Path) -> None:
    code = (
        "import sys\nopened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event in ('open', 'sqlite3.connect') else None)\n"
        f"sys.argv = ['mtclip', 'query', {str(film)!r}, '--bundle', {str(shown)!r}, '--format', 'ids']\n"
        "from mtclip_edge import cli\nassert cli._run() == 0\n"
        "assert [name for name in opened if 'vectors-' in name or 'reports-' in name]\n"
        "assert not [name for name in opened if 'previews' in name], opened\n"
        "assert 'mtclip_edge.index.previews' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pixels", [0, 63, 2049])
def test_a_side_that_makes_no_sense_is_refused(pixels: int) -> None:
    with pytest.raises(WrongOption, match=f"--previews {pixels}"):
        check_longest(pixels)


def test_on_the_line(bundle: Path, source: Path, tiny_run: Path, mtclip, known_graphs: None) -> None:
    done = mtclip("index", "add", bundle, source, "--previews")
    assert done.code == 0 and "reports have a film" in done.err
    assert "previews" in mtclip("info", bundle).out
    made = bundle.parent / "made"
    done = mtclip("export", tiny_run, "--out", made, "--precision", "fp32", "--previews", "128")
    assert done.code == 0, done.err
    record = Bundle.open(made).manifest.site.previews
    assert record and record.longest == 128 and (made / record.file).stat().st_mode & 0o777 == 0o600
    assert mtclip("export", tiny_run, "--out", made, "--overwrite", "--previews", "7").code == 2
