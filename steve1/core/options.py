"""A command's options from the fields of a dataclass: parsing, faults as messages, and `--help` in groups.

A field's docstring is its help. A bool is a switch (`--overwrite`, `--no_overwrite`), a tuple takes several values, a dataclass
inside brings its own fields. `GROUPS: ClassVar = {"data": "batch_size T", ...}` orders the help: under each title (a key of
MESSAGES) its options; those that no group names stand first, under "options".
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import os
import re
import shutil
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from steve1.core.errors import UserError, closest, nearest
from steve1.core.messages import message

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class Option:
    """What a field's annotation says beyond its type: `Annotated[str, Option(aliases=("--prompt",))]`."""

    aliases: tuple[str, ...] = ()
    name: str = ""
    """On the command line, in place of the field's name."""
    positional: bool = False
    hidden: bool = False
    choices: tuple[str, ...] = ()
    help: str = ""


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One option."""

    field: str
    option: Option
    kind: type
    """str, int, float, bool or Path."""
    count: int
    """How many values: 1, another fixed number, or 0 for one or more."""
    choices: tuple[str, ...]
    default: Any
    help: str
    group: str

    @property
    def name(self) -> str:
        """Its name on the command line."""
        return self.option.name or self.field

    @property
    def flags(self) -> list[str]:
        """The words that select it; none for a positional one without other names."""
        return [*([] if self.option.positional else [f"--{self.name}"]), *self.option.aliases]

    @property
    def off(self) -> list[str]:
        """The flag that turns a switch off."""
        return [f"--no_{self.name}"] if self.kind is bool and not self.name.startswith("no_") else []

    @property
    def most(self) -> int | None:
        """How many words it takes at most; None: any number."""
        return 0 if self.kind is bool else self.count or None

    @property
    def placeholder(self) -> str:
        """What stands for its values in the help."""
        number = {int: "N", float: "X"}.get(self.kind, "")
        names = [*filter(None, [number]), *self.choices]
        name = "{" + ",".join(names) + "}" if self.choices else number or "VALUE"
        return "" if self.most == 0 else f"{name} ..." if self.count == 0 else " ".join([name] * self.count)


class CommandLine(Generic[Settings]):
    """The options of a command.

    Args:
        settings: the dataclass that they fill.
        program: how the command was started, for messages and the usage line.
    """

    def __init__(self, settings: Callable[..., Settings], program: str, about: str = "") -> None:
        assert isinstance(settings, type)
        self._settings, self.program, self._about = settings, program, about
        self._entries = _entries(settings)
        self._typed: dict[str, str] = {}

    def parse(self, words: Sequence[str]) -> Settings | None:
        """The settings that `words` ask for; None where they ask for the help.

        Raises:
            UserError: everything in `words` that cannot be, in one message.
        """
        flags = {flag: entry for entry in self._entries for flag in [*entry.off, *entry.flags]}
        values: dict[str, Any] = {}
        faults: list[UserError] = []
        stray: list[str] = []
        for flag, given in _pieces(words):
            entry = flags.get(flag)
            if flag in ("-h", "--help"):
                return None
            if not flag:
                stray += given
                continue
            if entry is None:
                close = closest(flag, list(flags))
                hint = " " + message("did you mean", names=close) if close else ""
                faults.append(UserError(message("option unknown", flag=flag) + hint))
                continue
            used = given[: entry.most]
            self._typed[entry.name] = flag.removeprefix("--")
            if entry.kind is bool:
                values[entry.field] = flag not in entry.off
                if [word.lower() for word in given[:1]] in (["true"], ["false"], ["0"], ["1"]):
                    faults.append(UserError(message("option switch", flag=flag), got=given.pop(0)))
            else:
                faults += _take(entry, flag, used, values)
            stray += given[len(used) :]
        for entry in self._entries:
            if entry.option.positional and stray:
                used, stray = stray[: entry.most], stray[len(stray[: entry.most]) :]
                faults += _take(entry, entry.name, used, values)
        faults += [UserError(message("option stray", word=word)) for word in stray]
        missing = [
            (entry.flags or [entry.name])[0]
            for entry in self._entries
            if entry.default is dataclasses.MISSING and entry.field not in values
        ]
        if missing and not faults:
            faults.append(UserError(message("options missing", flags=", ".join(missing))))
        if faults:
            raise self._together(faults)
        return _build(self._settings, values)

    def _together(self, faults: list[UserError]) -> UserError:
        todo = f"{self.program} --help"
        if len(faults) == 1:
            fault = faults[0]
            return UserError(fault.what, where=fault.where, expected=fault.expected, got=fault.got, todo=todo)
        listed = "".join(f"\n  {number}. {fault.one_line}" for number, fault in enumerate(faults, 1))
        return UserError(message("options wrong", count=len(faults)) + listed, todo=todo)

    def as_typed(self, text: str) -> str:
        """`text` with settings called as on the command line: val_freq is --val_freq, --text_prompt is --prompt if that was typed."""
        for entry in self._entries:
            if not entry.option.positional and ("_" in entry.name or entry.name in self._typed):
                dashes = "(--)?" if "_" in entry.name else "--"
                found = rf"(?<![-\w./]){dashes}{entry.name}(?![\w./(=])"
                text = re.sub(found, "--" + self._typed.get(entry.name, entry.name), text)
        return text

    def help(self) -> str:
        """What `--help` prints."""
        width = min(100, shutil.get_terminal_size((100, 24)).columns)
        first = [entry for entry in self._entries if entry.option.positional]
        usage = [self.program, "[OPTIONS]", *(entry.name.upper() + " ..." * (entry.count == 0) for entry in first)]
        blocks = [f"{message('usage')}: {' '.join(usage)}", textwrap.fill(self._about, width)]
        blocks.append("\n".join(_row(entry, width) for entry in first))
        groups: dict[str, list[str]] = {"options": []}
        for entry in self._entries:
            if not entry.option.positional:
                groups.setdefault(entry.group, []).append(_row(entry, width))
        blocks += ["\n".join([f"{message(title)}:", *rows]) for title, rows in groups.items()]
        return "\n\n".join(block for block in blocks if block)


def _pieces(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(flag, the words after it), `--a-b=c` as --a_b and c; words before the first flag have an empty one."""
    flag, given = "", []  # type: str, list[str]
    for word in words:
        if word != "-h" and not re.match(r"--[A-Za-z]", word):
            given.append(word)
            continue
        if flag or given:
            yield flag, given
        name, equals, value = word.partition("=")
        flag, given = name[:2] + name[2:].replace("-", "_"), [value] if equals else []
    if flag or given:
        yield flag, given


