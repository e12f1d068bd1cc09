"""What is pushed for a path: weights with what belongs to them, an adapter, a goal file, a replay pack, or a dataset; and its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steve1.core.checkpoint_metadata import (
    GOAL_SUFFIX,
    REPLAY_SUFFIX,
    CheckpointMetadata,
    checkpoint_metadata_path,
    read_checkpoint_metadata,
    read_goal,
)
from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.paths import PUBLISHED, display, resolve
from steve1.core.reading.contents import read_text
from steve1.data.episodes.captions import read_captions, task_of
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.episodes.formats.replay import open_pack
from steve1.data.exchange.lerobot import schema as lerobot
from steve1.data.exchange.lerobot.read import open_set
from steve1.data.exchange.minestudio.lmdbs import is_store, open_store
from steve1.hub.transfer import CARD, Bundle
from steve1.reporting.cards import Contents, DataFacts, Measured, data_card, model_card
from steve1.training.report.card import facts_of, owner_of
from steve1.training.trainable import ADAPTER_SUFFIX


def bundle_of(path: Path, evaluations: Sequence[Path] = (), licence: str = "") -> Bundle:
    """Everything that goes with a path.

    Args:
        path: .weights, .safetensors, .lora.safetensors, .goal.json, .replay.safetensors, or a dataset's folder.
        evaluations: folders of evaluations whose results the card shows.
        licence: an identifier such as "mit".

    Raises:
        UserError: there is nothing of these at the path.
    """
    measured = [_evaluation(folder) for folder in evaluations]
    if path.is_file() and path.name.endswith(REPLAY_SUFFIX):
        return _replay(path, licence)
    if path.is_file() and path.name.endswith(GOAL_SUFFIX):
        return _goal(path, measured, licence)
    if path.is_file() and path.name.endswith(ADAPTER_SUFFIX):
        return _weights(path, "adapter", measured, licence)
    if path.is_file() and path.suffix in (".weights", ".safetensors"):
        return _weights(path, "weights", measured, licence)
    if path.is_dir():
        return _dataset(path, licence)
    raise UserError(
        "There is nothing to push at this path." if not path.exists() else "This cannot be pushed.",
        where=path,
        expected=f"weights, an adapter ({ADAPTER_SUFFIX}), a goal ({GOAL_SUFFIX}), a replay pack ({REPLAY_SUFFIX}), or the folder of a dataset",
    )


def _evaluation(folder: Path) -> Measured:
    """The results of an evaluation's folder."""
    path = folder / "report.json"
    if not path.is_file():
        what = "This evaluation has no results."
        raise UserError(
            what, where=path, todo="python -m steve1 evaluate … --name NAME, then --evaluations data/evaluations/NAME"
        )
    found = read_json(path)
    rates, sentences = found.get("rates"), found.get("sentences") or ()
    if not isinstance(rates, dict):
        raise UserError("These results have another form.", where=path, expected='"rates"')
    return Measured(str(found.get("title") or folder.name), [str(each) for each in sentences], rates)


def _with_parents(path: Path, metadata: CheckpointMetadata, near: Path) -> dict[str, Path]:
    """The weights, the model file, and MineCLIP and prior where they are not those that 0_download_weights.sh brings.

    Raises:
        UserError: two of these files have one name; where they are pushed to, one would replace the other.
    """
    published, found = {Path(name).name for name in PUBLISHED.values()}, {path.name: path}
    for name in (metadata.model, metadata.mineclip, metadata.prior):
        file = resolve(name, near) if name else None
        if not file or not file.is_file() or (file.suffix != ".model" and file.name in published):
            continue
        if not found.setdefault(file.name, file).samefile(file):
            raise UserError(
                "Two files that belong together have the same name, and are pushed into one folder.",
                where=file,
                got=display(found[file.name]),
                todo=f"rename one of them, and in {checkpoint_metadata_path(path).name} too",
            )
    return found


