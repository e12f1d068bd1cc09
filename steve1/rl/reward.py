"""Rewards: what an episode earns at each step, worked out from its trace when it is over.

Input: a reward as in steve1/rl/rewards/<game>.yaml, and a trace. Output: a number for each step, and what each term of it paid.

A term pays the differences of its series, so that its sum is the value at the end. Old traces can be judged again under another reward.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError, nearest
from steve1.core.files import existing_file
from steve1.core.paths import display, resolve
from steve1.core.reading.contents import read_yaml
from steve1.evaluation.tasks.rules import Rule, parse_rule
from steve1.evaluation.tasks.suite import Suite, Task, load_suite
from steve1.rl.advantages import Series
from steve1.rollout.trace import Trace

FOLDER = Path(__file__).parent / "rewards"
_OWN = re.compile(r"(?P<path>.+\.ya?ml)(:(?P<name>.*))?", re.DOTALL)
COUNTING = ("item_gained", "dug", "placed", "crafted")
_FIRST_GOAL = 15  # MineCLIP sees 16 frames: the first ones have no similarity


@dataclasses.dataclass(frozen=True)
class Paid:
    """What an episode earned: `reward` (N,) is the sum of `parts` {term: (N,)}."""

    reward: Series
    parts: dict[str, Series]
    success: bool

    @property
    def total(self) -> float:
        """The undiscounted return."""
        return float(self.reward.sum())


@dataclasses.dataclass(frozen=True)
class Likeness:
    """Prompts of a term that pays MineCLIP's similarity: `to`, against the others."""

    to: str
    against: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Term:
    """One term; `pays` gives (N,) from a trace, whether the episode succeeded, and the likeness (N,) where it is one."""

    name: str
    pays: Callable[[Trace, bool, Series | None], Series]


@dataclasses.dataclass(frozen=True)
class Reward:
    """A reward.

    Attributes:
        name: as in its file.
        task: whose prompt, places and success rule it takes.
        steps: of an episode.
        terms: what is paid for.
        likeness: prompts for the term that pays similarity; None without one.
        path: its file.
    """

    name: str
    task: Task
    steps: int
    terms: tuple[Term, ...]
    likeness: Likeness | None = None
    path: Path = FOLDER

    def judge(self, trace: Trace, similarity: NDArray[np.floating[Any]] | None = None) -> Paid:
        """What the episode earned.

        Args:
            similarity: (N, 1 + K) cosines with the goals of `likeness.to` and of the K others, NaN in the first rows.

        Raises:
            UserError: a term pays something that is not a number, or similarity is missing.
        """
        success = self.task.judge(trace)[0]
        alike = None
        if self.likeness is not None:
            if similarity is None or similarity.shape != (len(trace), 1 + len(self.likeness.against)):
                raise UserError("This reward pays similarity, and the episode has none.", where=self.name)
            alike = _likeness(similarity)
        parts = {term.name: term.pays(trace, success, alike) for term in self.terms}
        for name, part in parts.items():
            bad = np.flatnonzero(~np.isfinite(part))
            if len(bad):
                where = f"{self.name}, term {name}, step {bad[0]}"
                raise UserError("A reward is not a number.", where=where, got=str(part[bad[0]]))
        total = np.sum(list(parts.values()), axis=0) if parts else np.zeros(len(trace))
        return Paid(np.asarray(total, dtype=np.float64), parts, success)


def _differences(series: Series) -> Series:
    return np.asarray(np.diff(series), dtype=np.float64)


def _likeness(similarity: NDArray[np.floating[Any]]) -> Series:
    """How much more alike to the prompt than chance: softmax over the prompt and the others (MineDojo's direct form), (N,)."""
    scores = 100.0 * np.nan_to_num(similarity.astype(np.float64))
    scores -= scores.max(axis=1, keepdims=True)
    share = np.exp(scores[:, 0]) / np.exp(scores).sum(axis=1)
    share = np.maximum(share - 1 / similarity.shape[1], 0.0)
    share[:_FIRST_GOAL] = 0.0
    return share / max(1, len(share))


def _at_end(value: float, count: int) -> Series:
    paid = np.zeros(count)
    paid[-1:] = value
    return paid


