"""The doctor's checks of what is played with: Java, the Minecraft backends, Luanti, the weights and their checksums.

In: a Machine. Out: findings. Standard library only; what needs our packages is left out, and says so, where they are missing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

from steve1.commands.tools.doctor_machine import Finding, Machine
from steve1.core.errors import UserError

_PUBLISHED = ("2x.model", "attn.pth", "steve1_prior.pt", "steve1.weights")


def load_backends() -> Any:
    """The table of backends, also where the packages that its room needs are not installed."""
    try:
        from steve1.envs.minecraft import backends
    except ImportError:
        path = Path(__file__).resolve().parents[2] / "envs" / "minecraft" / "backends.py"
        spec = importlib.util.spec_from_file_location("steve1_backends", path)
        assert spec is not None
        assert spec.loader is not None
        backends = importlib.util.module_from_spec(spec)
        sys.modules["steve1_backends"] = backends  # dataclasses look their module up
        spec.loader.exec_module(backends)
    return backends


def java(machine: Machine, wanted: tuple[str, ...] = ()) -> list[Finding]:
    """Which Javas there are, whether JAVA_HOME is one of them, and whether they fit the backends that are installed or wanted."""
    table = load_backends()
    found = table.javas(machine.environment)
    findings = []
    home = machine.environment.get("JAVA_HOME", "")
    for each in found:
        if each.found == "JAVA_HOME" and not each.major:
            findings.append(
                Finding(
                    "Java",
                    "warn",
                    f"JAVA_HOME={home} has no Java that runs",
                    "unset JAVA_HOME   # or set it to the folder that has bin/java",
                )
            )
    working = [each for each in found if each.major]
    if working:
        findings.append(
            Finding("Java", "ok", "; ".join(f"{each.major} at {each.path} ({each.found})" for each in working))
        )
    needed = [
        name for name, each in table.BACKENDS.items() if each.java and (name in wanted or table.installed_version(name))
    ]
    for name in needed:
        try:
            chosen = table.java_for(name, machine.environment)
        except UserError as fault:
            findings.append(
                Finding(
                    "Java",
                    "fail" if name in wanted else "warn",
                    fault.what + (f" Found: {fault.got}" if fault.got else ""),
                    fault.todo,
                )
            )
        else:
            findings.append(Finding("Java", "ok", f"{name} takes {chosen.path}"))
    if not findings:
        findings.append(
            Finding(
                "Java",
                "info",
                "none; Luanti and MCio need none of yours, MineRL, MineDojo and MineStudio need Java 8",
                table.java_package(8),
            )
        )
    return findings


def backends(machine: Machine, wanted: tuple[str, ...] = ()) -> list[Finding]:
    """The Minecraft backends: installed, at which version, on which Python."""
    table = load_backends()
    findings = []
    for name, each in table.BACKENDS.items():
        python, version = table.interpreter_path(name), table.installed_version(name)
        if not python.exists() and not version:
            state, todo = (
                ("fail", table.install_command(name)) if name in wanted else ("info", table.install_command(name))
            )
            first, last = (".".join(map(str, version)) for version in each.pythons)
            lacking = (
                ""
                if fitting_python(machine, each.pythons)
                else f"; no Python from {first} to {last} to build it on was found"
            )
            todo = f"{_get_python(machine, each.pythons)} {todo}" if lacking else todo
            findings.append(Finding("Backends", state, f"{name}: not installed{lacking}. {each.title}", todo))
            continue
        problem = (
            table.version_problem(name, version) if version else f"{each.package} is not in {python.parent.parent}"
        )
        if problem:
            findings.append(
                Finding(
                    "Backends",
                    "fail" if name in wanted else "warn",
                    f"{name}: {version} {problem}".replace("  ", " "),
                    table.install_command(name),
                )
            )
            continue
        code, text = machine.run([str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        answer = text.strip().splitlines()[-1] if text.strip() else ""
        if code != 0:
            findings.append(
                Finding(
                    "Backends",
                    "fail" if name in wanted else "warn",
                    f"{name}: its Python does not run: {answer[:120]}",
                    f"rm -rf {python.parent.parent} && {table.install_command(name)}",
                )
            )
        else:
            findings.append(Finding("Backends", "ok", f"{name}: {each.package} {version} on Python {answer}"))
            if name == "mcio":
                findings += _minecraft_of_mcio(machine, python, name in wanted)
    return findings


def _minecraft_of_mcio(machine: Machine, python: Path, wanted: bool) -> list[Finding]:
    """Whether MCio has installed Minecraft itself; its own list of instances tells (read without YAML, for a bare Python)."""
    folder = Path(
        machine.environment.get("STEVE1_MCIO_DIR") or Path(machine.environment.get("HOME", "~")) / ".mcio"
    ).expanduser()
    try:
        listed = re.search(
            r"^instances:.*\n(?:[ #].*\n|\n)*?  steve1:",
            (folder / "mcio.yaml").read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
    except OSError:
        listed = None
    if listed:
        return [Finding("Backends", "ok", f"mcio: Minecraft is installed in {folder}")]
    elsewhere = f" --mcio-dir {folder}" if machine.environment.get("STEVE1_MCIO_DIR") else ""
    todo = f"{python.parent / 'mcio'} inst install steve1{elsewhere}"
    return [
        Finding("Backends", "fail" if wanted else "info", f"mcio: Minecraft itself (1 GB) is not in {folder} yet", todo)
    ]


def fitting_python(machine: Machine, pythons: tuple[tuple[int, int], tuple[int, int]]) -> str:
    """An interpreter within the versions, on PATH or among pyenv's; "" without one. A pyenv shim may exist and not run."""
    (major, first), (_, last) = pythons
    home = Path(machine.environment.get("HOME", "/nowhere"))
    for minor in range(first, last + 1):
        named = machine.which(f"python{major}.{minor}")
        own = [str(path) for path in sorted(home.glob(f".pyenv/versions/{major}.{minor}.*/bin/python"))]
        for program in filter(None, [named, *own]):
            code, text = machine.run([program, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
            if code == 0 and text.strip().endswith(f"{major}.{minor}"):
                return program
    return ""


def _get_python(machine: Machine, pythons: tuple[tuple[int, int], tuple[int, int]]) -> str:
    """The beginning of a command that fetches a Python within the versions, with what the machine has for that."""
    version = ".".join(map(str, min(pythons[1], max(pythons[0], (3, 10)))))
    if machine.which("pyenv"):
        return f"pyenv install {version} &&"
    if machine.which("uv"):
        return f"uv python install {version} && PATH=~/.local/bin:$PATH"
    return f"curl -LsSf https://astral.sh/uv/install.sh | sh && ~/.local/bin/uv python install {version} && PATH=~/.local/bin:$PATH"


def luanti(machine: Machine) -> list[Finding]:
    """The embedded game and what its link needs."""
    if machine.system == "Darwin":
        return [Finding("Luanti", "info", "not on macOS; training, embedding and data work without it")]
    install = "bash tools/setup.sh"
    game = machine.which("luanti", "minetest")
    if not game:
        return [
            Finding(
                "Luanti",
                "warn",
                "the embedded game is not installed: no quickstart, no evaluation of the mini family",
                install,
            )
        ]
    _, text = machine.run([game, "--version"])
    match = re.search(r"(?:Minetest|Luanti)\s+(\d+)\.(\d+)(\S*)", text)
    if not match:
        return [Finding("Luanti", "warn", f"{game} does not tell a version: {text[:80]!r}", install)]
    fast = (int(match[1]), int(match[2])) in ((5, 6), (5, 7), (5, 8))
    findings = [
        Finding(
            "Luanti",
            "ok" if fast else "info",
            f"{match[0]} ({game})"
            + ("" if fast else ": plays through the portable link, slower than the lock-step one of 5.6 to 5.8"),
        )
    ]
    if not machine.which("gcc", "cc"):
        findings.append(
            Finding(
                "Luanti",
                "warn",
                "no C compiler for its lock-step link",
                "sudo apt-get install gcc libc6-dev libx11-dev",
            )
        )
    return findings


def weights(machine: Machine, checksums: bool = True) -> list[Finding]:
    """The published files that are here, and every family file's weights, against the checksums that are known."""
    return _published(machine, checksums) + _families(machine, checksums)


def _published(machine: Machine, checksums: bool) -> list[Finding]:
    try:
        from steve1.commands.tools.download_weights import FILES
    except ImportError:
        return [
            Finding(
                "Published weights", "info", "not looked at: the Python packages are missing", "bash tools/setup.sh"
            )
        ]
    findings, missing = [], []
    for name, file in FILES.items():
        path = machine.root / file.path
        if not path.exists():
            if not file.optional:
                missing.append(name)
            continue
        size = path.stat().st_size / 1e6
        digest = _digest(path, "md5") if checksums and file.md5 else file.md5
        again = f"rm {file.path} && bash 0_download_weights.sh {name}"
        if digest != file.md5:
            findings.append(
                Finding(
                    "Published weights", "fail", f"{file.path} is damaged (md5 {digest}, published {file.md5})", again
                )
            )
        elif size < 0.05 * file.megabytes:
            findings.append(
                Finding(
                    "Published weights",
                    "fail",
                    f"{file.path} has only {size:.2f} MB of about {file.megabytes:,.0f}: a broken download or an error page",
                    again,
                )
            )
        else:
            findings.append(
                Finding(
                    "Published weights",
                    "ok",
                    f"{file.path}, {size:,.0f} MB" + (", checksum right" if file.md5 and checksums else ""),
                )
            )
    if missing:
        findings.append(
            Finding(
                "Published weights",
                "info",
                f"not here: {', '.join(missing)} (Minecraft's; the mini family needs none)",
                "bash 0_download_weights.sh",
            )
        )
    return findings


def _families(machine: Machine, checksums: bool) -> list[Finding]:
    findings = []
    for path in sorted([*machine.root.glob("data/mini/*.json"), *machine.root.glob("data/weights/*/*.json")]):
        owner = path.with_suffix("")
        if owner.suffix not in (".weights", ".safetensors"):
            continue
        shown = owner.relative_to(machine.root)
        try:
            metadata = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as fault:
            findings.append(
                Finding(
                    "Weights",
                    "fail",
                    f"{path.relative_to(machine.root)} cannot be read: {fault}",
                    f"python -m steve1 convert_weights --help   # or restore {path.name}",
                )
            )
            continue
        if not isinstance(metadata, dict):
            continue
        parts = [shown.as_posix(), *(metadata.get(key, "") for key in ("model", "mineclip", "prior"))]
        gone = [part for part in parts if part and not (machine.root / part).exists() and not Path(part).is_file()]
        known = (metadata.get("hashes") or {}).get("weights", "")
        if gone:
            state = "fail" if shown.parts[:2] == ("data", "mini") else "warn"
            published = any(part.startswith("data/weights/") and Path(part).name in _PUBLISHED for part in gone)
            todo = (
                "git checkout data/mini"
                if state == "fail"
                else "bash 0_download_weights.sh"
                if published
                else f"put {Path(gone[0]).name} back, or say in {path.name} where it is"
            )
            findings.append(
                Finding("Weights", state, f"{shown}: its family names {', '.join(gone)}, which is not there", todo)
            )
        elif checksums and known and _digest(owner, "sha256") != known:
            findings.append(
                Finding(
                    "Weights",
                    "warn",
                    f"{shown} is not the file that {path.name} describes (checksum differs)",
                    "train or copy it again together with its .json",
                )
            )
        else:
            findings.append(Finding("Weights", "ok", f"{shown}" + (", checksum right" if known and checksums else "")))
    return findings


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
