"""Goal embeddings for a dataset folder: `python tools/generate_mineclip_embeds.py --dataset_dir data/dataset_x/`.

In: episodes and MineCLIP weights. Out: `embeds_attn.npy` in every episode. The same command again goes on where it was.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from steve1.core.cli import run
from steve1.core.errors import UserError
from steve1.core.paths import display, resolve
from steve1.core.progress import progress


@dataclasses.dataclass(frozen=True)
class Args:
    """Make MineCLIP goal embeddings for every episode of a folder."""

    dataset_dir: str
    """Folder with episodes, such as data/dataset_buildhouse/."""
    weights: str = "data/weights/mineclip/attn.pth"
    """MineCLIP weights: attn.pth, or a .safetensors of this project (mini family: data/mini/mini_mineclip.safetensors)."""
    config: str = "attn"
    """Sizes: "attn" (published) or a JSON file; a .safetensors of this project brings its own."""
    batch: int = 32
    """Frames encoded at a time."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    bf16: bool = False
    """Matrix products in bfloat16: faster, embeddings differ by about 1 %."""
    half: bool = False
    """Store float16 instead of float32."""
    overwrite: bool = False
    """Embed again where embeddings are there already."""


def main(args: Args) -> int:
    """Plan, embed, report; 1 when an episode failed."""
    if args.batch < 1:
        raise UserError("--batch must be at least 1", got=str(args.batch))
    from steve1.mineclip.device import choose_device
    from steve1.mineclip.embed import embed_dataset, plan
    from steve1.mineclip.weights import load_mineclip, weights_hash

    dataset, weights = resolve(args.dataset_dir), resolve(args.weights)
    device = choose_device(args.device)
    model = load_mineclip(weights, args.config if args.config == "attn" else resolve(args.config), device=device)
    model.autocast = args.bf16
    digest = weights_hash(weights)
    todo = plan(dataset, digest, args.overwrite)
    total = sum(len(episode) for episode in todo.work)
    print(
        f"{len(todo.work)} episodes to embed ({total} frames), {len(todo.skipped)} whole already; {device}, E={model.embed_dim}"
    )
    provenance = {"weights": display(weights), "sha256": digest, "embed_dim": model.embed_dim, "bf16": args.bf16}
    start = time.perf_counter()
    with progress(total=total, desc="embedding", unit="frame") as bar:

        def count(path: Path, frames: int) -> None:
            bar.set_postfix_str(path.name, refresh=False)
            bar.update(frames)

        report = embed_dataset(todo, model, provenance, batch=args.batch, half=args.half, on_frames=count)
    seconds = time.perf_counter() - start
    enlarged = sum(not episode.keeps_mineclip_frames for episode in todo.work)
    if enlarged:
        print(
            f"warning: {enlarged} episodes keep no frames for MineCLIP; their 128x128 frames were enlarged (see their metadata)"
        )
    for path, error in report.failed.items():
        print(f"skipped {display(path)}: {error}")
    rate = f", {report.frames / seconds:.0f} frames/s" if report.frames else ""
    print(
        f"embedded {len(report.embedded)} episodes ({report.frames} frames{rate}), {len(report.skipped)} were whole, {len(report.failed)} failed"
    )
    if report.embedded or report.skipped:
        name = dataset.name.removeprefix("dataset_")
        print(f"next: bash 2_create_sampling.sh {name}")
    return 1 if report.failed else 0


def cli() -> None:
    """The command line."""
    run(Args, main, "Make MineCLIP goal embeddings for every episode of a folder. Resumable.")


if __name__ == "__main__":
    cli()
