"""Goal embeddings for a dataset folder: `python tools/generate_mineclip_embeds.py --dataset_dir data/dataset_x/`.

In: episodes and MineCLIP weights. Out: `embeds_attn.npy` in every episode. The same command again goes on where it was.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from steve1.core.errors import UserError
from steve1.core.paths import display, resolve
from steve1.core.progress import progress

if TYPE_CHECKING:
    from steve1.mineclip.embed import EmbedReport, EmbedSettings


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
    """Frames encoded at a time, of as many episodes as it takes; 256 suits a large GPU."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of matrix products. bf16 is faster, and embeddings differ by about 1 %; auto takes it on CUDA only."""
    half: bool = False
    """Store float16 instead of float32."""
    overwrite: bool = False
    """Embed again where embeddings are there already."""
    shard: str = ""
    """i/n: take the i-th of n parts of the episodes only. For several machines or GPUs: start each with its own i."""
    ray: bool = False
    """Embed as tasks of a Ray cluster (RAY_ADDRESS, or one on this machine), one GPU each where there are any."""


def main(args: Args, names: Sequence[str] | None = None, *, hint: bool = True) -> int:
    """Plan, embed, report; 1 when an episode failed.

    Args:
        args: see there.
        names: exactly these episodes, whatever part `args.shard` would be; None: those of the folder that are of the part.
        hint: say what comes next.
    """
    if args.batch < 1:
        raise UserError("--batch must be at least 1", got=str(args.batch))
    from steve1.data.episodes.episode import find_episodes
    from steve1.data.episodes.listing import sampling_arguments
    from steve1.data.recordings.shards import alone_in, parse_shard
    from steve1.mineclip.embed import EmbedReport, EmbedSettings, embed_on_ray, sweep

    shard = parse_shard(args.shard)
    dataset = resolve(args.dataset_dir)
    config = args.config if args.config == "attn" else resolve(args.config)
    settings = EmbedSettings(
        resolve(args.weights), config, args.device, args.precision, args.batch, args.half, args.overwrite
    )
    names = shard.of([path.name for path in find_episodes(dataset)]) if names is None else names
    start = time.perf_counter()
    with alone_in(dataset, shard, "embed"):
        if args.ray:
            report = EmbedReport()
            with progress(total=len(names), desc="embedding", unit="episode") as bar:
                for part in embed_on_ray(dataset, names, settings):
                    report.add(part)
                    bar.update(len(part.embedded) + len(part.skipped) + len(part.failed))
        else:
            report = _here(dataset, names, settings)
        if shard.whole and not report.failed:
            sweep(dataset)
    _tell(report, dataset, time.perf_counter() - start)
    if hint and (report.embedded or report.skipped):
        print(f"next: bash 2_create_sampling.sh {sampling_arguments(dataset)}".rstrip())
    return 1 if report.failed else 0


def _here(dataset: Path, names: Sequence[str], settings: EmbedSettings) -> EmbedReport:
    """On this machine, with a bar."""
    from steve1.mineclip.embed import embed_group

    bar: Any = None

    def begin(todo: Any, model: Any) -> None:
        nonlocal bar
        total = sum(len(episode) for episode in todo.work)
        print(
            f"{len(todo.work)} episodes to embed ({total} frames), {len(todo.skipped)} whole already; "
            f"{model.device}, {'bf16' if model.autocast else 'fp32'}, E={model.embed_dim}"
        )
        bar = progress(total=total, desc="embedding", unit="frame")

    def count(path: Path, frames: int) -> None:
        bar.set_postfix_str(path.name, refresh=False)
        bar.update(frames)

    try:
        return embed_group(dataset, names, settings, begin, count)
    finally:
        if bar is not None:
            bar.close()


def _tell(report: EmbedReport, dataset: Path, seconds: float) -> None:
    """The summary: what was made, what failed and why."""
    if report.enlarged:
        print(
            f"warning: {len(report.enlarged)} episodes keep no frames for MineCLIP; their 128x128 frames were enlarged (see their metadata)"
        )
    for path, error in sorted(report.failed.items()):
        print(f"skipped {display(path)}: {error}")
    rate = f", {report.frames / seconds:.0f} frames/s" if report.frames else ""
    print(
        f"embedded {len(report.embedded)} episodes ({report.frames} frames{rate}), {len(report.skipped)} were whole, {len(report.failed)} failed"
    )
