"""A hospital in a network namespace of its own: Orthanc as the PACS, DCMTK's storescu as the modality, and a node.

    unshare -rn python hospital.py FOLDER FILM...

sends the films to Orthanc and to the node, waits until each is committed, and prints what Orthanc then has. Orthanc
binds every address that there is, so it never runs outside of such a namespace.
"""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

HTTP, DICOM = 18042, 14242
ORTHANC = {
    "Name": "PACS",
    "StorageDirectory": "orthanc-db",
    "IndexDirectory": "orthanc-db",
    "Plugins": [],
    "HttpServerEnabled": True,
    "HttpPort": HTTP,
    "RemoteAccessAllowed": False,
    "AuthenticationEnabled": False,
    "DicomServerEnabled": True,
    "DicomAet": "PACS",
    "DicomPort": DICOM,
    "DicomCheckCalledAet": True,
    "DicomAlwaysAllowStore": False,
    "DicomAlwaysAllowEcho": False,
    "DicomAlwaysAllowFind": False,
    "UnknownSopClassAccepted": False,
    "OverwriteInstances": False,
}
PLUGINS = Path("/usr/share/orthanc/plugins")


class Hospital:
    """Started by ``with``; every process that it started ends with it."""

    def __init__(self, folder: Path):
        from pacs import RunningNode, port_of, write_settings

        self.folder = folder
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        settings = write_settings(
            folder,
            DICOM,
            send='objects = ["page", "measurements", "text", "pdf"]',
            accept='classes = ["CR", "DX", "SC"]',
        )
        settings.write_text(settings.read_text().replace('host = "localhost"', 'host = "127.0.0.1"'))
        self.port, self.node = port_of(settings), RunningNode(settings)
        known = {
            name: {
                "AET": aet,
                "Host": "127.0.0.1",
                "Port": port,
                **{f"Allow{what}": True for what in ("Store", "Find", "Move", "Echo", "StorageCommitment")},
            }
            for name, aet, port in (("node", "MTCLIP", self.port), ("modality", "CR1", 11999))
        }
        plugins = [str(PLUGINS / f"libOrthanc{name}.so") for name in ("DicomWeb", "WebViewer")]
        values = {
            **ORTHANC,
            "DicomModalities": known,
            "Plugins": [one for one in plugins if Path(one).exists()],
        }
        (folder / "orthanc.json").write_text(json.dumps(values))
        self._orthanc: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Hospital":
        with (self.folder / "orthanc.log").open("wb") as log:
            self._orthanc = subprocess.Popen(
                ["Orthanc", "orthanc.json"], cwd=self.folder, stdout=log, stderr=log
            )
        self._wait(lambda: self.ask("/system"))
        self.node.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.node.kill()
        assert self._orthanc is not None
        self._orthanc.terminate()
        self._orthanc.wait(20)

    def send(self, films: list[str], called: str, port: int) -> None:
        """By DCMTK, in whatever transfer syntax they are."""
        command = [
            "storescu",
            "-xf",
            self._profile(),
            "All",
            "-aet",
            "CR1",
            "-aec",
            called,
            "127.0.0.1",
            str(port),
        ]
        for film in films:
            subprocess.run([*command, film], check=True, capture_output=True, timeout=120)

    def _profile(self) -> str:
        """Every class and syntax of ours: storescu proposes by itself only what it is told to."""
        file = self.folder / "profile.cfg"
        if not file.exists():
            syntaxes = (
                "1.2.840.10008.1.2.1",
                "1.2.840.10008.1.2",
                *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91)),
                "1.2.840.10008.1.2.5",
            )
            classes = (
                "1.2.840.10008.5.1.4.1.1.1",
                "1.2.840.10008.5.1.4.1.1.1.1",
                "1.2.840.10008.5.1.4.1.1.7",
            )
            lines = ["[[TransferSyntaxes]]"]
            for number, syntax in enumerate(syntaxes):
                lines += [f"[S{number}]", f"TransferSyntax1 = {syntax}"]
            lines += ["[[PresentationContexts]]", "[P]"]
            pairs = [(sop_class, number) for sop_class in classes for number in range(len(syntaxes))]
            lines += [
                f"PresentationContext{n + 1} = {sop}\\S{syntax}" for n, (sop, syntax) in enumerate(pairs)
            ]
            lines += ["[[Profiles]]", "[All]", "PresentationContexts = P"]
            file.write_text("\n".join(lines) + "\n")
        return str(file)

    def committed(self, count: int) -> None:
        self._wait(lambda: self.node.films.get("committed", 0) >= count, 120)

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{HTTP}{path}", timeout=20) as answer:
            return json.loads(answer.read())

    def _wait(self, done: Any, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                if done():
                    return
            except OSError:
                pass
            if time.monotonic() > until:
                raise SystemExit(f"not in time: {self.node.films if self.node.process else 'Orthanc'}")
            time.sleep(0.2)


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from pacs import uid_of

    folder, films = Path(sys.argv[1]), sys.argv[2:]
    with Hospital(folder) as hospital:
        hospital.send(films, "PACS", DICOM)
        hospital.send(films, "MTCLIP", hospital.port)
        hospital.committed(len(set(map(uid_of, map(Path.read_bytes, map(Path, films))))))
        found = [hospital.ask(f"/instances/{uid}/simplified-tags") for uid in hospital.ask("/instances")]
        find = subprocess.run(
            ["findscu", "-S", "-aet", "CR1", "-aec", "PACS", "-k", "QueryRetrieveLevel=SERIES", "-k", "Modality=SR",
             "-k", "SeriesDescription", "-k", "StudyInstanceUID", "127.0.0.1", str(DICOM)],
            check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        print(
            json.dumps(
                {
                    "instances": found,
                    "web": hospital.ask("/dicom-web/series?Modality=OT") if PLUGINS.exists() else None,
                    "found_by_query": (find.stdout + find.stderr).count("reports of OTHER patients"),
                    "status": hospital.node.status(),
                }
            )
        )


if __name__ == "__main__":
    main()
