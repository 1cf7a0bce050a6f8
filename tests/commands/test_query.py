"""``mtclip query``: what it is given, what it prints, and the four commands that lead to it."""

import json
import os
import re
from pathlib import Path

import pytest


def test_one_film_as_json_is_one_object_and_several_an_array(
    mtclip, tiny_bundle: Path, films: list[Path]
) -> None:
    one = mtclip("query", films[0], "--bundle", tiny_bundle, "--json")
    assert (one.code, one.err) == (0, "")
    assert json.loads(one.out)["image"] == str(films[0])
    several = mtclip("query", *films, "--bundle", tiny_bundle, "--format", "json", "-k", "2")
    assert [d["image"] for d in json.loads(several.out)] == [str(f) for f in films]
    assert all(len(d["hits"]) == 2 for d in json.loads(several.out))
    assert several.err == "3 films answered, 0 could not be read\n"


def test_in_a_pipe_it_is_jsonl(mtclip, tiny_bundle: Path, films: list[Path]) -> None:
    found = mtclip("query", *films, "--bundle", tiny_bundle)
    assert [json.loads(line)["image"] for line in found.out.splitlines()] == [str(f) for f in films]


def test_ids_are_image_rank_and_report(mtclip, tiny_bundle: Path, films: list[Path]) -> None:
    document = json.loads(mtclip("query", films[0], "--bundle", tiny_bundle, "--json", "-k", "2").out)
    found = mtclip("query", films[0], "--bundle", tiny_bundle, "--format", "ids", "-k", "2")
    assert found.out == "".join(f"{films[0]}\t{h['rank']}\t{h['report_id']}\n" for h in document["hits"])


def test_the_table_reads_at_80_columns(mtclip, tiny_bundle: Path, films: list[Path], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    document = json.loads(mtclip("query", films[0], "--bundle", tiny_bundle, "--json", "-k", "3").out)
    found = mtclip("query", films[0], "--bundle", tiny_bundle, "--format", "table", "-k", "3")
    lines = found.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].endswith(films[0].name)
    assert lines[1] == "abnormal head not calibrated: no probability, its order of films alone"
    assert document["abnormal"]["probability"] is None and "%" not in lines[1] + lines[2]
    assert lines[2].startswith("no verdict: the abnormal head is not calibrated")
    assert lines.pop(3) == "abnormal validation films"  # a reason is never cut
    assert lines[3].split() == ["#", "similarity", "study", "label", "report"]
    top = document["hits"][0]
    assert lines[4].split()[:2] == ["1", f"{top['score']:.3f}"] and f" {top['label']} " in lines[4]
    assert top["study_ids"][0] in lines[4] and (top["studies"] == 1 or f" ×{top['studies']} " in lines[4])
    assert top["impression"].split()[0] in lines[4]
    assert lines[-2].startswith(f"{document['bundle']['reports']} reports of")
    assert lines[-1] == "Research use only. Retrieved prior reports, not a diagnosis."


def test_a_text_is_searched_for(mtclip, tiny_bundle: Path) -> None:
    found = mtclip(
        "query", "--text", "opacity in the left lung", "--bundle", tiny_bundle, "--format", "ids", "-k", "2"
    )
    rows = [line.split("\t") for line in found.out.splitlines()]
    assert [r[:2] for r in rows] == [["opacity in the left lung", str(i)] for i in (1, 2, 1, 2)]
    assert [r[2].startswith("film:images/") for r in rows] == [False, False, True, True]


