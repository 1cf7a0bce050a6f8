"""Recipes are settings of train under a name of their own."""

from pathlib import Path

import pytest

from mtclip_edge.errors import SourceUnusable, WrongOption
from mtclip_edge.train.evaluation.recipes import read_recipes


def test_written_on_the_line() -> None:
    plain, clip, tuned = read_recipes(["default", "clip=bce=0,supcon=0.0", "tuned=unfreeze=all"], {"dim": 64})
    assert (plain.given, plain.config.bce, plain.config.dim) == ({}, 1.0, 64)
    assert (clip.name, clip.config.bce, clip.config.supcon) == ("clip", 0.0, 0.0)
    assert (tuned.config.unfreeze, tuned.config.epochs) == ("all", 6)  # as train resolves it


def test_none_is_the_defaults() -> None:
    (only,) = read_recipes([], {})
    assert (only.name, only.given) == ("default", {})


def test_further_sources(tmp_path: Path) -> None:
    plain, more, two = read_recipes(["plain", "more=also=a.csv,dim=64", "two=also=a.csv,also=b=c.csv"], {})
    assert (plain.also, more.also, two.also) == ((), ("a.csv",), ("a.csv", "b=c.csv"))
    assert more.config.dim == 64 and more.given["also"] == ["a.csv"]
    file = tmp_path / "recipes.toml"
    file.write_text('[one]\nalso = "a.csv"\n[several]\nalso = ["a.csv", "b.csv"]\n')
    one, several = read_recipes([str(file)], {})
    assert (one.also, several.also) == (("a.csv",), ("a.csv", "b.csv"))


def test_tables_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "recipes.toml"
    file.write_text("[wide]\nhidden = 1024\ndropout = 0\n[small]\ndim = 64\n")
    wide, small = read_recipes([str(file)], {"dim": 128})
    assert (wide.config.hidden, wide.config.dropout, wide.config.dim) == (1024, 0.0, 128)
    assert small.config.dim == 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a=drop=0.3"], "unknown setting 'drop'\ndid you mean dropout"),
        (["a=dropout=much"], "dropout = 'much'"),
        (["a=dropout"], "expected NAME=KEY=VALUE"),
        (["../a=bce=0"], "expected a name"),
        (["a", "a=bce=0"], "given twice"),
    ],
)
def test_what_is_no_recipe(words: list[str], message: str) -> None:
    with pytest.raises(WrongOption, match=message):
        read_recipes(words, {})


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("dim = 64\n")
    with pytest.raises(WrongOption, match="dim stands in no table"):
        read_recipes([str(tmp_path / "a.toml")], {})
    with pytest.raises(SourceUnusable, match="cannot be read"):
        read_recipes([str(tmp_path / "b.toml")], {})
