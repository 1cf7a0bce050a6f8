"""``mtclip info``: what a bundle or a run is, from its own manifest, without loading a model."""

from pathlib import Path
from typing import Any

from ..bundle.bundle import MANIFEST, Bundle
from ..bundle.exposure import exposure_line
from ..bundle.licence import licence_line, terms_of_use
from ..bundle.records import BackboneRecord
from ..bundle.run_record import RUN, read_run_record
from ..errors import NotABundle
from ..fields import Fields

SCHEMA = "mtclip.info/1"


def describe(path: Path) -> dict[str, Any]:
    """A bundle or a run as JSON of schema mtclip.info/1.

    Errors: NotABundle, ArtefactDamaged, ArtefactIncompatible.
    """
    if (path / RUN).is_file() and not (path / MANIFEST).exists():
        return {"schema": SCHEMA, "kind": "run", "path": str(path), **read_run_record(path).to_dict()}
    try:
        bundle = Bundle.open(path)
    except NotABundle as error:
        raise NotABundle(
            error.what.replace("not a bundle", "neither a bundle nor a run"), hint=error.hint
        ) from None
    size = sum(entry.size for entry in bundle.manifest.files.values())
    return {
        "schema": SCHEMA,
        "kind": "bundle",
        "path": str(path),
        "id": bundle.identity,
        "bytes": size,
        **bundle.manifest.to_dict(),
    }


def summary_lines(record: dict[str, Any]) -> list[tuple[str, str]]:
    """The same for a person: a name and a value each."""
    return _run_lines(record) if record["kind"] == "run" else _bundle_lines(record)


def _bundle_lines(record: dict[str, Any]) -> list[tuple[str, str]]:
    index, hnsw = record["index"], record["index"]["hnsw"]
    graphs = [f"{tower} {', '.join(rungs)}" for tower, rungs in record["graphs"].items() if rungs]
    return [
        ("bundle", record["path"]),
        ("purpose", record["purpose"]),
        ("id", record["id"]),
        ("model", record["model_id"]),
        (
            "made",
            (
                f"{record['created']} by mtclip-edge {record['made_by']['mtclip_edge']}, generation "
                f"{record['generation']}"
            ),
        ),
        *_backbone_lines(record["backbone"]),
        ("input", _input(record["preprocessing"])),
        ("graphs", "; ".join(graphs)),
        (
            "reports",
            (
                f"{index['reports']} distinct, of {index['studies']} studies; {index['films']} films; "
                f"{record['dim']} dimensions"
            ),
        ),
        ("index", f"HNSW, recall@10 {hnsw['recall@10']}" if hnsw else "none: exact search"),
        ("film gate", _film_gate(record.get("film_gate"))),
        *_previews(record),
        *_validation(record),
        *_refit(record),
        *[("parity", _parity(row)) for row in record["parity"]],
        *_figures(record["metrics"]),
        ("size", f"{record['bytes'] / 1e6:.1f} MB in {len(record['files'])} files"),
    ]


def _backbone_lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    backbone = BackboneRecord.read(Fields(values))
    return [
        ("backbone", licence_line(backbone)),
        ("trained on", exposure_line(backbone.name)),
        *[("use", note) for note in terms_of_use(backbone)],
    ]


def _previews(record: dict[str, Any]) -> list[tuple[str, str]]:
    previews = record.get("previews")
    if previews is None:
        return []
    size = record["files"][previews["file"]]["size"] / 1e6
    of = f"{previews['reports']} reports, at most {previews['longest']} px"
    return [("previews", f"a film of {of}, WebP {previews['quality']}; {size:.1f} MB")]


def _refit(record: dict[str, Any]) -> list[tuple[str, str]]:
    refit = record.get("refit")
    if refit is None:
        return []
    labelled = f"{refit['normal']} normal, {refit['abnormal']} abnormal"
    head = "calibration and operating point" if refit["calibration"] else "percentiles"
    return [("refitted", f"{refit['made']}: {head} and more by {refit['films']} films ({labelled})")]


def _validation(record: dict[str, Any]) -> list[tuple[str, str]]:
    kept = record.get("validation")
    if kept is None:
        return []
    return [("kept", f"{kept['films']} validation films under pseudonyms, to measure evidence again")]


def _film_gate(gate: dict[str, Any] | None) -> str:
    if gate is None:
        return "none: films are judged by header and picture only"
    films = f"{gate['films']['train']} training and {gate['films']['validation']} validation films"
    missing = [name.replace("_", " ") for name, value in gate["thresholds"].items() if value is None]
    folds = f", thresholds by {gate['folds']} folds of both" if gate.get("folds") else ""
    return f"fitted on {films}{folds}" + (f", too few for {', '.join(missing)}" if missing else "")


def _run_lines(record: dict[str, Any]) -> list[tuple[str, str]]:
    config, data = record["config"], record["data"]
    return [
        ("run", record["path"]),
        *_backbone_lines(record["backbone"]),
        ("tower", "fine-tuned" if record.get("tower_sha256") else "frozen"),
        ("sources", ", ".join(data["sources"])),
        ("films", f"{data['films']['train']} train, {data['films']['validation']} validation"),
        ("losses", f"BCE {config['bce']}, SupCon {config['supcon']}, CLIP {config['clip']}"),
        ("epochs", f"best {record['best_epoch']} of {record['epochs_run']}, seed {config['seed']}"),
        *_figures(record["validation"]),
    ]


def _parity(row: dict[str, Any]) -> str:
    """A row of the gate's table; what was not asked is left out."""
    said = [
        ("cosine", row.get("cosine", row["min_cosine"]), ".6f"),
        ("max abs", row["max_abs"], ".1e"),
        ("top-10 overlap", row.get("overlap"), ".3f"),
        ("macro P@10", row.get("precision_at_10"), "+.3f"),
        ("Recall@10", row.get("recall_at_10"), "+.3f"),
        ("decisions", row.get("decisions"), ".3f"),
    ]
    figures = ", ".join(f"{name} {value:{style}}" for name, value, style in said if value is not None)
    made = f" ({row['how']})" if row.get("how") else ""
    return f"{row['tower']} {row['precision']}{made}: {figures}; {row.get('count', '')} {row['inputs']}"


def _figures(result: dict[str, Any]) -> list[tuple[str, str]]:
    precision, forth = result["precision@10"], result["film_to_report"]
    values = [
        ("AUROC", result["auroc"]),
        ("macro P@10", precision and precision["macro"]),
        ("Recall@10", forth and forth["recall@10"] and forth["recall@10"]["value"]),
    ]
    return [
        (f"{name} (validation)", "not computed" if value is None else f"{value:.3f}")
        for name, value in values
    ]


def _input(how: dict[str, Any]) -> str:
    return f"{how['size']} px, {how['geometry']}, DICOM by {how.get('render', 'voi')}"
