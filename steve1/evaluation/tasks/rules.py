"""Success rules: a number over time from a trace, and a threshold on it.

Input: a rule as in a task's YAML, e.g. `{kind: item_gained, names: [dirt], at_least: 4}`, and a trace.
Output: the rule's value so far at every state, float (N+1,), of which the last is judged.

Names are exact ("log" is not "oak_log"), and what the player started with is subtracted. A new kind of rule is one function and one
entry of KINDS.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError, nearest
from steve1.rollout.trace import Trace

Series = NDArray[np.float64]
# A jump's top is over after 8 steps; a height kept this long is one that the player stands on.
_STANDING_STEPS = 10
_SAME_COLUMN_NODES = 1.5


def _flat_distance(positions: NDArray[Any], others: NDArray[Any]) -> Series:
    """Distances (N,) of positions (N, 3) without regard to height."""
    return np.asarray(np.linalg.norm((positions - others)[:, [0, 2]], axis=1))


def _so_far(values: NDArray[Any]) -> Series:
    return np.maximum.accumulate(values.astype(np.float64))


def _counted(kind: str, trace: Trace, names: list[str]) -> Series:
    """How many of these names have come since the start."""
    total = trace.count(kind, names)
    return _so_far(total - total[0])


def _summed(steps: NDArray[Any]) -> Series:
    return np.concatenate([[0.0], np.cumsum(steps.astype(np.float64))])


def _step_lengths(trace: Trace) -> Series:
    return _flat_distance(trace.positions[1:], trace.positions[:-1])


Place = tuple[int, int, int]


def _standing_places(trace: Trace, names: list[str], own_only: bool) -> Iterator[tuple[int, set[Place]]]:
    """(state, places where a block of these names stands from this state on) at each state where that changes."""
    wanted = {index for index, name in enumerate(trace.block_names) if name in names}
    places: set[Place] = set()
    rows = trace.blocks[trace.blocks[:, 5] == 1] if own_only else trace.blocks
    for number, (state, x, y, z, name, _) in enumerate(rows.tolist()):
        (places.add if name in wanted else places.discard)((x, y, z))
        if number + 1 == len(rows) or rows[number + 1, 0] != state:
            yield state, places


def _standing(trace: Trace, names: list[str]) -> Series:
    """The most blocks of these names that stood at once where the player or the task's scene had put something."""
    value = np.zeros(len(trace.positions))
    for state, places in _standing_places(trace, names, own_only=False):
        value[state:] = len(places)
    return _so_far(value)


def _shape(trace: Trace, names: list[str], size: list[int]) -> Series:
    """The most blocks placed by the player that ever stood within one box of `size` (x, y, z), turned by 90 degrees or not."""
    value = np.zeros(len(trace.positions))
    boxes = {(size[0], size[1], size[2]), (size[2], size[1], size[0])}
    for state, places in _standing_places(trace, names, own_only=True):
        best = 0
        for box in boxes:
            # Every block votes for the corners of all boxes that it could be in.
            corners = Counter((x - dx, y - dy, z - dz) for x, y, z in places for dx, dy, dz in np.ndindex(box))
            best = max(best, max(corners.values(), default=0))
        value[state:] = best
    return _so_far(value)


def _held_minimum(values: Series, steps: int) -> Series:
    """The largest value so far that was kept for `steps` states in a row."""
    kept = np.full(len(values), -np.inf)
    if len(values) >= steps:
        windows = np.lib.stride_tricks.sliding_window_view(values, steps)
        kept[steps - 1 :] = windows.min(axis=1)
    return np.maximum.accumulate(kept)


def _climbed(trace: Trace, direction: int) -> Series:
    """How far above (1) or below (-1) its start the player stood."""
    heights = trace.positions[:, 1] - trace.positions[0, 1]
    return np.maximum(_held_minimum(direction * heights, _STANDING_STEPS), 0.0)


