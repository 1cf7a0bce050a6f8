"""Small data sets in the documented layouts of sets that cannot be here, with invented reports and drawn films."""

import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study


def png(value: int = 90, size: tuple[int, int] = (12, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "PNG")
    return buffer.getvalue()


def deep_png(low: int, high: int) -> bytes:
    """A 16-bit PNG with values from ``low`` to ``high``."""
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(low, high, 120).astype(np.uint16).reshape(10, 12)).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def table(path: Path, header: str, rows: Iterable[Sequence[object]]) -> Path:
    """A CSV, gzipped where its name says so."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(header.split(","))
    writer.writerows(rows)
    data = buffer.getvalue().encode()
    return put(path, gzip.compress(data) if path.suffix == ".gz" else data)


OBSERVATIONS = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,No Finding,"
    "Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)


def observed(**values: str) -> list[str]:
    """The fourteen columns of CheXpert's labeller: ``No_Finding="1.0"`` and the rest blank."""
    return [values.get(name.replace(" ", "_"), "") for name in OBSERVATIONS.split(",")]


MIMIC_REPORTS = {
    50000001: "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n INDICATION:  ___ year old, cough\n\n"
    " FINDINGS: \n \n The lungs are\n clear.  Heart is normal.\n\n IMPRESSION: \n \n No acute disease.\n",
    50000002: " FINDINGS:  First words.\n\n IMPRESSION:  Old impression.\n\n ADDENDUM:  None.\n\n IMPRESSION:  Left effusion.\n",
    50000003: " WET READ: ___ ___\n\n Single view shows an intrathoracic\n tube in good place.\n",
    50000004: " CONCLUSION:  Right upper opacity.\n",
}


