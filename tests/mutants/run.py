"""Apply each patch in this folder to a clean copy of the checkout and run the suite: every fault must turn it red.

    python tests/mutants/run.py [NAME...]

Prints a line for each patch with the first test that failed; a patch that no test catches, or that no longer applies, is an error.
Without names the suite is run once without any fault first: a red suite would catch everything.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Quick and telling tests first, in a run of their own; then the whole suite, so that whatever catches a fault is found.
FIRST = (
    "tests/evaluation/test_metrics.py",
    "tests/evaluation/test_figures.py",
    "tests/train/test_calibration.py",
    "tests/train/test_fine_tuning.py",
    "tests/train/test_losses.py",
    "tests/inference/test_preprocessing.py",
    "tests/train/test_training.py",
    "tests/export/test_pack.py",
    "tests/export/parity/test_gate.py",
    "tests/export/quantization/test_ladder.py",
    "tests/inference/test_device.py",
    "tests/index/test_denial.py",
    "tests/index/test_rerank.py",
    "tests/retrieval/test_naming.py",
    "tests/retrieval/test_retriever.py",
    "tests/films/dicom/test_headers.py",
    "tests/films/dicom/test_transfer_syntaxes.py",
    "tests/films/test_gate.py",
    "tests/export/fitted/test_film_gate.py",
    "tests/index/postgres/test_sites.py",
    "tests/index/postgres/test_changes.py",
    "tests/index/postgres/test_search.py",
    "tests/dicom_node/test_journal.py",
    "tests/dicom_node/test_intake.py",
    "tests/dicom_node/test_objects.py",
    "tests/evidence/test_heat_map.py",
    "tests/evidence/test_verdict.py",
    "tests/export/fitted/test_verdicts.py",
)


def main() -> None:
    wanted = [HERE / f"{name}.patch" for name in sys.argv[1:]] or sorted(HERE.glob("*.patch"))
    if not sys.argv[1:] and (failed := first_failure(None)):
        sys.exit(f"the suite is red without any fault: {failed}")
    missed = []
    for patch in wanted:
        started = time.monotonic()
        failed = first_failure(patch)
        print(f"{patch.stem:28s} {failed or 'NOT CAUGHT'}  ({time.monotonic() - started:.0f} s)", flush=True)
        missed += [] if failed else [patch.stem]
    if missed:
        sys.exit(f"not caught: {', '.join(missed)}")


def first_failure(patch: Path | None) -> str | None:
    """The first test that fails in a copy with the fault (or without any), None where all pass."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "checkout"
        leave = shutil.ignore_patterns(
            ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "mutants"
        )
        shutil.copytree(ROOT, copy, symlinks=True, ignore=leave)
        if patch:
            apply(patch, copy)
        data = os.environ.get("MTCLIP_TEST_DATA", str(ROOT.parent / "shared" / "data"))
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(copy),
            "MTCLIP_TEST_DATA": data,
        }
        for chosen in (FIRST, ("tests",)):
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-x",
                "-q",
                "-p",
                "no:cacheprovider",
                "-n",
                "2",
                "--dist",
                "worksteal",
                *chosen,
            ]
            found = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
            if found.returncode:
                return _failed_test(found, patch.stem if patch else "no fault")
    return None


def _failed_test(found: subprocess.CompletedProcess[str], name: str) -> str:
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", found.stdout, re.MULTILINE)
    if (
        found.returncode not in (1, 2) or failed is None
    ):  # 2: stopped at the first failure, with several workers
        sys.exit(f"{name}: the suite could not run\n{found.stdout[-2000:]}{found.stderr[-2000:]}")
    return failed[1]


def apply(patch: Path, copy: Path) -> None:
    done = subprocess.run(
        ["patch", "-p1", "--fuzz=0", "-s", "-i", str(patch)], cwd=copy, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{patch.stem}: does not apply any more\n{done.stdout}")


if __name__ == "__main__":
    main()
