"""Drawn studies of two views: a frontal and a lateral table with the same studies, and a run and a bundle of
both.
"""

import csv
from pathlib import Path

import numpy as np
from drawn import draw
from PIL import Image, ImageDraw, ImageFilter

SIZE = (90, 100)
COUNTS = {"train": 130, "validation": 60, "test": 12}
COLUMNS = ["study_id", "patient_id", "image_path", "view", "report", "label", "split", "source"]


def draw_lateral(random: np.random.Generator, opaque: bool) -> Image.Image:
    """A chest from the side: one dark field between spine behind and heart in front; ``opaque`` adds a bright
    round opacity.
    """
    width, height = SIZE
    image = Image.new("L", SIZE, int(random.integers(40, 60)))
    pen = ImageDraw.Draw(image)
    shift = int(random.integers(-3, 4))
    pen.rectangle(
        [0.10 * width + shift, 0, 0.92 * width + shift, height], fill=int(random.integers(140, 160))
    )
    pen.ellipse([0.26 * width + shift, 0.10 * height, 0.80 * width + shift, 0.82 * height], fill=50)
    pen.rectangle([0.14 * width + shift, 0, 0.28 * width + shift, height], fill=200)
    pen.ellipse([0.52 * width + shift, 0.48 * height, 0.82 * width + shift, 0.80 * height], fill=175)
    if opaque:
        x, y = 0.45 * width + shift, float(random.uniform(0.25, 0.4)) * height
        pen.ellipse([x - 9, y - 9, x + 9, y + 9], fill=235)
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(1)))
    return Image.fromarray(np.clip(blurred + random.normal(0, 4, blurred.shape), 0, 255).astype(np.uint8))


def write_views(folder: Path) -> None:
    """``frontal.csv`` and ``lateral.csv`` of the same studies, each with a film of that view."""
    random = np.random.default_rng(5)
    folder.mkdir()
    tables: dict[str, list[dict[str, str]]] = {"frontal": [], "lateral": []}
    for split, count in COUNTS.items():
        for number in range(count):
            opaque = bool(random.integers(2))
            text = f"There is an opacity, number {number % 7}." if opaque else f"Clear lungs, {number % 5}."
            row = {"study_id": f"{split}{number}", "patient_id": f"p-{split}{number}", "split": split}
            row |= {"report": text, "label": "abnormal" if opaque else "normal", "source": "drawn"}
            films = {"frontal": draw(random, "left" if opaque else None, SIZE)}
            films["lateral"] = draw_lateral(random, opaque)
            for view, film in films.items():
                name = f"{split}{number}-{view}.png"
                film.save(folder / name)
                tables[view].append({**row, "image_path": name, "view": view})
    for view, rows in tables.items():
        with (folder / f"{view}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


def train_both(backbone: Path, films: Path, folder: Path) -> None:
    """A run of both tables."""
    from mtclip_edge.train.settings import TrainConfig
    from mtclip_edge.train.training import train

    config = TrainConfig(backbone=str(backbone), views="all", epochs=8, batch_size=64, lr=3e-3, dropout=0.1)
    train(config, [str(films / f"{view}.csv") for view in ("frontal", "lateral")], folder)
