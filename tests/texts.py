"""Finds in the source what users read: the help of every option, every text of every UserError, console lines and words of tables and pictures in plain English, with {0}, {1} … for what is filled in."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import itertools
import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from steve1.__main__ import COMMANDS
from steve1.core.options import Option, _texts
from steve1.core.paths import ROOT

#: the packages, each with commands of its own
ROOTS = (ROOT / "steve1", ROOT / "research", ROOT / "benchmarks")
KINDS = {"UserError", "GameDied", "Missing", "Refused"}  #: UserError and what derives from it
#: their tables are published or pasted into an issue, and stay in English
ENGLISH = {"steve1/reporting/cards.py", "steve1/commands/tools/gpu_check.py"}
PARTS = ("what", "where", "expected", "got", "todo")
#: what stands before the words of a script's line
SCRIPT_WORDS = re.compile(r"^( +\w+=.*?   # | *(needs|makes|takes|usage|watch): +| +)")
_HAS_WORD = re.compile(r"(?<![\w./{-])[a-z]{3,}(?![\w/_-])")
_COMMAND = re.compile(r"^(bash|python|\.venv|pip|apt|sudo|git|export|ulimit|[A-Z_]+=|--\w+\b)")


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A file's source as a tree, which every search goes through. All of them take much memory: `parsed.cache_clear()` after the last."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def errors(*roots: Path) -> dict[str, dict[str, str]]:
    """{part: {text: file:line of the first place}} of every UserError that is made below `roots`, by default the packages."""
    found: dict[str, dict[str, str]] = {part: {} for part in PARTS}
    for path in _sources(roots):
        tree = parsed(path)
        for scope in ast.walk(tree):
            if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            named = _assigned(scope)
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and _name(node.func) in KINDS:
                    parts = {"what": node.args[0]} if node.args else {}
                    parts |= {word.arg: word.value for word in node.keywords if word.arg in PARTS}
                    for part, value in parts.items():
                        for text in texts(value, named):
                            if part == "what" or _is_sentence(text) or (part == "where" and _HAS_WORD.search(text)):
                                found[part].setdefault(text, f"{_place(path)}:{node.lineno}")
    return found


@functools.cache
def console_lines(*roots: Path) -> dict[str, tuple[str, bool]]:
    """{text: (file:line of the first place, whether `translated` is around it there)} of what `print`, `say` and progress bars are given in English.

    Lines of MESSAGES are left out, and what has no word of its own.
    """
    found: dict[str, tuple[str, bool]] = {}
    for path in _sources(roots):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and _name(node.func) in ("print", "say", "progress"):
                place = f"{_place(path)}:{node.lineno}"
                bars = _name(node.func) == "progress"
                shown_values = [word.value for word in node.keywords if word.arg == "desc"] if bars else node.args
                for text, shown in (each for value in shown_values for each in _printed(value)):
                    if _HAS_WORD.search(text) and not _COMMAND.match(text):
                        before, seen = found.get(text, (place, True))
                        found[text] = before if not seen else place, seen and shown
    return found


def warnings(*roots: Path) -> dict[str, str]:
    """{text: file:line of the first place} of what is logged as a warning."""
    found: dict[str, str] = {}
    for path in _sources(roots):
        for scope in ast.walk(parsed(path)):
            if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            named = _assigned(scope)
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and _dotted(node.func) == "_log.warning":
                    for text in texts(node.args[0], named):
                        found.setdefault(_numbered(text), f"{_place(path)}:{node.lineno}")
    return found


def _numbered(text: str) -> str:
    """A text of the log with {0}, {1} … for its %s, %d, %.1f …"""
    numbers = itertools.count()
    return re.sub(r"%[-.\d]*[sdfg]", lambda _: f"{{{next(numbers)}}}", text).replace("%%", "%")


@functools.cache
def headings(*roots: Path) -> dict[str, tuple[str, bool]]:
    """{text: (file:line of the first place, whether it is shown in the user's language there)} of titles of tables, and what `heading` and `label` are given.

    A table is shown in the user's language where `.translated()` follows it. Left out are tables written as CSV, those of `ENGLISH`, and titles
    without a word.
    """
    found: dict[str, tuple[str, bool]] = {}
    for path in _sources(roots):
        tree = parsed(path)
        place = str(_place(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _name(node.func) in ("heading", "label") and node.args:
                for text in texts(node.args[0], {}):
                    found.setdefault(text, (f"{place}:{node.lineno}", True))
        for scope in ast.walk(tree):
            if isinstance(scope, ast.FunctionDef) and place not in ENGLISH:
                for line, title, shown in _titles(scope):
                    if re.search("[A-Za-z]{2}", title):
                        before, seen = found.get(title, (f"{place}:{line}", True))
                        found[title] = before if not seen else f"{place}:{line}", seen and shown
    return found


def _sources(roots: Sequence[Path]) -> list[Path]:
    return [path for root in roots or ROOTS for path in sorted(root.rglob("*.py"))]


def _place(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else Path(path.name)


def _titles(scope: ast.FunctionDef) -> Iterator[tuple[int, str, bool]]:
    """Line, title and whether it is shown in the user's language, of every table that a function makes."""
    after = {id(node.value): node.attr for node in ast.walk(scope) if isinstance(node, ast.Attribute)}
    named = _assigned(scope)
    later = {
        node.func.value.id
        for node in ast.walk(scope)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "translated"
        and isinstance(node.func.value, ast.Name)
    }
    for node in ast.walk(scope):
        if (
            not (isinstance(node, ast.Call) and _dotted(node.func) in ("Table", "Table.of"))
            or after.get(id(node)) == "csv"
        ):
            continue
        names = {name for name, values in named.items() if any(value is node for value in values)}
        shown = after.get(id(node)) == "translated" or bool(names & later)
        if isinstance(node.func, ast.Attribute):  # rows that name their columns: every dictionary of the function
            dictionaries = [each for each in ast.walk(scope) if isinstance(each, ast.Dict)]
            keys = [key for each in dictionaries for key in each.keys if isinstance(key, ast.Constant)]
        else:
            columns = [node.args[0], *named.get(getattr(node.args[0], "id", ""), ())]
            keys = [
                each
                for value in columns
                if isinstance(value, ast.List)
                for each in value.elts
                if isinstance(each, ast.Constant)
            ]
        yield from ((node.lineno, str(key.value), shown) for key in keys)


def _printed(node: ast.expr, shown: bool = False) -> Iterator[tuple[str, bool]]:
    """The texts of a printed expression, and whether `translated` is around them."""
    match node:
        case ast.BinOp(left=left, right=right):
            yield from _printed(left, shown)
            yield from _printed(right, shown)
        case ast.IfExp(body=body, orelse=other):
            yield from _printed(body, shown)
            yield from _printed(other, shown)
        case ast.Starred(value=ast.ListComp(elt=value)) | ast.Starred(value=ast.GeneratorExp(elt=value)):
            yield from _printed(value, shown)
        case ast.Call(func=ast.Name(id="translated"), args=values):
            for value in values:
                yield from _printed(value, True)
        case _:
            yield from ((text, shown) for text in texts(node, {}))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _dotted(node: ast.expr) -> str:
    """`a` or `a.b` as it stands there, "" for anything else."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """Variables of a function and what is assigned to them."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    for each, value in zip(target.elts, node.value.elts):
                        if isinstance(each, ast.Name):
                            found.setdefault(each.id, []).append(value)
    return found


def texts(node: ast.expr, named: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The texts that an expression can be, as far as they stand in the source."""
    match node:
        case ast.Constant(value=str(text)) if text:
            yield text
        case ast.JoinedStr(values=values):
            parts = [part.value if isinstance(part, ast.Constant) else None for part in values]
            if any(part and re.search("[A-Za-z]", str(part)) for part in parts):
                numbers = iter(range(len(parts)))
                yield "".join(f"{{{next(numbers)}}}" if part is None else str(part) for part in parts)
        case ast.IfExp(body=body, orelse=other):
            yield from texts(body, named)
            yield from texts(other, named)
        case ast.BoolOp(values=values):
            for value in values:
                yield from texts(value, named)
        case ast.Name(id=name):
            others = {other: values for other, values in named.items() if other != name}
            for value in named.get(name, ()):
                yield from texts(value, others)


def _is_sentence(text: str) -> bool:
    """Whether a text is words to read, and no command, path, value or list of names. A command may have words after it: "bash a.sh, or put them there"."""
    words = re.findall(r"(?<![\w./{-])[a-z]{2,}(?![\w./_-])", re.sub('"[^"]*"', "", text))
    return len(words) >= (2 if not _COMMAND.match(text) else 4)


def given_to(function: str) -> dict[str, str]:
    """{text: file:line of the first place} of what a function is given as text, anywhere in the packages."""
    found: dict[str, str] = {}
    for path in _sources(ROOTS):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and _name(node.func) == function:
                for text in (each for value in node.args for each in texts(value, {})):
                    if _HAS_WORD.search(text):
                        found.setdefault(text, f"{_place(path)}:{node.lineno}")
    return found


def faults() -> dict[str, str]:
    """{text: file:line} of what settings can have wrong: what is put into lists called `faults`, and the keys of `…_rules`."""
    found: dict[str, str] = {}
    for path in _sources(ROOTS):
        for scope in ast.walk(parsed(path)):
            if not isinstance(scope, ast.FunctionDef):
                continue
            for node in ast.walk(scope):
                values: list[ast.expr] = []
                if isinstance(node, ast.Call) and _dotted(node.func) == "faults.append":
                    values = node.args
                elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    if [_dotted(target) for target in targets] == ["faults"] and node.value:
                        value = node.value
                        values = [value.elt] if isinstance(value, ast.ListComp) else getattr(value, "elts", [])
                elif (
                    isinstance(node, ast.Return) and isinstance(node.value, ast.Dict) and scope.name.endswith("_rules")
                ):
                    values = [key for key in node.value.keys if key]
                for text in (each for value in values for each in texts(value, {})):
                    if _HAS_WORD.search(text):
                        found.setdefault(text, f"{_place(path)}:{node.lineno}")
    return found


#: what is made of the reason why something was left out, is damaged or has died
_OF_REASONS = {"RefusedError", "TornError", "WorkerDied", "died", "_died", "_Passing", "Finding", "failed", "Result"}
#: lists of reasons
_REASONS = {"notes", "odd", "lonely", "left_out", "reasons", "findings", "changed", "counts"}
#: functions that give one reason or several, "" or [] for none
_GIVE_REASONS = re.compile(
    r".*_(fault|problem|notes|changes|part)|_?(lost_part|pace|stays|version_problem|why_\w+|differences|changed_\w+|unknown_buttons|hint|advice|missing_mods)"
)


def reasons(*roots: Path) -> dict[str, str]:
    """{text: file:line} of why a recording, video, episode, file, run or game was refused, left out, changed or lost: what `_OF_REASONS` are given, what is put into
    lists of `_REASONS`, what functions of `_GIVE_REASONS` return, and `report.add(…)`."""
    found: dict[str, str] = {}
    for path in _sources(roots or ROOTS[:1]):
        if str(_place(path)) in ENGLISH or path.name.startswith("adapter"):  # whose reasons come back in English
            continue
        for scope in ast.walk(parsed(path)):
            if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            named = _assigned(scope)
            for node in ast.walk(scope):
                for value in _reasons_in(node, bool(_GIVE_REASONS.fullmatch(scope.name))):
                    for text in _within(value, named):
                        if (
                            re.search("[a-z]{2}", text)
                            and " " in text.strip()
                            and not re.match("#|" + _COMMAND.pattern, text)
                        ):
                            found.setdefault(text, f"{_place(path)}:{node.lineno}")
    return found


def _reasons_in(node: ast.AST, gives: bool) -> list[ast.expr]:
    """The expressions of a node that are reasons."""
    if isinstance(node, ast.Call):
        name = _name(node.func)
        listed = node.func.value if isinstance(node.func, ast.Attribute) else None
        if name in _OF_REASONS:
            return [*node.args, *(word.value for word in node.keywords)]
        if name == "add" and isinstance(listed, ast.Name) and listed.id == "report":
            return node.args[2:]
        return node.args if name in ("append", "extend") and listed is not None and _name(listed) in _REASONS else []
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [node.value] if any(_name(target) in _REASONS for target in targets) else []
    return [node.value] if gives and isinstance(node, (ast.Return, ast.Yield)) and node.value is not None else []


def _within(node: ast.expr, named: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The texts of an expression and of the lists, tuples and sums in it."""
    match node:
        case ast.List(elts=values) | ast.Tuple(elts=values):
            for value in values:
                yield from _within(value, named)
        case ast.ListComp(elt=value) | ast.GeneratorExp(elt=value) | ast.Starred(value=value):
            yield from _within(value, named)
        case ast.IfExp(body=body, orelse=other):
            yield from _within(body, named)
            yield from _within(other, named)
        case ast.BinOp(left=left, right=right):
            yield from _within(left, named)
            yield from _within(right, named)
        case (
            ast.Call(func=ast.Name(id="translated"), args=values) | ast.Call(func=ast.Name(id="map"), args=[_, *values])
        ):
            for value in values:
                yield from _within(value, named)
        case _:
            yield from texts(node, named)


@functools.cache
def everything(*roots: Path) -> set[str]:
    """Every text in the source, with {0}, {1} … for what is filled in."""
    found: set[str] = set()
    for path in _sources(roots):
        for node in ast.walk(parsed(path)):
            if isinstance(node, (ast.Constant, ast.JoinedStr)):
                found |= set(texts(node, {}))
    return found | set(map(_numbered, found))


@functools.cache
def help_texts() -> dict[str, str]:
    """{text: command or command.field} of every command's description and options, the studies' and benchmarks' too."""
    found = {about: name for commands in COMMANDS.values() for name, about in commands.items()}
    for group, commands in COMMANDS.items():
        for name in commands:
            module = importlib.import_module(f"steve1.commands.{group}.{name}")
            found |= {text: f"{name}.{field}" for field, text in _fields(module.Args)}
    for name, about in studies().items():
        found |= {about: name} | {
            text: f"{name}.{field}" for field, text in _fields(importlib.import_module(name).Args)
        }
    return found


@functools.cache
def studies() -> dict[str, str]:
    """{module: its description} of every command outside steve1: `run(Args, main, "…")` in a study or benchmark."""
    found = {}
    for path in _sources(ROOTS[1:]):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and _name(node.func) == "run" and len(node.args) == 3:
                about = node.args[2]
                assert isinstance(about, ast.Constant), path
                found[".".join(path.relative_to(ROOT).with_suffix("").parts)] = str(about.value)
    return found


def _fields(settings: Any) -> Iterator[tuple[str, str]]:
    hints, below = typing.get_type_hints(settings, include_extras=True), _texts(settings)
    for field in dataclasses.fields(settings):
        hint, option = hints[field.name], Option()
        if typing.get_origin(hint) is typing.Annotated:
            hint, option = typing.get_args(hint)
        if dataclasses.is_dataclass(hint):
            yield from _fields(hint)
        elif field.init and not option.hidden:
            yield field.name, option.help or below.get(field.name, "")


def script_lines() -> dict[str, str]:
    """{line: script} of what `--help` of the numbered scripts and their like prints before the command's own help, where it is words to read."""
    found = {}
    scripts = [
        *ROOT.glob("*.sh"),
        *ROOT.glob("run_agent/*.sh"),
        ROOT / "tools/setup.sh",
        ROOT / "tools/install_minecraft.sh",
        ROOT / "tools/install_peer.sh",
        ROOT / "tools/make_mini.sh",
        ROOT / "tools/measure_gpu.sh",
    ]
    for path in sorted(scripts):
        lines = path.read_text(encoding="utf-8").splitlines()
        head = itertools.takewhile(lambda line: line.startswith("#"), lines[1:])
        shown = [line.removeprefix("#").removeprefix(" ") for line in head if not line.startswith("# shellcheck")]
        variables = [re.fullmatch(r'(?:export )?([A-Z_0-9]+)="\$\{\1:?-([^}]*)\}" +(#.*)', line) for line in lines]
        shown += [f"    {each[1]}={each[2]}   {each[3]}" for each in variables if each]
        found |= {line: path.name for line in shown if _is_sentence(SCRIPT_WORDS.sub("", line))}
    return found
