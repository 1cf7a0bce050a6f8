"""Pictures made by code that are no chest films: scenes, gradients, pages of text, textures, noise; grey
and coloured. For film_gate.py.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Random = np.random.Generator


def scene(random: Random) -> Image.Image:
    """Sky, hills, a sun, houses and trees: what a photograph of outdoors looks like from far."""
    w, h = 640, 480
    sky = np.linspace(random.uniform(150, 255), random.uniform(100, 220), h)[:, None, None] * np.array(
        [0.7, 0.85, 1.0]
    )
    image = Image.fromarray(np.broadcast_to(sky, (h, w, 3)).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    x = np.arange(w)
    for level in (0.5, 0.6, 0.75):
        line = h * level + 40 * np.sin(x / random.uniform(40, 150) + random.uniform(0, 6))
        pen.polygon(
            [(0, h), *zip(x.tolist(), line.tolist(), strict=True), (w, h)],
            fill=_colour(random, (20, 60, 10), (120, 170, 90)),
        )
    for _ in range(random.integers(2, 7)):
        left, top, size = random.integers(0, w - 90), random.integers(200, 380), random.integers(30, 90)
        pen.rectangle(
            [left, top, left + size, top + size], fill=_colour(random, (60, 30, 20), (240, 220, 200))
        )
        roof = [(left - 8, top), (left + size / 2, top - size / 2), (left + size + 8, top)]
        pen.polygon(roof, fill=_colour(random, (80, 20, 20), (160, 60, 60)))
    sun = random.integers(30, 600), random.integers(20, 120)
    pen.ellipse([sun[0], sun[1], sun[0] + 45, sun[1] + 45], fill=(255, 240, 180))
    return _grainy(image, random)


def portrait(random: Random) -> Image.Image:
    """A head and shoulders before a wall: the photograph that has a film's symmetry."""
    image = Image.new("RGB", (480, 560), _colour(random, (60, 60, 60), (220, 220, 220)))
    pen, skin = ImageDraw.Draw(image), _colour(random, (120, 80, 60), (240, 200, 180))
    pen.ellipse([40, 380, 440, 760], fill=_colour(random, (10, 10, 30), (200, 200, 220)))
    pen.rectangle([205, 330, 275, 420], fill=skin)
    pen.ellipse([140, 110, 340, 380], fill=skin)
    pen.pieslice([130, 90, 350, 330], 180, 360, fill=_colour(random, (10, 10, 10), (120, 90, 60)))
    for eye in (190, 265):
        pen.ellipse([eye, 225, eye + 28, 240], fill=(30, 30, 30))
    pen.arc([195, 280, 285, 330], 20, 160, fill=(120, 40, 40), width=6)
    return _grainy(image.filter(ImageFilter.GaussianBlur(1.5)), random)


def page(random: Random) -> Image.Image:
    """A page of dark strokes in lines, as of text."""
    image = Image.new("L", (600, 800), 250)
    pen = ImageDraw.Draw(image)
    for y in range(60, 740, int(random.integers(16, 30))):
        x = 50
        while x < 540:
            width = int(random.integers(10, 60))
            for stroke in range(x, x + width, 6):
                pen.line(
                    [stroke, y, stroke + random.integers(-2, 3), y + random.integers(6, 12)], fill=20, width=2
                )
            x += width + 10
        if random.random() < 0.1:
            pen.rectangle([0, y, 600, y + 20], fill=250)
    return image


def gradient(random: Random) -> Image.Image:
    y, x = np.mgrid[0:512, 0:512] / 511
    angle = random.uniform(0, 2 * np.pi)
    value = np.cos(angle) * x + np.sin(angle) * y
    if random.random() < 0.5:
        value = np.hypot(x - random.uniform(0.2, 0.8), y - random.uniform(0.2, 0.8)) * random.choice([-1, 1])
    return _stretched(value)


def texture(random: Random) -> Image.Image:
    """Stripes, checks and woven waves of several widths."""
    y, x = np.mgrid[0:512, 0:512]
    period, angle = random.uniform(8, 120), random.uniform(0, np.pi)
    wave = np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period)
    kind = random.integers(3)
    if kind == 1:
        wave = np.sign(wave) * np.sign(np.sin(2 * np.pi * (np.cos(angle) * y - np.sin(angle) * x) / period))
    if kind == 2:
        wave = wave + np.sin(x / random.uniform(5, 40) + 3 * np.sin(y / random.uniform(20, 60)))
    return _stretched(wave + random.normal(0, 0.1, x.shape))


def white_noise(random: Random) -> Image.Image:
    return Image.fromarray(random.integers(0, 256, (512, 512)).astype(np.uint8))


def smooth_noise(random: Random) -> Image.Image:
    """Clouds of one size."""
    small = random.normal(0, 1, (int(random.integers(4, 40)),) * 2)
    return _stretched(
        np.asarray(Image.fromarray(small.astype(np.float32)).resize((512, 512), Image.Resampling.BICUBIC))
    )


def pink_noise(random: Random) -> Image.Image:
    """The spectrum of natural pictures (1/f), random phases."""
    f = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None, :])
    f[0, 0] = 1
    return _stretched(
        np.fft.ifft2(np.fft.fft2(random.normal(0, 1, (512, 512))) / f ** random.uniform(0.8, 1.6)).real
    )


def speckle(random: Random) -> Image.Image:
    """Black with white points."""
    return Image.fromarray(
        np.where(random.random((512, 512)) < random.uniform(0.01, 0.3), 255, 0).astype(np.uint8)
    )


MADE: dict[str, Callable[[Random], Image.Image]] = {
    "drawn scenes, colour": scene,
    "drawn scenes, grey": lambda random: scene(random).convert("L"),
    "drawn portraits, grey": lambda random: portrait(random).convert("L"),
    "pages of text": page,
    "gradients": gradient,
    "textures": texture,
    "white noise": white_noise,
    "smooth noise": smooth_noise,
    "1/f noise": pink_noise,
    "white points": speckle,
}


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _colour(random: Random, low: tuple[int, ...], high: tuple[int, ...]) -> tuple[int, int, int]:
    r, g, b = (int(random.integers(a, z + 1)) for a, z in zip(low, high, strict=True))
    return r, g, b


def _stretched(value: np.ndarray) -> Image.Image:
    return Image.fromarray(np.uint8(255 * (value - value.min()) / (np.ptp(value) + 1e-9)))


def _grainy(image: Image.Image, random: Random) -> Image.Image:
    noisy = np.asarray(image, float) + random.normal(0, 6, (*image.size[::-1], 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
