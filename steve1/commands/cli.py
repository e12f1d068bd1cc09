"""What every command has in common: options from a dataclass, `--help` with defaults, faults as messages, exit codes."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from steve1.core.errors import UserError, fail
from steve1.core.messages import LANGUAGES, message, translate_warnings
from steve1.core.options import CommandLine
from steve1.core.paths import display, python_path
from steve1.core.processes import handling, started_with

Arguments = TypeVar("Arguments")
_FIRST_SPEAKS_S = 30.0

# Faults of a disk or folder, which no change of the program would fix: (message, what to do).
_DISK_FAULTS = {
    errno.ENOSPC: ("The disk is full.", "free some space and run the same command again"),
    errno.EDQUOT: ("Your quota on this disk is used up.", "free some space and run the same command again"),
    errno.EACCES: ("This file or folder may not be written or read.", "change its owner or permissions, or choose another folder"),
    errno.EPERM: ("This file or folder may not be written or read.", "change its owner or permissions, or choose another folder"),
    errno.ENOTDIR: ("A file lies where a folder is needed.", "choose another name, or move the file"),
    errno.EISDIR: ("A folder lies where a file is needed.", "choose another name, or move the folder"),
    errno.ENAMETOOLONG: ("This name is too long for the disk.", "choose a shorter one"),
    errno.ELOOP: ("This link leads to itself.", "remove it, or choose another path"),
    errno.EIO: ("The disk has a fault.", "copy your files to another one"),
    errno.EROFS: ("This disk is read-only.", "choose a folder on another disk"),
}  # fmt: skip


def run(
    arguments: Callable[..., Arguments],
    main: Callable[[Arguments], Any],
    description: str = "",
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Parse the command line into `arguments` and call `main` with it; exit as `leave` does.

    Args:
        arguments: a dataclass; its field docstrings are the help (`core/options.py`).
        main: may return an int, the exit code.
    """

    def command() -> Any:
        translate_warnings()
        line = CommandLine(arguments, typed(), description)
        words = sys.argv[1:] if argv is None else argv
        try:
            with report_on_rank_zero():
                _check_utf8(os.getcwd(), *words)
                chosen = line.parse(words)
            if chosen is None:
                print(line.help())
                return 0
            return main(chosen)
        except UserError as fault:
            raise fault.changed(line.as_typed) from None

    leave(command)


@contextlib.contextmanager
def report_on_rank_zero() -> Iterator[None]:
    """Faults that every process under torchrun finds alike, such as a bad setting: the first process tells them.

    torchrun ends the others when the first one leaves. Until then they wait: leaving earlier, they would have the first one
    ended before it has spoken. One that is not ended, on another machine, speaks after all.
    """
    try:
        yield
    except UserError:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(_FIRST_SPEAKS_S)
        raise


def leave(job: Callable[[], Any]) -> NoReturn:
    """Do `job` and exit: with the number that it returns or 0, 2 for a UserError, 130 for Ctrl-C, 143 for SIGTERM, 1 if nobody reads the output."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or log that is not UTF-8 must not end a training
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            _check_language()
            code = job()
            sys.stdout.flush()
        except UserError as fault:
            fail(fault)
        except KeyboardInterrupt as stop:
            number = stop.args[0] if stop.args and isinstance(stop.args[0], signal.Signals) else signal.SIGINT
            name = "Ctrl-C" if number == signal.SIGINT else number.name
            print("\n" + message("interrupted", signal=name), file=sys.stderr)
            sys.exit(128 + number)
        except OSError as fault:
            if fault.errno not in _DISK_FAULTS:
                raise
            what, todo = _DISK_FAULTS[fault.errno]
            fail(UserError(what, where=_place_of(fault), todo=todo))
    except BrokenPipeError:  # `… | head`
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def run_command(words: Sequence[str], good: Sequence[int] = (0,)) -> None:
    """Run another command of the program in a process of its own; exit with its code where that is not a good one.

    It does not say what to run next, since this one goes on.

    Ctrl-C and SIGTERM are its business: it may have a recording or a checkpoint to finish, however long that takes.
    """
    environment = os.environ | {"PYTHONPATH": python_path(), "STEVE1_GOES_ON": "1"}
    with subprocess.Popen([sys.executable, "-m", "steve1", *words], env=environment) as child, _passed_on_to(child):
        code = child.wait()
    code = 128 - code if code < 0 else code
    if code not in good:
        sys.exit(code)


@contextlib.contextmanager
def _passed_on_to(child: subprocess.Popen[Any]) -> Iterator[None]:
    """Ctrl-C and SIGTERM do not stop this process in the body; they go to the child."""

    def pass_on(number: int, _: object) -> None:
        if number != signal.SIGINT or not _in_foreground():  # a terminal has told the child too
            child.send_signal(number)

    with handling(pass_on, signal.SIGINT, signal.SIGTERM):
        yield


def _in_foreground() -> bool:
    """Whether this process belongs to those that the terminal's Ctrl-C reaches."""
    with contextlib.suppress(OSError), open("/dev/tty", "rb", buffering=0) as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False


def _place_of(fault: OSError) -> str:
    named = isinstance(fault.filename, (str, bytes, os.PathLike))
    # FFmpeg names its files by their protocol.
    return str(Path(os.fsdecode(fault.filename).removeprefix("file:")).absolute()) if named else "while writing"


def typed() -> str:
    """How the command was started: the script that was typed, or the Python command."""
    script = os.environ.pop("STEVE1_SCRIPT", "")  # of tools/python.sh; not for the processes that this one starts
    if script:
        return f"bash {shlex.quote(script)}"
    words = started_with()
    if words and Path(words[0]).name == "steve1":
        return shlex.join(["steve1", *words[1:2]])
    count = 1 if words[:1] != ["-m"] else 3 if words[1] == "steve1" else 2
    python = getattr(sys, "orig_argv", ["python"])[0]
    return shlex.join([display(python) if Path(python).is_absolute() else python, *words[:count]])


def _check_utf8(*texts: str) -> None:
    """Refuse paths with bytes that are not UTF-8 (of a zip from another system): neither JSON nor safetensors can name them."""
    for text in texts:
        if text != text.encode(errors="replace").decode():
            shown = os.fsencode(text).decode(errors="backslashreplace")
            raise UserError(
                "This name is not UTF-8 text.", where=shown, todo="rename it, for example with convmv -f gbk -t utf-8"
            )


def _check_language() -> None:
    given = os.environ.get("STEVE1_LANG", "")
    if given and not given.lower().startswith(LANGUAGES):
        raise UserError("STEVE1_LANG names an unknown language.", got=given, expected=" or ".join(LANGUAGES))