def _take(entry: _Entry, flag: str, words: list[str], values: dict[str, Any]) -> list[UserError]:
    """Put the values of an option into `values`; what is wrong with them."""
    if len(words) < max(1, entry.count):
        what = "option needs value" if entry.count < 2 else "option count"
        return [UserError(message(what, flag=flag, count=entry.count))]
    found, faults = [], []
    for word in words:
        try:
            found.append(_value(entry, word))
        except ValueError:
            what = "option choice" if entry.choices else "option whole number" if entry.kind is int else "option number"
            variable = entry.name.upper()
            where = message("variable", name=variable) if os.environ.get(variable) == word else ""
            expected = nearest(word, list(entry.choices)) if entry.choices else ""
            faults.append(UserError(message(what, flag=flag), where=where, expected=expected, got=word))
    values[entry.field] = found[0] if entry.count == 1 and found else tuple(found)
    return faults


def _value(entry: _Entry, word: str) -> Any:
    """`word` as the option's type; ValueError where it is none."""
    if entry.default is None and word in ("", "none", "None"):
        return None
    if word in entry.choices:
        return word
    if entry.choices and entry.kind is str:
        raise ValueError(word)
    if entry.kind in (int, float):
        number = float(word)
        if not math.isfinite(number) or (entry.kind is int and number != int(number)):
            raise ValueError(word)
        return int(word) if re.fullmatch(r"[-+]?\d+", word) else entry.kind(number)
    return entry.kind(word)


