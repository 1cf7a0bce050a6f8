"""Zips of films as hospitals hand them out, and what a word on the command line stands for."""

import io
import zipfile
from pathlib import Path

import numpy as np
from dicoms import cr

from mtclip_edge.commands.film_arguments import expand
from mtclip_edge.errors import MtclipError


def zipped(path: Path, members: dict[str, bytes], **how: int) -> Path:
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def film_names(word: Path, base: Path) -> list[str]:
    """What a word stands for, films by name, errors by message; without the folder they are all in."""
    return [
        (str(film) if isinstance(film, MtclipError) else name).replace(f"{base}/", "")
        for name, film in expand([str(word)])
    ]


def report(deep: np.ndarray) -> bytes:
    dataset = cr(deep, 12)
    del dataset.PixelData, dataset.Rows, dataset.Columns
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()
