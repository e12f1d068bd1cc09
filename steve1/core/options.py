"""A command's options from the fields of a dataclass: argparse reads and prints them, their faults are our messages.

A field's docstring is its help. A bool is a switch (`--overwrite`, `--no_overwrite`), a tuple takes several values, a dataclass
inside brings its own fields. `GROUPS: ClassVar = {"data": "batch_size T", ...}` orders the help: under each title (a key of
MESSAGES) its options; those that no group names stand first, under "options".
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import inspect
import itertools
import math
import os
import re
import shutil
import textwrap
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from steve1.core.errors import UserError, closest, nearest
from steve1.core.messages import message, translated, wrap

Settings = TypeVar("Settings")
_SCRIPT = re.compile(r"(bash \S+\.sh(?: (?!or\b|and\b|with\b)[^\s;,()]+)*)")  #: a script's command, with its words
# Before each word that is no flag, so that argparse takes -1e3 and -x for values; no command line can hold it.
_WORD = "\0"


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


class _Help(argparse.HelpFormatter):
    """The help on at most 100 columns; an option's metavar is all that stands on its left, flags included."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=min(100, shutil.get_terminal_size((100, 24)).columns))

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, f"{message('usage')}: ")

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in wrap(text, width - len(indent)))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return str(action.metavar)


class CommandLine(Generic[Settings]):
    """The options of a command.

    Args:
        settings: the dataclass that they fill.
        program: how the command was started, for messages and the usage line.
    """

    def __init__(self, settings: Callable[..., Settings], program: str, about: str = "") -> None:
        assert isinstance(settings, type)
        self._settings, self.program = settings, program
        self._flags: dict[str, argparse.Action] = {}
        self._names: dict[str, str] = {}  # on the command line, by field
        self._required: dict[str, str] = {}  # flag, by field
        self._typed: dict[str, str] = {}
        self._parser = argparse.ArgumentParser(
            usage=f"{program} [OPTIONS]".replace("%", "%%"),
            description=translated(about),
            formatter_class=_Help,
            argument_default=argparse.SUPPRESS,
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
        )
        self._groups = {"": self._parser.add_argument_group()}
        self._groups["options"] = self._parser.add_argument_group(message("options"))
        self._add_fields(settings)

    def _add_fields(self, settings: type) -> None:
        hints, texts = typing.get_type_hints(settings, include_extras=True), _texts(settings)
        groups: dict[str, str] = {}
        for kind in settings.__mro__:
            for title, names in vars(kind).get("GROUPS", {}).items():
                groups |= {name: title for name in names.split() if name not in groups}
        places = {name: place for place, name in enumerate(groups, 1)}
        for field in sorted(dataclasses.fields(settings), key=lambda field: places.get(field.name, 0)):
            hint, option = hints[field.name], Option()
            if typing.get_origin(hint) is typing.Annotated:
                hint, option = typing.get_args(hint)
            if dataclasses.is_dataclass(hint):
                self._add_fields(typing.cast("type", hint))
            elif field.init and not option.hidden:
                default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
                text = translated(option.help or texts.get(field.name, "")) + _default(default)
                self._add(field.name, hint, option, default, text, groups.get(field.name, "options"))

    def _add(self, dest: str, hint: Any, option: Option, default: Any, text: str, title: str) -> None:
        kind, nargs, choices = _type_of(hint)
        choices, name, text = option.choices or choices, option.name or dest, text.replace("%", "%%")
        flags = [*([] if option.positional else [f"--{name}"]), *option.aliases]
        if title not in self._groups:
            self._groups[title] = self._parser.add_argument_group(message(title))
        add = self._groups["" if option.positional else title].add_argument
        if not option.positional:
            self._names[dest] = name
        if default is dataclasses.MISSING:
            self._required[dest] = (flags or [name])[0]
        if kind is bool:
            off = [] if name.startswith("no_") else [f"--no_{name}"]
            self._flags |= dict.fromkeys(flags, add(*flags, dest=dest, action="store_true", help=text))
            self._flags[flags[0]].metavar = ", ".join(flags + off * bool(default))
            for flag in off:
                self._flags[flag] = add(flag, dest=dest, action="store_false", help=argparse.SUPPRESS)
            return
        convert = functools.partial(_value, (flags or [name])[0], kind, choices, default is None)
        value = {int: "N", float: "X"}.get(kind, "" if choices else "VALUE")
        value = "{" + ",".join([*filter(None, [value]), *choices]) + "}" if choices else value
        value = f"{value} ..." if nargs == "+" else " ".join([value] * (nargs or 1))
        if option.positional:
            first = name.upper() + " ..." * (nargs == "+")
            left = ", ".join([first, *(f"{flag} {value}" for flag in flags)])
            add(dest, nargs=nargs, type=convert, help=text, metavar=left).required = False
            self._parser.usage = f"{self._parser.usage} {first}"
            text = argparse.SUPPRESS
        if flags:
            left = f"{', '.join(flags)} {value}"
            action = add(*flags, dest=dest, nargs=nargs, type=convert, help=text, metavar=left)
            self._flags |= dict.fromkeys(flags, action)

    def parse(self, words: Sequence[str]) -> Settings | None:
        """The settings that `words` ask for; None where they ask for the help.

        Raises:
            UserError: all options that do not exist, and the first other fault.
        """
        if {"-h", "--help"} & set(words):
            return None
        prepared, faults = self._prepare(words)
        found = argparse.Namespace()
        try:
            _, left = self._parser.parse_known_intermixed_args(prepared, found)
            if not faults:  # else they may belong to an option that does not exist
                faults = [UserError(message("option stray", word=word.removeprefix(_WORD))) for word in left]
            missing = [flag for dest, flag in self._required.items() if dest not in found]
            if missing and not faults:
                raise UserError(message("options missing", flags=", ".join(missing)))
        except UserError as fault:
            faults.append(fault)
        except argparse.ArgumentError as fault:
            flag = str(fault.argument_name).partition("/")[0]
            count = self._flags[flag].nargs
            key = "option count" if isinstance(count, int) else "option needs value"
            faults.append(UserError(message(key, flag=flag, count=count)))
        if len(faults) > 1:
            listed = "".join(f"\n  {number}. {fault.one_line}" for number, fault in enumerate(faults, 1))
            faults = [UserError(message("options wrong", count=len(faults)) + listed)]
        if faults:
            faults[0].todo = f"{self.program} --help"
            raise faults[0]
        return _build(self._settings, vars(found))

    def _prepare(self, words: Sequence[str]) -> tuple[list[str], list[UserError]]:
        """The words for argparse, `--a-b=c` as --a_b and c, and what is wrong with the flags among them."""
        prepared, faults = [""], []
        for word in words:
            value, equals = word, ""
            if re.match("--[A-Za-z]", word):
                name, equals, value = word.partition("=")
                prepared.append("--" + name[2:].replace("-", "_"))
                if action := self._flags.get(prepared[-1]):
                    self._typed[action.dest] = prepared[-1]
                else:
                    close = closest(prepared[-1], list(self._flags))
                    hint = " " + message("did you mean", names=close) if close else ""
                    faults.append(UserError(message("option unknown", flag=prepared[-1]) + hint))
                if not equals:
                    continue
            action = self._flags.get(prepared[-1])
            if action and action.nargs == 0 and (equals or word.lower() in ("true", "false", "0", "1")):
                faults.append(UserError(message("option switch", flag=prepared[-1]), got=value))
            prepared.append(_WORD + value)
        return prepared[1:], faults

    def as_typed(self, text: str) -> str:
        """`text` with settings called as on the command line: val_freq is --val_freq, --text_prompt is --prompt if that was typed.

        The words of another script's command stay: the file in `bash 0_download_weights.sh idm_model` is no option.
        """
        parts = _SCRIPT.split(text)
        for dest, name in self._names.items():
            if "_" in name or dest in self._typed:
                found = rf"(?<![-\w./]){'(--)?' if '_' in name else '--'}{name}(?![\w./(=])"
                parts[::2] = [re.sub(found, self._typed.get(dest, f"--{name}"), part) for part in parts[::2]]
        return "".join(parts)

    def help(self) -> str:
        """What `--help` prints."""
        return self._parser.format_help().rstrip("\n")


