"""The `steve1` program: its list of commands, names, messages and entries."""

from __future__ import annotations

import importlib
import os
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
        "except SystemExit:\n    sys.exit(' '.join({'torch', 'numpy', 'tyro'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"\n  {name} " in done.stdout for _, name in NAMES)


def test_dashes_and_underscores_name_the_same_command() -> None:
    done = program("create-sampling", "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: python -m steve1 create_sampling" in done.stdout
    assert "--val_fraction" in done.stdout


def test_an_unknown_command_gives_the_nearest() -> None:
    done = program("trian")
    assert done.returncode == 2
    assert "There is no command 'trian': did you mean train" in done.stderr
    assert "steve1 --help" in done.stderr


@pytest.mark.e2e
def test_a_missing_package_is_one_message() -> None:
    """As in a fresh clone, before tools/setup.sh."""
    code = (
        "import sys\nsys.modules['tyro'] = None\nsys.argv = ['steve1', 'plan']\n"
        "from steve1.__main__ import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "The Python package tyro is not installed." in done.stderr
    assert "bash tools/setup.sh" in done.stderr
    assert "Traceback" not in done.stderr


def test_scripts_work_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "python").write_text('#!/bin/sh\necho "$PWD: $*"\n')
    (tmp_path / "python").chmod(0o755)
    link = tmp_path / "sampling"
    link.symlink_to(ROOT / "2_create_sampling.sh")
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(tmp_path / "python")}
    done = subprocess.run(["bash", str(link), "x"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(f"{ROOT}: -m steve1 create_sampling"), done.stderr
