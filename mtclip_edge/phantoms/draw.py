"""Draw a frontal chest film from shapes: attenuations add up, then a tone curve, blur, noise and collimation make a film of them.

Coordinates: u from -1 (the viewer's left, the patient's right) to 1, v from -1 (neck) to 1 (abdomen), x = u towards a lung's own side.
Every number is in these units unless it says pixels. Bright is dense, as films are shown.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .findings import Finding

Array = np.ndarray
SIGN = {"right": -1.0, "left": 1.0}
ZONE_V = {"upper": -0.42, "middle": -0.06, "lower": 0.27}
_SUPERSAMPLING = 2
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Frame:
    """Where anatomy lies on the film: a rotated, scaled and shifted square of coordinates over ``width`` x ``height`` pixels."""

    width: int
    height: int
    angle: float
    scale: float
    shift_u: float
    shift_v: float

    def grids(self) -> tuple[Array, Array]:
        """u and v of every pixel, float [height, width]."""
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        a, b = (2 * x / self.width - 1 - self.shift_u) / self.scale, (2 * y / self.height - 1 - self.shift_v) / self.scale
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
class Drawn:
    """Grey film uint8 [height, width], and the box of each finding as shares of width and height: left, top, right, bottom."""

    grey: Array
    boxes: tuple[Box, ...]


def draw(random: np.random.Generator, findings: tuple[Finding, ...], side: int = 300) -> Drawn:
    """One film of about ``side`` pixels."""
    frame = _frame(random, side)
    body = _body(random, findings)
    u, v = frame.grids()
    lungs = {name: _lung(u, v, name, body) for name in SIGN}
    clear = {name: _sigmoid(lung.field / 0.012) for name, lung in lungs.items()}  # 1 where air is
    vessels = _vessels(random, frame, body)
    added = np.zeros_like(u)  # attenuation of findings
    boxes = []
    for finding in findings:
        mask = _apply(finding, random, frame, body, u, v, lungs, clear, vessels, added)
        boxes.append(_box(mask))
    inside = _inside(u, v)
    heart = _heart(u, v, body)
    shown = vessels * sum(clear.values()) * (1 - 1.7 * heart)  # behind the heart vessels hardly show
    attenuation = _tissue(random, frame, body, u, v, inside, heart, clear) + shown + added
    attenuation += inside * _bones(random, frame, body, u, v)
    return Drawn(_film(random, attenuation), tuple(boxes))


def _frame(random: np.random.Generator, side: int) -> Frame:
    width, height = (int(side * random.uniform(0.92, 1.05)) for _ in range(2))
    return Frame(
        width,
        height,
        angle=float(random.normal(0, 0.035)),
        scale=float(random.uniform(0.92, 1.08)),
        shift_u=float(random.normal(0, 0.035)),
        shift_v=float(random.normal(0.02, 0.04)),
    )


def _body(random: np.random.Generator, findings: tuple[Finding, ...]) -> Body:
    heart = random.uniform(0.36, 0.45)
    for finding in findings:
        if finding.kind == "cardiomegaly":
            heart = {"mild": 0.56, "moderate": 0.63, "marked": 0.71}[finding.size] + random.uniform(-0.02, 0.02)
    return Body(
        chest=float(random.uniform(0.76, 0.88)),
        apex=float(random.uniform(-0.86, -0.76)),
        dome=float(random.uniform(0.40, 0.56)),
        heart=float(heart),
        thickness=float(random.uniform(0.42, 0.62)),
        breasts=float(max(0.0, random.normal(0.0, 0.10))),
        ribs=float(random.uniform(0.6, 1.2)),
        vessels=float(random.uniform(0.7, 1.25)),
    )


@dataclass(frozen=True)
class Lung:
    """Signed distances (about, in units) into a lung: ``field`` from any border, ``pleura`` from its lateral and upper one."""

    field: Array
    pleura: Array
    floor: Array  # v of the diaphragm at each x
    x: Array


def _lung(u: Array, v: Array, name: str, body: Body) -> Lung:
    x = SIGN[name] * u
    t = np.clip((v - body.apex) / (0.62 - body.apex), 0, 1.2)
    lateral = 0.36 * body.chest + 0.66 * body.chest * np.sin(np.pi / 2 * np.minimum(t, 1) ** 0.58) - x
    top = v - (body.apex + 1.5 * (x - 0.36) ** 2)
    medial = x - 0.12 - 0.02 * np.sin(4 * v)
    dome = body.dome + (0.055 if name == "left" else 0.0)
    floor = dome + 0.16 * ((x - 0.36) / 0.42) ** 2 + 0.9 * np.maximum(0, x - body.chest * 0.78) ** 1.5
    pleura = _softmin([lateral, top], 0.03)
    return Lung(_softmin([pleura, medial, floor - v], 0.015), pleura, floor, x)


def _half_width(v: Array) -> Array:
    """Neck, shoulders, trunk."""
    return np.where(v < -0.62, 0.24 + 0.86 * _sigmoid((v + 0.80) / 0.05), 1.12)


def _inside(u: Array, v: Array) -> Array:
    """1 within the body, 0 in the air around it."""
    return _sigmoid((_half_width(v) - np.abs(u)) / 0.012)


def _tissue(
    random: np.random.Generator,
    frame: Frame,
    body: Body,
    u: Array,
    v: Array,
    inside: Array,
    heart: Array,
    clear: dict[str, Array],
) -> Array:
    """Soft tissue, mediastinum, heart, abdomen and the air in trachea and stomach."""
    air = sum(clear.values())
    chord = np.sqrt(np.clip(1 - (u / (_half_width(v) + 0.1)) ** 2, 0.05, 1))
    tissue = inside * (0.30 + body.thickness * chord)
    lungs = tissue * (1 - 0.70 * air)
    abdomen = 0.30 * _sigmoid((v - body.dome - 0.16) / 0.06) * (1 - air)
    central = 0.30 * np.exp(-((u / (0.15 + 0.02 * np.cos(5 * v))) ** 4)) * _sigmoid((v + 1.0) / 0.05)
    middle = np.maximum(central, heart) + 0.2 * np.minimum(central, heart)
    knob = 0.20 * _blob(u - 0.145, v + 0.38, 0.075, 0.085)
    trachea = -0.28 * np.exp(-(((u - 0.01) / 0.042) ** 4)) * _sigmoid((-0.30 - v) / 0.02)
    stomach = -0.34 * random.uniform(0, 1) * _blob(u - 0.42, v - body.dome - 0.26, 0.15, 0.085)
    breast = sum(body.breasts * _blob(u - s * 0.46, v - 0.34, 0.36, 0.30) for s in (-1, 1))
    texture = 0.022 * _noise(random, frame, 5) + 0.05 * _noise(random, frame, 40)
    return lungs + abdomen + inside * (middle + knob + trachea + stomach + breast + texture)


def _heart(u: Array, v: Array, body: Body) -> Array:
    """Left ventricle along an axis from upper right to lower left, right atrium beside the spine."""
    reach = body.heart
    angle = 0.52
    a, b = u - 0.36 * reach, v - body.dome + 0.27 - 0.10 * (reach - 0.4)
    along, across = np.cos(angle) * a + np.sin(angle) * b, -np.sin(angle) * a + np.cos(angle) * b
    ventricle = _sigmoid((1 - np.hypot(along / (0.68 * reach + 0.06), across / (0.20 + 0.26 * reach))) / 0.045)
    atrium = _sigmoid((1 - np.hypot((u + 0.06) / (0.13 + 0.16 * reach), (v - body.dome + 0.23) / 0.27)) / 0.05)
    return 0.40 * np.maximum(ventricle, atrium)


def _vessels(random: np.random.Generator, frame: Frame, body: Body) -> Array:
    """Branching trees from both hila, tapering outwards."""
    canvas, pen = _canvas(frame)
    for sign in (-1.0, 1.0):
        for start_angle in np.linspace(-1.25, 1.35, 11):
            position = np.array([sign * 0.17, -0.10 + 0.12 * start_angle])
            _branch(random, frame, pen, position, sign, float(start_angle + random.normal(0, 0.12)), 0.024, 0)
    hila = sum(0.12 * _blob(*_moved(frame, sign * 0.20, -0.05), 0.10, 0.17) for sign in (-1, 1))
    return body.vessels * (0.25 * _reduced(canvas, frame, 0.7) + hila)


def _branch(
    random: np.random.Generator, frame: Frame, pen: ImageDraw.ImageDraw, at: Array, sign: float, angle: float, width: float, depth: int
) -> None:
    points = [at]
    for _ in range(int(random.integers(3, 7))):
        angle += float(random.normal(0, 0.13))
        points.append(points[-1] + random.uniform(0.045, 0.075) * np.array([sign * np.cos(angle), np.sin(angle)]))
    _line(frame, pen, np.array(points), width, int(40 + 190 * min(1, width / 0.024)))
    if width > 0.007 and depth < 5:
        for turn in (random.uniform(0.15, 0.5), -random.uniform(0.15, 0.5)):
            _branch(random, frame, pen, points[-1], sign, angle + float(turn), width * float(random.uniform(0.58, 0.76)), depth + 1)


def _bones(random: np.random.Generator, frame: Frame, body: Body, u: Array, v: Array) -> Array:
    return (
        body.ribs * (0.20 * _ribs(frame, body, behind=True) + 0.12 * _ribs(frame, body, behind=False))
        + 0.30 * _clavicles(random, frame)
        + 0.11 * _scapulae(frame)
        + _spine(u, v)
    )


def _ribs(frame: Frame, body: Body, behind: bool) -> Array:
    """Ten posterior arcs from the spine, or the anterior arcs that come back from the side. Edges are denser than the middle."""
    canvas, pen = _canvas(frame)
    for sign in (-1.0, 1.0):
        for number in range(10):
            start = body.apex + 0.02 + 0.128 * number
            edge = min(1.05, body.chest * (0.46 + 0.58 * np.sin(np.pi / 2 * min(1.0, (number + 0.8) / 6))))
            t = np.linspace(0, 1, 24)
            if behind:
                x = 0.08 + (edge - 0.08) * np.sin(np.pi / 2 * t) ** 1.1
                y = start - 0.035 * np.sin(np.pi * t) + (0.10 + 0.016 * number) * t**2.2
            else:
                x = edge - (edge - 0.30) * t**1.15
                y = start + 0.10 + 0.016 * number + 0.30 * t**1.4 - 0.03 * np.sin(np.pi * t)
                if number in (0, 7, 8, 9):
                    continue
            points = np.stack([sign * x, y], axis=1)
            _line(frame, pen, points, 0.058 if behind else 0.052, 230)
            _line(frame, pen, points, 0.034 if behind else 0.030, 140)
    return _reduced(canvas, frame, 0.9)


def _clavicles(random: np.random.Generator, frame: Frame) -> Array:
    canvas, pen = _canvas(frame)
    rise = random.uniform(0.10, 0.20)
    for sign in (-1.0, 1.0):
        t = np.linspace(0, 1, 20)
        points = np.stack([sign * (0.08 + 0.74 * t), -0.64 - rise * t + 0.05 * np.sin(2 * np.pi * t)], axis=1)
        _line(frame, pen, points, 0.062, 230)
        _line(frame, pen, points, 0.034, 150)
    return _reduced(canvas, frame, 0.9)


def _scapulae(frame: Frame) -> Array:
    canvas, pen = _canvas(frame)
    for sign in (-1.0, 1.0):
        outline = np.array([[0.72, -0.70], [0.98, -0.74], [1.06, -0.40], [0.92, 0.04], [0.82, 0.10], [0.74, -0.25]]) * [sign, 1]
        pen.polygon([tuple(p) for p in _SUPERSAMPLING * frame.pixels(outline)], fill=200)
    return _reduced(canvas, frame, 2.5)


def _spine(u: Array, v: Array) -> Array:
    """Vertebral bodies with disc spaces between them, spinous processes in the middle."""
    column = np.exp(-((u / 0.085) ** 6)) * _sigmoid((v + 1.0) / 0.03)
    discs = 0.5 + 0.5 * np.cos(2 * np.pi * v / 0.128)
    process = np.exp(-((u / 0.018) ** 2)) * (0.5 + 0.5 * np.cos(2 * np.pi * (v - 0.03) / 0.128))
    return column * (0.10 - 0.07 * discs**4) + 0.05 * process


def _apply(
    finding: Finding,
    random: np.random.Generator,
    frame: Frame,
    body: Body,
    u: Array,
    v: Array,
    lungs: dict[str, Lung],
    clear: dict[str, Array],
    vessels: Array,
    added: Array,
) -> Array:
    """Draw one finding into the air maps, the vessels and the added attenuation; gives the mask of where it is."""
    if finding.kind == "cardiomegaly":
        return _heart(u, v, body) > 0.2
    lung = lungs[finding.side]
    air = clear[finding.side]
    if finding.kind == "effusion":
        return _effusion(finding, random, lung, v, air, added)
    if finding.kind == "pneumothorax":
        return _pneumothorax(finding, random, lung, v, air, vessels, added)
    place_u = SIGN[finding.side] * body.chest * random.uniform(0.42, 0.72)
    place_v = ZONE_V[finding.zone] + random.uniform(-0.07, 0.07)
    du, dv = u - place_u, v - place_v
    if finding.kind == "consolidation":
        return _consolidation(finding, random, frame, du, dv, air, added)
    radius = {"small": 0.046, "moderate": 0.062, "large": 0.115}[finding.size] * random.uniform(0.92, 1.15)
    theta = np.arctan2(dv, du)
    lobes = 1 + 0.10 * np.sin(3 * theta + random.uniform(0, 6)) + 0.06 * np.sin(5 * theta + random.uniform(0, 6))
    mask = _sigmoid((radius * lobes - np.hypot(du, dv)) / (0.008 if finding.kind == "nodule" else 0.014)) * _sigmoid(lung.field / 0.02)
    added += (0.34 if finding.kind == "nodule" else 0.42) * mask
    return mask > 0.5


def _effusion(finding: Finding, random: np.random.Generator, lung: Lung, v: Array, air: Array, added: Array) -> Array:
    """Fluid with a meniscus, higher at the side than in the middle."""
    level = {"small": 0.44, "moderate": 0.26, "large": 0.02}[finding.size] + random.uniform(-0.05, 0.05)
    surface = level + 0.30 * (1 - np.clip(lung.x / 0.80, 0, 1) ** 2.2)
    fluid = _sigmoid((v - surface) / 0.018) * air
    air *= 1 - 0.96 * fluid
    added += 0.10 * fluid
    return fluid > 0.5


def _pneumothorax(finding: Finding, random: np.random.Generator, lung: Lung, v: Array, air: Array, vessels: Array, added: Array) -> Array:
    """Air between chest wall and lung: no vessels, a thin pleural line, widest at the apex."""
    gap = {"small": 0.10, "moderate": 0.17, "large": 0.27}[finding.size] * random.uniform(0.9, 1.1)
    depth = lung.pleura - gap * np.clip(1.0 - 0.55 * (v + 0.75), 0.25, 1.1)
    outside = _sigmoid(-depth / 0.006) * air
    vessels *= 1 - np.where(lung.x > 0, outside, 0)
    added += 0.26 * np.exp(-((depth / 0.008) ** 2)) * air - 0.09 * outside
    return outside > 0.5


def _consolidation(finding: Finding, random: np.random.Generator, frame: Frame, du: Array, dv: Array, air: Array, added: Array) -> Array:
    """Cloudy opacity of several soft patches with ragged edges."""
    size = {"small": 0.11, "moderate": 0.15, "large": 0.20}[finding.size]
    cloud = np.zeros_like(du)
    for _ in range(7):
        a, b = random.normal(0, 0.5 * size, 2)
        cloud += _blob(du - a, dv - b, size * random.uniform(0.5, 0.8), size * random.uniform(0.5, 0.8))
    ragged = cloud * (1 + 0.45 * _noise(random, frame, 6))
    mask = _sigmoid((ragged - 0.9) / 0.28) * air
    added += 0.34 * mask
    return mask > 0.5


def _film(random: np.random.Generator, attenuation: Array) -> Array:
    """Tone curve, scatter, noise, marker and collimation."""
    low, high = random.uniform(0.05, 0.17), random.uniform(1.15, 1.5)
    light = np.clip((attenuation - low) / (high - low), 0, 1) ** random.uniform(0.75, 1.15)
    image = Image.fromarray(np.rint(255 * light).astype(np.uint8)).filter(ImageFilter.GaussianBlur(random.uniform(0.4, 0.9)))
    _marker(random, image)
    grey = np.asarray(image, np.float32)
    grey += random.normal(0, random.uniform(1.5, 5.0), grey.shape).astype(np.float32) * (0.5 + grey / 255)
    height, width = grey.shape
    if random.random() < 0.4:  # collimator blades
        left, right, top, bottom = (int(side * random.uniform(0, 0.05)) for side in (width, width, height, height))
        frame = np.zeros_like(grey)
        frame[top : height - bottom, left : width - right] = 1
        grey *= frame
    return np.clip(grey, 0, 255).astype(np.uint8)


def _marker(random: np.random.Generator, image: Image.Image) -> None:
    """The lead letter of a side, as a technician would lay it."""
    if random.random() < 0.3:
        return
    pen, size = ImageDraw.Draw(image), int(image.width * 0.035)
    letter, x = ("L", 0.93) if random.random() < 0.5 else ("R", 0.04)
    at = (int(image.width * x), int(image.height * random.uniform(0.04, 0.12)))
    pen.text(at, letter, fill=245, font_size=size + 6)


def _box(mask: Array) -> Box:
    """The smallest box around a mask, as shares of width and height; the whole film if nothing of it is on the film."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0.0, 0.0, 1.0, 1.0)
    height, width = mask.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )


