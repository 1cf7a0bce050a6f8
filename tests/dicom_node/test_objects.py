"""Result objects: valid, the same bytes whenever made, and of other patients no more than the site allows."""

import io
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom")

from pacs import chest_film, uid_of
from pydicom import dcmread
from pydicom.dataset import Dataset

from mtclip_edge import Retriever
from mtclip_edge.dicom_node.objects.making import made_objects
from mtclip_edge.dicom_node.objects.origin import MANUFACTURER, Origin, read_head
from mtclip_edge.dicom_node.objects.page import CORNER, HEIGHT, WIDTH
from mtclip_edge.dicom_node.settings import OBJECTS, SendWhat
from mtclip_edge.dicom_node.uids import is_ours
from mtclip_edge.errors import FilmUnreadable

WHEN = 1764246000.25
ALL = SendWhat(OBJECTS)


@pytest.fixture(scope="module")
def retriever() -> Iterator[Retriever]:
    with Retriever.open("demo", force=True, keep_films=True) as opened:
        yield opened


def made(retriever: Retriever, film: Path, how: SendWhat = ALL) -> dict[str, bytes]:
    head = read_head(film)
    seen = retriever.see(film, name=head.uid)
    result = retriever.answer(seen, 5)
    origin = Origin((head,), WHEN, result.bundle.identity)
    assert seen.grey is not None
    return {one.kind: data for one, data in made_objects(how, origin, result, seen.grey, {})}


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.dcm"
    path.write_bytes(chest_film(1, PatientName="Quirke^Zebedee", PatientID="SECRET-77", StudyDate="20260102"))
    return path


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def errors_of(data: bytes, folder: Path) -> list[str]:
    """What dciodvfy has against an object."""
    (folder / "object.dcm").write_bytes(data)
    found = subprocess.run(
        ["dciodvfy", folder / "object.dcm"], capture_output=True, text=True, errors="replace"
    )
    return [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")]


NEEDS_DCIODVFY = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed here"
)


@NEEDS_DCIODVFY
def test_each_object_is_valid(retriever: Retriever, film: Path, tmp_path: Path) -> None:
    for kind, data in made(retriever, film, SendWhat(OBJECTS, quote="report")).items():
        assert errors_of(data, tmp_path) == [], kind


@NEEDS_DCIODVFY
@pytest.mark.realdata
def test_each_object_of_each_real_film_is_valid(
    retriever: Retriever, real_data: Path, tmp_path: Path
) -> None:
    films = sorted((real_data / "dicom").glob("*.dcm"))
    assert films
    for film in films:
        for kind, data in made(retriever, film).items():
            assert errors_of(data, tmp_path) == [], (film.name, kind)


def test_they_are_the_same_bytes_whenever_they_are_made(retriever: Retriever, film: Path) -> None:
    assert made(retriever, film) == made(retriever, film)


def test_they_belong_to_the_study_and_are_no_last_word(retriever: Retriever, film: Path) -> None:
    source = dcmread(film)
    for kind, data in made(retriever, film).items():
        found = read(data)
        assert found.StudyInstanceUID == source.StudyInstanceUID
        assert (str(found.PatientName), found.PatientID) == ("Quirke^Zebedee", "SECRET-77")
        assert found.StudyDate == "20260102"
        assert is_ours(str(found.SOPInstanceUID))
        assert found.Manufacturer == MANUFACTURER
        assert "OTHER patients" in found.SeriesDescription
        assert found.SOPInstanceUID == found.file_meta.MediaStorageSOPInstanceUID
        if kind in ("measurements", "text"):
            assert found.VerificationFlag == "UNVERIFIED"
            assert found.PreliminaryFlag == "PRELIMINARY"
            assert b"OTHER patients" in data or b"not a diagnosis" in data


def test_words_of_other_patients_stand_there_only_where_the_site_says_so(
    retriever: Retriever, film: Path
) -> None:
    text = retriever.query(film, 1).reports[0].text.split(".")[0].encode()
    for quote, there in (("none", False), ("report", True)):
        objects = made(retriever, film, SendWhat(("measurements", "text"), quote=quote))
        assert all((text in data) == there for data in objects.values())


def test_the_page_leaves_its_corner_to_the_viewer(retriever: Retriever, film: Path) -> None:
    pixels = read(made(retriever, film)["page"]).pixel_array
    assert pixels.shape[1:] == (WIDTH, 3)
    assert 800 < pixels.shape[0] <= HEIGHT
    assert not pixels[: CORNER[1], WIDTH - CORNER[0] :].any()
    assert pixels[: CORNER[1], : WIDTH - CORNER[0]].any()


def test_a_patients_name_is_not_in_the_pixels_nor_in_a_warning(
    retriever: Retriever, tmp_path: Path, capfd
) -> None:
    plain, named = tmp_path / "a.dcm", tmp_path / "b.dcm"
    film = chest_film(2, SOPInstanceUID="1.2.3", StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.5")
    plain.write_bytes(film)
    dataset = read(film)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        dataset.PatientName, dataset.PatientAge = "Quirke^Zebedee", "62"
        dataset.save_as(named)
        first, second = (read(made(retriever, path)["page"]) for path in (plain, named))
    assert np.array_equal(first.pixel_array, second.pixel_array)
    assert not [one for one in heard if "Quirke" in str(one.message)]
    assert "Quirke" not in "".join(capfd.readouterr())


ODD = {
    "PatientBirthDate": "3f2a99c1",
    "StudyDate": "20261399",
    "StudyTime": "ab:cd",
    "PatientSex": "FEMALE",
    "AccessionNumber": "A" * 40,
    "PatientAge": "62",
    "StudyID": "B" * 40,
    "PatientName": "Mü^ß",
}


@NEEDS_DCIODVFY
def test_what_a_header_has_wrong_is_not_repeated(retriever: Retriever, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        film = chest_film(3, SpecificCharacterSet="ISO_IR 100")
        dataset = read(film)
        for name, value in ODD.items():
            setattr(dataset, name, value)
        dataset.save_as(tmp_path / "odd.dcm")
        for kind, data in made(retriever, tmp_path / "odd.dcm").items():
            assert errors_of(data, tmp_path) == [], kind
            found = read(data)
            assert str(found.PatientName) == "Mü^ß"
            assert [found.get(name) or "" for name in ("PatientBirthDate", "StudyDate", "StudyTime")] == [
                "",
                "",
                "",
            ]


def test_a_film_without_a_study_has_one_all_the_same(retriever: Retriever, tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(chest_film(4, StudyInstanceUID=None, SeriesInstanceUID=None))
    head = read_head(path)
    assert is_ours(head.study)
    assert is_ours(head.series)
    assert read(made(retriever, path)["text"]).StudyInstanceUID == head.study


def test_what_is_no_dicom_is_said_without_a_word_of_it(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(b"Quirke^Zebedee")
    with pytest.raises(FilmUnreadable) as error:
        read_head(path)
    assert "Quirke" not in str(error.value)


def test_a_rejected_film_gives_a_page_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(chest_film(5))
    with Retriever.open("demo", keep_films=True) as strict:
        objects = made(strict, path, SendWhat(("text", "page")))
    assert b"the film was rejected" in objects["text"]
    assert uid_of(path.read_bytes())
