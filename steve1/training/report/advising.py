"""What the reports of all kinds of runs are made of: a run's curves and settings, findings in both languages, and commands to try."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Literal

import yaml

from steve1.training.logging.scalars import Curves

Level = Literal["act", "note", "good"]
_OPPOSITE = {"rate up": "rate down", "rate down": "rate up", "longer": "shorter", "shorter": "longer"}


@dataclasses.dataclass(frozen=True)
class Todo:
    """Something to try, in both languages; `turn`: the way in which it turns a setting."""

    en: str
    zh: str
    turn: str = ""


@dataclasses.dataclass(frozen=True)
class Advice:
    """One finding and what to try, in both languages."""

    key: str
    level: Level
    en: str
    zh: str
    todo: tuple[Todo, ...] = ()

    def said(self, language: str) -> tuple[str, list[str]]:
        """The finding and what to try, in "en" or "zh"."""
        return getattr(self, language), [getattr(todo, language) for todo in self.todo]


@functools.cache
def texts(package: str) -> dict[str, Any]:
    """What a package's advice.yaml says, by the finding's key."""
    found: dict[str, Any] = yaml.safe_load(resources.files(package).joinpath("advice.yaml").read_text("utf-8"))
    return found


def filled(key: str, entry: Mapping[str, Any], values: Mapping[str, Any]) -> Advice:
    """The finding that an entry of an advice.yaml describes, with its values filled in; what to try is left out where it names one that is None."""
    missing = [f"{{{name}}}" for name, value in values.items() if value is None]
    todo = []
    for item in entry.get("do", ()):
        both = {"en": item, "zh": item} if isinstance(item, str) else item
        if not any(name in both["en"] for name in missing):
            todo.append(Todo(both["en"].format(**values), both["zh"].format(**values), both.get("turn", "")))
    return Advice(key, entry["level"], entry["en"].format(**values), entry["zh"].format(**values), tuple(todo))


def in_order(found: Iterable[Advice]) -> list[Advice]:
    """Findings, pressing ones first; none repeats a line, or turns a setting in the way opposite to one before it."""
    order: Sequence[Level] = ("act", "note", "good")
    turns: set[str] = set()
    lines: set[str] = set()
    heard = []
    for advice in sorted(found, key=lambda advice: order.index(advice.level)):
        fresh = [todo for todo in advice.todo if todo.en not in lines and _OPPOSITE.get(todo.turn) not in turns]
        turns |= {todo.turn for todo in fresh}
        lines |= {todo.en for todo in fresh}
        heard.append(dataclasses.replace(advice, todo=tuple(fresh)))
    return heard


@dataclasses.dataclass(frozen=True)
class RecordedRun:
    """What a run's folder holds.

    Attributes:
        curves: by name, as `read_scalars` gives them.
        settings: "settings" of settings.json.
        result: result.json; {} while the run trains.
    """

    curves: Curves
    settings: dict[str, Any]
    result: dict[str, Any]

    def points(self, name: str) -> list[tuple[int, float]]:
        """The finite points of a curve."""
        return [(step, value) for step, value in self.curves.get(name, []) if math.isfinite(value)]

    def last(self, name: str) -> float | None:
        """The last value of a curve."""
        points = self.points(name)
        return points[-1][1] if points else None

    def part(self, name: str, start: float, stop: float) -> float | None:
        """Mean of a curve between two shares of its length; None with fewer than three points."""
        values = [value for _, value in self.points(name)]
        if len(values) < 3:
            return None
        chosen = values[int(len(values) * start) : max(int(len(values) * start) + 1, math.ceil(len(values) * stop))]
        return sum(chosen) / len(chosen)

    def setting(self, name: str, default: Any = 0) -> Any:
        """A setting, or a default where the run was made before there was one."""
        return self.settings.get(name, default)


def command_line(script: str, variables: Mapping[str, str], other: Mapping[str, Any], first: Sequence[str] = ()) -> str:
    """The line that runs a script with settings other than its defaults: variables, the script, flags.

    Args:
        variables: {setting: the script's variable}; other settings are flags.
        other: {setting: value}; what the line leaves alone is not in it.
        first: settings that stand first, as what the line is about.
    """
    words, flags = [], []
    for name in (*first, *(name for name in other if name not in first)):
        if name not in other:
            continue
        value = other[name]
        text = shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))
        if name in variables:
            words.append(f"{variables[name]}={int(value) if isinstance(value, bool) else text}")
        else:
            flags.append(f"--{name}" if value is True else f"--no_{name}" if value is False else f"--{name} {text}")
    return " ".join([*words, f"bash {script}", *flags])


def next_name(weights: str) -> str:
    """a.weights → a_2.weights → a_3.weights; a.goal.json → a_2.goal.json."""
    folder, slash, name = weights.rpartition("/")
    suffix = re.search(r"(\.goal\.json|\.[^.]*)?$", name)
    ending = suffix[0] if suffix else ""
    stem = name.removesuffix(ending)
    before, _, number = stem.rpartition("_")
    fresh = f"{before}_{int(number) + 1}" if before and number.isdigit() else f"{stem}_2"
    return f"{folder}{slash}{fresh}{ending}"
