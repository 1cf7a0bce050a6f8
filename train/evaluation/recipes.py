"""Reads the recipes that ``eval --folds`` puts side by side: settings of ``train`` under names of their own.

    default                           all defaults
    clip=bce=0,supcon=0               a name, then settings
    more=also=nih/manifest.csv        a further source that is trained on and never judged; it can stand twice
    recipes.toml                      a table for each: [clip] bce = 0 …

Whatever is a setting of ``train`` can be one of a recipe, so a new setting needs nothing here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtclip_edge.errors import WrongOption
from mtclip_edge.train.settings import TrainConfig, check_names, read_toml, resolve, typed

DEFAULT = "default"
_ALSO = "also"
_NAME = re.compile(r"[\w+-][\w+. -]*")  # it names a folder too


@dataclass(frozen=True)
class Recipe:
    """One training recipe; ``given`` are the settings that it names itself."""

    name: str
    config: TrainConfig
    given: Mapping[str, Any]
    also: tuple[str, ...] = ()


def read_recipes(words: Sequence[str], base: Mapping[str, Any]) -> list[Recipe]:
    """The recipes as they were written, in their order; the defaults alone where there are none.

    ``base``: settings of all that do not say otherwise. Errors: WrongOption, SourceUnusable (a file).
    """
    recipes: dict[str, Recipe] = {}
    for name, given in _tables(words or [DEFAULT]):
        if not _NAME.fullmatch(name):
            raise WrongOption(f"--recipe {name!r}", "expected a name of letters, digits, - _ + and .")
        if name in recipes:
            raise WrongOption(f"--recipe {name}: given twice", "expected names of their own")
        also = given.get(_ALSO, ())
        settings = {key: value for key, value in given.items() if key != _ALSO}
        check_names(settings, f"--recipe {name}")
        sources = (also,) if isinstance(also, str) else tuple(str(one) for one in also)
        recipes[name] = Recipe(name, resolve({**base, **settings}, None)[0], given, sources)
    return list(recipes.values())


def _tables(words: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for word in words:
        if word.endswith(".toml"):
            for name, given in read_toml(Path(word)).items():
                if not isinstance(given, dict):
                    raise WrongOption(
                        f"{word}: {name} stands in no table", f"expected [NAME] before {name} = …"
                    )
                yield name, given
        else:
            yield _written(word)


def _written(word: str) -> tuple[str, dict[str, Any]]:
    """``NAME=KEY=VALUE,KEY=VALUE``, or a name alone."""
    name, _, rest = word.partition("=")
    given: dict[str, Any] = {}
    for pair in rest.split(",") if rest else ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise WrongOption(f"--recipe {word}", "expected NAME=KEY=VALUE,KEY=VALUE, or a TOML file")
        if key.strip() == _ALSO:
            given[_ALSO] = [*given.get(_ALSO, ()), value.strip()]
        else:
            given[key.strip()] = typed(value.strip())
    return name.strip(), given
