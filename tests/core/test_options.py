"""Command lines from dataclasses: what is understood, what is refused with which words, and the help."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest

from steve1.core.errors import UserError
from steve1.core.options import CommandLine, Option


@dataclasses.dataclass(frozen=True)
class Inner:
    """A part."""

    val_fraction: float = 0.1
    """Share for validation."""


@dataclasses.dataclass(frozen=True)
class Base:
    """What several commands have."""

    GROUPS: ClassVar = {"options": "seed", "machine": "device"}

    seed: int = 0
    """Seed of everything."""
    device: str = "auto"
    """Where it runs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(Base):
    """One of everything."""

    paths: Annotated[tuple[str, ...], Option(positional=True, aliases=("--dataset_dir",))] = ()
    """Folders."""
    weights: tuple[str, ...]
    """Files."""
    text_prompt: Annotated[str, Option(aliases=("--prompt",))] = ""
    """What to do."""
    kind: Literal["all", "lora"] = "all"
    """Which."""
    scale: float | None = None
    """How much."""
    threads: int | Literal["auto"] = "auto"
    """How many."""
    span: tuple[float, float] = (90.0, 360.0)
    """From and to."""
    overwrite: bool = False
    """Replace."""
    embed: bool = True
    """Embed."""
    no_weights: bool = False
    """Leave them out."""
    output: Path = Path("out")
    """Where to."""
    part: Inner = dataclasses.field(default_factory=Inner)
    secret: Annotated[dict[str, Any], Option(hidden=True)] = dataclasses.field(default_factory=dict)


def parse(line: str) -> Args:
    found = CommandLine(Args, "bash x.sh").parse(line.split())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a b --weights c d", {"paths": ("a", "b"), "weights": ("c", "d")}),
        ("--weights c --dataset_dir a b", {"paths": ("a", "b")}),
        ("--weights c --overwrite a", {"paths": ("a",), "overwrite": True}),
        ("--weights c --no-embed --no_overwrite", {"embed": False, "overwrite": False}),
        ("--weights c --no_weights", {"weights": ("c",), "no_weights": True}),
        ("--weights=c --text-prompt=a=b", {"weights": ("c",), "text_prompt": "a=b"}),
        ("--weights c --prompt=", {"text_prompt": ""}),
        ("--weights c --seed 1 --seed 1e3", {"seed": 1000}),
        ("--weights c --seed -1 --scale -0.5", {"seed": -1, "scale": -0.5}),
        ("--weights c --scale 1 --scale none", {"scale": None}),
        (
            "--weights -x --scale -1e-3 --prompt=--build",
            {"weights": ("-x",), "scale": -0.001, "text_prompt": "--build"},
        ),
        ("--weights c -- -x", {"weights": ("c", "--", "-x")}),
        ("--weights c --span 1 2.5", {"span": (1.0, 2.5)}),
        ("--weights c --output d/e", {"output": Path("d/e")}),
        ("--weights c --val_fraction 0.2", {"part": Inner(0.2)}),
    ],
)
def test_lines_that_are_understood(line: str, expected: dict[str, Any]) -> None:
    found = parse(line)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--weights c --promt x", "There is no option --promt. Did you mean --prompt?"),
        ("--weights c --no_embd", "There is no option --no_embd. Did you mean --no_embed?"),
        ("--weights", "--weights needs a value."),
        ("", "These options are required: --weights."),
        ("--weights c --seed 1.5", "--seed takes a whole number.\n  got:      1.5"),
        ("--weights c --scale inf", "--scale takes a number.\n  got:      inf"),
        ("--weights c --kind al", "--kind does not know this value.\n  expected: all\n  got:      al"),
        ("--weights c --kind 7", "expected: one of all, lora"),
        ("--weights c --span 1", "--span takes 2 values."),
        ("--weights c --overwrite=False", "--overwrite is a switch and takes no value.\n  got:      False"),
        ("--weights c --overwrite false", "--overwrite is a switch and takes no value.\n  got:      false"),
        ("--weights c --seed 1 2 --span 1 2 3 a", None),
        ("--weights c --overwrite=yes", "--overwrite is a switch and takes no value.\n  got:      yes"),
        (
            "--seed x --promt y --scale z --no_embd",
            "3 options are wrong:\n  1. There is no option --promt. Did you mean --prompt?\n"
            "  2. There is no option --no_embd. Did you mean --no_embed?\n  3. --seed takes a whole number; got: x\n",
        ),
    ],
)
def test_lines_that_are_refused(line: str, expected: str | None) -> None:
    if expected is None:
        assert parse(line).paths == ("2", "3", "a"), "words that no option takes are the positional ones"
        return
    with pytest.raises(UserError) as fault:
        parse(line)
    assert expected in str(fault.value)
    assert str(fault.value).endswith("\n  next:     bash x.sh --help")


