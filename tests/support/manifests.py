"""Change what a bundle's manifest says, as JSON, and publish that with a right hash of itself: another version's, or a hostile hand's."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mtclip_edge.bundle.bundle import MANIFEST, Bundle, self_hash, serialized
from mtclip_edge.bundle.generations import sweep


def rewrite(
    bundle: Path,
    change: Callable[[dict[str, Any]], object] | None = None,
    *,
    without: Iterable[str] = (),
    **fields: Any,
) -> None:
    """``change`` may edit the parsed manifest in place; ``fields`` replace top-level ones; files named in ``without`` are left out."""
    manifest = {**json.loads((bundle / MANIFEST).read_text()), **fields}
    for name in without:
        del manifest["files"][name]
    if change:
        change(manifest)
    manifest["self_sha256"] = self_hash(manifest)
    (bundle / MANIFEST).write_bytes(serialized(manifest))
    if without:
        sweep(bundle, Bundle.open(bundle).manifest.files)