def _number(value: object, where: str) -> float:
    """A number, or a fraction as text (2/5)."""
    try:
        found = float(Fraction(value) if isinstance(value, str) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        found = float("nan")
    if isinstance(value, bool) or not np.isfinite(found):
        raise UserError("This is not a number.", where=where, expected="such as 0.25 or 2/5", got=value)
    return found


def _progress(content: Mapping[str, Any], where: str) -> Term:
    """{progress: rule, from, to, pays}: the rule's value on a line from 0 at `from` to 1 at `to`, times `pays`."""
    rule = parse_rule(content["progress"], f"{where}.progress", threshold=False)
    low, high, pays = (_number(content[key], f"{where}.{key}") for key in ("from", "to", "pays"))
    if low == high:
        raise UserError("Progress needs two different ends.", where=where, got=f"from {low:g} to {high:g}")

    def paid(trace: Trace, success: bool, alike: Series | None) -> Series:
        return pays * _differences(np.clip((rule.series(trace) - low) / (high - low), 0.0, 1.0))

    return Term(rule.kind, paid)


def _items(content: Mapping[str, Any], where: str) -> Term:
    """{items: counting rule, each, most}: `each` for every one, up to `most` (0: no cap)."""
    rule = parse_rule(content["items"], f"{where}.items", threshold=False)
    if rule.kind not in COUNTING:
        raise UserError(
            "Only what is counted can be paid by the piece.", where=where, expected=", ".join(COUNTING), got=rule.kind
        )
    return Term(
        rule.kind, _capped(rule, _number(content["each"], f"{where}.each"), _cap(content["most"], f"{where}.most"))
    )


def _cap(value: object, where: str) -> float:
    most = _number(value, where)
    if most < 0:
        raise UserError("A cap is not below 0.", where=where, expected="0 (no cap) or more", got=value)
    return most


def _capped(rule: Rule, each: float, most: float) -> Callable[[Trace, bool, Series | None], Series]:
    def paid(trace: Trace, success: bool, alike: Series | None) -> Series:
        return each * _differences(np.minimum(rule.series(trace), most or np.inf))

    return paid


def _table(content: object, where: str) -> list[Term]:
    """{items: {name: [most, each]}}: VPT's form, one term for each item."""
    if not isinstance(content, Mapping):
        raise UserError(
            "The items of a reward are names with cap and value.", where=where, expected="log: [8, 1/8]", got=content
        )
    terms = []
    for name, entry in ((str(name), entry) for name, entry in content.items()):
        if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 2:
            raise UserError(
                "An item needs its cap and what each pays.", where=f"{where}.{name}", expected="[8, 1/8]", got=entry
            )
        most, each = _cap(entry[0], f"{where}.{name}"), _number(entry[1], f"{where}.{name}")
        rule = Rule("item_gained", {"names": _NAMES.get(name, [name])})
        terms.append(Term(name, _capped(rule, each, most)))
    return terms


# One word of VPT's table, several items of today's game.
_WOODS = ("oak", "birch", "spruce", "jungle", "acacia", "dark_oak", "mangrove", "cherry")
_NAMES = {
    "log": [f"{wood}_log" for wood in _WOODS] + ["log"],
    "planks": [f"{wood}_planks" for wood in _WOODS] + ["planks"],
    "iron_ore": ["iron_ore", "raw_iron"],
}


def _flat(kind: str, value: object, where: str) -> Term:
    """{success | death | step | env: number}."""
    pays = _number(value, where)

    def paid(trace: Trace, success: bool, alike: Series | None) -> Series:
        count = len(trace)
        if kind == "step":
            return np.full(count, pays)
        if kind == "env":
            return pays * trace.env_reward
        earned = success if kind == "success" else trace.metadata.get("ended") == "terminated"
        return _at_end(pays * earned, count)

    return Term(kind, paid)


def _alike(content: Mapping[str, Any], where: str) -> tuple[Term, Likeness]:
    """{likeness: {to, against}, pays}."""
    said = content["likeness"]
    if (
        not isinstance(said, Mapping)
        or set(said) != {"to", "against"}
        or not (isinstance(said["against"], list) and said["against"])
    ):
        raise UserError(
            "A likeness needs its prompt and others.",
            where=where,
            expected="{to: dig dirt, against: [explore, swim]}",
            got=said,
        )
    pays = _number(content["pays"], f"{where}.pays")
    likeness = Likeness(str(said["to"]), tuple(map(str, said["against"])))
    return Term(
        "likeness", lambda trace, success, alike: pays * alike if alike is not None else np.zeros(len(trace))
    ), likeness


# The keys of each kind of term; a new kind is a function and an entry here.
_TERMS: dict[str, tuple[frozenset[str], Callable[..., Any]]] = {
    "progress": (frozenset({"progress", "from", "to", "pays"}), _progress),
    "items": (frozenset({"items", "each", "most"}), _items),
    "likeness": (frozenset({"likeness", "pays"}), _alike),
    **{kind: (frozenset({kind}), functools.partial(_flat, kind)) for kind in ("success", "death", "step", "env")},
}


def _term(content: object, where: str) -> tuple[Term, Likeness | None]:
    kinds = [kind for kind in _TERMS if isinstance(content, Mapping) and kind in content]
    if not isinstance(content, Mapping) or len(kinds) != 1:
        got = sorted(map(str, content)) if isinstance(content, Mapping) else content
        raise UserError("A term is one of these kinds.", where=where, expected=", ".join(_TERMS), got=got)
    keys, parse = _TERMS[kinds[0]]
    if set(content) != keys:
        raise UserError("This term has other keys.", where=where, expected=sorted(keys), got=sorted(map(str, content)))
    found = parse(content[kinds[0]], where) if len(keys) == 1 else parse(content, where)
    return found if isinstance(found, tuple) else (found, None)


def parse_reward(name: str, content: object, suite: Suite, where: str) -> Reward:
    """One reward from YAML.

    Raises:
        UserError: every fault of it in one message.
    """
    faults: list[UserError] = []
    if isinstance(content, Mapping) and not isinstance(content.get("terms", []), list):
        raise UserError("A reward's terms are a list.", where=f"{where}.terms", got=content["terms"])
    known = {"task", "steps", "terms", "items"}
    if not isinstance(content, Mapping) or not {"terms", "items"} & set(content) or not set(content) <= known:
        got = sorted(map(str, content)) if isinstance(content, Mapping) else content
        raise UserError("A reward has a task, and terms or items.", where=where, expected=sorted(known), got=got)
    terms: list[Term] = []
    likeness: Likeness | None = None
    for number, entry in enumerate(content.get("terms") or ()):
        try:
            term, prompts = _term(entry, f"{where}.terms[{number}]")
            if likeness is not None and prompts is not None:
                raise UserError("A reward has at most one likeness.", where=f"{where}.terms[{number}]", got=prompts.to)
            terms.append(term)
            likeness = likeness or prompts
        except UserError as fault:
            faults.append(fault)
    try:
        terms += _table(content.get("items", {}), f"{where}.items")
        task = suite.find(str(content.get("task", name)))
    except UserError as fault:
        faults.append(fault)
    if not terms and not faults:
        faults.append(UserError("This reward pays for nothing.", where=where, expected="at least one term or item"))
    steps = content.get("steps", 0)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        faults.append(UserError("Steps are a whole number.", where=f"{where}.steps", got=steps))
    if faults:
        if len(faults) == 1:
            raise faults[0]
        told = "\n".join(f"  {fault}" for fault in faults)
        raise UserError(f"{len(faults)} faults in this reward:\n{told}", where=where)
    counts: dict[str, int] = {}
    unique = []
    for term in terms:
        counts[term.name] = counts.get(term.name, 0) + 1
        again = counts[term.name]
        unique.append(term if again == 1 else dataclasses.replace(term, name=f"{term.name}_{again}"))
    return Reward(name, task, steps or task.steps, tuple(unique), likeness)


def load_reward(name: str | os.PathLike[str], env: str = "luanti") -> Reward:
    """A reward by its name in the game's file, or `path.yaml` (its only one) or `path.yaml:name`.

    Raises:
        UserError: no such file or reward, another game's, or a reward that says something unknown.
    """
    file, chosen = _OWN.fullmatch(os.fspath(name)), os.fspath(name)
    path = FOLDER / f"{'luanti' if env == 'luanti' else 'minecraft'}.yaml"
    if file is not None:
        path, chosen = resolve(file["path"]), file["name"] or ""
    content = read_yaml(existing_file(path, "These rewards"), "file of rewards")
    where = display(path)
    if not isinstance(content.get("rewards"), Mapping) or "env" not in content:
        got = ", ".join(map(str, content))[:200]
        raise UserError("A file of rewards needs env and rewards.", where=where, got=got)
    if (content["env"] == "luanti") != (env == "luanti"):
        raise UserError("These rewards are for another game.", where=where, expected=env, got=content["env"])
    rewards = content["rewards"]
    if not chosen and len(rewards) == 1:
        chosen = str(next(iter(rewards)))
    if chosen not in rewards:
        expected = nearest(chosen, [str(key) for key in rewards]) if chosen else ", ".join(map(str, rewards))
        raise UserError("There is no such reward.", where=where, got=chosen or "no name", expected=expected)
    found = parse_reward(chosen, rewards[chosen], load_suite(env), f"{where}: rewards.{chosen}")
    return dataclasses.replace(found, path=path)
