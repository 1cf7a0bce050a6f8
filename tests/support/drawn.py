"""Small drawn films with reports: enough anatomy to be learned from, none of it real. And what several tests share."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

COLUMNS = [
    "study_id",
    "patient_id",
    "image_path",
    "view",
    "findings",
    "impression",
    "label",
    "finding_labels",
    "split",
    "ward",
]
_NORMAL = [
    "The lungs are clear.",
    "Both lungs are clear. Heart size is normal.",
    "No effusion. No pneumothorax. Lungs are clear.",
]
_SEEN = [
    "There is an opacity in the {side} lung.",
    "Dense {side} lung opacity is seen.",
    "A round opacity projects over the {side} lung.",
]
_TAIL = ["", " The heart is normal.", " No effusion.", " Ribs are intact.", " The spine is straight."]


def draw(random: np.random.Generator, side: str | None, size: tuple[int, int] = (180, 200)) -> Image.Image:
    """A dark field with two lungs and a heart; ``side`` left or right adds a bright round opacity (left is the viewer's right)."""
    width, height = size
    image = Image.new("L", size, int(random.integers(150, 180)))
    pen = ImageDraw.Draw(image)
    shift = int(random.integers(-6, 7))
    for x in (0.12, 0.55):
        pen.ellipse(
            [x * width + shift, 0.12 * height, (x + 0.33) * width + shift, 0.86 * height],
            fill=int(random.integers(30, 60)),
        )
    pen.ellipse([0.40 * width + shift, 0.48 * height, 0.68 * width + shift, 0.84 * height], fill=175)
    if side:
        x = (0.70 if side == "left" else 0.28) * width + shift
        y = float(random.uniform(0.3, 0.6)) * height
        radius = float(random.uniform(0.09, 0.13)) * width
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=235)
    image = image.filter(ImageFilter.GaussianBlur(2))
    noise = random.normal(0, 4, (height, width))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def write_manifest(folder: Path, studies: int, seed: int) -> Path:
    """Films and ``manifest.csv``; every tenth study has two films, some lack a film, a text or a label."""
    random = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(studies):
        study = f"s{number:03d}"
        side = [None, "left", "right"][int(random.choice(3, p=[0.5, 0.25, 0.25]))]
        base = _row(random, study, side, number)
        names = (
            []
            if number % 20 == 7
            else [f"images/{study}_{i}.png" for i in range(2 if number % 10 == 3 else 1)]
        )
        for name in names:
            draw(random, side).save(folder / name)
        rows += [{**base, "image_path": name} for name in names] or [base]
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


def _row(random: np.random.Generator, study: str, side: str | None, number: int) -> dict[str, str]:
    wording = str(random.choice(_SEEN)).format(side=side) if side else str(random.choice(_NORMAL))
    row = {
        "study_id": study,
        "patient_id": f"p{number // 2:03d}",
        "image_path": "",
        "view": "PA",
        "findings": wording + str(random.choice(_TAIL)),
        "impression": f"Opacity on the {side}." if side else "No acute finding.",
        "label": "abnormal" if side else "normal",
        "finding_labels": f"Opacity|{side.title()}" if side else "",
        "split": "",
        "ward": "A",
    }
    if number % 20 == 11:
        row |= {"findings": "", "impression": ""}
    if number % 20 == 15:
        row["label"] = ""
    return row


def flat(values: dict, prefix: str = "") -> dict[str, float]:
    """Nested figures by dotted names."""
    found: dict[str, float] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found
