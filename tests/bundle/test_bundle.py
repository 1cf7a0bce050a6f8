"""Bundles: one commit point, hashes before parsers, generations, locks."""

import json
import multiprocessing
import stat
from pathlib import Path

import numpy as np
import pytest
from lock_holder import hold
from manifests import rewrite

from mtclip_edge.bundle.bundle import MANIFEST, Bundle
from mtclip_edge.bundle.generations import commit, foreign_files, locked, name_in
from mtclip_edge.errors import ArtefactDamaged, ArtefactIncompatible, NotABundle, Refused, SourceUnusable
from mtclip_edge.index.report_store import ReportStore
from mtclip_edge.indexing.build import rebuild
from mtclip_edge.retrieval.opening import Opened, OpenOptions, open_parts
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.sources.source import open_source


def test_the_manifest_says_what_is_in_it(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    manifest = json.loads((tiny_bundle / MANIFEST).read_text())
    assert (manifest["format"], manifest["purpose"], bundle.generation, bundle.demo) == (
        1,
        "research",
        1,
        False,
    )
    assert set(manifest["files"]) == {
        "image.fp32.onnx",
        "text.fp32.onnx",
        "explain.onnx",
        "tokenizer.json",
        "MODEL_CARD.md",
        "reports-1.sqlite",
        "vectors-1.npy",
        "terms-1.sqlite",
        "index-1.hnsw",
        "validation-1.npy",
    }
    assert set(manifest["files"]) | {MANIFEST} == {p.name for p in tiny_bundle.iterdir()}
    assert manifest["index"]["hnsw"]["recall@10"] >= 0.99
    assert [p["tower"] for p in manifest["parity"]] == ["film", "text"]
    assert all(problem is None for _, problem in bundle.verify())


def test_it_is_private(tiny_bundle: Path) -> None:
    assert stat.S_IMODE(tiny_bundle.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in tiny_bundle.iterdir()} == {0o600}


def test_every_flipped_byte_is_found_though_size_and_time_are_the_same(bundle: Path) -> None:
    for path in sorted(bundle.iterdir()):
        good, before = path.read_bytes(), path.stat()
        for position in (0, len(good) // 2, len(good) - 1):
            damaged = bytearray(good)
            damaged[position] ^= 0x10
            path.write_bytes(damaged)
            import os

            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            if path.name == MANIFEST:
                # the last byte is the newline after the JSON, which says nothing
                if position < len(good) - 1:
                    with pytest.raises(ArtefactDamaged):
                        Bundle.open(bundle)
            else:
                found = dict(Bundle.open(bundle).verify())
                assert [name for name, problem in found.items() if problem] == [path.name]
        path.write_bytes(good)


@pytest.mark.parametrize("name", ["image.fp32.onnx", "reports-1.sqlite", "vectors-1.npy"])
@pytest.mark.parametrize("how", ["missing", "truncated", "flipped"])
def test_a_query_names_the_damaged_file(bundle: Path, film: Path, name: str, how: str) -> None:
    path = bundle / name
    data = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(data[:-1] if how == "truncated" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtefactDamaged, match=name):
        Retriever.open(bundle).query(film)


@pytest.mark.parametrize("how", ["missing", "flipped"])
def test_without_its_derived_index_a_bundle_answers_the_same(bundle: Path, film: Path, how: str) -> None:
    expected = Retriever.open(bundle).query(film).to_dict()
    path = bundle / "index-1.hnsw"
    data = path.read_bytes()
    path.unlink()
    if how == "flipped":
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with Retriever.open(bundle) as retriever:
        assert retriever.notes.search is not None
        assert "index-1.hnsw" in retriever.notes.search
        found = retriever.query(film).to_dict()
    assert found["bundle"]["search"]["used"] == "exact"
    for result in (expected, found):
        result.pop("timings_ms")
        result["bundle"].pop("search")
    assert found == expected


def test_what_a_query_does_not_read_does_not_stop_it(bundle: Path, film: Path) -> None:
    (bundle / "text.fp32.onnx").write_bytes(b"")
    with Retriever.open(bundle) as retriever:
        assert retriever.query(film).hits
        with pytest.raises(ArtefactDamaged, match="text.fp32.onnx"):
            retriever.query_text("opacity")


def test_a_newer_format_is_refused_with_the_upgrade_command(bundle: Path) -> None:
    rewrite(bundle, format=2)
    with pytest.raises(
        ArtefactIncompatible,
        match="bundle format 2, this version reads up to 1\n.*newer.*mtclip-edge than .*pip install ",
    ):
        Bundle.open(bundle)


def test_vectors_of_another_model_are_refused(bundle: Path) -> None:
    rewrite(bundle, model_id="sha256:" + "0" * 64)
    with pytest.raises(ArtefactIncompatible, match="made for another model"):
        Retriever.open(bundle)


def test_vectors_of_another_shape_are_refused(bundle: Path) -> None:
    rewrite(bundle, dim=16)
    with pytest.raises(ArtefactIncompatible, match=r"expected float32 \(\d+, 16\)"):
        Retriever.open(bundle)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(NotABundle, match="no such directory"):
        Bundle.open(tmp_path / "gone")
    with pytest.raises(NotABundle, match="not a bundle"):
        Bundle.open(tmp_path)


def test_a_rebuild_is_a_new_generation_and_the_old_files_go(bundle: Path, source: Path, film: Path) -> None:
    before = Bundle.open(bundle)
    model = (bundle / "image.fp32.onnx").read_bytes()
    after = rebuild(bundle, open_source(str(source)).studies)
    assert (before.generation, after.generation) == (1, 2)
    assert after.index.reports > before.index.reports
    names = {p.name for p in bundle.iterdir()}
    assert {"reports-2.sqlite", "vectors-2.npy", "index-2.hnsw"} <= names
    assert not {"reports-1.sqlite", "vectors-1.npy", "index-1.hnsw"} & names
    assert (bundle / "image.fp32.onnx").read_bytes() == model
    assert Retriever.open(bundle).query(film).bundle.reports == after.index.reports


def test_the_bundles_own_text_tower_gives_the_same_vectors_as_the_export(
    tiny_bundle: Path, bundle: Path, source: Path
) -> None:
    rebuild(bundle, open_source(str(source)).split("train"))
    old, new = (np.load(next(path.glob("vectors-*.npy"))) for path in (tiny_bundle, bundle))
    np.testing.assert_allclose(new, old, atol=1e-6)


def test_a_rebuild_that_fails_leaves_the_bundle_as_it_was(
    bundle: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}
    studies = open_source(str(source)).studies
    with pytest.raises(SourceUnusable, match="no study has a report"):
        rebuild(bundle, [s for s in studies if not s.report_id])

    for failure in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fail(*_: object, failure: BaseException = failure) -> None:
            raise failure

        monkeypatch.setattr("mtclip_edge.indexing.build.build_graph", fail)
        with pytest.raises(type(failure)):
            rebuild(bundle, studies)
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before


def test_a_reader_that_meets_a_removed_generation_takes_the_next(
    bundle: Path, source: Path, film: Path, monkeypatch
) -> None:
    """A writer publishes between reading the manifest and opening its files."""
    calls: list[int] = []

    def interrupted(opened: Bundle, wishes: OpenOptions) -> Opened:
        if not calls:
            calls.append(opened.generation)
            rebuild(bundle, open_source(str(source)).studies)
        return open_parts(opened, wishes)

    monkeypatch.setattr("mtclip_edge.retrieval.opening.open_parts", interrupted)
    with Retriever.open(bundle) as retriever:
        assert retriever.bundle.generation == 2
        assert retriever.query(film).hits
    assert calls == [1]


def test_a_second_writer_is_refused_and_a_killed_one_holds_nothing(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    real = filelock.FileLock
    monkeypatch.setattr(filelock, "FileLock", lambda path, timeout: real(path, timeout=0.3))
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(bundle, ready, release))
    process.start()
    assert ready.wait(60)
    with pytest.raises(Refused, match="another process is writing"), locked(bundle):
        pass
    process.kill()
    process.join()
    with locked(bundle):
        pass


def test_only_our_own_leftovers_are_removed(bundle: Path) -> None:
    for name in ("reports-9.sqlite", ".vectors-9.npy.77.tmp", "notes.txt"):
        (bundle / name).write_text("x")
    assert foreign_files(bundle) == ["notes.txt"]
    opened = Bundle.open(bundle)
    commit(bundle, opened.manifest, list(opened.manifest.files))
    assert {p.name for p in bundle.iterdir()} == {*opened.manifest.files, MANIFEST, "notes.txt"}


def test_names_of_later_generations() -> None:
    assert [name_in(g, "image.fp32.onnx") for g in (1, 2)] == ["image.fp32.onnx", "image.fp32.2.onnx"]


def test_the_store_is_read_from_a_read_only_folder(tiny_bundle: Path) -> None:
    opened = Bundle.open(tiny_bundle)
    store = ReportStore(opened.file("reports-1.sqlite"), opened.model.model_id)
    studies, reports, films = store.counts()
    assert (reports, films) == (opened.index.reports, opened.index.films)
    assert studies == opened.index.studies
    assert not list(tiny_bundle.glob("*-journal")) + list(tiny_bundle.glob("*-wal"))


def test_the_store_keeps_twins_counts_and_original_words(tiny_bundle: Path, source: Path) -> None:
    from mtclip_edge.studies import distinct_reports

    expected = distinct_reports(open_source(str(source)).split("train"))
    opened = Bundle.open(tiny_bundle)
    store = ReportStore(opened.file("reports-1.sqlite"), opened.model.model_id)
    found = store.reports(range(len(expected)))
    assert [(r.report_id, r.text, r.label, r.studies) for r in found] == [
        (e.report_id, e.first.text, e.label, len(e.studies)) for e in expected
    ]
    assert max(r.studies for r in found) > 1
    assert [list(r.study_ids) for r in found] == [[s.study_id for s in e.studies][:10] for e in expected]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_a_failure_after_the_commit_point_keeps_what_is_published(
    bundle: Path, source: Path, film: Path, monkeypatch, failure
) -> None:
    """The manifest names generation 2 already; removing the old files is interrupted."""
    real, calls = Path.unlink, []

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.parent == bundle and self.name.endswith("-1.npy") and not calls:
            calls.append(self.name)
            raise failure
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    studies = open_source(str(source)).studies
    if isinstance(failure, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            rebuild(bundle, studies)
    else:
        rebuild(bundle, studies)
    assert calls
    assert Bundle.open(bundle).generation == 2
    assert all(problem is None for _, problem in Bundle.open(bundle).verify())
    assert Retriever.open(bundle).query(film).hits
    rebuild(bundle, studies)
    # Nothing of the old generations is left but what the new one still names: the validation films.
    kept = set(Bundle.open(bundle).manifest.files) | {MANIFEST}
    assert {path.name for path in bundle.iterdir()} == kept
    old = {name for name in kept if "-1." in name or "-2." in name}
    assert old == {"validation-1.npy"}


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"[" * 100_000, b"\xff", b'{"format": "1"}', b'{"format": 1, "files": {}}']
)
def test_a_manifest_of_something_else_is_damaged(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(ArtefactDamaged, match="manifest.json: damaged"):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"files": {}}, "no files.explain.onnx"),
        ({"index": None}, "index is no object"),
        ({"dim": "32"}, "dim is not a whole number from 1 to 65536"),
        ({"graphs": {}}, "no graphs.image"),
    ],
)
def test_a_whole_manifest_without_what_a_reader_needs_is_damaged(
    bundle: Path, change: dict, what: str
) -> None:
    rewrite(bundle, **change)
    with pytest.raises(ArtefactDamaged, match=f"damaged .{what}."):
        Bundle.open(bundle)


def test_a_wrong_path_leaves_no_folder_and_no_lock(tmp_path: Path) -> None:
    with pytest.raises(NotABundle):
        rebuild(tmp_path / "no" / "such" / "bundle", ())
    assert not list(tmp_path.iterdir())


def test_new_folders_are_private_with_their_parents(tmp_path: Path) -> None:
    from mtclip_edge.files import private_dir

    private_dir(tmp_path / "a" / "b" / "c")
    assert {
        stat.S_IMODE(p.stat().st_mode)
        for p in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c")
    } == {0o700}


def test_nothing_in_a_bundle_names_a_folder_of_this_machine(tiny_bundle: Path, source: Path) -> None:
    for path in tiny_bundle.iterdir():
        assert str(source.parent.parent).encode() not in path.read_bytes(), path.name
