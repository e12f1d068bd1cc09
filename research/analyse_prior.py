"""The prior alone, no game: `python -m research.analyse_prior --weights data/mini/mini.weights --dataset_dir data/dataset_mini_dig_dirt`.

Input: weights (or a MineCLIP and a prior), prompts, embedded demonstrations.
Output: a folder with cosines, projections (PCA, t-SNE), spread over
samples, nearest demonstrations, and how robust goals are to paraphrases, as pictures, JSON and Markdown.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from research.prior_analysis import analyse, prepare, render
from research.prior_pictures import write_analysis
from steve1.commands.cli import run
from steve1.core.messages import translated
from steve1.core.paths import ROOT, display, resolve, slug
from steve1.data.episodes.captions import TABLE, read_captions
from steve1.evaluation.demonstrations import read_demonstrations
from steve1.evaluation.policies import parse_policies
from steve1.evaluation.tasks.suite import load_suite
from steve1.goals import GoalEncoder


@dataclasses.dataclass(frozen=True)
class Args:
    """Analyse a prior."""

    weights: str = "data/mini/mini.weights"
    """Policy weights whose <weights>.json names the MineCLIP and the prior; the policy itself is not loaded."""
    dataset_dir: tuple[str, ...] = ()
    """Folders of embedded episodes: the demonstrations to compare goals with. Failed episodes are left out."""
    tasks: tuple[str, ...] = ("all",)
    """Tasks whose prompts are analysed."""
    prompts: tuple[str, ...] = ()
    """Further prompts, in English."""
    captions: str = str(TABLE)
    """YAML table of captions by behaviour, used as paraphrases of the tasks' prompts; "" for none. Of goals and of text embeddings: the mean cosine of two paraphrases of one task (robust: high) and of different tasks (discriminable: low), and the share of paraphrases whose nearest task's prompt is their own."""
    samples: int = 32
    """Prior samples per prompt."""
    suite: str = ""
    """Task suite: a name or a YAML file; default: that of the weights' game."""
    mineclip_weights: str = ""
    """MineCLIP weights; default: from <weights>.json."""
    prior_weights: str = ""
    """The prior's weights; default: from <weights>.json."""
    seed: int = 0
    """Seed for the samples (sample 0 is the goal used in play) and for t-SNE."""
    output_dir: str = ""
    """Output folder; default: data/prior_analyses/<weights>."""


def main(args: Args) -> None:
    """Load, analyse, write, print the table."""
    paths = {"mineclip": args.mineclip_weights, "prior": args.prior_weights}
    spec = parse_policies([args.weights], **{name: str(resolve(path)) for name, path in paths.items() if path})[0]
    suite = load_suite(args.suite or spec.metadata.env)
    prompts = [(task.name, task.player, task.prompts["en"]) for task in suite.select(args.tasks)]
    prompts += [(prompt, "", prompt) for prompt in args.prompts]
    encoder = GoalEncoder(spec.metadata)
    mineclip = encoder.mineclip
    shown = read_demonstrations(args.dataset_dir, width=mineclip.embed_dim) if args.dataset_dir else []
    captions = read_captions(resolve(args.captions)) if args.captions else None
    middle = spec.metadata.prior_code == "middle"
    how = {"samples": args.samples, "seed": args.seed}
    material = prepare(prompts, mineclip, encoder.prior, shown, captions=captions, middle=middle, **how)
    folder = (
        Path(args.output_dir).expanduser() if args.output_dir else ROOT / "data" / "prior_analyses" / slug(spec.name)
    )
    written = write_analysis(material, folder, seed=args.seed)
    page = render(analyse(material))
    print(page.split("\n\n![")[0], *page.split("\n## ")[1:], sep="\n\n## ")
    print("\n" + translated("files: ") + ", ".join(display(path) for path in written.values()))


if __name__ == "__main__":
    run(Args, main, "Compare the prior's goals with demonstrations; needs no game.")
