"""Reports with left and right exchanged: the words, and their place in the CLIP loss."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import ArtefactDamaged, BackboneUnusable, WrongOption
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.export.pack import export
from mtclip_edge.index.filters import Filters
from mtclip_edge.progress import silent
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import distinct_reports
from mtclip_edge.train.backbones.backbone import load_backbone
from mtclip_edge.train.backbones.split import LeftRightTower
from mtclip_edge.train.lexical import fit_words, with_words
from mtclip_edge.train.losses import clip_loss
from mtclip_edge.train.pooling import with_pool
from mtclip_edge.train.run import backbone_of, load_run
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.side import exchanged, leans, only_side, sides_named
from mtclip_edge.train.split_tensors import Exchanged, tabulate
from mtclip_edge.train.tower_features import cache_key
from mtclip_edge.train.training import train

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Left effusion, right clear.", "Right effusion, left clear."),
        ("LEFT-SIDED PORT. RLL opacity, lul clear.", "RIGHT-SIDED PORT. LLL opacity, rul clear."),
        ("Mild dextroscoliosis; Rt lung.", "Mild levoscoliosis; Lt lung."),
        ("Bright cleft rightly left alone", "Bright cleft rightly right alone"),
        ("No effusion.", "No effusion."),
    ],
)
def test_left_and_right_are_exchanged(text: str, other: str) -> None:
    assert exchanged(text) == other
    assert exchanged(other) == text
    assert sides_named(other) == sides_named(text)[::-1]


def test_which_side_a_text_names() -> None:
    assert only_side("Small left effusion. Left base.") == "left"
    assert only_side("RLL pneumonia") == "right"
    assert only_side("Left effusion, right clear.") == only_side("Clear lungs.") == ""
    assert leans("Left effusion, left base, right clear.") and leans("Right base.")
    assert not leans("Left effusion, right clear.") and not leans("Clear lungs.")


def test_a_further_wrong_report_by_hand() -> None:
    """One more column for the film that has it, with its weight; the reports' direction is as it was."""

    def unit(seed: int) -> torch.Tensor:
        return F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)

    film, text, scale, report = unit(0), unit(1), torch.tensor(5.0), torch.arange(3)
    further = torch.tensor([2.0, -math.inf, 0.5])
    logits = (scale * film @ text.T).numpy().astype(float)
    more = 0.0
    for i, value in enumerate(further.tolist()):
        plain = math.log(np.exp(logits[i]).sum())
        more += math.log(np.exp(logits[i]).sum() + math.exp(value)) - plain
    expected = clip_loss(film, text, scale, report).item() + more / 3 / 2
    assert clip_loss(film, text, scale, report, further).item() == pytest.approx(expected, abs=1e-5)
    nothing = clip_loss(film, text, scale, report, torch.full((3,), -math.inf))
    assert nothing.item() == pytest.approx(clip_loss(film, text, scale, report).item(), abs=1e-6)
    film.requires_grad_()
    clip_loss(film, text, scale, report, further).backward()
    assert film.grad is not None and bool(film.grad.isfinite().all())


def test_only_reports_that_the_text_side_tells_from_their_exchange(cnn_backbone: Path, source: Path) -> None:
    studies = open_source(str(source)).split("train")
    backbone = load_backbone(str(cnn_backbone))
    texts = [report.first.tower_text for report in distinct_reports(studies)]
    backbone = with_words(backbone, fit_words(backbone.tokenizer, texts), "lexical")
    table = tabulate(backbone, Cases.of(studies), silent, CPU)
    others = Exchanged.of(backbone, table, silent)
    sided = [leans(text) for text in table.cases.texts]
    assert any(sided) and not all(sided)
    assert ((others.row >= 0).numpy() <= np.array(sided)).all()
    assert len(others.text) == int((others.row >= 0).sum()) > 0
    for i in (others.row >= 0).nonzero().squeeze(1).tolist():
        assert not torch.allclose(others.text[others.row[i]], table.text[i], atol=1e-4)


def test_halves_are_refused_where_towers_share_a_space(cnn_backbone: Path) -> None:
    backbone = load_backbone(str(cnn_backbone))
    assert with_pool(backbone, "whole") is backbone
    with pytest.raises(BackboneUnusable, match="share a space"):
        with_pool(backbone, "halves")


def test_settings_of_side() -> None:
    with pytest.raises(WrongOption, match="pool = 'left'"):
        TrainConfig(pool="left")
    with pytest.raises(WrongOption, match="side_negatives"):
        TrainConfig(side_negatives=-1.0)


def test_features_of_halves_are_kept_apart(cnn_backbone: Path) -> None:
    backbone = load_backbone(str(cnn_backbone))
    key = cache_key(backbone.identity, backbone.preprocessing)
    assert key == cache_key(backbone.identity, backbone.preprocessing, "whole")
    assert key != cache_key(backbone.identity, backbone.preprocessing, "halves")


@pytest.fixture(scope="module")
def halves_run(cnn_backbone: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film tower tuned with its halves pooled apart, and exchanged reports as wrong ones."""
    config = TrainConfig(
        backbone=str(cnn_backbone),
        text_side="lexical",
        pool="halves",
        side_negatives=1.0,
        unfreeze="1",
        epochs=2,
        batch_size=32,
        hidden=32,
        dim=16,
        device="cpu",
    )
    said: list[str] = []
    out = tmp_path_factory.mktemp("halves") / "run"
    train(config, [str(source)], out, say=said.append)
    assert any(line.startswith("side_negatives: ") for line in said)
    return out


def test_a_run_of_halves_is_exported_and_explained(halves_run: Path, film: Path, tmp_path: Path) -> None:
    run = load_run(halves_run)
    backbone = backbone_of(run)
    assert isinstance(backbone.film_tower, LeftRightTower)
    assert (
        run.space.shape.film_width
        == backbone.film_width
        == 2 * load_backbone(run.record.backbone.spec).film_width
    )
    export(halves_run, tmp_path / "bundle", precision=["fp32"])  # the gate compares it with torch
    explain = Bundle.open(tmp_path / "bundle").model.explain
    assert explain is not None and (explain.pooling, explain.grid) == ("halves", (3, 3))
    with Retriever.open(tmp_path / "bundle", filters=Filters(label="abnormal")) as retriever:
        found = retriever.explain(film, retriever.query(film))
    assert found.values.shape == (3, 3) and np.abs(found.values).max() > 0


def test_a_run_of_another_pool_is_damaged(halves_run: Path, tmp_path: Path) -> None:
    import json
    import shutil

    copy = shutil.copytree(halves_run, tmp_path / "run")
    record = json.loads((copy / "run.json").read_text())
    record["config"]["pool"] = "thirds"
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(ArtefactDamaged, match="pool is 'thirds'"):
        backbone_of(load_run(copy))
