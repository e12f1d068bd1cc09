"""The doctor on machines that are shown to it: fake programs on PATH, fake processes, fake environments."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from steve1.commands.tools import doctor, doctor_games, doctor_machine
from steve1.commands.tools.doctor_machine import Finding, Machine
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from tests.envs.standins.making import make_backend, make_java


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    """A project folder on a machine with nothing."""
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (root / "requirements.txt").write_text("numpy==99.0\nnosuchpackage==1.0  # why\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "proc").mkdir()
    environment = {"PATH": str(tmp_path / "bin"), "STEVE1_ONLY_PATH": "1", "STEVE1_JAVA_FOLDERS": ""}
    return Machine(
        root,
        environment,
        python=sys.executable,
        processes=tmp_path / "proc",
        shared_memory=tmp_path / "none",
        system="Linux",
    )


def of(findings: Iterable[Finding], state: str) -> str:
    return "\n".join(f"{finding.text} -> {finding.todo}" for finding in findings if finding.state == state)


def test_a_bare_machine_is_told_what_to_install(bare: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = list(doctor_machine.python_and_packages(bare))
    assert "nosuchpackage" in of(packages, "fail")
    assert "bash tools/setup.sh" in of(packages, "fail")
    assert "pinned 99.0" in of(packages, "warn")
    assert "neither a display nor Xvfb" in of(doctor_machine.display(bare), "fail")
    assert "apt-get install xvfb" in of(doctor_machine.display(bare), "fail")
    assert "not installed" in of(doctor_games.luanti(bare), "warn")
    assert "bash 0_download_weights.sh" in of(doctor_games.weights(bare), "info")
    assert of(doctor_machine.left_over_javas(bare), "ok")
    for name in ("MCIO", "MINERL", "MINEDOJO", "MINESTUDIO"):
        monkeypatch.setenv(f"STEVE1_{name}_PYTHON", str(bare.root / "nowhere" / name / "bin" / "python"))
    assert of(doctor_games.backends(bare), "info").count("install_minecraft.sh") == 4
    lacking = of(doctor_games.backends(bare, ("minerl",)), "fail")
    assert "no Python from 3.8 to 3.10" in lacking
    assert "install_minecraft.sh minerl" in lacking
    shim = program(Path(bare.environment["PATH"]), "python3.9", "echo pyenv: command not found; exit 127")
    assert "no Python" in of(doctor_games.backends(bare, ("minerl",)), "fail")
    program(shim.parent, "python3.9", "echo 3.9")
    assert "no Python" not in of(doctor_games.backends(bare, ("minerl",)), "fail")
    assert "no Java here" in of(doctor_games.java(bare, ("minerl",)), "fail")


def test_a_python_that_does_not_run_and_one_that_is_too_old(bare: Machine, tmp_path: Path) -> None:
    broken = Machine(
        bare.root,
        bare.environment,
        python=str(program(tmp_path / "bin", "python3", "echo no module named encodings; exit 1")),
    )
    assert "encodings" in of(doctor_machine.python_and_packages(broken), "fail")
    old = program(tmp_path / "bin", "python2", """echo '{"python": [3, 8, 1], "packages": {}}'""")
    assert "too old" in of(
        doctor_machine.python_and_packages(Machine(bare.root, bare.environment, python=str(old))), "fail"
    )


def test_gpus_the_driver_sees_and_torch_does_not(bare: Machine, tmp_path: Path) -> None:
    facts = {
        "version": "2.13.0+cpu",
        "built_for": "",
        "rocm": "",
        "cuda": False,
        "kernels": [],
        "devices": [],
        "mps": False,
    }
    python = program(tmp_path / "bin", "fake", f"echo '{json.dumps(facts)}'")
    machine = Machine(bare.root, bare.environment, python=str(python), filesystem=tmp_path)
    assert "none" in of(doctor_machine.torch_and_gpu(machine), "info")
    program(tmp_path / "bin", "nvidia-smi", "echo NVIDIA Foo 9000")
    told = of(doctor_machine.torch_and_gpu(machine), "warn")
    assert "NVIDIA Foo 9000" in told
    assert "CPU build" in told
    assert "whl/cu130" in told
    program(tmp_path / "bin", "nvidia-smi", "echo Foo 9000, 550.54.15, 8.6")
    facts["built_for"] = "13.0"
    program(tmp_path / "bin", "fake", f"echo '{json.dumps(facts)}'")
    told = of(doctor_machine.torch_and_gpu(machine), "warn")
    assert "driver 550.54.15 is too old for CUDA 13.0, which needs 580" in told
    assert "whl/cu126" in told
    bare.environment["CUDA_VISIBLE_DEVICES"] = "-1"  # type: ignore[index]
    assert "unset CUDA_VISIBLE_DEVICES" in of(doctor_machine.torch_and_gpu(machine), "warn")
    facts |= {
        "cuda": True,
        "kernels": ["sm_75", "sm_80"],
        "devices": [
            ["Foo 9000", 24 * 2**30, "ok", [8, 6]], ["Tiny", 4 * 2**30, "ok", [8, 6]], ["Bad", 24 * 2**30, "wrong", [8, 6]],
            ["Tesla T4", 15 * 2**30, "ok", [7, 5]], ["V100", 16 * 2**30, "CUDA error: no kernel image is available", [7, 0]],
        ],
    }  # fmt: skip
    program(tmp_path / "bin", "fake", f"echo '{json.dumps(facts)}'")
    findings = list(doctor_machine.torch_and_gpu(machine))
    assert "24 GB" in of(findings, "ok")
    assert "steve1 plan --gpu_gb 4" in of(findings, "warn")
    assert "wrong results" in of(findings, "fail")
    assert "Tesla T4, 15 GB; no bf16" in of(findings, "info")
    refused = of(findings, "fail")
    assert "no kernels for compute capability 7.0; it has sm_75, sm_80" in refused
    assert "whl/cu126" in refused
    program(tmp_path / "bin", "fake", "echo 'ImportError: libcudart.so.12' >&2; exit 1")
    assert "libcudart" in of(doctor_machine.torch_and_gpu(machine), "fail")
    program(tmp_path / "bin", "fake", """echo "ModuleNotFoundError: No module named 'torch'" >&2; exit 1""")
    assert of(doctor_machine.torch_and_gpu(machine), "fail") == "", "told among the missing packages"


def test_javas_are_listed_and_the_wrong_one_named(bare: Machine, tmp_path: Path) -> None:
    new, eight = make_java(tmp_path / "jdk17", "17.0.2"), make_java(tmp_path / "jvms" / "jdk8")
    bare.environment["JAVA_HOME"] = str(new)  # type: ignore[index]
    assert "needs Java 8" in of(doctor_games.java(bare, ("minedojo",)), "fail")
    assert "17" in of(doctor_games.java(bare, ("minedojo",)), "fail")
    bare.environment["STEVE1_JAVA_FOLDERS"] = str(tmp_path / "jvms")  # type: ignore[index]
    findings = list(doctor_games.java(bare, ("minedojo",)))
    assert of(findings, "fail") == ""
    assert f"minedojo runs on the Java {eight}/bin/java" in of(findings, "ok")
    bare.environment["JAVA_HOME"] = str(tmp_path / "gone")  # type: ignore[index]
    assert "unset JAVA_HOME" in of(doctor_games.java(bare), "warn")


def make_mcio(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which mcio-ctrl seems to be installed."""
    (folder / "lib" / "python3.12" / "site-packages" / "mcio_ctrl-1.5.2.dist-info").mkdir(parents=True)
    monkeypatch.setenv("STEVE1_MCIO_PYTHON", str(program(folder / "bin", "python", "echo 3.12")))


