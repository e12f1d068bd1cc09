"""Command: episodes → sampling lists.

In: a name, or a mix of dataset folders with shares. Out: `data/samplings/<name>_{train,val}.txt` and `<name>_metadata.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from steve1.core.errors import UserError
from steve1.core.paths import display, output_path, resolve
from steve1.data.loading.sampling import SAMPLINGS, Source, create_sampling


@dataclass(frozen=True)
class Args:
    """Flags of `2_create_sampling.sh`."""

    name: tyro.conf.Positional[str] = ""
    """Name of the sampling. X takes the episodes of data/dataset_X; without a name: finetune_task from data/dataset_finetune."""
    dataset_dir: str = ""
    """Take the episodes of this folder instead."""
    mix: tuple[str, ...] = ()
    """Several folders with their shares of the training windows: --mix data/dataset_buildhouse=0.7 data/dataset_contractor=0.3 (a bare X means data/dataset_X)."""
    val_fraction: float = 0.1
    """Share of each folder's episodes that is kept for validation: at least one episode, but never more than a fifth of all."""
    val_list: str = ""
    """A list of episodes to validate on as it is (such as data/samplings/fixed_val.txt); none of them is trained on."""
    train_frames: int = 0
    """Take whole episodes until this many frames are trained on, of each folder its share; 0: all."""
    val_frames: int = 0
    """Take whole episodes until this many frames are validated on, in place of --val_fraction."""
    seed: int = 0
    """Of the split between training and validation."""
    overwrite: bool = False
    """Replace lists that were written or edited by hand."""
    samplings_dir: str = SAMPLINGS
    """Where the lists go."""


def main(args: Args) -> None:
    """Choose the sources, write the lists, say what is in them."""
    name, sources = choose_sources(args)
    folder = output_path(args.samplings_dir)
    metadata = create_sampling(
        name,
        sources,
        val_fraction=args.val_fraction,
        train_frames=args.train_frames,
        val_frames=args.val_frames,
        val_list=resolve(args.val_list) if args.val_list else None,
        seed=args.seed,
        folder=folder,
        overwrite=args.overwrite,
    )
    for row in metadata["sources"]:
        share = f", {row['train_share']:.1%} of training" if len(metadata["sources"]) > 1 else ""
        print(
            f"{row['folder']}: {row['train_episodes']} train + {row['val_episodes']} val episodes, {row['train_frames']:,} + {row['val_frames']:,} frames{share}"
        )
        if row["without_goals"]:
            print(
                f"  {len(row['without_goals'])} without goal embeddings; before training: python tools/generate_mineclip_embeds.py --dataset_dir {row['folder']}"
            )
    print(
        f"in all {metadata['train_episodes']} + {metadata['val_episodes']} episodes, "
        f"{metadata['train_frames']:,} + {metadata['val_frames']:,} frames"
        + (f" (validation as in {args.val_list})" if args.val_list else "")
    )
    for part, wanted in (("train", args.train_frames), ("val", args.val_frames)):
        if metadata[f"{part}_frames"] < wanted:
            print(f"  fewer {part} frames than the {wanted:,} asked for: there are no more")
    for part in ("train.txt", "val.txt", "metadata.json"):
        print(f"wrote {display(folder / f'{name}_{part}')}")
    if folder == output_path(SAMPLINGS):
        print(
            f"next: SAMPLING_NAME={name} OUT_WEIGHTS=data/weights/steve1/{name}.weights bash 3_train_finetune_template.sh"
        )


def choose_sources(args: Args) -> tuple[str, list[Source]]:
    """The sampling's name and its folders."""
    if args.mix and args.dataset_dir:
        raise UserError("--mix names its own folders; leave out --dataset_dir.")
    if args.name and ("/" in args.name or args.name.startswith(".")):
        raise UserError(
            "A sampling's name is a word, not a path.",
            got=args.name,
            todo=f"add --dataset_dir {args.name} and choose a name",
        )
    if args.mix:
        return args.name or "mixed", [_mixed(text) for text in args.mix]
    if args.dataset_dir:
        return args.name or "finetune_task", [Source(resolve(args.dataset_dir))]
    return (
        (args.name, [Source(resolve(f"data/dataset_{args.name}"))])
        if args.name
        else ("finetune_task", [Source(resolve("data/dataset_finetune"))])
    )


def _mixed(text: str) -> Source:
    folder, _, share = text.rpartition("=")
    try:
        weight = float(share)
    except ValueError:
        weight = -1.0
    if not folder or not 0 < weight < float("inf"):
        raise UserError(
            "This part of --mix is not FOLDER=SHARE.", expected="such as data/dataset_buildhouse=0.7", got=text
        )
    path = resolve(folder)
    return Source(path if path.is_dir() or "/" in folder else resolve(Path("data") / f"dataset_{folder}"), weight)
