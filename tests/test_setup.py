"""tools/setup.sh on machines that are shown to it: fake Pythons on PATH, nothing is downloaded."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from steve1.core.paths import ROOT

# Answers the version check as a Python 3.{minor}; `-m venv FOLDER` makes an environment of the same kind; pip does nothing.
FAKE = """#!/bin/bash
case "$1 $2" in
  "-c "*) [ {minor} -ge 11 ] ;;
  "--version "*) echo "Python 3.{minor}.0" ;;
  "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  *) exit 0 ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what setup.sh reads, on a machine that is no Debian (so that no game is installed)."""
    folder = tmp_path / "a project"
    (folder / "tools").mkdir(parents=True)
    for name in ("setup.sh", "python.sh"):
        shutil.copy(ROOT / "tools" / name, folder / "tools")
    for name in ("requirements.txt", "requirements-dev.txt"):
        (folder / name).write_text("")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (tmp_path / "bin" / "uname").chmod(0o755)
    return folder


def python(folder: Path, name: str, minor: int) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FAKE.replace("{minor}", str(minor)))
    path.chmod(0o755)
    return path


def setup(project: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{project.parent / 'bin'}:/usr/bin:/bin", "HOME": str(project.parent), **variables}
    return subprocess.run(["bash", "tools/setup.sh"], cwd=project, env=environment, capture_output=True, text=True)


def test_a_python_that_is_too_old_is_refused_before_anything_is_made(project: Path) -> None:
    old = python(project.parent, "old python/python3", 10)
    done = setup(project, PYTHON=str(old))
    assert done.returncode == 2
    assert f"{old} is not a working Python 3.11 or newer" in done.stderr
    assert not (project / ".venv").exists()


def test_an_environment_of_an_old_python_is_named_and_made_anew(project: Path) -> None:
    python(project / ".venv" / "bin", "python", 10)
    python(project.parent / "bin", "python3.12", 12)
    done = setup(project)
    assert done.returncode == 0, done.stderr
    assert ".venv is broken or older than Python 3.11 (Python 3.10.0); it is kept as .venv.old" in done.stdout
    assert "making .venv with Python 3.12.0" in done.stdout
    assert (project / ".venv.old" / "bin" / "python").is_file()
    assert "making" not in setup(project).stdout, "the second time there is nothing to do"
