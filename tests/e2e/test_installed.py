"""The package as pip installs it, used from a folder that is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steve1.core.paths import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.game]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the package was installed, without its dependencies."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "steve1", source / "steve1", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
        str(source),
    ]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return site


def test_plays_from_any_folder(site: Path, tmp_path: Path) -> None:
    # Weights and what belongs to them were copied into one folder: their .json names paths of the checkout.
    weights, here = tmp_path / "weights", tmp_path / "here"
    shutil.copytree(ROOT / "data" / "mini", weights)
    here.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }

    def steve1(*words: str) -> str:
        command = [sys.executable, str(site / "bin" / "steve1"), *words]
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "create_sampling" in steve1("--help")
    assert "usage: steve1 train" in steve1("train", "--help")
    said = steve1(
        "play", "--in_weights", str(weights / "mini.weights"), "--prompt", "dig dirt", "--gameplay_length", "5"
    )
    film = here / "data" / "generated_videos" / "mini" / "dig-dirt-seed0.mp4"
    assert film.stat().st_size > 1000
    assert f"video: {film}" in said, "the whole path"
    assert list((tmp_path / "cache" / "steve1").glob("luanti_shim_*.so")), (
        "compiled into the cache, not into site-packages"
    )
    assert not {path.name for path in site.iterdir()} & {"data", "build"}
