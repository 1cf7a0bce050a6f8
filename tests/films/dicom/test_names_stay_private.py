"""Nothing that is printed, written or raised carries what a DICOM file says of its patient."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dicoms
import numpy as np
import pytest
from dicoms import cr, written

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.read import read_film

MARK = "ZQXMARK"


def planted(pixels: np.ndarray, study: str) -> dicoms.FileDataset:
    """A mark in every field that may hold who or when, in private ones and in free text."""
    fields = (
        "PatientName",
        "PatientID",
        "AccessionNumber",
        "PatientComments",
        "InstitutionName",
        "ReferringPhysicianName",
        "StudyID",
    )
    fields += (
        "StudyDescription",
        "SeriesDescription",
        "PatientAddress",
        "OtherPatientIDs",
        "PerformingPhysicianName",
        "OperatorsName",
    )
    fields += (
        "DeviceSerialNumber",
        "StationName",
        "ProtocolName",
        "ImageComments",
        "RequestedProcedureDescription",
        "PatientBirthName",
    )
    dataset = cr(
        pixels, 12, **{name: f"{MARK}{number}" for number, name in enumerate(fields)}, StudyInstanceUID=study
    )
    dataset.StudyDate = dataset.PatientBirthDate = dataset.ContentDate = "19990731"
    dataset.private_block(0x0011, f"{MARK} CREATOR", create=True).add_new(1, "LO", f"{MARK}private")
    return dataset


def odd(dataset: dicoms.FileDataset) -> bytes:
    """Values that make pydicom complain in words that hold them."""
    data = written(dataset)
    data = data.replace(b"19990731", b"ZQXMARK ", 1)
    return data.replace(b"CS\x06\x00CHEST ", b"CS\x06\x00ZQXM\xff ").replace(b"DS", b"DS")


def test_nobody_is_named_in_any_output(
    mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path, monkeypatch
) -> None:
    """Good, odd, undecodable and truncated files, in every format, with a traceback asked for; once as a person runs it."""
    study = "1.2.826.0.1.3680043.77777.1"
    good = written(planted(deep, study))
    files = {
        "good": good,
        "odd": odd(planted(deep, study)),
        "lateral": good.replace(b"CS\x02\x00PA", b"CS\x02\x00LL"),
    }
    files |= {
        "cut": good[:-500],
        "cut-header": good[:700],
        "jls": written(planted(deep, study), dicoms.JPEG_LS),
    }
    files |= {
        "bad-jls": files["jls"].replace(b"\xff\xd9", b"\0\0"),
        "mpeg": good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.9\0"),
    }
    files |= {"window": written(_with(planted(deep, study), WindowCenter="9e9", WindowWidth="1"))}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setenv("MTCLIP_DEBUG", "1")
    page = tmp_path.with_suffix(".html")
    for form in ("table", "json", "jsonl", "ids"):
        for by in ("film", "study"):
            found = mtclip(
                "query", tmp_path, "--format", form, "--by", by, "--bundle", tiny_bundle, "--save", page
            )
            assert found.code == 5 and "good" in found.out and "cut" in found.err
            written_out = found.out + found.err + page.read_text()
            assert "good" in page.read_text() and not [
                leak for leak in (MARK, "19990731", study) if leak in written_out
            ]
    said = mtclip_process("query", tmp_path, "--by", "study", "--bundle", tiny_bundle, code=5)
    assert not [leak for leak in (MARK, "19990731", study) if leak in said]
    shown = mtclip_process("query", tmp_path / "good", "--show-ids", "--bundle", tiny_bundle, code=0)
    ids = json.loads(shown)["input"]["ids"]
    assert (
        ids["patient_name"] == f"{MARK}0"
        and ids["patient_id"] == f"{MARK}1"
        and ids["accession"] == f"{MARK}2"
    )
    assert (ids["study_date"], ids["study_uid"]) == ("19990731", study)
    table = mtclip(
        "query", tmp_path / "good", "--show-ids", "--format", "table", "--bundle", tiny_bundle, "--save", page
    ).out
    assert f"<dt>patient name</dt><dd>{MARK}0</dd>" in page.read_text()
    assert f"patient id {MARK}1" in " ".join(table.split()) and study in table


def _with(dataset: dicoms.FileDataset, **fields: object) -> dicoms.FileDataset:
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset


def mtclip_process(*words: object, code: int) -> str:
    command = [sys.executable, "-W", "always", "-m", "mtclip_edge", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MTCLIP_DEBUG": "1"})
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr if code else done.stdout


def test_no_error_of_a_film_carries_what_pydicom_said(deep: np.ndarray) -> None:
    """Not in its text, and not in a traceback: what it came from is cut off."""
    with pytest.raises(FilmUnreadable) as caught:
        read_film(written(planted(deep, "1.2.3"))[:700], "x")
    import traceback

    assert MARK not in "".join(traceback.format_exception(caught.value))
