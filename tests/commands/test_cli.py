"""The command line: exit codes, streams and formats, as a person and as a script meet them."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mtclip_edge import __version__
from mtclip_edge.sources.source import open_source


@pytest.fixture
def films(source: Path) -> list[Path]:
    return [s.films[0].path for s in open_source(str(source)).split("test") if s.films][:3]


def test_one_film_as_json_is_one_object_and_several_an_array(mtclip, tiny_bundle: Path, films: list[Path]) -> None:
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
    assert lines[1] == f"abnormal {100 * document['abnormal']['probability']:.0f} % (not calibrated)"
    assert lines[2].startswith("no verdict: the abnormal head is not calibrated")
    assert lines[3].split() == ["#", "similarity", "studies", "label", "report"]
    top = document["hits"][0]
    assert lines[4].split()[:4] == ["1", f"{top['score']:.3f}", f"×{top['studies']}", top["label"]]
    assert top["impression"].split()[0] in lines[4]
    assert lines[-2].startswith(f"{document['bundle']['reports']} reports of")
    assert lines[-1] == "Research use only. Retrieved prior reports, not a diagnosis."


def test_a_text_is_searched_for(mtclip, tiny_bundle: Path) -> None:
    found = mtclip("query", "--text", "opacity in the left lung", "--bundle", tiny_bundle, "--format", "ids", "-k", "2")
    rows = [line.split("\t") for line in found.out.splitlines()]
    assert [r[:2] for r in rows] == [["opacity in the left lung", str(i)] for i in (1, 2, 1, 2)]
    assert [r[2].startswith("film:images/") for r in rows] == [False, False, True, True]


def test_standard_input_is_an_image_or_a_list(mtclip, tiny_bundle: Path, films: list[Path], monkeypatch) -> None:
    class Stdin(io.TextIOWrapper):
        pass

    monkeypatch.setattr("sys.stdin", Stdin(io.BytesIO(films[0].read_bytes())))
    image = json.loads(mtclip("query", "-", "--bundle", tiny_bundle, "--json").out)
    assert image["image"] == "-"
    direct = json.loads(mtclip("query", films[0], "--bundle", tiny_bundle, "--json").out)
    assert image["hits"] == direct["hits"]
    monkeypatch.setattr("sys.stdin", Stdin(io.BytesIO(f"{films[1]}\n{films[2]}\n".encode())))
    listed = mtclip("query", "--files-from", "-", "--bundle", tiny_bundle)
    assert [json.loads(line)["image"] for line in listed.out.splitlines()] == [str(films[1]), str(films[2])]


def test_folders_are_read_recursively_and_by_content(mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path) -> None:
    import shutil

    (tmp_path / "a" / "deep").mkdir(parents=True)
    shutil.copy(films[0], tmp_path / "a" / "no-suffix")
    shutil.copy(films[1], tmp_path / "a" / "deep" / "b.png")
    (tmp_path / "a" / "note.png").write_text("not a film")
    everything = mtclip("query", tmp_path / "a", "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert [Path(line.split("\t")[0]).name for line in everything.out.splitlines()] == ["b.png", "no-suffix"]
    top = mtclip("query", tmp_path / "a", "--no-recursive", "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert [Path(line.split("\t")[0]).name for line in top.out.splitlines()] == ["no-suffix"]
    pattern = mtclip("query", f"{tmp_path}/a/**/*.png", "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert (pattern.code, len(pattern.out.splitlines())) == (5, 1)  # note.png was named and is not a film


def test_part_of_a_batch_fails(mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(films[0].read_bytes()[:500])
    found = mtclip("query", films[0], tmp_path / "bad.png", tmp_path / "gone.png", films[1], "--bundle", tiny_bundle)
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
        (["query", "x.png", "--bundle", "gone"], 1, "gone: no such directory\nmtclip export RUN --out BUNDLE makes one\n"),
        (["query", "x.png", "--bundle", BUNDLE, "-k", "0"], 2, "-k 0\nexpected 1 or more\n"),
        (
            ["query", "x.png", "--bundle", BUNDLE, "--device", "vulkan"],
            2,
            "device 'vulkan'\nexpected one of auto, cpu, cuda, tensorrt, openvino\n",
        ),
        (["query", "x.png", "--bundle", BUNDLE, "--format", "xml"], 2, "format 'xml'\nexpected one of table, json, jsonl, ids\n"),
        (["query", "--bundle", BUNDLE], 2, "query\nexpected one of films, --text and --watch\nsee: mtclip query --help\n"),
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
        (["eval", "gone", "--data", "gone.csv"], 1, "gone.csv: no such manifest\n"),
        (["eval", "gone", "--data", "gone.csv", "--format", "xml"], 2, "format 'xml'\nexpected one of table, json\n"),
        (["export", "gone", "--out", "b"], 1, "gone: not a run (no run.json)\nmtclip train --data SOURCE --out RUN makes one\n"),
        (
            ["export", "gone", "--out", "b", "--precision", "int3"],
            2,
            "precision 'int3'\nexpected one of fp32, fp16w, fp16, int8, int8-dynamic, w8\ndid you mean int8?\n",
        ),
        (
            ["query", "x.png", "--bundle", BUNDLE, "--format", "jsnl"],
            2,
            "format 'jsnl'\nexpected one of table, json, jsonl, ids\ndid you mean jsonl?\n",
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
def test_errors_are_three_plain_lines_and_their_own_code(mtclip, tiny_bundle, tmp_path, monkeypatch, words, code, message) -> None:
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
        (["index", "biuld"], "No such command 'biuld'. Did you mean 'build', 'rebuild'?\nsee: mtclip index --help\n"),
    ],
)
def test_wrong_usage_is_exit_2(mtclip, words: list[str], message: str) -> None:
    found = mtclip(*words)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(message)
    assert len(found.err.splitlines()) <= 3 and found.err.splitlines()[-1].endswith("--help")


def test_the_bundle_may_come_from_the_environment(mtclip, tiny_bundle: Path, films: list[Path], monkeypatch) -> None:
    monkeypatch.setenv("MTCLIP_BUNDLE", str(tiny_bundle))
    assert mtclip("query", films[0]).code == 0


def test_version_and_help(mtclip) -> None:
    assert mtclip("--version").out == f"mtclip-edge {__version__}\n"
    for command in (["query"], ["train"], ["export"], ["eval"], ["index", "build"]):
        found = mtclip(*command, "--help")
        assert found.code == 0
        assert "Example: mtclip" in found.out


def test_an_unusable_index_is_said_on_stderr(mtclip, bundle: Path, films: list[Path]) -> None:
    (bundle / "index-1.hnsw").unlink()
    found = mtclip("query", films[0], "--bundle", bundle)
    assert found.code == 0
    assert found.err.startswith("searching exactly: the HNSW index is unusable")
    assert len(found.err.splitlines()) == 1


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


@pytest.mark.parametrize("kind", ["tiny_backbone", "clip_backbone", "hf_clip", "hf_siglip", "siglip_backbone"])
def test_the_whole_path_by_four_commands(mtclip, source: Path, kind: str, request, soak: bool, tmp_path: Path, films: list[Path]) -> None:
    if kind not in ("tiny_backbone", "hf_clip") and not soak:
        pytest.skip("a layout of open_clip's and one of transformers' in make test, all in make soak")
    run, bundle, backbone = tmp_path / "run", tmp_path / "bundle", request.getfixturevalue(kind)
    trained = mtclip("train", "--data", source, "--backbone", backbone, "--out", run, "--epochs", "2", "--batch-size", "32")
    assert (trained.code, trained.out) == (0, "")
    assert "epoch 2/2" in trained.err
    assert json.loads((run / "run.json").read_text())["origins"]["epochs"] == "option"
    assert mtclip("export", run, "--out", bundle).code == 0
    built = mtclip("index", "build", bundle, source, "--split", "train")
    assert (built.code, built.out) == (0, "")
    assert "generation 2" in built.err
    assert mtclip("query", films[0], "--bundle", bundle).code == 0
    assert len(json.loads(mtclip("query", "--text", "opacity", "--bundle", bundle, "--json", "-k", "2").out)["hits"]) == 4


def start(*words: str | Path, **options: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "mtclip_edge", *map(str, words)]
    # A shell starts background jobs with Ctrl-C ignored, and their children inherit it.
    ready = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **ready)


def test_ctrl_c_is_130_and_one_line(tiny_backbone: Path, source: Path, tmp_path: Path) -> None:
    with start(
        "train", "--data", source, "--backbone", tiny_backbone, "--out", tmp_path / "run", "--epochs", "5000", "--lr", "1e-9"
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 3/"):
                break
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err


@pytest.mark.parametrize("words", ["query --files-from - --bundle {bundle} --format json", "info {bundle} --format json", "--help"])
def test_a_reader_that_goes_away_is_no_error(tiny_bundle: Path, films: list[Path], words: str) -> None:
    listing = "\n".join([str(films[0])] * 40)
    script = f"{sys.executable} -m mtclip_edge {words.format(bundle=tiny_bundle)} | true; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", script], input=listing, capture_output=True, text=True, env={**os.environ})
    assert (found.returncode, found.stderr.replace("40 films answered, 0 could not be read\n", "")) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_standard_output_is_one_line_and_exit_1(tiny_bundle: Path, films: list[Path]) -> None:
    for words in (f"info {tiny_bundle} --format json", f"query {films[0]} --bundle {tiny_bundle} --json"):
        found = subprocess.run(["bash", "-c", f"{sys.executable} -m mtclip_edge {words} > /dev/full"], capture_output=True, text=True)
        assert found.returncode == 1
        assert len(found.stderr.splitlines()) == 1 and "No space left on device" in found.stderr


def test_ctrl_c_during_the_first_imports_is_no_traceback(tiny_bundle: Path, films: list[Path]) -> None:
    code = (
        "import signal, sys, threading, os\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from mtclip_edge.__main__ import main\n"
        "main()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (130, "interrupted\n")


def test_an_unexpected_error_shows_no_values(mtclip, tiny_bundle: Path, films: list[Path], monkeypatch) -> None:
    from mtclip_edge.retrieval.retriever import Retriever

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("PATIENT NAME")

    monkeypatch.setattr(Retriever, "open", broken)
    found = mtclip("query", films[0], "--bundle", tiny_bundle)
    assert (found.code, found.err) == (1, "internal error: RuntimeError. Set MTCLIP_DEBUG=1 to see where.\n")


@pytest.mark.parametrize("name", ["a b.png", "quote'\".png", "line\nbreak.png", "röntgen-胸.png", "-k.png"])
def test_odd_file_names(mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path, name: str) -> None:
    import shutil

    shutil.copy(films[0], tmp_path / name)
    found = mtclip("query", tmp_path, "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert found.code == 0
    assert len(found.out.splitlines()) == 1
    assert json.loads(mtclip("query", tmp_path / name, "--bundle", tiny_bundle, "--json").out)["image"] == str(tmp_path / name)
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


def test_a_folder_with_one_bad_film_among_good_ones(mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path) -> None:
    import shutil

    for film in films:
        shutil.copy(film, tmp_path / film.name)
    (tmp_path / films[1].name).write_bytes(films[1].read_bytes()[:2000])
    found = mtclip("query", tmp_path, "--bundle", tiny_bundle)
    assert found.code == 5
    assert [Path(json.loads(line)["image"]).name for line in found.out.splitlines()] == [films[0].name, films[2].name]
    assert found.err.splitlines()[0].startswith(f"{tmp_path / films[1].name}: damaged picture")
    assert found.err.splitlines()[1:] == ["2 films answered, 1 could not be read"]
    empty = tmp_path / "empty"
    empty.mkdir()
    none = mtclip("query", empty, "--bundle", tiny_bundle)
    assert (none.code, none.err) == (1, f"{empty}: no film in this folder\n")


def test_more_reports_than_there_are(mtclip, tiny_bundle: Path, films: list[Path]) -> None:
    found = json.loads(mtclip("query", films[0], "--bundle", tiny_bundle, "--json", "-k", "100000").out)
    assert len(found["hits"]) == found["bundle"]["reports"]
    assert [hit["rank"] for hit in found["hits"]] == list(range(1, len(found["hits"]) + 1))


def test_words_without_a_film_do_not_stop_the_others(mtclip, tiny_bundle: Path, films: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    odd = ["", "~nobody-of-that-name/x.png", "x" * 300, "nul\0byte.png", str(tmp_path / "empty"), str(tmp_path / "*.nothing")]
    found = mtclip("query", *odd, films[0], "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert found.code == 5
    assert [line.split("\t")[0] for line in found.out.splitlines()] == [str(films[0])]
    lines = found.err.splitlines()
    assert lines[-1] == f"1 films answered, {len(odd)} could not be read"
    assert len(lines) == len(odd) + 1
    assert "internal error" not in found.err


def test_square_brackets_are_not_markup(mtclip, tiny_run: Path, source: Path, tmp_path: Path, monkeypatch) -> None:
    import shutil

    monkeypatch.setenv("COLUMNS", "400")

    copy = Path(shutil.copytree(tiny_run, tmp_path / "run[red]a[/x]"))
    found = mtclip("eval", copy, "--data", source)
    assert found.code == 0
    assert str(copy) in found.out


@pytest.mark.parametrize(
    "words", [["query", "{film}", "--bundle", "{bundle}", "--format", "table"], ["query", "{film}", "--bundle", "{bundle}"]]
)
def test_a_terminal_that_is_not_utf_8(tiny_bundle: Path, films: list[Path], words: list[str]) -> None:
    words = [word.format(film=films[0], bundle=tiny_bundle) for word in words]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    found = subprocess.run([sys.executable, "-m", "mtclip_edge", *words], capture_output=True, env=environment)
    assert (found.returncode, found.stderr) == (0, b"")
    if "table" not in words:
        json.loads(found.stdout)


def test_closed_standard_output(tiny_bundle: Path, films: list[Path]) -> None:
    script = f"{sys.executable} -m mtclip_edge query {films[0]} --bundle {tiny_bundle} >&-"
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert "internal error" not in found.stderr and "Traceback" not in found.stderr


@pytest.mark.slow
def test_the_demo_bundle_has_a_name_in_every_command(mtclip, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mtclip("eval", "demo", "--data", "phantom:8@5", "--split", "all", "--format", "json").code == 0
    monkeypatch.setenv("MTCLIP_BUNDLE", "demo")
    assert json.loads(mtclip("info", "--format", "json").out)["purpose"] == "demo"
    checks = {c["name"]: c["state"] for c in json.loads(mtclip("doctor", "--format", "json").out)}
    assert checks["MTCLIP_BUNDLE"] == "ok"


def test_no_color_is_honoured(tiny_bundle: Path, films: list[Path]) -> None:
    words = [sys.executable, "-m", "mtclip_edge", "query", str(films[0]), "--bundle", str(tiny_bundle), "--format", "table"]
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {"TERM": "xterm-256color"}
    coloured = subprocess.run(words, capture_output=True, text=True, env=plain | {"FORCE_COLOR": "1"}).stdout
    without = subprocess.run(words, capture_output=True, text=True, env=plain | {"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout
    assert re.search(r"\x1b\[[0-9;]*3[12]m", coloured)
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9]m", without)


def test_completion_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "_MTCLIP_COMPLETE": "complete_bash", "COMP_WORDS": "mtclip que", "COMP_CWORD": "1"}
    found = subprocess.run([sys.executable, "-m", "mtclip_edge"], capture_output=True, text=True, env=environment)
    assert found.stdout.split() == ["query"]


def test_the_help_of_query_stands_in_panels(mtclip) -> None:
    help = mtclip("query", "--help").out
    panels = re.findall(r"^╭─ (\w+) ─", help, re.MULTILINE)
    assert panels == ["Arguments", "Options", "Input", "Search", "Filters", "Evidence", "Output", "DICOM"]
    for panel, option in (("Input", "--watch"), ("Filters", "--since"), ("Output", "--save"), ("DICOM", "--render")):
        assert option in help.split(f"╭─ {panel} ─")[1].split("╰─")[0]
    assert help.split("╭─ Options ─")[1].split("╰─")[0].count("--") == 1  # --help alone
