"""Are labels worth training on? `python -m research.idm_proof --idm_weights data/mini/mini_idm.weights`.

The same policy is fine-tuned twice, on the same videos with the same settings: once on the actions that were pressed, once on labels of the
videos after they were made small and coded as the web does. Both are then evaluated with the base on the same seeds.
Output: datasets and weights named after the run, and the evaluation's report. Run it again to resume: every step skips what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from research.fast_videos import record_both
from research.label_agreement import agreement, table
from research.steps import step
from steve1.commands.cli import run
from steve1.core.errors import UserError
from steve1.core.files import existing_file
from steve1.core.messages import translated
from steve1.core.paths import display, output_path

KINDS = ("true", "labels")


@dataclass(frozen=True)
class Args:
    """Compare training on true actions with training on labels."""

    name: str = "idm_proof"
    """Name of the datasets, weights and the evaluation."""
    idm_weights: str = "data/mini/mini_idm.weights"
    """The inverse dynamics model; its .model file lies beside it."""
    in_model: str = "data/mini/mini.model"
    """The policy's sizes."""
    in_weights: str = "data/mini/mini.weights"
    """Weights that both fine-tunes start from."""
    tasks: tuple[str, ...] = ("dig_dirt", "look_at_sky", "chop_tree")
    """Behaviours to record and tasks to evaluate."""
    recordings: int = 16
    """Recordings per behaviour."""
    steps: int = 300
    """Ticks per recording."""
    height: int = 360
    """Height in pixels of the videos that are labelled."""
    fps: tuple[int, ...] = (30, 60)
    """Their frames a second, by turns: 20, 30 or 60; the game draws three pictures in each step."""
    crf: int = 28
    """Rate factor of their coding; 23 to 30 is what the web has."""
    total_frames: int = 300_000
    """Frames of each fine-tune; all but the CNN is trained, on cached features."""
    episodes: int = 20
    """Paired episodes per task."""
    known_results: str = "data/mini/results"
    """What the start played earlier at the same places; its other tasks are played."""
    workers: int = 2
    """Games in parallel."""
    split: str = "eval"
    """Start states of the recordings."""
    first_place: int = 20
    """Leave out the first ones, which the evaluation uses; the model was trained on none of this split."""
    seed: int = 0
    """Seed of recordings, training and evaluation."""


def main(args: Args) -> None:
    """Record, degrade, label, train twice, evaluate."""
    if args.split == "eval" and args.episodes > args.first_place:
        raise UserError(
            "The evaluation would use places at which the videos were recorded.",
            expected=f"--episodes of at most --first_place ({args.first_place})",
            got=args.episodes,
            todo=f"--first_place {args.episodes}",
        )
    idm = existing_file(args.idm_weights, "These weights", "bash tools/make_mini.sh record convert idm")
    recordings = output_path(f"data/recordings/{args.name}")
    videos = output_path(f"data/videos/{args.name}")
    record_both(
        args.tasks, args.recordings, args.steps, args.seed, recordings, videos, rates=args.fps, height=args.height, crf=args.crf, split=args.split,
        first_place=args.first_place,
    )  # fmt: skip
    true, labels = (output_path(f"data/dataset_{args.name}_{kind}") for kind in KINDS)
    step("convert", "--input_dir", recordings, "--output_dir", true, "--keep_nulls")
    step("label_videos", "--videos_dir", videos, "--output_dir", labels, "--keep_nulls", "--idm_model", idm.with_suffix(".model"),
         "--idm_weights", idm, good=(0, 1))  # fmt: skip
    print(table(agreement(true, labels)))
    for kind, folder in zip(KINDS, (true, labels)):
        train(args, kind, folder)
    weights = [args.in_weights, *(str(weights_of(args, kind)) for kind in KINDS)]
    step("evaluate", "--weights", *weights, "--tasks", *args.tasks, "--target", *args.tasks, "--episodes", args.episodes, "--seed", args.seed,
         "--workers", args.workers, "--similarity", 0, "--known_results", args.known_results, "--name", args.name)  # fmt: skip
    print(translated(f"labels: {display(labels / 'label_report.html')}"))


def weights_of(args: Args, kind: str) -> Path:
    """Where a fine-tune's weights go."""
    return output_path(f"data/weights/steve1/{args.name}_{kind}.weights")


def train(args: Args, kind: str, dataset: Path) -> None:
    """Embed a dataset, list its episodes and fine-tune on it."""
    sampling = f"{args.name}_{kind}"
    step("embed", "--dataset_dir", dataset, "--weights", "data/mini/mini_mineclip.safetensors")
    step("create_sampling", sampling, "--dataset_dir", dataset, "--seed", args.seed)
    # Old episodes are not mixed in: both learn what the videos show, and nothing else.
    step("train", "--in_model", args.in_model, "--in_weights", args.in_weights, "--out_weights", weights_of(args, kind), "--sampling_name", sampling,
         "--finetune_mode", "frozen_cnn", "--feature_cache", "--batch_size", 8, "--T", 64, "--trunc_t", 16, "--learning_rate", 7e-4,
         "--max_grad_norm", 100, "--total_frames", args.total_frames, "--warmup_frames", args.total_frames // 20, "--max_btwn_goals", 60,
         "--val_freq", 500, "--log_every", 500, "--turn_loss_weight", 2, "--seed", args.seed, "--jitter")  # fmt: skip


if __name__ == "__main__":
    run(Args, main, "Compare training on true actions with training on labels of the same videos.")
