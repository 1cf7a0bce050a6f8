"""Films and reports embedded in bulk: by a plain loop in one process with one thread, by processes of this
machine, and by Ray, each into a folder of its own, by turns in one run.

    python benchmarks/speed/embed.py [--films 2000] [--reports 20000] [--only loop,local,ray] [--bundle B]

Films are phantoms, drawn before the clock runs. Reports are sentences of phantoms' reports mixed anew, no two
alike; the demo bundle reads them by its lexical text tower. CPU seconds are those of all processes of a run,
from its start to its end, as /proc counts them. "In work" is from the first shard that is there to the last,
so without imports and starts; others are whatever else ran on the machine meanwhile. Linux only.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mtclip_edge.bundle.demo import resolve
from mtclip_edge.indexing.shards import PLAN, EmbeddedFolder
from mtclip_edge.studies import Study

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from index_add import mixed
from record import measured

ENGINES = {"loop": "plain loop", "local": "processes", "ray": "Ray"}
TICK = os.sysconf("SC_CLK_TCK")
MARK = "MTCLIP_BENCHMARK_RUN"  # tells the processes of a run, whoever started them
# Both in a process without a main file, so that processes may be started from it.
DRAW = """
import pickle, sys
from mtclip_edge.sources.source import open_source
pickle.dump(open_source(sys.argv[1]).studies, open(sys.argv[2], "wb"))
"""
RUN = """
import pickle, sys
from pathlib import Path
from mtclip_edge.indexing import embed, shard_maker, shards
engine, bundle, studies, out = sys.argv[1], *map(Path, sys.argv[2:])
studies = pickle.loads(studies.read_bytes())
if engine == "loop":
    maker = shard_maker.ShardMaker.open(bundle)
    planned = shards.planned(studies, maker.model_id)
    shards.write_plan(out, maker.model_id, planned)
    for shard in planned:
        maker.make(shard, out)
else:
    embed.embed(bundle, studies, out, engine=engine)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="else the demo bundle")
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--reports", type=int, default=20000)
    parser.add_argument("--only", default=",".join(ENGINES))
    parser.add_argument("--seed", type=int, default=1)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    bundle = resolve(options.bundle)[0]
    engines, load = options.only.split(","), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        drawn = phantoms(work, options.films, options.seed)
        made = reports(drawn, options.reports, options.seed)
        sets = {"films": [bare(study) for study in drawn], "reports": made}
        heads = ("what", "how many", "by", "seconds", "CPU seconds", "a CPU second", "a second")
        shares = ("of the cores", "of the cores in work", "of what others left in work")
        print(f"| {' | '.join((*heads, *shares))} |")
        print(f"|{'---|' * (len(heads) + len(shares))}")
        for what, studies in sets.items():
            for engine in engines:
                run = embedded(work / f"{what}-{engine}", engine, bundle, studies)
                print(
                    f"| {what} | {len(studies)} | {ENGINES[engine]} | {run.row(len(studies))} |", flush=True
                )
        for what in sets:
            print(f"{what}: vectors of all differ by {difference(work, what, engines):.1g} at most")
        tell(made, engines, load)


def tell(made: list[Study], engines: list[str], load: float) -> None:
    letters = np.mean([len(study.tower_text) for study in made])
    print(f"a report has {letters:.0f} letters; {threads()} cores, load {load:.1f} before it began")
    if "ray" in engines:
        print(f"Ray {version('ray')}; its actors run at nice 15")


def threads() -> int:
    return len(os.sched_getaffinity(0))


def phantoms(work: Path, count: int, seed: int) -> tuple[Study, ...]:
    file = work / "drawn"
    words = [sys.executable, "-c", DRAW, f"phantom:{count}@{seed}", str(file)]
    subprocess.run(words, check=True, env={**os.environ, "MTCLIP_HOME": str(work / "home")})
    studies: tuple[Study, ...] = pickle.loads(file.read_bytes())  # noqa: S301 - ours, just written
    return studies