def _height_on_blocks(trace: Trace, names: list[str]) -> Series:
    """Nodes risen over the start and, in the same column, by no more than the blocks placed meanwhile.

    Walking up a hill while placing blocks does not count: the player must have been lower by that much in the same
    column before, and must have placed as many blocks since.
    """
    placed, y = trace.count("placed", names), trace.positions[:, 1]
    gain = np.zeros(len(y))
    # Only states from the first placed block on can have risen on one. Live sessions judge twice a second, so the rest is left out.
    for now in np.flatnonzero((placed > placed[0]) & (y > y[0])):
        before = slice(0, now)
        near = _flat_distance(trace.positions[before], trace.positions[now]) <= _SAME_COLUMN_NODES
        # Half a node more than the blocks: a block's top is a whole node up, and the state may lag by a fraction.
        paid = (placed[now] - placed[before]) + 0.5 >= y[now] - y[before]
        rises = np.where(near & paid, y[now] - y[before], 0.0)
        gain[now] = min(float(rises.max(initial=0.0)), y[now] - y[0])
    return np.maximum(_held_minimum(np.maximum(gain, 0.0), _STANDING_STEPS), 0.0)


def _pitch_in_last_part(trace: Trace, part: float) -> Series:
    """Mean pitch of the last `part` of the episode so far (negative looks up)."""
    total = np.concatenate([[0.0], np.cumsum(trace.view[:, 0])])
    ends = np.arange(1, len(total))
    starts = ends - np.maximum(1, np.ceil(ends * part).astype(np.int64))
    return (total[ends] - total[starts]) / (ends - starts)


def _fulfilled(trace: Trace, rules: list[Rule]) -> Series:
    """How many of several rules were fulfilled at once."""
    return _so_far(np.sum([rule.fulfilled(trace) for rule in rules], axis=0))


@dataclasses.dataclass(frozen=True)
class RuleKind:
    """What a kind of rule computes.

    Attributes:
        series: (trace, **parameters) → the value so far at each state, float (N+1,).
        parameters: its keys in YAML, each a key of PARAMETERS.
        unit: of the value, for people.
    """

    series: Callable[..., Series]
    parameters: tuple[str, ...]
    unit: str


KINDS: dict[str, RuleKind] = {
    "item_gained": RuleKind(partial(_counted, "inventory"), ("names",), "items"),
    "dug": RuleKind(partial(_counted, "dug"), ("names",), "nodes"),
    "placed": RuleKind(partial(_counted, "placed"), ("names",), "nodes"),
    "crafted": RuleKind(partial(_counted, "crafted"), ("names",), "items"),
    "displacement": RuleKind(lambda trace: _so_far(_flat_distance(trace.positions, trace.positions[:1])), (), "nodes"),
    "path_length": RuleKind(lambda trace: _summed(_step_lengths(trace)), (), "nodes"),
    "distance_in_water": RuleKind(
        lambda trace: _summed(_step_lengths(trace) * (trace.in_water[1:] & trace.in_water[:-1])), (), "nodes"
    ),
    "steps_in_water": RuleKind(lambda trace: _summed(trace.in_water[1:]), (), "steps"),
    "steps_under_water": RuleKind(lambda trace: _summed(trace.under_water[1:]), (), "steps"),
    "steps_in_menu": RuleKind(lambda trace: _summed(trace.menu[1:]), (), "steps"),
    "standing": RuleKind(_standing, ("names",), "blocks"),
    "shape": RuleKind(_shape, ("names", "size"), "blocks in place"),
    "depth": RuleKind(lambda trace: _climbed(trace, -1), (), "nodes"),
    "height": RuleKind(lambda trace: _climbed(trace, 1), (), "nodes"),
    "height_on_blocks": RuleKind(_height_on_blocks, ("names",), "nodes"),
    "fulfilled": RuleKind(_fulfilled, ("rules",), "steps done"),
    "pitch_in_last_part": RuleKind(_pitch_in_last_part, ("part",), "degrees"),
}


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, kind) for each in value)


Checks = Mapping[str, tuple[Callable[[Any], bool], str, str]]
"""{key: (is this value one?, what it must be, an example)}."""


def check_values(values: Mapping[str, Any], checks: Checks, where: str) -> None:
    """Raises UserError for the first of `values` that is not valid."""
    for key, value in values.items():
        is_valid, message, example = checks.get(key, (None, "", ""))
        if is_valid and not is_valid(value):
            raise UserError(message, where=f"{where}.{key}", expected=example, got=value)


