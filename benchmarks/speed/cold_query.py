"""One film, one process, nothing warm but the page cache: mtclip, the same query in torch + open_clip, and
the floor of its imports.

    python benchmarks/speed/cold_query.py BUNDLE RUN FILM [--runs 7]

The three take turns in one run; what is printed is the median of each and the ratios pair by pair. The peer
is what a person writes without this tool: local weights, inference mode, report embeddings saved beforehand,
the same preprocessing and search.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mtclip_edge.diagnostics.bench import COMMAND, FLOOR

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

PEER = """
import json, sys
import numpy as np, torch, open_clip
from PIL import Image
from safetensors.torch import load_file
folder, weights, vectors, film = sys.argv[1:5]
config = json.load(open(folder + "/shape.json"))
model = open_clip.create_model("local-dir:" + folder).eval()
part = load_file(weights)
grey = Image.open(film).convert("L").resize((config["size"],) * 2, Image.Resampling.BICUBIC)
x = torch.from_numpy(np.asarray(grey, np.float32) / 255)[None].repeat(3, 1, 1)
x = ((x - torch.tensor(config["mean"])[:, None, None]) / torch.tensor(config["std"])[:, None, None])[None]
with torch.inference_mode():
    f = model.visual(x)
    h = torch.nn.functional.layer_norm(f, f.shape[1:], part["film.norm.weight"], part["film.norm.bias"])
    h = torch.nn.functional.gelu(h @ part["film.hidden.weight"].T + part["film.hidden.bias"])
    z = h @ part["film.out.weight"].T + part["film.out.bias"]
    z = torch.nn.functional.normalize(z + f if config["residual"] else z, dim=-1) @ part["axes"]
scores = np.load(vectors) @ z[0].numpy()
print(json.dumps([[int(i), float(scores[i])] for i in np.argsort(-scores)[:5]]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("film", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        commands = prepare(options, Path(scratch))
        check_same_answer(commands)
        times = {name: [] for name in commands}
        for _ in range(options.runs):
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                times[name].append(time.perf_counter() - started)
    report(times)


def prepare(options: argparse.Namespace, scratch: Path) -> dict[str, list[str]]:
    """The three commands; what the peer reads is written first, as its user would have saved it."""
    import numpy as np

    record = json.loads((options.run / "run.json").read_text())
    manifest = json.loads((options.bundle / "manifest.json").read_text())
    folder = scratch / "backbone"
    folder.mkdir()
    source = Path(record["backbone"]["spec"])
    if record["backbone"]["spec"] == "compact":
        from mtclip_edge.train.backbones.compact import assemble

        source = assemble()
    for path in source.iterdir():
        if path.name != "open_clip_config.json":
            (folder / path.name).symlink_to(path)
    if record["tower_sha256"]:
        with_tuned_tower(folder / "open_clip_model.safetensors", options.run / "tower.safetensors")
    config = json.loads((source / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "shape.json").write_text(json.dumps({**record["preprocessing"], **record["shape"]}))
    vectors = np.load(options.bundle / manifest["index"]["vectors"])[: manifest["index"]["reports"]]
    np.save(scratch / "reports.npy", vectors)
    (scratch / "peer.py").write_text(PEER)
    weights = str(options.run / "weights.safetensors")
    return {
        "mtclip query": [
            sys.executable,
            "-c",
            COMMAND,
            "query",
            str(options.film),
            "--bundle",
            str(options.bundle),
            "--json",
            "--force",
        ],
        "torch + open_clip": [
            sys.executable,
            str(scratch / "peer.py"),
            str(folder),
            weights,
            str(scratch / "reports.npy"),
            str(options.film),
        ],
        f"floor: {FLOOR}": [sys.executable, "-c", FLOOR],
    }


def with_tuned_tower(weights: Path, tower: Path) -> None:
    """The backbone's weights with the run's film tower in their place, as its user would have saved them."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights) | {f"visual.{name}": value for name, value in load_file(tower).items()}
    weights.unlink()
    save_file(tensors, weights)


def check_same_answer(commands: dict[str, list[str]]) -> None:
    """A comparison of two programs that answer differently would mean nothing. Also warms the page cache."""
    outputs = [
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for command in commands.values()
    ]
    ours = [hit["score"] for hit in json.loads(outputs[0])["hits"]]
    theirs = [score for _, score in json.loads(outputs[1])]
    # fp32 agrees to four decimals, weights stored in fp16 to about two, eight bits to 0.02.
    assert all(abs(a - b) < 2e-2 for a, b in zip(ours, theirs, strict=True)), (ours, theirs)


def report(times: dict[str, list[float]]) -> None:
    (ours_name, ours), *others = times.items()
    for name, values in times.items():
        print(
            f"{name:45s} median {statistics.median(values):6.2f} s   min {min(values):6.2f}   max "
            f"{max(values):6.2f}"
        )
    for name, values in others:
        ratios = [other / mine for mine, other in zip(ours, values, strict=True)]
        print(
            f"{name} / {ours_name}: {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max "
            f"{max(ratios):.2f}, {len(ratios)} pairs)"
        )


if __name__ == "__main__":
    main()
