"""Reading one JSON object from outside field by field: each value by its type and bounds, so that none of
them surprises later.

A file that anybody could have written is read once, here, into frozen dataclasses. What is not as it must be
raises ``Mistyped`` with the field's whole name; the reader of the file turns that into its own error.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, FrozenInstanceError, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # to a type checker a record is what it says: a frozen dataclass
    from dataclasses import dataclass as record
else:

    def record(*, frozen: bool, eq: bool, repr: bool) -> Callable[[type], type]:
        """A frozen dataclass that neither compares nor prints itself, without code of its own for each class.

        ``dataclasses`` writes and compiles three methods for every frozen class: half a millisecond of each
        cold query for each of some twenty. Here one set of methods serves all of them.
        """
        assert (frozen, eq, repr) == (True, False, False)

        def made(cls: type) -> type:
            cls = dataclass(init=False, eq=False, repr=False)(cls)
            cls.__init__, cls.__setattr__, cls.__delattr__ = _filled, _refused, _refused
            return cls

        return made


T = TypeVar("T")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REQUIRED: Any = object()
LARGEST = 2**53  # what every JSON reader holds exactly
LONGEST = 20_000  # letters of one text


def _filled(self: Any, *values: Any, **named: Any) -> None:
    """The ``__init__`` of every record: fields in their order, or by name, or their default."""
    fields, cls = self.__dataclass_fields__, type(self).__name__
    if len(values) > len(fields):
        raise TypeError(f"{cls} takes {len(fields)} fields, {len(values)} were given")
    given = dict(zip(fields, values, strict=False))
    if wrong := sorted((given.keys() & named.keys()) | (named.keys() - fields.keys())):
        raise TypeError(f"{cls}: {wrong[0]!r} is no field of it, or given twice")
    given |= named
    for name, field in fields.items():
        if name in given:
            continue
        if field.default is not MISSING:
            given[name] = field.default
        elif field.default_factory is not MISSING:
            given[name] = field.default_factory()
        else:
            raise TypeError(f"{cls}: no {name!r}")
    self.__dict__.update(given)


def _refused(self: Any, name: str, *_: Any) -> None:
    raise FrozenInstanceError(f"cannot change {name!r} of a {type(self).__name__}")


class Mistyped(ValueError):
    """A field that is missing, of another type, or out of bounds; its text says which and what was
    expected.
    """


class Fields:
    """The fields of one JSON object.

    ``default`` of a reading is for a field that is missing; without it, it must be there.
    """

    def __init__(self, value: Any, where: str = ""):
        if not isinstance(value, dict):
            raise Mistyped(f"{where or 'the file'} is no object")
        self._values, self._where, self._read = value, where, set[str]()

    def text(self, name: str, default: Any = _REQUIRED, most: int = LONGEST) -> str:
        return self._of(
            name,
            default,
            lambda v: isinstance(v, str) and len(v) <= most,
            f"a text of at most {most} letters",
        )

    def text_or_none(self, name: str, most: int = LONGEST) -> str | None:
        return self._of(
            name, None, lambda v: v is None or (isinstance(v, str) and len(v) <= most), "a text or null"
        )

    def one_of(self, name: str, choices: Iterable[str], default: Any = _REQUIRED) -> str:
        choices = tuple(choices)
        return self._of(
            name, default, lambda v: isinstance(v, str) and v in choices, f"one of {', '.join(choices)}"
        )

    def file_name(self, name: str) -> str:
        """A plain name in the same directory: no path, no hidden file."""
        return self._of(name, _REQUIRED, is_plain_name, "a plain file name")

    def sha256(self, name: str) -> str:
        """Of 64 hexadecimal digits."""
        return self._of(
            name, _REQUIRED, lambda v: isinstance(v, str) and bool(_SHA256.fullmatch(v)), "a SHA-256"
        )

    def integer(self, name: str, low: int = 0, high: int = LARGEST, default: Any = _REQUIRED) -> int:
        return self._of(
            name,
            default,
            lambda v: _is_integer(v) and low <= v <= high,
            f"a whole number from {low} to {high}",
        )

    def number(self, name: str, low: float = -1e12, high: float = 1e12, default: Any = _REQUIRED) -> float:
        return self._of(
            name, default, lambda v: _is_number(v, low, high), f"a number from {low:g} to {high:g}"
        )

    def number_or_none(self, name: str, low: float = -1e12, high: float = 1e12) -> float | None:
        return self._of(
            name,
            None,
            lambda v: v is None or _is_number(v, low, high),
            f"null or a number from {low:g} to {high:g}",
        )

    def numbers(self, name: str, count: int, low: float = -1e12, high: float = 1e12) -> tuple[float, ...]:
        """A list of exactly so many numbers."""
        return tuple(
            self._of(
                name,
                _REQUIRED,
                lambda v: _are_numbers(v, count, low, high),
                f"{count} numbers from {low:g} to {high:g}",
            )
        )

    def integers(
        self, name: str, most: int, low: int = 0, high: int = LARGEST, default: Any = _REQUIRED
    ) -> tuple[int, ...]:
        """A list of at most so many whole numbers."""

        def right(value: Any) -> bool:
            return (
                isinstance(value, list)
                and len(value) <= most
                and all(_is_integer(v) and low <= v <= high for v in value)
            )

        return tuple(self._of(name, default, right, f"at most {most} whole numbers from {low} to {high}"))

    def texts(self, name: str, most: int = 1000, default: Any = _REQUIRED) -> tuple[str, ...]:
        """A list of at most so many texts."""

        def right(value: Any) -> bool:
            return (
                isinstance(value, list)
                and len(value) <= most
                and all(isinstance(v, str) and len(v) <= LONGEST for v in value)
            )

        return tuple(self._of(name, default, right, f"at most {most} texts"))

    def flag(self, name: str, default: Any = _REQUIRED) -> bool:
        return self._of(name, default, lambda v: isinstance(v, bool), "true or false")

    def flag_or_none(self, name: str) -> bool | None:
        return self._of(name, None, lambda v: v is None or isinstance(v, bool), "true, false or null")

    def inside(self, name: str, read: "Callable[[Fields], T]") -> T:
        """An object, read by a function of its fields."""
        return read(Fields(self._take(name, _REQUIRED), self._named(name)))

    def inside_or_none(self, name: str, read: "Callable[[Fields], T]") -> T | None:
        """An object, or None where it is null or missing."""
        value = self._take(name, None)
        return None if value is None else read(Fields(value, self._named(name)))

    def objects(
        self, name: str, read: "Callable[[Fields], T]", most: int = 1000, default: Any = _REQUIRED
    ) -> tuple[T, ...]:
        """A list of at most so many objects."""
        value = self._of(
            name, default, lambda v: isinstance(v, list) and len(v) <= most, f"a list of at most {most}"
        )
        return tuple(read(Fields(each, f"{self._named(name)}[{place}]")) for place, each in enumerate(value))

    def named(self, name: str, read: "Callable[[Fields], T]", most: int = 1000) -> dict[str, T]:
        """An object of objects by name, at most so many."""
        value = self._of(
            name, _REQUIRED, lambda v: isinstance(v, dict) and len(v) <= most, f"an object of at most {most}"
        )
        return {key: read(Fields(each, f"{self._named(name)}.{key[:80]}")) for key, each in value.items()}

    def texts_by_name(self, name: str, most: int = 1000, default: Any = _REQUIRED) -> dict[str, str]:
        """An object of texts."""

        def right(value: Any) -> bool:
            return (
                isinstance(value, dict)
                and len(value) <= most
                and all(isinstance(v, str) and len(v) <= LONGEST for v in value.values())
            )

        return dict(self._of(name, default, right, f"an object of at most {most} texts"))

    def scalar(self, name: str) -> str | int | float | bool | None:
        """A text, a number, true, false or null."""

        def right(value: Any) -> bool:
            return (
                value is None
                or isinstance(value, bool)
                or _is_number(value, -1e300, 1e300)
                or (isinstance(value, str) and len(value) <= LONGEST)
            )

        return self._of(name, _REQUIRED, right, "a text, a number, true, false or null")

    def names(self, most: int = 1000) -> list[str]:
        """The names of the fields, at most so many."""
        if len(self._values) > most:
            raise Mistyped(f"{self._where or 'the file'} has more than {most} fields")
        return list(self._values)

    def has(self, name: str) -> bool:
        """Whether a field is there, null or not."""
        return name in self._values

    def given(self, name: str) -> bool:
        """Whether a field is there and not null."""
        self._read.add(name)
        return self._values.get(name) is not None

    def rest(self) -> Mapping[str, Any]:
        """What was not read: fields of a version that knows more."""
        return {name: value for name, value in self._values.items() if name not in self._read}

    def _of(self, name: str, default: Any, right: Callable[[Any], bool], expected: str) -> Any:
        value = self._take(name, default)
        if value is default and default is not _REQUIRED:
            return value
        if not right(value):
            raise Mistyped(f"{self._named(name)} is not {expected}")
        return value

    def _take(self, name: str, default: Any) -> Any:
        self._read.add(name)
        if name in self._values:
            return self._values[name]
        if default is _REQUIRED:
            raise Mistyped(f"no {self._named(name)}")
        return default

    def _named(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name


def is_plain_name(value: Any) -> bool:
    """Whether a value is a file's plain name: no path, no hidden file."""
    return isinstance(value, str) and bool(_PLAIN_NAME.fullmatch(value))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any, low: float, high: float) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and low <= value <= high
        and math.isfinite(value)
    )


def _are_numbers(value: Any, count: int, low: float, high: float) -> bool:
    return (
        isinstance(value, list) and len(value) == count and all(_is_number(each, low, high) for each in value)
    )
