"""Layouts of public sets: what is read of each, in its documented form, with invented reports. And what may go wrong in a file."""

import gzip
import io
import json
import tarfile
import zipfile
from dataclasses import asdict
from pathlib import Path

import layouts
import numpy as np
import pytest
from layouts import open_i, png, put

from mtclip_edge.errors import SourceUnusable, WrongOption
from mtclip_edge.films.read import read_film
from mtclip_edge.sources.mesh_labels import findings_of, is_chronic, label_of
from mtclip_edge.sources.privacy import is_public
from mtclip_edge.sources.source import absolute, open_source, stream_source, with_abnormal
from mtclip_edge.studies import Study


def by_id(word: str | Path) -> dict[str, Study]:
    return {study.study_id: study for study in open_source(str(word)).studies}


def test_mimic(tmp_path: Path) -> None:
    reading = open_source(str(layouts.mimic(tmp_path / "m")))
    found = {s.study_id: s for s in reading.studies}
    assert [(s.study_id, s.patient_id, s.split, s.label, s.date) for s in reading.studies] == [
        ("50000001", "10000032", "train", "normal", "2180-05-06"),
        ("50000002", "10000032", "train", "abnormal", "2180-06-26"),
        ("50000003", "10000764", "validation", "unknown", "2131-11-03"),
        ("50000004", "10000898", "test", "unknown", ""),  # No Finding beside a finding: contradictory
    ]
    assert [(f.view, f.name) for f in found["50000001"].films] == [
        ("PA", "files/p10/p10000032/s50000001/aaa-1.jpg"),
        ("lateral", "files/p10/p10000032/s50000001/aaa-2.jpg"),
    ]
    assert (found["50000001"].findings, found["50000001"].impression) == ("The lungs are clear. Heart is normal.", "No acute disease.")
    assert found["50000002"].impression == "Left effusion."  # the last of two
    assert found["50000002"].finding_labels == ("Pleural Effusion",)
    assert found["50000003"].text == "Single view shows an intrathoracic tube in good place."  # the last paragraph
    assert found["50000004"].impression == "Right upper opacity." and not found["50000004"].films
    assert [str(p) for p in reading.problems] == [
        "line 6: film not found: ddd-1 (film left out)",
        "line 6: date 'nonsense' (date left out)",
    ]
    assert reading.notes[0] == "read as mimic-cxr: it holds mimic-cxr-2.0.0-chexpert.csv.gz"
    assert "labels from mimic-cxr-2.0.0-chexpert.csv.gz" in reading.notes


def test_mimic_with_the_other_labeller_and_reports_elsewhere(tmp_path: Path) -> None:
    plain = by_id(layouts.mimic(tmp_path / "plain"))
    zipped = layouts.mimic(tmp_path / "plain2", zipped=True)
    found = by_id(f"mimic-cxr:{zipped},reports={zipped / 'reports.zip'}")
    assert [asdict(s) | {"films": 0, "source": 0} for s in found.values()] == [
        asdict(s) | {"films": 0, "source": 0} for s in plain.values()
    ]
    sectioned = layouts.table(
        tmp_path / "mimic_cxr_sectioned.csv",
        "study,impression,findings,last_paragraph,comparison",
        [("s50000002", "Left\neffusion.", "", "", "")],
    )
    found = by_id(f"mimic-cxr:{zipped},labels=negbio,reports={sectioned}")
    assert (found["50000002"].text, found["50000001"].text) == ("Left effusion.", "")
    assert (found["50000003"].label, found["50000001"].label) == ("abnormal", "unknown")
    with pytest.raises(WrongOption, match="expected one of chexpert, negbio"):
        open_source(f"mimic-cxr:{zipped},labels=gpt")


