"""DICOM films in a query: the same reports as their PNG, rendered as bundle or option say, from standard input too."""

import io
import json
import subprocess
import sys
from pathlib import Path

import dicoms
import numpy as np
from dicoms import cr, grey, written
from PIL import Image

from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.sources.source import open_source


def test_the_same_film_as_png_and_dicom_finds_the_same_reports(tiny_bundle: Path, source: Path) -> None:
    """With a window over the whole range the pixels are the same."""
    films = [study.films[0].path for study in open_source(str(source)).split("test") if study.films][:4]
    with Retriever.open(tiny_bundle) as retriever:
        for path in films:
            pixels = np.asarray(Image.open(path))
            png = retriever.query(path)
            for kind, stored in (("MONOCHROME2", pixels), ("MONOCHROME1", 255 - pixels)):
                windowed = cr(stored, PhotometricInterpretation=kind, WindowCenter=128, WindowWidth=256)
                assert retriever.query(written(windowed)).hits == png.hits
                assert retriever.query(written(cr(stored, PhotometricInterpretation=kind))).hits == png.hits
                deep = np.rint(stored * (4095 / 255)).astype(np.uint16)
                deeper = cr(deep, 12, PhotometricInterpretation=kind, WindowCenter=2048, WindowWidth=4096)
                assert retriever.query(written(deeper, dicoms.JPEG_LS)).hits == png.hits


def test_render_overrides_the_bundle_and_says_so(
    mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path, film: Path
) -> None:
    (tmp_path / "f").write_bytes(written(cr(deep, 12, WindowCenter=1000, WindowWidth=100)))
    asked = ("query", tmp_path / "f", "--bundle", tiny_bundle, "--json")
    plain, own, other = (
        json.loads(mtclip(*asked, *more).out) for more in ((), ("--render", "voi"), ("--render", "minmax"))
    )
    small = "the picture is only 36 x 40 pixels"
    assert plain["input"] == own["input"] == {**plain["input"], "kind": "dicom", "reasons": [small]}
    assert plain["hits"] == own["hits"] != other["hits"]
    assert other["input"]["reasons"] == ["rendered by minmax; the bundle's own films are by voi", small]
    picture = json.loads(mtclip("query", film, "--bundle", tiny_bundle, "--json", "--render", "minmax").out)
    assert picture["input"]["reasons"] == []  # a picture has no choice
    wrong = mtclip(*asked, "--render", "voy")
    assert (wrong.code, wrong.err) == (
        2,
        "render 'voy'\nexpected one of voi, percentile, minmax\ndid you mean voi?\n",
    )


def test_the_default_render_is_in_no_manifest_and_another_is(tiny_bundle: Path) -> None:
    from dataclasses import replace

    from mtclip_edge.bundle.bundle import Bundle
    from mtclip_edge.inference.preprocessing import Preprocessing

    how = Preprocessing.of(Bundle.open(tiny_bundle).model.preprocessing)
    assert how.render == "voi" and "render" not in how.to_dict()
    other = replace(how, render="percentile")
    assert Preprocessing.from_dict(other.to_dict()) == other and other.to_dict()["render"] == "percentile"


def test_a_bundles_own_render_is_what_its_films_get(bundle: Path, deep: np.ndarray) -> None:
    from mtclip_edge.inference.embed_films import embed_films
    from mtclip_edge.inference.encoders import FilmEncoder

    with Retriever.open(bundle) as retriever:
        from dataclasses import replace

        encoder = replace(
            retriever._films, preprocessing=replace(retriever._films.preprocessing, render="minmax")
        )
        assert isinstance(encoder, FilmEncoder)
        path = bundle / "film"
        path.write_bytes(written(cr(deep, 12, WindowCenter=1000, WindowWidth=100)))
        found = embed_films(encoder, [path], retriever.bundle.model.dim, lambda *_: None)
        expected = encoder.encode(encoder.prepare(grey(path.read_bytes(), "minmax"))[None])[0]
        np.testing.assert_allclose(found.vectors, expected, atol=1e-6)


def test_dicom_needs_a_bundle_that_was_named(mtclip, deep: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "f.dcm").write_bytes(written(cr(deep, 12)))
    unasked = mtclip("query", tmp_path / "f.dcm", "--format", "ids")
    assert (unasked.code, unasked.out) == (1, "")
    assert (
        unasked.err.splitlines()[0]
        == f"{tmp_path / 'f.dcm'}: DICOM needs --bundle DIR, or --bundle demo for invented reports"
    )
    assert mtclip("query", tmp_path / "f.dcm", "--bundle", "demo", "--format", "ids", "--force").code == 0


def test_pydicom_is_loaded_for_dicom_only(
    tiny_bundle: Path, film: Path, deep: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(written(cr(deep, 12)))
    for path, expected in ((film, False), (tmp_path / "f", True)):
        code = (
            f"import sys; sys.argv = ['mtclip', 'query', {str(path)!r}, '--bundle', {str(tiny_bundle)!r}, '--format', 'ids']\n"
            "from mtclip_edge import cli\nassert cli._run() == 0\nprint('LOADED', *sys.modules)"
        )
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        loaded = set(out.split("LOADED")[1].split())
        assert ("pydicom" in loaded) == expected
        assert expected or not loaded & {
            "zipfile",
            "mtclip_edge.films.dicom.reader",
            "mtclip_edge.films.dicomdir",
            "mtclip_edge.films.dicom.decoders",
        }


def test_dicom_from_standard_input(mtclip, tiny_bundle: Path, deep: np.ndarray, monkeypatch) -> None:
    data = written(cr(deep, 12), dicoms.JPEG_LS)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    found = json.loads(mtclip("query", "-", "--bundle", tiny_bundle, "--json").out)
    assert (found["image"], found["input"]["kind"]) == ("-", "dicom")
