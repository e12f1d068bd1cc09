"""Write the report of a training run and print what to do next: `python -m steve1 report_run data/finetuning_checkpoint/<name>`.

Input: the folder of a run, imitation or reinforcement learning, finished or not. Output: report.html in it, and the findings on the console.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from steve1.core.messages import language, translated
from steve1.core.options import Option
from steve1.core.paths import display, resolve


@dataclasses.dataclass(frozen=True)
class Args:
    """Write the report of a training run."""

    run_dir: Annotated[Path, Option(positional=True)]
    """The run's folder: data/finetuning_checkpoint/<name of the output weights>."""
    zh: bool = False
    """Print the findings in Chinese, whatever STEVE1_LANG says."""


def main(args: Args) -> None:
    """Read the run, write its page, print the findings."""
    # Imported here: the help should not wait for PyTorch.
    from steve1.rl.report import advice as rl_advice
    from steve1.rl.report.findings import holds_rl_run, read_rl_run
    from steve1.rl.report.page import write_rl_report
    from steve1.training.report.advice import advise
    from steve1.training.report.findings import read_run
    from steve1.training.report.page import write_report

    folder = resolve(args.run_dir)
    if holds_rl_run(folder):
        findings, path = rl_advice.advise(read_rl_run(folder)), write_rl_report(folder)
    else:
        findings, path = advise(read_run(folder)), write_report(folder)
    marks = {"act": "!", "note": "-", "good": "+"}
    for advice in findings:
        text, todo = advice.said("zh" if args.zh else language())
        print(f"{marks[advice.level]} {text}")
        for line in todo:
            print(f"    {line}")
    print(translated(f"report: {display(path)}"))
