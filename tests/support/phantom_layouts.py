"""Phantoms in the layouts of MIMIC-CXR and CheXpert Plus: drawn films and their reports under those names."""

import json
from collections.abc import Iterator
from pathlib import Path

from layouts import OBSERVATIONS, put, table
from PIL import Image

from mtclip_edge.films.read import read_film
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study

# What CheXpert's labeller would call what is drawn.
OBSERVATION = {
    "Effusion": "Pleural Effusion",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Pneumothorax": "Pneumothorax",
    "Nodule": "Lung Lesion",
    "Mass": "Lung Lesion",
}


def positives(study: Study) -> set[str]:
    return {OBSERVATION[name] for name in study.finding_labels} or {"No Finding"}


def mimic_of_phantoms(folder: Path, phantoms: str) -> Path:
    """``mimic-cxr:``: a frontal film and a lateral of the same pixels for each study, its official split."""
    films, splits, labels = [], [], []
    for number, study in enumerate(open_source(phantoms).studies):
        subject, name = 10000000 + number, 50000000 + number
        for view in ("PA", "LATERAL"):
            dicom = f"{number:05d}-{view.lower()}"
            films.append((dicom, subject, name, "CHEST", view, 10, 12, "21800506", "101112.0"))
            split = "validate" if study.split == "validation" else study.split
            splits.append((dicom, name, subject, split))
            _film(folder / f"files/p10/p{subject}/s{name}/{dicom}.png", study)
        text = f" FINDINGS:  {study.findings}\n\n IMPRESSION:  {study.impression}\n"
        put(folder / f"files/p10/p{subject}/s{name}.txt", text)
        labels.append((subject, name, *_observed(study)))
    header = "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime"
    table(folder / "mimic-cxr-2.0.0-metadata.csv.gz", header, films)
    table(folder / "mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split", splits)
    table(folder / "mimic-cxr-2.0.0-chexpert.csv.gz", f"subject_id,study_id,{OBSERVATIONS}", labels)
    return folder


def chexpert_of_phantoms(folder: Path, phantoms: str) -> Path:
    """``chexpert-plus:``: a frontal film for each study, with the labeller's observations as JSON lines."""
    rows, lines = [], []
    for number, study in enumerate(open_source(phantoms).studies):
        patient = f"patient{number:05d}"
        name = f"train/{patient}/study1/view1_frontal"
        told = (study.findings, study.impression)
        rows.append((f"{name}.jpg", "d", "Frontal", "AP", patient, 1, "all", *told, 60, "F", "train"))
        lines.append({"path_to_image": f"{name}.jpg", **dict.fromkeys(positives(study), 1.0)})
        _film(folder / f"{name}.png", study)
    header = "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,section_findings,section_impression,age,sex,split"
    table(folder / "df_chexpert_plus_240401.csv", header, rows)
    lines_of_json = "".join(json.dumps(line) + "\n" for line in lines)
    put(folder / "chexbert_labels" / "report_fixed.json", lines_of_json)
    return folder


def _observed(study: Study) -> Iterator[str]:
    return ("1.0" if name in positives(study) else "" for name in OBSERVATIONS.split(","))


def _film(path: Path, study: Study) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(read_film(study.films[0].path).grey).resize((96, 96)).save(path)
