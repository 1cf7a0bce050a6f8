"""The Python API: what a query gives, and that training, export and query agree on every number."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mtclip_edge import FilmHit, QueryResult, ReportHit, Retriever
from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.errors import DeviceUnavailable, FilmUnreadable, TextTowerMissing, WrongOption
from mtclip_edge.films.read import read_film
from mtclip_edge.index import index
from mtclip_edge.inference.preprocessing import Preprocessing, model_input
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.backbones.backbone import load_backbone, text_features
from mtclip_edge.train.run import load_run


@pytest.fixture
def retriever(tiny_bundle: Path):
    with Retriever.open(tiny_bundle) as opened:
        yield opened


@torch.inference_mode()
def test_a_query_is_what_training_would_have_said(
    tiny_run: Path, tiny_bundle: Path, source: Path, retriever: Retriever
) -> None:
    """Embedding, abnormal probability, hits and scores, from the film's file on, computed once more in torch."""
    run = load_run(tiny_run)
    backbone = load_backbone(run.record.backbone.spec)
    train = open_source(str(source)).split("train")
    from mtclip_edge.studies import distinct_reports

    reports = distinct_reports(train)
    texts = run.space.embed_texts(
        text_features(backbone.text_tower, backbone.tokenizer, [r.first.tower_text for r in reports])
    ).numpy()
    for study in open_source(str(source)).split("test")[:8]:
        for film in study.films:
            pixels = torch.from_numpy(model_input(read_film(film.path).grey, backbone.preprocessing))[None]
            vector = run.space.embed_films(backbone.film_tower(pixels))
            logit = run.space.abnormal_logit(vector).item()
            scores = texts @ vector[0].numpy()
            result = retriever.query(film.path, k=3)
            assert result.abnormal.logit == pytest.approx(logit, abs=1e-3)
            assert result.abnormal.probability is None  # of so few validation films
            by_id = {r.report_id: s for r, s in zip(reports, scores, strict=True)}
            assert [hit.score for hit in result.hits] == pytest.approx(
                [by_id[hit.report_id] for hit in result.hits], abs=2e-4
            )
            assert [hit.score for hit in result.hits] == pytest.approx(np.sort(scores)[::-1][:3], abs=2e-4)


def test_abnormal_films_look_abnormal(source: Path, retriever: Retriever) -> None:
    """On films it has not seen, the trained bundle tells drawn opacities from none."""
    from mtclip_edge.evaluation.metrics import auroc

    studies = [s for s in open_source(str(source)).split("test") if s.films and s.label != "unknown"]
    answers = [retriever.query(s.films[0].path) for s in studies]
    label = np.array([s.label == "abnormal" for s in studies], int)
    assert auroc(label, np.array([a.abnormal.logit for a in answers])) > 0.85
    voted = [np.mean([hit.label == "abnormal" for hit in a.hits]) for a in answers]
    assert auroc(label, np.array(voted)) > 0.7


def test_the_result_is_documented_json(retriever: Retriever, film: Path) -> None:
    result = retriever.query(film, k=2)
    assert isinstance(result, QueryResult)
    assert all(isinstance(hit, ReportHit) for hit in result.hits)
    document = result.to_dict()
    assert list(document) == [
        "schema",
        "query",
        "image",
        "notice",
        "device",
        "bundle",
        "abnormal",
        "input",
        "evidence",
        "ranking",
        "hits",
        "explain",
        "timings_ms",
    ]
    assert document["schema"] == "mtclip.query/2"
    assert document["notice"] == "Research use only. Retrieved prior reports, not a diagnosis."
    assert document["query"] == {"type": "film", "value": str(film), "filter": None}
    assert document["device"]["used"] == "cpu" and document["device"]["why"]
    assert document["bundle"]["id"].startswith("sha256:") and document["bundle"]["search"]["used"] == "exact"
    assert list(document["abnormal"]) == ["probability", "calibrated", "threshold", "call", "logit"]
    assert list(document["abnormal"].values())[:4] == [None, False, None, None]
    assert document["input"] == {"kind": "png", "verdict": None, "reasons": []}
    hit = document["hits"][0]
    assert list(hit) == [
        "rank",
        "kind",
        "score",
        "percentile",
        "report_id",
        "label",
        "studies",
        "study_ids",
        "study_dates",
        "date",
        "finding_labels",
        "findings",
        "impression",
        "text",
        "named",
        "rank_by",
    ]
    assert (hit["rank"], hit["kind"], hit["percentile"]) == (1, "report", None)
    assert list(document["timings_ms"]) == [
        "load",
        "decode",
        "preprocess",
        "encode",
        "search",
        "evidence",
        "total",
    ]


def test_bytes_and_path_give_the_same(retriever: Retriever, film: Path) -> None:
    by_path, by_bytes = retriever.query(film), retriever.query(film.read_bytes())
    assert by_bytes.hits == by_path.hits
    assert by_bytes.image == "-"


def test_exact_gives_the_same_hits(tiny_bundle: Path, retriever: Retriever, film: Path) -> None:
    with Retriever.open(tiny_bundle, exact=True) as exact:
        assert exact.query(film, k=20).hits == retriever.query(film, k=20).hits
        assert exact.query(film).bundle.search.why == "asked for"
        assert exact.notes.search is None


