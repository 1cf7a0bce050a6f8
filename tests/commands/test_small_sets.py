"""A small set says what it is too small for before it costs an hour; no door then shows a percentage."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from balanced_html import Balanced

from mtclip_edge.display.answer_words import NOT_CALIBRATED
from mtclip_edge.display.film_order import order_of
from mtclip_edge.evidence.calibration import Abnormal


@pytest.mark.torch
def test_train_and_inspect_say_it_beforehand_and_alike(
    mtclip, source: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    options = ("--backbone", tiny_backbone, "--epochs", "1", "--out", tmp_path / "run")
    lines = mtclip("train", "--data", source, *options).err.splitlines()
    told = [line for line in lines if line.startswith("too small for")]
    first_epoch = next(place for place, line in enumerate(lines) if line.startswith("epoch 1/1"))
    assert told and lines.index(told[-1]) < first_epoch
    found = mtclip("data", "inspect", source, "--films", "0", "--format", "json")
    document = json.loads(found.out)
    assert told == [
        f"too small for {one['what']}: {one['counts']}; {one['so']}" for one in document["too_small_for"]
    ]
    frontal = document["splits"]["validation"]["frontal_films"]
    lacking = {one["films"]: one["there"] for one in document["too_small_for"][0]["lacking"]}
    assert lacking == {f"{label} validation films": frontal[label] for label in ("normal", "abnormal")}
    without = mtclip("train", "--data", source, *options[:-1], tmp_path / "other", "--bce", "0").err
    assert "too small for percentiles" in without and "calibration" not in without


def test_no_door_shows_a_percentage_of_an_uncalibrated_head(
    mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    words = ("query", *films, "--bundle", tiny_bundle, "-k", "2")
    documents = json.loads(mtclip(*words, "--format", "json", "--save", page).out)
    for document in documents:
        abnormal = document["abnormal"]
        assert [abnormal[name] for name in ("probability", "calibrated", "threshold", "call")] == [
            *(None, False, None, None)
        ]
        assert document["evidence"]["decision"] is None
    rows = list(csv.DictReader(io.StringIO(mtclip(*words, "--format", "csv").out)))
    assert {(row["probability_abnormal"], row["threshold"], row["call"]) for row in rows} == {("", "", "")}
    listed = mtclip(*words, "--format", "table").out
    assert not re.search(r"\d %", listed)
    alone = mtclip(*words, "--format", "table", "--full").out
    assert alone.count(NOT_CALIBRATED) == len(films) and not re.search(r"abnormal \S*\d+ %", alone)
    said = [text for tag, text in Balanced(page.read_text()).said if tag == "dd"]
    assert said.count(NOT_CALIBRATED) == len(films)


def test_the_order_is_left(mtclip, tiny_bundle: Path, films: list[Path]) -> None:
    words = ("query", *films, "--bundle", tiny_bundle, "--format", "json", "--sort", "abnormal")
    logits = [document["abnormal"]["logit"] for document in json.loads(mtclip(*words).out)]
    assert logits == sorted(logits, reverse=True) and len(set(logits)) == len(films)


def test_what_is_calibrated_comes_before_what_is_not() -> None:
    class Asked:
        def __init__(self, value: str, abnormal: Abnormal | None):
            self.value, self.abnormal = value, abnormal

    sure, unsure = (Abnormal(p, True, 0.5, "normal", logit=9.0) for p in (0.4, 0.1))
    high, low = (Abnormal(None, False, logit=logit) for logit in (3.0, -3.0))
    asked = [Asked("a", None), Asked("b", low), Asked("c", high), Asked("d", unsure), Asked("e", sure)]
    assert [one.value for one in sorted(asked, key=order_of("abnormal"))] == ["e", "d", "c", "b", "a"]
