"""Embedding in bulk: shards whole or absent, every study once, and the same index as embedded in one go."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import embed_kills
import numpy as np
import pytest
from embedded_folders import assert_same

pytest.importorskip("pyarrow")

from mtclip_edge import Index, Retriever
from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import ArtefactDamaged, ArtefactIncompatible, Refused, WrongOption
from mtclip_edge.indexing import shard_maker
from mtclip_edge.indexing.embed import Part, embed
from mtclip_edge.indexing.shards import PLAN, EmbeddedFolder, planned
from mtclip_edge.indexing.store_writer import stored_studies
from mtclip_edge.indexing.vectors import IndexFiles
from mtclip_edge.sources.source import open_source

EACH = 20


def needs_signals(test):
    system = pytest.mark.skipif(
        not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc"
    )
    return pytest.mark.slow(system(test))


@pytest.fixture(scope="module")
def embedded(tiny_bundle: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn studies by the session's bundle. Not to be changed."""
    out = tmp_path_factory.mktemp("embedded") / "out"
    made = embed(tiny_bundle, open_source(str(source)).studies, out, workers=2, each=EACH)
    assert made == len(list(out.glob("part-*.parquet"))) > 4
    return out


def vectors(bundle: Path) -> tuple[np.ndarray, np.ndarray]:
    files = IndexFiles.of(Bundle.open(bundle))
    return np.array(files.report_vectors), np.array(files.film_vectors)


