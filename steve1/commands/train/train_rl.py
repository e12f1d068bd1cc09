"""Command: reinforcement learning from a policy that already plays (`bash 3_train_finetune_rl.sh`, `python -m steve1 train_rl`).

Stopped or killed, the same command goes on where it was.
"""

from __future__ import annotations

import dataclasses

from steve1.core.files import check_writable
from steve1.core.messages import heading, message, say_next, translated
from steve1.core.paths import display, quoted
from steve1.rl.settings import RlSettings

_OLD_SKILLS = {
    "replay": "imitated beside",
    "kl": "kept as the start does them",
    "both": "imitated beside, and kept close to the start",
}


@dataclasses.dataclass(frozen=True)
class Args(RlSettings):
    """Play, judge, learn."""


def main(args: Args) -> None:
    """Say what the run takes, train, and say how to measure it."""
    # Imported here because it loads torch, for which --help need not wait.
    from steve1.rl.loop import Run
    from steve1.rl.report.findings import read_rl_run
    from steve1.training.checkpoint.run_folder import REPORT_FILE

    run = Run(args)
    inputs = run.inputs
    print(
        translated(
            f"{inputs.prompt!r} in {inputs.env}, paid by {inputs.reward.name}: {', '.join(term.name for term in inputs.reward.terms)}"
        )
    )
    print(translated(f"{args.iterations} iterations of {args.episodes} episodes: {inputs.estimate().text()}"))
    if inputs.keep_tasks:
        print(
            translated("kept as they are: ")
            + ", ".join(repr(prompt) if prompt else heading("no goal") for prompt in inputs.keep_tasks)
            + (f" ({translated(inputs.keep_reason)})" if inputs.keep_reason else "")
        )
    if args.keeping in _OLD_SKILLS:
        print(translated(f"old skills of {args.replay} are {_OLD_SKILLS[args.keeping]}"))
    if args.dry_run:
        return
    check_writable(run.training.out_path, args.run_dir)
    found = run.run()
    print(
        translated(
            f"\n{display(found.out_weights)}: {found.iterations} iterations; curves: tensorboard --logdir {quoted(found.run_dir.parent)}"
        )
    )
    print(message("training report", path=display(found.run_dir / REPORT_FILE)))
    say_next(read_rl_run(found.run_dir).evaluation)
