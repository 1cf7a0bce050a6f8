"""Tower outputs are computed once; a changed film again; an interrupted pass goes on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mtclip_edge.errors import CacheUnusable
from mtclip_edge.sources.source import open_source
from mtclip_edge.train import tower_features
from mtclip_edge.train.backbones.backbone import Backbone, load_backbone

CPU = torch.device("cpu")


def quiet(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture
def backbone(tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """The tiny backbone with an empty cache of its own, counting how many films and texts its towers see."""
    loaded = load_backbone(str(tiny_backbone))
    monkeypatch.setattr(tower_features, "cache_dir", lambda: tmp_path / "cache")
    return loaded


@pytest.fixture
def films(source: Path, tmp_path: Path) -> list[Path]:
    found = [s.films[0].path for s in open_source(str(source)).studies if s.films][:70]
    return [Path(shutil.copy(path, tmp_path / path.name)) for path in found]


def seen(tower: torch.nn.Module) -> list[int]:
    """Sizes of the batches a tower is given from now on."""
    sizes: list[int] = []
    tower.register_forward_hook(lambda module, given, result: sizes.append(len(result)))
    return sizes


def test_computed_once(backbone: Backbone, films: list[Path]) -> None:
    sizes = seen(backbone.film_tower)
    first = tower_features.film_features(backbone, films, quiet, CPU)
    assert sum(sizes) == 70
    second = tower_features.film_features(backbone, films, quiet, CPU)
    assert sum(sizes) == 70
    np.testing.assert_array_equal(first.vectors[first.rows], second.vectors[second.rows])


def test_a_changed_film_is_recomputed_the_others_not(backbone: Backbone, films: list[Path]) -> None:
    before = tower_features.film_features(backbone, films, quiet, CPU)
    sizes = seen(backbone.film_tower)
    shutil.copy(films[5], films[3])
    after = tower_features.film_features(backbone, films, quiet, CPU)
    assert sum(sizes) == 0  # its new bytes are those of film 5, known already
    np.testing.assert_array_equal(after.vectors[after.rows[3]], before.vectors[before.rows[5]])
    from PIL import Image

    Image.new("L", (50, 50), 99).save(films[3])
    tower_features.film_features(backbone, films, quiet, CPU)
    assert sum(sizes) == 1


def test_an_interrupted_pass_resumes(backbone: Backbone, films: list[Path]) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tower_features.film_features(backbone, films, stop, CPU)
    sizes = seen(backbone.film_tower)
    tower_features.film_features(backbone, films, quiet, CPU)
    assert sum(sizes) == 70 - 32


def test_another_preprocessing_has_another_cache(backbone: Backbone) -> None:
    from dataclasses import replace

    other = replace(backbone.preprocessing, interpolation="bilinear")
    assert tower_features.cache_key(backbone.identity, backbone.preprocessing) != tower_features.cache_key(
        backbone.identity, other
    )


def test_bad_films_are_named_and_left_out(backbone: Backbone, films: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("x")
    found = tower_features.film_features(
        backbone, [films[0], tmp_path / "bad.png", tmp_path / "gone.png", films[1]], quiet, CPU
    )
    assert (found.rows >= 0).tolist() == [True, False, False, True]
    assert [p.split(": ", 1)[1] for p in found.problems] == [
        "cannot be read (No such file or directory)",
        "not a picture (it looks like text)",
    ]


def test_equal_files_that_cannot_be_read_are_each_named(
    backbone: Backbone, films: list[Path], tmp_path: Path
) -> None:
    empty = [tmp_path / name for name in ("first.png", "second.png", "third.png")]
    for path in empty:
        path.write_bytes(b"")
    found = tower_features.film_features(backbone, [empty[0], films[0], *empty[1:]], quiet, CPU)
    assert sorted(found.problems) == [f"{path}: empty file" for path in empty]
    assert (found.rows >= 0).tolist() == [False, True, False, False]


def test_an_embedding_does_not_depend_on_its_batch(backbone: Backbone, films: list[Path]) -> None:
    together = tower_features.film_features(backbone, films[:9], quiet, CPU)
    from mtclip_edge.films.read import read_film
    from mtclip_edge.inference.preprocessing import model_input

    with torch.inference_mode():
        alone = backbone.film_tower(
            torch.from_numpy(model_input(read_film(films[4]).grey, backbone.preprocessing))[None]
        ).numpy()
    np.testing.assert_allclose(together.vectors[together.rows[4]], alone[0], atol=1e-5)


def test_texts_are_cached_and_in_order(backbone: Backbone) -> None:
    texts = ["Clear.", "There is an opacity in the right lung.", "Clear.", "No effusion."]
    sizes = seen(backbone.text_tower)
    first = tower_features.report_features(backbone, texts, quiet, CPU)
    np.testing.assert_array_equal(first[0], first[2])
    again = tower_features.report_features(backbone, texts[::-1], quiet, CPU)
    np.testing.assert_array_equal(first, again[::-1])
    assert sum(sizes) == 3


def test_the_cache_is_private(backbone: Backbone, films: list[Path], tmp_path: Path) -> None:
    tower_features.film_features(backbone, films[:1], quiet, CPU)
    (file,) = (tmp_path / "cache" / "features").glob("*.sqlite")
    assert file.stat().st_mode & 0o077 == 0


def test_what_the_disk_damaged_is_computed_again(
    backbone: Backbone, films: list[Path], tmp_path: Path
) -> None:
    before = tower_features.film_features(backbone, films[:8], quiet, CPU)
    (file,) = (tmp_path / "cache" / "features").glob("*.sqlite")
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(file)) as db, db:
        (key, vector) = db.execute("SELECT key, vector FROM feature LIMIT 1").fetchone()
        db.execute("UPDATE feature SET vector = ? WHERE key = ?", (bytes([vector[0] ^ 1]) + vector[1:], key))
    sizes = seen(backbone.film_tower)
    after = tower_features.film_features(backbone, films[:8], quiet, CPU)
    assert sum(sizes) == 1
    np.testing.assert_allclose(after.vectors[after.rows], before.vectors[before.rows], atol=1e-6)


def test_a_cache_that_is_no_database_is_begun_anew(
    backbone: Backbone, films: list[Path], tmp_path: Path
) -> None:
    tower_features.film_features(backbone, films[:3], quiet, CPU)
    (file,) = (tmp_path / "cache" / "features").glob("*.sqlite")
    file.write_bytes(b"not a database, but long enough to be looked at as one" * 100)
    found = tower_features.film_features(backbone, films[:3], quiet, CPU)
    assert (found.rows >= 0).all()


def test_a_cache_folder_that_cannot_be_made_is_one_line(
    backbone: Backbone, films: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(CacheUnusable, match="cannot be written.*\nmake room, delete"):
        tower_features.film_features(backbone, films[:1], quiet, CPU)
