"""The lexical text side: its arithmetic, what it is fitted on, and that a run and a bundle carry it."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtclip_edge.errors import ArtefactDamaged, Refused, SourceUnusable, WrongOption
from mtclip_edge.export.graphs.towers import TextGraph, export_text_tower
from mtclip_edge.export.pack import export
from mtclip_edge.export.quantization.quantize import tower_kind
from mtclip_edge.export.quantization.static import OPERATORS
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.encoders import TextEncoder
from mtclip_edge.inference.tokenizer import Tokenizer
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study
from mtclip_edge.train import lexical, training
from mtclip_edge.train.backbones.backbone import Backbone, load_backbone, text_features
from mtclip_edge.train.lexical import WordTower, fit_words, load_words, save_words, with_words
from mtclip_edge.train.projector import SharedSpace
from mtclip_edge.train.run import WORDS, backbone_of, load_run
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.tensor_files import save_tensors

TEXTS = [
    "The lungs are clear.",
    "Opacity on the left. Opacity on the right.",
    "A large opacity on the right, and another opacity.",
    "The heart is large.",
    "The lungs are clear and the heart is normal.",
]


@pytest.fixture(scope="module")
def backbone(tiny_backbone: Path) -> Backbone:
    return load_backbone(str(tiny_backbone))


@pytest.fixture(scope="module")
def words(backbone: Backbone) -> WordTower:
    return fit_words(backbone.tokenizer, TEXTS).eval()


def in_pieces(tokenizer: Tokenizer, text: str, words: WordTower) -> np.ndarray:
    """The vector of a text in the space of pieces by plain Python, float64 [rows], not yet of length 1."""
    vector = np.zeros(len(words.idf))
    ids = [int(number) for number in tokenizer([text])[0]]
    for number in set(ids) - tokenizer.special_ids:
        if row := int(words.row[number]):
            vector[row] = (1 + math.log(ids.count(number))) * float(words.idf[row])
    return vector


def test_a_text_is_its_counts_times_idf_of_length_1_along_the_axes(
    backbone: Backbone, words: WordTower
) -> None:
    axes = words.table[1:].double().numpy() / words.idf[1:, None].double().numpy()
    np.testing.assert_allclose(axes.T @ axes, np.eye(words.width), atol=1e-5)
    texts = [*TEXTS, "clear clear clear, left"]
    actual = text_features(words, backbone.tokenizer, texts).numpy()  # one batch: the short ones are padded
    for text, vector in zip(texts, actual, strict=True):
        expected = in_pieces(backbone.tokenizer, text, words)
        np.testing.assert_allclose(vector, expected[1:] @ axes / np.linalg.norm(expected), atol=1e-5)


def test_with_every_axis_kept_cosines_are_those_of_the_counts(backbone: Backbone, words: WordTower) -> None:
    vectors = text_features(words, backbone.tokenizer, TEXTS).numpy()
    whole = np.stack([in_pieces(backbone.tokenizer, text, words) for text in TEXTS])
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    assert words.width == len(TEXTS)
    np.testing.assert_allclose(vectors @ vectors.T, whole @ whole.T, atol=1e-5)


def test_idf_is_that_of_the_reports_it_is_fitted_on(backbone: Backbone, words: WordTower) -> None:
    def idf(piece: str) -> float:
        return float(words.idf[words.row[backbone.tokenizer.model.token_to_id(piece)]])

    assert idf("##u") == pytest.approx(math.log(6 / 3) + 1)  # lungs, twice
    assert idf("##f") == pytest.approx(math.log(6 / 2) + 1)  # left, once


def test_the_same_reports_give_the_same_bytes(backbone: Backbone, tmp_path: Path) -> None:
    torch.manual_seed(5)
    first = save_words(tmp_path / "a", fit_words(backbone.tokenizer, TEXTS))
    torch.manual_seed(6)
    assert save_words(tmp_path / "b", fit_words(backbone.tokenizer, TEXTS)) == first
    assert save_words(tmp_path / "c", fit_words(backbone.tokenizer, TEXTS[:-1])) != first


def test_the_axes_are_the_first_singular_vectors(random: np.random.Generator) -> None:
    table = random.normal(size=(300, 200)) * (random.random((300, 200)) < 0.1)
    place = np.nonzero(table)
    axes = lexical._axes(place, table[place], table.shape, 8)
    _, sizes, expected = np.linalg.svd(table, full_matrices=False)
    np.testing.assert_allclose(np.linalg.norm(table @ axes, axis=0), sizes[:8], rtol=1e-3)
    assert np.abs(axes[:, 0] @ expected[0]) > 0.99
    assert (axes[np.abs(axes).argmax(axis=0), np.arange(8)] > 0).all()


def test_only_the_pieces_of_the_most_reports_get_a_row(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lexical, "MOST_PIECES", 3)
    few = fit_words(backbone.tokenizer, TEXTS)
    assert len(few.table) == 4
    everywhere = set.intersection(*(set(backbone.tokenizer([text])[0].tolist()) for text in TEXTS))
    assert set(np.flatnonzero(few.known_pieces()).tolist()) <= everywhere


def test_reports_without_a_word_are_refused(backbone: Backbone) -> None:
    with pytest.raises(SourceUnusable, match="no report of the train split"):
        fit_words(backbone.tokenizer, [])


def test_a_text_of_unknown_words_is_zero_and_counted(backbone: Backbone, words: WordTower) -> None:
    alone = with_words(backbone, words, "lexical")
    unseen = "zzj"
    assert not text_features(alone.text_tower, alone.tokenizer, [unseen]).any()
    read = alone.tokenizer.coverage([unseen, "The lungs are clear."])
    assert (read.words.words, read.words.unknown) == (5, 1)
    with pytest.raises(Refused, match="unknown to the text tower"):
        alone.tokenizer.coverage([unseen]).refuse_unknown("--text")
    both = with_words(backbone, words, "both")
    assert (
        both.tokenizer.coverage([unseen]).words.unknown == backbone.tokenizer.coverage([unseen]).words.unknown
    )


@pytest.mark.parametrize("side", ["lexical", "both"])
@torch.inference_mode()
def test_the_graph_gives_what_torch_gives(
    side: str, backbone: Backbone, words: WordTower, tmp_path: Path
) -> None:
    sided = with_words(backbone, words, side)
    space = SharedSpace(training.shape_for(TrainConfig(text_side=side), sided), 14.0).eval()
    if space.words:
        torch.nn.init.normal_(space.words.out.weight)  # it starts at zero and would tell nothing
    graph = export_text_tower(TextGraph(sided, space, space.shape.dim), sided, tmp_path / "text.onnx")
    texts = [*TEXTS, "clear", "opacity " * 40, "zzj", ""]
    encoder = TextEncoder.load(graph, sided.tokenizer, choose("cpu"))
    expected = space.embed_texts(text_features(sided.text_tower, sided.tokenizer, texts)).numpy()
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=2e-5)
    np.testing.assert_allclose(encoder.encode(texts, batch=1), expected, atol=2e-5)


@torch.inference_mode()
def test_step_0_beside_an_aligned_tower_is_the_backbone_itself(backbone: Backbone, words: WordTower) -> None:
    both = with_words(backbone, words, "both")
    shape = training.shape_for(TrainConfig(text_side="both"), both)
    assert (shape.residual, shape.text_width, shape.words_width) == (True, 32, words.width)
    space = SharedSpace(shape, 14.0).eval()
    features = text_features(both.text_tower, both.tokenizer, TEXTS)
    own = text_features(backbone.text_tower, backbone.tokenizer, TEXTS)
    assert torch.equal(features[:, :32], own)
    assert features[:, 32:].any()
    assert torch.equal(space.embed_texts(features), F.normalize(own, dim=-1))


def test_the_branch_learns_and_leaves_the_rest_as_it_was_drawn(backbone: Backbone, words: WordTower) -> None:
    shape = training.shape_for(TrainConfig(), with_words(backbone, words, "both"))
    torch.manual_seed(0)
    plain = SharedSpace(replace(shape, words_width=0), 14.0).state_dict()
    torch.manual_seed(0)
    space = SharedSpace(shape, 14.0)
    assert all(torch.equal(space.state_dict()[name], value) for name, value in plain.items())
    space.embed_texts(torch.randn(4, shape.text_width + words.width))[:, 0].sum().backward()
    assert space.words is not None
    assert space.words.out.weight.grad is not None
    assert space.words.out.weight.grad.abs().sum() > 0


def test_the_lexical_side_alone_is_never_taken_for_aligned(backbone: Backbone, words: WordTower) -> None:
    same_width = WordTower(words.row, words.idf, torch.zeros(len(words.idf), 32))
    alone = with_words(backbone, same_width, "lexical")
    assert alone.film_width == alone.text_width
    assert not alone.aligned


def test_a_damaged_file_of_words_is_told(words: WordTower, tmp_path: Path) -> None:
    save_words(tmp_path / "w", WordTower(words.row, words.idf[:-1], words.table))
    with pytest.raises(ArtefactDamaged, match="not the word pieces"):
        load_words(tmp_path / "w")


def test_no_such_text_side() -> None:
    with pytest.raises(WrongOption, match="auto, transformer, lexical, both"):
        TrainConfig(text_side="words")


def of_two_widths(backbone: Backbone) -> Backbone:
    """As compact's: towers that share no space."""
    return replace(backbone, film_width=backbone.film_width + 1)


