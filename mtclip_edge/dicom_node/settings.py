"""NODE.toml, read strictly: every key is known, every value makes sense, or one line says what does not.

Paths are relative to the file's folder.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import WrongOption, not_among
from ..fields import Fields, Mistyped
from ..folders import is_url

# By the words of DICOM's modalities: what a projection film may come as.
CLASSES = {
    "CR": ("1.2.840.10008.5.1.4.1.1.1",),
    "DX": ("1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1"),
    "SC": ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.2", "1.2.840.10008.5.1.4.1.1.7.3"),
}
OBJECTS = ("page", "measurements", "text", "pdf")
QUOTES = ("none", "impression", "report")
REJECTED = ("nothing", "objects")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0, "days": 86400.0}
_BYTES = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_AET = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")  # printable, no backslash (PS3.5 6.2)


@dataclass(frozen=True)
class Place:
    """Where something listens."""

    host: str
    port: int

    @property
    def local(self) -> bool:
        return self.host in LOOPBACK

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: this node's certificate and key, and the authorities that sign those of its peers."""

    certificate: Path
    key: Path
    peers: Path


@dataclass(frozen=True)
class Retry:
    """Seconds until a failed piece of work is tried again, doubled each time, and when it is given up."""

    first: float = 2.0
    longest: float = 900.0
    until: float = 7 * 86400.0

    def after(self, tries: int) -> float:
        return min(self.longest, self.first * 2.0 ** min(tries - 1, 30))


@dataclass(frozen=True)
class Pacs:
    """Where results go; ``commit``: whether it is asked to promise that it keeps them."""

    aet: str
    host: str
    port: int
    commit: bool = True
    retry: Retry = Retry()


@dataclass(frozen=True)
class Accept:
    """Which films are taken. ``classes`` (SOP class UIDs), ``largest`` (bytes) and ``hosts`` are judged at
    the door; ``modality`` and ``body_part`` after a film was acknowledged. None: all.
    """

    classes: tuple[str, ...] = (*CLASSES["CR"], *CLASSES["DX"])
    modality: tuple[str, ...] | None = None
    body_part: tuple[str, ...] | None = None
    largest: int = 256 * 10**6
    hosts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class SendWhat:
    """What becomes of an answer; ``quote``: how much of the reports of other patients it repeats, and
    ``previews``: whether their films are shown.
    """

    objects: tuple[str, ...] = ("page", "measurements")
    quote: str = "none"
    previews: bool = False
    rejected: str = "nothing"
    exclude_own_patient: bool = True


@dataclass(frozen=True)
class Web:
    """Where DICOMweb is served, with whose token; ``keep``: seconds that results can be fetched."""

    bind: Place
    token_file: Path
    keep: float = 86400.0


@dataclass(frozen=True)
class Log:
    """A log file of our own, turned over at so many bytes; ``file`` None: standard error."""

    file: Path | None = None
    largest: int = 10 * 10**6
    kept: int = 5


@dataclass(frozen=True)
class NodeSettings:
    """``quiet``: seconds without a further film after which a study is answered. ``keep``: seconds that the
    journal remembers what is done with; ``spool_limit``: bytes of films and results on disk at most.
    """

    aet: str
    bind: Place
    callers: tuple[str, ...]
    bundle: Path
    spool: Path
    quiet: float = 10.0
    hits: int = 5
    spool_limit: int = 20 * 10**9
    keep: float = 30 * 86400.0
    force: bool = False
    precision: str = "auto"
    device: str = "auto"
    tls: TlsFiles | None = None
    pacs: Pacs | None = None
    accept: Accept = field(default_factory=Accept)
    send: SendWhat = field(default_factory=SendWhat)
    web: Web | None = None
    log: Log = Log()
    library: str | None = None


