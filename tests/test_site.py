"""The documentation's site: its navigation leads to pages, and it builds without a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from steve1.core.paths import ROOT


def pages(entry: Any) -> list[str]:
    """The pages below an entry of the navigation."""
    if isinstance(entry, str):
        return [entry]
    return [page for each in (entry.values() if isinstance(entry, dict) else entry) for page in pages(each)]


def test_the_navigation_names_pages_that_exist() -> None:
    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert len(named) == len(set(named)) > 8
    assert [name for name in named if not (ROOT / "docs" / name).is_file()] == []


@pytest.mark.e2e
def test_it_builds(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed (extra docs)")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "Fine-tune STEVE-1" in (tmp_path / "site" / "index.html").read_text()
    assert (tmp_path / "site" / "technical" / "DATA_FORMATS.html").is_file()