def _value(flag: str, kind: type, choices: tuple[str, ...], optional: bool, word: str) -> Any:
    """A word as the option's type; UserError where it is none."""
    word = word.removeprefix(_WORD)
    if word in choices:
        return word
    if optional and word in ("", "none", "None"):
        return None
    try:
        if choices and kind is str:
            raise ValueError(word)
        if kind in (int, float):
            number = float(word)
            if not math.isfinite(number) or (kind is int and number != int(number)):
                raise ValueError(word)
            return int(word) if re.fullmatch(r"[-+]?\d+", word) else kind(number)
        return kind(word)
    except ValueError:
        what = "option choice" if choices else "option whole number" if kind is int else "option number"
        variable = flag.lstrip("-").upper()
        where = message("variable", name=variable) if os.environ.get(variable) == word else ""
        expected = nearest(word, list(choices)) if choices else ""
        raise UserError(message(what, flag=flag), where=where, expected=expected, got=word) from None


def _build(settings: type[Settings], values: dict[str, Any]) -> Settings:
    hints = typing.get_type_hints(settings)
    given = {}
    for field in dataclasses.fields(typing.cast("Any", settings)):
        if dataclasses.is_dataclass(hints[field.name]):
            given[field.name] = _build(typing.cast("type[Any]", hints[field.name]), values)
        elif field.name in values:
            value = values[field.name]
            given[field.name] = tuple(value) if isinstance(value, list) else value
    return settings(**given)


def _type_of(hint: Any) -> tuple[type, Any, tuple[str, ...]]:
    """(type of a value, number of values as argparse has it, choices) of an annotation."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):  # the first, with the words of int | Literal["auto"]
        found = [_type_of(each) for each in inner if each is not type(None)]
        return *found[0][:2], next((choices for _, _, choices in found if choices), ())
    if origin is typing.Literal:
        return str, None, inner
    if origin in (tuple, list):
        kind, _, choices = _type_of(inner[0])
        return kind, "+" if origin is list or inner[-1] is Ellipsis else len(inner), choices
    return hint, None, ()


def _texts(settings: type) -> dict[str, str]:
    """{field: the string below it} of a class and those that it extends."""
    found: dict[str, str] = {}
    for kind in filter(dataclasses.is_dataclass, reversed(settings.__mro__)):
        tree: Any = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        for pair in itertools.pairwise(tree.body):
            match pair:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(str(text))):
                    found[name] = text
    return found


def _default(value: Any) -> str:
    """The default as it stands at the end of the help; nothing where it says nothing."""
    if value is dataclasses.MISSING:
        return message("help required")
    if value is None or value is False or value in ("", (), []):
        return ""
    if value is True:
        value = message("switched on")
    values = value if isinstance(value, (tuple, list)) else (value,)
    shown = " ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in values)
    return message("help default", value=shown)
