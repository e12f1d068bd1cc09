"""The doctor's checks of the machine: Python, PyTorch and GPU, disk, memory, write access, ports, display, left-over Javas.

Input: a Machine, which says where to look, so that tests can show another one. Output: findings, each with what is wrong and the
command that fixes it. Standard library only: this runs where nothing is installed yet.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.cuda_builds import BUILDS, ROCM, advice, gpu_of_the_system, version
from steve1.core.messages import translated

SETUP = "bash tools/setup.sh"
PLAN = "python -m steve1 plan --gpu_gb"
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
    filesystem: Path = Path("/")
    system: str = dataclasses.field(default_factory=platform.system)

    def which(self, *names: str) -> str:
        """Full path of the first program that exists (Debian keeps games outside PATH); "" if none does."""
        path = self.environment.get("PATH", "")
        if not self.environment.get("STEVE1_ONLY_PATH"):
            path += ":/usr/games:/usr/local/games"
        return next((found for name in names if (found := shutil.which(name, path=path))), "")

    def run(self, command: Sequence[str], timeout_s: float = 60.0) -> tuple[int, str]:
        """(exit code, stdout and stderr); -1 where it could not run or did not end."""
        try:
            done = subprocess.run(
                list(command),
                capture_output=True,
                text=True,
                timeout=timeout_s,
                env=dict(self.environment),
                cwd=self.root,
            )
        except (OSError, subprocess.TimeoutExpired) as fault:
            return -1, str(fault)
        return done.returncode, done.stdout + done.stderr

    def version_of(self, python: str) -> tuple[int, str]:
        """(exit code, "3.11" or what the interpreter said instead)."""
        code, text = self.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        return code, (text.strip().splitlines() or [""])[-1]

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
facts["rocm"] = torch.version.hip or ""
facts["kernels"] = torch.cuda.get_arch_list() if facts["cuda"] else []
for i in range(torch.cuda.device_count() if facts["cuda"] else 0):
    p = torch.cuda.get_device_properties(i)
    try:
        works = "ok" if (torch.ones(8, device=i) * 2).sum().item() == 16 else "wrong"
    except RuntimeError as fault:
        works = str(fault).splitlines()[0]
    facts["devices"].append([p.name, p.total_memory, works, [p.major, p.minor]])
facts["mps"] = bool(getattr(torch.backends, "mps", None) and torch.backends.mps.is_available())
print(json.dumps(facts))
"""


def _answer(text: str) -> dict[str, Any]:
    """The last line that is a JSON object, among whatever else was printed."""
    for line in reversed(text.splitlines()):
        try:
            found = json.loads(line) if line.startswith("{") else None
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def python_and_packages(machine: Machine) -> Iterator[Finding]:
    """The project's Python and the packages of requirements.txt, at their pinned versions."""
    python, requirements = machine.project_python(), machine.root / "requirements.txt"
    lines = requirements.read_text(encoding="utf-8") if requirements.exists() else ""
    pins = dict(re.findall(r"^([A-Za-z0-9_.\-]+)==(\S+)", lines, flags=re.MULTILINE))
    code, text = machine.run([python, "-c", _ASK_PYTHON, json.dumps(list(pins))])
    facts = _answer(text)
    if code != 0 or not facts:
        yield Finding("Python", "fail", f"{python} does not run: {text.strip()[-200:]}", f"rm -rf .venv && {SETUP}")
        return
    shown = f"{'.'.join(map(str, facts['python']))} ({python})"
    installed_by_pip = not requirements.exists()  # pip looks after versions
    if not installed_by_pip and tuple(facts["python"]) < (3, 11):
        text, todo = f"{shown} is too old; 3.11 or newer is needed", f"PYTHON=/path/to/python3.11 {SETUP}"
        yield Finding("Python", "fail", text, todo)
    elif not installed_by_pip and not (machine.root / ".venv" / "bin" / "python").exists():
        yield Finding("Python", "warn", f"{shown}, but the project's own environment .venv is not there", SETUP)
    else:
        yield Finding("Python", "ok", shown)
    if installed_by_pip:
        return
    have: dict[str, str] = facts["packages"]
    missing = [name for name, version in have.items() if not version]
    other = [f"{n} {v} (pinned {pins[n]})" for n, v in have.items() if v and v.split("+")[0] != pins[n]]
    if missing:
        yield Finding("Python packages", "fail", f"{len(missing)} missing: {', '.join(missing)}", SETUP)
    if other:
        yield Finding("Python packages", "warn", f"other versions than tested: {', '.join(other)}", SETUP)
    if not missing and not other:
        yield Finding("Python packages", "ok", f"all {len(pins)} of requirements.txt at their versions")


