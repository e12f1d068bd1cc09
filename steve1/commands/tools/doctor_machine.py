"""The doctor's checks of the machine: Python, PyTorch and GPU, disk, memory, write access, ports, display, left-over Javas.

In: a Machine (where to look, so that tests can show another one). Out: findings, each with what is wrong and the command that
mends it. Standard library only: this has to run where nothing is installed yet.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

STATES = ("ok", "info", "warn", "fail")
PORTS = {
    4001: "MCio's actions", 8001: "MCio's observations", 9000: "MineRL's and MineStudio's first game", 6006: "TensorBoard",
}  # fmt: skip
# Words in the command line of a Java that runs Minecraft for one of the backends.
GAME_WORDS = ("minecraft", "malmo", "mcprec", "fabric", "mcio", "launchclient")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report. state: ok, info (nothing to do), warn (something will not work), fail (the main job will not)."""

    area: str
    state: str
    text: str
    todo: str = ""


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where the checks look. `python`: the interpreter that the project's commands run with."""

    root: Path
    environment: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(os.environ))
    python: str = ""
    processes: Path = Path("/proc")
    shared_memory: Path = Path("/dev/shm")
    system: str = dataclasses.field(default_factory=platform.system)

    def which(self, *names: str) -> str:
        """Full path of the first program that exists (Debian keeps games outside PATH); "" if none does."""
        path = self.environment.get("PATH", "") + ":/usr/games:/usr/local/games" * (
            self.environment.get("STEVE1_ONLY_PATH", "") == ""
        )
        return next((found for name in names if (found := shutil.which(name, path=path))), "")

    def run(self, command: Sequence[str], timeout_s: float = 60.0) -> tuple[int, str]:
        """(exit code, stdout and stderr); -1 where it could not run or did not end."""
        try:
            done = subprocess.run(
                list(command), capture_output=True, text=True, timeout=timeout_s, check=False, env=dict(self.environment),
                cwd=self.root,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as fault:
            return -1, str(fault)
        return done.returncode, done.stdout + done.stderr

    def project_python(self) -> str:
        """The interpreter in .venv where there is one, else the one that runs this."""
        own = self.root / ".venv" / "bin" / "python"
        return self.python or (str(own) if own.exists() else sys.executable)


_ASK_PYTHON = """
import importlib.metadata as m, json, sys
names = json.loads(sys.argv[1])
def version(name):
    try:
        return m.version(name)
    except m.PackageNotFoundError:
        return ""
print(json.dumps({"python": list(sys.version_info[:3]), "packages": {n: version(n) for n in names}}))
"""
_ASK_TORCH = """
import json, torch
facts = {"version": torch.__version__, "built_for": torch.version.cuda or "", "cuda": torch.cuda.is_available(), "devices": []}
for i in range(torch.cuda.device_count() if facts["cuda"] else 0):
    p = torch.cuda.get_device_properties(i)
    works = bool((torch.ones(8, device=i) * 2).sum().item() == 16)
    facts["devices"].append([p.name, p.total_memory, works])
facts["mps"] = bool(getattr(torch.backends, "mps", None) and torch.backends.mps.is_available())
print(json.dumps(facts))
"""


def _pins(requirements: Path) -> dict[str, str]:
    """{package: version} of a requirements file."""
    if not requirements.exists():
        return {}
    found = re.findall(r"^([A-Za-z0-9_.\-]+)==(\S+)", requirements.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(found)


def _answer(text: str) -> dict[str, object]:
    """The last line that is a JSON object, among whatever else was printed."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    return {}


def python_and_packages(machine: Machine) -> list[Finding]:
    """The project's Python and the packages of requirements.txt, at their pinned versions."""
    python, setup = machine.project_python(), "bash tools/setup.sh"
    pins = _pins(machine.root / "requirements.txt")
    code, text = machine.run([python, "-c", _ASK_PYTHON, json.dumps(list(pins))])
    facts = _answer(text)
    if code != 0 or not facts:
        return [Finding("Python", "fail", f"{python} does not run: {text.strip()[-200:]}", f"rm -rf .venv && {setup}")]
    version: tuple[int, ...] = tuple(facts["python"])  # type: ignore[arg-type]
    shown = ".".join(map(str, version))
    findings = []
    if version < (3, 10):
        findings.append(
            Finding(
                "Python",
                "fail",
                f"{shown} ({python}) is too old; 3.10 or newer is needed",
                f"PYTHON=/path/to/python3.11 {setup}",
            )
        )
    elif not (machine.root / ".venv" / "bin" / "python").exists():
        findings.append(
            Finding(
                "Python", "warn", f"{shown} ({python}), but the project's own environment .venv is not there", setup
            )
        )
    else:
        findings.append(Finding("Python", "ok", f"{shown} ({python})"))
    have: dict[str, str] = facts["packages"]  # type: ignore[assignment]
    missing = [name for name, version_ in have.items() if not version_]
    other = [
        f"{name} {have[name]} (pinned {pins[name]})"
        for name in have
        if have[name] and have[name].split("+")[0] != pins[name]
    ]
    if missing:
        findings.append(Finding("Python packages", "fail", f"{len(missing)} missing: {', '.join(missing)}", setup))
    if other:
        findings.append(Finding("Python packages", "warn", f"other versions than tested: {', '.join(other)}", setup))
    if not missing and not other:
        findings.append(Finding("Python packages", "ok", f"all {len(pins)} of requirements.txt at their versions"))
    return findings


def torch_and_gpu(machine: Machine) -> list[Finding]:
    """Whether PyTorch loads, and whether it sees and can use the GPUs that the driver sees."""
    code, text = machine.run([machine.project_python(), "-c", _ASK_TORCH], timeout_s=180)
    facts = _answer(text)
    driver = _driver(machine)
    if code != 0 or not facts:
        if "No module named 'torch'" in text:  # one of the missing packages above: not a second fault
            return [Finding("PyTorch", "info", "not looked at: it is not installed", "bash tools/setup.sh")]
        last = (text.strip().splitlines() or ["no output"])[-1]
        return [Finding("PyTorch", "fail", f"does not load: {last[:200]}", "bash tools/setup.sh")]
    findings = [
        Finding(
            "PyTorch",
            "ok",
            f"{facts['version']}" + (f", built for CUDA {facts['built_for']}" if facts["built_for"] else ", CPU build"),
        )
    ]
    devices: list[list[object]] = facts["devices"]  # type: ignore[assignment]
    for name, memory, works in devices:
        gigabytes = float(memory) / 2**30  # type: ignore[arg-type]
        state = "ok" if works and gigabytes >= 7.5 else "warn" if works else "fail"
        note = "" if gigabytes >= 7.5 else "; full-size training wants 8 GB or more (BATCH_SIZE=1 T=64)"
        findings.append(
            Finding(
                "GPU",
                state,
                f"{name}, {gigabytes:.0f} GB{note}" if works else f"{name} computes wrong results",
                "" if works else "nvidia-smi -q | less",
            )
        )
    if not devices and driver:
        why = (
            "PyTorch is a CPU build"
            if not facts["built_for"]
            else "PyTorch's CUDA and the driver do not fit, or the device is hidden"
        )
        hidden = machine.environment.get("CUDA_VISIBLE_DEVICES")
        todo = (
            "unset CUDA_VISIBLE_DEVICES"
            if hidden in ("", "-1")
            else ".venv/bin/python -m pip install --force-reinstall torch==" + str(facts["version"]).split("+")[0]
        )
        findings.append(Finding("GPU", "warn", f"the driver sees {driver}, PyTorch does not: {why}", todo))
    elif not devices:
        kind = (
            "Apple's GPU (MPS)"
            if facts["mps"]
            else "none; the mini family and the quickstart need none, full-size training does"
        )
        findings.append(Finding("GPU", "ok" if facts["mps"] else "info", kind))
    return findings


def _driver(machine: Machine) -> str:
    tool = machine.which("nvidia-smi")
    if not tool:
        return ""
    code, text = machine.run([tool, "--query-gpu=name", "--format=csv,noheader"])
    return ", ".join(text.split("\n")).strip(", ") if code == 0 else ""


def disk_and_memory(machine: Machine) -> list[Finding]:
    """Free disk under the project, the machine's memory, and the shared memory that frames travel through."""
    free = shutil.disk_usage(machine.root).free / 1e9
    state = "ok" if free >= 10 else "warn" if free >= 2 else "fail"
    todo = "" if state == "ok" else f"du -sh {machine.root}/data/* | sort -h   # and remove what is not needed"
    findings = [Finding("Disk", state, f"{free:.1f} GB free under {machine.root}", todo)]
    total = _memory_gigabytes(machine)
    if total:
        findings.append(
            Finding(
                "Memory",
                "ok" if total >= 7 else "warn",
                f"{total:.0f} GB"
                + ("" if total >= 7 else "; a Minecraft's Java takes up to 4 GB beside the policy: --workers 1"),
            )
        )
    if machine.shared_memory.exists():
        shared = shutil.disk_usage(machine.shared_memory)
        if shared.free < 64e6:
            findings.append(
                Finding(
                    "Shared memory",
                    "warn",
                    f"{shared.free / 1e6:.0f} MB free in {machine.shared_memory}; games pass pictures through it",
                    "docker run --shm-size=1g …",
                )
            )
        else:
            findings.append(Finding("Shared memory", "ok", f"{shared.free / 1e9:.1f} GB free"))
    return findings


def _memory_gigabytes(machine: Machine) -> float:
    try:
        match = re.search(r"MemTotal:\s+(\d+) kB", (machine.processes / "meminfo").read_text())
    except OSError:
        return 0.0
    return int(match[1]) / 1e6 if match else 0.0


def write_access(machine: Machine) -> list[Finding]:
    """Whether the folders that runs write to can be written."""
    findings = []
    for folder, use in (
        (machine.root / "data", "datasets, weights, reports"),
        (machine.root / "build", "the compiled link to Luanti"),
        (Path(tempfile.gettempdir()), "games' own files"),
    ):
        existing = folder
        while not existing.exists():
            existing = existing.parent
        try:
            with tempfile.NamedTemporaryFile(dir=existing, prefix=".doctor"):
                pass
        except OSError as fault:
            who = machine.environment.get("USER", "$USER")
            findings.append(
                Finding(
                    "Write access", "fail", f"{folder} ({use}): {fault.strerror}", f"sudo chown -R {who} {existing}"
                )
            )
    return findings or [Finding("Write access", "ok", "data, build and the temporary folder")]


def ports(machine: Machine) -> list[Finding]:
    """Whether the ports that programs take by default are free; games that we start choose free ones by themselves."""
    taken = []
    for port, use in PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(
                    Finding(
                        "Ports",
                        "info",
                        f"{port} ({use}) is in use; games started by this project take another by themselves",
                        f"lsof -i :{port}",
                    )
                )
    return taken or [Finding("Ports", "ok", "free: " + ", ".join(map(str, PORTS)))]


def display(machine: Machine) -> list[Finding]:
    """Something to draw on: a display, or Xvfb that makes one."""
    if machine.system == "Darwin":
        return [Finding("Display", "info", "macOS: games open a window; training needs none")]
    shown, xvfb = machine.environment.get("DISPLAY", ""), machine.which("Xvfb")
    findings = []
    if xvfb:
        findings.append(
            Finding(
                "Display",
                "ok",
                f"Xvfb ({xvfb}); games are started on private displays" + (f"; yours is {shown}" if shown else ""),
            )
        )
    else:
        state, text = (
            ("warn", f"{shown} is there, but no Xvfb: games open windows on it")
            if shown
            else ("fail", "there is neither a display nor Xvfb: no game can draw")
        )
        findings.append(Finding("Display", state, text, "sudo apt-get install xvfb libgl1-mesa-dri"))
    if "microsoft" in platform.release().lower() and machine.processes == Path("/proc"):
        findings.append(
            Finding(
                "Display", "info", "this is WSL: Xvfb draws with the processor; see docs/guides/INSTALL_MINECRAFT.md"
            )
        )
    return findings


def left_over_javas(machine: Machine) -> list[Finding]:
    """Javas that run a Minecraft. They are listed, never ended: one of them may be at work."""
    findings = []
    for folder in sorted(machine.processes.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            status = (folder / "status").read_text()
        except OSError:
            continue
        state = re.search(r"^State:\s+(\S)", status, flags=re.MULTILINE)
        parent = re.search(r"^PPid:\s+(\d+)", status, flags=re.MULTILINE)
        name = re.search(r"^Name:\s+(\S+)", status, flags=re.MULTILINE)
        zombie = bool(state and state[1] == "Z")
        is_java = Path(words[0]).name == "java" or bool(zombie and name and name[1] == "java")
        if not is_java or not (zombie or any(word in " ".join(words).lower() for word in GAME_WORDS)):
            continue
        used = re.search(r"^VmRSS:\s+(\d+) kB", status, flags=re.MULTILINE)
        orphan = bool(parent and parent[1] == "1")
        what = (
            "is a zombie (its parent must end)"
            if zombie
            else f"holds {int(used[1]) / 1e6 if used else 0:.1f} GB"
            + ("; whoever started it is gone" if orphan else "")
        )
        todo = (
            f"kill {parent[1]}   # its parent"
            if zombie and parent
            else f"kill {folder.name}   # if no run of yours uses it"
        )
        findings.append(
            Finding(
                "Left-over Java",
                "warn" if orphan or zombie else "info",
                f"process {folder.name} runs a Minecraft: {what}",
                todo,
            )
        )
    return findings or [Finding("Left-over Java", "ok", "none")]
