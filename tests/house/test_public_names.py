"""The Python door: every public name is there, typed, documented and lazy; what an answer holds has a public name."""

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

import mtclip_edge
from mtclip_edge import errors

ROOT = Path(__file__).parents[2]
# By name, so that this module is tested without torch too.
DOORS = tuple(map(importlib.import_module, ("mtclip_edge", "mtclip_edge.train", "mtclip_edge.export")))
PAGE = (ROOT / "docs" / "guide" / "python.md").read_text(encoding="utf-8")


def typed_names(module: Any) -> dict[str, str]:
    """What a type checker is told of a door: each name, and the module it comes from."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    return {
        alias.asname: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_every_public_name_is_there_and_typed(door: Any) -> None:
    assert len(set(door.__all__)) == len(door.__all__)
    assert typed_names(door) == door._HOMES
    assert set(door.__all__) - set(door._HOMES) <= {"NOTICE", "__version__"}
    for name in door.__all__ if door is mtclip_edge else ():  # the others need torch: see test_training
        assert getattr(door, name) is not None
    assert set(door.__all__) <= set(dir(door)) | set(door._HOMES)


def test_nothing_else_stands_at_the_top() -> None:
    public = {name for name in vars(mtclip_edge) if not name.startswith("_")}
    others = {
        name for name in public - set(mtclip_edge.__all__) if not inspect.ismodule(vars(mtclip_edge)[name])
    }
    assert others <= {"Any", "TYPE_CHECKING"}


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_an_unknown_public_name_is_an_attribute_error(door: Any) -> None:
    with pytest.raises(AttributeError, match="no attribute 'Retriver'"):
        door.Retriver  # noqa: B018


def test_every_error_is_public() -> None:
    real = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert real <= set(mtclip_edge.__all__)


def classes_in(hint: Any) -> set[type]:
    """Our classes in a type, the arguments of unions, tuples and mappings taken apart."""
    if isinstance(hint, type) and not typing.get_args(hint):
        return {hint} if hint.__module__.startswith("mtclip_edge.") else set()
    return set().union(*map(classes_in, typing.get_args(hint)))


def test_every_class_that_an_answer_holds_is_public() -> None:
    names = {name: getattr(mtclip_edge, name) for name in mtclip_edge._HOMES}
    seen, waiting = set[type](), [mtclip_edge.QueryResult, mtclip_edge.Reading, mtclip_edge.Filters]
    while waiting:
        found = waiting.pop()
        if found in seen:
            continue
        seen.add(found)
        if dataclasses.is_dataclass(found):
            home = vars(importlib.import_module(found.__module__))
            for hint in typing.get_type_hints(found, home, names).values():
                waiting += classes_in(hint)
    assert {
        mtclip_edge.Abnormal,
        mtclip_edge.Evidence,
        mtclip_edge.ReportHit,
        mtclip_edge.SearchChoice,
    } <= seen
    assert {found.__name__ for found in seen} <= set(mtclip_edge.__all__)
    assert all(names[found.__name__] is found for found in seen)


@pytest.mark.parametrize("name", sorted(set(mtclip_edge._HOMES)))
def test_every_public_name_is_documented(name: str) -> None:
    thing = getattr(mtclip_edge, name)
    assert re.search(rf"\b{name}\b", PAGE), "docs/guide/python.md does not tell of it"
    if issubclass(thing, errors.MtclipError) if isinstance(thing, type) else False:
        return  # the tree in the docstring of errors says what each is
    assert thing.__doc__ and not thing.__doc__.startswith(f"{name}("), name
    for member in vars(thing).values() if isinstance(thing, type) else ():
        if inspect.isfunction(member) and not member.__name__.startswith("_"):
            assert member.__doc__ or member.__name__ == "to_dict", member.__qualname__


@pytest.mark.parametrize("door", ["mtclip_edge", "mtclip_edge.train", "mtclip_edge.export"])
def test_a_door_loads_nothing_before_it_is_asked(door: str) -> None:
    code = f"import sys, {door}\nprint(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.split()
    )
    assert not loaded & {"numpy", "torch", "onnxruntime", "PIL", "sqlite3"}
    assert {name for name in loaded if name.startswith("mtclip_edge")} <= {
        "mtclip_edge",
        "mtclip_edge.notice",
        door,
    }


def test_evaluate_of_a_bundle_needs_no_torch() -> None:
    code = "import sys; from mtclip_edge import evaluate; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_code_in_the_docs_takes_public_names_from_the_doors() -> None:
    """Pages that a user reads; CONTRIBUTING and architecture speak to who works on it."""
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs" / "guide").glob("*.md"),
        *(ROOT / "docs" / "concepts").glob("*.md"),
    ]
    inner = re.compile(r"^[\s\"]*from (mtclip_edge\.[\w.]+) import ([\w, ]+)", re.MULTILINE)
    doors = {door.__name__: set(door.__all__) for door in DOORS}
    for page in [*pages, *(ROOT / "examples").glob("*.py"), *(ROOT / "examples").glob("*.ipynb")]:
        if page.name == "make_demo_bundle.py":
            continue  # makes a part of the package
        for module, names in inner.findall(page.read_text(encoding="utf-8")):
            known = doors.get(module, {"refit"} if page.name == "film-gate.md" else set())
            assert {name.strip() for name in names.split(",")} <= known, f"{page.name}: {module} {names}"
