"""Writes a tokenizer's cleaning of its text into its ``tokenizer.json``: the libraries do it in Python, which
a bundle lacks.

``canonicalize`` (SigLIP): no punctuation, lower case, single spaces; ``lower``: lower case, single spaces;
``whitespace``: single spaces. Of open_clip's cleaning, broken encodings and HTML entities are not mended:
reports have none.
"""

import string
from pathlib import Path
from typing import Any

from mtclip_edge.errors import BackboneUnusable

from .folder import made_once

CLEANINGS = ("whitespace", "lower", "canonicalize")
_PUNCTUATION = "[" + "".join(f"\\{c}" for c in string.punctuation) + "]"


def cleaning(file: Path, clean: str, underscore: str = " ") -> Path:
    """A tokenizer.json that cleans its text first. ``underscore``: what becomes of ``_`` (a space in
    open_clip, nothing in transformers).

    Errors: BackboneUnusable.
    """
    if clean not in CLEANINGS:
        raise BackboneUnusable(
            f"{file}: the cleaning {clean!r} is not known", f"expected one of {', '.join(CLEANINGS)}"
        )
    content = file.read_bytes()
    return made_once(f"{clean}{len(underscore)}", content, lambda: _with_cleaning(content, clean, underscore))


def _with_cleaning(content: bytes, clean: str, underscore: str) -> str:
    from tokenizers import Regex, Tokenizer
    from tokenizers.normalizers import Lowercase, Replace, Sequence, Strip

    model = Tokenizer.from_str(content.decode())
    steps: list[Any] = []
    if clean == "canonicalize":
        steps += [Replace("_", underscore), Replace(Regex(_PUNCTUATION), "")]
    if clean != "whitespace":
        steps.append(Lowercase())
    steps += [Replace(Regex(r"\s+"), " "), Strip()]
    model.normalizer = Sequence([*steps, *([model.normalizer] if model.normalizer else [])])
    return model.to_str()
