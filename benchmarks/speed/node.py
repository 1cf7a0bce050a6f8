"""What ``mtclip node`` takes and answers, beside DCMTK's ``storescp`` that only writes files.

    python benchmarks/speed/node.py BUNDLE FILM [FILM...] [--films 200] [--senders 4]

The films, DICOM files, are copied under new UIDs. In turns to the node and to ``storescp``: one sender, each
film's C-STORE timed at the sender; then ``--senders`` processes of ``storescu`` at once. Then how long the
node works until all are answered and with a second ``storescp`` as the PACS, at what processor time of all
its processes, and its memory. Loopback, raw films unless they are compressed. Needs DCMTK and ``[node]``.
"""

import argparse
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE

from mtclip_edge.dicom_node.settings import read_settings
from mtclip_edge.dicom_node.status import status_of

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("sources", type=Path, nargs="+", metavar="FILM")
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--senders", type=int, default=4)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as work:
        scene = Scene(Path(work), options)
        try:
            scene.run()
        finally:
            scene.end()


class Scene:
    """Peers and node, each a process of its own; ``end`` ends them by their ids."""

    def __init__(self, work: Path, options: argparse.Namespace):
        self._work, self._options = work, options
        self._started: list[subprocess.Popen[bytes]] = []
        self._ports = [_free_port() for _ in range(3)]
        self._settings = work / "node.toml"

    def run(self) -> None:
        node_port, plain_port, pacs_port = self._ports
        node = self._start_node(node_port, pacs_port)
        self._storescp(plain_port, "plain", "MTCLIP")
        self._storescp(pacs_port, "pacs", "PACS")
        at_start = _memory(node.pid)
        each = self._options.films // 4
        print("| one sender | C-STORE p50 | p95 | worst |\n|---|---|---|---|")
        for name, port in (("storescp", plain_port), ("mtclip node", node_port)):
            times = 1000 * np.array(_timed(self._copies(each), port))
            print(
                f"| {name} | {np.median(times):.1f} ms | {np.percentile(times, 95):.1f} | {times.max():.1f} |"
            )
        rates = {}
        for name, port in (("storescp", plain_port), ("mtclip node", node_port)):
            rates[name] = self._together(port, 3 * each)
        shown = ", ".join(f"{name} {rate:.1f} films/s" for name, rate in rates.items())
        ratio = rates["mtclip node"] / rates["storescp"]
        print(f"\n{self._options.senders} senders at once: {shown} ({ratio:.2f} of it)")
        senders = self._options.senders
        self._answers(node, at_start, each + senders * (3 * each // senders))

    def _answers(self, node: subprocess.Popen[bytes], at_start: tuple[float, float], count: int) -> None:
        """Rate and processor time from here on, until all are answered and sent."""
        done, used, began = self._done(), _processor(node.pid), time.monotonic()
        while self._done() < count:
            assert node.poll() is None
            assert time.monotonic() - began < 60 + 5 * count, self._done()
            time.sleep(0.5)
        seconds, films = time.monotonic() - began, count - done
        spent = _processor(node.pid) - used
        print(
            f"\nanswered: {60 * films / seconds:.0f} films/min at {spent / seconds:.2f} of a core, "
            f"{spent / films:.2f} s of processor a film: {60 * films / spent:.0f} films/min on one free core"
        )
        now, most = _memory(node.pid)
        print(
            f"memory of the node: {at_start[0]:.0f} MB at the start, {now:.0f} after {count} films, "
            f"at most {most:.0f}"
        )
        sent = sum(1 for _ in (self._work / "pacs").iterdir())
        assert sent == 2 * count, (sent, count)

    def _done(self) -> int:
        films = status_of(read_settings(self._settings)).document["films"]
        return int(films["sent"])

    def _copies(self, count: int) -> list[Path]:
        """Films under new UIDs and in a folder of their own, from the sources in turn."""
        folder = Path(tempfile.mkdtemp(dir=self._work))
        made = []
        for number in range(count):
            film = dcmread(self._options.sources[number % len(self._options.sources)])
            film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            film.StudyInstanceUID = generate_uid()
            made.append(folder / f"{number}.dcm")
            film.save_as(made[-1])
        return made

    def _together(self, port: int, count: int) -> float:
        """Films a second of several senders that start at once."""
        senders = self._options.senders
        folders = [self._copies(count // senders)[0].parent for _ in range(senders)]
        began = time.monotonic()
        syntax = "-xv" if self._compressed() else "-xe"
        command = ["storescu", "+sd", "-R", syntax, "-aet", "CR1", "-aec", "MTCLIP", "127.0.0.1", str(port)]
        running = [subprocess.Popen([*command, str(folder)]) for folder in folders]
        assert all(one.wait(600) == 0 for one in running)
        return senders * (count // senders) / (time.monotonic() - began)

    def _compressed(self) -> bool:
        syntax = dcmread(self._options.sources[0], stop_before_pixels=True).file_meta.TransferSyntaxUID
        return bool(syntax.is_compressed)

    def _start_node(self, port: int, pacs: int) -> subprocess.Popen[bytes]:
        self._settings.write_text(
            f'aet = "MTCLIP"\nbind = "127.0.0.1:{port}"\ncallers = ["CR1"]\nspool = "spool"\nquiet = "1s"\n'
            f'force = true\nbundle = "{self._options.bundle.absolute()}"\n'
            f'[pacs]\naet = "PACS"\nhost = "127.0.0.1"\nport = {pacs}\ncommit = false\n'
        )
        log = (self._work / "node.log").open("wb")
        with log:
            node = subprocess.Popen(
                [sys.executable, "-m", "mtclip_edge", "node", "run", str(self._settings)], stderr=log
            )
        self._started.append(node)
        while b"ready" not in (self._work / "node.log").read_bytes():
            assert node.poll() is None
            time.sleep(0.1)
        return node

    def _storescp(self, port: int, name: str, aet: str) -> None:
        (self._work / name).mkdir()
        command = ["storescp", "-od", str(self._work / name), "-aet", aet, "--fork", "+xa", str(port)]
        self._started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(0.5)

    def end(self) -> None:
        for process in self._started:
            process.send_signal(signal.SIGTERM)
        for process in self._started:
            process.wait(60)


def _timed(films: Sequence[Path], port: int) -> list[float]:
    """Seconds of each C-STORE, from the call to the answer, on one association."""
    read: list[Dataset] = [dcmread(io.BytesIO(path.read_bytes())) for path in films]
    ae = AE(ae_title="CR1")
    syntaxes = {str(film.file_meta.TransferSyntaxUID) for film in read}
    for sop_class in {str(film.SOPClassUID) for film in read}:
        for syntax in syntaxes:
            ae.add_requested_context(sop_class, [syntax])
    there = ae.associate("127.0.0.1", port, ae_title="MTCLIP")
    assert there.is_established
    times = []
    for film in read:
        began = time.perf_counter()
        assert there.send_c_store(film).Status == 0
        times.append(time.perf_counter() - began)
    there.release()
    return times


def _processor(pid: int) -> float:
    """Seconds that a process and all those below it have used, those that ended too."""
    total = 0.0
    for one in _tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(fields[place]) for place in (11, 12, 13, 14)) / TICK
    return total


def _tree(pid: int) -> list[int]:
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        below += (thread / "children").read_text().split()
    return [pid, *(one for child in sorted(set(map(int, below))) for one in _tree(child))]


def _memory(pid: int) -> tuple[float, float]:
    """Megabytes resident now and at most, with the processes below."""
    now = most = 0.0
    for one in _tree(pid):
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{one}/status").read_text().splitlines())
        now += int(lines["VmRSS"].split()[0]) / 1000
        most += int(lines["VmHWM"].split()[0]) / 1000
    return now, most


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


if __name__ == "__main__":
    if shutil.which("storescp") is None:
        sys.exit("needs DCMTK's storescp and storescu")
    main()
