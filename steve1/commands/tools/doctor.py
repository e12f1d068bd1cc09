"""Checks this machine: what is there, what is wrong, and the one command that mends it.

In: nothing, or the environments that are to work. Out: a line for each check (or `--json`); exit code 1 if something that
is needed does not work. Runs on a bare Python too, before anything is installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from steve1.commands.tools import doctor_games, doctor_machine
from steve1.commands.tools.doctor_machine import Finding, Machine
from steve1.core.errors import UserError, nearest
from steve1.core.paths import CHECKOUT

ABOUT = "Checks this machine: what is there, what is wrong, and the command that mends it."
_MARKS = {"ok": "ok    ", "info": "-     ", "warn": "LOOK  ", "fail": "WRONG "}


@dataclasses.dataclass(frozen=True)
class Args:
    """What to check."""

    env: tuple[str, ...] = ()
    """Environments that are to work: mcio, minerl, minedojo, minestudio. What they lack then counts as wrong."""
    json: bool = False
    """Print one JSON object instead of lines."""
    checksums: bool = True
    """Read the weights to compare their checksums (--no_checksums saves a few seconds)."""


def examine(machine: Machine, wanted: tuple[str, ...] = (), checksums: bool = True) -> list[Finding]:
    """All findings, in the order in which they are best mended.

    Raises:
        UserError: an environment that does not exist.
    """
    known = [*doctor_games.load_backends().BACKENDS, "luanti"]
    for name in wanted:
        if name not in known:
            raise UserError("There is no environment of this name.", got=name, expected=nearest(name, known))
    checks: list[Callable[[], list[Finding]]] = [
        lambda: doctor_machine.python_and_packages(machine),
        lambda: doctor_machine.torch_and_gpu(machine),
        lambda: doctor_machine.disk_and_memory(machine),
        lambda: doctor_machine.write_access(machine),
        lambda: doctor_machine.display(machine),
        lambda: doctor_games.luanti(machine),
        lambda: doctor_games.weights(machine, checksums),
        lambda: doctor_games.java(machine, wanted),
        lambda: doctor_games.backends(machine, wanted),
        lambda: doctor_machine.ports(machine),
        lambda: doctor_machine.left_over_javas(machine),
    ]
    return [finding for check in checks for finding in check()]


def text(findings: list[Finding]) -> str:
    """The report for people: a line a finding, the mending command below it, a summary at the end."""
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.state]}{finding.area + ':':<19}{finding.text}")
        if finding.todo:
            lines.append(f"{'':<25}-> {finding.todo}")
    wrong = [finding for finding in findings if finding.state == "fail"]
    look = [finding for finding in findings if finding.state == "warn"]
    lines.append("")
    if not wrong and not look:
        lines.append("Nothing is wrong. Lines with - are things that you may want, not faults.")
    else:
        lines.append(
            f"{len(wrong)} wrong, {len(look)} to look at. Lines with - are things that you may want, not faults."
        )
        first = next((finding for finding in wrong + look if finding.todo), None)
        if first:
            lines.append(f"Begin with: {first.todo}")
    return "\n".join(lines)


def main(args: Args) -> int:
    """Print the report; 1 if something is wrong."""
    findings = examine(Machine(CHECKOUT or Path.cwd()), args.env, args.checksums)
    wrong = any(finding.state == "fail" for finding in findings)
    if args.json:
        print(
            json.dumps(
                {"ok": not wrong, "findings": [dataclasses.asdict(finding) for finding in findings]},
                indent=1,
                ensure_ascii=False,
            )
        )
    else:
        print(text(findings))
    return int(wrong)


def cli() -> None:
    """The command line, also where tyro is not installed yet."""
    try:
        import tyro  # noqa: F401
    except ImportError:
        _bare_cli()
    from steve1.core.cli import run

    run(Args, main, ABOUT)


def _bare_cli() -> NoReturn:
    """The same by the project's own Python where that works; else the same options, read with the standard library."""
    own = Path(sys.argv[0]).resolve().parents[1] / ".venv" / "bin" / "python"
    if (
        own.exists()
        and sys.prefix != str(own.parents[1])
        and subprocess.run([own, "-c", "import tyro"], capture_output=True, check=False).returncode == 0
    ):
        os.execv(own, [str(own), *sys.argv])
    parser = argparse.ArgumentParser(description=ABOUT)
    parser.add_argument(
        "--env",
        nargs="+",
        default=[],
        metavar="NAME",
        help="environments that are to work: mcio, minerl, minedojo, minestudio",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument(
        "--no_checksums", action="store_true", help="do not read the weights to compare their checksums"
    )
    given = parser.parse_args()
    try:
        sys.exit(main(Args(env=tuple(given.env), json=given.json, checksums=not given.no_checksums)))
    except UserError as fault:
        print(fault, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    cli()