def studies(texts: list[str]) -> list[Study]:
    return [Study(f"s{i}", f"p{i}", findings=text, label="normal") for i, text in enumerate(texts)]


def test_by_default_word_pieces_read_where_towers_share_no_space(backbone: Backbone) -> None:
    config, reports = TrainConfig(), studies(TEXTS)
    assert training.with_text_side(config, backbone, reports).text_side == "transformer"
    apart = of_two_widths(backbone)
    assert training.with_text_side(config, apart, reports).text_side == "lexical"
    named = replace(config, text_side="transformer")
    assert training.with_text_side(named, apart, reports) is apart


def test_where_no_report_has_a_word_the_default_is_the_tower_and_lexical_says_so(backbone: Backbone) -> None:
    apart = of_two_widths(backbone)
    assert training.with_text_side(TrainConfig(), apart, studies(["", ""])) is apart
    with pytest.raises(SourceUnusable, match="no report of the train split"):
        training.with_text_side(TrainConfig(text_side="lexical"), apart, studies(["", ""]))


def test_rows_of_an_older_run_are_read(words: WordTower, tmp_path: Path) -> None:
    wide = {**words.state_dict(), "row": words.row.long()}
    save_tensors(tmp_path / "w", wide, {})
    assert torch.equal(load_words(tmp_path / "w").row, words.row)


