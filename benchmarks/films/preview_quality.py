"""What previews weigh and keep: WebP by quality, bytes against SSIM and PSNR, on films made at most 512 px.

SSIM as Wang et al. 2004: a Gaussian window of 1.5 pixels, 8 bits; of each quality the median and the lowest
of all films.
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from mtclip_edge.films.read import read_film
from mtclip_edge.films.thumbnail import webp
from mtclip_edge.sources.source import open_source

QUALITIES = (40, 50, 60, 70, 75, 80, 85, 90)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean structural similarity of two pictures uint8 [height, width]."""
    a, b = a.astype(float), b.astype(float)
    mean_a, mean_b = gaussian_filter(a, 1.5), gaussian_filter(b, 1.5)
    var_a = gaussian_filter(a * a, 1.5) - mean_a**2
    var_b = gaussian_filter(b * b, 1.5) - mean_b**2
    both = gaussian_filter(a * b, 1.5) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def main() -> None:
    """Print a row a quality."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    paths = [film.path for study in open_source(asked.source).studies for film in study.films]
    chosen = np.random.default_rng(asked.seed).permutation(len(paths))[: asked.films]
    rows = []
    for quality in QUALITIES:
        likeness, noise, size = [], [], []
        for place in chosen:
            small = Image.fromarray(read_film(paths[place]).grey)
            small.thumbnail((asked.side, asked.side), Image.Resampling.LANCZOS)
            grey, data = np.asarray(small), webp(np.asarray(small), asked.side, quality)
            back = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
            likeness.append(ssim(grey, back))
            noise.append(10 * np.log10(255**2 / ((grey.astype(float) - back) ** 2).mean()))
            size.append(len(data))
        row = {
            "quality": quality,
            "kilobytes": round(float(np.mean(size)) / 1000, 1),
            "ssim_median": round(float(np.median(likeness)), 4),
            "ssim_lowest": round(min(likeness), 4),
            "psnr_median": round(float(np.median(noise)), 1),
            "psnr_lowest": round(float(min(noise)), 1),
        }
        rows.append(row)
        print(row)
    if asked.json:
        result = {"films": len(chosen), "side": asked.side, "seed": asked.seed, "rows": rows}
        asked.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
