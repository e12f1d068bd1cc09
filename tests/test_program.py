"""The `steve1` program: its list of commands, names, messages and entries."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steve1.__main__ import COMMANDS
from steve1.core.paths import ROOT

NAMES = [(group, name) for group, commands in COMMANDS.items() for name in commands]


def program(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "steve1", *words], cwd=ROOT, capture_output=True, text=True)


def test_every_command_module_is_in_the_table() -> None:
    commands = ROOT / "steve1" / "commands"
    modules = {(path.parent.name, path.stem) for path in commands.glob("*/*.py") if "\ndef main(" in path.read_text()}
    assert modules == set(NAMES)


@pytest.mark.parametrize(("group", "name"), NAMES)
def test_a_command_has_arguments_and_a_main(group: str, name: str) -> None:
    module = importlib.import_module(f"steve1.commands.{group}.{name}")
    assert callable(module.Args)
    assert callable(module.main)


def test_the_list_of_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom steve1.__main__ import main\n"
        "try:\n    main('--help')\n"
        "except SystemExit:\n    sys.exit(' '.join({'torch', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"\n  {name} " in done.stdout for _, name in NAMES)


def test_dashes_and_underscores_name_the_same_command() -> None:
    done = program("create-sampling", "--help")
    assert done.returncode == 0, done.stderr
    assert "-m steve1 create-sampling [OPTIONS] NAME" in done.stdout
    assert "--val_fraction" in done.stdout


def test_an_unknown_command_gives_the_nearest() -> None:
    done = program("trian")
    assert done.returncode == 2
    assert "There is no such command.\n  expected: train\n  got:      trian" in done.stderr
    assert "python -m steve1 --help" in done.stderr


# With -S there are no packages, as in a fresh clone.
ENTRIES = [
    ["tools/convert_recordings.py"],
    ["run_agent/run_agent.py"],
    ["evaluate_on_minedojo.py"],
    ["-m", "steve1", "train"],
    ["steve1/training/train.py"],
    *[[f"tools/{path.name}"] for path in sorted((ROOT / "tools").glob("*.py")) if path.name != "doctor.py"],
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without .venv and data."""
    folder = tmp_path_factory.mktemp("a project")
    for name in ("steve1", "tools", "run_agent"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.sh"), *ROOT.glob("*.py"), ROOT / "pyproject.toml"]:
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize("entry", ENTRIES, ids=" ".join)
def test_a_fresh_clone_says_what_to_install(clone: Path, entry: list[str]) -> None:
    done = subprocess.run([sys.executable, "-S", *entry], cwd=clone, capture_output=True, text=True)
    expected = "error: The project's packages are not installed.\n  next:     bash tools/setup.sh\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@pytest.mark.parametrize("entry", [["run_agent/run_agent.py"], ["-m", "steve1", "play"]], ids=" ".join)
def test_a_python_without_packages_hands_over_to_the_projects_own(clone: Path, entry: list[str]) -> None:
    own = clone / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "handed over: $*"\n')
    own.chmod(0o755)
    done = subprocess.run([sys.executable, "-S", *entry, "--seed", "1"], cwd=clone, capture_output=True, text=True)
    shutil.rmtree(clone / ".venv")
    assert done.stdout == f"handed over: {' '.join(entry)} --seed 1\n", done.stderr


@pytest.mark.parametrize(
    "words", [["--help"], ["--nonsense"], ["train", "--help"], ["train", "--nonsense"]], ids=" ".join
)
@pytest.mark.parametrize("both", [False, True], ids=["stdout", "stderr too"])
def test_nobody_reads_the_output(words: list[str], both: bool) -> None:
    """As in `… | head -1`, whose end is closed before the last line comes."""
    read, write = os.pipe()
    os.close(read)
    end = subprocess.STDOUT if both else subprocess.PIPE
    done = subprocess.run([sys.executable, "-m", "steve1", *words], cwd=ROOT, stdout=write, stderr=end, text=True)
    os.close(write)
    assert done.returncode in (1, 2)
    assert "Traceback" not in (done.stderr or "")
    assert "BrokenPipe" not in (done.stderr or "")


def test_scripts_work_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "python").write_text('#!/bin/sh\necho "$PWD: $*"\n')
    (tmp_path / "python").chmod(0o755)
    link = tmp_path / "sampling"
    link.symlink_to(ROOT / "2_create_sampling.sh")
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(tmp_path / "python")}
    done = subprocess.run(["bash", str(link), "x"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(f"{ROOT}: -m steve1 create_sampling"), done.stderr
