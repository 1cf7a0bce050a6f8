"""The gate must catch what goes wrong in exports, each by the figure that shows it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import ParityFailed, WrongOption
from mtclip_edge.export.parity.gate import Answers, Gate, overlap_at_10
from mtclip_edge.export.parity.limits import Limits, Row, limits_of, parse_budget
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.encoders import FilmEncoder, TextEncoder
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.inference.tokenizer import Tokenizer
from mtclip_edge.sources.source import open_sources
from mtclip_edge.train.run import backbone_of, load_run

ROW = Row("film", "int8", "validation films", 30, 0.01, 0.99, 0.995, 1.0)


@pytest.fixture(scope="module")
def gate(tiny_run: Path) -> Gate:
    run = load_run(tiny_run)
    return Gate(run, backbone_of(run), run.space.shape.dim, open_sources(run.sources).split("validation"))


@pytest.fixture(scope="module")
def reports(gate: Gate) -> np.ndarray:
    """Directions of their own: the reports of the tiny run, whose text tower has random weights, all lie in one place."""
    found = np.random.default_rng(0).normal(0, 1, (60, gate.dim)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def films(tiny_bundle: Path, graph: Path | None = None, **preprocessing) -> FilmEncoder:
    bundle = Bundle.open(tiny_bundle)
    return FilmEncoder.load(
        graph or bundle.graph("image", "fp32"),
        replace(Preprocessing.of(bundle.model.preprocessing), **preprocessing),
        choose("cpu"),
    )


def edited(tiny_bundle: Path, target: Path, change) -> Path:
    """The film graph with its weights (by name, float32 arrays) changed in place."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(Bundle.open(tiny_bundle).graph("image", "fp32"))
    weights = {w.name: w for w in model.graph.initializer}
    values = {name: numpy_helper.to_array(w).copy() for name, w in weights.items()}
    change(model, values)
    for name, weight in weights.items():
        weight.CopyFrom(numpy_helper.from_array(values[name], name))
    onnx.save(model, target)
    return target


def test_what_is_published_passes_with_every_figure(
    gate: Gate, tiny_bundle: Path, reports: np.ndarray
) -> None:
    row = gate.film_row("fp32", gate.ask_films(films(tiny_bundle)), reports)
    assert row.failures(limits_of("fp32")) == []
    assert (row.overlap, row.decisions, row.batch, row.precision_at_10, row.recall_at_10) == (
        1.0,
        1.0,
        1.0,
        0.0,
        0.0,
    )
    assert row.recall_interval == (0.0, 0.0)


class Inverted(FilmEncoder):
    def prepare(self, grey: np.ndarray) -> np.ndarray:
        return super().prepare(255 - grey)


class Swapped(FilmEncoder):
    def encode(self, pixels: np.ndarray, views=None) -> tuple[np.ndarray, np.ndarray]:
        vectors, logits = super().encode(pixels, views)
        return vectors[:, ::-1], logits


class Batched(FilmEncoder):
    """An embedding that depends on its batch, as dynamic quantization of a whole batch gives."""

    def encode(self, pixels: np.ndarray, views=None) -> tuple[np.ndarray, np.ndarray]:
        vectors, logits = super().encode(pixels, views)
        leaked = vectors - 0.99 * vectors.mean(axis=0)  # alone it stays what it is
        return leaked / np.linalg.norm(leaked, axis=1, keepdims=True), logits


def test_a_layer_off_by_five_percent(gate: Gate, tiny_bundle: Path, tmp_path: Path) -> None:
    def change(model, values) -> None:
        name = next(n for n in values if "norm" in n and n.endswith("weight") and "space" not in n)
        values[name] *= 1.05

    row = gate.film_row(
        "fp32", gate.ask_films(films(tiny_bundle, edited(tiny_bundle, tmp_path / "g.onnx", change)))
    )
    assert any("cosine" in line or "max abs" in line for line in row.failures(limits_of("fp32")))


@pytest.mark.parametrize(
    "changed", [{"interpolation": "bilinear"}, {"mean": (0.4, 0.4, 0.4)}, {"geometry": "crop"}]
)
def test_other_preprocessing(gate: Gate, tiny_bundle: Path, changed: dict) -> None:
    row = gate.film_row("fp32", gate.ask_films(films(tiny_bundle, **changed)))
    assert any("max abs difference" in line for line in row.failures(limits_of("fp32")))


@pytest.mark.parametrize("broken", [Inverted, Swapped])
def test_broken_runtimes(gate: Gate, tiny_bundle: Path, reports: np.ndarray, broken: type) -> None:
    encoder = films(tiny_bundle)
    row = gate.film_row(
        "int8", gate.ask_films(broken(encoder.session, encoder.preprocessing, encoder.device)), reports
    )
    failed = " ".join(row.failures(limits_of("int8")))
    assert "cosine of the worst 1 %" in failed and "top-10 overlap" in failed
    with pytest.raises(ParityFailed, match="film tower, int8: the graph differs from torch\ncosine"):
        row.require(limits_of("int8"))


def test_an_embedding_that_depends_on_its_batch(gate: Gate, tiny_bundle: Path, reports: np.ndarray) -> None:
    encoder = films(tiny_bundle)
    row = gate.film_row(
        "int8", gate.ask_films(Batched(encoder.session, encoder.preprocessing, encoder.device)), reports
    )
    assert any("same top-10 in other batches" in line for line in row.failures(limits_of("int8")))


