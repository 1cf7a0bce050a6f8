"""Records: frozen dataclasses whose methods are shared, and as strict as those that dataclasses writes."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, asdict, field, is_dataclass, replace
from typing import Any

import pytest

from mtclip_edge.fields import Fields, Mistyped, record


@record(frozen=True, eq=False, repr=False)
class Part:
    """Two fields, one with a default, one made anew for each."""

    size: int
    name: str = "a"
    more: Mapping[str, Any] = field(default_factory=dict)


def test_a_record_is_a_frozen_dataclass() -> None:
    part = Part(3, more={"x": 1})
    assert is_dataclass(part) and asdict(part) == {"size": 3, "name": "a", "more": {"x": 1}}
    assert asdict(replace(part, name="b")) == {"size": 3, "name": "b", "more": {"x": 1}}
    assert Part(1).more is not Part(1).more
    for change in (
        lambda: setattr(part, "size", 4),
        lambda: setattr(part, "other", 4),
        lambda: delattr(part, "size"),
    ):
        with pytest.raises(FrozenInstanceError):
            change()
    assert part.size == 3


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1, "b", {}, 4), {}), ((1,), {"size": 2}), ((1,), {"sise": 2}), ((), {"name": "b"})],
)
def test_a_record_is_made_of_its_fields_and_of_nothing_else(values: tuple, named: dict) -> None:
    with pytest.raises(TypeError, match="Part"):
        Part(*values, **named)


@pytest.mark.parametrize("value", [None, True, "7", 7.5, -1, 10**400])
def test_a_number_out_of_type_or_bounds_names_its_field(value: object) -> None:
    with pytest.raises(Mistyped, match=r"^a\.b is not a whole number from 0 to 9$"):
        Fields({"a": {"b": value}}).inside("a", lambda inner: inner.integer("b", 0, 9))
