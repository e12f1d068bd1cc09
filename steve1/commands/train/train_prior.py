"""Command: train the prior (`bash 4_train_prior.sh`) on pairs of text and video embeddings or on embedded, captioned episodes."""

from __future__ import annotations

import dataclasses
import time

from steve1.core.device import choose_device
from steve1.core.errors import UserError
from steve1.core.files import check_writable, sha256_file
from steve1.core.messages import message, progress, translated
from steve1.core.paths import display, output_path, quoted, resolve
from steve1.data.episodes.captions import TABLE, read_captions
from steve1.mineclip import load_mineclip
from steve1.prior.pairs import Pairs, load_pairs, make_pairs, save_pairs
from steve1.prior.training import PriorSettings, train_prior


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(PriorSettings):
    """Train the prior (text embedding → goal)."""

    data: str = "data/prior_data/steve1_prior_data.pkl"
    """Training pairs: a pickle or .npz with text_embeddings and visual_embeddings. With --dataset_dir: the .npz to write."""
    out_weights: str = "data/weights/steve1/my_prior.safetensors"
    """Path of the best prior; .pt is STEVE-1's format."""
    dataset_dir: tuple[str, ...] = ()
    """Folders of embedded, captioned episodes to make pairs from (needs --mineclip)."""
    mineclip: str = ""
    """MineCLIP weights to encode the captions; must be those that made the episodes' goals."""
    mineclip_config: str = "attn"
    """"attn", or a JSON file with the network's sizes."""
    captions: str = ""
    """YAML table of captions for episodes without any; default: the project's own."""
    stride: int = 4
    """Frames between pairs from one episode."""
    pairs_only: bool = False
    """Only write the pairs."""
    half: bool = False
    """Save as float16."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""
    overwrite: bool = False
    """Delete an earlier run of this name and its output weights, and start again; with --dataset_dir the pairs in --data too."""


def main(args: Args) -> None:
    """Make or read the pairs, train, report."""
    args.check()
    if args.stride < 1:
        raise UserError("--stride must be at least 1.", got=args.stride)
    output = output_path(args.out_weights)
    if output.suffix not in (".safetensors", ".pt"):
        raise UserError(
            "The prior's weights must end in .safetensors or .pt.", where="--out_weights", got=args.out_weights
        )
    run_folder = output_path("data/finetuning_checkpoint") / output.stem
    check_writable(output, run_folder)
    notes: dict[str, str] = {}
    if args.dataset_dir:
        pairs, notes["mineclip_sha256"] = _make_pairs(args)
        if args.pairs_only:
            return
    else:
        pairs = load_pairs(resolve(args.data))
    print(translated(f"{len(pairs)} pairs of width {pairs.text.shape[1]}, {len(set(pairs.groups.tolist()))} groups"))
    start = time.perf_counter()
    with progress(total=args.max_epochs, desc=message("bar prior"), unit="epoch") as bar:

        def show(epoch: int, scalars: dict[str, float]) -> None:
            bar.set_postfix(loss=f"{scalars['val/loss']:.4f}", kl=f"{scalars['val/kl']:.4f}", refresh=False)
            bar.update(epoch - bar.n)

        result = train_prior(
            pairs,
            output,
            args,
            run=run_folder,
            notes=notes,
            half=args.half,
            overwrite=args.overwrite,
            device=choose_device(args.device),
            on_epoch=show,
        )
    print(
        translated(
            f"best epoch {result.best_epoch} of {result.epoch}: validation loss {result.best_loss:.4f}, "
            f"KL {result.kl:.4f} nats a channel, {100 * result.explained:.1f} % of the variance explained, "
            f"{time.perf_counter() - start:.0f} s"
        )
    )
    print(translated(f"prior: {display(output)}\ncurves: tensorboard --logdir {quoted(run_folder)}"))


def _make_pairs(args: Args) -> tuple[Pairs, str]:
    """Pairs from episodes, written to --data; and the MineCLIP weights' hash."""
    if not args.mineclip:
        raise UserError(
            "--dataset_dir needs --mineclip.", todo="name the MineCLIP weights that made the episodes' goals"
        )
    if not args.data.endswith(".npz"):
        raise UserError("Pairs are saved as .npz.", where="--data", got=args.data)
    config = args.mineclip_config if args.mineclip_config == "attn" else resolve(args.mineclip_config)
    mineclip = load_mineclip(resolve(args.mineclip), config)
    table = read_captions(resolve(args.captions) if args.captions else TABLE)
    folders = [resolve(folder) for folder in args.dataset_dir]
    made_by, path = sha256_file(resolve(args.mineclip)), output_path(args.data)
    pairs = make_pairs(folders, mineclip, table, stride=args.stride, seed=args.seed, mineclip_sha256=made_by)
    if path.exists() and not args.overwrite and load_pairs(path).sha256() != pairs.sha256():
        raise UserError("This file holds other pairs.", where=path, todo="choose another --data, or add --overwrite")
    save_pairs(pairs, path)
    print(translated(f"wrote {len(pairs)} pairs to {display(path)}"))
    return pairs, made_by