def torch_and_gpu(machine: Machine) -> Iterator[Finding]:
    """Whether PyTorch loads, and whether it sees and can use the GPUs that the driver sees."""
    code, text = machine.run([machine.project_python(), "-c", _ASK_TORCH], timeout_s=180)
    facts = _answer(text)
    if code != 0 or not facts:
        if "No module named 'torch'" in text:  # one of the missing packages above: not a second fault
            yield Finding("PyTorch", "info", "not checked: it is not installed", SETUP)
        else:
            last = (text.strip().splitlines() or ["no output"])[-1]
            yield Finding("PyTorch", "fail", f"does not load: {last[:200]}", SETUP)
        return
    text = f"{facts['version']}, CPU build"
    if facts["built_for"]:
        text = f"{facts['version']}, built for CUDA {facts['built_for']}"
    if facts["rocm"]:
        text = f"{facts['version']}, built for ROCm {facts['rocm']}"
    yield Finding("PyTorch", "ok", text)
    yield from _gpus(machine, facts) if facts["devices"] else _no_gpu(machine, facts)


def _gpus(machine: Machine, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """The cards that PyTorch sees: whether they compute, and what they lack."""
    release = facts["version"].split("+")[0]
    for name, memory, works, capability in facts["devices"]:
        shown = f"{name}, {memory / 2**30:.0f} GB"
        if "no kernel image" in works:
            driver = next((each.driver for each in nvidia_cards(machine)), "")
            has = ", ".join(facts["kernels"])
            what = f"{shown}: this build has no kernels for compute capability {capability[0]}.{capability[1]}; it has {has}"
            yield Finding("GPU", "fail", what, advice(driver, (capability[0], capability[1]), release))
        elif works != "ok":
            said = f"{name} computes wrong results" if works == "wrong" else f"{name} does not compute: {works}"
            yield Finding("GPU", "fail", said, "nvidia-smi -q | less")
        elif memory < 7.5 * 2**30:
            yield Finding(
                "GPU", "warn", f"{shown}; full-size training needs 8 GB or more ({PLAN} {memory / 2**30:.0f})"
            )
        elif capability[0] < 8 and not facts["rocm"]:
            note = "no bf16, so training is in float32, with about twice the memory and a fraction of the speed"
            yield Finding("GPU", "info", f"{shown}; {note}", f"{PLAN} {memory / 2**30:.0f} --precision fp32")
        else:
            yield Finding("GPU", "ok", shown)


def _no_gpu(machine: Machine, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """PyTorch sees no card: whether there is one, and what keeps it from PyTorch."""
    cards, release = nvidia_cards(machine), facts["version"].split("+")[0]
    if cards:
        names, card = ", ".join(each.name for each in cards), cards[0]
        built = next((build for build in BUILDS if build.cuda.split(".")[0] == facts["built_for"].split(".")[0]), None)
        why, todo = "the device is hidden, or the driver has to be loaded anew", "nvidia-smi; then restart the machine"
        if not facts["built_for"]:
            why, todo = "PyTorch is a CPU build", advice(card.driver, card.capability, release)
        elif built is not None and version(card.driver)[0] < built.driver:
            why = f"driver {card.driver} is too old for CUDA {facts['built_for']}, which needs {built.driver}"
            todo = advice(card.driver, card.capability, release)
        if machine.environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
            why, todo = "CUDA_VISIBLE_DEVICES hides it", "unset CUDA_VISIBLE_DEVICES"
        yield Finding("GPU", "warn", f"the driver sees {names}, PyTorch does not: {why}", todo)
    elif facts["mps"]:
        yield Finding("GPU", "ok", "Apple's GPU (MPS); training on it is slow, and not tested")
    elif gpu_of_the_system(machine.filesystem) == "AMD":
        what = "an AMD GPU is there, and this build of PyTorch is not for ROCm; training on ROCm is not tested"
        yield Finding("GPU", "warn", what, ROCM)
    else:
        yield Finding("GPU", "info", "none; the mini weights and the quickstart need none, full-size training does")


@dataclasses.dataclass(frozen=True)
class Card:
    """A card as NVIDIA's driver names it."""

    name: str
    driver: str
    capability: tuple[int, int]


def nvidia_cards(machine: Machine) -> list[Card]:
    """The cards that NVIDIA's driver sees; none where its tool is not there or does not answer."""
    tool = machine.which("nvidia-smi")
    query = "--query-gpu=name,driver_version,compute_cap"
    code, text = machine.run([tool, query, "--format=csv,noheader"]) if tool else (1, "")
    found = []
    for line in text.strip().splitlines() if code == 0 else []:
        name, driver, capability = [*(word.strip() for word in line.split(",")), "", ""][:3]
        found.append(Card(name, driver, version(capability)))
    return found


def disk_and_memory(machine: Machine) -> Iterator[Finding]:
    """Free disk under the project, the machine's memory, and the shared memory that frames travel through."""
    free = shutil.disk_usage(machine.root).free / 1e9
    state = "ok" if free >= 10 else "warn" if free >= 2 else "fail"
    todo = "" if state == "ok" else f"du -sh {machine.root}/data/* | sort -h   # and remove what is not needed"
    yield Finding("Disk", state, f"{free:.1f} GB free under {machine.root}", todo)
    try:
        match = re.search(r"MemTotal:\s+(\d+) kB", (machine.processes / "meminfo").read_text())
    except OSError:
        match = None
    if match and (total := int(match[1]) / 1e6) >= 7:
        yield Finding("Memory", "ok", f"{total:.0f} GB")
    elif match:
        note = "a Minecraft's Java takes up to 4 GB beside the policy: --workers 1"
        yield Finding("Memory", "warn", f"{total:.0f} GB; {note}")
    if machine.shared_memory.exists():
        shared = shutil.disk_usage(machine.shared_memory).free
        if shared < 64e6:
            text = f"{shared / 1e6:.0f} MB free in {machine.shared_memory}; games pass frames through it"
            yield Finding("Shared memory", "warn", text, "docker run --shm-size=1g …")
        else:
            yield Finding("Shared memory", "ok", f"{shared / 1e9:.1f} GB free")


def write_access(machine: Machine) -> Iterator[Finding]:
    """Whether the folders that runs write to can be written."""
    uses = {
        machine.root / "data": "datasets, weights, reports",
        machine.root / "build": "the compiled link to Luanti",
        Path(tempfile.gettempdir()): "games' own files",
    }
    faults = 0
    for folder, use in uses.items():
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        try:
            with tempfile.NamedTemporaryFile(dir=existing, prefix=".doctor"):
                pass
        except OSError as fault:
            faults += 1
            todo = f"sudo chown -R {machine.environment.get('USER', '$USER')} {existing}"
            yield Finding("Write access", "fail", f"{folder} ({use}): {fault.strerror}", todo)
    if not faults:
        yield Finding("Write access", "ok", "data, build and the temporary folder")


def ports(machine: Machine) -> Iterator[Finding]:
    """Whether the ports that programs take by default are free; games that we start choose free ones by themselves."""
    taken = 0
    for port, use in PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken += 1
                text = f"{port} ({use}) is in use; games started by this project take another by themselves"
                yield Finding("Ports", "info", text, f"lsof -i :{port}")
    if not taken:
        yield Finding("Ports", "ok", f"free: {', '.join(map(str, PORTS))}")


def display(machine: Machine) -> Iterator[Finding]:
    """Something to draw on: a display, or Xvfb that makes one."""
    if machine.system == "Darwin":
        yield Finding("Display", "info", "macOS: games open a window; training needs none")
        return
    shown, xvfb = machine.environment.get("DISPLAY", ""), machine.which("Xvfb")
    install = "sudo apt-get install xvfb libgl1-mesa-dri"
    if xvfb:
        yours = translated(f"; yours is {shown}") if shown else ""
        yield Finding("Display", "ok", f"Xvfb ({xvfb}); games are started on private displays{yours}")
    elif shown:
        yield Finding("Display", "warn", f"{shown} is there, but no Xvfb: games open windows on it", install)
    else:
        yield Finding("Display", "fail", "there is neither a display nor Xvfb: no game can draw", install)
    if "microsoft" in platform.release().lower() and machine.processes == Path("/proc"):
        note = "this is WSL: Xvfb draws with the processor; see docs/guides/INSTALL_MINECRAFT.md"
        yield Finding("Display", "info", note)


def left_over_javas(machine: Machine) -> Iterator[Finding]:
    """Javas that run a Minecraft. They are listed, never ended: one of them may be at work."""
    area, found = "Left-over Java", False
    for folder in sorted(machine.processes.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            status = dict(re.findall(r"^(\w+):\s+(\S+)", (folder / "status").read_text(), flags=re.MULTILINE))
        except OSError:
            continue
        zombie = status.get("State") == "Z"
        is_java = Path(words[0]).name == "java" or (zombie and status.get("Name") == "java")
        if not is_java or not (zombie or any(word in " ".join(words).lower() for word in GAME_WORDS)):
            continue
        found = True
        said, parent = f"process {folder.name} runs a Minecraft:", status.get("PPid", "")
        if zombie:
            yield Finding(area, "warn", f"{said} is a zombie (its parent must end)", f"kill {parent}   # its parent")
            continue
        held = f"{said} holds {int(status.get('VmRSS', 0)) / 1e6:.1f} GB"
        todo = f"kill {folder.name}   # if no run of yours uses it"
        orphan = parent == "1"
        yield Finding(area, "warn" if orphan else "info", f"{held}; its parent is gone" if orphan else held, todo)
    if not found:
        yield Finding(area, "ok", "none")
