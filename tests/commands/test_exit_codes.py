"""Every wrong call and every broken input has its exit code, and says what to do in at most three plain lines."""

import json
from pathlib import Path

import pytest

from mtclip_edge import __version__


def test_part_of_a_batch_fails(mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(films[0].read_bytes()[:500])
    found = mtclip(
        "query", films[0], tmp_path / "bad.png", tmp_path / "gone.png", films[1], "--bundle", tiny_bundle
    )
    assert found.code == 5
    assert [json.loads(line)["image"] for line in found.out.splitlines()] == [str(films[0]), str(films[1])]
    lines = found.err.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'bad.png'}: damaged picture")
    assert lines[1:] == [f"{tmp_path / 'gone.png'}: no such file", "2 films answered, 2 could not be read"]


BUNDLE = "BUNDLE"  # stands for the session's bundle in the table below


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["query", "gone.png", "--bundle", BUNDLE], 1, "gone.png: no such file\n"),
        (
            ["query", "x.png", "--bundle", "gone"],
            1,
            "gone: no such directory\nmtclip export RUN --out BUNDLE makes one\n",
        ),
        (["query", "x.png", "--bundle", BUNDLE, "-k", "0"], 2, "-k 0\nexpected 1 or more\n"),
        (
            ["query", "x.png", "--bundle", BUNDLE, "--device", "vulkan"],
            2,
            "device 'vulkan'\nexpected one of auto, cpu, cuda, tensorrt, openvino\n",
        ),
        (
            ["query", "x.png", "--bundle", BUNDLE, "--format", "xml"],
            2,
            "format 'xml'\nexpected one of table, json, jsonl, csv, ids\n",
        ),
        (
            ["query", "--bundle", BUNDLE],
            2,
            "query\nexpected one of films, --text and --watch\nsee: mtclip query --help\n",
        ),
        (
            ["query", "x.png", "--text", "y", "--bundle", BUNDLE],
            2,
            "query\nexpected one of films, --text and --watch\nsee: mtclip query --help\n",
        ),
        (["query", "*.nothing", "--bundle", BUNDLE], 1, "*.nothing: no file matches this pattern\n"),
        (
            ["query", "--files-from", "gone.txt", "--bundle", BUNDLE],
            1,
            "gone.txt: the list of files cannot be read (No such file or directory)\n",
        ),
        (["train", "--data", "gone.csv"], 1, "gone.csv: no such manifest\n"),
        (["train", "--data", "gone.csv", "--epochs", "0"], 2, "epochs = 0\nexpected at least 1\n"),
        (["eval", BUNDLE, "--data", "gone.csv"], 1, "gone.csv: no such manifest\n"),
        (
            ["eval", "gone", "--data", "gone.csv", "--format", "xml"],
            2,
            "format 'xml'\nexpected one of table, json\n",
        ),
        (
            ["export", "gone", "--out", "b"],
            1,
            "gone: not a run (no run.json)\nmtclip train --data SOURCE --out RUN makes one\n",
        ),
        (
            ["export", "gone", "--out", "b", "--precision", "int3"],
            2,
            "precision 'int3'\nexpected one of fp32, fp16w, fp16, int8, int8-dynamic, w8\ndid you mean int8?\n",
        ),
        (
            ["query", "x.png", "--bundle", BUNDLE, "--format", "jsnl"],
            2,
            "format 'jsnl'\nexpected one of table, json, jsonl, csv, ids\ndid you mean jsonl?\n",
        ),
        (
            ["index", "build", "gone", "gone.csv", "--split", "tran"],
            2,
            "split 'tran'\nexpected one of train, validation, test, all\ndid you mean train?\n",
        ),
        (
            ["train", "--data", "phantom:many"],
            1,
            "phantom:many: not a number of phantoms\nexpected phantom:N or phantom:N@SEED, e.g. phantom:200@7\n",
        ),
        (["info", "gone"], 1, "gone: no such directory\nmtclip export RUN --out BUNDLE makes one\n"),
        (["verify", "gone"], 1, "gone: no such directory\nmtclip export RUN --out BUNDLE makes one\n"),
        (["doctor", "--format", "xml"], 2, "format 'xml'\nexpected one of table, json\n"),
        (["index", "build", "gone", "gone.csv"], 1, "gone.csv: no such manifest\n"),
    ],
)
def test_errors_are_three_plain_lines_and_their_own_code(
    mtclip, tiny_bundle, tmp_path, monkeypatch, words, code, message
) -> None:
    monkeypatch.chdir(tmp_path)
    found = mtclip(*(str(tiny_bundle) if word == BUNDLE else word for word in words))
    assert (found.code, found.out, found.err) == (code, "", message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["query", "--fromat", "json"], "No such option: --fromat"),
        (["querry"], "No such command 'querry'. Did you mean 'query'?\nsee: mtclip --help\n"),
        (["train"], "Missing option '--data'"),
        (["query", "-k", "many"], "Invalid value for '-k'"),
        (
            ["index", "biuld"],
            "No such command 'biuld'. Did you mean 'build', 'rebuild'?\nsee: mtclip index --help\n",
        ),
    ],
)
def test_wrong_usage_is_exit_2(mtclip, words: list[str], message: str) -> None:
    found = mtclip(*words)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(message)
    assert len(found.err.splitlines()) <= 3 and found.err.splitlines()[-1].endswith("--help")