def test_an_index_of_shards_is_the_index_of_the_source(
    embedded: Path, bundle: Path, source: Path, film: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    said: tuple[list[str], list[str]] = ([], [])
    Index.open(bundle).build(str(source), say=said[0].append)
    Index.open(other).build(embedded, say=said[1].append)
    for direct, by_shards in zip(vectors(bundle), vectors(other), strict=True):
        np.testing.assert_allclose(direct, by_shards, atol=1e-5)
    left_out = [[line for line in lines if line.startswith("left out:")] for lines in said]
    assert left_out[0] == left_out[1]
    with Retriever.open(bundle) as first, Retriever.open(other) as second:
        assert first.query(film, 9).hits == second.query(film, 9).hits


def test_it_is_added_without_films_and_by_the_command(
    embedded: Path, bundle: Path, mtclip, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(embedded, tmp_path / "moved"))
    before = Bundle.open(bundle).index.studies
    Index.open(bundle).remove(studies=[open_first(bundle, moved)])
    added = mtclip("index", "add", bundle, moved)
    assert added.code == 0, added.err
    assert Bundle.open(bundle).index.studies >= before


def open_first(bundle: Path, folder: Path) -> str:
    """A study that the bundle and the folder have."""
    held = {study.study_id for study in stored_studies(IndexFiles.of(Bundle.open(bundle)).store)}
    return next(study.study_id for study in EmbeddedFolder.open(folder).read[0] if study.study_id in held)


def test_a_second_run_makes_nothing_and_another_source_is_refused(
    embedded: Path, tiny_bundle: Path, source: Path
) -> None:
    studies = open_source(str(source)).studies
    said: list[str] = []
    assert embed(tiny_bundle, studies, embedded, workers=1, each=EACH, say=said.append) == 0
    assert "are there already" in said[0]
    with pytest.raises(Refused, match="another source"):
        embed(tiny_bundle, studies[:50], embedded, each=EACH)


def test_parts_make_the_same_shards_as_one_run(
    embedded: Path, tiny_bundle: Path, source: Path, tmp_path: Path
) -> None:
    studies = open_source(str(source)).studies
    for number in (1, 2, 3):
        embed(tiny_bundle, reversed(studies), tmp_path / "out", part=Part(number, 3), workers=1, each=EACH)
        if number < 3:
            with pytest.raises(Refused, match="shards are not there yet"):
                EmbeddedFolder.open(tmp_path / "out")
    names = {path.name for path in embedded.iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert (embedded / PLAN).read_bytes() == (tmp_path / "out" / PLAN).read_bytes()


def test_vectors_of_another_model_are_refused(embedded: Path, bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(embedded, tmp_path / "other"))
    plan = (other / PLAN).read_text()
    (other / PLAN).write_text(plan.replace(Bundle.open(bundle).model.model_id, "sha256:" + "0" * 64))
    with pytest.raises(ArtefactIncompatible, match="another model"):
        Index.open(bundle).add(other)


def test_a_damaged_shard_is_named(embedded: Path, bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(embedded, tmp_path / "other"))
    part = next(other.glob("part-*"))
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(ArtefactDamaged, match=part.name):
        Index.open(bundle).add(other)
    (other / PLAN).write_text("{")
    with pytest.raises(ArtefactDamaged, match=PLAN):
        Index.open(bundle).add(other)


def test_a_plan_does_not_depend_on_the_order(source: Path) -> None:
    studies = open_source(str(source)).studies
    assert planned(studies, "m", 7) == planned(list(reversed(studies)), "m", 7)
    assert {shard.name for shard in planned(studies, "m", 7)}.isdisjoint(
        shard.name for shard in planned(studies, "n", 7)
    )


@pytest.mark.parametrize("words", ["0/2", "3/2", "1", "x/2", "1/0", "-1/2"])
def test_a_part_that_is_none(words: str) -> None:
    with pytest.raises(WrongOption, match="I/N"):
        Part.read(words)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="processes are ended by signal")
def test_killed_anywhere_it_goes_on(embedded: Path, tiny_bundle: Path, source: Path, tmp_path: Path) -> None:
    """A worker, then all of it, at moments that move on; in the end every shard is there once, and nothing else."""
    out = tmp_path / "out"
    code = (
        "import sys\nfrom pathlib import Path\nfrom mtclip_edge.indexing.embed import embed\n"
        "from mtclip_edge.sources.source import open_source\n"
        "if __name__ == '__main__':\n"
        f"    embed(Path(sys.argv[1]), open_source(sys.argv[2]).studies, Path(sys.argv[3]), workers=2, each={EACH})\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    command = [sys.executable, str(script), str(tiny_bundle), str(source), str(out)]
    for moment in range(4):
        running = subprocess.Popen(command, start_new_session=True)
        until = time.monotonic() + 60
        while len(list(out.glob("part-*"))) <= moment and running.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        workers = children(running.pid)
        if workers and moment % 2:
            os.kill(workers[-1], signal.SIGKILL)
            assert running.wait(120) == 0
        else:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait(20)
    assert subprocess.run(command, timeout=120).returncode == 0
    assert {path.name for path in out.iterdir()} == {path.name for path in embedded.iterdir()}
    first, second = (EmbeddedFolder.open(folder).read[0] for folder in (out, embedded))
    assert first == second


@needs_signals
@pytest.mark.parametrize("whom", ["worker", "driver"])
@pytest.mark.parametrize("phase", embed_kills.PHASES)
def test_killed_in_every_step_of_a_shard(
    phase: str, whom: str, embedded: Path, tiny_bundle: Path, source: Path, tmp_path: Path
) -> None:
    """A worker's end is made good at once, the driver's by the next run; nobody outlives the driver."""
    out, kills = tmp_path / "out", tmp_path / "kills"
    environment = embed_kills.environment(kills, phase=phase, whom=whom)
    command = embed_kills.command(tmp_path, tiny_bundle, source, out, EACH, "local")
    first = subprocess.run(command, env=environment, timeout=120)
    assert (kills / "ended").exists()
    assert first.returncode == (0 if whom == "worker" else -signal.SIGKILL)
    assert embed_kills.all_end(kills)
    if whom == "driver":
        assert subprocess.run(command, env=environment, timeout=120).returncode == 0
    assert_same(out, embedded)


@needs_signals
def test_a_shard_that_always_ends_its_process_is_named(
    embedded: Path, tiny_bundle: Path, source: Path, tmp_path: Path
) -> None:
    film = a_film(embedded)
    environment = embed_kills.environment(tmp_path / "kills", film=film.name)
    command = embed_kills.command(tmp_path, tiny_bundle, source, tmp_path / "out", EACH, "local")
    ended = subprocess.run(command, env=environment, timeout=120, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "1 of 7 shards bring down the process" in ended.stderr and "the others are there" in ended.stderr
    assert len(list((tmp_path / "out").glob("part-*"))) == 6


def a_film(embedded: Path) -> Path:
    return next(iter(EmbeddedFolder.open(embedded).read[1].films))


def test_an_engine_that_is_none_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongOption, match="expected one of local, ray"):
        embed(tiny_bundle, [], tmp_path / "out", engine="rays")
    assert not (tmp_path / "out").exists()


def test_two_makers_of_a_machine_have_two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system keeps no process to a processor")
    chosen: list[set[int]] = []
    monkeypatch.setattr(shard_maker, "_held", [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1001, 1002})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, which: chosen.append(which))
    for _ in range(3):
        shard_maker.take_processor()
    assert chosen[:2] == [{1001}, {1002}] and chosen[2] <= {1001, 1002}  # all are taken: any
    for name in shard_maker._held:
        name.close()


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in found.read_text().split()] if found.exists() else []
