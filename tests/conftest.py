"""Shared fixtures: small drawn films with reports, a tiny backbone in BiomedCLIP's layout, and a run and a bundle made from them.

No test may open a network connection. What is expensive is made once a session, by whichever worker comes first; MTCLIP_TEST_KEEP
names a folder to keep it in.
"""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from drawn import write_manifest
from filelock import FileLock

REAL_DATA = Path(os.environ.get("MTCLIP_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
SOAK = os.environ.get("MTCLIP_SOAK") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not REAL_DATA.is_dir():
        for item in items:
            if item.get_closest_marker("realdata"):
                item.add_marker(pytest.mark.skip(reason=f"no real films at {REAL_DATA} (set MTCLIP_TEST_DATA)"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    return REAL_DATA


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether the full count of a long test is wanted (``make soak``)."""
    return SOAK


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Everything here works offline; whatever connects anywhere fails."""

    def refuse(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"a connection to {address!r} was tried")

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket.socket, "connect_ex", refuse)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Backbones and caches of the tests: never the user's."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith("MTCLIP_") and not name.startswith("MTCLIP_TEST"):
            patch.delenv(name)
    patch.setenv("MTCLIP_HOME", str(folder))
    yield folder
    patch.undo()


@pytest.fixture(scope="session")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what the session's tests share is made: one folder for all workers."""
    wanted = os.environ.get("MTCLIP_TEST_KEEP")
    base = tmp_path_factory.getbasetemp()
    folder = Path(wanted) if wanted else (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """``folder`` as made by the first worker that asks; the others wait for it. A failure is met again by each of them."""
    with FileLock(f"{folder}.making"):
        if not (done := folder.with_name(f"{folder.name}.made")).exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def source(keep: Path) -> Path:
    """A manifest of 140 drawn studies: normal, left and right opacities, twins, a study of two films, films and texts missing."""
    return once(keep / "drawn", lambda folder: write_manifest(folder, studies=140, seed=3)) / "manifest.csv"


@pytest.fixture(scope="session")
def tiny_backbone(keep: Path) -> Path:
    """A ViT and a BERT with random weights in exactly BiomedCLIP's published layout, pickle and all."""
    return once(keep / "tiny-biomedclip", make_biomedclip_layout)


@pytest.fixture(scope="session")
def clip_backbone(keep: Path) -> Path:
    return once(keep / "tiny-clip", make_clip_layout)


@pytest.fixture(scope="session")
def tiny_run(source: Path, tiny_backbone: Path, keep: Path) -> Path:
    """A run trained on the drawn studies with the defaults, but fewer epochs and small batches."""
    from mtclip_edge.settings import TrainConfig
    from mtclip_edge.train.fit import train

    config = TrainConfig(backbone=str(tiny_backbone), epochs=30, batch_size=32, lr=3e-3, dropout=0.1, patience=30)
    return once(keep / "run", lambda folder: train(config, [str(source)], folder))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Path, keep: Path) -> Path:
    from mtclip_edge.export.pack import export

    return once(keep / "bundle", lambda folder: export(tiny_run, folder, precision=["fp32"]))


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the session's bundle that a test may damage."""
    import shutil

    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def known_graphs(known_text: None, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of ``tiny_run`` take the graphs made for the session: the same run gives the same bytes (tested), eight seconds later."""
    import shutil

    from mtclip_edge.export import pack

    monkeypatch.setattr(pack, "export_film_tower", lambda graph, size, target: shutil.copy(tiny_bundle / "image.fp32.onnx", target))


@pytest.fixture
def known_text(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text tower alone is not exported again."""
    import shutil

    from mtclip_edge.export import pack

    monkeypatch.setattr(pack, "export_text_tower", lambda graph, backbone, target: shutil.copy(tiny_bundle / "text.fp32.onnx", target))


@pytest.fixture
def film(source: Path) -> Path:
    """A drawn film of the test split."""
    from mtclip_edge.sources import open_source

    return open_source(str(source)).split("test")[0].films[0].path


@pytest.fixture
def mtclip(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command line in this process: ``mtclip("query", …)`` gives its exit code, stdout and stderr."""

    def run(*words: str | Path) -> SimpleNamespace:
        from mtclip_edge import cli

        monkeypatch.setattr("sys.argv", ["mtclip", *map(str, words)])
        capfd.readouterr()
        code = cli._run()
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run


def make_biomedclip_layout(folder: Path, image_model: str = "test_vit", size: int = 160, **bert: Any) -> Path:
    """Write open_clip_config.json, open_clip_pytorch_model.bin, tokenizer files and the text tower's config.json."""
    import open_clip
    import torch
    from transformers import BertConfig

    folder.mkdir(parents=True)
    words = sorted({word for text in _vocabulary() for word in text})
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, **bert}
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
        "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))
    from mtclip_edge.train.backbone import _with_local_text_config

    local = _with_local_text_config(config["model_cfg"], folder, folder)
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**{**local, "text_cfg": {**local["text_cfg"], "hf_model_pretrained": False}})
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
    save_file({k: v.contiguous() for k, v in open_clip.CLIP(**config).state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


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
    tokenizer = Tokenizer(WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]", max_input_chars_per_word=64))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_padding(length=128)  # published files carry such a fixed length; ours must not be misled by it
    tokenizer.enable_truncation(128)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 256}))


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)
