"""The plane phantoms are drawn on, the build of a patient, and the shapes that both anatomy and findings are
made of.

Coordinates: u from -1 (the viewer's left, the patient's right) to 1, v from -1 (neck) to 1 (abdomen), x = u
towards a lung's own side. Every number is in these units unless it says pixels.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Array = np.ndarray
SIGN = {"right": -1.0, "left": 1.0}
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Frame:
    """Where anatomy lies on the film: a rotated, scaled and shifted square of coordinates over ``width``
    x ``height`` pixels.
    """

    width: int
    height: int
    angle: float
    scale: float
    shift_u: float
    shift_v: float

    def grids(self) -> tuple[Array, Array]:
        """u and v of every pixel, float [height, width]."""
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        a, b = (
            (2 * x / self.width - 1 - self.shift_u) / self.scale,
            (2 * y / self.height - 1 - self.shift_v) / self.scale,
        )
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return cos * a + sin * b, -sin * a + cos * b

    def pixels(self, points: Array) -> Array:
        """Points [n, 2] of (u, v) to pixel positions [n, 2]."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        a = cos * points[:, 0] - sin * points[:, 1]
        b = sin * points[:, 0] + cos * points[:, 1]
        x = (a * self.scale + self.shift_u + 1) * self.width / 2
        y = (b * self.scale + self.shift_v + 1) * self.height / 2
        return np.stack([x, y], axis=1)

    @property
    def unit(self) -> float:
        """Pixels of one coordinate unit."""
        return self.scale * self.width / 2


@dataclass(frozen=True)
class Body:
    """How one patient is built: all lengths in coordinate units."""

    chest: float  # half width of the lung fields
    apex: float  # v of the lung tops
    dome: float  # v of the right diaphragm's top
    heart: float  # how far the heart reaches to the left
    thickness: float  # of soft tissue
    breasts: float
    ribs: float  # how plainly they show
    vessels: float


@dataclass(frozen=True)
class Lung:
    """Signed distances (about, in units) into a lung: ``field`` from any border, ``pleura`` from its
    lateral and upper one.
    """

    field: Array
    pleura: Array
    floor: Array  # v of the diaphragm at each x
    x: Array


def lung_at(u: Array, v: Array, name: str, body: Body) -> Lung:
    x = SIGN[name] * u
    t = np.clip((v - body.apex) / (0.62 - body.apex), 0, 1.2)
    lateral = 0.36 * body.chest + 0.66 * body.chest * np.sin(np.pi / 2 * np.minimum(t, 1) ** 0.58) - x
    top = v - (body.apex + 1.5 * (x - 0.36) ** 2)
    medial = x - 0.12 - 0.02 * np.sin(4 * v)
    dome = body.dome + (0.055 if name == "left" else 0.0)
    floor = dome + 0.16 * ((x - 0.36) / 0.42) ** 2 + 0.9 * np.maximum(0, x - body.chest * 0.78) ** 1.5
    pleura = softmin([lateral, top], 0.03)
    return Lung(softmin([pleura, medial, floor - v], 0.015), pleura, floor, x)


def heart_at(u: Array, v: Array, body: Body) -> Array:
    """Left ventricle along an axis from upper right to lower left, right atrium beside the spine."""
    reach = body.heart
    angle = 0.52
    a, b = u - 0.36 * reach, v - body.dome + 0.27 - 0.10 * (reach - 0.4)
    along, across = np.cos(angle) * a + np.sin(angle) * b, -np.sin(angle) * a + np.cos(angle) * b
    ventricle = sigmoid((1 - np.hypot(along / (0.68 * reach + 0.06), across / (0.20 + 0.26 * reach))) / 0.045)
    atrium = sigmoid((1 - np.hypot((u + 0.06) / (0.13 + 0.16 * reach), (v - body.dome + 0.23) / 0.27)) / 0.05)
    return 0.40 * np.maximum(ventricle, atrium)


def canvas(frame: Frame) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("L", (frame.width * SUPERSAMPLING, frame.height * SUPERSAMPLING))
    return canvas, ImageDraw.Draw(canvas)


def line(frame: Frame, pen: ImageDraw.ImageDraw, points: Array, width: float, value: int) -> None:
    pixels = SUPERSAMPLING * frame.pixels(points)
    pen.line(
        [tuple(p) for p in pixels],
        fill=value,
        width=max(1, round(SUPERSAMPLING * width * frame.unit)),
        joint="curve",
    )


def reduced(canvas: Image.Image, frame: Frame, blur: float) -> Array:
    small = canvas.resize((frame.width, frame.height), Image.Resampling.BOX).filter(
        ImageFilter.GaussianBlur(blur)
    )
    return np.asarray(small, np.float32) / 255


def moved(frame: Frame, u: float, v: float) -> tuple[Array, Array]:
    grid_u, grid_v = frame.grids()
    return grid_u - u, grid_v - v


def noise(random: np.random.Generator, frame: Frame, size: int) -> Array:
    """Smooth noise of about unit variance with grains of ``size`` pixels."""
    coarse = random.normal(0, 1, (frame.height // size + 2, frame.width // size + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((frame.width, frame.height), Image.Resampling.BICUBIC))


def blob(du: Array, dv: Array, width: float, height: float) -> Array:
    return np.exp(-((du / width) ** 2) - (dv / height) ** 2)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def softmin(fields: list[Array], softness: float) -> Array:
    low = np.minimum.reduce(fields)
    return low - softness * np.log(sum(np.exp(-(field - low) / softness) for field in fields))