def mimic(folder: Path, zipped: bool = False) -> Path:
    """Four studies of three subjects; the last film is not there."""
    rows = [
        ("aaa-1", 10000032, 50000001, "PA", "21800506"),
        ("aaa-2", 10000032, 50000001, "LATERAL", "21800506"),
        ("bbb-1", 10000032, 50000002, "AP", "21800626"),
        ("ccc-1", 10000764, 50000003, "", "21311103"),
        ("ddd-1", 10000898, 50000004, "PA", "nonsense"),
    ]
    header = "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime"
    full = [(d, s, st, "CHEST", v, 10, 12, date, "101112.0") for d, s, st, v, date in rows]
    table(folder / "mimic-cxr-2.0.0-metadata.csv.gz", header, full)
    split = {10000032: "train", 10000764: "validate", 10000898: "test"}
    table(
        folder / "mimic-cxr-2.0.0-split.csv.gz",
        "dicom_id,study_id,subject_id,split",
        [(d, st, s, split[s]) for d, s, st, _, _ in rows],
    )
    labels = {
        50000001: observed(No_Finding="1.0", Support_Devices="1.0"),
        50000002: observed(Pleural_Effusion="1.0", Edema="-1.0"),
        50000003: observed(Support_Devices="1.0", Pneumonia="-1.0"),
        50000004: observed(No_Finding="1.0", Lung_Opacity="1.0"),
    }
    owners = {st: s for _, s, st, _, _ in rows}
    table(
        folder / "mimic-cxr-2.0.0-chexpert.csv.gz",
        f"subject_id,study_id,{OBSERVATIONS}",
        [(owners[st], st, *v) for st, v in labels.items()],
    )
    table(
        folder / "mimic-cxr-2.0.0-negbio.csv.gz",
        f"subject_id,study_id,{OBSERVATIONS}",
        [(10000764, 50000003, *observed(Pneumonia="1.0"))],
    )
    for dicom, subject, study, _, _ in rows[:-1]:
        put(folder / f"files/p10/p{subject}/s{study}/{dicom}.jpg", png())
    reports = {f"files/p10/p{owners[study]}/s{study}.txt": text for study, text in MIMIC_REPORTS.items()}
    if zipped:
        with zipfile.ZipFile(folder / "reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in reports.items():
                archive.writestr(name, text)
    else:
        for name, text in reports.items():
            put(folder / name, text)
    return folder


def chexpert_plus(folder: Path) -> Path:
    """Two studies of a patient, the first with two films; its films are PNG where the table says JPEG."""
    header = "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,section_findings,section_impression,age,sex,split"
    rows = [
        (
            "train/patient00001/study1/view1_frontal.jpg",
            "d",
            "Frontal",
            "AP",
            "patient00001",
            1,
            "all",
            "A tube.",
            "Opacity.",
            60,
            "F",
            "train",
        ),
        (
            "train/patient00001/study1/view2_lateral.jpg",
            "d",
            "Lateral",
            "",
            "patient00001",
            1,
            "all",
            "A tube.",
            "Opacity.",
            60,
            "F",
            "train",
        ),
        (
            "valid/patient00002/study1/view1_frontal.jpg",
            "d",
            "Frontal",
            "",
            "patient00002",
            1,
            "Only a narrative.",
            "",
            "",
            50,
            "M",
            "valid",
        ),
        ("oddly.jpg", "d", "Frontal", "", "patient00003", 1, "x", "", "", 50, "M", "valid"),
    ]
    table(folder / "df_chexpert_plus_240401.csv", header, rows)
    lines = [
        {"path_to_image": rows[0][0], "Lung Opacity": 1.0, "No Finding": None},
        {"path_to_image": rows[1][0], "Lung Opacity": 1, "Edema": -1},
        {"path_to_image": "valid/patient00002/study1/view1_frontal.png", "No Finding": 1.0},
    ]
    put(
        folder / "chexbert_labels" / "impression_fixed.json",
        "".join(json.dumps(line) + "\n" for line in lines),
    )
    for name in (
        "train/patient00001/study1/view1_frontal.png",
        "train/patient00001/study1/view2_lateral.png",
    ):
        put(folder / "PNG" / name, png())
    return folder


def padchest(folder: Path) -> Path:
    """Four studies; one film is in a folder, the others in a zip; invented reports in Spanish."""
    header = "ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,Projection,MethodProjection,ReportID,Report,MethodLabel,Labels"
    rows = [
        (
            "a_1.png",
            0,
            20140915,
            "st1",
            "pat1",
            1930,
            "PA",
            "Manual",
            1,
            "sin hallazgos .",
            "Physician",
            "['normal']",
        ),
        (
            "b_1.png",
            1,
            20150203,
            "st2",
            "pat1",
            1930,
            "AP_horizontal",
            "Manual",
            2,
            "derram pleural izquierd .",
            "RNN",
            "['pleural effusion', 'unchanged']",
        ),
        (
            "b_2.png",
            1,
            20150203,
            "st2",
            "pat1",
            1930,
            "L",
            "Manual",
            2,
            "derram pleural izquierd .",
            "RNN",
            "['pleural effusion', 'unchanged']",
        ),
        ("c_1.png", 1, "", "st3", "pat2", 1950, "COSTAL", "Manual", 3, "sin cambi .", "RNN", "['unchanged']"),
        (
            "gone.png",
            7,
            20150203,
            "st4",
            "pat3",
            1950,
            "PA",
            "Manual",
            4,
            "sin cambi .",
            "RNN",
            "['normal', 'cardiomegaly']",
        ),
    ]
    table(folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", header, rows)
    put(folder / "0" / "a_1.png", deep_png(2000, 40000))
    with zipfile.ZipFile(folder / "1.zip", "w") as archive:
        for name in ("b_1.png", "b_2.png", "c_1.png"):
            archive.writestr(name, png())
    return folder


def nih(folder: Path) -> Path:
    """Five films of three patients in two folders; the last is not there. Two names of the header hold a comma."""
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
    )
    lines = [
        "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143",
        "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143",
        "00000002_000.png,No Finding,0,2,81,M,AP,2500,2048,0.171,0.171",
        "00000003_000.png,Hernia,0,3,74,F,PA,2500,2048,0.168,0.168",
        "00000009_000.png,Hernia,0,9,74,F,PA,2500,2048,0.168,0.168",
    ]
    put(folder / "Data_Entry_2017_v2020.csv", header + "\n".join(lines) + "\n")
    put(folder / "test_list.txt", "00000003_000.png\n")
    for name in ("00000001_000.png", "00000001_001.png"):
        put(folder / "images_001" / "images" / name, png())
    for name in ("00000002_000.png", "00000003_000.png"):
        put(folder / "images_002" / "images" / name, png())
    return folder


def shard(path: Path, members: Iterable[tuple[str, bytes | str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            data = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def wds(folder: Path) -> Path:
    """Two shards: one study of two samples, one with a text only, one without JSON."""
    about = {
        "study_id": "s1",
        "patient_id": "p1",
        "label": "abnormal",
        "finding_labels": ["Opacity", "Mass"],
        "view": "PA",
        "split": "val",
    }
    shard(
        folder / "train-000.tar",
        [
            ("./000.png", png(10)),
            ("./000.json", json.dumps({**about, "findings": "A mass.", "impression": "Mass."})),
            ("./001.png", png(20)),
            ("./001.json", json.dumps({**about, "view": "L", "findings": "A mass.", "impression": "Mass."})),
            ("002.txt", "Text alone.\n"),
        ],
    )
    shard(
        folder / "train-001.tar",
        [("a/003.png", png(30)), ("a/003.txt", "Clear."), ("004.json", "[1]"), ("005.png", png(40))],
    )
    return folder


OPEN_I = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR{uid}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText><AbstractText Label="INDICATION">Cough &amp; fever</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText><AbstractText Label="IMPRESSION">{impression}</AbstractText>
</Abstract></Article></MedlineCitation><MeSH>{mesh}<automatic>ignored</automatic></MeSH>{images}</eCitation>"""


def open_i(uid: int, findings: str, impression: str, mesh: Sequence[str], images: Sequence[str] = ()) -> str:
    return OPEN_I.format(
        uid=uid,
        findings=findings,
        impression=impression,
        mesh="".join(f"<major>{term}</major>" for term in mesh),
        images="".join(f'<parentImage id="{name}"><figureId>F1</figureId></parentImage>' for name in images),
    )


def by_id(word: str | Path) -> dict[str, Study]:
    return {study.study_id: study for study in open_source(str(word)).studies}


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


def dicom(path: Path, **tags: str | int) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    path.parent.mkdir(parents=True, exist_ok=True)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = str(
        tags.pop("private", "1.2.840.10008.5.1.4.1.1.1")
    )
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = str(tags.pop("uid"))
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
