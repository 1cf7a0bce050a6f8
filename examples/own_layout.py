"""A layout of your own: how a folder that mtclip does not know becomes studies, and these a bundle's reports.

python examples/own_layout.py FOLDER BUNDLE [MANIFEST.csv]

Here the folder holds one JSON file a study, as some export of a hospital might be, with its films beside it:

    {"accession": "A1", "patient": "P7", "date": "2024-03-05", "text": "…", "diagnosis": "pneumonia",
     "films": ["A1-1.png"]}

Write ``studies`` for what you have; nothing else changes. The manifest is what `mtclip train --data` and
`mtclip eval --data` take.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from mtclip_edge import Film, Index, Study

COLUMNS = ("study_id", "patient_id", "date", "image_path", "report", "label")


def studies(folder: Path) -> Iterator[Study]:
    """Labels are never guessed: what is not said is unknown."""
    for file in sorted(folder.glob("*.json")):
        said = json.loads(file.read_text(encoding="utf-8"))
        diagnosis = said.get("diagnosis")
        yield Study(
            study_id=said["accession"],
            patient_id=said["patient"],
            date=said.get("date", ""),
            films=tuple(Film(folder / name, name) for name in said["films"]),
            report=said["text"],
            label="unknown" if diagnosis is None else "normal" if diagnosis == "none" else "abnormal",
            source="own layout",
        )


def write_manifest(found: list[Study], to: Path) -> None:
    """One row a film, as docs/guide/data.md has it."""
    with to.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for study in found:
            for film in study.films:
                path = film.path.resolve()
                table.writerow((study.study_id, study.patient_id, study.date, path, study.text, study.label))


def main(folder: str, bundle: str, manifest: str | None = None) -> None:
    found = list(studies(Path(folder)))
    if manifest:
        write_manifest(found, Path(manifest))
    index = Index.open(bundle)
    before = index.bundle.index.studies
    index.add(found, say=print)
    print(f"{index.bundle.index.studies - before} of {len(found)} studies added: {index}")


if __name__ == "__main__":
    main(*sys.argv[1:])
