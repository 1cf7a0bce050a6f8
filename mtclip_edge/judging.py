"""``eval`` of a bundle: its own graphs, its own tokenizer, no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .bundle import Bundle
from .cases import Cases
from .device import choose
from .embedding import embed_films
from .errors import SourceUnusable, TextTowerMissing, not_among
from .evaluation import evaluate
from .reporting import Progress, Say, silent
from .retriever import open_film_encoder, open_text_encoder
from .sources import Reading
from .studies import SPLITS, Study

SCHEMA = "mtclip.eval/1"


def document(artefact: Path, kind: str, data: str, split: str, result: dict[str, Any]) -> dict[str, Any]:
    """One evaluation as JSON, schema mtclip.eval/1."""
    return {"schema": SCHEMA, "artefact": str(artefact), "kind": kind, "data": data, "split": split, "result": result}


def evaluate_bundle(
    path: Path, studies: Sequence[Study], *, device: str = "auto", say: Say = silent, progress: Progress = silent
) -> dict[str, Any]:
    """All figures of a bundle on some studies. Without a text tower, what needs report embeddings is None.

    Errors: NotABundle, ArtefactDamaged, SourceUnusable (no film can be read).
    """
    bundle = Bundle.open(path)
    chosen = choose(device)
    cases = Cases.of(studies)
    films = embed_films(open_film_encoder(bundle, chosen), [film.path for film in cases.films], bundle.manifest["dim"], progress)
    for problem in films.problems:
        say(f"left out: {problem}")
    if not len(films.read):
        raise SourceUnusable("no film can be read")
    cases = cases.only(films.read)
    try:
        reports = open_text_encoder(bundle, chosen).encode(cases.texts, progress=progress) if cases.reports else None
    except TextTowerMissing as missing:
        say(str(missing))
        reports = None
    return evaluate(cases, films.vectors, films.logits if bundle.manifest["abnormal_head"] else None, reports)


def of_split(reading: Reading, split: str) -> list[Study]:
    """The studies of a split that have a film. Errors: WrongOption, SourceUnusable."""
    if split not in (*SPLITS, "all"):
        raise not_among("split", split, (*SPLITS, "all"))
    studies = [s for s in reading.studies if s.films and split in (s.split, "all")]
    if not studies:
        raise SourceUnusable(f"{reading.spec}: no film in the split {split}", "use --split all for a source of its own")
    return studies