def test_many_films_keep_their_order_and_a_bad_one_its_place(
    retriever: Retriever, source: Path, tmp_path: Path
) -> None:
    films = [s.films[0].path for s in open_source(str(source)).studies if s.films][:11]
    bad = tmp_path / "bad.png"
    bad.write_text("not a film")
    asked = [*films[:4], bad, *films[4:]]
    answers = list(retriever.query_many(asked, errors="return"))
    assert [isinstance(a, FilmUnreadable) for a in answers] == [p == bad for p in asked]
    assert [a.image for a in answers if isinstance(a, QueryResult)] == [str(p) for p in films]
    for film, answer in zip(films, [a for a in answers if isinstance(a, QueryResult)], strict=True):
        alone = retriever.query(film)
        assert [h.report_id for h in alone.hits] == [h.report_id for h in answer.hits]
        assert [h.score for h in alone.hits] == pytest.approx([h.score for h in answer.hits], abs=1.1e-4)


def test_a_text_finds_reports_and_films(retriever: Retriever) -> None:
    result = retriever.query_text("The lungs are clear.", k=3)
    assert [type(hit) for hit in result.hits] == [ReportHit] * 3 + [FilmHit] * 3
    assert result.image is None and result.abnormal is None and result.input is None
    assert result.to_dict()["query"] == {"type": "text", "value": "The lungs are clear.", "filter": None}
    film = result.hits[3].to_dict()
    assert list(film) == ["rank", "kind", "score", "study_id", "film", "label"]
    assert film["film"].startswith("images/")


def test_its_own_text_is_the_nearest_report(retriever: Retriever, source: Path) -> None:
    study = next(s for s in open_source(str(source)).split("train") if s.report_id)
    top = retriever.query_text(study.text, k=1).hits[0]
    assert isinstance(top, ReportHit)
    assert top.score == pytest.approx(1.0, abs=2e-4)


def test_wrong_options(tiny_bundle: Path, retriever: Retriever, film: Path) -> None:
    with pytest.raises(WrongOption, match="-k 0"):
        retriever.query(film, k=0)
    with pytest.raises(WrongOption, match="precision 'int3'\nexpected one of auto, fp32"):
        Retriever.open(tiny_bundle, precision="int3")
    with pytest.raises(WrongOption, match="expected one of auto, cpu, cuda"):
        Retriever.open(tiny_bundle, device="gpu")
    with pytest.raises(WrongOption, match="--text is empty"):
        retriever.query_text("  ")


def test_cuda_is_never_silently_a_cpu(tiny_bundle: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has a CUDA provider")
    with pytest.raises(
        DeviceUnavailable, match="device cuda was asked for, and this onnxruntime has no such provider"
    ):
        Retriever.open(tiny_bundle, device="cuda")


def test_a_cuda_session_that_became_a_cpu_session_is_an_error_or_said(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime lists a provider that cannot start and hands out a CPU session instead."""
    import onnxruntime

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: real(path, options, ["CPUExecutionProvider"]),
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    with pytest.raises(DeviceUnavailable, match="made a CPU session instead"):
        Retriever.open(tiny_bundle, device="cuda")
    with Retriever.open(tiny_bundle, device="auto") as retriever:
        assert (retriever.device.requested, retriever.device.used) == ("auto", "cpu")
        assert retriever.device.why == "the CUDA provider is installed but could not make a session"


@pytest.mark.own_files
def test_without_hnswlib_search_is_exact_and_says_so(
    tiny_bundle: Path, retriever: Retriever, film: Path, monkeypatch
) -> None:
    import sys

    monkeypatch.setattr(index, "EXACT_NUMBERS", 0)
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with Retriever.open(tiny_bundle) as without:
        assert without.notes.search == "searching exactly: hnswlib is not installed"
        assert without.query(film).hits == retriever.query(film).hits


@pytest.mark.usefixtures("known_graphs")
def test_a_bundle_without_a_text_tower_says_how_to_make_one(
    tiny_run: Path, tmp_path: Path, film: Path
) -> None:
    from mtclip_edge.export.pack import export

    export(tiny_run, tmp_path / "b", text=False, precision=["fp32"])
    assert not list((tmp_path / "b").glob("text*")) + list((tmp_path / "b").glob("tokenizer*"))
    with Retriever.open(tmp_path / "b") as retriever:
        assert retriever.query(film).hits
        with pytest.raises(TextTowerMissing, match="no text tower.*\nexport the run without --no-text"):
            retriever.query_text("zebrafish")
        found = retriever.query_text("opacity", k=4)
        assert "no text tower" in (note := retriever.text_note("opacity")) and "words alone" in note
    assert found.evidence is None and found.ranking["by"] == ["names", "words", "marks"]
    assert found.reports and not found.films
    for hit in found.to_dict()["hits"]:
        assert (hit["score"], hit["named"], hit["rank_by"]["vector"]) == (
            None,
            {"opacity": "affirmed"},
            None,
        )
        assert (hit["rank_by"]["marks"], hit["rank_by"]["names"]) >= (1, 1)


def test_the_preprocessing_is_the_bundles(tiny_bundle: Path) -> None:
    numbers = Preprocessing.of(Bundle.open(tiny_bundle).model.preprocessing)
    assert numbers.mean == (0.48145466, 0.4578275, 0.40821073)
    assert numbers.size == 160


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_does_not_grow_with_the_number_of_films(soak: bool) -> None:
    """As a folder or a watched inbox is answered: 10,000 films in make soak."""
    import resource

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    film = Path(__file__).parents[2] / "examples" / "effusion.png"
    count, before = (10_000 if soak else 400), 0
    with Retriever.open(FOLDER) as retriever:
        for done, result in enumerate(retriever.query_many(("film", film) for _ in range(count))):
            assert isinstance(result, QueryResult)
            if done == count // 4:
                before = resident()
        assert resident() - before < 20_000_000
