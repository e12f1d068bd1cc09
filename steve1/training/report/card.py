"""The card of what a run made: base weights, data, settings and hashes, as recorded beside the weights and in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.checkpoint_metadata import (
    GOAL_SUFFIX,
    CheckpointMetadata,
    checkpoint_metadata_path,
    read_checkpoint_metadata,
    read_goal,
)
from steve1.core.files import atomic_file, read_json
from steve1.core.paths import resolve
from steve1.core.run_folder import SETTINGS_FILE
from steve1.reporting.cards import Measured, ModelFacts, model_card
from steve1.training.trainable import ADAPTER_SUFFIX

CARD_FILE = "card.md"
#: what a card says of the training
_SETTINGS = ("finetune_mode", "learning_rate", "total_frames", "batch_size", "T", "trunc_t", "sampling_name", "seed")
_HASHES = ("train_list", "val_list", "weights")


def owner_of(path: Path) -> Path:
    """The weights whose metadata holds for a file: those that an adapter lies beside, else the file itself."""
    if not path.name.endswith(ADAPTER_SUFFIX):
        return path
    name = path.name.removesuffix(ADAPTER_SUFFIX)
    merged = [path.with_name(name + ending) for ending in (".weights", ".safetensors")]
    return next((each for each in merged if checkpoint_metadata_path(each).exists()), merged[0])


def facts_of(
    path: Path, files: Mapping[str, str] | None = None, measured: Sequence[Measured] = (), licence: str = ""
) -> ModelFacts:
    """What is recorded about weights, an adapter or a goal file.

    Args:
        files: name → what it is, of everything that goes with it.
    """
    files = files or {path.name: "what the run made"}
    if path.name.endswith(GOAL_SUFFIX):
        return _goal_facts(path, files, measured, licence)
    metadata = read_checkpoint_metadata(owner_of(path))
    settings, is_adapter = _settings(metadata), path.name.endswith(ADAPTER_SUFFIX)
    prompt = settings.pop("fixed_prompt", "")
    return ModelFacts(
        path.name.removesuffix(ADAPTER_SUFFIX) if is_adapter else path.stem,
        "adapter" if is_adapter else "weights",
        env=metadata.env,
        base=str(settings.pop("in_weights", "")),
        base_sha256=metadata.hashes.get("in_weights", ""),
        trained_on=metadata.trained_on,
        prompts=[prompt] if prompt else (),
        settings=settings,
        hashes={name: metadata.hashes[name] for name in _HASHES if name in metadata.hashes},
        files=files,
        measured=measured,
        licence=licence,
        use="" if is_adapter else f'python run_agent/run_agent.py --in_weights FOLDER/{path.name} --text_prompt "…"',
    )


def _goal_facts(path: Path, files: Mapping[str, str], measured: Sequence[Measured], licence: str) -> ModelFacts:
    goal = read_goal(path)
    metadata = read_checkpoint_metadata(goal.weights) if goal.weights else CheckpointMetadata()
    return ModelFacts(
        path.name.removesuffix(GOAL_SUFFIX),
        "goal",
        env=metadata.env,
        base=goal.weights,
        base_sha256=goal.weights_sha256,
        prompts=[goal.prompt] if goal.prompt else (),
        settings={name: value for name, value in goal.made_by.items() if isinstance(value, (str, int, float))},
        files=files,
        measured=measured,
        licence=licence,
        use=f"python run_agent/run_agent.py --goal_file FOLDER/{path.name}",
    )


def _settings(metadata: CheckpointMetadata) -> dict[str, Any]:
    """The settings of the run that made weights; {} where its folder is gone."""
    path = resolve(metadata.run) / SETTINGS_FILE if metadata.run else None
    if path is None or not path.is_file():
        return {}
    found = read_json(path)
    known = found["settings"] if isinstance(found.get("settings"), dict) else found
    wanted = (*_SETTINGS, "in_weights", "fixed_prompt")
    return {name: known[name] for name in wanted if known.get(name) not in (None, "")}


def write_card(path: Path, run_dir: Path) -> Path:
    """Write the card of a run's final weights or goal into its folder; `steve1 push` writes it anew, with what was measured."""
    with atomic_file(run_dir / CARD_FILE, "w") as file:
        file.write(model_card(facts_of(path)))
    return run_dir / CARD_FILE