def test_a_nan_never_passes(gate: Gate, tiny_bundle: Path, reports: np.ndarray) -> None:
    good = gate.ask_films(films(tiny_bundle))
    vectors = good.vectors.copy()
    vectors[0, 0] = np.nan
    assert good.logits is not None
    row = gate.film_row("w8", Answers(vectors, good.others, good.logits), reports)
    assert (
        row.failures(replace(limits_of("w8"), max_abs=1.0))
        and row.max_abs == float("inf")
        and row.min_cosine == -1.0
    )
    row = gate.film_row(
        "fp32", Answers(good.vectors, good.others, np.full_like(good.logits, np.nan)), reports
    )
    assert any("logit" in line for line in row.failures(limits_of("fp32")))


def test_texts_have_their_own_row(gate: Gate, tiny_bundle: Path, reports: np.ndarray) -> None:
    bundle = Bundle.open(tiny_bundle)
    about = bundle.model.tokenizer
    encoder = TextEncoder.load(
        bundle.graph("text", "fp32"), Tokenizer.of(bundle.file(about.file), about), choose("cpu")
    )
    answers = gate.ask_texts(encoder)
    assert gate.text_row("fp32", answers, reports).failures(limits_of("fp32")) == []
    turned = Answers(-answers.vectors, answers.others)
    failed = " ".join(gate.text_row("w8", turned, reports).failures(limits_of("w8")))
    assert "cosine" in failed and "overlap" in failed and "P@10" not in failed


def test_recall_may_differ_within_its_interval_only(gate: Gate, tiny_bundle: Path) -> None:
    """Every film answered with the opposite vector: the paired interval of Recall@10 leaves 0 out."""
    good = gate.ask_films(films(tiny_bundle))
    row = gate.film_row("int8", Answers(-good.vectors, good.others, good.logits))
    assert row.recall_at_10 is not None and row.recall_interval is not None
    low, high = row.recall_interval
    assert row.recall_at_10 < 0 and low < row.recall_at_10 < high
    differs = [line for line in row.failures(limits_of("int8")) if line.startswith("Recall@10 differs: -")]
    assert bool(differs) == (high < 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cosine": 0.97}, "cosine of the worst 1 % 0.970000 < 0.98"),
        ({"overlap": 0.89}, "top-10 overlap 0.890 < 0.9"),
        ({"precision_at_10": -0.011}, "macro P@10 difference 0.011 > 0.01"),
        ({"precision_at_10": 0.02}, "macro P@10 difference 0.020 > 0.01"),
        (
            {"recall_at_10": -0.03, "recall_interval": (-0.05, -0.01)},
            "Recall@10 differs: -0.030 [-0.050, -0.010]",
        ),
        ({"decisions": 0.97}, "abnormal decisions equal 0.970 < 0.98"),
        ({"batch": 0.98}, "same top-10 in other batches 0.980 < 0.99"),
    ],
)
def test_each_limit_is_said_in_words(change: dict, said: str) -> None:
    assert ROW.failures(limits_of("int8")) == []
    assert replace(ROW, **change).failures(limits_of("int8")) == [said]


def test_recall_inside_its_interval_passes() -> None:
    row = replace(ROW, recall_at_10=-0.03, recall_interval=(-0.05, 0.0))
    assert row.failures(limits_of("int8")) == []
    assert row.failures(Limits(0.98, recall=0.02)) == ["Recall@10 difference 0.030 > 0.02"]


def test_budgets() -> None:
    found = parse_budget(["overlap=0.5", "int8.cosine=0.9"], ("int8", "fp32"))
    assert limits_of("int8", found) == Limits(0.9, overlap=0.5)
    assert limits_of("fp32", found).overlap == 0.5 and limits_of("fp32", found).cosine == 0.99999
    assert limits_of("int8-dynamic", found).cosine == 0.98
    for word, said in (
        ("overlap", "expected NAME=VALUE"),
        ("overlpa=1", "did you mean overlap?"),
        ("int9.overlap=1", "did you mean int8?"),
        ("overlap=much", "expected a number, found 'much'"),
    ):
        with pytest.raises(WrongOption, match=said.replace("?", r"\?")):
            parse_budget([word], ("int8", "fp32"))


def test_weights_that_find_nothing_are_said_to(tiny_backbone: Path, source: Path, tmp_path: Path) -> None:
    """A run whose loss weights teach no retrieval: the gate says that its retrieval figures mean little."""
    from mtclip_edge.train.settings import TrainConfig
    from mtclip_edge.train.training import train

    train(TrainConfig(backbone=str(tiny_backbone), epochs=1, lr=1e-9), [str(source)], tmp_path / "run")
    run = load_run(tmp_path / "run")
    blind = Gate(run, backbone_of(run), run.space.shape.dim, open_sources(run.sources).split("validation"))
    answers = Answers(blind.film_reference[0], (), blind.film_reference[1])
    assert blind.blind
    row = blind.film_row("fp32", answers)
    assert "no more than chance" in (row.note or "")
    by_chance = {"precision_at_10": 0.3, "recall_at_10": -0.3, "recall_interval": (-0.4, -0.2)}
    assert replace(row, **by_chance).failures(limits_of("fp32")) == []
    assert len(replace(row, **by_chance, note=None).failures(limits_of("fp32"))) == 2


def test_overlap() -> None:
    a, reports = np.eye(20, dtype=np.float32), np.eye(20, dtype=np.float32)
    assert overlap_at_10(a, a, reports) == 1.0
    spread = np.arange(20, dtype=np.float32)[None]
    assert overlap_at_10(spread, -spread, reports) == 0.0
    tied = np.repeat(reports, 2, axis=0)[:20]  # twins: whichever of the two is found is as good
    assert overlap_at_10(tied, tied + 1e-6 * np.arange(20, dtype=np.float32), tied) == 1.0
