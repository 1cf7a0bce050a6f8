"""Published protocols of film and report retrieval: who is asked, what is a hit, and what was published.

``openi`` and ``mimic-3041``: pairs. One frontal film of each test study that has a text, and that text. A
film has one right answer among all, its own report, and so the other way round. Reports that are word for
word the same are entries of their own, and the twin of a right one is wrong. ``chexpert-5x200``: classes.
200 films of each of five observations that are the only one of their study; a prompt's right answers are the
films of its class, a film's the reports of its class.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.evaluation.bundle_models import Model
from mtclip_edge.evaluation.metrics import first_hit_rank, top_k
from mtclip_edge.evaluation.model_on_cases import ModelOnCases
from mtclip_edge.sources.chexpert_labels import DEVICES, NORMAL
from mtclip_edge.studies import Film, Study

Array = np.ndarray
PAIRS, CLASSES = ("openi", "mimic-3041"), "chexpert-5x200"
PROTOCOLS = (*PAIRS, CLASSES)
KS = (1, 5, 10)
CLASS_KS = (5, 10, 100)
FRONTAL = ("PA", "AP", "frontal")
EXPECTED = {"mimic-3041": 3041, CLASSES: 1000}  # films
EACH, SEED = 200, 0
# In words of our own: a class is the mean of its prompts.
PROMPTS = {
    "Atelectasis": ("atelectasis", "bibasilar atelectasis", "linear atelectasis at the lung base"),
    "Cardiomegaly": ("cardiomegaly", "the heart is enlarged", "increased cardiac silhouette"),
    "Consolidation": ("consolidation", "lobar consolidation", "airspace consolidation in the lower lobe"),
    "Edema": ("pulmonary edema", "interstitial edema", "vascular congestion with pulmonary edema"),
    "Pleural Effusion": ("pleural effusion", "bilateral pleural effusions", "blunted costophrenic angle"),
}
_PROMPT = "prompt of "  # begins the study id of a prompt, which no source's id is taken for


@dataclass(frozen=True)
class Recalls:
    """Recall@1, 5 and 10 in percent, film to report and back; None where it was not published."""

    name: str
    forth: tuple[float, float, float] | None
    back: tuple[float, float, float] | None

    @property
    def rsum(self) -> float | None:
        return sum(self.forth) + sum(self.back) if self.forth and self.back else None


PUBLISHED = {
    "mimic-3041": (
        Recalls("published: BiomedCLIP fine-tuned", (23.7, 50.4, 64.8), (22.4, 50.0, 62.9)),
        Recalls("published: the same with a patch bottleneck", (26.1, 54.8, 68.5), None),
    )
}


def asked(protocol: str, studies: Sequence[Study], each: int = EACH, seed: int = SEED) -> list[Study]:
    """The studies of a protocol, each with its one frontal film: of pairs those of the test split, of classes
    all.

    Errors: SourceUnusable where too few are left to ask anything.
    """
    chosen = _of_classes(studies, each, seed) if protocol == CLASSES else _pairs(studies)
    if len(chosen) < 2:
        raise SourceUnusable(
            f"{protocol}: {len(chosen)} studies can be asked",
            "expected studies of one positive observation each, with a frontal film"
            if protocol == CLASSES
            else "expected a test split of frontal films with reports",
        )
    return chosen


def prompts() -> list[Study]:
    """The prompts of the classes as studies to be searched: a text tower reads them like reports."""
    return [
        Study(f"{_PROMPT}{name} {i}", f"{_PROMPT}{name} {i}", report=text, finding_labels=(name,))
        for name, texts in PROMPTS.items()
        for i, text in enumerate(texts)
    ]


def note(protocol: str, studies: Sequence[Study]) -> str:
    """How many are asked, and how that differs from what was published."""
    line = f"{protocol}: {len(studies)} films of {len({s.patient_id for s in studies})} patients"
    if protocol == CLASSES:
        counts = {name: sum(_class_of(s) == name for s in studies) for name in PROMPTS}
        line += " (" + ", ".join(f"{count} {name}" for name, count in counts.items()) + ")"
    wanted = EXPECTED.get(protocol)
    if wanted and wanted != len(studies):
        line += f"; published: {wanted}, so figures are not of the same films"
    return line


def pair_recalls(model: Model, name: str) -> Recalls:
    """Recalls of a model of pairs. Twins are entries of their own: equal scores never help."""
    judged = ModelOnCases(model.cases, model.embedded)
    scores = judged.scores
    if scores is None:
        raise SourceUnusable(f"{name}: embeds no reports, so nothing can be retrieved")
    own = model.cases.own_report.argmax(axis=1)
    square = scores[:, own]  # a column for each film's own report
    positive = np.eye(len(own), dtype=bool)
    forth, back = (_percent(first_hit_rank(s, positive)) for s in (square, square.T))
    return Recalls(name, forth, back)


def class_figures(model: Model) -> dict[str, float | None]:
    """Of a model whose searched reports begin with ``prompts()``: share of the right class among the first K
    films of a prompt, and among the first K reports of a film (of other patients); how often the nearest
    class is the film's.
    """
    cases, scores = model.cases, ModelOnCases(model.cases, model.embedded).scores
    if scores is None:
        raise SourceUnusable(f"{model.name}: embeds no reports, so nothing can be retrieved")
    classes = [name for name in PROMPTS if any(_class_of(study) == name for study in cases.studies)]
    truth = np.array([classes.index(_class_of(study)) for study in cases.studies])
    of_prompt = [_prompted_class(report.studies) for report in cases.reports]
    columns = {name: [i for i, c in enumerate(of_prompt) if c == name] for name in classes}
    nearness = np.stack([_mean_direction(scores, columns[name], model) for name in classes])
    figures: dict[str, float | None] = {
        f"prompt > film P@{k}": _precision(nearness, np.arange(len(classes)), truth, k) for k in CLASS_KS
    }
    reports = [i for i, c in enumerate(of_prompt) if not c]
    labels = np.array([_report_class(cases.reports[i].studies, classes) for i in reports], int)
    for k in CLASS_KS:
        allowed = cases.foreign[:, reports] & (labels >= 0)
        figures[f"film > report P@{k}"] = (
            _precision(scores[:, reports], truth, labels, k, allowed) if len(reports) else None
        )
    figures["zero-shot accuracy"] = float((nearness.argmax(axis=0) == truth).mean())
    figures["chance"] = float(np.mean([np.mean(truth == i) for i in range(len(classes))]))
    return figures


def recall_row(recalls: Recalls) -> str:
    """A row of the table of pairs, in percent; a dash for what was not published."""
    cells = [*(recalls.forth or (None,) * 3), *(recalls.back or (None,) * 3), recalls.rsum]
    return f"| {recalls.name} | {' | '.join('–' if c is None else f'{c:.1f}' for c in cells)} |"


RECALL_HEAD = (
    "| | film > report R@1 | R@5 | R@10 | report > film R@1 | R@5 | R@10 | RSUM |\n" + "|---" * 8 + "|"
)


def chance_recalls(count: int) -> Recalls:
    """What a random order has among as many pairs."""
    share = tuple(100 * min(k, count) / count for k in KS)
    return Recalls("a random order", share, share)  # type: ignore[arg-type]


def _pairs(studies: Sequence[Study]) -> list[Study]:
    return [
        one for study in studies if study.split == "test" and study.report_id and (one := _frontal(study))
    ]


def _of_classes(studies: Sequence[Study], each: int, seed: int) -> list[Study]:
    """``each`` studies of every class, drawn by ``seed`` from all that have one positive observation."""
    chosen: list[Study] = []
    for name in PROMPTS:
        having = sorted(
            (one for study in studies if _class_of(study) == name and (one := _frontal(study))),
            key=lambda study: study.study_id,
        )
        order = np.random.default_rng(seed).permutation(len(having))[:each]
        chosen += [having[i] for i in sorted(order)]
    return chosen


def _class_of(study: Study) -> str:
    """The class of a study: its only positive observation, tubes and wires aside; empty for any other."""
    positive = set(study.finding_labels) - {DEVICES, NORMAL}
    return next(iter(positive)) if len(positive) == 1 and positive <= PROMPTS.keys() else ""


def _frontal(study: Study) -> Study | None:
    """The study with its first frontal film alone; None without one. Of unknown views, where all are."""
    films: Sequence[Film] = [film for film in study.films if film.view in FRONTAL]
    if not films and all(film.view == "unknown" for film in study.films):
        films = study.films
    return replace(study, films=(films[0],)) if films else None


def _prompted_class(studies: Sequence[Study]) -> str:
    """The class that a text is a prompt of; empty for a report. One that reads like a prompt is a prompt."""
    named = (study.finding_labels[0] for study in studies if study.study_id.startswith(_PROMPT))
    return next(named, "")


def _report_class(studies: Sequence[Study], classes: Sequence[str]) -> int:
    """The class that all studies of a report have, -1 where they differ."""
    named = {_class_of(study) for study in studies}
    return classes.index(named.pop()) if len(named) == 1 and named <= set(classes) else -1


def _mean_direction(scores: Array, columns: list[int], model: Model) -> Array:
    """Cosine of each film with the mean of some reports' vectors, float [films]."""
    report = model.embedded.report
    length = 1.0 if report is None else float(np.linalg.norm(report[columns].mean(axis=0)))
    return np.asarray(scores[:, columns].mean(axis=1) / max(length, 1e-12))


def _precision(
    scores: Array, query: Array, item: Array, k: int, allowed: Array | None = None
) -> float | None:
    """Share of the first k items with the query's class, the mean over queries; over fewer where there are
    fewer.
    """
    best = top_k(scores, k, allowed)
    counted = (best >= 0).sum(axis=1)
    hits = ((item[best] == query[:, None]) & (best >= 0)).sum(axis=1)
    return float((hits[counted > 0] / counted[counted > 0]).mean()) if counted.any() else None


def _percent(rank: Array) -> tuple[float, float, float]:
    return tuple(float(100 * (rank <= k).mean()) for k in KS)  # type: ignore[return-value]
