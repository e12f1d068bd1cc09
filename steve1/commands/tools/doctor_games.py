"""The doctor's checks of what is played with: Java, the Minecraft backends, Luanti, the weights and their checksums.

Standard library only; what needs the project's packages is skipped, with a finding, where they are missing.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steve1.commands.tools.doctor_machine import SETUP, Finding, Machine
from steve1.core.errors import UserError
from steve1.core.files import file_digest
from steve1.core.messages import translated

_PUBLISHED = ("2x.model", "attn.pth", "steve1_prior.pt", "steve1.weights")


def load_backends() -> Any:
    """The table of backends, also where the packages that steve1.envs needs are not installed."""
    try:
        from steve1.envs.minecraft import packages
    except ImportError:
        path = Path(__file__).resolve().parents[2] / "envs" / "minecraft" / "packages.py"
        spec = importlib.util.spec_from_file_location("steve1_packages", path)
        assert spec is not None
        assert spec.loader is not None
        packages = importlib.util.module_from_spec(spec)
        sys.modules["steve1_packages"] = packages  # dataclasses look their module up
        spec.loader.exec_module(packages)
    return packages


def java(machine: Machine, wanted: tuple[str, ...] = ()) -> Iterator[Finding]:
    """Which Javas there are, whether JAVA_HOME is one of them, and whether they fit the backends that are installed or wanted."""
    table = load_backends()
    found = table.javas(machine.environment)
    if any(each.found == "JAVA_HOME" and not each.major for each in found):
        text = f"JAVA_HOME={machine.environment.get('JAVA_HOME', '')} has no Java that runs"
        yield Finding("Java", "warn", text, "unset JAVA_HOME   # or set it to the folder that has bin/java")
    names = {each.path: f" ({each.found})" if each.found.isupper() else "" for each in found}
    working = "; ".join(f"{each.major}: {each.path}{names[each.path]}" for each in found if each.major)
    if working:
        yield Finding("Java", "ok", working)
    needed = [
        name for name, each in table.PACKAGES.items() if each.java and (name in wanted or table.installed_version(name))
    ]
    for name in needed:
        try:
            yield Finding("Java", "ok", f"{name} runs on the Java {table.java_for(name, machine.environment).path}")
        except UserError as fault:
            text = f"{fault.what} Found: {fault.got}" if fault.got else fault.what
            yield Finding("Java", "fail" if name in wanted else "warn", text, fault.todo)
    if not found and not needed:
        text = "none; Luanti and MCio need none of yours, MineRL, MineDojo and MineStudio need Java 8"
        yield Finding("Java", "info", text, table.java_package(8))


def backends(machine: Machine, wanted: tuple[str, ...] = ()) -> Iterator[Finding]:
    """The Minecraft backends: installed, at which version, on which Python."""
    table = load_backends()
    for name, each in table.PACKAGES.items():
        python, version = table.interpreter_path(name), table.installed_version(name)
        install = table.install_command(name)
        fault = "fail" if name in wanted else "warn"
        if not python.exists() and not version:
            lacking = ""
            if not fitting_python(machine, each.pythons):
                first, last = (".".join(map(str, version)) for version in each.pythons)
                lacking = translated(f"; no Python from {first} to {last} to build it on was found")
                install = f"{_get_python(machine, each.pythons)} {install}"
            state = "fail" if name in wanted else "info"
            yield Finding("Backends", state, f"{name}: not installed{lacking}. {each.title}", install)
            continue
        problem = f"the package {each.pip_name} is not in {python.parent.parent}"
        if version:
            problem = table.version_problem(name, version)
        if problem:
            yield Finding("Backends", fault, f"{name}: {version} {translated(problem)}".replace("  ", " "), install)
            continue
        code, answer = machine.version_of(str(python))
        if code != 0:
            todo = f"rm -rf {python.parent.parent} && {install}"
            yield Finding("Backends", fault, f"{name}: its Python does not run: {answer[:120]}", todo)
            continue
        yield Finding("Backends", "ok", f"{name}: {each.pip_name} {version} on Python {answer}")
        if name == "mcio":
            yield _minecraft_of_mcio(machine, python, name in wanted)


def _minecraft_of_mcio(machine: Machine, python: Path, wanted: bool) -> Finding:
    """Whether MCio has installed Minecraft itself, by its own list of instances (read without YAML, for a bare Python)."""
    given = machine.environment.get("STEVE1_MCIO_DIR")
    folder = Path(given or Path(machine.environment.get("HOME", "~")) / ".mcio").expanduser()
    try:
        text = (folder / "mcio.yaml").read_text(encoding="utf-8")
    except OSError:
        text = ""
    if re.search(r"^instances:.*\n(?:[ #].*\n|\n)*?  steve1:", text, flags=re.MULTILINE):
        return Finding("Backends", "ok", f"mcio: Minecraft is installed in {folder}")
    todo = f"{python.parent / 'mcio'} inst install steve1" + (f" --mcio-dir {folder}" if given else "")
    text = f"mcio: Minecraft itself (1 GB) is not in {folder} yet"
    return Finding("Backends", "fail" if wanted else "info", text, todo)


def fitting_python(machine: Machine, pythons: tuple[tuple[int, int], tuple[int, int]]) -> str:
    """An interpreter within the versions, on PATH or among pyenv's; "" without one. A pyenv shim may exist and not run."""
    (major, first), (_, last) = pythons
    home = Path(machine.environment.get("HOME", "/nowhere"))
    for version in (f"{major}.{minor}" for minor in range(first, last + 1)):
        own = [str(path) for path in sorted(home.glob(f".pyenv/versions/{version}.*/bin/python"))]
        for program in filter(None, [machine.which(f"python{version}"), *own]):
            if machine.version_of(program) == (0, version):
                return program
    return ""