def _weights(path: Path, kind: str, measured: Sequence[Measured], licence: str) -> Bundle:
    owner = owner_of(path)
    metadata = read_checkpoint_metadata(owner)
    files = _with_parents(path, metadata, owner.parent)
    what = dict.fromkeys(files, "network, MineCLIP or prior that belongs to it") | {path.name: kind}
    beside = checkpoint_metadata_path(owner)
    if beside.exists():
        files[beside.name], what[beside.name] = beside, "what belongs to the weights"
    adapter = path.with_name(path.stem + ADAPTER_SUFFIX)
    if kind == "weights" and adapter.is_file():
        files[adapter.name], what[adapter.name] = adapter, "the same change as a LoRA adapter"
    return Bundle(kind, files, model_card(facts_of(path, what, measured, licence)))


def _goal(path: Path, measured: Sequence[Measured], licence: str) -> Bundle:
    size = len(read_goal(path).goal)
    facts = facts_of(path, {path.name: f"the goal, {size} numbers"}, measured, licence)
    return Bundle("goal", {path.name: path}, model_card(facts))


def _replay(path: Path, licence: str) -> Bundle:
    pack = open_pack(path)
    contents = Contents(frames=len(pack.features))
    for name in pack.episodes:
        contents.add(0, source=name.partition("/")[0])
    facts = DataFacts(
        path.name.removesuffix(REPLAY_SUFFIX),
        f"replay pack of features of the CNN with SHA-256 {pack.cnn_hash}, without pictures",
        contents,
        licence=licence,
        limits=["It fits policies with this CNN only."],
        use=f"REPLAY=FOLDER/{path.name} bash 3_train_finetune_template.sh",
    )
    return Bundle("replay", {path.name: path}, data_card(facts))


def _dataset(path: Path, licence: str) -> Bundle:
    if (path / lerobot.INFO).is_file():
        kind, tag, layout = "lerobot", str(read_json(path / lerobot.INFO).get("codebase_version") or ""), "LeRobot"
        count, limits = _lerobot_contents, []
    elif is_store(path):
        kind, tag, layout = "minestudio", "", "MineStudio's trajectory store (LMDB)"
        count, limits = _minestudio_contents, ["Pictures are 224x224: the game's 16:9 picture is squeezed to a square."]
    else:
        episodes = find_episodes(path)
        if not episodes:
            what = "There are no episodes in this folder."
            raise UserError(what, where=path, expected="a dataset of episodes, a LeRobot dataset or a MineStudio store")
        files = {f"{episode.name}/{name}": file for episode in episodes for name, file in _files(episode).items()}
        return Bundle("episodes", files, data_card(_episode_facts(path, episodes, licence)))
    files = _files(path)
    if card := files.pop(CARD, None):
        text = read_text(card, "card")
    else:
        facts = DataFacts(path.name, f"{layout} {tag}".strip(), count(path), licence=licence, limits=limits)
        text = data_card(facts)
    return Bundle(kind, files, text, tag)


def _lerobot_contents(path: Path) -> Contents:
    found, dataset = Contents(), open_set(path)
    for entry in dataset.entries:
        known = dataset.own.get(entry.number, {}).get("metadata") or {}
        found.add(entry.length, next(filter(None, entry.tasks), ""), known.get("source_kind"))
    return found


def _minestudio_contents(path: Path) -> Contents:
    found = Contents()
    for trajectory in open_store(path).trajectories:
        found.add(trajectory.length)
    return found


def _files(folder: Path) -> dict[str, Path]:
    """Files below a folder, without hidden ones and the locks of databases."""
    found = {}
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if file.is_file() and not any(part.startswith(".") for part in parts) and file.name != "lock.mdb":
            found["/".join(parts)] = file
    return found


def _episode_facts(path: Path, episodes: Sequence[Path], licence: str) -> DataFacts:
    table, contents = read_captions(), Contents()
    for each in episodes:
        episode = Episode(each)
        contents.add(len(episode), task_of(episode.metadata, table), episode.metadata.get("source_kind"))
    return DataFacts(
        path.name,
        "episodes of steve1-finetune, one folder each (docs/technical/DATA_FORMATS.md)",
        contents,
        licence,
        limits=["Pictures are 128x128: the game's 16:9 picture is squeezed to a square."],
        use=f"python -m steve1 pull REPOSITORY --output_dir data/{display(path).rpartition('/')[2]}",
    )
