"""Cards: the README.md of published weights and datasets, Markdown under a head of YAML, from what is recorded about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from steve1.core.messages import plural
from steve1.reporting.tables import Table

_PROJECT = "steve1-finetune"
_MOST = 30  # captions and sources in a card
_NO_CAPTION, _NO_SOURCE = "none", "unknown"
_PARENTS = "VPT, STEVE-1 and MineCLIP have terms of their own, which hold for weights made from theirs."


@dataclass(frozen=True)
class Measured:
    """What an evaluation found: the verdicts as sentences, and {task: {policy: rate}} with `successes`, `episodes`, `low`, `high`."""

    title: str
    sentences: Sequence[str]
    rates: Mapping[str, Mapping[str, Mapping[str, Any] | None]]


@dataclass(frozen=True)
class ModelFacts:
    """What a card of weights, an adapter or a goal says.

    Attributes:
        kind: "weights", "adapter" or "goal".
        base, base_sha256: the weights that training began with.
        trained_on: behaviours, or the one prompt.
        prompts: that it was tuned for or measured with.
        settings: name → value, of the training.
        hashes: what → SHA-256 of lists and files.
        files: name → what it is.
    """

    name: str
    kind: str
    env: str = ""
    base: str = ""
    base_sha256: str = ""
    trained_on: Sequence[str] = ()
    prompts: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    measured: Sequence[Measured] = ()
    licence: str = ""
    use: str = ""


@dataclass
class Contents:
    """What is in a dataset, counted episode by episode."""

    episodes: int = 0
    frames: int = 0
    captions: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, frames: int, caption: object = "", source: object = "") -> None:
        """Count an episode."""
        self.episodes += 1
        self.frames += frames
        self.captions[str(caption or _NO_CAPTION)] += 1
        self.sources[str(source or _NO_SOURCE)] += 1


@dataclass(frozen=True)
class DataFacts:
    """What a card of a dataset says.

    Attributes:
        layout: of the files, such as "LeRobot v3.0".
        head: further entries of the head, such as `configs`.
    """

    name: str
    layout: str
    contents: Contents
    licence: str = ""
    tags: Sequence[str] = ()
    head: Mapping[str, Any] = field(default_factory=dict)
    limits: Sequence[str] = ()
    use: str = ""


def model_card(facts: ModelFacts) -> str:
    """The README.md of weights, an adapter or a goal."""
    head: dict[str, Any] = {
        "library_name": _PROJECT,
        "tags": ["minecraft", "steve-1", "reinforcement-learning", "robotics"],
    }
    kinds = {
        "weights": "A STEVE-1 policy",
        "adapter": "A LoRA adapter of a STEVE-1 policy",
        "goal": "A tuned goal of a STEVE-1 policy",
    }
    lines = [
        f"# {facts.name}",
        "",
        f"{kinds[facts.kind]}, which plays {facts.env or 'Minecraft'} from pixels on a text prompt.",
    ]
    if facts.use:
        lines += ["", "```bash", facts.use, "```"]
    lines += ["", "## Made from", ""]
    base = facts.base or "not recorded"
    lines.append(f"- Base: {base}" + (f", SHA-256 `{facts.base_sha256}`" if facts.base_sha256 else ""))
    lines.append(f"- Trained on: {', '.join(facts.trained_on) or 'not recorded'}")
    lines += [f"- Prompt: {prompt}" for prompt in facts.prompts]
    lines += [f"- {name}: SHA-256 `{digest}`" for name, digest in facts.hashes.items()]
    if facts.settings:
        rows = [[name, str(value)] for name, value in facts.settings.items()]
        lines += ["", "## Training", "", Table(["setting", "value"], rows).markdown()]
    lines += ["", "## Measured", ""]
    lines += _measured(facts.measured) if facts.measured else ["Nothing was measured: how well it plays is not known."]
    limits = [
        "It has been tried in the game and on the tasks named here, and nowhere else.",
        "Fine-tuning on one skill can weaken others.",
    ]
    lines += ["", "## Limits", "", *[f"- {text}" for text in limits]]
    lines += _files(facts.files)
    return _front(head, facts.licence) + "\n".join([*lines, *_licence(facts.licence, weights=True)]) + "\n"


def _measured(found: Sequence[Measured]) -> list[str]:
    lines: list[str] = []
    for each in found:
        names = list(dict.fromkeys(name for rates in each.rates.values() for name in rates))
        rows = []
        for task, rates in each.rates.items():
            cells = []
            for name in names:
                rate = rates.get(name)
                cells.append(f"{rate['successes']}/{rate['episodes']} ({rate['low']:.0%} to {rate['high']:.0%})" if rate else "")  # fmt: skip
            rows.append([task, *cells])
        lines += [
            f"{each.title}: successes of episodes, with the interval of the rate.",
            "",
            Table(["task", *names], rows).markdown(),
            "",
        ]
        lines += [f"- {sentence}" for sentence in each.sentences]
        lines += [""] * bool(each.sentences)
    return lines[:-1] if lines and not lines[-1] else lines


def data_card(facts: DataFacts) -> str:
    """The README.md of a dataset or replay pack."""
    head: dict[str, Any] = {"tags": ["minecraft", *facts.tags], **facts.head}
    held = facts.contents
    hours = held.frames / 20 / 3600
    lines = [
        f"# {facts.name}",
        "",
        f"{plural(held.episodes, 'episode')} of Minecraft-like play with every action, {held.frames:,} frames ({hours:.2f} hours at 20 frames a second). Layout: {facts.layout}.",
    ]
    if facts.use:
        lines += ["", "```bash", facts.use, "```"]
    for title, column, counts in (("Captions", "caption", held.captions), ("Sources", "source", held.sources)):
        if set(counts) - {_NO_CAPTION, _NO_SOURCE}:
            lines += ["", f"## {title}", "", Table([column, "episodes"], counts.most_common(_MOST)).markdown()]
    if facts.limits:
        lines += ["", "## Limits", "", *[f"- {text}" for text in facts.limits]]
    return _front(head, facts.licence) + "\n".join([*lines, *_licence(facts.licence, weights=False)]) + "\n"


def _front(head: dict[str, Any], licence: str) -> str:
    content = {**({"license": licence} if licence else {}), **head}
    return "---\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True) + "---\n\n"


def _licence(licence: str, *, weights: bool) -> list[str]:
    said = licence or "Not stated by whoever published this."
    return ["", "## Licence", "", said + (f" {_PARENTS}" if weights else "")]


def _files(files: Mapping[str, str]) -> list[str]:
    rows = [[f"`{name}`", what] for name, what in files.items()]
    return ["", "## Files", "", Table(["file", "content"], rows).markdown()] if files else []
