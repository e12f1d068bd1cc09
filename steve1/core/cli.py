"""What every command has in common.

In: a dataclass of arguments and a function. Out: `--help` with defaults, flags with underscores or dashes, errors of the
user's as a message (exit 2) instead of a traceback, Ctrl-C as exit 130.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from steve1.core.errors import UserError

Arguments = TypeVar("Arguments")


def run(
    arguments: Callable[..., Arguments],
    main: Callable[[Arguments], Any],
    description: str = "",
    argv: Sequence[str] | None = None,
) -> None:
    """Parse the command line into `arguments` (a dataclass; field docstrings are the help) and call `main` with it.

    A bool field is a bare flag: `--overwrite` / `--no_overwrite`. `main` may return an int, the exit code.
    """
    import tyro

    parsed = tyro.cli(arguments, description=description or None, args=argv, use_underscores=True)
    try:
        code = main(parsed)
    except UserError as fault:
        sys.stdout.flush()
        print(f"\nerror: {fault}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C; the same command continues where it can.", file=sys.stderr)
        sys.exit(130)
    except OSError as fault:
        if fault.errno != errno.ENOSPC:
            raise
        print(
            f"\nerror: The disk is full.\n  where:    {fault.filename or 'while writing'}\n  next:     free some space and run the same command again",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