def _build(settings: type[Settings], values: dict[str, Any]) -> Settings:
    hints = typing.get_type_hints(settings)
    given = {}
    for field in dataclasses.fields(typing.cast("Any", settings)):
        if dataclasses.is_dataclass(hints[field.name]):
            given[field.name] = _build(typing.cast("type[Any]", hints[field.name]), values)
        elif field.name in values:
            given[field.name] = values[field.name]
    return settings(**given)


def _entries(settings: type) -> list[_Entry]:
    """The options of a dataclass and of those inside it, in the order of the help."""
    hints, texts = typing.get_type_hints(settings, include_extras=True), _texts(settings)
    groups: dict[str, str] = {}
    for kind in settings.__mro__:
        for title, names in vars(kind).get("GROUPS", {}).items():
            groups |= {name: title for name in names.split() if name not in groups}
    found: list[_Entry] = []
    for field in dataclasses.fields(settings):
        hint, option = hints[field.name], Option()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *notes = typing.get_args(hint)
            option = next((note for note in notes if isinstance(note, Option)), option)
        if option.hidden or not field.init:
            continue
        if dataclasses.is_dataclass(hint):
            found += _entries(typing.cast("type", hint))
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = tuple(default) if isinstance(default, list) else default
        kind, count, choices = _type_of(hint)
        help_text, group = option.help or texts.get(field.name, ""), groups.get(field.name, "options")
        found.append(_Entry(field.name, option, kind, count, option.choices or choices, default, help_text, group))
    places = {name: place for place, name in enumerate(groups, 1)}
    return sorted(found, key=lambda entry: places.get(entry.field, 0))


def _type_of(hint: Any) -> tuple[type, int, tuple[str, ...]]:
    """(type of a value, number of values, choices) of an annotation."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, getattr(types, "UnionType", None)):
        found = [_type_of(each) for each in inner if each is not type(None)]
        # A number or one of some words, as int | Literal["auto"]
        return *found[0][:2], next((choices for _, _, choices in found if choices), ())
    if origin is typing.Literal:
        return str, 1, inner
    if origin in (tuple, list):
        kind, _, choices = _type_of(inner[0])
        return kind, 0 if origin is list or inner[-1] is Ellipsis else len(inner), choices
    return hint, 1, ()


def _texts(settings: type) -> dict[str, str]:
    """{field: the string below it} of a class and those that it extends."""
    found: dict[str, str] = {}
    for kind in reversed(settings.__mro__):
        if dataclasses.is_dataclass(kind):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
            body = tree.body if isinstance(tree, ast.ClassDef) else []
            for node, after in itertools.pairwise(body):
                if (
                    isinstance(node, ast.AnnAssign)
                    and isinstance(after, ast.Expr)
                    and isinstance(node.target, ast.Name)
                ):
                    found[node.target.id] = str(ast.literal_eval(after.value))
    return found


def _row(entry: _Entry, width: int) -> str:
    """An option's lines in the help: flags on the left, what it does and its default on the right."""
    if entry.option.positional:
        flags = [f"{entry.name.upper()} ..." if entry.count == 0 else entry.name.upper(), *entry.flags]
    else:
        flags = [*entry.flags, *(entry.off if entry.default else [])]
    left = f"  {', '.join(flags)} {entry.placeholder if entry.flags else ''}".rstrip()
    right = textwrap.wrap(entry.help + _default(entry), width - 26)
    lines = [left, ""] if len(left) > 24 else [f"{left:<26}"]
    lines[-1] += right[0] if right and len(lines) == 1 else ""
    rest = right if len(lines) == 2 else right[1:]
    return "\n".join([line for line in lines if line.strip()] + [" " * 26 + line for line in rest])


def _default(entry: _Entry) -> str:
    """The default as it stands at the end of the help; nothing where it says nothing."""
    value = entry.default
    if value is dataclasses.MISSING:
        return f" ({message('required')})"
    if value is None or value is False or value in ("", ()):
        return ""
    if value is True:
        value = message("switched on")
    values = value if isinstance(value, tuple) else (value,)
    shown = " ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in values)
    return f" ({message('default')}: {shown})"
