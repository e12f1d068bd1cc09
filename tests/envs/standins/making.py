"""A Minecraft backend's own environment, made of a stand-in: a Python of its own with the stand-in as its package, and a fake Java.

Nothing of it can be imported from the tests' own Python.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

HERE = Path(__file__).resolve().parent
VERSIONS = {"minerl": "1.0.2", "minedojo": "0.1", "minestudio": "1.1.6"}
JAVA = """#!/bin/sh
case "$1" in -version) echo 'openjdk version "{version}"' >&2; exit 0;; esac
while :; do sleep 0.2; done
"""


def make_java(folder: Path, version: str = "1.8.0_402") -> Path:
    """A folder for JAVA_HOME whose java tells this version and otherwise runs for ever."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(JAVA.format(version=version))
    program.chmod(0o755)
    # A process that another thread forks at this moment holds the file open for writing, and it cannot be run until that ends.
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            subprocess.run([program, "-version"], check=True, capture_output=True)
            break
        time.sleep(0.02)
    return folder


def make_backend(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, version: str = "") -> Path:
    """The environment of one backend, announced by STEVE1_<NAME>_PYTHON, and a Java 8 in JAVA_HOME."""
    python = folder / "bin" / "python"
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    python.parent.mkdir()
    base = Path(os.path.realpath(sys.executable))
    python.symlink_to(base)
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    for part in (name, "standin_world.py"):
        (packages / part).symlink_to(HERE / part)
    # The stand-ins' own needs, as the real packages have: numpy, OpenCV, YAML.
    (packages / "needs.pth").write_text(
        "\n".join({str(Path(part.__file__).parents[1]) for part in (np, cv2, yaml)}) + "\n"
    )
    facts = packages / f"{name}-{version or VERSIONS[name]}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version or VERSIONS[name]}\n")
    monkeypatch.setenv(f"STEVE1_{name.upper()}_PYTHON", str(python))
    monkeypatch.setenv("JAVA_HOME", str(make_java(folder / "java")))
    return folder