def test_a_word_that_nothing_takes() -> None:
    with pytest.raises(UserError, match="This word belongs to no option: b"):
        CommandLine(Base, "x").parse(["--device", "a", "b"])


def test_a_variable_of_the_script_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEED", "abc")
    with pytest.raises(UserError) as fault:
        parse("--weights c --seed abc")
    assert "where:    the variable SEED" in str(fault.value)


def test_help_is_wanted_whatever_else_is_there() -> None:
    assert CommandLine(Args, "x").parse(["--nonsense", "-h"]) is None
    assert CommandLine(Args, "x").parse(["--help"]) is None


def test_the_help_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = CommandLine(Args, "bash x.sh", "What it does.").help()
    first, about, positional, options, machine = text.split("\n\n")
    assert (first, about) == ("usage: bash x.sh [OPTIONS] PATHS ...", "What it does.")
    assert positional == "  PATHS ..., --dataset_dir VALUE ...\n                          Folders."
    lines = options.splitlines()
    assert lines[0] == "options:"
    assert "  --weights VALUE ...     Files. (required)" in lines
    assert "  --text_prompt, --prompt VALUE" in lines
    assert "  --kind {all,lora}       Which. (default: all)" in lines
    assert "  --scale X               How much." in lines
    assert "  --span X X              From and to. (default: 90 360)" in lines
    assert "  --overwrite             Replace." in lines
    assert "  --embed, --no_embed     Embed. (default: on)" in lines
    assert "  --no_weights            Leave them out." in lines
    assert "  --val_fraction X        Share for validation. (default: 0.1)" in lines
    assert lines[-1] == "  --seed N                Seed of everything. (default: 0)", "after the command's own"
    assert machine.splitlines() == ["machine:", "  --device VALUE          Where it runs. (default: auto)"]
    assert "secret" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_faults_name_settings_as_they_were_typed() -> None:
    line = CommandLine(Args, "x")
    line.parse(["--weights", "c", "--prompt", "x"])
    said = line.as_typed(
        "text_prompt is empty; --text_prompt, val_fraction=0.2, a/val_fraction, seed, weights, --weights"
    )
    assert said == "--prompt is empty; --prompt, val_fraction=0.2, a/val_fraction, seed, weights, --weights"
    assert line.as_typed("val_fraction must be below 1") == "--val_fraction must be below 1"
    command = "bash 0_download_weights.sh text_prompt (or set val_fraction)"
    assert line.as_typed(command) == "bash 0_download_weights.sh text_prompt (or set --val_fraction)"


@pytest.mark.parametrize(("word", "value"), [("auto", "auto"), ("4", 4), ("0", 0)])
def test_a_number_or_a_word(word: str, value: object) -> None:
    found = CommandLine(Args, "x").parse(["--weights", "a", "--threads", word])
    assert found is not None
    assert found.threads == value


@pytest.mark.parametrize("word", ["Auto", "2.5", "many"])
def test_neither_a_number_nor_the_word(word: str) -> None:
    with pytest.raises(UserError, match="--threads"):
        CommandLine(Args, "x").parse(["--weights", "a", "--threads", word])
