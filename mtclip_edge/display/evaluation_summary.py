"""The first five lines of an evaluation on a terminal: which model is better, by how much and whether surely;
of one model alone, whether its main figures are surely above chance.

Surely: the 95 % interval leaves out no difference (of two models, the paired one of the same draws), and the
figure asks as many studies as a person may generalise from.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import printable
from .figure_names import ANECDOTE, Figure, title

# One figure for each thing that a model is for: the head, the class of what is found, the report both ways.
MAIN = ("auroc", "precision@10.macro", "recall@10.film_to_report", "recall@10.report_to_film")
_NAME = 27  # columns
_MODEL = 20  # columns of a model's name in a line of its own


def summary_lines(document: Mapping[str, Any], width: int = 80) -> list[str]:
    """Five lines of at most ``width`` columns (80 or more) of an evaluation with one model (a bundle is one,
    whatever precisions it has) or two; with more a line for each that is compared with the first.
    """
    models, differences = document["models"], document["differences"]
    names = [printable(f"{model['name']} {model['precision'] or ''}".strip()) for model in models]
    if len({model["name"] for model in models}) == 1:  # precisions of one bundle are not rivals
        return _alone(names[0], _main(models[0]["figures"]), width)
    if len(differences) == 1:
        return _two(names[0], names[1], _main(differences[0]["figures"]), width)
    head = fitted("Against {}: surely (by paired 95 % intervals) better or worse", names[:1], width)
    rest = [_one_of_many(name, _main(d["figures"])) for name, d in zip(names[1:], differences, strict=True)]
    return [head, *rest]


def letters(count: int) -> list[str]:
    """What stands for each of several models in the tables below: A, B, C …; numbers beyond 26."""
    return [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(count)]


def fitted(words: str, names: Sequence[str], width: int) -> str:
    """Words with names in their gaps, of each only as much of its end as fits into the width."""
    room = (width - len(words.replace("{}", ""))) // len(names)
    return words.format(*(end(name, room) for name in names))


def end(name: str, room: int) -> str:
    """A name that fits: of a path its end tells more than its beginning."""
    return name if len(name) <= room else "…" + name[1 - max(room, 2) :]


def _main(figures: Sequence[Figure]) -> dict[str, Figure]:
    """The main figures that were computed, of all studies."""
    there = {figure["name"]: figure for figure in figures if figure["subset"] == "all"}
    return {name: there[name] for name in MAIN if name in there and there[name]["value"] is not None}


def _alone(name: str, figures: Mapping[str, Figure], width: int) -> list[str]:
    verdicts = {key: _above(figure) for key, figure in figures.items()}
    sure = sum(verdict == "surely" for verdict in verdicts.values())
    head = fitted(f"{{}}: surely above chance in {sure} of {len(figures)} main figures", [name], width)
    return [head, *(_beside_chance(key, figures.get(key), verdicts.get(key, "")) for key in MAIN)]


def _beside_chance(key: str, figure: Figure | None, verdict: str) -> str:
    if figure is None:
        return _not_computed(key)
    control = (figure.get("control") or {}).get("value")
    bounds = {"chance": figure["chance"], "control": control}
    beside = ", ".join(f"{word} {value:.3f}" for word, value in bounds.items() if value is not None)
    return f"  {_SHORT[key]:<18}{with_interval(figure):<20}  {beside:<28} {verdict}".rstrip()


def _above(figure: Figure) -> str:
    """Whether a figure is above chance, and above the control: where one is missing the other decides."""
    control = (figure.get("control") or {}).get("value")
    bars = [bar for bar in (figure["chance"], control) if bar is not None]
    if not bars or figure["low"] is None or figure["studies"] < ANECDOTE:
        return "not sure"
    if figure["low"] > max(bars):
        return "surely"
    return "below" if figure["high"] < min(bars) else "not sure"


def _two(first: str, other: str, figures: Mapping[str, Figure], width: int) -> list[str]:
    verdicts = [_apart(figure) for figure in figures.values()]
    better, worse, of = verdicts.count("surely better"), verdicts.count("surely worse"), len(verdicts)
    if not better and not worse:
        head = fitted(f"{{}} or {{}}: no sure difference in {of} main figures", [other, first], width)
    elif better and worse:
        words = f"{{}} against {{}}: surely better in {better} of {of}, worse in {worse}"
        head = fitted(words, [other, first], width)
    elif better:
        head = fitted(
            f"{{}} better than {{}}: surely in {better} of {of}, worse in none", [other, first], width
        )
    else:
        head = fitted(
            f"{{}} worse than {{}}: surely in {worse} of {of}, better in none", [other, first], width
        )
    return [head, *(_difference(key, figures.get(key)) for key in MAIN)]


def _difference(key: str, figure: Figure | None) -> str:
    if figure is None:
        return _not_computed(key)
    return f"  {title(key):<{_NAME}}{with_interval(figure, '+'):<25}{_apart(figure)}"


def _apart(figure: Figure) -> str:
    """Whether the paired interval leaves out 0."""
    low, high = figure["low"], figure["high"]
    if figure["value"] == low == high == 0:
        return "the same"
    if low is None or figure["studies"] < ANECDOTE:
        return "not sure"
    return "surely better" if low > 0 else "surely worse" if high < 0 else "not sure"


def _one_of_many(name: str, figures: Mapping[str, Figure]) -> str:
    parts = []
    for verdict, most in (("surely better", max), ("surely worse", min)):
        found = {key: f["value"] for key, f in figures.items() if _apart(f) == verdict}
        if found:
            key = most(found, key=lambda key: found[key])
            parts.append(f"{verdict[7:]} in {len(found)} ({_SHORT[key]} {found[key]:+.3f})")
    said = ", ".join(parts) or f"no sure difference in {len(figures)} main figures"
    return f"  {end(name, _MODEL):<{_MODEL}}  {said}"


def _not_computed(key: str) -> str:
    return f"  {title(key):<{_NAME}}not computed"


def with_interval(figure: Figure, sign: str = "") -> str:
    """A value with its interval, three decimals each."""
    low, high = figure["low"], figure["high"]
    bounds = "" if low is None else f" [{low:{sign}.3f}, {high:{sign}.3f}]"
    return f"{figure['value']:{sign}.3f}{bounds}"


# As the lines of a training name them.
_SHORT = dict(zip(MAIN, ("AUROC", "macro P@10", "R@10 film>report", "R@10 report>film"), strict=True))
