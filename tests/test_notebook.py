"""The notebook for a hosted GPU: its cells parse, name scripts that exist, and run in their smallest size."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from steve1.core.paths import ROOT
from tests.data.makers import make_recording

NOTEBOOK = ROOT / "docs" / "notebooks" / "steve1_hosted_gpu.ipynb"


def code() -> list[str]:
    return [
        "".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def test_its_cells_parse_and_name_scripts_and_variables_that_exist() -> None:
    for cell in code():
        ast.parse(cell)
    text = "\n".join(code())
    scripts = set(re.findall(r"bash ([\w./]+\.sh)", text))
    assert len(scripts) >= 4
    for script in scripts:
        assert (ROOT / script).is_file(), script
    variables = set(re.findall(r"[ ,({\"]([A-Z][A-Z_]{3,})(?:=|\": )", text)) - {"TOTAL_FRAMES"}
    known = "".join((ROOT / script).read_text() for script in scripts)
    for name in variables & {
        "OUTPUT_DIR",
        "RECORDINGS_DIR",
        "MINECLIP",
        "IN_MODEL",
        "IN_WEIGHTS",
        "OUT_WEIGHTS",
        "SAMPLING_NAME",
        "BATCH_SIZE",
    }:
        assert f"{name}=" in known, name
    assert not any(cell.get("outputs") for cell in json.loads(NOTEBOOK.read_text())["cells"])


@pytest.mark.e2e
def test_it_runs_in_its_smallest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra notebook)")
    nbclient: Any = pytest.importorskip("nbclient", reason="nbclient is not installed (extra notebook)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra notebook)")
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    for path in ROOT.glob("*.sh"):
        shutil.copy(path, project)
    shutil.copytree(ROOT / "tools", project / "tools")
    for name in ("steve1", ".venv", "pyproject.toml"):
        (project / name).symlink_to(ROOT / name)
    (project / "data" / "mini").symlink_to(ROOT / "data" / "mini")
    for number in range(3):
        make_recording(tmp_path / "raw", f"rec{number}", 90)
    settings = {
        "PROJECT": str(project),
        "SETUP": "0",
        "WEIGHTS": "mini",
        "SOURCE": "folder",
        "RECORDINGS": str(tmp_path / "raw"),
        "SIZE": "BATCH_SIZE=1 TOTAL_FRAMES=64 WARMUP_FRAMES=32 T=32 TRUNC_T=16 VAL_FREQ=0",
        "OPTIONS": "--num_workers 0 --threads 1 --device cpu",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"STEVE1_{name}", value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=250, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert (project / "data" / "weights" / "steve1" / "notebook.weights").is_file()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("text/html" in output.get("data", {}) for output in shown)
