"""Tasks: the prompt, where an episode begins, and the rule for success.

Input: YAML files in this folder, written before anything was trained; a new task is one entry there.
Output: checked, frozen Task objects. Start states come from the environment's "eval" list, which no demonstration uses.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError, nearest
from steve1.core.files import sha256_file
from steve1.core.messages import language
from steve1.core.paths import resolve
from steve1.core.reading.contents import read_yaml
from steve1.envs import MINECRAFTS, missing_mods
from steve1.evaluation.tasks.rules import KINDS, Checks, Condition, Rule, check_values, parse_condition, parse_rule
from steve1.prompts.chinese import is_chinese, read_chinese
from steve1.rollout.trace import Trace

FOLDER = Path(__file__).parent
_REQUIRED = {"prompts", "biome", "steps", "success", "measure"}
_OPTIONAL = {"aliases", "inventory", "player", "time_of_day", "level", "note", "starts", "scene", "requires"}
# Keys of files made before → today's.
_RENAMED = {"surroundings": "biome"}
# digest of a suite → sha256 of its earlier file, by which evaluations made with it know it
_EARLIER_FILES = {
    "8b70264efca2f693deabde59a48f59f68ebb35829a8450028bc74191c41e5d69": "61a9b5315621571da91d93028f8689e886c2b41bbf8b6c073fbdc75bc15f8458",
    "287e1687ab5cb4ad576075d9b854ad22b614c43cefcbe57662fa0f33635d4360": "2a929280fcd73321e4ea6d056fa4cf5546c6574de040dfa892d441c839ff895e",
}
_EMPTY: dict[str, Any] = {"inventory": {}, "scene": [], "aliases": [], "starts": [], "requires": [], "level": 1}
_log = logging.getLogger(__name__)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_inventory(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(count, int) and count > 0 for count in value.values())


def _is_scene(value: object) -> bool:
    nodes = value if isinstance(value, list) else [None]
    return all(isinstance(node, Mapping) and isinstance(node.get("node"), str) for node in nodes)


_CHECKS: Checks = {
    "prompts": (
        lambda value: isinstance(value, Mapping) and isinstance(value.get("en"), str),
        "A task needs prompts with at least English.",
        "{en: ..., zh: ...}",
    ),
    "steps": (
        lambda value: isinstance(value, int) and value >= 1,
        "A task's steps must be a whole number above 0.",
        "steps: 300",
    ),
    "biome": (lambda value: isinstance(value, str) and value != "", "biome must be text.", "biome: meadow"),
    "inventory": (_is_inventory, "An inventory is {item: count}.", "{dirt: 64}"),
    "scene": (_is_scene, "A scene is a list of nodes.", "[{node: name, ahead: 3}]"),
    "level": (lambda value: isinstance(value, int), "A task's level must be a whole number.", "level: 2"),
    **{
        key: (_is_texts, f"{key} must be a list of texts.", f"{key}: [a, b]")
        for key in ("aliases", "starts", "requires")
    },
}


@dataclasses.dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: as commands name it.
        env: the environment it belongs to.
        prompts: {"en": ..., "zh": ...}.
        biome: where it begins; the environment's list of start states.
        split: which of the kept start states ("eval").
        inventory: {item: count} at the start.
        steps: step limit (20 a second).
        success: the rule.
        measure: how far it got, a number.
        measure_names: what it counts, with its unit, {"en": ..., "zh": ...}.
        player: the scripted player that demonstrates it ("" if none).
        aliases: other benchmarks' names for (about) the same.
        level: 1 to 3, roughly how much has to go right in a row.
        starts: ids of the start states to use, if not all of the biome.
        scene: nodes that are put in front of the player, as the environment's reset takes them.
        requires: mods that the game must have.
    """

    name: str
    env: str
    prompts: dict[str, str]
    biome: str
    steps: int
    success: Condition
    measure: Rule
    measure_names: Mapping[str, str]
    split: str = "eval"
    inventory: Mapping[str, int] = dataclasses.field(default_factory=dict)
    player: str = ""
    time_of_day: float | None = None
    level: int = 1
    aliases: tuple[str, ...] = ()
    note: str = ""
    starts: tuple[str, ...] = ()
    scene: tuple[Mapping[str, Any], ...] = ()
    requires: tuple[str, ...] = ()

    def reset_options(self) -> dict[str, Any]:
        """What the environment's reset needs beside the start state."""
        options: dict[str, Any] = {"biome": self.biome, "inventory": dict(self.inventory)}
        if self.time_of_day is not None:
            options["time_of_day"] = self.time_of_day
        if self.scene:
            options["scene"] = [dict(node) for node in self.scene]
        return options

    def states(self, kept: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Those of the biome's start states that this task uses, in their order.

        Raises:
            UserError: the task names one that is not kept.
        """
        missing = sorted(set(self.starts) - {str(state.get("id")) for state in kept})
        if missing:
            raise UserError(
                "This task begins where there is no start state.", where=f"{self.name}.starts", got=", ".join(missing)
            )
        return [dict(state) for state in kept if not self.starts or state["id"] in self.starts]

    def is_called(self, name: str) -> bool:
        """Whether this is the task's name or an alias, whatever its case, dashes and underscores."""
        return _plain(name) in (_plain(known) for known in (self.name, *self.aliases))

    def unavailable(self) -> str:
        """Why the environment on this machine cannot offer the task; "" if it can."""
        return "; ".join(f"needs {mod}: {todo}" for mod, todo in missing_mods(self.env, self.requires).items())

    def judge(self, trace: Trace) -> tuple[bool, float]:
        """(success, measure) of an episode; the prompt under which it was played does not matter."""
        return self.success.holds(trace), self.measure.value(trace)

    @property
    def measure_name(self) -> str:
        """What the measure counts, with its unit, in English."""
        return self.measure_names["en"]

    @property
    def measure_label(self) -> str:
        """The same in the user's language, where it has one."""
        return self.measure_names.get(language(), self.measure_name)

    @property
    def shown_prompt(self) -> str:
        """Its prompt in the user's language, where it has one."""
        return self.prompts.get(language(), self.prompts["en"])

    @property
    def lower_is_better(self) -> bool:
        """Whether its measure is to be small, as a rule for success bounds the same number from above."""
        counted = (self.measure.kind, self.measure.parameters)
        return any((rule.kind, rule.parameters) == counted and rule.at_most is not None for rule in self.success.rules)

    @property
    def beginning(self) -> tuple[Hashable, ...]:
        """Tasks with the same beginning can all be judged on one episode."""
        scene = tuple(tuple(sorted(node.items())) for node in self.scene)
        inventory = tuple(self.inventory.items())  # in this order, from the slot in hand
        return (self.env, self.biome, self.split, inventory, self.steps, self.time_of_day, self.starts, scene)


@dataclasses.dataclass(frozen=True)
class Suite:
    """All tasks of one environment, by name.

    Attributes:
        digest: sha256 of what the file says; comments and the order of keys do not count, unless two tasks have the same items in another order.
        steps: of every episode, where they are not the tasks' own; 0: these.
    """

    env: str
    tasks: dict[str, Task]
    path: Path
    digest: str = ""
    steps: int = 0

    def earlier_digests(self) -> tuple[str, ...]:
        """What evaluations made by earlier versions call this suite: the sha256 of its file, which knows no other steps than the tasks' own."""
        return () if self.steps else (sha256_file(self.path), _EARLIER_FILES.get(self.digest, ""))

    def with_steps(self, steps: int) -> Suite:
        """The suite with episodes of so many steps: another one, as far as its results are concerned; this one where nothing changes."""
        tasks = {name: dataclasses.replace(task, steps=steps) for name, task in self.tasks.items()}
        digest = hashlib.sha256(f"{self.digest}, {steps} steps".encode()).hexdigest()
        return self if tasks == self.tasks else dataclasses.replace(self, tasks=tasks, digest=digest, steps=steps)

    def find(self, name: str) -> Task:
        """The task of that name, alias or prompt.

        Raises:
            UserError: there is none; names the nearest.
        """
        for task in self.tasks.values():
            if task.is_called(name):
                return task
        if task_of_prompt := self.by_prompt(name):
            return task_of_prompt
        known = list(self.tasks) + [alias for task in self.tasks.values() for alias in task.aliases]
        raise UserError(
            f'There is no task "{name}".',
            where=self.path,
            expected=nearest(name, known),
            todo="--tasks takes names of this file, or all",
        )

    def called(self, skills: Collection[str]) -> list[Task]:
        """The tasks with these names, aliases or prompts; others are left out."""
        return [
            task
            for task in self.tasks.values()
            if any(task.is_called(skill) or task == self.by_prompt(skill) for skill in skills)
        ]

    def by_prompt(self, prompt: str) -> Task | None:
        """The task that this is a prompt of, in any language, or in Chinese of other words that are read as the English prompt; None if there is none."""
        wanted = [prompt.strip().lower()]
        if is_chinese(prompt) and not (reading := read_chinese(prompt)).unknown:
            wanted.append(reading.english)
        prompts = {text.lower(): task for task in reversed(self.tasks.values()) for text in task.prompts.values()}
        return next((prompts[text] for text in wanted if text in prompts), None)

    @property
    def translations(self) -> dict[str, str]:
        """{prompt in another language: English prompt}."""
        prompts = [task.prompts for task in self.tasks.values()]
        return {text: texts["en"] for texts in prompts for text in texts.values() if text != texts["en"]}

    def select(self, names: Sequence[str]) -> list[Task]:
        """Tasks by name or "level1" … "level3", in the order given and without repeats; "all" or nothing: every one.

        What this machine's game cannot offer is left out with a warning where a group was named.

        Raises:
            UserError: an unknown name, a task named by itself that is not available (says what to install), or nothing left.
        """
        chosen: dict[str, Task] = {}
        reason = ""
        for name in names or ("all",):
            level = re.fullmatch(r"level(\d+)", name, re.IGNORECASE)
            if name != "all" and not level:
                task = self.find(name)
                if reason := task.unavailable():
                    raise UserError(f'The task "{task.name}" is not available here.', where=self.path, got=reason)
                chosen[task.name] = task
                continue
            group = [task for task in self.tasks.values() if not level or task.level == int(level[1])]
            if not group:
                raise UserError(
                    "There is no such level.",
                    where=self.path,
                    got=name,
                    expected=", ".join(sorted({f"level{t.level}" for t in self.tasks.values()})),
                )
            for task in group:
                if reason := task.unavailable():
                    _log.warning("the task %s is not available here: %s", task.name, reason)
                else:
                    chosen[task.name] = task
        if not chosen:
            raise UserError("No task of this choice is available here.", where=self.path, got=reason)
        return list(chosen.values())


def _plain(name: str) -> str:
    """A task's name without case, dashes, blanks or underscores: "Build_Village-House" is "buildvillagehouse"."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _parse_task(name: str, content: object, env: str, defaults: Mapping[str, Any], where: str) -> Task:
    if not isinstance(content, Mapping):
        raise UserError("A task must be a mapping.", where=where, got=content)
    merged: dict[str, Any] = {**_EMPTY, **defaults, **content}
    missing, unknown = _REQUIRED - set(merged), set(merged) - _REQUIRED - _OPTIONAL
    if missing or unknown:
        raise UserError(
            "This task has missing or unknown keys.",
            where=where,
            expected=f"{', '.join(sorted(_REQUIRED))}; optional: {', '.join(sorted(_OPTIONAL))}",
            got=f"missing: {', '.join(sorted(missing)) or 'none'}; unknown: {', '.join(sorted(unknown)) or 'none'}",
        )
    merged |= {key: merged[key] or empty for key, empty in _EMPTY.items()}
    check_values(merged, _CHECKS, where)
    measure = dict(merged["measure"]) if isinstance(merged["measure"], Mapping) else {}
    label = measure.pop("name", "")
    names = dict(label) if isinstance(label, Mapping) else {"en": label} if label else {}
    rule = parse_rule(measure, f"{where}.measure", threshold=False)
    found: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in merged.items()}
    found["prompts"] = {str(language): str(text) for language, text in merged["prompts"].items()}
    found["success"] = parse_condition(merged["success"], f"{where}.success")
    found["measure"] = rule
    names.setdefault("en", f"{rule.kind.replace('_', ' ')} ({KINDS[rule.kind].unit})")
    found["measure_names"] = {str(language): str(text) for language, text in names.items()}
    return Task(name=name, env=env, **found)


def _renamed(entry: Any) -> Any:
    """A task's entry with today's keys."""
    return (
        {_RENAMED.get(str(key), str(key)): value for key, value in entry.items()}
        if isinstance(entry, Mapping)
        else entry
    )


def _with_english_name(entry: Any) -> Any:
    """A task's entry whose measure is named in English alone: other languages' names are no part of what success means."""
    measure = entry.get("measure") if isinstance(entry, Mapping) else None
    if not isinstance(measure, Mapping) or not isinstance(measure.get("name"), Mapping):
        return entry
    return {**entry, "measure": {**measure, "name": measure["name"].get("en")}}


def load_suite(name: str | os.PathLike[str] = "luanti") -> Suite:
    """Read a suite: an environment's name (`tasks/<name>.yaml`; the Minecrafts without one of their own share `minecraft.yaml`)
    or the path of a YAML file, which is looked for as every file that is read.

    Raises:
        UserError: no such suite, not YAML, or a task that does not say what it must.
    """
    given = Path(name)
    path = resolve(given) if given.suffix in (".yaml", ".yml") else FOLDER / f"{name}.yaml"
    if not path.exists() and str(name) in MINECRAFTS:
        path = FOLDER / "minecraft.yaml"
    if not path.exists():
        known = [file.stem for file in FOLDER.glob("*.yaml")]
        raise UserError("There is no such suite of tasks.", where=path, expected=nearest(str(name), known))
    content = read_yaml(path, "suite of tasks")
    forms = {"tasks": Mapping, "env": str, "defaults": Mapping | None}
    if not all(isinstance(content.get(key), form) for key, form in forms.items()):
        expected = "env: a text; tasks, and perhaps defaults: names with values"
        raise UserError(
            "A suite needs env and tasks.", where=path, expected=expected, got=", ".join(map(str, content))[:200]
        )
    defaults = _renamed(content.get("defaults") or {})
    entries = {str(key): _renamed(value) for key, value in content["tasks"].items()}
    env = str(name) if path.stem == "minecraft" and str(name) in MINECRAFTS else content["env"]
    tasks = {key: _parse_task(key, entry, env, defaults, f"{path}: tasks.{key}") for key, entry in entries.items()}
    english = {key: _with_english_name(entry) for key, entry in entries.items()}
    said = {**content, **({"defaults": defaults} if "defaults" in content else {}), "tasks": english}
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, default=str)
    orders = {key: list(task.inventory) for key, task in tasks.items()}
    if len(set(map(tuple, orders.values()))) > len({tuple(sorted(order)) for order in orders.values()}):
        # Tasks with the same items in another order shared their episodes before: evaluations of then are none of these.
        text += json.dumps(orders, sort_keys=True)
    return Suite(env, tasks, path, hashlib.sha256(text.encode()).hexdigest())
