"""The `steve1` program: its list of commands, names, messages and entries."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys

import pytest

from steve1.__main__ import COMMANDS
from steve1.core.options import CommandLine
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


@pytest.mark.parametrize(("group", "name"), NAMES)
def test_every_option_is_explained_and_main_ones_stand_first(group: str, name: str) -> None:
    text = CommandLine(importlib.import_module(f"steve1.commands.{group}.{name}").Args, name, "What it does.").help()
    rows = re.findall(r"^  (-?-?[A-Za-z]\S*.*(?:\n {26}.*)*)", text, flags=re.M)
    assert rows
    for row in rows:
        explained = re.split(r" {2,}|\n +", row)
        assert len(explained) > 1, row
        assert not explained[1].startswith("("), row
    groups = re.findall(r"^([a-z].*):$", text, flags=re.M)
    assert groups[:1] in ([], ["options"])
    assert len(re.findall("^  --", text.split("\n\n")[2], flags=re.M)) <= 18, "more than that is for groups"


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
