"""``wds:PATTERN``: WebDataset shards: uncompressed tars whose members of one key (``000123.jpg``, ``.txt``,
``.json``) are a sample.

PATTERN may hold ``*`` and ``{000..012}``. A sample's film is named ``shard.tar!key.jpg`` and read where it
lies. The text is its report; the JSON may have any column of a manifest (``study_id``, ``patient_id``,
``label``, ``findings``, ``split``, …), by which samples of one study are joined; without it the key is the
study.

A key ends at the first dot of a member's own name, as WebDataset has it; where numbers and dots follow (a
UID), at the last. Members of another ending are passed over and counted by it.
"""

import glob
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ...errors import SourceUnusable
from ...films.archives import MARK
from ...folders import user_path
from .. import tables
from ..entries import Layout, PassedOver, Problem, Row, joined
from .manifest import study_of

FILMS = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "dcm")
TEXTS = ("txt", "text", "caption")
MAX_TEXT = 4 << 20  # bytes of a text or JSON member
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_UID = re.compile(
    r"\d+(\.\d+)+"
)  # what stands between the first and the last dot; one number alone counts the films of a sample
_MOST_SHARDS = 100_000


def layout(rest: str) -> Layout:
    """Errors: SourceUnusable where no shard matches, or one is compressed."""
    shards = shards_of(rest)
    if not shards:
        raise SourceUnusable(
            f"{rest}: no shard matches",
            hint="e.g. wds:shards/train-*.tar, or wds:'shards/train-{000..012}.tar'",
        )
    if packed := [path for path in shards if path.suffix.lower() in (".gz", ".tgz", ".zst", ".xz", ".bz2")]:
        raise SourceUnusable(
            f"{packed[0]}: a compressed shard cannot be read in place",
            hint=f"unpack it once: gunzip {packed[0].name}",
        )
    name = f"wds:{shards[0].resolve().parent.name}"
    notes = (f"{len(shards)} shards, the first {shards[0].name}",)
    return Layout(name, lambda: joined(partial(_rows, shards, name)), notes)


def shards_of(pattern: str) -> list[Path]:
    """The files of a pattern in order; a folder stands for the tars in it."""
    path = user_path(pattern)
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    shards = [name for word in _expanded(str(path)) for name in sorted(glob.glob(word))]  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [Path(name) for name in dict.fromkeys(shards)]


def _expanded(pattern: str) -> list[str]:
    match = _RANGE.search(pattern)
    if not match:
        return [pattern]
    first, last, width = int(match[1]), int(match[2]), len(match[1])
    if last - first >= _MOST_SHARDS:
        raise SourceUnusable(f"{pattern}: more than {_MOST_SHARDS} shards")
    return [
        word
        for number in range(first, last + 1)
        for word in _expanded(f"{pattern[: match.start()]}{number:0{width}d}{pattern[match.end() :]}")
    ]


def _rows(shards: list[Path], source: str) -> Iterator[Row | Problem | PassedOver]:
    for shard in shards:
        for key, members, problems in _samples(shard):
            place = f"{shard.name}{MARK}{key}"
            yield from problems
            if not members and all(isinstance(problem, PassedOver) for problem in problems):
                continue
            row = _row(key, members)
            if not row.get("image_path") and not any(
                row.get(name) for name in ("report", "findings", "impression")
            ):
                yield Problem(place, "neither a film nor a text")
            else:
                yield Row(place, row["study_id"], partial(study_of, row, place, shard.parent, source))


def _row(key: str, members: Mapping[str, str]) -> dict[str, str]:
    """A sample as a manifest's row: what its JSON says, its film, and its text where the JSON has none."""
    row = dict(tables.words_of(json.loads(members["json"]))) if "json" in members else {}
    row = {name: value for name, value in row.items() if name not in ("image_path", "image_name")}
    row["study_id"] = row.get("study_id") or key
    for name in ("caption", "text"):
        row.setdefault("report", row.pop(name, ""))
    if not row["report"] and not row.get("findings") and not row.get("impression"):
        row["report"] = members.get("text", "")
    return row | {name: members[name] for name in ("image_path", "image_name") if name in members}


LeftOut = list[Problem | PassedOver]
Sample = tuple[str, dict[str, str], LeftOut]


def _samples(shard: Path) -> Iterator[Sample]:
    """Members that follow each other with one key, and what could not be used of them."""
    key, members, problems = "", dict[str, str](), LeftOut()
    try:
        with tarfile.open(shard, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every header
                if not member.isreg() or member.issparse():
                    if not member.isdir():
                        problems.append(
                            PassedOver(member.name, "a link or another member that is no plain file")
                        )
                    continue
                name, kind = _split_name(member.name)
                if name != key:
                    if members or problems:
                        yield key, members, problems
                    key, members, problems = name, {}, []
                _take(tar, member, kind, shard, members, problems)
            if _is_cut_off(shard, tar.offset):
                raise tarfile.ReadError("a header is damaged")
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        problems.append(Problem(shard.name, f"the shard cannot be read to its end: {str(error)[:80]}"))
    if members:
        yield key, members, problems
    elif problems:
        yield key, {}, problems


def _is_cut_off(shard: Path, offset: int) -> bool:
    """Whether what follows the last member is not the end: tarfile stops at a damaged header and says
    nothing.
    """
    with shard.open("rb") as file:
        file.seek(offset)
        return bool(file.read(tarfile.BLOCKSIZE).strip(b"\0"))


def _split_name(name: str) -> tuple[str, str]:
    """Key and ending; of a compound one (``film.png``) the last part."""
    folder, slash, file = name.rpartition("/")
    stem, _, rest = file.partition(".")
    middle, _, kind = rest.rpartition(".")
    if _UID.fullmatch(middle):
        stem = f"{stem}.{middle}"
    return f"{folder}{slash}{stem}".removeprefix("./"), kind.lower()


def _take(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    kind: str,
    shard: Path,
    members: dict[str, str],
    problems: LeftOut,
) -> None:
    place = f"{shard.name}{MARK}{member.name}"
    if kind in FILMS:
        if "image_path" in members:
            problems.append(
                Problem(place, "a second film of one sample: a key ends at its first dot", "film")
            )
        else:
            members["image_path"] = members["image_name"] = place
    elif kind not in TEXTS and kind != "json":
        problems.append(
            PassedOver(
                place,
                (
                    "a member that is no film, text or JSON by its ending "
                    f"({'.' + kind[:20] if kind else 'none'})"
                ),
            )
        )
    else:
        file = tar.extractfile(member)
        data = file.read(MAX_TEXT + 1) if file and member.size <= MAX_TEXT else None
        if data is None:
            problems.append(Problem(place, f"more than {MAX_TEXT >> 20} MB of text", "text"))
            return
        try:
            text = data.decode("utf-8-sig").strip()
            if kind == "json" and not isinstance(json.loads(text), dict):
                raise ValueError
        except (ValueError, RecursionError):
            problems.append(Problem(place, "not a JSON object" if kind == "json" else "not UTF-8", "text"))
            return
        members["json" if kind == "json" else "text"] = text