def test_backends_tell_their_versions(bare: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_backend("minerl", tmp_path / "old", monkeypatch, version="0.4.4")
    assert "0.4" in of(doctor_games.backends(bare, ("minerl",)), "fail")
    make_backend("minerl", tmp_path / "new", monkeypatch)
    make_mcio(tmp_path / "mcio", monkeypatch)
    bare.environment["STEVE1_MCIO_DIR"] = str(tmp_path)  # type: ignore[index]
    assert f"mcio inst install steve1 --mcio-dir {tmp_path}" in of(doctor_games.backends(bare, ("mcio",)), "fail")
    (tmp_path / "mcio.yaml").write_text(
        "config_version: 1\ninstances:\n  other: {name: other}\nservers:\n  steve1: {}\n"
    )
    assert "is not in" in of(doctor_games.backends(bare), "info"), "a server of that name is no instance"
    (tmp_path / "mcio.yaml").write_text(
        "config_version: 1\ninstances:\n  other:\n    name: other\n  steve1:\n    name: steve1\n"
    )
    assert "Minecraft is installed" in of(doctor_games.backends(bare), "ok")
    assert "minerl: minerl 1.0.2 on Python 3" in of(doctor_games.backends(bare), "ok")
    broken = tmp_path / "new" / "bin" / "python"
    broken.unlink()
    program(broken.parent, "python", "echo bad interpreter; exit 1")
    assert "does not run" in of(doctor_games.backends(bare), "warn")


def test_left_over_javas_are_listed_and_never_ended(bare: Machine) -> None:
    def process(pid: int, words: list[str], state: str, parent: int) -> None:
        folder = bare.processes / str(pid)
        folder.mkdir()
        (folder / "cmdline").write_bytes("\0".join(words).encode())
        (folder / "status").write_text(f"Name:\tjava\nState:\t{state} (x)\nPPid:\t{parent}\nVmRSS:\t 2500000 kB\n")

    process(41, ["/usr/bin/java", "-jar", "mcprec-6.13.jar"], "S", 1)
    process(42, ["/usr/bin/java", "-jar", "MalmoMod.jar"], "S", 900)
    process(43, ["/usr/bin/java", "-jar", "elasticsearch.jar"], "S", 1)
    process(44, [""], "Z", 901)
    findings = list(doctor_machine.left_over_javas(bare))
    assert [finding.text.split()[1] for finding in findings] == ["41", "42", "44"]
    assert [finding.state for finding in findings] == ["warn", "info", "warn"]
    assert "2.5 GB" in findings[0].text
    assert findings[0].todo.startswith("kill 41")
    assert findings[2].todo.startswith("kill 901")


def test_weights_are_compared_with_their_checksums(bare: Machine) -> None:
    folder = bare.root / "data" / "weights" / "steve1"
    folder.mkdir(parents=True)
    (folder / "mine.weights").write_bytes(b"weights")
    (folder / "tiny.model").write_bytes(b"model")
    metadata = {
        "model": "data/weights/steve1/tiny.model",
        "mineclip": "",
        "prior": "",
        "hashes": {"weights": hashlib.sha256(b"weights").hexdigest()},
    }
    (folder / "mine.weights.json").write_text(json.dumps(metadata))
    assert "checksum right" in of(doctor_games.weights(bare), "ok")
    (folder / "mine.weights").write_bytes(b"other")
    assert "checksum differs" in of(doctor_games.weights(bare), "warn")
    assert "differs" not in of(doctor_games.weights(bare, checksums=False), "warn")
    (folder / "tiny.model").unlink()
    assert "tiny.model, which is not there -> put tiny.model back" in of(doctor_games.weights(bare), "warn")
    (folder / "mine.weights.json").write_text("{")
    assert "cannot be read" in of(doctor_games.weights(bare), "fail")
    clip = bare.root / "data" / "weights" / "mineclip" / "attn.pth"
    clip.parent.mkdir()
    clip.write_bytes(b"<html>quota</html>")
    damaged = of(doctor_games.weights(bare), "fail")
    assert "damaged" in damaged
    assert "bash 0_download_weights.sh mineclip" in damaged


def test_luanti_old_and_new(bare: Machine, tmp_path: Path) -> None:
    program(tmp_path / "bin", "minetest", "echo Minetest 5.6.1")
    findings = list(doctor_games.luanti(bare))
    assert "Minetest 5.6" in of(findings, "ok")
    assert "no C compiler" in of(findings, "warn")
    program(tmp_path / "bin", "luanti", "echo Luanti 5.12.0")
    assert "portable" in of(doctor_games.luanti(bare), "info")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(bare: Machine) -> None:
    (bare.root / "data").chmod(0o500)
    assert "chown" in of(doctor_machine.write_access(bare), "fail")


def test_a_port_in_use_is_said_and_no_fault(monkeypatch: pytest.MonkeyPatch, bare: Machine) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(doctor_machine, "PORTS", {taken.getsockname()[1]: "a test"})
        assert "lsof" in of(doctor_machine.ports(bare), "info")
    assert of(doctor_machine.ports(bare), "info") == ""


def test_the_report_begins_with_what_to_do_and_the_exit_code_follows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Finding("A", "ok", "fine"), Finding("B", "warn", "look", "one"), Finding("C", "fail", "wrong", "two")]
    monkeypatch.setattr(doctor, "examine", lambda *_: found)
    assert doctor.main(doctor.Args()) == 1
    said = capsys.readouterr().out
    assert "1 wrong, 1 to look at" in said
    assert said.rstrip().endswith("Begin with: two")
    assert doctor.main(doctor.Args(json=True)) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert report["findings"][2] == {"area": "C", "state": "fail", "text": "wrong", "todo": "two"}
    monkeypatch.setattr(doctor, "examine", lambda *_: found[:2])
    assert doctor.main(doctor.Args()) == 0