def bare(study: Study) -> Study:
    """Its film alone."""
    return Study(study.study_id, study.patient_id, films=study.films)


def reports(drawn: tuple[Study, ...], count: int, seed: int) -> list[Study]:
    texts = mixed(drawn, count, seed)
    return [Study(f"report-{i}", f"report-{i}", films=(), report=text) for i, text in enumerate(texts)]


@dataclass
class Run:
    """Clock and CPU seconds of a run, and how both stood at its first and at its last shard; CPU seconds of
    all processes of the machine at the same moments.
    """

    cores: int
    began: tuple[float, float, float] = (0.0, 0.0, 0.0)
    first: tuple[float, float, float] | None = None
    last: tuple[float, float, float] | None = None
    ended: tuple[float, float, float] = (0.0, 0.0, 0.0)
    used: dict[int, float] = field(default_factory=dict)  # by process, those that have ended included

    def row(self, count: int) -> str:
        wall, cpu = (self.ended[i] - self.began[i] for i in range(2))
        figures = f"{wall:.1f} | {cpu:.1f} | {count / cpu:.0f} | {count / wall:.0f}"
        return f"{figures} | {cpu / wall / self.cores:.0%} | {self._in_work()}"

    def _in_work(self) -> str:
        if self.first is None or self.last is None or self.first == self.last:
            return "- | -"
        wall, cpu, machine = (self.last[i] - self.first[i] for i in range(3))
        left = self.cores * wall - max(0.0, machine - cpu)
        return f"{cpu / wall / self.cores:.0%} | {cpu / left:.0%}"


def embedded(out: Path, engine: str, bundle: Path, studies: list[Study]) -> Run:
    """Run one engine in a process of its own, and look at its processes ten times a second."""
    file = out.with_name(f"{out.name}.studies")
    file.write_bytes(pickle.dumps(studies))
    words = [sys.executable, "-c", RUN, engine, str(bundle), str(file), str(out)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    run = Run(threads())
    run.began = moment(run)
    process = subprocess.Popen(words, env={**environment, MARK: out.name})
    ours, looked = {process.pid}, 0.0
    while process.poll() is None:
        if time.monotonic() - looked > 1:
            ours, looked = ours | marked(out.name), time.monotonic()
        run.used |= {pid: seconds for pid in ours if (seconds := cpu(pid)) is not None}
        note(run, out)
        time.sleep(0.1)
    assert process.returncode == 0, f"{engine}: exit code {process.returncode}"
    run.ended = moment(run)
    note(run, out)
    return run


def note(run: Run, out: Path) -> None:
    """The moments of the first and the last shard, once they are there."""
    there = len(list(out.glob("part-*.parquet")))
    if there and run.first is None:
        run.first = moment(run)
    if there and run.last is None and there == (out / PLAN).read_text().count('"part-'):
        run.last = moment(run)


def moment(run: Run) -> tuple[float, float, float]:
    machine = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _, _, irq, soft, _ = map(int, machine)
    return time.monotonic(), sum(run.used.values()), (user + nice + system + irq + soft) / TICK


def marked(run: str) -> set[int]:
    mark = f"{MARK}={run}\0".encode()
    return {int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark in read(path)}


def cpu(pid: int) -> float | None:
    """Seconds that a process has used, None once it has ended."""
    fields = read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK if fields else None


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has just ended
        return b""


def difference(work: Path, what: str, engines: list[str]) -> float:
    """Between any number of two engines' vectors of the same."""
    found = [EmbeddedFolder.open(work / f"{what}-{engine}").read[1] for engine in engines]
    tables = [{**known.texts, **known.films} for known in found]
    assert all(table.keys() == tables[0].keys() for table in tables)
    rows = [np.stack([table[key] for key in tables[0]]) for table in tables]
    return max(float(np.abs(other - rows[0]).max()) for other in rows)


if __name__ == "__main__":
    main()
