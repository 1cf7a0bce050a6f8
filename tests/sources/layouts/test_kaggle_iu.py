"""The Indiana University tables of Kaggle."""

from pathlib import Path

from layouts import png, put

from mtclip_edge.sources.source import open_source


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
