"""Builds the lock-step shim: shim.c beside this file becomes a shared library, compiled once and named after the source's hash."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from steve1.core.errors import UserError
from steve1.core.files import atomic_path
from steve1.core.paths import CHECKOUT

SOURCE = Path(__file__).with_name("shim.c")
APT = "apt-get install --no-install-recommends"
PACKAGES = "minetest minetest-data xvfb libgl1-mesa-dri g++ libc6-dev libx11-dev"
SUPPORTED = ((5, 6), (5, 7), (5, 8))  # Irrlicht on X11/GLX; later releases use SDL


def find_program(*names: str, package: str) -> str:
    """Full path of the first program of `names` that exists (Debian keeps games outside PATH).

    Raises:
        UserError: none is installed; says which package has it.
    """
    path = os.environ.get("PATH", os.defpath) + ":/usr/games:/usr/local/games"
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise UserError(
        f"The program '{names[0]}' is not installed.",
        expected=f"one of {', '.join(names)} on PATH or in /usr/games",
        todo=f"{APT} {package}",
    )


def game_version(program: str) -> tuple[int, int]:
    """(major, minor) of a Luanti program, from its `--version`."""
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    except subprocess.TimeoutExpired:
        text = "nothing within 60 s"
    match = re.search(r"(?:Minetest|Luanti)\s+(\d+)\.(\d+)", text)
    if not match:
        raise UserError("This program does not print its version as Luanti does.", where=program, got=text[:80])
    return int(match[1]), int(match[2])


def _cache_folder() -> Path:
    folders = [CHECKOUT / "build"] if CHECKOUT else []
    folders.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steve1")
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise UserError("No folder to keep the compiled shim in is writable.", expected=" or ".join(map(str, folders)))


def build_shim(source: Path = SOURCE, folder: Path | None = None) -> Path:
    """Compile the shim unless this source was compiled before; returns the library's path.

    Raises:
        UserError: no compiler, no X11 headers, or the compiler refused.
    """
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    library = (folder or _cache_folder()) / f"luanti_shim_{digest}.so"
    if library.is_file():
        return library
    compiler = find_program(os.environ.get("CC", "gcc"), "gcc", "cc", "clang", package="gcc libc6-dev libx11-dev")
    with atomic_path(library) as part:
        command = [compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(part), "-ldl", "-lX11", "-lpthread"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            part.touch()
            missing = "X11/Xlib.h" in done.stderr or "lX11" in done.stderr
            raise UserError(
                "The lock-step shim did not compile.",
                where=source,
                got=done.stderr.strip()[:600],
                todo=f"{APT} libx11-dev" if missing else f"{APT} gcc libc6-dev libx11-dev",
            )
    return library
