"""Writes CLIP's own byte-pair tokenizer as a ``tokenizer.json``, from the vocabulary that open_clip carries.

A backbone of CLIP's own kind names no tokenizer: open_clip's SimpleTokenizer is meant. The runtime has no
open_clip, so the bundle needs the same tokenizer in the form that the tokenizers library reads. Of
SimpleTokenizer's cleaning, white space and case are kept; broken encodings and HTML entities are not mended:
reports have none.
"""

from pathlib import Path

from mtclip_edge.files import private_dir, write_bytes
from mtclip_edge.folders import data_dir

# SimpleTokenizer's pattern: contractions, letters, single digits, everything else but space.
_WORDS = r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clip_tokenizer() -> Path:
    """The file, written on first use beside the converted weights."""
    file = data_dir() / "converted" / "clip-tokenizer-1.json"
    if not file.is_file():
        private_dir(file.parent)
        write_bytes(file, _as_json().encode())
    return file


def _as_json() -> str:
    from open_clip.tokenizer import SimpleTokenizer
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.normalizers import Lowercase, Replace, Sequence, Strip
    from tokenizers.pre_tokenizers import ByteLevel, Split
    from tokenizers.pre_tokenizers import Sequence as Steps
    from tokenizers.processors import TemplateProcessing

    clip = SimpleTokenizer()
    start, end = (clip.decoder[i] for i in (clip.sot_token_id, clip.eot_token_id))
    merges = sorted(clip.bpe_ranks, key=clip.bpe_ranks.__getitem__)
    model = Tokenizer(
        BPE(clip.encoder, merges, unk_token=end, continuing_subword_prefix="", end_of_word_suffix="</w>")
    )
    model.normalizer = Sequence([Replace(Regex(r"\s+"), " "), Strip(), Lowercase()])
    words = Split(Regex(_WORDS), behavior="removed", invert=True)
    model.pre_tokenizer = Steps([words, ByteLevel(add_prefix_space=False, use_regex=False)])
    ends = [(start, clip.sot_token_id), (end, clip.eot_token_id)]
    model.post_processor = TemplateProcessing(single=f"{start} $A {end}", special_tokens=ends)
    return model.to_str()
