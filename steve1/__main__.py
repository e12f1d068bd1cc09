"""The `steve1` program: one command for each job, `steve1 COMMAND --help` for its options.

Input: a command's name and its options. A command is a module steve1/commands/<group>/<name>.py with `Args`, a dataclass whose
fields are the options, and `main(args)`; and its line in COMMANDS. Only the chosen command's module is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from steve1.core.messages import message, padded, translated
from steve1.core.processes import started_with

_HAS_PACKAGES = "import importlib.util as util, sys; sys.exit(not (util.find_spec('torch') and util.find_spec('cv2')))"
SETUP = "bash tools/setup.sh"
COMMANDS = {
    "data": {
        "generate_dataset": "Make a dataset: record or download, convert, embed.",
        "record": "Record scripted players in a game, in the contractor format (mp4 + jsonl).",
        "record_minecraft": "Record yourself playing Minecraft, in the contractor format.",
        "gen_mixed_agents": "Make a dataset of episodes that two agents play in turns, with random spins.",
        "trim_recordings": "Cut recordings into clips by a list of times.",
        "convert": "Convert recordings (mp4 + jsonl) into episodes for training.",
        "label_videos": "Label videos without actions by an inverse dynamics model, and report how far the labels can be trusted. Resumable.",
        "embed": "Compute MineCLIP goal embeddings for every episode of a folder. Resumable.",
        "create_sampling": "Write the lists of training and validation episodes.",
        "inspect_dataset": "Show what is in datasets: a table, and an HTML report with charts, contact sheets and suspicious episodes.",
        "validate_dataset": "Check every episode of a dataset byte by byte; --repair writes repaired copies of damaged ones.",
        "filter_dataset": "Keep the episodes, or parts of them, that meet a condition.",
        "export_dataset": "Export episodes: the guide's or STEVE-1's layout, LeRobot v3.0 or v2.1, MineStudio.",
    },
    "train": {
        "train": "Fine-tune STEVE-1 on the episodes of a sampling list. Resumable.",
        "dagger_round": "One round of corrections: record, fine-tune on all so far, compare with the start. Resumable.",
        "train_rl": "Fine-tune by reinforcement learning: play, judge, learn. Resumable.",
        "plan": "Find batch, TRUNC_T, accumulation and fine-tuning mode that fit a GPU, with estimated hours.",
        "cache_features": "Compute the frozen CNN's features of all frames, for training with --feature_cache.",
        "make_replay": "Write a replay pack: old episodes in one small file, which keeps old skills when training mixes it in.",
        "report_run": "Write the report of a training run: curves, settings, next steps.",
        "rollout_checkpoint": "Play short rollouts of a checkpoint, for the run's report.",
        "interpolate_weights": "Interpolate between base and fine-tuned weights, and measure both losses.",
        "train_prior": "Train the prior (text embedding → goal). Resumable.",
        "train_idm": "Train an inverse dynamics model, which labels videos without actions. Resumable.",
    },
    "play": {
        "play": "Play a prompt in a game and record a video.",
        "live": "Play, prompt, take over and record at a page in a browser.",
        "serve": "Let weights on this machine play games that run elsewhere.",
    },
    "evaluate": {
        "evaluate": "Measure success rates with confidence intervals, on the same seeds for all weights.",
        "compare": "Play one prompt with two or more weights: a side-by-side video and a table.",
        "evaluate_on_minedojo": "Measure success rates on tasks, by our names or other benchmarks' names.",
        "check_reward": "Check a reward before training on it: what players of known skill earn, and whether failures win.",
        "sweep_guidance": "Measure success at several guidance scales and find the best.",
    },
    "tools": {
        "doctor": "Check this machine: what works, what does not, and how to fix it.",
        "gpu_check": "Try training and playing on the GPU in a few minutes; prints a block for an issue.",
        "download_weights": "Download the published weights.",
        "check_quickstart": "Check that everything the quickstart needs is installed.",
        "build_shim": "Compile the library that runs Luanti step by step.",
        "convert_weights": "Convert policy weights between .weights and .safetensors, float32 and float16.",
        "push": "Push weights, goals, replay packs or datasets to the Hugging Face hub or a folder. Resumable.",
        "pull": "Pull weights, goals, replay packs or datasets from the Hugging Face hub or a folder. Resumable.",
        "new_model": "Write a .model file with the settings of a policy network.",
    },
}


_USAGE = "usage: steve1 COMMAND [OPTIONS]     (python -m steve1 COMMAND is the same; COMMAND --help lists the options)"


def overview() -> str:
    """The list of all commands, as `steve1 --help` prints it."""
    lines = [translated(_USAGE)]
    for group, commands in COMMANDS.items():
        lines += [
            "",
            message(f"{group} commands") + ":",
            *(f"  {name:<22}{translated(about)}" for name, about in commands.items()),
        ]
    return "\n".join(lines)


def main(name: str | None = None) -> NoReturn:
    """Run the command `name`, by default the first word of the command line, and exit with its code."""
    if name is None:
        name = sys.argv.pop(1) if len(sys.argv) > 1 else "--help"
    found = name.replace("-", "_")
    find_packages(needed=found not in ("doctor", "__help", "__version", "_h", "help"))
    from steve1.commands.cli import leave, run  # after the search for a Python that can

    groups = {command: group for group, commands in COMMANDS.items() for command in commands}
    if found in groups:
        try:
            module = importlib.import_module(f"steve1.commands.{groups[found]}.{found}")
        except ModuleNotFoundError as fault:
            if (fault.name or "steve1").partition(".")[0] in ("steve1", "benchmarks", "research"):
                raise
            _say_error(f"The Python package {fault.name} is not installed.")
            sys.exit(2)
        run(module.Args, module.main, COMMANDS[groups[found]][found])
    leave(lambda: _about(name, list(groups)))


def _about(name: str, commands: list[str]) -> None:
    """Print the list of commands or the version; UserError for another word."""
    from steve1 import __version__
    from steve1.core.errors import UserError, nearest

    if name not in ("-h", "--help", "help", "--version"):
        found = nearest(name.replace("-", "_"), commands)
        raise UserError("There is no such command.", got=name, expected=found, todo="python -m steve1 --help")
    print(f"steve1 {__version__}" if name == "--version" else overview())


def _say_error(what: str) -> None:
    following = message("next") + ":"
    print(f"{message('error')}: {translated(what)}\n  {padded(following, 10)}{SETUP}", file=sys.stderr)


def find_packages(needed: bool = True) -> None:
    """Start again with the project's .venv where this Python is too old or has no packages; a message where there is none either."""
    old = sys.version_info < (3, 11)
    if not old and importlib.util.find_spec("torch") and importlib.util.find_spec("cv2"):
        return
    own = Path(__file__).resolve().parents[1] / ".venv" / "bin" / "python"
    other = own.exists() and Path(sys.prefix).resolve() != own.parents[1].resolve()
    if other and subprocess.run([str(own), "-c", _HAS_PACKAGES], capture_output=True).returncode == 0:
        os.execv(own, [str(own), *started_with()])
    if needed:
        what = (
            f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed."
            if old
            else "The project's packages are not installed."
        )
        _say_error(what)
        sys.exit(2)


if __name__ == "__main__":
    main()
