"""The demo bundle inside the package: drawn films, invented reports."""

from pathlib import Path

from ..errors import WrongOption
from .bundle import MANIFEST

WORD = "demo"
FOLDER = Path(__file__).parents[1] / "demo_bundle"
LOUD = "no bundle given: answering from the demo bundle (drawn films, invented reports); use --bundle DIR or MTCLIP_BUNDLE"


def resolve(bundle: Path | None) -> tuple[Path, bool]:
    """The bundle to open, and whether it is the demo bundle because nobody named one. ``demo`` names it; a folder is ./demo.

    Errors: WrongOption where this installation holds no demo bundle.
    """
    if bundle is not None and str(bundle) != WORD:
        return bundle, False
    if not (FOLDER / MANIFEST).is_file():
        raise WrongOption("no bundle", "give --bundle DIR or set MTCLIP_BUNDLE", "mtclip export RUN --out BUNDLE makes one")
    return FOLDER, bundle is None
