"""The demo bundle inside the package: drawn films, invented reports."""

from pathlib import Path

from ..errors import Refused, WrongOption
from .bundle import MANIFEST

WORD = "demo"
FOLDER = Path(__file__).parents[1] / "demo_bundle"
LOUD = (
    "no bundle given: answering from the demo bundle (drawn films, invented reports); use --bundle DIR "
    "or MTCLIP_BUNDLE"
)


def resolve(bundle: Path | None) -> tuple[Path, bool]:
    """The bundle to open, and whether it is the demo bundle because nobody named one.

    ``demo`` names it; a folder called so is named by its whole path. Errors: WrongOption where this
    installation holds no demo bundle.
    """
    if bundle is not None and str(bundle) != WORD:
        return bundle, False
    if not (FOLDER / MANIFEST).is_file():
        raise WrongOption(
            "no bundle", "give --bundle DIR or set MTCLIP_BUNDLE", "mtclip export RUN --out BUNDLE makes one"
        )
    return FOLDER, bundle is None


def check_changeable(bundle: Path) -> None:
    """Errors: Refused for the demo bundle, by its name or its folder: it is a part of the package."""
    if str(bundle) == WORD or bundle.resolve() == FOLDER.resolve():
        raise Refused(
            "demo: the demo bundle stays as it is",
            "it is a part of the package",
            "mtclip export RUN --out BUNDLE makes one that can be changed",
        )
