"""Films answered one after the other: those that are named, or those that arrive in a folder."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import MtclipError
from .inputs import Named
from .output import Writer
from .reporting import Progress, Say, silent
from .retriever import Retriever

FAILED, PARTIAL = 1, 5


def answer_films(retriever: Retriever, films: Sequence[Named], k: int, out: Writer, say: Say) -> int:
    """Write the answer to each film; one that cannot be read is a line, and never stops the rest. Gives the exit code."""
    failed = 0
    with _bar(len(films), say) as (tell, progress):
        for done, result in enumerate(retriever.query_many(films, k), 1):
            if isinstance(result, MtclipError):
                failed += 1
                tell(str(result))
            else:
                out.add(result)
            progress("films", done, len(films))
    out.close()
    if len(films) > 1:
        say(f"{len(films) - failed} films answered, {failed} could not be read")
    return 0 if not failed else FAILED if failed == len(films) else PARTIAL


def answer_studies(retriever: Retriever, films: Sequence[Named], k: int, out: Writer, say: Say) -> int:
    """Write one answer for the films of each study; what cannot be answered is a line. Gives the exit code."""
    answered = failed = 0
    for result in retriever.query_studies(films, k):
        if isinstance(result, MtclipError):
            failed += 1
            say(str(result))
        else:
            answered += 1
            out.add(result)
    out.close()
    if len(films) > 1:
        say(f"{answered} studies of {len(films)} films answered, {failed} could not be")
    return 0 if not failed else PARTIAL if answered else FAILED


def answer_arrivals(
    retriever: Retriever,
    folder: Path,
    recursive: bool,
    k: int,
    out: Writer,
    say: Say,
    allowed: Callable[[Iterable[Named]], Iterable[Named]] = list,
) -> None:
    """Answer films as they come into a folder, for ever; ``allowed`` may put an error in a film's place. Errors: NoFilms."""
    from .watch import arrivals

    looks = arrivals(folder, recursive)
    say(f"watching {folder}; what lies there already is not answered; Ctrl-C ends")
    for films in looks:
        for result in retriever.query_many(allowed([(str(path), path) for path in films]), k):
            if isinstance(result, MtclipError):
                say(str(result))
            else:
                out.add(result)


@contextmanager
def _bar(films: int, say: Say) -> Iterator[tuple[Say, Progress]]:
    """A progress bar for many films whose answers go to a file or pipe; it would only disturb answers on the same terminal."""
    if films < 2 or not sys.stderr.isatty() or sys.stdout.isatty():
        yield say, silent
        return
    from .terminal import ProgressBars

    with ProgressBars() as bars:
        yield bars.say, bars
