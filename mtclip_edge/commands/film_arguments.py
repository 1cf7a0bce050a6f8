"""What the words on a command line mean as films: paths, folders, patterns, archives, standard input,
lists of paths.
"""

import glob
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import FilmUnreadable, MtclipError, NoFilms, WrongOption
from ..films.file_types import FILM_SUFFIXES, HEAD, head_of, is_dicom, is_directory, is_film, is_zip, kind_of
from ..films.film import FilmSource
from ..folders import spellings, user_path

Named = tuple[
    str, FilmSource | MtclipError
]  # the name to show; the path, the bytes, how to read them, or why there is no film
Passed = Counter[str]  # of files that are no film, by kind
FilmsIn = Callable[
    [Path | bytes, str, Passed], list[Named]
]  # of a zip or DICOMDIR, with the name it is shown under
HeadOf = Callable[[Callable[[], bytes], str], bytes]  # the first bytes of a zip's film, with its name


def _films_in(holder: Path | bytes, name: str, passed: Passed) -> list[Named]:
    from ..films.dicomdir import films_in  # a plain film needs neither

    return films_in(holder, name, passed)


@dataclass(frozen=True)
class Expansion:
    """How words become films: what is no film is counted in ``passed`` by its kind, ``films_in`` opens zips
    and DICOMDIRs.

    ``levels`` gets, of each film that lies in a folder or zip which was given as such, the innermost of
    these: by it pictures are films of one study.
    """

    recursive: bool = True
    passed: Passed = field(default_factory=Counter)
    films_in: FilmsIn = _films_in
    levels: dict[str, str] = field(default_factory=dict)

    def holding(self, films: list[Named]) -> list[Named]:
        """The films of a folder or zip, their level noted."""
        for name, _ in films:
            self.levels[name] = name[: max(name.rfind(mark) for mark in ("/", "\\", "!"))]
        return films


def expand(
    words: Sequence[str], how: Expansion | None = None, *, files_from: str | None = None
) -> list[Named]:
    """Films in the order given, those of a folder or pattern sorted. A plain path is kept even if it is
    missing: the query says so.

    A word that gives no film (an empty folder, a pattern without a match) stands for itself with its error,
    so that it does not stop the others. What lies in a folder or zip and is no film is counted, so that films
    and these are all that is there. Errors: NoFilms for an unreadable list; WrongOption where standard input
    is asked for twice.
    """
    if files_from == "-" and "-" in words:
        raise WrongOption("standard input cannot be an image and a list of files at once")
    how = how or Expansion()
    listed = _listed(files_from) if files_from is not None else []
    named = [film for word in words for film in _one(word, how)]
    return named + [film for word in listed for film in _films(word, how)]


def _one(word: str, how: Expansion) -> list[Named]:
    return _of_bytes(sys.stdin.buffer.read(), "-", how) if word == "-" else _films(word, how)


def _of_bytes(data: bytes, word: str, how: Expansion) -> list[Named]:
    return how.holding(how.films_in(data, word, how.passed)) if is_zip(data[:4]) else [(word, data)]


def _films(word: str, how: Expansion) -> list[Named]:
    if not word:
        return [(word, FilmUnreadable("'': an empty file name"))]
    path = user_path(word)
    try:
        path = next((here for spelling in spellings(word) if (here := user_path(spelling)).exists()), path)
        if path.is_dir():
            return _folder(path, how)
        if not path.exists() and glob.has_magic(word):
            return _matches(word, path, how)
        if path.is_fifo():  # <(cat film.png): it can be read once
            return _of_bytes(path.read_bytes(), word, how)
        if path.is_file():
            return _file(path, word, how)
    except OSError as error:  # a name too long, a folder we may not enter
        return [(word, FilmUnreadable(f"{word}: cannot be read ({error.strerror})"))]
    return [(word, path)]


def _file(path: Path, word: str, how: Expansion) -> list[Named]:
    """A film, or the films in a zip or DICOMDIR."""
    try:
        head = head_of(path)
    except OSError:  # reading it as a film says why
        return [(word, path)]
    holds_films = is_zip(head) or is_directory(head)
    return how.holding(how.films_in(path, word, how.passed)) if holds_films else [(word, path)]


def _matches(word: str, pattern: Path, how: Expansion) -> list[Named]:
    names = sorted(glob.glob(str(pattern), recursive=how.recursive))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not names:
        return [(word, NoFilms(f"{word}: no file matches this pattern"))]
    return [film for name in names for film in _films(name, how)]


def _folder(folder: Path, how: Expansion) -> list[Named]:
    """Films are told by their content, not by their suffix; a zip is opened, an empty file that is called
    a film is an error.
    """
    walk = folder.rglob("*") if how.recursive else folder.glob("*")
    films = [film for path in sorted(path for path in walk if path.is_file()) for film in _lying(path, how)]
    if not films:
        hint = None if how.recursive else "add --recursive to look into subfolders"
        return [(str(folder), NoFilms(f"{folder}: no film in this folder", hint=hint))]
    return how.holding(films)


def _lying(path: Path, how: Expansion) -> list[Named]:
    """A file of a folder: a film, those of a zip, or none."""
    try:
        head = head_of(path)
    except OSError:  # reading it as a film says why
        return [(str(path), path)]
    if is_film(head):
        return [(str(path), path)]
    if not head and path.suffix.lower() in FILM_SUFFIXES:
        return [(str(path), FilmUnreadable(f"{path}: empty file"))]
    films = how.films_in(path, str(path), how.passed) if is_zip(head) else []
    if any(not isinstance(film, NoFilms) for _, film in films):
        return films
    how.passed[kind_of(head)] += 1
    return []


def passed_over(passed: Passed) -> str | None:
    """A line on what was no film, by its kind; None where there was nothing else."""
    if not passed:
        return None
    return f"{passed.total()} passed over: " + ", ".join(
        f"{count} {kind}" for kind, count in passed.most_common()
    )


def _listed(source: str) -> list[str]:
    try:
        text = sys.stdin.read() if source == "-" else _decoded(user_path(source).read_bytes())
    except OSError as error:
        raise NoFilms(f"{source}: the list of files cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise NoFilms(f"{source}: the list of files is not UTF-8") from None
    names = [line for line in text.removeprefix("\ufeff").splitlines() if line]
    if not names:
        raise NoFilms(f"{source}: the list of files is empty")
    return names


def _decoded(data: bytes) -> str:
    """UTF-8, or UTF-16 where a list begins with its mark, as a Windows shell writes it."""
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")


def _head(film: Callable[[], bytes], _name: str) -> bytes:
    return film()[:HEAD]


NO_DICOM = "DICOM needs --bundle DIR, or --bundle demo for invented reports"


def without_dicom(films: Iterable[Named], head: HeadOf = _head) -> list[Named]:
    """Films for a demo bundle that nobody named: a DICOM file comes from a patient, and invented reports
    are no answer to it.
    """
    return [(name, _refusal(name) if _holds_dicom(film, name, head) else film) for name, film in films]


def _refusal(name: str) -> FilmUnreadable:
    return FilmUnreadable(f"{name}: {NO_DICOM}")


def _holds_dicom(film: FilmSource | MtclipError, name: str, head: HeadOf) -> bool:
    if isinstance(film, MtclipError):
        return False
    try:
        if isinstance(film, Path):
            return is_dicom(head_of(film))
        return is_dicom(film[:HEAD] if isinstance(film, bytes) else head(film, name))
    except (OSError, ValueError, MtclipError):  # reading it as a film says why
        return False