def test_chexpert_plus(tmp_path: Path) -> None:
    reading = open_source(str(layouts.chexpert_plus(tmp_path / "c")))
    first, second = reading.studies
    assert (first.study_id, first.patient_id, first.label, first.split) == ("patient00001/study1", "patient00001", "abnormal", "train")
    assert (first.findings, first.impression, first.finding_labels) == ("A tube.", "Opacity.", ("Lung Opacity",))
    assert [(f.view, f.name) for f in first.films] == [
        ("AP", "PNG/train/patient00001/study1/view1_frontal.png"),
        ("lateral", "PNG/train/patient00001/study1/view2_lateral.png"),
    ]
    assert (second.text, second.label, second.split, second.films) == ("Only a narrative.", "normal", "validation", ())
    assert [str(p) for p in reading.problems] == [
        "line 4: film not found: valid/patient00002/study1/view1_frontal.jpg (film left out)",
        "line 5: path_to_image 'oddly.jpg' names no study (row left out)",
    ]
    assert "labels from impression_fixed.json" in reading.notes
    with pytest.raises(SourceUnusable, match="no file report_fixed.json"):
        open_source(f"chexpert-plus:{tmp_path / 'c'},labels=report_fixed.json")


def test_padchest(tmp_path: Path) -> None:
    reading = open_source(str(layouts.padchest(tmp_path / "p")))
    one, two, three, four = reading.studies
    assert [(s.study_id, s.patient_id, s.label, s.date) for s in reading.studies] == [
        ("st1", "pat1", "normal", "2014-09-15"),
        ("st2", "pat1", "abnormal", "2015-02-03"),
        ("st3", "pat2", "unknown", ""),
        ("st4", "pat3", "unknown", "2015-02-03"),
    ]
    assert (two.text, two.finding_labels) == ("derram pleural izquierd .", ("pleural effusion",))
    assert [(f.view, f.name) for f in two.films] == [("AP", "1.zip!b_1.png"), ("lateral", "1.zip!b_2.png")]
    assert three.films[0].view == "other" and not four.films and one.split == two.split
    grey = read_film(one.films[0].path).grey
    assert (grey.min(), grey.max()) == (0, 255) and 100 < np.median(grey) < 155  # scaled, not clipped
    assert read_film(two.films[0].path).grey.shape == (10, 12)


def test_nih(tmp_path: Path) -> None:
    reading = open_source(str(layouts.nih(tmp_path / "n")))
    assert [(s.study_id, s.patient_id, s.label, s.finding_labels, s.films[0].view) for s in reading.studies] == [
        ("00000001_000", "1", "abnormal", ("Cardiomegaly",), "PA"),
        ("00000001_001", "1", "abnormal", ("Cardiomegaly", "Emphysema"), "PA"),
        ("00000002_000", "2", "normal", (), "AP"),
        ("00000003_000", "3", "abnormal", ("Hernia",), "PA"),
    ]
    assert [s.split == "test" for s in reading.studies] == [False, False, False, True]
    assert all(s.text == "" and s.films[0].path.is_file() for s in reading.studies)
    assert [str(p) for p in reading.problems] == ["line 6: film not found: 00000009_000.png (row left out)"]
    put(tmp_path / "other" / "Data_Entry_2017.csv", "Image,Label\na,b\n")
    with pytest.raises(SourceUnusable, match="not the columns of NIH"):
        open_source(str(tmp_path / "other"))


def test_webdataset_shards_are_read_in_place(tmp_path: Path) -> None:
    folder = layouts.wds(tmp_path / "w")
    reading = open_source(f"wds:{folder}/train-{{000..001}}.tar")
    one, two, three, four = reading.studies
    assert (one.study_id, one.patient_id, one.label, one.split, one.finding_labels) == (
        "s1",
        "p1",
        "abnormal",
        "validation",
        ("Opacity", "Mass"),
    )
    assert [(f.name, f.view) for f in one.films] == [("train-000.tar!./000.png", "PA"), ("train-000.tar!./001.png", "lateral")]
    assert [int(read_film(f.path).grey[0, 0]) for s in reading.studies for f in s.films] == [10, 20, 30, 40]
    assert (two.study_id, two.text, two.films) == ("002", "Text alone.", ())
    assert (three.study_id, three.text) == ("a/003", "Clear.")
    assert four.study_id == "005"
    assert [str(p) for p in reading.problems] == [
        "train-001.tar!004.json: not a JSON object (text left out)",
        "train-001.tar!004: neither a film nor a text (row left out)",
    ]
    assert list(tmp_path.iterdir()) == [folder]  # nothing was extracted
    assert len(open_source(str(folder)).studies) == 4  # a folder of shards is recognised
    with pytest.raises(SourceUnusable, match="no shard matches"):
        open_source(f"wds:{folder}/test-*.tar")