def read_settings(file: Path) -> NodeSettings:
    """Errors: WrongOption, with the key that is wrong and what was expected."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongOption(f"{file}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongOption(f"{file}: not TOML ({' '.join(str(error).split())[:120]})") from None
    try:
        return _Reader(file, file.parent.absolute()).settings(values)
    except Mistyped as wrong:
        raise WrongOption(f"{file}: {wrong}") from None


class _Reader:
    def __init__(self, file: Path, folder: Path):
        self._file, self._folder = file, folder

    def settings(self, values: Mapping[str, Any]) -> NodeSettings:
        top = Fields(dict(values))
        plain = top.flag("plain", False)
        read = NodeSettings(
            aet=self._aet(top, "aet"),
            bind=self._place(top.text("bind"), "bind"),
            callers=tuple(self._title(one, "callers") for one in top.texts("callers")),
            bundle=self._path(top.text("bundle")),
            library=self._library(top.text("library", "")),
            spool=self._path(top.text("spool")),
            quiet=self._seconds(top.text("quiet", "10s"), "quiet"),
            hits=top.integer("hits", 1, 50, 5),
            spool_limit=self._bytes(top.text("spool_limit", "20 GB"), "spool_limit"),
            keep=self._seconds(top.text("keep", "30 days"), "keep"),
            force=top.flag("force", False),
            precision=top.text("precision", "auto"),
            device=top.text("device", "auto"),
            tls=top.inside_or_none("tls", self._tls),
            pacs=top.inside_or_none("pacs", self._pacs),
            accept=top.inside_or_none("accept", self._accept) or Accept(),
            send=top.inside_or_none("send", self._send) or SendWhat(),
            web=top.inside_or_none("dicomweb", self._web),
            log=top.inside_or_none("log", self._log) or Log(),
        )
        self._known(top, "")
        return self._makes_sense(read, plain)

    def _makes_sense(self, read: NodeSettings, plain: bool) -> NodeSettings:
        if not read.callers:
            raise self._wrong("callers is empty", "expected the AE titles of those that may send")
        if read.pacs is None and read.web is None:
            raise self._wrong("neither [pacs] nor [dicomweb]", "results would have nowhere to go")
        for name, bind in (("bind", read.bind), *([("dicomweb.bind", read.web.bind)] if read.web else [])):
            if read.tls is None and not plain and not bind.local:
                what = f"{name} = {str(bind)!r} without [tls]: films would cross the network in plain sight"
                raise self._wrong(what, "expected [tls], an address of this machine alone, or plain = true")
        return read

    def _tls(self, part: Fields) -> TlsFiles:
        files = TlsFiles(*(self._file_there(part, name) for name in ("certificate", "key", "peers")))
        self._known(part, "tls")
        return files

    def _pacs(self, part: Fields) -> Pacs:
        read = Pacs(
            self._aet(part, "aet"),
            part.text("host"),
            part.integer("port", 1, 65535),
            part.flag("commit", True),
            self._retry(part.text("retry", "2s..15min, 7 days")),
        )
        self._known(part, "pacs")
        return read

    def _accept(self, part: Fields) -> Accept:
        hosts = self._maybe(part, "hosts")
        named = part.texts("classes", default=None) if part.given("classes") else ("CR", "DX")
        read = Accept(
            tuple(uid for name in named for uid in self._class(name)),
            _upper(self._maybe(part, "modality")),
            _upper(self._maybe(part, "body_part")),
            self._bytes(part.text("largest", "256 MB"), "largest"),
            hosts,
        )
        self._known(part, "accept")
        return read

    def _send(self, part: Fields) -> SendWhat:
        default = SendWhat()
        objects = part.texts("objects", default=default.objects)
        for name in objects:
            if name not in OBJECTS:
                raise not_among(f"{self._file}: send.objects", name[:40], OBJECTS)
        if not objects:
            raise self._wrong("send.objects is empty", f"expected some of {', '.join(OBJECTS)}")
        read = SendWhat(
            tuple(dict.fromkeys(objects)),
            part.one_of("quote", QUOTES, "none"),
            part.flag("previews", False),
            part.one_of("rejected", REJECTED, "nothing"),
            part.flag("exclude_own_patient", True),
        )
        self._known(part, "send")
        return read

    def _web(self, part: Fields) -> Web:
        bind = self._place(part.text("bind"), "dicomweb.bind")
        keep = self._seconds(part.text("keep", "1 day"), "dicomweb.keep")
        read = Web(bind, self._file_there(part, "token_file"), keep)
        self._known(part, "dicomweb")
        return read

    def _log(self, part: Fields) -> Log:
        file = part.text_or_none("file")
        largest = self._bytes(part.text("largest", "10 MB"), "log.largest")
        read = Log(self._path(file) if file else None, largest, part.integer("kept", 0, 1000, 5))
        self._known(part, "log")
        return read

    def _known(self, part: Fields, where: str) -> None:
        """Errors: WrongOption for a key that nothing reads: mistyped, it would have no effect."""
        read = [name for name in part.names() if name not in part.rest()]
        for name in part.rest():
            expected = _KEYS[where]
            assert set(read) <= set(expected), (where, set(read) - set(expected))
            raise not_among(f"{self._file}: {'[' + where + '] ' if where else ''}key", name[:40], expected)

    def _class(self, name: str) -> tuple[str, ...]:
        if re.fullmatch(r"[0-9.]{5,64}", name):
            return (name,)
        if name not in CLASSES:
            raise not_among(f"{self._file}: accept.classes", name[:40], (*CLASSES, "a UID"))
        return CLASSES[name]

    def _retry(self, words: str) -> Retry:
        match = re.fullmatch(r"(.+?)\.\.(.+?),(.+)", words)
        if not match:
            raise self._wrong(f"pacs.retry = {words!r}", 'expected as "2s..15min, 7 days"')
        first, longest, until = (self._seconds(part.strip(), "pacs.retry") for part in match.groups())
        return Retry(first, max(first, longest), until)

    def _seconds(self, words: str, name: str) -> float:
        return self._measured(words, name, _SECONDS, "10s, 15min, 12h, 7 days")

    def _bytes(self, words: str, name: str) -> int:
        return int(self._measured(words, name, _BYTES, "256 MB, 20 GB"))

    def _measured(self, words: str, name: str, units: Mapping[str, float], such: str) -> float:
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)", words)
        if not match or match[2] not in units:
            raise self._wrong(f"{name} = {words!r}", f"expected as {such}")
        return float(match[1]) * units[match[2]]

    def _place(self, words: str, name: str) -> Place:
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):([0-9]{1,5})", words)
        if not match or not 1 <= int(match[3]) <= 65535:
            raise self._wrong(f"{name} = {words!r}", "expected HOST:PORT, as 127.0.0.1:11112")
        return Place(match[1] or match[2], int(match[3]))

    def _aet(self, part: Fields, name: str) -> str:
        return self._title(part.text(name), name)

    def _title(self, word: str, name: str) -> str:
        if not _AET.fullmatch(word):
            raise self._wrong(f"{name}: {word[:40]!r}", "expected an AE title: 1 to 16 letters")
        return word

    def _maybe(self, part: Fields, name: str) -> tuple[str, ...] | None:
        return part.texts(name) if part.given(name) else None

    def _path(self, words: str) -> Path:
        return self._folder / Path(words).expanduser()

    def _file_there(self, part: Fields, name: str) -> Path:
        path = self._path(part.text(name))
        if not path.is_file():
            raise self._wrong(f"{name} = {str(path)!r}", "no such file")
        return path

    def _library(self, url: str) -> str | None:
        if url and not is_url(url):
            raise self._wrong("library", "expected postgresql://host/database, or service=name")
        return url or None

    def _wrong(self, what: str, detail: str) -> WrongOption:
        return WrongOption(f"{self._file}: {what}", detail)


_KEYS: Mapping[str, tuple[str, ...]] = {
    "": (
        *("aet", "bind", "callers", "bundle", "library", "spool", "quiet", "hits", "spool_limit", "keep"),
        *("force", "precision", "device", "plain", "tls", "pacs", "accept", "send", "dicomweb", "log"),
    ),
    "tls": ("certificate", "key", "peers"),
    "pacs": ("aet", "host", "port", "commit", "retry"),
    "accept": ("classes", "modality", "body_part", "largest", "hosts"),
    "send": ("objects", "quote", "previews", "rejected", "exclude_own_patient"),
    "dicomweb": ("bind", "token_file", "keep"),
    "log": ("file", "largest", "kept"),
}


def _upper(words: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Code strings are in capitals."""
    return None if words is None else tuple(word.strip().upper() for word in words)
