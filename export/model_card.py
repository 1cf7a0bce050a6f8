"""Writes a bundle's MODEL_CARD.md: what it is made of, what was measured, what it is not for."""

from collections.abc import Mapping, Sequence

from mtclip_edge.bundle.licence import licence_line, terms_of_use
from mtclip_edge.bundle.records import MetricsRecord, RecallRecord
from mtclip_edge.notice import DEMO, NOTICE
from mtclip_edge.train.run import Run

from .parity.limits import Row


def model_card(run: Run, purpose: str, rows: Sequence[Row]) -> str:
    record = run.record
    demo = [f"**{DEMO}.** It shows how the tool works and knows nothing of real films.", ""]
    return "\n".join(
        [
            "# Chest X-ray report retriever",
            "",
            f"**{NOTICE}**",
            "",
            *(demo if purpose == "demo" else []),
            "Made with mtclip-edge: an image and a text tower with projectors into one space, trained with "
            "binary cross-entropy "
            "(normal/abnormal), supervised contrastive and CLIP loss.",
            "",
            f"- Backbone: {licence_line(record.backbone.record)}",
            *[f"- {note}" for note in terms_of_use(record.backbone.record)],
            (
                f"- Shared space: {record.shape.dim} dimensions, residual projectors: "
                f"{'yes' if record.shape.residual else 'no'}"
            ),
            f"- Input: {record.preprocessing.size} px, the whole film squashed to a square",
            f"- Trained on {record.data.films['train']} films, chosen on {record.data.films['validation']}",
            (
                f"- Loss weights: BCE {record.config.bce}, SupCon {record.config.supcon}, CLIP "
                f"{record.config.clip}"
            ),
            "",
            "## Measured on the validation split",
            "",
            *[f"- {name}: {value}" for name, value in _figures(record.validation)],
            "",
            "## The graphs against torch in fp32",
            "",
            *[f"- {row}" for row in rows],
            "",
            "## Limits",
            "",
            "The retrieved texts are reports of other patients. A similar film is not the same disease; a "
            "finding that no packed report "
            "names cannot be found. Films of other machines, views or patients than those trained on may be "
            "far off. Not for "
            "clinical decisions.",
            "",
        ]
    )


def _figures(metrics: MetricsRecord) -> list[tuple[str, str]]:
    values = [
        ("AUROC", metrics.auroc),
        ("macro P@10 (a constant answer has 0.500)", metrics.precision and metrics.precision["macro"]),
        ("Recall@10 film to report", _recall(metrics.film_to_report)),
        ("Recall@10 report to film", _recall(metrics.report_to_film)),
    ]
    return [(name, "not computed" if value is None else f"{value:.3f}") for name, value in values]


def _recall(figures: Mapping[str, RecallRecord | None] | None) -> float | None:
    ten = figures and figures["recall@10"]
    return ten.value if ten else None