def test_version_and_help(mtclip) -> None:
    assert mtclip("--version").out == f"mtclip-edge {__version__}\n"
    for command in (["query"], ["train"], ["export"], ["eval"], ["index", "build"]):
        found = mtclip(*command, "--help")
        assert found.code == 0
        assert "Example: mtclip" in found.out


@pytest.mark.own_files
def test_a_damaged_bundle_is_exit_3(mtclip, bundle: Path, films: list[Path]) -> None:
    path = bundle / "vectors-1.npy"
    path.write_bytes(path.read_bytes()[:-4])
    found = mtclip("query", films[0], "--bundle", bundle)
    assert (found.code, found.out) == (3, "")
    assert found.err.startswith(f"{path}: damaged\n")
    assert len(found.err.splitlines()) == 3


def test_cuda_is_exit_4(mtclip, tiny_bundle: Path, films: list[Path]) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has a CUDA provider")
    found = mtclip("query", films[0], "--bundle", tiny_bundle, "--device", "cuda")
    assert (found.code, found.out) == (4, "")


def test_an_unexpected_error_shows_no_values(
    mtclip, tiny_bundle: Path, films: list[Path], monkeypatch
) -> None:
    from mtclip_edge.retrieval.retriever import Retriever

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("PATIENT NAME")

    monkeypatch.setattr(Retriever, "open", broken)
    found = mtclip("query", films[0], "--bundle", tiny_bundle)
    assert (found.code, found.err) == (1, "internal error: RuntimeError. Set MTCLIP_DEBUG=1 to see where.\n")


def test_a_folder_with_one_bad_film_among_good_ones(
    mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path
) -> None:
    import shutil

    for film in films:
        shutil.copy(film, tmp_path / film.name)
    (tmp_path / films[1].name).write_bytes(films[1].read_bytes()[:2000])
    found = mtclip("query", tmp_path, "--bundle", tiny_bundle)
    assert found.code == 5
    assert [Path(json.loads(line)["image"]).name for line in found.out.splitlines()] == [
        films[0].name,
        films[2].name,
    ]
    assert found.err.splitlines()[0].startswith(f"{tmp_path / films[1].name}: damaged picture")
    assert found.err.splitlines()[1:] == ["2 films answered, 1 could not be read"]
    empty = tmp_path / "empty"
    empty.mkdir()
    none = mtclip("query", empty, "--bundle", tiny_bundle)
    assert (none.code, none.err) == (1, f"{empty}: no film in this folder\n")


def test_words_without_a_film_do_not_stop_the_others(
    mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    odd = [
        "",
        "~nobody-of-that-name/x.png",
        "x" * 300,
        "nul\0byte.png",
        str(tmp_path / "empty"),
        str(tmp_path / "*.nothing"),
    ]
    found = mtclip("query", *odd, films[0], "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert found.code == 5
    assert [line.split("\t")[0] for line in found.out.splitlines()] == [str(films[0])]
    lines = found.err.splitlines()
    assert lines[-1] == f"1 films answered, {len(odd)} could not be read"
    assert len(lines) == len(odd) + 1
    assert "internal error" not in found.err