def test_a_damaged_shard_gives_what_is_before_the_damage(tmp_path: Path) -> None:
    whole = layouts.wds(tmp_path / "w") / "train-000.tar"
    data = bytearray(whole.read_bytes())
    data[512 * 4 : 512 * 5] = b"\xff" * 512  # a header in the middle
    whole.write_bytes(data)
    reading = open_source(f"wds:{whole}")
    assert [s.study_id for s in reading.studies] == ["s1"]
    assert "the shard cannot be read to its end" in str(reading.problems[0])
    whole.with_suffix(".tar.gz").write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(SourceUnusable, match="a compressed shard cannot be read in place"):
        open_source(f"wds:{whole.with_suffix('.tar.gz')}")


@pytest.fixture
def openi(tmp_path: Path) -> dict[str, str]:
    """Five reports: two films, none, unindexed, chronic only, and one of marks alone."""
    return {
        "1.xml": open_i(1, "Clear lungs.", "Normal.", ["normal"], ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"]),
        "2.xml": open_i(2, "", "Old &lt;granuloma&gt;.", ["Calcified Granuloma/lung/right", "Scoliosis"]),
        "3.xml": open_i(3, "Poor film.", "", ["No Indexing"]),
        "10.xml": open_i(10, "Effusion.", "Effusion, right.", ["Pleural Effusion/right", "Scoliosis", "Pleural Effusion/left"]),
        "11.xml": open_i(11, "XXXX.", "XXXX XXXX", ["normal"]),
    }


def packed(folder: Path, files: dict[str, str], kind: str) -> Path:
    folder.mkdir(exist_ok=True)
    if kind == "folder":
        for name, text in files.items():
            put(folder / "ecgen-radiology" / name, text)
        return folder
    if kind == "zip":
        with zipfile.ZipFile(folder / "reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(f"ecgen-radiology/{name}", text)
        return folder / "reports.zip"
    with tarfile.open(folder / "NLMCXR_reports.tgz", "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"ecgen-radiology/{name}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return folder / "NLMCXR_reports.tgz"


@pytest.mark.parametrize("kind", ["folder", "zip", "tgz"])
def test_open_i_as_folder_zip_and_tgz(tmp_path: Path, openi: dict[str, str], kind: str) -> None:
    path = packed(tmp_path / "o", openi, kind)
    put(tmp_path / "o" / "images" / "CXR1_IM-0001-4001.png", png())
    put(tmp_path / "o" / "indiana_projections.csv", "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n")
    put(tmp_path / "o" / "nlmcxr_dicom_metadata.csv.gz", gzip.compress(b"imageid,View Position\nCXR1_1_IM-0001-4001,PA\n"))
    reading = open_source(str(path))
    assert [(s.study_id, s.label, s.finding_labels) for s in reading.studies] == [
        ("1", "normal", ()),
        ("2", "abnormal", ("Calcified Granuloma", "Scoliosis")),
        ("3", "unknown", ()),
        ("10", "abnormal", ("Pleural Effusion", "Scoliosis")),
    ]
    assert [(f.name, f.view) for f in reading.studies[0].films] == [("CXR1_IM-0001-4001.png", "PA")]
    assert (reading.studies[1].findings, reading.studies[1].impression) == ("", "Old <granuloma>.")
    assert reading.studies[0].extra == {"indication": "Cough & fever", "comparison": "None.", "mesh": "normal"}
    assert sorted(str(p) for p in reading.problems) == [
        "1.xml: film not found: CXR1_1_IM-0001-3001.png (film left out)",
        "11.xml: neither a film nor a text (row left out)",
    ]
    assert reading.notes[0].startswith("read as openi: ")
    assert [s.label for s in open_source(f"openi:{path},abnormal=acute").studies] == ["normal", "unknown", "unknown", "abnormal"]


def test_xml_that_would_do_harm_is_refused(tmp_path: Path, openi: dict[str, str]) -> None:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    body = open_i(21, "&l11;", "x", ["normal"]).partition("?>")[2]
    bad = {
        "20.xml": "<eCitation><uId id='CXR20'/>" + "<a>" * 100 + "</a>" * 100 + "</eCitation>",
        "21.xml": f'<?xml version="1.0"?><!DOCTYPE eCitation [<!ENTITY l0 "ha">{laughs}]>{body}',
        "22.xml": f'<?xml version="1.0"?><!DOCTYPE eCitation [<!ENTITY l0 SYSTEM "file:///etc/hostname">]>{body}',
        "23.xml": "<html><body>no report</body></html>",
        "24.xml": "<eCitation><uId id='CXR24'/>",
        "25.xml": open_i(1, "Again.", "Again.", ["normal"]),
        "26.xml": open_i(26, "x" * (5 << 20), "", ["normal"]),
        "27.xml": open_i(27, "x", "", ["normal"]).replace('id="CXR27"', 'id="../x"'),
        "28.xml": '<?xml version="1.0" encoding="nonsense"?><eCitation/>',
    }
    reading = open_source(str(packed(tmp_path / "o", {**openi, **bad}, "zip")))
    assert [s.study_id for s in reading.studies] == ["1", "2", "3", "10"]
    why = {str(p.place): p.reason.split(":")[0] for p in reading.problems}
    assert why == {
        "11.xml": "neither a film nor a text",
        "20.xml": "XML nested too deep",
        "21.xml": "a document type of its own, which no report has",
        "22.xml": "a document type of its own, which no report has",
        "23.xml": "not a report of Open-I",
        "24.xml": "not XML",
        "25.xml": "study 1 again",
        "26.xml": "more than 4 MB of XML",
        "27.xml": "no uId of the form CXR1",
        "28.xml": "not XML",
    }


def test_acute_leaves_out_what_is_chronic_alone() -> None:
    for term in (
        "Scoliosis",
        "Calcified Granuloma/lung/right",
        "Thoracic Vertebrae/degenerative/mild",
        "Fractures, Bone/ribs/healed",
        "Aorta/tortuous",
    ):
        assert is_chronic(term), term
    for term in (
        "Pneumothorax",
        "Fractures, Bone/ribs/left",
        "Aorta/enlarged/tortuous",
        "Granuloma/lung",
        "Nodule/lung",
        "Lung/hilum/prominent",
        "Thoracic Vertebrae/compressed",
    ):
        assert not is_chronic(term), term
    assert label_of(["normal"], "acute") == "normal"
    assert label_of(["Scoliosis", "Cicatrix/lung"], "acute") == "unknown"
    assert label_of(["Scoliosis", "Cicatrix/lung"]) == label_of(["Scoliosis", "Nodule"], "acute") == "abnormal"
    assert label_of(["normal", "Scoliosis"]) == "abnormal"  # exactly normal is normal
    assert label_of([]) == label_of(["No Indexing"], "acute") == "unknown"
    assert findings_of(["Opacity/lung", "Technical Quality of Image Unsatisfactory ", "Opacity"]) == (
        "Opacity",
        "Technical Quality of Image Unsatisfactory",
    )


def test_the_rule_is_part_of_the_source(tmp_path: Path, openi: dict[str, str]) -> None:
    path = packed(tmp_path / "o", openi, "zip")
    assert with_abnormal(str(path), "acute") == f"openi:{path},abnormal=acute"
    assert absolute(f"openi:{path},abnormal=acute") == f"openi:{path},abnormal=acute"
    assert with_abnormal(str(path), None) == str(path)
    with pytest.raises(WrongOption, match="nih takes no option abnormal\nabnormal is for manifest, openi, kaggle-iu"):
        with_abnormal("nih:x", "acute")
    with pytest.raises(WrongOption, match="expected one of mesh, acute"):
        open_source(f"openi:{path},abnormal=bad")
    table = put(tmp_path / "m.csv", "study_id,report,label,mesh_major\n1,A.,abnormal,Scoliosis\n2,B.,abnormal,Mass;Scoliosis\n")
    assert [s.label for s in open_source(f"manifest:{table},abnormal=acute").studies] == ["unknown", "abnormal"]
    assert [s.label for s in open_source(str(table)).studies] == ["abnormal", "abnormal"]
    with pytest.raises(SourceUnusable, match="abnormal=acute needs the MeSH terms"):
        open_source(f"manifest:{put(tmp_path / 'n.csv', 'study_id,report' + chr(10) + '1,A.')},abnormal=acute")


def test_kaggle(tmp_path: Path) -> None:
    folder = tmp_path / "k"
    put(
        folder / "indiana_reports.csv",
        "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
        '1,normal,normal,Xray,Cough,None.,Clear.,Normal.\n894,"Pulmonary Disease, Chronic Obstructive;Opacity/lung",x,X,,,,Opacity.\n'
        "7,normal,normal,X,,,,\n1,normal,normal,X,,,Again.,\n",
    )
    put(
        folder / "indiana_projections.csv",
        "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n894,894_IM-2404-0001-0001.dcm.png,Lateral\n"
        "1,gone.dcm.png,Lateral\n99,99_IM-1.dcm.png,Frontal\n",
    )
    for name in ("1_IM-0001-4001", "894_IM-2404-0001-0001"):
        put(folder / "images" / "images_normalized" / f"{name}.dcm.png", png())
    reading = open_source(str(folder))
    one, two = reading.studies
    assert (one.label, one.text, [(f.name, f.view) for f in one.films]) == (
        "normal",
        "Clear. Normal.",
        [("1_IM-0001-4001.dcm.png", "frontal")],
    )
    assert (two.study_id, two.finding_labels, two.films[0].view) == (
        "894",
        ("Pulmonary Disease, Chronic Obstructive", "Opacity"),
        "lateral",
    )
    assert [str(p) for p in reading.problems] == [
        "indiana_projections.csv line 4: film not found: gone.dcm.png (film left out)",
        "line 4: neither a film nor a text (row left out)",
        "line 5: uid 1 again (row left out)",
        "indiana_projections.csv line 5: no report of uid 99 (film left out)",
    ]


def test_r2gen_with_a_blank_key_and_mimics_numbers(tmp_path: Path) -> None:
    entries = {
        "train": [
            {"id": "CXR2384_IM-0942", "report": "Clear  lungs.", "image_path": ["CXR2384_IM-0942/0.png", "gone.png"], "split": "train"}
        ],
        "val": [{"id": "3321", "report": "Flat names.", "image_path": ["CXR3321_IM-1588-1001.png"]}],
        "    ": [
            {"id": "d1", "study_id": 5, "subject_id": 7, "report": "Mimic.", "image_path": []},
            {"id": "x y", "report": None, "image_path": None},
            {"report": "no id"},
        ],
    }
    folder = tmp_path / "r"
    put(folder / "annotation.json", json.dumps(entries, indent=2))
    put(folder / "images" / "CXR2384_IM-0942" / "0.png", png())
    reading = open_source(str(folder))
    assert [(s.study_id, s.patient_id, s.split, s.findings, s.label, len(s.films)) for s in reading.studies] == [
        ("2384", "2384", "train", "Clear lungs.", "unknown", 1),
        ("3321", "3321", "validation", "Flat names.", "unknown", 0),
        ("5", "7", "test", "Mimic.", "unknown", 0),
    ]
    assert [is_public(s.source) for s in reading.studies] == [True, True, False]  # MIMIC's reports are given to persons
    assert [str(p).split(": ", 1)[1] for p in reading.problems] == [
        "film not found: gone.png (film left out)",
        "film not found: CXR3321_IM-1588-1001.png (film left out)",
        "neither a film nor a text (row left out)",
        "no id (row left out)",
    ]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"train": 3}', '{"train": [{"id": "1"}', '{"train": [{"id": "1"} {"id": "2"}]}', '{"a": [[[1]]]}', "{}x"]
)
def test_an_annotation_of_another_shape_is_an_error(tmp_path: Path, text: str) -> None:
    put(tmp_path / "r" / "annotation.json", text)
    with pytest.raises(SourceUnusable):
        open_source(str(tmp_path / "r"))


def test_entries_longer_than_a_piece_of_the_file(tmp_path: Path) -> None:
    entries = {
        "train": [{"id": str(i), "report": "word " * 40_000 + str(i)} for i in range(3)],
        "val": [],
        "test": [{"id": "9", "report": "x"}],
    }
    put(tmp_path / "annotation.json", json.dumps(entries))
    assert [(s.study_id, len(s.text)) for s in open_source(str(tmp_path / "annotation.json")).studies] == [
        ("0", 200_001),
        ("1", 200_001),
        ("2", 200_001),
        ("9", 1),
    ]


def test_two_layouts_in_one_folder_are_not_chosen_between(tmp_path: Path, openi: dict[str, str]) -> None:
    packed(tmp_path / "o", openi, "zip")
    put(tmp_path / "o" / "annotation.json", '{"train": [{"id": "1", "report": "x"}]}')
    with pytest.raises(SourceUnusable, match=r"several layouts\nr2gen \(annotation.json\); openi \(reports.zip\)\nname one, e.g. r2gen:"):
        open_source(str(tmp_path / "o"))
    assert len(open_source(f"r2gen:{tmp_path / 'o'}").studies) == 1


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceUnusable, match="no kind of source 'mimic'\nexpected one of manifest, .*\ndid you mean mimic-cxr:x"):
        open_source("mimic:x")
    odd = put(tmp_path / "a:b,c=d.csv", "study_id,report\n1,T.\n")
    assert len(open_source(str(odd)).studies) == 1  # a colon and a comma may be in a file's name


def test_json_lines_parquet_gzip_and_open_clips_names(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    put(tmp_path / "a.png", png())
    rows = [
        {"study_id": "1", "image_path": "a.png", "report": "T.", "label": "normal", "finding_labels": "A|B", "ward": "7"},
        {"study_id": "2", "image_path": "", "report": "U.", "label": "", "finding_labels": "", "ward": ""},
    ]
    plain = put(tmp_path / "m.csv", "study_id,image_path,report,label,finding_labels,ward\n1,a.png,T.,normal,A|B,7\n2,,U.,,,\n")
    as_json = [{**rows[0], "study_id": 1, "finding_labels": ["A", "B"]}, {**rows[1], "image_path": None}]
    files = [
        put(tmp_path / "m.csv.gz", gzip.compress(plain.read_bytes())),
        put(tmp_path / "m.jsonl", "".join(json.dumps(row) + "\n" for row in as_json)),
        tmp_path / "m.parquet",
    ]
    parquet.write_table(pa.Table.from_pylist(rows), files[2])
    expected = [asdict(s) | {"source": ""} for s in open_source(str(plain)).studies]
    for file in files:
        assert [asdict(s) | {"source": ""} for s in open_source(str(file)).studies] == expected, file
    clip = put(tmp_path / "clip.csv", "filepath\ttitle\na.png\tA title.\ngone.png\tB.\n")
    one, two = open_source(str(clip)).studies
    assert (one.study_id, one.text, one.films[0].name, two.films) == ("a.png", "A title.", "a.png", ())
    bad = put(tmp_path / "bad.jsonl", '{"study_id": "1", "report": "T."}\n[1]\n{\n{"report": "x"}\n')
    assert [str(p) for p in open_source(str(bad)).problems] == [
        "line 2: not a JSON object (row left out)",
        "line 3: not JSON (row left out)",
        "line 4: study_id is empty (row left out)",
    ]
    for file in (put(tmp_path / "x.parquet", b"PAR1nonsense"), put(tmp_path / "x.csv.gz", files[0].read_bytes()[:40])):
        with pytest.raises(SourceUnusable, match="not a readable Parquet file|damaged gzip"):
            open_source(str(file))


def test_rows_of_a_study_that_do_not_lie_together_are_joined(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(6)]
    for name in names:
        put(tmp_path / name, png())
    rows = [("a", 0), ("b", 1), ("a", 2), ("c", 3), ("b", 4), ("a", 5)]
    table = put(tmp_path / "m.csv", "study_id,image_path\n" + "".join(f"{s},{i}.png\n" for s, i in rows))
    assert [(s.study_id, [f.name for f in s.films]) for s in open_source(str(table)).studies] == [
        ("a", ["0.png", "2.png", "5.png"]),
        ("b", ["1.png", "4.png"]),
        ("c", ["3.png"]),
    ]
    streamed = [item.study.study_id for item in stream_source(str(table))]  # each as soon as it is whole
    assert streamed == ["c", "b", "a"]


def dicom(path: Path, **tags: str | int) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    path.parent.mkdir(parents=True, exist_ok=True)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = str(tags.pop("private", "1.2.840.10008.5.1.4.1.1.1"))
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = str(tags.pop("uid"))
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


def test_a_tree_of_dicom_files_with_reports(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    pixels = {"Rows": 10, "Columns": 12, "Modality": "CR"}
    dicom(
        folder / "x/1",
        uid="1.1",
        StudyInstanceUID="1",
        AccessionNumber="A1",
        PatientID="P1",
        StudyDate="20240305",
        ViewPosition="PA",
        **pixels,
    )
    dicom(
        folder / "y/2.dcm",
        uid="1.2",
        StudyInstanceUID="1",
        AccessionNumber="A1",
        PatientID="P1",
        StudyDate="20240305",
        ViewPosition="LL",
        **pixels,
    )
    dicom(folder / "y/3.dcm", uid="2.1", StudyInstanceUID="2", AccessionNumber="A2", PatientID="P2", **pixels)
    dicom(folder / "y/4.dcm", uid="3.1", StudyInstanceUID="3", PatientID="P3", Modality="SR")
    put(folder / "y/5.dcm", b"no DICOM")
    put(folder / "y/readme.txt", "not said")
    table = "accession,study_uid,report,label\nA1,,Clear.,normal\n,2,Effusion.,abnormal\nA9,,Lost.,\nA1,,Twice.,\n,,Nobody's.,\n"
    put(folder / "reports.csv", table)
    reading = open_source(str(folder))
    one, two = reading.studies
    assert (one.study_id, one.patient_id, one.date, one.text, one.label) == ("1", "P1", "2024-03-05", "Clear.", "normal")
    assert [(f.name, f.view) for f in one.films] == [("x/1", "PA"), ("y/2.dcm", "lateral")]
    assert (two.study_id, two.text, two.films[0].view, two.date) == ("2", "Effusion.", "unknown", "")
    assert [str(p) for p in reading.problems] == [
        "y/5.dcm: not DICOM (film left out)",
        "line 4: a report of no study here, or of one that has its report already (row left out)",
        "line 5: a report of no study here, or of one that has its report already (row left out)",
        "line 6: neither an accession number nor a study UID (row left out)",
    ]
    assert reading.tally.passed_over == {"modality SR without pixels": 1}
    (folder / "reports.csv").unlink()
    assert [s.text for s in open_source(f"dicom:{folder}").studies] == ["", ""]
    elsewhere = put(tmp_path / "r.csv", table)
    assert [s.text for s in open_source(f"dicom:{folder},reports={elsewhere}").studies] == ["Clear.", "Effusion."]
