"""What a grey DICOM film stores, for a window that a reader moves over it."""

from dataclasses import replace

import numpy as np

from ...errors import FilmUnreadable
from ..values import FilmValues, percentile_window, spread
from .pixel_data import stored_values
from .reader import layout_of, nothing_quoted, parsed, rendering_of


def read_dicom_values(data: bytes, name: str) -> FilmValues:
    """Stored values before the rescale, or what a modality LUT makes of them; with the film's own window or,
    without one that can serve, that of robust percentiles.

    Errors: FilmUnreadable, also for colours.
    """
    with nothing_quoted(name):
        return _values(data, name)


def _values(data: bytes, name: str) -> FilmValues:
    dataset = parsed(data, name, data[128:132] != b"DICM")
    layout = layout_of(dataset, name, [])
    samples = stored_values(dataset, layout, name)
    if samples.values.ndim == 3:
        raise FilmUnreadable(f"{name}: colours, which have no window")
    how, _ = rendering_of(dataset, layout, samples, [])
    places = samples.values.astype(np.int32) - how.low
    if how.modality is not None:
        found = spread(np.take(how.modality_values(), places), how.inverse)
    else:
        stored, intercept = places.astype(np.uint16), how.intercept + how.slope * how.low
        window = percentile_window(stored, how.slope, intercept)
        found = FilmValues(stored, how.slope, intercept, how.inverse, *window)
    own = how.window
    if own is None or not own.usable:
        return found
    (low, high), (least, most) = own.edges, found.range
    if high < least or low > most:
        return found
    return replace(found, center=own.center, width=own.width, function=own.function)
