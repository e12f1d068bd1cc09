"""What every command has in common: options from a dataclass, `--help` with defaults, faults as messages, exit codes."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from steve1.core.errors import UserError, fail
from steve1.core.messages import LANGUAGES, message

Arguments = TypeVar("Arguments")

# Faults of a disk or folder, which no change of the program would fix: (message, what to do).
_DISK_FAULTS = {
    errno.ENOSPC: ("The disk is full.", "free some space and run the same command again"),
    errno.EDQUOT: ("Your quota on this disk is used up.", "free some space and run the same command again"),
    errno.EACCES: ("This file or folder may not be written or read.", "change its owner or permissions, or choose another folder"),
    errno.EROFS: ("This disk is read-only.", "choose a folder on another disk"),
}  # fmt: skip


def run(
    arguments: Callable[..., Arguments],
    main: Callable[[Arguments], Any],
    description: str = "",
    argv: Sequence[str] | None = None,
    program: str | None = None,
) -> NoReturn:
    """Parse the command line into `arguments` and call `main` with it; exit with its code, 2 for a UserError, 130 for Ctrl-C.

    Args:
        arguments: a dataclass; its field docstrings are the help. A bool field is a bare flag: `--overwrite` / `--no_overwrite`.
        main: may return an int, the exit code.
        program: the command's name in its usage line.
    """
    import tyro  # here: a missing package is a message of the program, and `steve1 --help` needs none

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or log that is not UTF-8 must not end a training
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_language()
        code = main(tyro.cli(arguments, description=description or None, args=argv, prog=program, use_underscores=True))
        sys.stdout.flush()
    except UserError as fault:
        fail(fault)
    except KeyboardInterrupt:
        print("\n" + message("interrupted"), file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `… --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as fault:
        if fault.errno not in _DISK_FAULTS:
            raise
        what, todo = _DISK_FAULTS[fault.errno]
        fail(UserError(what, where=fault.filename or "while writing", todo=todo))
    sys.exit(code if isinstance(code, int) else 0)


def _check_language() -> None:
    given = os.environ.get("STEVE1_LANG", "")
    if given and not given.lower().startswith(LANGUAGES):
        raise UserError("STEVE1_LANG names no language that there is.", got=given, expected=" or ".join(LANGUAGES))