def _get_python(machine: Machine, pythons: tuple[tuple[int, int], tuple[int, int]]) -> str:
    """The beginning of a command that fetches a Python within the versions, with what the machine has for that."""
    version = ".".join(map(str, min(pythons[1], max(pythons[0], (3, 10)))))
    if machine.which("pyenv"):
        return f"pyenv install {version} &&"
    fetch = f"uv python install {version} && PATH=~/.local/bin:$PATH"
    return fetch if machine.which("uv") else f"curl -LsSf https://astral.sh/uv/install.sh | sh && ~/.local/bin/{fetch}"


def luanti(machine: Machine) -> Iterator[Finding]:
    """The embedded game and what its link needs."""
    if machine.system == "Darwin":
        yield Finding("Luanti", "info", "not on macOS; training, embedding and data work without it")
        return
    game = machine.which("luanti", "minetest")
    if not game:
        text = "the embedded game is not installed: no quickstart, no evaluation of the mini weights"
        yield Finding("Luanti", "warn", text, SETUP)
        return
    _, text = machine.run([game, "--version"])
    match = re.search(r"(?:Minetest|Luanti)\s+(\d+)\.(\d+)(\S*)", text)
    if not match:
        yield Finding("Luanti", "warn", f"{game} does not print a version: {text[:80]!r}", SETUP)
        return
    if (int(match[1]), int(match[2])) in ((5, 6), (5, 7), (5, 8)):
        yield Finding("Luanti", "ok", f"{match[0]} ({game})")
    else:
        note = "plays through the portable link, slower than the lock-step one of 5.6 to 5.8"
        yield Finding("Luanti", "info", f"{match[0]} ({game}): {note}")
    if not machine.which("gcc", "cc"):
        todo = "sudo apt-get install gcc libc6-dev libx11-dev"
        yield Finding("Luanti", "warn", "no C compiler for its lock-step link", todo)


def weights(machine: Machine, checksums: bool = True) -> Iterator[Finding]:
    """The published files and all weights with a `<weights>.json`, compared with the checksums that are known."""
    yield from _published(machine, checksums)
    folders = ("data/mini/*.json", "data/weights/*/*.json")
    for path in sorted(path for folder in folders for path in machine.root.glob(folder)):
        if path.with_suffix("").suffix in (".weights", ".safetensors"):
            yield _with_metadata(machine, path, checksums)


def _published(machine: Machine, checksums: bool) -> Iterator[Finding]:
    area = "Published weights"
    try:
        from steve1.commands.tools.download_weights import FILES
    except ImportError:
        yield Finding(area, "info", "not checked: the Python packages are missing", SETUP)
        return
    missing = []
    for name, file in FILES.items():
        path = machine.root / file.path
        if not path.exists():
            missing += [] if file.optional else [name]
            continue
        size, again = path.stat().st_size / 1e6, f"rm {file.path} && bash 0_download_weights.sh {name}"
        digest = file_digest(path, "md5") if checksums and file.md5 else file.md5
        if digest != file.md5:
            yield Finding(area, "fail", f"{file.path} is damaged (md5 {digest}, published {file.md5})", again)
        elif size < 0.05 * file.megabytes:
            text = f"{file.path} has only {size:.2f} MB of about {file.megabytes:,.0f}: a broken download, or an error page"
            yield Finding(area, "fail", text, again)
        else:
            checked = file.md5 and checksums
            text = f"{file.path}, {size:,.0f} MB"
            yield Finding(area, "ok", f"{text}, checksum right" if checked else text)
    if missing:
        text = f"not here: {', '.join(missing)} (for Minecraft; the mini weights need none)"
        yield Finding(area, "info", text, "bash 0_download_weights.sh")


def _with_metadata(machine: Machine, path: Path, checksums: bool) -> Finding:
    """Whether the files that `<weights>.json` names are there, and the weights are those it describes."""
    owner = path.with_suffix("")
    shown = owner.relative_to(machine.root)
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        parts = [shown.as_posix(), *(metadata.get(key, "") for key in ("model", "mineclip", "prior"))]
        known = (metadata.get("hashes") or {}).get("weights", "")
    except (OSError, ValueError, AttributeError) as fault:
        todo = f"python -m steve1 convert_weights --help   # or restore {path.name}"
        return Finding("Weights", "fail", f"{path.relative_to(machine.root)} cannot be read: {fault}", todo)
    gone = [
        part
        for part in parts
        if part and not any(each.exists() for each in (machine.root / part, owner.parent / Path(part).name))
    ]
    if gone:
        text = f"{shown}: its .json names {', '.join(gone)}, which is not there"
        if shown.parts[:2] == ("data", "mini"):
            return Finding("Weights", "fail", text, "git checkout data/mini")
        published = any(part.startswith("data/weights/") and Path(part).name in _PUBLISHED for part in gone)
        todo = f"put {Path(gone[0]).name} back, or say in {path.name} where it is"
        return Finding("Weights", "warn", text, "bash 0_download_weights.sh" if published else todo)
    if checksums and known and file_digest(owner) != known:
        text = f"{shown} is not the file that {path.name} describes (checksum differs)"
        return Finding("Weights", "warn", text, "train or copy it again together with its .json")
    return Finding("Weights", "ok", f"{shown}, checksum right" if known and checksums else f"{shown}")
