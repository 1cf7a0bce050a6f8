"""Films answered one after the other: those that are named, or those that arrive in a folder."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..display.formats import Writer
from ..errors import MtclipError, NothingToExplain, Refused, StudyUnanswered, WrongOption, printable
from ..progress import Progress, Say, silent
from ..retrieval.results import QueryResult
from ..retrieval.retriever import Retriever
from .film_arguments import Named, Passed, passed_over

FAILED, PARTIAL, REJECTED = 1, 5, 6
# What becomes of the films of studies, each of them once.
_OF_FILMS = (
    "counted",
    "left out of their studies",
    "of rejected studies",
    "of studies that could not be answered",
    "could not be read",
)
Answer = QueryResult | MtclipError
PNG = b"\x89PNG\r\n\x1a\n"


def answer_films(
    retriever: Retriever,
    films: Sequence[Named],
    k: int,
    out: Writer,
    say: Say,
    passed: Passed,
    own: str | None = None,
    held: bool = False,
) -> int:
    """Write the answer to each film; one that cannot be read is a line, and never stops the rest. ``passed``:
    what was there and is no film. ``own``: whose own reports are told apart. ``held``: the writer prints
    nothing before the last answer.

    Gives the exit code.
    """
    seen = sys.stderr.isatty() and (held or not sys.stdout.isatty())
    with _bar(len(films) > 1 and seen, say) as (tell, progress):
        tally = _Tally(retriever, out, tell)
        for done, result in enumerate(retriever.query_many(films, k, own_priors=own, errors="return"), 1):
            tally.add(result, films[done - 1][0])
            progress("films", done, len(films))
    out.close()
    if len(films) > 1:
        say(tally.summary("films", "could not be read"))
    _say_passed(passed, say, tally.whole(passed.total()))
    return tally.code


def _say_passed(passed: Passed, say: Say, whole: str) -> None:
    """What is no film by its kind, and a line that adds up to all that was there."""
    if line := passed_over(passed):
        say(line)
        say(whole)


def answer_studies(
    retriever: Retriever,
    films: Sequence[Named],
    k: int,
    out: Writer,
    say: Say,
    levels: Mapping[str, str],
    passed: Passed,
    own: str | None = None,
) -> int:
    """Write one answer for the films of each study; what cannot be answered is a line. ``levels``: the folder
    or zip of each film, within which pictures are of one study. ``own`` as of ``answer_films``.

    Gives the exit code.
    """
    tally = _StudyTally(retriever, out, say)
    reading = _Reading(films, say, len(films) > 1 and sys.stderr.isatty())
    answers = retriever.query_studies(reading, k, together=levels, own_priors=own, errors="return")
    for result in reading.then(answers):
        tally.add(result, _name_in(result, films) if isinstance(result, MtclipError) else "")
    out.close()
    if len(films) > 1:
        say(tally.studies())
    if line := passed_over(passed):
        say(line)
    if len(films) > 1 or line:
        say(tally.whole(passed.total()))
    return tally.code


def _name_in(error: MtclipError, films: Sequence[Named]) -> str:
    """The film that an error is of, as it was given: its line begins with that name."""
    names = (name for name, _ in films if error.what.startswith(f"{name}: "))
    return max(names, key=len, default="")


class _Tally:
    """Writes answers as they come, a line for what has none, and counts both."""

    def __init__(self, retriever: Retriever, out: Writer, tell: Say):
        self._retriever, self._out, self._tell = retriever, out, tell
        self._total = self._failed = self._rejected = 0

    def add(self, result: QueryResult | MtclipError, name: str = "") -> None:
        self._total += 1
        if isinstance(result, MtclipError):
            self._failed += 1
            self._out.failed(name, result)
            self._tell(str(result))
            return
        self._out.add(result)
        if result.rejected and not self._retriever.force:
            self._rejected += 1
            self._tell(_rejection(result))

    def summary(self, what: str, failed: str) -> str:
        turned_away = f"{self._rejected} rejected, " if self._rejected else ""
        return (
            f"{self._total - self._failed - self._rejected} {what} answered, "
            f"{turned_away}{self._failed} {failed}"
        )

    def whole(self, passed: int) -> str:
        """All files that were there, by what became of them."""
        answered = self._total - self._failed - self._rejected
        return (
            f"{self._total + passed} files: {answered} answered, {self._rejected} rejected, {self._failed} "
            f"could not be read, {passed} passed over"
        )

    @property
    def code(self) -> int:
        return _code(self._total, self._failed, self._rejected)


class _StudyTally(_Tally):
    """Counts the studies, and beside them the films that they are of."""

    def __init__(self, retriever: Retriever, out: Writer, tell: Say):
        super().__init__(retriever, out, tell)
        self._films = dict.fromkeys(_OF_FILMS, 0)

    def add(self, result: QueryResult | MtclipError, name: str = "") -> None:
        super().add(result, name)
        if isinstance(result, StudyUnanswered):
            self._films["of studies that could not be answered"] += result.films
        elif isinstance(result, MtclipError):
            self._films["could not be read"] += 1
        elif result.rejected and not self._retriever.force:
            self._films["of rejected studies"] += len(result.study or ())
        else:
            for film in result.study or ():
                self._films["counted" if film.counted else "left out of their studies"] += 1

    def studies(self) -> str:
        """All studies, by what became of them."""
        failed = self._failed - self._films["could not be read"]
        total = self._total - self._films["could not be read"]
        return (
            f"{total} studies: {total - failed - self._rejected} answered, {self._rejected} rejected, "
            f"{failed} could not be answered"
        )

    def whole(self, passed: int) -> str:
        """All files that were there, by what became of them; of no other kind there was any."""
        kinds = {**self._films, "passed over": passed}
        parts = [f"{count} {what}" for what, count in kinds.items() if count or what == "counted"]
        return f"{sum(kinds.values())} files: {', '.join(parts)}"


def _code(total: int, failed: int, rejected: int) -> int:
    """1 where nothing could be read, 6 where everything was rejected, 5 for anything between that and 0."""
    if failed + rejected == 0:
        return 0
    return FAILED if failed == total else REJECTED if rejected == total else PARTIAL


def _rejection(result: QueryResult) -> str:
    """One line on a rejected film, and what answers it all the same."""
    reasons = "; ".join(result.input.reasons) if result.input else ""
    return printable(f"{result.value}: rejected: {reasons} (--force answers all the same)")


class SayFirst:
    """A writer that says some lines before its first answer: where there is none, the error alone is said."""

    def __init__(self, lines: Iterable[str], out: Writer, say: Say):
        self._lines, self._out, self._say = list(lines), out, say

    def add(self, result: QueryResult) -> None:
        while self._lines:
            self._say(self._lines.pop(0))
        self._out.add(result)

    def failed(self, name: str, error: MtclipError) -> None:
        self._out.failed(name, error)

    def close(self) -> None:
        self._out.close()


@dataclass(frozen=True)
class Map:
    """A map that was asked for: where its picture goes, and of which text (None: of the best hit)."""

    file: Path
    text: str | None


def answer_explained(
    retriever: Retriever,
    films: Sequence[Named],
    k: int,
    wanted: Map,
    out: Writer,
    say: Say,
    own: str | None = None,
) -> int:
    """Answer one film and write a map of where it resembles the best hit, or a text; ``own`` as of
    ``answer_films``. Gives the exit code.

    Errors: WrongOption, Refused.
    """
    if len(films) != 1:
        raise WrongOption(f"--explain {wanted.file}", f"a map is of one film, found {len(films)}")
    (name, film), failed = films[0], 0
    if isinstance(film, MtclipError):
        raise film
    _check_target(wanted.file, film)
    result = retriever.query(film, k, own_priors=own, name=name)
    if result.rejected and not retriever.force:
        out.add(result)
        out.close()
        say(_rejection(result))
        return REJECTED
    try:
        explained = retriever.explain(film, result, text=wanted.text, name=name)
        result = replace(result, explain=explained.write(wanted.file))
    except NothingToExplain as nothing:  # the answer is printed all the same
        say(str(nothing))
        failed = FAILED
    out.add(result)
    out.close()
    return failed


def _check_target(file: Path, film: object) -> None:
    """A picture replaces a picture, but not the film, nor a file of another kind. Errors: Refused."""
    if not file.is_file():
        return
    if isinstance(film, Path) and film.exists() and file.samefile(film):
        raise Refused(f"--explain {file}: the film itself would be overwritten", hint="give another file")
    with file.open("rb") as there:
        if there.read(len(PNG)) != PNG:
            raise Refused(f"--explain {file}: is there already, and is no PNG", hint="give another file")


def answer_arrivals(
    retriever: Retriever,
    folder: Path,
    recursive: bool,
    k: int,
    out: Writer,
    say: Say,
    allowed: Callable[[Iterable[Named]], Iterable[Named]] = list,
) -> None:
    """Answer films as they come into a folder, for ever; ``allowed`` may put an error in a film's place.

    Errors: NoFilms.
    """
    from ..films.watch import arrivals

    looks = arrivals(folder, recursive)
    say(f"watching {folder}; what lies there already is not answered; Ctrl-C ends")
    tally = _Tally(retriever, out, say)
    for films in looks:
        arrived = allowed([(str(path), path) for path in films])
        for result in retriever.query_many(arrived, k, errors="return"):
            tally.add(result)


class _Reading:
    """Films that are read, with a bar (if ``shown``) until the last is asked for: before it no study is known
    to be whole.
    """

    def __init__(self, films: Sequence[Named], say: Say, shown: bool):
        self._films, self._say, self._shown, self._over = films, say, shown, not shown

    def __iter__(self) -> Iterator[Named]:
        with _bar(self._shown, self._say) as (_, progress):
            for done, film in enumerate(self._films):
                progress("films", done, len(self._films))
                yield film
        self._over = True

    def then(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """The answers when the bar is gone, which they would disturb."""
        waiting: list[Answer] = []
        for answer in answers:
            waiting.append(answer)
            if self._over:
                yield from waiting
                waiting.clear()
        yield from waiting


@contextmanager
def _bar(wanted: bool, say: Say) -> Iterator[tuple[Say, Progress]]:
    """A progress bar, where no answer is printed on the same terminal meanwhile: it would disturb it."""
    if not wanted:
        yield say, silent
        return
    from ..display.progress_bars import ProgressBars

    with ProgressBars() as bars:
        yield bars.say, bars
