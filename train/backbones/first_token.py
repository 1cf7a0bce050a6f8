"""Takes out what a transformer that pools its first token computes for nothing: its last block gives that
token alone.

Keys and values are of all tokens, the rest of the block of one: of a ViT-B/16's multiply-adds a fifteenth
goes, its output stays. Taken apart so are plain pre-norm blocks (timm's ``Block``, open_clip's
``ResidualAttentionBlock``); others stay whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Cut:
    """A transformer cut before its last block.

    ``before``: pixels to tokens [batch, tokens, width]; ``block``: these to all tokens after the last block;
    ``first``: these to the first token [batch, width] after it; ``norm`` comes next.
    """

    before: Callable[[Tensor], Tensor]
    block: nn.Module
    first: "FirstToken"
    norm: nn.Module


class FirstToken(nn.Module):
    """One pre-norm block: tokens float32 [batch, tokens, width] to its first token [batch, width].

    ``attention`` is the packed weight [3 inner width, width] and bias of queries, keys and values; ``steps``
    are norm, output of the attention, scale, norm, perceptron, scale.
    """

    def __init__(self, heads: int, attention: tuple[Tensor, Tensor | None], steps: tuple[nn.Module, ...]):
        super().__init__()
        (weight, bias), width = attention, len(attention[0]) // 3
        self.heads = heads
        self.query = _linear(weight[:width], None if bias is None else bias[:width])
        self.keys_values = _linear(weight[width:], None if bias is None else bias[width:])
        self.norm, self.out, self.scale, self.second_norm, self.perceptron, self.second_scale = steps

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm(tokens)
        keys, values = self.keys_values(normed).chunk(2, dim=-1)
        query, keys, values = map(self._by_head, (self.query(normed[:, :1]), keys, values))
        attended = F.scaled_dot_product_attention(query, keys, values)
        first = tokens[:, :1] + self.scale(self.out(attended.transpose(1, 2).flatten(2)))
        return (first + self.second_scale(self.perceptron(self.second_norm(first))))[:, 0]

    def _by_head(self, part: Tensor) -> Tensor:
        """[batch, tokens, width] to [batch, heads, tokens, width of a head]."""
        return part.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def cut_timm(trunk: Any) -> Cut | None:
    """A timm VisionTransformer; None where its last block is of another kind."""
    from timm.layers import Attention
    from timm.models.vision_transformer import Block, VisionTransformer

    if type(trunk) is not VisionTransformer:
        return None
    blocks: list[Any] = list(trunk.blocks)
    *others, block = blocks
    if type(block) is not Block or type(block.attn) is not Attention:
        return None
    own: Any = block.attn
    norms = (own.q_norm, own.k_norm, getattr(own, "norm", own.q_norm))
    if not all(isinstance(norm, nn.Identity) for norm in norms) or getattr(own, "gate", None) is not None:
        return None

    def before(pixels: Tensor) -> Tensor:
        tokens = trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(pixels))))
        return _through(others, tokens)

    steps = (block.norm1, own.proj, block.ls1, block.norm2, block.mlp, block.ls2)
    return Cut(before, block, FirstToken(own.num_heads, (own.qkv.weight, own.qkv.bias), steps), trunk.norm)


def cut_open_clip(tower: Any) -> Cut | None:
    """open_clip's own VisionTransformer, up to its last norm; None where its last block is of another
    kind.
    """
    from open_clip.transformer import ResidualAttentionBlock

    *others, block = tower.transformer.resblocks
    if type(block) is not ResidualAttentionBlock or hasattr(block, "ln_1_kv") or not block.attn.batch_first:
        return None

    def before(pixels: Tensor) -> Tensor:
        return _through(others, tower._embeds(pixels))

    steps = (block.ln_1, block.attn.out_proj, block.ls_1, block.ln_2, block.mlp, block.ls_2)
    first = FirstToken(block.attn.num_heads, (block.attn.in_proj_weight, block.attn.in_proj_bias), steps)
    return Cut(before, block, first, nn.Identity() if tower.final_ln_after_pool else tower.ln_post)


def _through(blocks: list[nn.Module], tokens: Tensor) -> Tensor:
    for block in blocks:
        tokens = block(tokens)
    return tokens


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer with a part of a larger one's weights: a slice in the graph would keep them from being
    quantized.
    """
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.detach().clone()
    if bias is not None:
        layer.bias.data = bias.detach().clone()
    return layer
