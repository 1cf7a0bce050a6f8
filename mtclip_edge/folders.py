"""Where things of this user lie: ``MTCLIP_HOME`` or the platform's own folders.

Nothing is created by asking.
"""

import os
from collections.abc import Iterator
from pathlib import Path


def data_dir() -> Path:
    """Assembled and converted backbones."""
    if home := os.environ.get("MTCLIP_HOME"):
        return Path(home)
    import platformdirs

    return platformdirs.user_data_path("mtclip")


def cache_dir() -> Path:
    """Tower outputs computed once; may be deleted at any time."""
    if home := os.environ.get("MTCLIP_HOME"):
        return Path(home) / "cache"
    import platformdirs

    return platformdirs.user_cache_path("mtclip")


def user_path(word: str | Path) -> Path:
    """A path as a person wrote it, with ``~`` for a home folder; a name whose home is not known stays as
    it is.
    """
    path = Path(word)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


URLS = ("postgresql://", "postgres://", "service=")


def is_url(word: str) -> bool:
    """Whether something names a database rather than a folder."""
    return word.startswith(URLS)


def spellings(name: str) -> Iterator[str]:
    """A file's name as a table or list has it, then as this system may: ``/`` for ``\\``, letters with
    their accents in one or apart.
    """
    yield name
    from unicodedata import is_normalized, normalize

    slashed = name.replace("\\", "/")
    if slashed == name and name.isascii():
        return
    yield slashed
    for form in ("NFC", "NFD"):
        if not is_normalized(form, slashed):
            yield normalize(form, slashed)
