"""EVA-X-Ti's published checkpoint with random weights: the names, shapes and types of a masked training by DeepSpeed."""

from pathlib import Path
from typing import Any

import torch
from hub import reached
from torch import Tensor

REPOSITORY = "MapleF/eva_x"
FILE = "eva_x_tiny_patch16_merged520k_mim.pt"
WIDTH, DEPTH, HEADS, HIDDEN, GRID, PATCH = 192, 12, 3, 512, 14, 16


def random_tensors(seed: int = 0) -> dict[str, Tensor]:
    """Half precision, under the names of its training."""
    random = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, spread: float = 0.02, mean: float = 0.0) -> Tensor:
        return (mean + spread * torch.randn(shape, generator=random)).half()

    def norm(name: str) -> dict[str, Tensor]:
        return {f"{name}.weight": drawn(WIDTH, spread=0.1, mean=1.0), f"{name}.bias": drawn(WIDTH)}

    cosine, sine = rotation()
    turned = {"rope.freqs_cos": cosine, "rope.freqs_sin": sine}
    tensors = {
        "cls_token": drawn(1, 1, WIDTH),
        "mask_token": drawn(1, 1, WIDTH),
        "pos_embed": drawn(1, 1 + GRID**2, WIDTH),
        "patch_embed.proj.weight": drawn(WIDTH, 3, PATCH, PATCH, spread=0.05),
        "patch_embed.proj.bias": drawn(WIDTH),
        **turned,
    }
    for i in range(DEPTH):
        block = {
            **norm("norm1"),
            "attn.q_bias": drawn(WIDTH),
            "attn.v_bias": drawn(WIDTH),
            "attn.qkv.weight": drawn(3 * WIDTH, WIDTH, spread=0.08),
            "attn.proj.weight": drawn(WIDTH, WIDTH, spread=0.06),
            "attn.proj.bias": drawn(WIDTH),
            **{f"attn.{name}": value for name, value in turned.items()},
            **norm("norm2"),
            "mlp.w12.weight": drawn(2 * HIDDEN, WIDTH, spread=0.08),
            "mlp.w12.bias": drawn(2 * HIDDEN),
            "mlp.w3.weight": drawn(WIDTH, HIDDEN, spread=0.06),
            "mlp.w3.bias": drawn(WIDTH),
        }
        tensors |= {f"blocks.{i}.{name}": value for name, value in block.items()}
    return tensors | norm("norm") | {"lm_head.weight": drawn(768, WIDTH), "lm_head.bias": drawn(768)}


def rotation() -> tuple[Tensor, Tensor]:
    """Cosine and sine [places, width of a head] of EVA-02's rotary positions: rows first, then columns, each
    frequency for two neighbouring numbers.
    """
    half = WIDTH // HEADS // 2
    frequency = 10000.0 ** -(torch.arange(0, half, 2) / half)
    angle = (torch.arange(GRID)[:, None] * frequency).repeat_interleave(2, dim=1)
    rows, columns = angle[:, None].expand(-1, GRID, -1), angle[None].expand(GRID, -1, -1)
    both = torch.cat([rows, columns], dim=-1).flatten(0, 1)
    return both.cos().half(), both.sin().half()


def checkpoint(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """As DeepSpeed saves it: the weights under ``module``, the optimiser (here: its beginning) beside them."""
    flat = torch.cat([value.float().flatten() for value in list(tensors.values())[:2]])
    state = {"step": 9, "exp_avg": flat, "exp_avg_sq": flat**2}
    return {
        "module": tensors,
        "optimizer": {
            "cur_scale": 65536.0,
            "optimizer_state_dict": {"state": {0: state}, "param_groups": [{"lr": 1e-5, "params": [0]}]},
            "fp32_groups_flat": [flat],
        },
        "param_shapes": [{name: value.shape for name, value in tensors.items()}],
        "lr_scheduler": None,
        "global_steps": 9,
        "ds_version": "0.6.5",
        "epoch": 899,
    }


def write_published(folder: Path, **changed: Tensor | None) -> Path:
    """The file in a folder of its own; ``changed`` replaces tensors (``__`` for the dot), None leaves one out."""
    folder.mkdir(parents=True)
    tensors: dict[str, Any] = random_tensors() | {name.replace("__", "."): v for name, v in changed.items()}
    torch.save(checkpoint({k: v for k, v in tensors.items() if v is not None}), folder / FILE)
    return folder


CARD = b"---\nlicense: mit\n---\n# EVA-X\n"


def pull_eva_x(folder: Path, open_loopback: Any) -> Path:
    """``mtclip pull eva-x-ti`` from a hub on loopback, with random weights."""
    from mtclip_edge.train.backbones.pull import pull

    published = write_published(folder.with_name(f"{folder.name}.published"))
    with reached(open_loopback) as hub:
        hub.add(REPOSITORY, published, **{"README.md": CARD})
        return pull("eva-x-ti", folder)


def reference(tensors: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """What the published tensors mean, from their own names: pixels [batch, 3, 224, 224] to features [batch, width].

    Patches and a first token with learned positions; pre-norm blocks with rotary positions on the patches, no bias
    of keys, SwiGLU; the mean of the patches, then the last norm.
    """
    w = {name: value.float() for name, value in tensors.items()}

    def norm(x: Tensor, name: str) -> Tensor:
        return torch.nn.functional.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)

    def turned(x: Tensor) -> Tensor:
        other = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
        return x * w["rope.freqs_cos"] + other * w["rope.freqs_sin"]

    patches = torch.nn.functional.conv2d(
        pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH
    )
    x = torch.cat([w["cls_token"].expand(len(pixels), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
    x = x + w["pos_embed"]
    for i in range(DEPTH):
        at = f"blocks.{i}"
        normed = norm(x, f"{at}.norm1")
        bias = torch.cat([w[f"{at}.attn.q_bias"], torch.zeros(WIDTH), w[f"{at}.attn.v_bias"]])
        packed = normed @ w[f"{at}.attn.qkv.weight"].T + bias
        query, key, value = packed.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        query, key = (torch.cat([part[:, :, :1], turned(part[:, :, 1:])], dim=2) for part in (query, key))
        likeness = (query @ key.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5).softmax(dim=-1)
        attended = (likeness @ value).transpose(1, 2).flatten(2)
        x = x + attended @ w[f"{at}.attn.proj.weight"].T + w[f"{at}.attn.proj.bias"]
        gate, up = (norm(x, f"{at}.norm2") @ w[f"{at}.mlp.w12.weight"].T + w[f"{at}.mlp.w12.bias"]).chunk(
            2, -1
        )
        hidden = torch.nn.functional.silu(gate) * up
        x = x + hidden @ w[f"{at}.mlp.w3.weight"].T + w[f"{at}.mlp.w3.bias"]
    return norm(x[:, 1:].mean(dim=1), "norm")
