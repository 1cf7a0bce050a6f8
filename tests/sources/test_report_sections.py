"""Findings and impression of free-text reports: what a radiologist wrote of the film is kept, whatever stands above it."""

from pathlib import Path

import layouts
import pytest

from mtclip_edge.sources.report_sections import Sections, sections_of
from mtclip_edge.sources.source import open_source


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("", Sections()),
        ("  \n\n", Sections()),
        (" FINDINGS: Clear.\n\n IMPRESSION: Normal.\n", Sections("Clear.", "Normal.")),
        ("Findings: Clear.\n\nImpression: Normal.\n", Sections("Clear.", "Normal.")),
        ("Findings: Clear. Impression: Normal.", Sections("Clear.", "Normal.")),
        (
            "FINDINGS\n The lungs are clear.\n\nIMPRESSION\n Normal.",
            Sections("The lungs are clear.", "Normal."),
        ),
        (" FINDNGS: Clear.\n IMPRESSSION: Normal.", Sections("Clear.", "Normal.")),
        (
            " FINDINGS:\n\n LUNGS: A nodule.\n HEART: Large.\n\n IMPRESSION: As above.",
            Sections("LUNGS: A nodule. HEART: Large.", "As above."),
        ),
        (
            " INDICATION: cough.\n\n CHEST, TWO VIEWS: Consolidation.\n\n IMPRESSION: Pneumonia.",
            Sections("CHEST, TWO VIEWS: Consolidation.", "Pneumonia."),
        ),
        (
            " FINDINGS: Tube.\n REFERENCE FINDINGS: Old scar.\n IMPRESSION: Tube.",
            Sections("Tube. Old scar.", "Tube."),
        ),
        (" IMPRESSION: Old.\n ADDENDUM: None.\n IMPRESSION: Left effusion.", Sections("", "Left effusion.")),
        (
            " IMPRESSION: Normal.\n ADDENDUM: A small pneumothorax.",
            Sections("", "Normal. A small pneumothorax."),
        ),
        (" IMPRESSION: Nodule.\n RECOMMENDATION(S): CT.", Sections("", "Nodule. CT.")),
        (
            " INDICATION: cough.\n\n The lungs are clear.\n\n IMPRESSION: Normal.",
            Sections("The lungs are clear.", "Normal."),
        ),
        (
            " PA and lateral views.\n\n The lungs are clear.\n",
            Sections(unheaded="PA and lateral views. The lungs are clear."),
        ),
        (
            " HISTORY: cough.\n \n A new effusion.\n \n Dr. ___ was informed at 10:30.\n",
            Sections(unheaded="A new effusion."),
        ),
        (" HISTORY: cough.\n", Sections()),  # why the film was made is no report
        (
            " Clear.\n\n Findings were discussed with Dr. ___ by phone. There is a pneumothorax, discussed with Dr. ___.",
            Sections(unheaded="Clear. There is a pneumothorax, discussed with Dr. ___."),
        ),
        (
            " REASON FOR EXAM: pain at 10:30.\n COMPARISON: ___.\n\n FINAL REPORT\n\n Large heart.",
            Sections(unheaded="Large heart."),
        ),
        (
            "The lungs are clear.\nNew findings: none of note.\n",
            Sections(unheaded="The lungs are clear. New findings: none of note."),
        ),
    ],
)
def test_sections(text: str, sections: Sections) -> None:
    assert sections_of(text) == sections
    assert sections_of(text.replace("\n", "\r\n")) == sections


def test_a_set_with_odd_reports_is_read_whole(tmp_path: Path) -> None:
    folder = layouts.mimic(tmp_path / "m")
    for study, text in ((50000001, ""), (50000003, "Findings: a tube.\n")):
        next(folder.glob(f"files/*/*/s{study}.txt")).write_text(text)
    studies = {study.study_id: study for study in open_source(str(folder)).studies}
    assert len(studies) == 4 and len(studies["50000001"].films) == 2
    assert (studies["50000001"].text, studies["50000003"].findings) == ("", "a tube.")
