"""Errors that a user can cause and fix: one exception type that says what, where, expected, got, and what to do next."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

from steve1.core.messages import message, padded, translated


class UserError(Exception):
    """A fault in what the user gave us (files, settings, weights, a missing program), never a bug of ours.

    Args:
        what: one sentence that names the fault.
        where: file, line, key or frame.
        expected: what would have been right.
        got: what was found.
        todo: the command or edit that fixes it.
    """

    def __init__(
        self, what: str, *, where: object = "", expected: object = "", got: object = "", todo: str = ""
    ) -> None:
        self.what, self.where, self.expected, self.got, self.todo = what, str(where), str(expected), str(got), todo
        super().__init__(what)

    def _rows(self) -> list[tuple[str, str]]:
        """What follows the first sentence, in the user's language. The attributes stay in English."""
        rows = [("where", self.where), ("expected", self.expected), ("got", self.got), ("next", self.todo)]
        return [(name, translated(text)) for name, text in rows if text]

    def __str__(self) -> str:
        labels = {name: message(name) + ":" for name, _ in self._rows()}
        rows = [f"  {padded(labels[name], 10)}{text}" for name, text in self._rows()]
        return "\n".join([translated(self.what), *rows])

    def changed(self, how: Callable[[str], str]) -> UserError:
        """The same fault in the user's language, with each of its texts changed."""
        return _rebuild(
            type(self), *map(how, map(translated, (self.what, self.where, self.expected, self.got, self.todo)))
        )

    @property
    def one_line(self) -> str:
        """All parts on one line, for lists of many faults."""
        parts = [translated(self.what).rstrip(".。")]
        parts += [message("fault part", name=message(name), text=text) for name, text in self._rows()]
        return " ".join(message("answer and").join(parts).split())

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send exceptions back by pickle; keyword-only fields would be lost without this.
        return (_rebuild, (type(self), self.what, self.where, self.expected, self.got, self.todo))


def _rebuild(kind: type[UserError], what: str, where: str, expected: str, got: str, todo: str) -> UserError:
    return kind(what, where=where, expected=expected, got=got, todo=todo)


def fail(fault: UserError) -> NoReturn:
    """Print the fault and end the program with exit code 2."""
    sys.stdout.flush()
    print(f"\n{message('error')}: {fault}", file=sys.stderr)
    sys.exit(2)


def optional_package(name: str, extra: str, what: str) -> ModuleType:
    """An optional package's module.

    Args:
        name: the module, such as "pyarrow.parquet".
        extra: of pyproject.toml, which installs it.
        what: what needs it, as the subject of a sentence.

    Raises:
        UserError: it is not installed.
    """
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as fault:
        raise UserError(
            f"{what} needs the package {package}, which is not installed.",
            got=str(fault),
            todo=f'.venv/bin/python -m pip install -e ".[{extra}]"',
        ) from None


def closest(name: str, choices: list[str]) -> str:
    """What an unknown name may have meant: the choices like it, or nothing."""
    found = {each: difflib.SequenceMatcher(None, name, each).ratio() for each in choices}
    best = max([0.6, *found.values()])
    return message("or").join([each for each in choices if found[each] > best - 0.05 and found[each] >= 0.6][:3])


def nearest(name: str, choices: list[str]) -> str:
    """What was expected in place of an unknown name: the choices like it, or the first twenty and how many more there are."""
    names, more = ", ".join(sorted(choices)[:20]), len(choices) - 20
    return closest(name, choices) or (
        message("one of many", names=names, count=more) if more > 0 else message("one of", names=names)
    )
