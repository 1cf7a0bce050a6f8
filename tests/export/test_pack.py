"""Export publishes only what passed its gate, and loses nothing when it fails."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.bundle.generations import Change
from mtclip_edge.errors import (
    ArtefactIncompatible,
    ParityFailed,
    Refused,
    RunUnusable,
    SourceUnusable,
    WrongOption,
)
from mtclip_edge.export import pack
from mtclip_edge.export.graphs import towers
from mtclip_edge.export.parity import limits
from mtclip_edge.films.read import read_film
from mtclip_edge.inference.preprocessing import model_input
from mtclip_edge.progress import silent
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.train.backbones.backbone import Backbone
from mtclip_edge.train.run import Run, backbone_of, load_run

FP32 = ("fp32",)


def test_it_proves_itself_on_real_inputs_at_three_batch_sizes(tiny_bundle: Path) -> None:
    film, text = Bundle.open(tiny_bundle).model.parity
    assert film.batches == text.batches == (1, 2, 7)
    assert (film.count, film.inputs) == (14, "validation films")
    for tower in (film, text):
        assert tower.max_abs <= 1e-4 and tower.min_cosine >= 0.99999 and tower.overlap == tower.batch == 1.0
    assert film.max_logit <= 1e-3 and text.max_logit is None


class WithoutProjector(nn.Module):
    """What a projector forgotten in the traced module would give."""

    def __init__(self, backbone, space, dim):
        super().__init__()
        self.tower, self.space = backbone.film_tower, space

    def forward(self, pixels):
        embedding = nn.functional.normalize(self.tower(pixels), dim=-1)
        return embedding, self.space.abnormal_logit(embedding)


class NegatedLogit(towers.FilmGraph):
    def forward(self, pixels):
        embedding, logit, *rest = super().forward(pixels)
        return embedding, -logit, *rest


@pytest.mark.usefixtures("known_text")
@pytest.mark.parametrize(
    ("graph", "figure"), [(WithoutProjector, "cosine"), (NegatedLogit, "abnormal logit difference")]
)
def test_a_broken_graph_is_never_published(
    tiny_run: Path, tmp_path: Path, monkeypatch, graph: type, figure: str
) -> None:
    monkeypatch.setattr(pack, "FilmGraph", graph)
    with pytest.raises(ParityFailed, match=figure):
        pack.export(tiny_run, tmp_path / "b", precision=FP32)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("change", [{"mean": [0.4, 0.4, 0.4]}, {"interpolation": "bilinear"}, {"size": 144}])
@pytest.mark.usefixtures("known_graphs")
def test_wrong_preprocessing_in_the_bundle_is_never_published(
    tiny_run: Path, tmp_path: Path, monkeypatch, change: dict
) -> None:
    real = pack._model_part

    def wrong(run, *rest):
        model = real(run, *rest)
        return replace(model, preprocessing=replace(model.preprocessing, **change))

    monkeypatch.setattr(pack, "_model_part", wrong)
    with pytest.raises((ParityFailed, ValueError, Exception)) as caught:
        pack.export(tiny_run, tmp_path / "b", precision=FP32)
    assert isinstance(caught.value, ParityFailed) or "Got invalid dimensions" in str(caught.value)
    assert not (tmp_path / "b").exists()


@pytest.mark.usefixtures("known_graphs")
def test_a_failed_export_leaves_the_old_bundle(
    tiny_run: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}
    monkeypatch.setitem(limits._LIMITS, "fp32", limits.Limits(1.1))
    with pytest.raises(ParityFailed):
        pack.export(tiny_run, bundle, overwrite=True, precision=FP32)
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before


@pytest.mark.usefixtures("known_graphs")
def test_overwriting_is_a_new_generation(tiny_run: Path, bundle: Path, film: Path) -> None:
    with pytest.raises(Refused, match="already holds a bundle\nadd --overwrite"):
        pack.export(tiny_run, bundle, precision=FP32)
    before = Retriever.open(bundle).query(film)
    opened = pack.export(tiny_run, bundle, overwrite=True, precision=FP32)
    assert opened.generation == 2
    assert {p.name for p in bundle.iterdir()} == {*opened.manifest.files, "manifest.json"}
    assert Retriever.open(bundle).query(film).hits == before.hits


def test_a_folder_of_something_else_is_not_touched(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("x")
    with pytest.raises(Refused, match="holds files that are not a bundle's"):
        pack.export(tiny_run, tmp_path, precision=FP32)
    with pytest.raises(Refused, match="is a file"):
        pack.export(tiny_run, tmp_path / "holiday.jpg", precision=FP32)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.usefixtures("known_graphs")
def test_other_reports_can_be_packed(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "study_id,report,label\n1,Clear.,normal\n2,clear,normal\n3,Opacity.,abnormal\n4,Mass.,abnormal\n"
    )
    bundle = pack.export(tiny_run, tmp_path / "b", reports=str(tmp_path / "r.csv"), precision=FP32)
    assert (bundle.index.reports, bundle.index.studies, bundle.index.films) == (3, 4, 0)
    with Retriever.open(tmp_path / "b") as retriever:
        hits = retriever.query_text("Clear.", k=9).hits
    assert len(hits) == 3
    twins = next(hit for hit in hits if hit.text == "Clear.")
    assert (twins.studies, twins.study_ids, twins.label) == (2, ("1", "2"), "normal")
    assert twins.score == pytest.approx(1.0, abs=2e-4)


@pytest.fixture
def moved_run(tiny_run: Path, tmp_path: Path) -> Path:
    """The run on a machine that does not have its films."""
    import json

    run = Path(shutil.copytree(tiny_run, tmp_path / "moved"))
    record = json.loads((run / "run.json").read_text())
    record["data"]["sources"] = ["manifest:/gone/m.csv"]
    (run / "run.json").write_text(json.dumps(record))
    return run


@pytest.mark.usefixtures("known_graphs")
def test_when_the_runs_films_are_gone_drawn_pictures_serve_and_the_bundle_says_so(
    moved_run: Path, source: Path, tmp_path: Path
) -> None:
    bundle = pack.export(moved_run, tmp_path / "b", reports=str(source), precision=FP32)
    assert (
        bundle.model.parity[0].inputs
        == "drawn pictures: fewer than 7 of the run's validation films can be read"
    )
    assert bundle.model.parity[0].min_cosine >= 0.99999


def test_when_the_runs_reports_are_gone_others_must_be_named(moved_run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SourceUnusable,
        match="no such manifest\nthe run's own reports cannot be read\nname others with --reports SOURCE",
    ):
        pack.export(moved_run, tmp_path / "b", precision=FP32)


def test_another_backbone_than_the_runs_is_refused(
    tiny_run: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    import json

    folder = Path(shutil.copytree(tiny_backbone, tmp_path / "other"))
    tensors = torch.load(folder / "open_clip_pytorch_model.bin", weights_only=True)
    tensors["logit_scale"] += 0.5
    torch.save(tensors, folder / "open_clip_pytorch_model.bin")
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    record = json.loads((run / "run.json").read_text())
    record["backbone"]["spec"] = str(folder)
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(ArtefactIncompatible, match="not the backbone this run was trained on"):
        pack.export(run, tmp_path / "b", precision=FP32)


def test_wrong_options(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongOption, match="precision 'int3'"):
        pack.export(tiny_run, tmp_path / "b", precision=["int3"])
    with pytest.raises(RunUnusable, match="not a run"):
        pack.export(tmp_path, tmp_path / "b", precision=FP32)
    assert not (tmp_path / "b").exists()


def test_the_model_card_says_what_it_is_not_for(tiny_bundle: Path) -> None:
    card = (tiny_bundle / "MODEL_CARD.md").read_text()
    assert "Research use only. Retrieved prior reports, not a diagnosis." in card
    assert "tiny-biomedclip" in card
    assert "AUROC: 1.000" in card or "AUROC: 0." in card


@pytest.mark.usefixtures("known_graphs")
def test_an_interrupted_export_leaves_nothing(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mtclip_edge.indexing.build.build_graph", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pack.export(tiny_run, tmp_path / "b", precision=FP32)
    assert not (tmp_path / "b").exists()


@pytest.mark.usefixtures("known_graphs")
def test_weights_stored_in_fp16_are_half_the_size_and_find_the_same(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path, film: Path
) -> None:
    bundle = pack.export(tiny_run, tmp_path / "b", precision=["fp16w"])
    assert list(bundle.model.graphs["image"]) == ["fp16w"]
    assert not list((tmp_path / "b").glob("*.fp32.*"))
    size, full = (
        (folder / name).stat().st_size
        for folder, name in ((tmp_path / "b", "image.fp16w.onnx"), (tiny_bundle, "image.fp32.onnx"))
    )
    assert size < 0.6 * full
    (film_row,) = [p for p in bundle.model.parity if (p.tower, p.precision) == ("film", "fp16w")]
    assert film_row.min_cosine >= 0.999 and film_row.overlap >= 0.95
    with Retriever.open(tmp_path / "b") as small, Retriever.open(tiny_bundle) as whole:
        assert small.precision == "fp16w"
        a, b = small.query(film, k=1), whole.query(film, k=1)
        assert a.hits[0].score == pytest.approx(b.hits[0].score, abs=2e-3)
        assert a.abnormal.logit == pytest.approx(b.abnormal.logit, abs=0.05)


def test_a_weight_too_large_for_half_precision_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from mtclip_edge.export.quantization.quantize import store_weights_in_fp16

    weight = numpy_helper.from_array(np.full((16, 16), 1e5, np.float32), "w")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [16, 16]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", value[:1], value[1:], [weight]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        tmp_path / "a.onnx",
    )
    with pytest.raises(ParityFailed, match="weight w does not fit into half precision"):
        store_weights_in_fp16(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.usefixtures("known_graphs")
def test_a_precision_whose_gate_cannot_be_asked_is_not_published(
    moved_run: Path, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(ParityFailed, match="fp16w: its gate needs validation films"):
        pack.export(moved_run, tmp_path / "b", reports=str(source), precision=["fp32", "fp16w"])
    assert not (tmp_path / "b").exists()


@pytest.mark.usefixtures("known_graphs")
def test_a_bundle_with_a_damaged_manifest_can_be_exported_again(
    tiny_run: Path, bundle: Path, film: Path
) -> None:
    (bundle / "manifest.json").write_text("{")
    pack.export(tiny_run, bundle, overwrite=True, precision=FP32)
    assert Retriever.open(bundle).query(film).hits
    assert all(problem is None for _, problem in Bundle.open(bundle).verify())


@pytest.fixture(scope="module")
def wide_run(source: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """128 numbers, and a head that no loss ever trained."""
    from mtclip_edge.train.settings import TrainConfig
    from mtclip_edge.train.training import train

    folder = tmp_path_factory.mktemp("wide") / "run"
    train(TrainConfig(backbone=str(tiny_backbone), epochs=2, dim=128, bce=0.0), [str(source)], folder)
    return folder


@pytest.fixture(scope="module")
def cut(wide_run: Path) -> Bundle:
    return pack.export(wide_run, wide_run.parent / "cut", dim=64, precision=FP32)


def test_a_head_that_was_never_trained_gives_no_probability(cut: Bundle, film: Path) -> None:
    with Retriever.open(cut.path) as retriever:
        assert retriever.query(film).to_dict()["abnormal"] is None


@torch.inference_mode()
def test_embeddings_are_cut_and_the_head_still_reads_them_whole(
    wide_run: Path, cut: Bundle, film: Path
) -> None:
    run = load_run(wide_run)
    backbone = backbone_of(run)
    assert (run.space.shape.dim, run.space.shape.prefixes) == (128, (64,))
    assert (cut.model.dim, cut.model.prefixes) == (64, ())
    whole_id, cut_id = (pack._model_id(job_of(run, backbone, dim, cut.path)) for dim in (128, 64))
    assert cut.model.model_id == cut_id != whole_id
    pixels = torch.from_numpy(model_input(read_film(film).grey, run.preprocessing)[None])
    whole, logit, _ = (found[0].numpy() for found in towers.FilmGraph(backbone, run.space, 128)(pixels))
    with Retriever.open(cut.path) as retriever:
        vectors, logits = retriever._films.encode_films([read_film(film).grey])
        assert retriever._library.index.vectors.shape[1] == 64
    np.testing.assert_allclose(vectors[0], whole[:64] / np.linalg.norm(whole[:64]), atol=1e-5)
    np.testing.assert_allclose(logits[0], logit, atol=1e-3)


@pytest.mark.parametrize("dim", [1, 129])
def test_a_width_it_does_not_have_is_refused(wide_run: Path, tmp_path: Path, dim: int) -> None:
    with pytest.raises(WrongOption, match=f"--dim {dim}\nexpected 2 to 128"):
        pack.export(wide_run, tmp_path / "b", dim=dim, precision=FP32)
    assert not (tmp_path / "b").exists()


def job_of(run: Run, backbone: Backbone, dim: int, path: Path) -> pack.Job:
    return pack.Job(
        run, backbone, dim, pack.Names.of(1), Change(path, 1, []), True, "research", silent, silent
    )