def test_an_unknown_environment_lists_the_nearest(bare: Machine) -> None:
    with pytest.raises(UserError) as fault:
        doctor.examine(bare, ("minrl",))
    assert "minerl" in str(fault.value)


def bare_doctor(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """tools/doctor.py of a copy of the project, by a Python with its own library alone (-I, -S)."""
    if not (folder / "tools").exists():
        (folder / "tools").mkdir(parents=True)
        (folder / "tools" / "doctor.py").write_bytes((ROOT / "tools" / "doctor.py").read_bytes())
        (folder / "requirements.txt").write_text("nosuchpackage==1.0\n")
        for package in ("core", "commands", "envs"):
            for file in (ROOT / "steve1" / package).rglob("*.py"):
                copy = folder / file.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
        (folder / "steve1" / "__init__.py").touch()
        (folder / "steve1" / "__main__.py").write_bytes((ROOT / "steve1" / "__main__.py").read_bytes())
    environment = {"PATH": "/nowhere", "HOME": str(folder), "STEVE1_ONLY_PATH": "1", "STEVE1_JAVA_FOLDERS": ""}
    command = [sys.executable, "-I", "-S", str(folder / "tools" / "doctor.py"), *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=False, timeout=300
    )


@pytest.mark.e2e
def test_it_runs_before_anything_is_installed(tmp_path: Path) -> None:
    done = bare_doctor(tmp_path)
    assert done.returncode == 1, done.stderr
    assert "1 missing: nosuchpackage" in done.stdout
    assert "uv python install 3.12 && PATH=~/.local/bin:$PATH bash tools/install_minecraft.sh mcio" in done.stdout
    assert done.stdout.rstrip().endswith("Begin with: bash tools/setup.sh")
    report = json.loads(bare_doctor(tmp_path, "--env", "mcio", "--json").stdout)
    assert any(
        finding["area"] == "Backends" and finding["state"] == "fail" and "mcio" in finding["text"]
        for finding in report["findings"]
    )
    unknown = bare_doctor(tmp_path, "--env", "mincio")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "expected: mcio" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    assert "--no_checksums" in bare_doctor(tmp_path, "--help").stdout


def test_another_python_hands_over_to_the_projects_own(tmp_path: Path) -> None:
    bare_doctor(tmp_path, "--help")
    own = program(tmp_path / ".venv" / "bin", "python", 'case "$1" in -c) exit 0;; *) echo "handed over: $*";; esac')
    assert "handed over: " + str(tmp_path / "tools" / "doctor.py") + " --json" in bare_doctor(tmp_path, "--json").stdout
    own.write_text("#!/bin/sh\nexit 1\n")
    assert "Begin with" in bare_doctor(tmp_path).stdout, "an environment that does not work is what the doctor is for"