@pytest.fixture(scope="module", params=["lexical", "both"])
def trained(request, source: Path, tiny_backbone: Path, tmp_path_factory) -> SimpleNamespace:
    """A run of one epoch and its bundle."""
    folder, side = tmp_path_factory.mktemp(request.param), request.param
    config = TrainConfig(backbone=str(tiny_backbone), epochs=1, batch_size=32, text_side=side)
    run = training.train(config, [str(source)], folder / "run")
    bundle = export(folder / "run", folder / "bundle", precision=["fp32"])
    return SimpleNamespace(side=side, run=run, bundle=bundle)


def test_words_of_other_splits_are_in_no_table(
    trained: SimpleNamespace, source: Path, tiny_backbone: Path
) -> None:
    tower = backbone_of(trained.run).text_tower
    known = (tower if trained.side == "lexical" else tower.words).known_pieces()
    tokenizer = load_backbone(str(tiny_backbone)).tokenizer
    train = [study.tower_text for study in open_source(str(source)).split("train") if study.report_id]
    pieces = set(np.unique(tokenizer(train)).tolist()) - tokenizer.special_ids
    assert set(np.flatnonzero(known).tolist()) == pieces


def test_a_run_and_its_bundle_carry_the_words(trained: SimpleNamespace, tiny_run: Path) -> None:
    again = load_run(trained.run.path)
    assert again.record.words_sha256
    assert load_run(tiny_run).record.words_sha256 is None
    kind = tower_kind(trained.bundle.path / "text.fp32.onnx")
    assert kind == ("words" if trained.side == "lexical" else "transformer") and kind in OPERATORS
    assert trained.bundle.model.tokenizer.to_dict().get("pieces", "") != "" or trained.side == "both"
    with Retriever.open(trained.bundle.path) as retriever:
        assert retriever.query_text("opacity in the left lung").hits
        if trained.side == "lexical":
            with pytest.raises(Refused, match="unknown to the text tower"):
                retriever.query_text("xylophone")
            with pytest.raises(Refused, match="no word in it"):
                retriever.query_text("... –")
    (trained.run.path / WORDS).write_bytes(b"")
    with pytest.raises(ArtefactDamaged, match=WORDS):
        load_run(trained.run.path)


def test_the_option_and_its_short_form(mtclip, tmp_path: Path) -> None:
    shown = mtclip("train", "--data", tmp_path, "--lexical", "--text-side", "lexical")
    assert shown.code == 2
    assert "--lexical means --text-side both" in shown.err
