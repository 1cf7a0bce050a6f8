from pathlib import Path

import pytest

from mtclip_edge.errors import SourceUnusable, WrongOption
from mtclip_edge.train.settings import TUNED, TrainConfig, resolve


def test_option_then_variable_then_file_then_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "t.toml"
    file.write_text("lr = 0.1\nseed = 7\nepochs = 3\nbce = 2\n")
    monkeypatch.setenv("MTCLIP_SEED", "8")
    monkeypatch.setenv("MTCLIP_EPOCHS", "4")
    config, origins = resolve({"epochs": 5, "lr": None}, file)
    assert (config.epochs, config.seed, config.lr, config.bce, config.clip) == (5, 8, 0.1, 2.0, 1.0)
    assert {name: origins[name] for name in ("epochs", "seed", "lr", "clip")} == {
        "epochs": "option",
        "seed": "MTCLIP_SEED",
        "lr": str(file),
        "clip": "default",
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs = 0"),
        ({"via": -1}, "via = -1"),
        ({"lr": 0.0}, "lr = 0.0"),
        ({"supcon": -1.0}, "supcon = -1.0"),
        ({"bce": 0.0, "supcon": 0.0, "clip": 0.0}, "at least one loss"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"dim": 1}, "dim = 1"),
        ({"lr": float("inf")}, "lr = inf"),
        ({"bce": float("nan")}, "bce = nan"),
        ({"warmup": -3.0}, "warmup = -3.0"),
        ({"unfreeze": "some"}, "unfreeze = 'some'"),
        ({"unfreeze": "-1"}, "unfreeze = '-1'"),
        ({"ema": 1.0}, "ema = 1.0"),
        ({"drop_path": 1.0}, "drop_path = 1.0"),
        ({"micro_batch": 0}, "micro_batch = 0"),
    ],
)
def test_values_that_make_no_sense(values: dict, message: str) -> None:
    with pytest.raises(WrongOption, match=message):
        TrainConfig(**values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown setting 'epoch'\ndid you mean epochs?"),
        ("epochs = 'many'", "expected of type int"),
        ("seed = true", "type int"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "t.toml"
    file.write_text(text)
    with pytest.raises(WrongOption, match=message.replace("?", r"\?")):
        resolve({}, file)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("epochs = = 3")
    with pytest.raises(SourceUnusable, match="not TOML"):
        resolve({}, tmp_path / "t.toml")
    with pytest.raises(SourceUnusable, match="cannot be read"):
        resolve({}, tmp_path / "gone.toml")


def test_training_the_tower_has_defaults_of_its_own_and_says_where_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frozen, _ = resolve({}, None)
    tuned, origins = resolve({"unfreeze": "3", "epochs": 5}, None)
    assert (frozen.ema, frozen.trains_tower, tuned.trains_tower) == (0.0, False, True)
    assert (tuned.ema, origins["ema"]) == (TUNED["ema"], "default with unfreeze")
    assert (tuned.epochs, origins["epochs"]) == (5, "option")
    monkeypatch.setenv("MTCLIP_HEADS_FIRST", "false")
    monkeypatch.setenv("MTCLIP_BALANCED", "true")
    named, origins = resolve({}, None)
    assert (named.heads_first, named.balanced, origins["balanced"]) == (False, True, "MTCLIP_BALANCED")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfepochs = 3\n")
    assert resolve({}, tmp_path / "a.toml")[0].epochs == 3
