"""Reports of phantoms, in our own radiology wording: they name what is drawn, where and how large, and deny
some of the rest.

Each phrase has several forms; the last form of each is held out: it is used for patients of the test split
only. Nothing is numbered, so two reports are the same when chance says the same twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .findings import KINDS, Finding


@dataclass(frozen=True)
class Report:
    findings: str
    impression: str

    @property
    def text(self) -> str:
        return f"{self.findings} {self.impression}"


_SEEN = {
    "effusion": (
        "There is a {size} {side} pleural effusion.",
        "{Size} pleural effusion on the {side} with blunting of the costophrenic angle.",
        "The {side} costophrenic angle is obscured by a {size} effusion.",
        "Layering fluid in the {side} pleural space, {size} in amount, consistent with effusion.",
        "The {side} hemidiaphragm is hidden by a {size} pleural effusion.",
    ),
    "pneumothorax": (
        "There is a {size} {side} pneumothorax.",
        "A pleural line is seen on the {side} without lung markings beyond it: {size} pneumothorax.",
        "{Size} pneumothorax on the {side}, widest at the apex.",
        "The {side} lung is partly collapsed by a {size} pneumothorax.",
        "Free pleural air on the {side} in keeping with a {size} pneumothorax.",
    ),
    "nodule": (
        "There is a {size} nodule in the {side} {zone} zone.",
        "A {size} round nodule projects over the {side} {zone} lung.",
        "Well defined {size} pulmonary nodule, {side} {zone} zone.",
        "In the {side} {zone} zone lies a {size} nodular density.",
        "A solitary {size} nodule is noted in the {zone} part of the {side} lung.",
    ),
    "mass": (
        "There is a large mass in the {side} {zone} zone.",
        "A lobulated mass projects over the {side} {zone} lung.",
        "Large {side} {zone} zone lung mass.",
        "A mass lesion occupies the {side} {zone} zone.",
        "Bulky mass in the {zone} part of the {side} lung.",
    ),
    "consolidation": (
        "There is {size} consolidation in the {side} {zone} zone.",
        "Airspace consolidation, {size}, in the {side} {zone} lung.",
        "Patchy {size} opacity in the {side} {zone} zone compatible with consolidation.",
        "{Size} area of consolidation over the {side} {zone} lung.",
        "The {side} {zone} zone shows {size} confluent consolidation.",
    ),
    "cardiomegaly": (
        "There is {size} cardiomegaly.",
        "The heart is enlarged, {size} cardiomegaly.",
        "{Size} enlargement of the cardiac silhouette, cardiomegaly.",
        "Cardiomegaly of {size} degree.",
        "The cardiothoracic ratio is increased: {size} cardiomegaly.",
    ),
}
_CONCLUDED = {
    "effusion": (
        "{Size} {side} pleural effusion.",
        "Pleural effusion on the {side}.",
        "{Side} effusion, {size}.",
    ),
    "pneumothorax": (
        "{Size} {side} pneumothorax.",
        "Pneumothorax on the {side}.",
        "{Side} pneumothorax, {size}.",
    ),
    "nodule": (
        "{Side} {zone} zone nodule.",
        "Pulmonary nodule in the {side} {zone} zone.",
        "Nodule, {side} {zone} lung.",
    ),
    "mass": ("{Side} {zone} zone mass.", "Lung mass in the {side} {zone} zone.", "Mass, {side} {zone} lung."),
    "consolidation": (
        "{Side} {zone} zone consolidation.",
        "Consolidation in the {side} {zone} zone.",
        "{Size} consolidation, {side} {zone} lung.",
    ),
    "cardiomegaly": ("{Size} cardiomegaly.", "Enlarged heart, {size} cardiomegaly.", "Cardiomegaly, {size}."),
}
_ABSENT = {
    "effusion": (
        "No pleural effusion.",
        "The costophrenic angles are sharp.",
        "Both pleural spaces are free of fluid.",
    ),
    "pneumothorax": ("No pneumothorax.", "There is no pneumothorax on either side.", "No free pleural air."),
    "nodule": ("No pulmonary nodule.", "No nodule or mass is seen.", "No focal nodular density."),
    "consolidation": (
        "The lungs are clear.",
        "No focal consolidation.",
        "Both lungs are well aerated.",
        "No airspace opacity.",
    ),
    "cardiomegaly": (
        "Heart size is normal.",
        "The cardiac silhouette is not enlarged.",
        "Normal heart size.",
    ),
}
_EXTRA = (
    "The bony thorax is intact.",
    "No acute bony abnormality.",
    "The mediastinal contours are unremarkable.",
    "Mediastinum is midline.",
    "The trachea is central.",
    "The hila are unremarkable.",
    "The pulmonary vasculature is normal.",
)
_NORMAL_IMPRESSION = (
    "No acute cardiopulmonary abnormality.",
    "Normal chest.",
    "No evidence of active disease.",
    "Unremarkable frontal view of the chest.",
)
_STANDARD_NORMAL = Report(
    "The lungs are clear. No pleural effusion. No pneumothorax. Heart size is normal.",
    "No acute cardiopulmonary abnormality.",
)
_STANDARD_SHARE = 0.3  # of normal films get the reader's standard text: real archives are full of twins


def write(random: np.random.Generator, findings: Sequence[Finding], held_out: bool) -> Report:
    """The report of a film. ``held_out`` prefers the forms that are kept from training."""
    if not findings and random.random() < _STANDARD_SHARE:
        return _STANDARD_NORMAL
    seen = [_form(random, _SEEN[f.kind], f, held_out) for f in findings]
    drawn = {f.kind for f in findings}
    drawn |= {"nodule"} if "mass" in drawn else set()
    denied = [
        kind for kind in KINDS if kind in _ABSENT and kind not in drawn and not _contradicts(kind, drawn)
    ]
    chosen = [kind for kind in denied if random.random() < (0.5 if findings else 0.8)] or denied[:1]
    others = [_pick(random, _ABSENT[kind], held_out) for kind in chosen]
    extra = [str(sentence) for sentence in random.permutation(_EXTRA)[: int(random.integers(0, 3))]]
    tail = [str(sentence) for sentence in random.permutation(others + extra)]
    concluded = [_form(random, _CONCLUDED[f.kind], f, held_out) for f in findings]
    return Report(
        " ".join(seen + tail),
        " ".join(concluded) if concluded else _pick(random, _NORMAL_IMPRESSION, held_out),
    )


def _contradicts(kind: str, drawn: set[str]) -> bool:
    """With any opacity drawn, nobody writes that the lungs are clear."""
    return kind == "consolidation" and bool(drawn & {"nodule", "mass", "effusion"})


def _form(random: np.random.Generator, forms: Sequence[str], finding: Finding, held_out: bool) -> str:
    words = {"size": finding.size, "side": finding.side, "zone": finding.zone}
    return _pick(random, forms, held_out).format(
        **words, **{name.title(): word.capitalize() for name, word in words.items()}
    )


def _pick(random: np.random.Generator, forms: Sequence[str], held_out: bool) -> str:
    """One form: of all but the last for training, the last one half of the time for the test split."""
    form = int(random.integers(0, len(forms) - 1))
    return forms[-1] if held_out and random.random() < 0.5 else forms[form]