def _canvas(frame: Frame) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("L", (frame.width * _SUPERSAMPLING, frame.height * _SUPERSAMPLING))
    return canvas, ImageDraw.Draw(canvas)


def _line(frame: Frame, pen: ImageDraw.ImageDraw, points: Array, width: float, value: int) -> None:
    pixels = _SUPERSAMPLING * frame.pixels(points)
    pen.line([tuple(p) for p in pixels], fill=value, width=max(1, round(_SUPERSAMPLING * width * frame.unit)), joint="curve")


def _reduced(canvas: Image.Image, frame: Frame, blur: float) -> Array:
    small = canvas.resize((frame.width, frame.height), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(small, np.float32) / 255


def _moved(frame: Frame, u: float, v: float) -> tuple[Array, Array]:
    grid_u, grid_v = frame.grids()
    return grid_u - u, grid_v - v


def _noise(random: np.random.Generator, frame: Frame, size: int) -> Array:
    """Smooth noise of about unit variance with grains of ``size`` pixels."""
    coarse = random.normal(0, 1, (frame.height // size + 2, frame.width // size + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((frame.width, frame.height), Image.Resampling.BICUBIC))


def _blob(du: Array, dv: Array, width: float, height: float) -> Array:
    return np.exp(-((du / width) ** 2) - (dv / height) ** 2)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def _softmin(fields: list[Array], softness: float) -> Array:
    low = np.minimum.reduce(fields)
    return low - softness * np.log(sum(np.exp(-(field - low) / softness) for field in fields))