def test_folders_are_read_recursively_and_by_content(
    mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path
) -> None:
    import shutil

    (tmp_path / "a" / "deep").mkdir(parents=True)
    shutil.copy(films[0], tmp_path / "a" / "no-suffix")
    shutil.copy(films[1], tmp_path / "a" / "deep" / "b.png")
    (tmp_path / "a" / "note.png").write_text("not a film")
    everything = mtclip("query", tmp_path / "a", "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert [Path(line.split("\t")[0]).name for line in everything.out.splitlines()] == ["b.png", "no-suffix"]
    top = mtclip(
        "query", tmp_path / "a", "--no-recursive", "--bundle", tiny_bundle, "--format", "ids", "-k", "1"
    )
    assert [Path(line.split("\t")[0]).name for line in top.out.splitlines()] == ["no-suffix"]
    pattern = mtclip("query", f"{tmp_path}/a/**/*.png", "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert (pattern.code, len(pattern.out.splitlines())) == (5, 1)  # note.png was named and is not a film


def test_the_bundle_may_come_from_the_environment(
    mtclip, tiny_bundle: Path, films: list[Path], monkeypatch
) -> None:
    monkeypatch.setenv("MTCLIP_BUNDLE", str(tiny_bundle))
    assert mtclip("query", films[0]).code == 0


@pytest.mark.own_files
def test_an_unusable_index_is_said_on_stderr(mtclip, bundle: Path, films: list[Path]) -> None:
    (bundle / "index-1.hnsw").unlink()
    found = mtclip("query", films[0], "--bundle", bundle)
    assert found.code == 0
    assert found.err.startswith("searching exactly: the HNSW index is unusable")
    assert len(found.err.splitlines()) == 1


@pytest.mark.parametrize(
    "kind", ["tiny_backbone", "clip_backbone", "hf_clip", "hf_siglip", "siglip_backbone"]
)
def test_the_whole_path_by_four_commands(
    mtclip, source: Path, kind: str, request, soak: bool, tmp_path: Path, films: list[Path]
) -> None:
    if kind not in ("tiny_backbone", "hf_clip") and not soak:
        pytest.skip("a layout of open_clip's and one of transformers' in make test, all in make soak")
    run, bundle, backbone = tmp_path / "run", tmp_path / "bundle", request.getfixturevalue(kind)
    trained = mtclip(
        "train", "--data", source, "--backbone", backbone, "--out", run, "--epochs", "2", "--batch-size", "32"
    )
    assert (trained.code, trained.out) == (0, "")
    assert "epoch 2/2" in trained.err
    assert json.loads((run / "run.json").read_text())["origins"]["epochs"] == "option"
    assert mtclip("export", run, "--out", bundle).code == 0
    built = mtclip("index", "build", bundle, source, "--split", "train")
    assert (built.code, built.out) == (0, "")
    assert "generation 2" in built.err
    assert mtclip("query", films[0], "--bundle", bundle).code == 0
    assert (
        len(
            json.loads(mtclip("query", "--text", "opacity", "--bundle", bundle, "--json", "-k", "2").out)[
                "hits"
            ]
        )
        == 4
    )


@pytest.mark.parametrize("name", ["a b.png", "quote'\".png", "line\nbreak.png", "röntgen-胸.png", "-k.png"])
def test_odd_file_names(mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path, name: str) -> None:
    import shutil

    shutil.copy(films[0], tmp_path / name)
    found = mtclip("query", tmp_path, "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert found.code == 0
    assert len(found.out.splitlines()) == 1
    assert json.loads(mtclip("query", tmp_path / name, "--bundle", tiny_bundle, "--json").out)[
        "image"
    ] == str(tmp_path / name)
    (tmp_path / name).write_text("x")
    bad = mtclip("query", tmp_path / name, "--bundle", tiny_bundle)
    assert bad.code == 1
    assert len(bad.err.splitlines()) == 1


def test_a_file_name_that_is_not_utf_8(mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path) -> None:
    import shutil

    name = os.fsdecode(os.fsencode(tmp_path) + b"/film-\xff.png")
    try:
        shutil.copy(films[0], name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert json.loads(mtclip("query", tmp_path, "--bundle", tiny_bundle, "--json").out)["image"] == name
    for form in ("ids", "table"):
        assert mtclip("query", tmp_path, "--bundle", tiny_bundle, "--format", form).code == 0


def test_more_reports_than_there_are(mtclip, tiny_bundle: Path, films: list[Path]) -> None:
    found = json.loads(mtclip("query", films[0], "--bundle", tiny_bundle, "--json", "-k", "100000").out)
    assert len(found["hits"]) == found["bundle"]["reports"]
    assert [hit["rank"] for hit in found["hits"]] == list(range(1, len(found["hits"]) + 1))


@pytest.mark.slow
def test_the_demo_bundle_has_a_name_in_every_command(mtclip, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mtclip("eval", "demo", "--data", "phantom:8@5", "--split", "all", "--format", "json").code == 0
    monkeypatch.setenv("MTCLIP_BUNDLE", "demo")
    assert json.loads(mtclip("info", "--format", "json").out)["purpose"] == "demo"
    checks = {c["name"]: c["state"] for c in json.loads(mtclip("doctor", "--format", "json").out)}
    assert checks["MTCLIP_BUNDLE"] == "ok"


def test_the_help_of_query_stands_in_panels(mtclip) -> None:
    help = mtclip("query", "--help").out
    panels = re.findall(r"^╭─ (\w+) ─", help, re.MULTILINE)
    assert panels == ["Arguments", "Options", "Input", "Search", "Filters", "Evidence", "Output", "DICOM"]
    for panel, option in (
        ("Input", "--watch"),
        ("Filters", "--since"),
        ("Output", "--save"),
        ("DICOM", "--render"),
    ):
        assert option in help.split(f"╭─ {panel} ─")[1].split("╰─")[0]
    assert help.split("╭─ Options ─")[1].split("╰─")[0].count("--") == 1  # --help alone
