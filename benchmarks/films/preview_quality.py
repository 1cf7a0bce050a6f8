"""What previews weigh and keep: WebP by quality, bytes against SSIM and PSNR, on films made at most 512 px.

SSIM as Wang et al. 2004: a Gaussian window of 1.5 pixels, 8 bits; of each quality the median and the lowest
of all films.

    python benchmarks/films/preview_quality.py --data SOURCE [--films 100] [--side 512]
"""

import argparse
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from mtclip_edge.films.read import read_film
from mtclip_edge.films.thumbnail import webp
from mtclip_edge.sources.source import open_source

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    """A row a quality."""
    paths = [film.path for study in open_source(options.data).studies for film in study.films]
    chosen = np.random.default_rng(options.seed).permutation(len(paths))[: options.films]
    print(f"{len(chosen)} films of {len(paths)}, at most {options.side} px")
    print("| WebP quality | kB a film | SSIM median | SSIM lowest | PSNR median | PSNR lowest |")
    print("|---|---|---|---|---|---|")
    for quality in QUALITIES:
        likeness, noise, size = [], [], []
        for place in chosen:
            small = Image.fromarray(read_film(paths[place]).grey)
            small.thumbnail((options.side, options.side), Image.Resampling.LANCZOS)
            grey, data = np.asarray(small), webp(np.asarray(small), options.side, quality)
            back = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
            likeness.append(ssim(grey, back))
            noise.append(10 * np.log10(255**2 / ((grey.astype(float) - back) ** 2).mean()))
            size.append(len(data))
        kept = f"{np.median(likeness):.4f} | {min(likeness):.4f} | {np.median(noise):.1f} | {min(noise):.1f}"
        print(f"| {quality} | {np.mean(size) / 1000:.1f} | {kept} |")


if __name__ == "__main__":
    main()