PARAMETERS: Checks = {
    "names": (lambda value: _is_list_of(value, str), "A rule's names must be a list of exact names.", "[dirt]"),
    "part": (
        lambda value: isinstance(value, (int, float)) and 0 < value <= 1,
        "A rule's part is a fraction of the episode.",
        "0 < part ≤ 1",
    ),
    "size": (
        lambda value: _is_list_of(value, int) and len(value) == 3 and all(1 <= n <= 16 for n in value),
        "A rule's size is that of a box, in nodes.",
        "[x, y, z], each 1 to 16",
    ),
    "rules": (lambda value: _is_list_of(value, Mapping), "A rule's rules must be a list of rules.", "[{kind: ...}]"),
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """One condition: the value of `kind` must end at `at_least` or `at_most`; neither: a measure without a verdict."""

    kind: str
    parameters: dict[str, Any]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rule itself, as of a combination its parts."""
        return (self,)

    def series(self, trace: Trace) -> Series:
        """The value so far at each state, float (N+1,)."""
        return KINDS[self.kind].series(trace, **self.parameters)

    def value(self, trace: Trace) -> float:
        """The value at the end."""
        return float(self.series(trace)[-1])

    def fulfilled(self, trace: Trace) -> NDArray[np.bool_]:
        """Whether the value so far meets the threshold, at each state, bool (N+1,); a value that is not a number does not."""
        values = self.series(trace)
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return (values >= low) & (values <= high)

    def holds(self, trace: Trace) -> bool:
        """Whether the value at the end meets the threshold."""
        return bool(self.fulfilled(trace)[-1])


@dataclasses.dataclass(frozen=True)
class Combination:
    """All or any of several conditions."""

    how: str
    parts: tuple[Rule | Combination, ...]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules in it."""
        return tuple(rule for part in self.parts for rule in part.rules)

    def holds(self, trace: Trace) -> bool:
        """Whether all (or any) of the parts hold."""
        results = (part.holds(trace) for part in self.parts)
        return all(results) if self.how == "all" else any(results)


Condition = Rule | Combination


def parse_rule(content: object, where: str, *, threshold: bool = True) -> Rule:
    """One rule from YAML; every unknown or missing key is named.

    Raises:
        UserError: it is not a rule of a known kind with exactly its parameters and, if `threshold`, a bound.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get("kind"), str):
        raise UserError(
            "A rule needs a kind.", where=where, expected=f"kind: one of {', '.join(sorted(KINDS))}", got=content
        )
    kind = content["kind"]
    if kind not in KINDS:
        raise UserError(f'There is no rule of kind "{kind}".', where=where, expected=nearest(kind, list(KINDS)))
    wanted = set(KINDS[kind].parameters)
    bounds = {name: content[name] for name in ("at_least", "at_most") if threshold and name in content}
    given = set(content) - {"kind"} - set(bounds)
    if given != wanted:
        raise UserError(
            f'A rule of kind "{kind}" has other parameters.', where=where, expected=sorted(wanted), got=sorted(given)
        )
    if threshold and len(bounds) != 1:
        raise UserError(
            "A success rule needs one bound.", where=where, expected="at_least or at_most", got=dict(content)
        )
    parameters = {name: content[name] for name in wanted}
    check_values(parameters, PARAMETERS, where)
    if "rules" in wanted:
        rules = enumerate(parameters["rules"])
        parameters["rules"] = [parse_rule(rule, f"{where}.rules[{number}]") for number, rule in rules]
    for name, bound in bounds.items():
        if not isinstance(bound, (int, float)):
            raise UserError(f"{name} must be a number.", where=where, got=bound)
    return Rule(kind, parameters, **{name: float(bound) for name, bound in bounds.items()})


def parse_condition(content: object, where: str) -> Condition:
    """A rule, or `{all: [...]}` or `{any: [...]}` of conditions."""
    if isinstance(content, Mapping) and len(content) == 1 and next(iter(content)) in ("all", "any"):
        how, parts = next(iter(content.items()))
        if not isinstance(parts, list) or not parts:
            raise UserError(f'"{how}" needs a list of conditions.', where=where, got=parts)
        return Combination(how, tuple(parse_condition(part, f"{where}.{how}[{n}]") for n, part in enumerate(parts)))
    return parse_rule(content, where)
