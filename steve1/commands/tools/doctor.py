"""Checks this machine: what works, what does not, and the one command that fixes it.

Output: a line for each check (or `--json`); exit code 1 if something that is needed does not work. Runs on a bare Python too,
before anything is installed.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from steve1.commands.tools import doctor_games, doctor_machine
from steve1.commands.tools.doctor_machine import Finding, Machine
from steve1.core.errors import UserError, nearest
from steve1.core.messages import heading, padded, translated
from steve1.core.paths import CHECKOUT

_MARKS = {"ok": "ok", "info": "-", "warn": "LOOK", "fail": "WRONG"}


@dataclasses.dataclass(frozen=True)
class Args:
    """What to check."""

    env: tuple[str, ...] = ()
    """Games that must work: mcio, minerl, minedojo, minestudio. Anything they lack counts as wrong."""
    json: bool = False
    """Print one JSON object instead of lines."""
    checksums: bool = True
    """Compare checksums of the weights, which takes a few seconds."""


def examine(machine: Machine, wanted: tuple[str, ...] = (), checksums: bool = True) -> list[Finding]:
    """All findings, in the order in which they are best fixed.

    Raises:
        UserError: an environment that does not exist.
    """
    known = [*doctor_games.load_backends().PACKAGES, "luanti"]
    for name in wanted:
        if name not in known:
            raise UserError("There is no game of this name.", got=name, expected=nearest(name, known))
    return [
        *doctor_machine.python_and_packages(machine),
        *doctor_machine.torch_and_gpu(machine),
        *doctor_machine.disk_and_memory(machine),
        *doctor_machine.write_access(machine),
        *doctor_machine.display(machine),
        *doctor_games.luanti(machine),
        *doctor_games.weights(machine, checksums),
        *doctor_games.java(machine, wanted),
        *doctor_games.backends(machine, wanted),
        *doctor_machine.ports(machine),
        *doctor_machine.left_over_javas(machine),
    ]


def text(findings: list[Finding]) -> str:
    """The report for people: a line for each finding, the command that fixes it below, a summary at the end."""
    lines = []
    for finding in findings:
        area = translated(finding.area) + ":"
        lines.append(
            f"{padded(heading(_MARKS[finding.state]), 6)}{padded(area, 19)}{heading(translated(finding.text))}"
        )
        if finding.todo:
            lines.append(f"{'':<25}-> {translated(finding.todo)}")
    wrong = [finding for finding in findings if finding.state == "fail"]
    look = [finding for finding in findings if finding.state == "warn"]
    summary = (
        translated(f"{len(wrong)} wrong, {len(look)} to look at.") if wrong or look else translated("Nothing is wrong.")
    )
    lines += ["", f"{summary}{translated(' Lines marked - are optional.')}"]
    lines += [translated(f"Begin with: {finding.todo}") for finding in wrong + look if finding.todo][:1]
    return "\n".join(lines)


def main(args: Args) -> int:
    """Print the report; 1 if something is wrong."""
    findings = examine(Machine(CHECKOUT or Path.cwd()), args.env, args.checksums)
    wrong = any(finding.state == "fail" for finding in findings)
    if args.json:
        found = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"ok": not wrong, "findings": found}, indent=1, ensure_ascii=False))
    else:
        print(text(findings))
    return int(wrong)
