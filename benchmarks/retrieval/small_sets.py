"""Do thresholds that small sets are given keep their promise on new patients' films: fitted on validation
alone, or by five folds on train and validation together?

    python benchmarks/retrieval/small_sets.py --data SOURCE [--laterals SOURCE] [--sizes 150,300] [--draws 4]

Small sets are drawn by patient from the train and validation splits; all other patients of these splits are
judged, and the test split has no part in it. The film gate: shares of ordinary films that are warned of and
rejected. The head: each set trains frozen projectors as ``train`` does, and five more for the folds;
specificity at the operating point, the risk of each verdict, the share of films below the first percentile,
beside what was promised. Every figure is the mean over the draws, with the lowest and the highest.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.folds import INNER, patient_parts
from mtclip_edge.evaluation.metrics import calibration_error
from mtclip_edge.evidence.enough import FOLDS, LAYOUT_REJECT, LAYOUT_WARN, MIRROR_WARN
from mtclip_edge.evidence.measuring import NearestReports, evidence_record
from mtclip_edge.evidence.validation_reference import Similarities
from mtclip_edge.evidence.verdict import RARE, TEMPERATURE, TrustRule, against, parted, trust_in, vote_of
from mtclip_edge.export.fitted import film_gate as fitting
from mtclip_edge.export.fitted.verdicts import nearest_reports
from mtclip_edge.films.gate import FilmGate, LateralGate, mirrored
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study
from mtclip_edge.train.calibration import SPECIFICITY, fit_calibration
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.training import Fitted, fit_splits

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

HOW = Preprocessing(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "squash", 256)
VALIDATION, FOLDED = "validation alone", "five folds"
GATE = {
    "layout warns": LAYOUT_WARN,
    "mirror warns": MIRROR_WARN,
    "layout rejects": LAYOUT_REJECT,
}
HEAD = {
    "specificity": f"{SPECIFICITY:.2f}",
    "calibration error": "small",
    "confident: wrong": "at most 0.10",
    "confident: share": "",
    "abstain: wrong": "at least 0.45",
    "abstain: share": "",
    "below percentile 1": "0.01",
    "percentile, mean": "50",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--laterals", help="lateral films: what their gate makes of them, in the same way")
    parser.add_argument("--sizes", default="150,300,600")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--gate-draws", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    pool = _pool(options.data)
    layouts = _layouts(pool)
    laterals = _pool(options.laterals) if options.laterals else []
    of_laterals = _layouts(laterals)
    for size in map(int, options.sizes.split(",")):
        seeds = range(options.seed, options.seed + options.gate_draws)
        _told(f"film gate, {size} studies", GATE, [_gate(_drawn(pool, size, n), layouts) for n in seeds])
        if laterals:
            values = [_gate(_drawn(laterals, size, n), of_laterals, lateral=True) for n in seeds]
            _told(f"film gate of laterals, {size} studies", GATE, values)
        if options.draws:
            heads = [_head(_drawn(pool, size, n), n) for n in seeds[: options.draws]]
            _told(f"head, {size} studies", HEAD, heads)


def _pool(source: str) -> list[Study]:
    """The studies with films of train and validation."""
    reading = open_source(source)
    pool = [study for study in reading.studies if study.films and study.split != "test"]
    print(f"{len(pool)} studies of train and validation; test is left out: {len(reading.split('test'))}")
    return pool


@dataclass(frozen=True)
class Draw:
    """A small set, and the studies of all other patients."""

    train: list[Study]
    validation: list[Study]
    judged: list[Study]


Answers = tuple[NearestReports, np.ndarray, np.ndarray]  # nearest reports, labels, logits of films
Values = dict[str, dict[str, float | None]]  # by way of fitting, then by figure


def _drawn(pool: Sequence[Study], size: int, seed: int) -> Draw:
    """So many studies of patients in random order, in the splits that they have."""
    patients = sorted({study.patient_id for study in pool})
    of: dict[str, list[Study]] = {}
    for study in pool:
        of.setdefault(study.patient_id, []).append(study)
    drawn: list[Study] = []
    for place in np.random.default_rng(seed).permutation(len(patients)):
        if len(drawn) >= size:
            break
        drawn += of[patients[place]]
    inside = {study.patient_id for study in drawn}
    parts = ([s for s in drawn if s.split == split] for split in ("train", "validation"))
    return Draw(*parts, [study for study in pool if study.patient_id not in inside])


def _layouts(pool: Sequence[Study]) -> dict[Path, np.ndarray]:
    """Layouts float64 [64] of all films that can be read."""
    paths = fitting.films_in(pool)
    rows, read = fitting.read_layouts(HOW, paths)
    return {paths[place]: row for place, row in zip(read, rows, strict=True)}


def _gate(draw: Draw, layouts: Mapping[Path, np.ndarray], lateral: bool = False) -> Values:
    def rows(studies: Sequence[Study]) -> np.ndarray:
        return np.stack([layouts[path] for path in fitting.films_in(studies) if path in layouts])

    fit = fitting.fit_lateral_gate if lateral else fitting.fit_gate
    train, validation, judged = map(rows, (draw.train, draw.validation, draw.judged))
    part = fitting.fold_of_films(draw.train, draw.validation)
    assert part is not None
    paths = [path for path in fitting.films_in([*draw.train, *draw.validation]) if path in layouts]
    by_way = {
        VALIDATION: fitting.Layouts(train, validation),
        FOLDED: fitting.Layouts(train, validation, np.array([part[path] for path in paths])),
    }
    return {
        way: _alarms(fit(films), judged) if films.enough else dict.fromkeys(GATE)
        for way, films in by_way.items()
    }


def _alarms(gate: FilmGate | LateralGate, judged: np.ndarray) -> dict[str, float | None]:
    """Shares of ordinary films above each threshold; None where there is no threshold."""
    odd = gate.odd(judged) if isinstance(gate, LateralGate) else gate.layout.distance(judged)
    mirror = odd - gate.layout.distance(np.array([mirrored(row) for row in judged]))
    limits = gate.thresholds
    pairs = (odd, limits.layout_warn), (mirror, limits.mirror_warn), (odd, limits.layout_reject)
    found = [None if most is None else float((scores > most).mean()) for scores, most in pairs]
    return dict(zip(GATE, found, strict=True))


def _head(draw: Draw, seed: int) -> Values:
    config = TrainConfig(device="cpu", seed=seed)
    fitted = fit_splits(config, (draw.train, draw.validation), "the set", None)
    near, labels, logits = _answers(fitted, draw.validation, draw.train)
    folds = _out_of_fold(config, [*draw.train, *draw.validation])
    judged = _answers(fitted, draw.judged, draw.train)
    return {
        VALIDATION: _kept(judged, near, labels, logits),
        FOLDED: _kept(judged, *folds),
    }


def _out_of_fold(config: TrainConfig, studies: Sequence[Study]) -> Answers:
    """Every film, by a training that its patient had no part in, among the reports of the others."""
    place, parts = patient_parts(studies, FOLDS), []
    for number in range(FOLDS):
        rest = [study for study, part in zip(studies, place, strict=True) if part != number]
        held = [study for study, part in zip(studies, place, strict=True) if part == number]
        inner = patient_parts(rest, INNER, 1 + number)
        chosen = [study for study, part in zip(rest, inner, strict=True) if part == 0]
        train = [study for study, part in zip(rest, inner, strict=True) if part != 0]
        fitted = fit_splits(config, (train, chosen), "the set", None)
        parts.append(_answers(fitted, held, [*train, *chosen]))
    near = NearestReports(
        np.concatenate([part[0].scores for part in parts]),
        np.concatenate([part[0].labels for part in parts]),
        float(np.mean([part[0].share for part in parts])),
    )
    return near, *(np.concatenate([part[n] for part in parts]) for n in (1, 2))


def _answers(fitted: Fitted, asked: Sequence[Study], searched: Sequence[Study]) -> Answers:
    """Nearest reports, labels and logits of films."""
    table, output = fitted.judge(Cases.of(asked, searched))
    assert output.logit is not None
    assert output.report is not None
    return nearest_reports(table.cases, output.film, output.report), table.cases.labels, output.logit


def _kept(
    judged: Answers, near: NearestReports, labels: np.ndarray, logits: np.ndarray
) -> dict[str, float | None]:
    """What judged films get by thresholds that were fitted on others; None for what is left out."""
    calibration = fit_calibration(labels, logits)
    evidence = evidence_record(near, labels, logits, calibration, "")
    found: dict[str, float | None] = dict.fromkeys(HEAD)
    of_judged, truth, asked = judged
    best = Similarities(evidence.films, evidence.best_scores) if evidence.best_scores else None
    percentile = best and np.array([best.percentile(score) for score in of_judged.scores[:, 0]])
    if percentile is not None:
        found["below percentile 1"] = float((percentile < RARE).mean())
        found["percentile, mean"] = float(percentile.mean())
    if calibration is None:
        return found
    probability = np.round(calibration.probability(asked), 4)
    labelled = truth >= 0
    found["specificity"] = float((probability[truth == 0] < calibration.point).mean())
    found["calibration error"] = calibration_error(truth[labelled], probability[labelled])
    if (rule := TrustRule.of(evidence.trust)) is None:
        return found
    vote = vote_of(of_judged.scores, of_judged.labels, evidence.temperature or TEMPERATURE)
    doubt = parted(probability, calibration.point) | against(probability, vote, of_judged.share)
    doubt |= False if percentile is None else percentile < RARE
    verdict = rule.verdicts(trust_in(probability), doubt)[labelled]
    wrong = ((probability >= 0.5) != (truth == 1))[labelled]
    return found | _worth(rule, verdict, wrong)


def _worth(rule: TrustRule, verdict: np.ndarray, wrong: np.ndarray) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for place, name, limit in ((0, "confident", rule.confident), (2, "abstain", rule.abstain)):
        chosen = verdict == place
        if limit is not None and chosen.any():
            found[f"{name}: wrong"] = float(wrong[chosen].mean())
            found[f"{name}: share"] = float(chosen.mean())
    return found


def _told(title: str, promised: dict[str, object], draws: list[Values]) -> None:
    print(f"\n{title}, {len(draws)} draws\n")
    print("| figure | promised | fitted on | draws that have it | mean | lowest | highest |")
    print("|---|---|---|---|---|---|---|")
    for name, promise in promised.items():
        for way in (VALIDATION, FOLDED):
            values = [draw[way][name] for draw in draws]
            there = [value for value in values if value is not None]
            cells = [f"{of(there):.3f}" if there else "" for of in STATISTICS]
            print(f"| {name} | {promise} | {way} | {len(there)} | {' | '.join(cells)} |", flush=True)


STATISTICS: tuple[Callable[[list[float]], float], ...] = (lambda values: sum(values) / len(values), min, max)


if __name__ == "__main__":
    main()
