"""Is it a frontal chest film at all: header facts, picture facts, scores, what a rejected film gives, and what a bundle carries."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.bundle.generations import commit
from mtclip_edge.bundle.records import GaussianRecord
from mtclip_edge.films.film import DecodedFilm, Header
from mtclip_edge.films.gate import FilmGate, Gaussian, Thresholds, judge_film, layout_of, mirrored
from mtclip_edge.films.gate_facts import facts_of
from mtclip_edge.retrieval.retriever import Retriever

CHEST = np.tile(np.arange(256, dtype=np.uint8), (256, 1))


def said(**facts) -> list[tuple[str, str]]:
    return [
        (fact.weight, fact.reason) for fact in facts_of(DecodedFilm(CHEST, "dicom", header=Header(**facts)))
    ]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"modality": "CT"}, ("reject", "the header's modality is CT, not a radiograph")),
        ({"modality": "MG"}, ("reject", "the header's modality is MG, not a radiograph")),
        ({"modality": "OT"}, ("warn", "the header's modality is OT, which may be anything")),
        ({"body_part": "EXTREMITY"}, ("reject", "the header's body part is EXTREMITY, not the chest")),
        ({"body_part": "EXTREMETY"}, ("reject", "the header's body part is EXTREMITY, not the chest")),
        ({"body_part": "LEFT KNEE"}, ("reject", "the header's body part is KNEE, not the chest")),
        ({"body_part": "TSPINE"}, ("reject", "the header's body part is TSPINE, not the chest")),
        ({"view": "LL"}, ("reject", "the header's view is LL, not frontal")),
        ({"view": "LARGE LATERAL"}, ("reject", "the header's view is LATERAL, not frontal")),
        ({"view": "LATERAL DECUBITUS"}, ("warn", "the header's view is DECUBITUS, neither PA nor AP")),
        ({"view": "XTABLE LATERAL"}, ("reject", "the header's view is LATERAL, not frontal")),
        ({"view": "LLAT"}, ("reject", "the header's view is LLAT, not frontal")),
        ({"view": "RAO"}, ("warn", "the header's view is RAO, neither PA nor AP")),
        ({"frames": 12}, ("reject", "the file holds 12 frames, expected one film")),
        (
            {"intent": "FOR PROCESSING"},
            ("warn", "the file is meant for processing, not for reading: its grey values may differ"),
        ),
        ({"burned_in": True}, ("warn", "the header says that writing is burned into the picture")),
        ({"photometric": "YBR_FULL_422"}, ("warn", "the picture is coloured")),
        ({"modality": "DOE^JANE"}, ("reject", "the header's modality is not that of a radiograph")),
        ({"body_part": "DOE^JANE FOOT"}, ("reject", "the header's body part is FOOT, not the chest")),
    ],
)
def test_a_header_speaks_against_a_film(facts: dict, expected: tuple[str, str]) -> None:
    assert said(**facts) == [expected]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {
            "modality": "CR",
            "body_part": "CHEST",
            "view": "PA",
            "photometric": "MONOCHROME1",
            "intent": "FOR PRESENTATION",
            "burned_in": False,
        },
        {"modality": "DX", "body_part": "PORTABLE CHEST", "view": "AP"},
        {"modality": "RG", "body_part": "CHEST_TO_ABDOMEN", "view": "AP SUPINE"},
        {"body_part": "UNKNOWN", "view": "STANDARD"},
        {"body_part": "HARMLESS", "view": "PLL"},
    ],
)
def test_what_is_usual_or_unknown_is_not_held_against_it(facts: dict) -> None:
    assert said(**facts) == []


def test_pictures_that_no_film_can_be() -> None:
    def told(grey: np.ndarray, **how) -> list[tuple[str, str]]:
        return [(fact.weight, fact.reason) for fact in facts_of(DecodedFilm(grey, "png", **how))]

    assert told(CHEST) == []
    assert told(CHEST[:20]) == [
        ("reject", "the picture is 256 x 20 pixels: too small to see anything"),
        ("warn", "the picture is 256 x 20 pixels: no film has that shape"),
    ]
    assert told(CHEST[:100, :100]) == [("warn", "the picture is only 100 x 100 pixels")]
    assert told(np.hstack([CHEST, CHEST])) == [
        ("warn", "the picture is 512 x 256 pixels: no film has that shape")
    ]
    assert told(np.hstack([CHEST, CHEST[:, :200]])) == []
    assert told(CHEST, coloured=True) == [("warn", "the picture is coloured")]
    assert told(np.full((300, 300), 90, np.uint8)) == [("reject", "the picture is nearly uniform")]
    specks = np.full((2000, 2000), 90, np.uint8)
    specks[:100, :100] = 255
    assert told(specks) == [("reject", "the picture is nearly uniform")]
    assert told(np.repeat(np.repeat(CHEST, 8, 0), 8, 1)) == []


def test_a_layout_knows_neither_contrast_nor_size_and_turns_with_the_film(
    random: np.random.Generator,
) -> None:
    pixels = random.normal(0, 1, (3, 160, 160)).astype(np.float32)
    layout = layout_of(pixels)
    assert layout.shape == (64,) and abs(layout.mean()) < 1e-12 and layout.std() == pytest.approx(1)
    fields = pixels[0].reshape(8, 20, 8, 20).mean(axis=(1, 3)).ravel().astype(np.float64)
    assert layout == pytest.approx((fields - fields.mean()) / fields.std(), abs=1e-5)
    assert layout_of(3 * pixels + 7) == pytest.approx(layout, abs=1e-4)
    assert layout_of(-pixels) == pytest.approx(-layout)
    assert layout_of(np.rot90(pixels, 1, (1, 2))) == pytest.approx(np.rot90(layout.reshape(8, 8)).ravel())
    assert layout_of(pixels[:, :, ::-1]) == pytest.approx(mirrored(layout))
    assert layout_of(np.repeat(np.repeat(pixels, 2, 1), 2, 2)) == pytest.approx(layout, abs=1e-5)
    assert layout_of(np.ones((3, 30, 30), np.float32)).tolist() == [0] * 64


def test_ordinary_films_pass(gate_films: SimpleNamespace, gated: Path) -> None:
    with Retriever.open(gated) as retriever:
        answers = [retriever.query(study.films[0].path) for study in gate_films.new]
    verdicts = [answer.input.verdict for answer in answers]
    assert verdicts.count("reject") == 0 and verdicts.count("warn") <= 3
    assert all(answer.hits and answer.abnormal for answer in answers)
    assert all(bool(answer.input.reasons) == (answer.input.verdict == "warn") for answer in answers)


def test_an_inverted_film_is_offered_the_other_way_round(mtclip, gated: Path, odd: Path) -> None:
    reason = "black and white seem to be exchanged: ask again with --invert"
    found = mtclip("query", odd / "inverted.png", "--bundle", gated, "--json")
    answer = json.loads(found.out)
    assert (found.code, found.err) == (
        6,
        f"{odd}/inverted.png: rejected: {reason} (--force answers all the same)\n",
    )
    assert answer["input"] == {"kind": "png", "verdict": "reject", "reasons": [reason]}
    assert answer["hits"] == [] and answer["abnormal"] is None
    plain = json.loads(mtclip("query", odd / "a.png", "--bundle", gated, "--json").out)
    again = mtclip("query", odd / "inverted.png", "--bundle", gated, "--json", "--invert")
    answer = json.loads(again.out)
    assert (again.code, again.err) == (0, "")
    assert (answer["hits"], answer["abnormal"]) == (plain["hits"], plain["abnormal"])
    assert answer["input"] == {
        "kind": "png",
        "verdict": "ok",
        "reasons": ["grey values taken the other way round (--invert)"],
    }


def test_an_ordinary_film_inverted_by_mistake_is_offered_without(gated: Path, odd: Path) -> None:
    with Retriever.open(gated, invert=True) as retriever:
        found = retriever.query(odd / "a.png")
    assert (
        found.rejected
        and found.input.reasons[-1] == "black and white seem to be exchanged: ask again without --invert"
    )


def test_a_turned_film_is_named(gated: Path, odd: Path) -> None:
    with Retriever.open(gated) as retriever:
        right, down = (retriever.query(odd / f"{name}.png").input for name in ("right", "down"))
    assert right.reasons == ("it seems to be turned by a quarter turn to the right: turn it upright",)
    assert down.reasons == ("it seems to be turned by half a turn: turn it upright",)
    assert right.verdict == "reject"


def test_force_answers_all_the_same(mtclip, gated: Path, tiny_bundle: Path, odd: Path) -> None:
    found = mtclip("query", odd / "inverted.png", "--bundle", gated, "--json", "--force")
    answer = json.loads(found.out)
    assert (found.code, found.err) == (0, "")
    assert (
        answer["input"]["verdict"] == "reject"
        and answer["input"]["reasons"][-1] == "answered all the same (--force)"
    )
    before = json.loads(mtclip("query", odd / "inverted.png", "--bundle", tiny_bundle, "--json").out)
    assert before["input"] == {"kind": "png", "verdict": None, "reasons": []}  # a bundle without a gate
    assert (answer["hits"], answer["abnormal"]) == (before["hits"], before["abnormal"])
    nothing = mtclip("query", odd / "inverted.png", "--bundle", gated, "--json", "--force", "--since", "2999")
    assert (nothing.code, json.loads(nothing.out)["hits"]) == (0, []) and "rejected" not in nothing.err
    with Retriever.open(gated, force=True) as retriever:
        assert retriever.query(odd / "inverted.png").hits


def test_a_batch_counts_what_it_rejects(mtclip, gated: Path, odd: Path) -> None:
    words = "query", odd / "a.png", odd / "inverted.png", "--bundle", gated
    part = mtclip(*words)
    assert part.code == 5 and part.err.splitlines()[-1] == "1 films answered, 1 rejected, 0 could not be read"
    assert [json.loads(line)["input"]["verdict"] for line in part.out.splitlines()] == ["ok", "reject"]
    every = mtclip("query", odd / "right.png", odd / "inverted.png", "--bundle", gated, "--format", "ids")
    assert (every.code, every.out) == (6, "")
    assert every.err.splitlines()[-1] == "0 films answered, 2 rejected, 0 could not be read"
    (odd / "no.png").write_bytes(b"no")
    mixed = mtclip("query", odd / "no.png", odd / "inverted.png", "--bundle", gated, "--format", "ids")
    assert (
        mixed.code == 5 and mixed.err.splitlines()[-1] == "0 films answered, 1 rejected, 1 could not be read"
    )


def test_the_table_shows_verdict_and_reasons(mtclip, gated: Path, odd: Path) -> None:
    found = mtclip("query", odd / "inverted.png", "--bundle", gated, "--format", "table")
    assert found.code == 6
    assert "rejected: black and white seem to be exchanged: ask again with --invert" in " ".join(
        found.out.split()
    )
    assert "similarity" not in found.out
    Image.open(odd / "a.png").convert("RGB").save(odd / "b.png")
    Image.merge("RGB", [Image.open(odd / "a.png"), *[Image.new("L", (180, 200))] * 2]).save(odd / "red.png")
    red = mtclip("query", odd / "red.png", "--bundle", gated, "--format", "table", "--force")
    assert any(f"{word}: the picture is coloured" in red.out for word in ("careful", "rejected"))
    assert "careful" not in mtclip("query", odd / "b.png", "--bundle", gated, "--format", "table").out


def test_without_a_gate_facts_judge_all_the_same(mtclip, tiny_bundle: Path, tmp_path: Path) -> None:
    Image.new("L", (300, 300), 60).save(tmp_path / "grey.png")
    found = mtclip("query", tmp_path / "grey.png", "--bundle", tiny_bundle, "--json")
    assert found.code == 6 and json.loads(found.out)["input"]["reasons"] == ["the picture is nearly uniform"]


def flat(dim: int) -> Gaussian:
    return Gaussian(np.zeros(dim, np.float32), np.zeros((1, dim), np.float32), 1.0)


def test_verdicts_by_score_and_notes_in_front() -> None:
    pixels = np.stack(
        [CHEST.astype(np.float32)] * 3
    )  # its layout's distance is 1, whichever way it is turned

    def verdict(notes: tuple[str, ...] = (), header: Header | None = None, **thresholds: float):
        gate = FilmGate(flat(64), Thresholds(**thresholds))
        return judge_film(DecodedFilm(CHEST, "dicom", notes, header), pixels, gate)

    assert verdict(layout_warn=1.1, layout_reject=1.2, mirror_warn=0.1).verdict == "ok"
    assert verdict().verdict is None  # a gate without thresholds judges nothing
    noted = verdict(("the first of 2 windows",), layout_warn=1.1)
    assert (noted.verdict, noted.reasons) == ("ok", ("the first of 2 windows",))
    warned = verdict(("a note",), layout_warn=0.9, layout_reject=1.2)
    assert warned.verdict == "warn"
    assert warned.reasons == (
        "a note",
        "it does not look like the frontal chest films this bundle knows: its light and dark are spread 1.1 times "
        "as far from the usual as 97 in 100 of them are at most",
    )
    assert verdict(layout_warn=0.8, layout_reject=0.9).verdict == "reject"
    assert verdict(layout_warn=0.9).verdict == "warn"  # too few films for a threshold that rejects
    both = verdict(header=Header(body_part="HAND", burned_in=True), layout_warn=1.1)
    assert both.verdict == "reject" and len(both.reasons) == 2


def test_a_mirrored_film_is_warned_of() -> None:
    mean = np.where(np.arange(64) % 8 < 4, 1.0, -1.0).astype(np.float32)
    gate = FilmGate(
        Gaussian(mean, np.zeros((1, 64), np.float32), 1.0), Thresholds(layout_warn=9.0, mirror_warn=2.0)
    )
    left = -mean.astype(np.float64)
    assert [fact.reason for fact in gate.facts(left)] == [
        "left and right may be exchanged: the heart seems to lie on the other side"
    ]
    assert gate.facts(mirrored(left)) == []


def test_a_dicom_header_rejects_a_film_and_takes_it_out_of_its_study(
    mtclip, tiny_bundle: Path, tmp_path: Path
) -> None:
    from dicoms import cr, written

    deep = np.tile(np.arange(0, 4000, 20, dtype=np.uint16), (200, 1))
    for name, fields in {"chest": {}, "knee": {"BodyPartExamined": "KNEE"}}.items():
        (tmp_path / f"{name}.dcm").write_bytes(written(cr(deep, 12, StudyInstanceUID="1.2.3", **fields)))
    reason = "the header's body part is KNEE, not the chest"
    alone = mtclip("query", tmp_path / "knee.dcm", "--bundle", tiny_bundle, "--json")
    assert alone.code == 6 and json.loads(alone.out)["input"] == {
        "kind": "dicom",
        "verdict": "reject",
        "reasons": [reason],
    }
    study = ("query", tmp_path, "--by", "study", "--bundle", tiny_bundle)
    left, forced = (json.loads(mtclip(*study, *more).out) for more in ((), ("--force",)))
    assert [film["reason"] for film in left["films"]] == [None, f"rejected: {reason}"] and left["input"][
        "verdict"
    ] is None
    assert [film["counted"] for film in forced["films"]] == [True, True] and forced["input"][
        "verdict"
    ] == "reject"
    inverted = json.loads(
        mtclip(
            "query",
            tmp_path / "chest.dcm",
            "--bundle",
            tiny_bundle,
            "--json",
            "--invert",
            "--render",
            "minmax",
        ).out
    )
    assert inverted["input"]["reasons"] == [
        "rendered by minmax; the bundle's own films are by voi",
        "grey values taken the other way round (--invert)",
    ]


def test_a_gate_of_before_is_read_without_its_embedding(gated: Path, odd: Path, tmp_path: Path) -> None:
    """Bundles of 0.1.0 hold the numbers of an embedding behind those of the layout, and a threshold for it."""
    path = Path(shutil.copytree(gated, tmp_path / "bundle"))
    bundle = Bundle.open(path)
    record = bundle.model.film_gate
    assert record is not None
    numbers = np.load(path / record.file)
    with (path / record.file).open("wb") as file:
        np.save(file, np.concatenate([numbers, np.ones(33 * 16, np.float32)]).astype("<f4"))
    older = replace(
        record,
        embedding=GaussianRecord(16, 32, 1.0),
        thresholds={**record.thresholds, "embedding_warn": -1.0},
    )
    files = {name: entry for name, entry in bundle.manifest.files.items() if name != record.file}
    commit(
        path,
        replace(bundle.manifest, model=replace(bundle.model, film_gate=older), files=files),
        set(bundle.manifest.files),
    )
    kept = Bundle.open(path).model.film_gate
    assert kept is not None and kept.to_dict() == older.to_dict()  # carried on as it was
    for name in ("a", "inverted"):
        answers = []
        for folder in (gated, path):
            with Retriever.open(folder) as retriever:
                answers.append(retriever.query(odd / f"{name}.png").input)
        assert answers[0] == answers[1]
