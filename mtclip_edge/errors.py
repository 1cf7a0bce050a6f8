"""Every error a user can meet, each with its exit code.

MtclipError                    1  something asked for could not be done
├── FilmUnreadable             1  one film is missing, empty, damaged or not a picture
│   └── StudyUnanswered        1  no film of a study counts, though all can be read
├── NoFilms                    1  nothing to query was found
├── ZeroQuery                  1  a query's embedding is no direction: zero or not finite
├── NotABundle                 1  a directory is missing or holds no manifest
├── SourceUnusable             1  a manifest or folder of studies cannot be used
├── BackboneUnusable           1  a backbone directory is missing, incomplete or unknown
├── RunUnusable                1  a run folder is missing, unfinished or of another configuration
├── CacheUnusable              1  the feature cache cannot be written
├── ExtraMissing               1  an optional dependency is not installed
├── LibraryUnreachable         1  a database of reports does not answer
│   └── LibraryTooSlow         1  it took longer than it allows
├── Closed                     1  a retriever was asked after it was closed
├── TextTowerMissing           1  the bundle cannot embed text
├── NothingToExplain           1  a map was asked for, and no report was found
├── MapMissing                 1  the bundle has no graph that tells where a film resembles a report
├── ParityFailed               1  the exported graph does not give what torch gives
├── LeakFound                  1  a patient or an identical film is on both sides of a split
├── Refused                    1  the command would overwrite or lose something
├── WrongOption                2  an option's value makes no sense
├── ArtefactDamaged            3  a file of a bundle or run is missing or is not what its manifest says
├── ArtefactIncompatible       3  a newer format, or vectors of another model
└── DeviceUnavailable          4  the device asked for cannot run here

Exit code 5 (part of a batch failed or was rejected), 6 (every film was rejected) and 130 (interrupted) belong
to a command as a whole and are set in commands/query_loop.py and cli.py: a rejected film is no error but an
answer, with reasons and without hits. A message is at most three plain lines: what and which file; expected
and found; the next command.
"""

from collections.abc import Iterable


class MtclipError(Exception):
    """Base of all errors meant for a person; ``str`` is the whole message, at most three lines."""

    exit_code = 1

    def __init__(self, what: str, detail: str | None = None, hint: str | None = None):
        self.what, self.detail, self.hint = what, detail, hint
        super().__init__("\n".join(printable(part) for part in (what, detail, hint) if part))


class FilmUnreadable(MtclipError):
    pass


class StudyUnanswered(FilmUnreadable):
    """``films``: how many the study has."""

    def __init__(self, what: str, detail: str | None = None, films: int = 0):
        super().__init__(what, detail)
        self.films = films


class NoFilms(MtclipError):
    pass


class ZeroQuery(MtclipError):
    pass


class NotABundle(MtclipError):
    pass


class SourceUnusable(MtclipError):
    pass


class BackboneUnusable(MtclipError):
    pass


class RunUnusable(MtclipError):
    pass


class CacheUnusable(MtclipError):
    pass


class ExtraMissing(MtclipError):
    pass


class LibraryUnreachable(MtclipError):
    pass


class LibraryTooSlow(LibraryUnreachable):
    pass


class Closed(MtclipError):
    pass


class TextTowerMissing(MtclipError):
    pass


class NothingToExplain(MtclipError):
    pass


class MapMissing(MtclipError):
    pass


class ParityFailed(MtclipError):
    pass


class LeakFound(MtclipError):
    pass


class Refused(MtclipError):
    pass


class WrongOption(MtclipError):
    exit_code = 2


class ArtefactDamaged(MtclipError):
    exit_code = 3


class ArtefactIncompatible(MtclipError):
    exit_code = 3


class DeviceUnavailable(MtclipError):
    exit_code = 4


def not_among(what: str, value: str, choices: Iterable[str]) -> WrongOption:
    """A value that is none of the valid ones: lists them, and names the one that was probably meant."""
    from difflib import get_close_matches  # 2 ms, and only a mistake needs it

    names = list(choices)
    close = get_close_matches("cuda" if value.lower() == "gpu" else value.lower(), names, 1, 0.5)
    return WrongOption(
        f"{what} {value!r}",
        f"expected one of {', '.join(names)}",
        f"did you mean {close[0]}?" if close else None,
    )


def printable(text: str) -> str:
    """Text on one line: what a terminal would not print (a file name may hold newlines and control
    characters) as its escape.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
