"""Open-I's XML as folder, zip and tgz, and what would do harm in it."""

import gzip
from pathlib import Path

import pytest
from layouts import open_i, packed, png, put

from mtclip_edge.errors import SourceUnusable, WrongOption
from mtclip_edge.sources.mesh_labels import findings_of, is_chronic, is_place, label_of
from mtclip_edge.sources.source import absolute, open_source, with_abnormal


@pytest.mark.parametrize("kind", ["folder", "zip", "tgz"])
def test_open_i_as_folder_zip_and_tgz(tmp_path: Path, openi: dict[str, str], kind: str) -> None:
    path = packed(tmp_path / "o", openi, kind)
    put(tmp_path / "o" / "images" / "CXR1_IM-0001-4001.png", png())
    put(
        tmp_path / "o" / "indiana_projections.csv",
        "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n",
    )
    put(
        tmp_path / "o" / "nlmcxr_dicom_metadata.csv.gz",
        gzip.compress(b"imageid,View Position\nCXR1_1_IM-0001-4001,PA\n"),
    )
    reading = open_source(str(path))
    assert [(s.study_id, s.label, s.finding_labels) for s in reading.studies] == [
        ("1", "normal", ()),
        ("2", "abnormal", ("Calcified Granuloma", "Scoliosis")),
        ("3", "unknown", ()),
        ("10", "abnormal", ("Pleural Effusion", "Scoliosis")),
    ]
    assert [(f.name, f.view) for f in reading.studies[0].films] == [("CXR1_IM-0001-4001.png", "PA")]
    assert (reading.studies[1].findings, reading.studies[1].impression) == ("", "Old <granuloma>.")
    assert reading.studies[0].extra == {
        "indication": "Cough & fever",
        "comparison": "None.",
        "mesh": "normal",
    }
    assert sorted(str(p) for p in reading.problems) == [
        "1.xml: film not found: CXR1_1_IM-0001-3001.png (film left out)",
        "11.xml: neither a film nor a text (row left out)",
    ]
    assert reading.notes[0].startswith("read as openi: ")
    assert [s.label for s in open_source(f"openi:{path},abnormal=acute").studies] == [
        "normal",
        "unknown",
        "unknown",
        "abnormal",
    ]


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
    assert (
        label_of(["Scoliosis", "Cicatrix/lung"]) == label_of(["Scoliosis", "Nodule"], "acute") == "abnormal"
    )
    assert label_of(["normal", "Scoliosis"]) == "abnormal"  # exactly normal is normal
    assert label_of([]) == label_of(["No Indexing"], "acute") == "unknown"
    assert findings_of(["Opacity/lung", "Technical Quality of Image Unsatisfactory ", "Opacity"]) == (
        "Opacity",
        "Technical Quality of Image Unsatisfactory",
    )
    places = [
        "Lung/hyperdistention/mild",
        "Spine/degenerative",
        "Markings/lung/interstitial",
        "Lung",
        "Aorta/left",
    ]
    assert findings_of([*places, "Lung/bilateral/hyperdistention", "Lung, Hyperlucent/left"]) == (
        "Lung / hyperdistention",
        "Spine / degenerative",
        "Markings / interstitial",
        "Lung, Hyperlucent",
    )
    assert is_place("Lung ") and not is_place("Lung / hyperdistention")


def test_the_rule_is_part_of_the_source(tmp_path: Path, openi: dict[str, str]) -> None:
    path = packed(tmp_path / "o", openi, "zip")
    assert with_abnormal(str(path), "acute") == f"openi:{path},abnormal=acute"
    assert absolute(f"openi:{path},abnormal=acute") == f"openi:{path},abnormal=acute"
    assert with_abnormal(str(path), None) == str(path)
    with pytest.raises(
        WrongOption, match="nih takes no option abnormal\nabnormal is for manifest, openi, kaggle-iu"
    ):
        with_abnormal("nih:x", "acute")
    with pytest.raises(WrongOption, match="expected one of mesh, acute"):
        open_source(f"openi:{path},abnormal=bad")
    table = put(
        tmp_path / "m.csv",
        "study_id,report,label,mesh_major\n1,A.,abnormal,Scoliosis\n2,B.,abnormal,Mass;Scoliosis\n",
    )
    assert [s.label for s in open_source(f"manifest:{table},abnormal=acute").studies] == [
        "unknown",
        "abnormal",
    ]
    assert [s.label for s in open_source(str(table)).studies] == ["abnormal", "abnormal"]
    with pytest.raises(SourceUnusable, match="abnormal=acute needs the MeSH terms"):
        open_source(
            f"manifest:{put(tmp_path / 'n.csv', 'study_id,report' + chr(10) + '1,A.')},abnormal=acute"
        )
