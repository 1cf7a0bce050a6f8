"""Open-I in every layout there is of it: 2,737 XML reports, and 60 studies three times over."""

from hashlib import sha256
from pathlib import Path

import pytest

from mtclip_edge.sources.layouts.openi import film_key
from mtclip_edge.sources.manifest_writer import export_manifest
from mtclip_edge.sources.mesh_labels import is_place, terms_of
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study

pytestmark = pytest.mark.realdata
TOLD = ("study_id", "patient_id", "findings", "impression", "label", "finding_labels", "split", "date")


def studies(word: str | Path) -> dict[str, Study]:
    return {study.study_id: study for study in open_source(str(word)).studies}


def told(study: Study, *names: str) -> dict[str, object]:
    return {name: getattr(study, name) for name in names or TOLD}


@pytest.fixture(scope="module")
def xml(real_data: Path) -> dict[str, Study]:
    return studies(f"openi:{real_data / 'openi_reports'}")


def test_every_xml_report_is_read(real_data: Path) -> None:
    reading = open_source(str(real_data / "openi_reports" / "ecgen-radiology.zip"))
    assert (len(reading.studies), reading.bad_rows) == (2718, 19)
    assert dict(reading.tally.skipped) == {
        "neither a film nor a text (row left out)": 19
    }  # all 19 are empty and normal
    assert dict(reading.tally.labels) == {"normal": 961 - 19, "abnormal": 1717, "unknown": 59}
    assert reading.notes == (
        "read as openi: its first XML is a report of Open-I",
        "reports from ecgen-radiology.zip",
        "no folder of PNG films beside it: reports without films",
        "views from indiana_projections.csv and nlmcxr_dicom_metadata.csv.gz",
    )
    acute = open_source(f"openi:{real_data / 'openi_reports'},abnormal=acute").tally.labels
    assert (acute["normal"], acute["abnormal"], acute["unknown"]) == (942, 1112, 664)


def test_the_xml_says_what_kaggle_and_the_manifest_say(real_data: Path, xml: dict[str, Study]) -> None:
    kaggle = studies(f"kaggle-iu:{real_data / 'openi_reports'}")
    assert len(kaggle) == 2649
    for (
        study
    ) in kaggle.values():  # a spreadsheet made one of Kaggle's indications, which begins with a plus, #NAME?
        assert (
            told(study) == told(xml[study.study_id])
            and study.extra["mesh"] == xml[study.study_id].extra["mesh"]
        )
    manifest = studies(real_data / "openi_frontal")
    assert len(manifest) == 2544
    for study in manifest.values():
        known = xml[study.study_id]
        assert told(study, "patient_id", "label", "split") == told(known, "patient_id", "label", "split")
        assert study.tower_text == known.tower_text and terms_of(study.extra["mesh_major"]) == known.extra[
            "mesh"
        ].split(";")
        # The table has the first words alone; we add what is wrong with a place, and leave a mere place out.
        heads = [name.split(" / ")[0] for name in known.finding_labels]
        theirs = [" ".join(name.split()) for name in study.finding_labels]
        assert [name for name in theirs if not is_place(name)] == [n for n in heads if not is_place(n)]
        assert set(filter(is_place, heads)) <= set(filter(is_place, theirs))


def test_r2gen_has_the_findings_of_the_xml(real_data: Path, xml: dict[str, Study]) -> None:
    found = open_source(f"r2gen:{real_data / 'openi_reports'}").studies
    assert len(found) == 2034
    assert all(study.findings == xml[study.study_id].findings and study.label == "unknown" for study in found)
    assert [sum(study.split == name for study in found) for name in ("train", "validation", "test")] == [
        1440,
        198,
        396,
    ]


def test_sixty_studies_in_three_layouts_are_the_same_studies(real_data: Path) -> None:
    folder = real_data / "openi_format_samples"
    openi, kaggle, r2gen = (studies(folder / name) for name in ("openi", "kaggle", "r2gen_iu_xray"))
    assert (len(openi), list(openi)) == (60, list(kaggle))
    assert len(r2gen) == 47 and set(r2gen) <= set(
        openi
    )  # R2Gen takes studies of two films with findings only
    for study in openi.values():
        twin = kaggle[study.study_id]
        # A table's "None" is pandas' word for nothing, the XML's is the radiologist's: a comparison with none.
        extra = {name: "" if value == "None" else value for name, value in study.extra.items()}
        assert told(study) == told(twin) and extra == twin.extra
        assert sorted(film_key(film.name) for film in study.films) == sorted(
            film_key(film.name) for film in twin.films
        )
    same = 0
    for study in r2gen.values():
        assert study.findings == openi[study.study_id].findings and len(study.films) == 2
        theirs = {sha256(film.path.read_bytes()).digest() for film in openi[study.study_id].films}
        same += sum(sha256(film.path.read_bytes()).digest() in theirs for film in study.films)
    assert same == 94
    views = studies(
        f"openi:{folder / 'openi'},views={folder / 'kaggle'}"
    )  # with Kaggle's table the views are the same too
    for study in views.values():
        ours = {film_key(film.name): film.view for film in study.films}
        assert ours == {film_key(film.name): film.view for film in kaggle[study.study_id].films}


@pytest.mark.parametrize(
    "name",
    [
        "openi_format_samples/openi",
        "openi_format_samples/kaggle",
        "openi_format_samples/r2gen_iu_xray",
        "nih_cxr",
        "covid_cxr_notes",
        "hannover",
        "openi_lateral",
        "dicom",
    ],
)
def test_every_set_comes_back_from_its_manifest(real_data: Path, tmp_path: Path, name: str) -> None:
    source = (real_data / name).resolve()  # a manifest of elsewhere holds real paths
    before = open_source(str(source))
    export_manifest(str(source), tmp_path / "m.csv")
    after = open_source(str(tmp_path / "m.csv"))
    assert after.studies == before.studies
