"""The JSON files beside a policy's weights.

`<weights>.json` names the model settings, MineCLIP, prior, environment, guidance scale and temperature that belong to the weights;
without it, they are those of the published 2x model under `data/weights/`.
`<name>.goal.json` holds a goal on its own, which `run_agent.py --goal_file` plays.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.core.paths import display, resolve

GOAL_SUFFIX = ".goal.json"
REPLAY_SUFFIX = ".replay.safetensors"
PRIOR_CODES = ("sample", "middle")
_GOAL_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class CheckpointMetadata:
    """What belongs to weights. Paths are relative to the project's root, or absolute; the defaults are the published 2x model's."""

    model: str = "data/weights/vpt/2x.model"
    mineclip: str = "data/weights/mineclip/attn.pth"
    mineclip_config: str = "attn"
    prior: str = "data/weights/steve1/steve1_prior.pt"
    # Which Minecraft plays them, or which other game where none is installed, is decided when they are played.
    env: str = "minecraft"
    cond_scale: float = 6.0
    # Of the sampled actions: below 1 nearer the greedy ones. The published policies play at 1.
    temperature: float = 1.0
    # The prior's code of a prompt: "sample" draws it, as published; "middle" takes the middle of its distribution, with which no prompt
    # becomes a goal that is more like another task's.
    prior_code: str = "sample"
    run: str = ""
    # Behaviours of the training episodes, or the one fixed prompt; empty where an episode does not say.
    trained_on: tuple[str, ...] = ()
    hashes: dict[str, str] = dataclasses.field(default_factory=dict)

    def updated(self, **changes: Any) -> CheckpointMetadata:
        """A copy with every change that is not None or empty."""
        return dataclasses.replace(self, **{name: value for name, value in changes.items() if value not in (None, "")})


def checkpoint_metadata_path(weights: str | os.PathLike[str]) -> Path:
    """`<weights>.json`, beside the weights."""
    path = Path(weights)
    return path.with_name(path.name + ".json")


def read_checkpoint_metadata(weights: str | os.PathLike[str]) -> CheckpointMetadata:
    """The metadata of `weights`; the published 2x model's where no `<weights>.json` lies beside them.

    Raises:
        UserError: the file names no model.
    """
    path = checkpoint_metadata_path(resolve(weights))
    if not path.exists():
        return CheckpointMetadata()
    content = read_json(path)
    if not isinstance(content.get("model"), str):
        raise UserError(
            "This metadata file does not name a model.",
            where=path,
            expected='a JSON object with "model"',
            got=str(content)[:200],
        )
    known = _fields_in(content, CheckpointMetadata, path)
    for name in ("model", "mineclip", "prior"):
        given = Path(known.get(name) or "")
        # What was pulled or copied together with the weights is theirs, whatever else has this path here.
        beside = path.parent / given.name
        found = beside if os.path.isfile(beside) and not given.is_absolute() else resolve(given, path.parent)
        if found.is_file():
            known[name] = display(found)
    known["trained_on"] = tuple(known.get("trained_on") or ())
    if known.get("prior_code", "sample") not in PRIOR_CODES:
        got = f"prior_code = {known['prior_code'][:80]!r}"
        what = "This metadata file has an unknown value."
        raise UserError(what, where=path, expected=" or ".join(PRIOR_CODES), got=got)
    return CheckpointMetadata(**known)


def new_skills(tuned: CheckpointMetadata, base: CheckpointMetadata) -> tuple[str, ...]:
    """What `tuned` was to learn: what it was trained on and its base was not, or the one skill that it was trained on; () if unknown."""
    new = tuple(skill for skill in tuned.trained_on if skill not in base.trained_on) if base.trained_on else ()
    return new or (tuned.trained_on if len(tuned.trained_on) == 1 else ())


def _fields_in(content: dict[str, Any], kind: type[CheckpointMetadata | GoalFile], where: object) -> dict[str, Any]:
    """The entries that `kind` knows; files of later versions may have more. UserError for values of another type."""
    found = {field.name: content[field.name] for field in dataclasses.fields(kind) if field.name in content}
    for field in dataclasses.fields(kind):
        kinds: dict[str, tuple[type, ...]] = {"str": (str,), "float": (int, float), "dict": (dict,), "tuple": (list,)}
        wanted = kinds.get(str(field.type).partition("[")[0])
        value = found.get(field.name)
        if field.name in found and wanted and (not isinstance(value, wanted) or isinstance(value, bool)):
            got = f"{field.name} = {str(value)[:80]}"
            raise UserError("A value of this file has the wrong type.", where=where, expected=field.type, got=got)
    return found


def write_checkpoint_metadata(weights: str | os.PathLike[str], metadata: CheckpointMetadata) -> Path:
    """Write `<weights>.json` atomically; paths below the project's root are stored relative to it."""
    content = dataclasses.asdict(metadata)
    for name in ("model", "mineclip", "prior", "run"):
        if content[name]:
            found = resolve(content[name])
            content[name] = display(found) if found.exists() else content[name]
    path = checkpoint_metadata_path(weights)
    write_json(path, content)
    return path


@dataclasses.dataclass(frozen=True)
class GoalFile:
    """A goal, and what it was made for."""

    goal: NDArray[np.float32]
    """(E,)."""
    weights: str = ""
    """The policy that it was tuned for; relative to the project's root where it lies below it."""
    weights_sha256: str = ""
    prompt: str = ""
    """The text that the tuning started from, if any."""
    made_by: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Steps, frames, lists and losses of the training."""


def write_goal(path: str | os.PathLike[str], content: GoalFile) -> None:
    """Write a goal file, whole or not at all; the numbers come back bit for bit."""
    record = {"format": _GOAL_FORMAT, **dataclasses.asdict(content), "goal": [float(value) for value in content.goal]}
    write_json(Path(path), record)


def read_goal(path: str | os.PathLike[str]) -> GoalFile:
    """Read a goal file.

    Raises:
        UserError: the file is missing or holds no finite goal.
    """
    found = resolve(path)
    if not found.is_file():
        raise UserError(
            "The goal file does not exist.", where=display(found), todo="train one: bash 3_train_finetune_goal.sh"
        )
    content = read_json(found)
    try:
        goal = np.asarray(content.get("goal"), dtype=np.float32)
        usable = goal.ndim == 1 and goal.size > 0 and bool(np.isfinite(goal).all())
    except (TypeError, ValueError):
        usable = False
    if not usable:
        raise UserError(
            "This is not a goal file.",
            where=display(found),
            expected='a JSON object whose "goal" is a list of E finite numbers',
            got=str(content)[:200],
        )
    return GoalFile(**_fields_in(content, GoalFile, display(found)) | {"goal": goal})
