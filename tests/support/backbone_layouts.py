"""Small backbones with random weights in exactly the layouts that are published: BiomedCLIP, CLIP, SigLIP, Hugging Face CLIP and SigLIP."""

import json
from pathlib import Path
from typing import Any


def make_biomedclip_layout(folder: Path, image_model: str = "test_vit", size: int = 160, **bert: Any) -> Path:
    """Write open_clip_config.json, open_clip_pytorch_model.bin, tokenizer files and the text tower's config.json."""
    import open_clip
    import torch
    from transformers import BertConfig

    folder.mkdir(parents=True)
    words = sorted({word for text in _vocabulary() for word in text})
    shape = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        **bert,
    }
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *(f"##{w}" for w in words)]
    BertConfig(vocab_size=len(vocabulary), **shape).to_json_file(folder / "config.json", use_diff=False)
    _write_tokenizer(folder, vocabulary)
    config = {
        "model_cfg": {
            "embed_dim": 32,
            "vision_cfg": {
                "timm_model_name": image_model,
                "timm_model_pretrained": False,
                "timm_pool": "",
                "timm_proj": "linear",
                "image_size": size,
            },
            "text_cfg": {
                "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
                "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
                "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler",
                "context_length": 256,
            },
        },
        "preprocess_cfg": {
            "mean": [0.48145466, 0.4578275, 0.40821073],
            "std": [0.26862954, 0.26130258, 0.27577711],
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))
    from mtclip_edge.train.backbones.open_clip_folder import with_local_text_config

    local = with_local_text_config(config["model_cfg"], folder, folder)
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(
        **{**local, "text_cfg": {**local["text_cfg"], "hf_model_pretrained": False}}
    )
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


def make_clip_layout(folder: Path) -> Path:
    """A small model of CLIP's own kind, both towers transformers of open_clip, without a tokenizer file, random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    save_file(
        {k: v.contiguous() for k, v in open_clip.CLIP(**config).state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return folder


_OWN_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}


def make_open_clip_layout(folder: Path, vision: dict[str, Any], **more: Any) -> Path:
    """A small film tower of any kind beside a small text tower of CLIP's own, random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": _OWN_TEXT, **more}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {**config, "custom_text": True}, "preprocess_cfg": {}})
    )
    torch.manual_seed(0)
    model = (open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP)(**config)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def make_coca_layout(folder: Path) -> Path:
    """A small CoCa: its towers give tokens for captions besides."""
    pool = {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True}
    vision = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32, **pool}
    text = {**_OWN_TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True}
    captions = {
        "context_length": 76,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 1,
        "attn_pooler_heads": 4,
    }
    return make_open_clip_layout(folder, vision, text_cfg=text, multimodal_cfg=captions)


def make_timm_layout(folder: Path, model: str, size: int, pool: str, projection: str | None) -> Path:
    """A film tower of timm's, as open_clip configures EVA02 and ConvNeXt."""
    vision = {
        "image_size": size,
        "timm_model_name": model,
        "timm_model_pretrained": False,
        "timm_pool": pool,
        "timm_proj": projection,
    }
    return make_open_clip_layout(folder, vision)


def _vocabulary() -> list[str]:
    """Single letters and digits: WordPiece spells every word with them."""
    return ["abcdefghijklmnopqrstuvwxyz0123456789.,;:-"]


def _write_tokenizer(folder: Path, vocabulary: list[str]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = Tokenizer(
        WordPiece(
            {word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]", max_input_chars_per_word=64
        )
    )
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(
        length=128
    )  # published files carry such a fixed length; ours must not be misled by it
    tokenizer.enable_truncation(128)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 256})
    )


def make_siglip_layout(folder: Path) -> Path:
    """As open_clip publishes SigLIP: a timm ViT with attention pooling, a text tower without a mask that pools its last place, pickle-free."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    vision = {
        "image_size": 64,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    }
    text = {
        "context_length": 64,
        "vocab_size": 128,
        "width": 64,
        "heads": 2,
        "layers": 2,
        "pool_type": "last",
        "no_causal_mask": True,
    }
    text |= {
        "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "proj_bias": True,
    }
    config = {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": vision,
        "text_cfg": text,
    }
    how = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": how}))
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**{k: v for k, v in config.items() if k != "custom_text"})
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    _write_pieces(folder)
    return folder


def make_hugging_face_layout(folder: Path, kind: str) -> Path:
    """A CLIP with the end-of-text id 2 that published configurations have, or a SigLIP that pads with its end token."""
    import torch
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    folder.mkdir(parents=True)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**shape, "image_size": 64, "patch_size": 16}
    torch.manual_seed(0)
    if kind == "clip":
        words = _write_bytes(folder)
        text = {
            **shape,
            "vocab_size": words,
            "max_position_embeddings": 77,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 1,
        }
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
        how: dict[str, Any] = {"crop_size": 64, "do_center_crop": True, "size": 64, "resample": 3}
        how |= {
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
        }
    else:
        _write_pieces(folder)
        text = {
            **shape,
            "vocab_size": 128,
            "max_position_embeddings": 64,
            "pad_token_id": 1,
            "eos_token_id": 1,
            "projection_size": 32,
        }
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        torch.nn.init.constant_(model.logit_scale, 2.3)
        how = {
            "size": {"height": 64, "width": 64},
            "resample": 2,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }
    model.save_pretrained(folder)
    how |= {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(how))
    return folder


def _write_bytes(folder: Path) -> int:
    """CLIP's byte-level tokenizer with few merges; gives its size."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.processors import TemplateProcessing

    letters = sorted(ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e</w>"), ("o", "p")]
    words = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *("".join(pair) for pair in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {word: i for i, word in enumerate(words)}
    model = Tokenizer(
        BPE(
            vocabulary,
            merges,
            unk_token="<|endoftext|>",
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
        )
    )
    model.normalizer = Lowercase()
    model.pre_tokenizer = ByteLevel(add_prefix_space=False)
    start, end = words[-2:]
    ends = [(start, vocabulary[start]), (end, vocabulary[end])]
    model.post_processor = TemplateProcessing(single=f"{start} $A {end}", special_tokens=ends)
    model.save(str(folder / "tokenizer.json"))
    special = {"unk_token": end, "bos_token": start, "eos_token": end, "pad_token": end}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special})
    )
    return len(words)


def _write_pieces(folder: Path) -> None:
    """A tokenizer as SigLIP's: sentence pieces, an end token 1 that is the padding too."""
    from tokenizers import Tokenizer
    from tokenizers.models import Unigram
    from tokenizers.pre_tokenizers import Metaspace
    from tokenizers.processors import TemplateProcessing

    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        *((word, -3.0) for word in _vocabulary()[0]),
    ]
    model = Tokenizer(Unigram([*pieces, ("▁no", -3.5), ("lung", -3.5)], unk_id=2))
    model.pre_tokenizer = Metaspace()
    model.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    model.save(str(folder / "tokenizer.json"))
    special = {"pad_token": {"content": "</s>"}, "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special})
    )
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
