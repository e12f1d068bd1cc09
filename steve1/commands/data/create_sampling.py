"""Command: episodes → sampling lists.

Input: a name, or a mix of dataset folders with shares.
Output: `data/samplings/<name>_{train,val}.txt` and `<name>_metadata.json`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.messages import message, say_next, translated
from steve1.core.options import Option
from steve1.core.paths import display, output_path, quoted, resolve
from steve1.data.episodes.episode import Episode
from steve1.data.loading.lists import read_list
from steve1.data.loading.sampling import SAMPLINGS, SamplingSettings, Source, create_sampling
from steve1.reporting.numbers import percent

_MINI = "data/mini/mini.weights"


@dataclass(frozen=True)
class Args:
    """Flags of `2_create_sampling.sh`."""

    name: Annotated[str, Option(positional=True)] = ""
    """Name of the sampling. X uses the episodes of data/dataset_X; default: finetune_task, from data/dataset_finetune."""
    dataset_dir: str = ""
    """Use the episodes of this folder instead."""
    mix: tuple[str, ...] = ()
    """Mix several folders, with shares of the training windows: --mix data/dataset_buildhouse=0.7 data/dataset_contractor=0.3 (X alone means data/dataset_X)."""
    split: SamplingSettings = field(default_factory=SamplingSettings)
    samplings_dir: str = SAMPLINGS
    """Folder of the lists."""


def main(args: Args) -> None:
    """Choose the sources, write the lists, print what is in them."""
    name, sources = choose_sources(args)
    folder, val_list = output_path(args.samplings_dir), args.split.val_list
    settings = replace(args.split, val_list=str(resolve(val_list))) if val_list else args.split
    made = create_sampling(name, sources, settings, folder)
    for row in made["sources"]:
        share = message("sampling share", share=percent(row["train_share"])) if len(made["sources"]) > 1 else ""
        print(message("sampling source", folder=row["folder"], share=share, **_counts(row)))
        if row["without_goals"]:
            print(
                translated(
                    f"  {len(row['without_goals'])} without goal embeddings; before training: python tools/generate_mineclip_embeds.py --dataset_dir {quoted(row['folder'])}"
                )
            )
    fixed = message("sampling fixed", path=val_list) if val_list else ""
    print(message("sampling total", fixed=fixed, **_counts(made)))
    for key, part, wanted in (
        ("train_frames", "training", settings.train_frames),
        ("val_frames", "validation", settings.val_frames),
    ):
        if made[key] < wanted:
            print(translated(f"  only this many {part} frames: there are no more than that, {wanted:,} were requested"))
    for part in ("train.txt", "val.txt", "metadata.json"):
        print(message("wrote", path=display(folder / f"{name}_{part}")))
    if folder == output_path(SAMPLINGS):
        say_next(next_command(name, made, read_list(folder / f"{name}_train.txt")[0].path))


def _counts(row: dict[str, Any]) -> dict[str, int]:
    return {name: row[name] for name in ("train_episodes", "val_episodes", "train_frames", "val_frames")}


def next_command(name: str, made: dict[str, Any], episode: Path) -> str:
    """The training that these episodes fit: that of the mini weights where their goals are the mini MineCLIP's, T no longer than they are.

    Args:
        made: the sampling's metadata.
        episode: one of those to train on.
    """
    variables = {"SAMPLING_NAME": name, "OUT_WEIGHTS": f"data/weights/steve1/{name}.weights"}
    made_by = Episode(episode).mineclip_sha256
    if made_by and resolve(_MINI).is_file():
        mini = read_checkpoint_metadata(_MINI)
        if made_by == sha256_file(resolve(mini.mineclip)):
            variables |= {"IN_MODEL": mini.model, "IN_WEIGHTS": _MINI}
    longest = max(row["longest_episode"] for row in made["sources"])
    T = next((T for T in (320, 256, 192, 128, 64) if longest >= T + 15), 320)
    if T != 320:
        variables["T"] = str(T)
    return " ".join(
        [*(f"{key}={shlex.quote(value)}" for key, value in variables.items()), "bash 3_train_finetune_template.sh"]
    )


def choose_sources(args: Args) -> tuple[str, list[Source]]:
    """The sampling's name and its folders."""
    if args.mix and args.dataset_dir:
        raise UserError("--mix and --dataset_dir cannot be used together.")
    if args.name and ("/" in args.name or args.name.startswith(".")):
        todo = f"add --dataset_dir {shlex.quote(args.name)} and choose a name"
        raise UserError("A sampling's name is a word, not a path.", got=args.name, todo=todo)
    if args.mix:
        return args.name or "mixed", [_mixed(text) for text in args.mix]
    folder = args.dataset_dir or f"data/dataset_{args.name or 'finetune'}"
    return args.name or "finetune_task", [Source(resolve(folder))]


def _mixed(text: str) -> Source:
    folder, _, share = text.rpartition("=")
    try:
        weight = float(share)
    except ValueError:
        weight = -1.0
    if not folder or not 0 < weight < float("inf"):
        expected = "such as data/dataset_buildhouse=0.7"
        raise UserError("This part of --mix is not FOLDER=SHARE.", expected=expected, got=text)
    path = resolve(folder)
    return Source(path if path.is_dir() or "/" in folder else resolve(Path("data") / f"dataset_{folder}"), weight)
