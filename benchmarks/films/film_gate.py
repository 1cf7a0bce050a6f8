"""What the film gate of a bundle lets through: real films, films turned, inverted and mirrored, other body
parts, and no films at all.

    python benchmarks/films/film_gate.py BUNDLE --data FOLDER [--most N] [--per 40]

FOLDER holds the sets of section 7 of the design. Nothing is fitted here: thresholds are the bundle's. Prints
a Markdown table; *named* counts films whose reason says what was done to them; the last two columns count
reasons by score.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from not_films import MADE, png

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.films.deep_pictures import scaled_to_8_bits
from mtclip_edge.films.film import DecodedFilm, Header
from mtclip_edge.films.gate import Verdict, judge_film
from mtclip_edge.films.read import read_film
from mtclip_edge.inference.preprocessing import Preprocessing, model_input
from mtclip_edge.retrieval.opening import open_film_gate
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import view_of
from mtclip_edge.workers import batches

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

Change = Callable[[np.ndarray], np.ndarray]
CHANGED: dict[str, tuple[Change, str]] = {
    "inverted": (lambda grey: 255 - grey, "--invert"),
    "turned right": (lambda grey: np.rot90(grey, -1), "quarter turn to the right"),
    "upside down": (lambda grey: np.rot90(grey, 2), "half a turn"),
    "turned left": (lambda grey: np.rot90(grey, 1), "quarter turn to the left"),
    "mirrored": (lambda grey: grey[:, ::-1], "exchanged: the heart"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--most", type=int, default=10_000, help="films of a set")
    parser.add_argument("--per", type=int, default=40, help="pictures of each kind made by code")
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    bundle = Bundle.open(options.bundle)
    how = Preprocessing.of(bundle.model.preprocessing)
    gate = open_film_gate(bundle)
    assert gate is not None, "this bundle has no film gate"
    print("| set | n | ok | warn | reject | named | layout | mirror |\n|---|---|---|---|---|---|---|---|")
    for name, films, word in sets(options.data, options.most, options.per):
        if not films:
            continue
        verdicts: list[Verdict] = []
        for batch in batches(films, lambda make: prepared(make, how), 16):
            verdicts += [judge_film(film, pixels, gate) for film, pixels in batch]
        print(row(name, verdicts, word), flush=True)


def row(name: str, verdicts: list[Verdict], word: str) -> str:
    count = [sum(v.verdict == kind for v in verdicts) for kind in ("ok", "warn", "reject")]
    said = [told(verdicts, text) for text in ("does not look like", "exchanged: the heart")]
    named = str(told(verdicts, word)) if word else ""
    return "| " + " | ".join([name, str(len(verdicts)), *map(str, count), named, *map(str, said)]) + " |"


def told(verdicts: list[Verdict], words: str) -> int:
    return sum(any(words in reason for reason in verdict.reasons) for verdict in verdicts)


def prepared(make: Callable[[], DecodedFilm], how: Preprocessing) -> tuple[DecodedFilm, np.ndarray]:
    film = make()
    return film, model_input(film.grey, how)


def sets(data: Path, most: int, per: int) -> Iterator[tuple[str, Sequence[Callable[[], DecodedFilm]], str]]:
    """Name, films (read when they are asked for), and the words that would name what was done to them."""
    openi = open_source(str(data / "openi_frontal"))
    paths = {
        split: [film.path for study in openi.split(split) for film in study.films][:most]
        for split in ("validation", "test")
    }
    yield "Open-I validation (thresholds)", [lambda p=p: read_film(p) for p in paths["validation"]], ""
    yield "Open-I test", [lambda p=p: read_film(p) for p in paths["test"]], ""
    for name, folder in (
        ("NIH", "nih_cxr"),
        ("Hannover", "hannover"),
        ("COVID notes", "covid_cxr_notes"),
        ("Open-I", "openi_lateral"),
    ):
        views = listed(data / folder, most)
        for kind in ("frontal", "lateral"):
            paths_of = [path for path, view in views if (view_of(view) == "lateral") == (kind == "lateral")]
            yield f"{name}, {kind}", [lambda p=p: read_film(p) for p in paths_of], ""
    for name, (change, word) in CHANGED.items():
        yield (
            f"Open-I test, {name}",
            [lambda p=p, c=change: changed(read_film(p), c) for p in paths["test"]],
            word,
        )
    for name, part in (("chest DICOM", "cr_chest"), ("leg DICOM", "cr_leg")):
        films = [
            film
            for path in sorted((data / "dicom").glob(f"{part}*.dcm"))
            if (film := dicom(path)) is not None
        ]
        yield name, [lambda f=f: f for f in films], ""
        yield f"{name}, header unread", [lambda f=f: DecodedFilm(f.grey, "png") for f in films], ""
    for name, draw in MADE.items():
        yield (
            name,
            [lambda d=draw, i=i: read_film(png(d(np.random.default_rng([7, i])))) for i in range(per)],
            "",
        )


def listed(folder: Path, most: int) -> list[tuple[Path, str]]:
    """Films with their views."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [(folder / line["image_path"], line["view"]) for line in csv.DictReader(file)][:most]


def changed(film: DecodedFilm, change: Change) -> DecodedFilm:
    return DecodedFilm(np.ascontiguousarray(change(film.grey)), film.kind)


def dicom(path: Path) -> DecodedFilm | None:
    """Stored values from smallest to largest, MONOCHROME1 inverted; None where no decoder is here.

    The FAKE tag is left out.
    """
    import pydicom

    data = pydicom.dcmread(path)
    try:
        grey = scaled_to_8_bits(data.pixel_array)
    except Exception:
        return None
    if "FAKE" in path.name:
        return None
    header = Header(
        str(data.get("Modality", "")),
        str(data.get("BodyPartExamined", "")).upper(),
        str(data.get("ViewPosition", "")).upper(),
    )
    return DecodedFilm(
        255 - grey if data.PhotometricInterpretation == "MONOCHROME1" else grey, "dicom", header=header
    )


if __name__ == "__main__":
    main()
