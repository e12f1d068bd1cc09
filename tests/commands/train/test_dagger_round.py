"""Rounds of corrections: what each stage is called with, what is noted, and that a stopped round goes on."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from steve1.commands.train import dagger_round
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from tests.data.makers import make_dataset

ARGS = dagger_round.Args(
    name="wood", in_weights=str(ROOT / "data/mini/mini.weights"), prompts=("chop a tree",), tasks=("explore",), train="T=64 jitter"
)  # fmt: skip


def rate(wins: int) -> dict[str, Any]:
    return {"successes": wins, "episodes": 40, "rate": wins / 40, "low": 0.0, "high": 1.0, "mean_measure": 1.0}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run, in place of running them; each leaves what the next one needs."""
    found: list[list[str]] = []

    def run(words: list[str]) -> None:
        found.append(list(words))
        named = dict(itertools.pairwise(words))
        if words[0] == "generate_dataset" and not Path(named["--output_dir"]).exists():
            make_dataset(Path(named["--output_dir"]), [40, 40])
        if words[0] == "train":
            Path(named["--out_weights"]).write_bytes(b"x")
            Path(named["--out_weights"] + ".json").write_text(json.dumps({"model": "data/mini/mini.model"}))
        if words[0] == "evaluate":
            weights = words[words.index("--weights") + 1 : words.index("--env")]
            names = [Path(each).stem for each in weights]
            rates = {
                task: {name: rate(4 + 5 * place) for place, name in enumerate(names)}
                for task in ("chop_tree", "explore")
            }
            compared = {
                name: {task: {"difference": 0.125, "interval": [-0.05, 0.3]} for task in rates} for name in names[1:]
            }
            Path(named["--folder"]).mkdir(parents=True, exist_ok=True)
            (Path(named["--folder"]) / "report.json").write_text(
                json.dumps({"base": names[0], "rates": rates, "comparisons": compared})
            )

    monkeypatch.setattr(dagger_round, "run_command", run)
    monkeypatch.chdir(tmp_path)
    return found


def test_two_rounds(calls: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demonstrations = make_dataset(tmp_path / "shown", [40])
    args = dataclasses.replace(ARGS, demonstrations=(str(demonstrations),), demonstrations_share=0.4)
    dagger_round.main(args)
    dagger_round.main(args)
    stages = [words[0] for words in calls]
    assert stages == ["generate_dataset", "create_sampling", "train", "evaluate"] * 2
    first, second = (dict(itertools.pairwise(calls[at])) for at in (0, 4))
    assert (first["--source"], first["--prompts"], first["--seed"], second["--seed"]) == (
        "corrections",
        "chop a tree",
        "0",
        "1",
    )
    assert second["--weights"].endswith("round1/wood_1.weights")  # the weights of the round before play
    mix = [word.rpartition("=")[2] for word in calls[5] if "=" in word]
    assert mix == ["0.3", "0.3", "0.4"]
    assert calls[6][-3:] == ["--T", "64", "--jitter"]
    assert [Path(word).name for word in calls[7][2:5]] == ["mini.weights", "wood_1.weights", "wood_2.weights"]
    assert "--known_results" not in calls[3]
    assert calls[7][-1] == str(Path(calls[3][calls[3].index("--folder") + 1])), (
        "what the others played there is not played again"
    )
    rounds = json.loads((tmp_path / "data/dagger/wood/rounds.json").read_text())["rounds"]
    assert [(row["round"], row["tasks"]["chop_tree"]["now"]["successes"]) for row in rounds] == [(1, 9), (2, 14)]
    said = capsys.readouterr().out
    assert "chop_tree *" in said
    assert "-5 to +30" in said


def test_every_share_is_above_zero(tmp_path: Path) -> None:
    """Demonstrations with no share are left out, and a small one is not rounded away: a mix of either would be refused."""
    few, many, shown = (make_dataset(tmp_path / name, [40] * count) for name, count in (("a", 1), ("b", 3), ("c", 1)))
    args = dataclasses.replace(ARGS, corrections=(str(few), str(many)), demonstrations=(str(shown),))
    none = dagger_round.sources(dataclasses.replace(args, demonstrations_share=0.0), tmp_path / "rounds", 1)
    assert none == [f"{few}=0.25", f"{many}=0.75"]
    small = dagger_round.sources(dataclasses.replace(args, demonstrations_share=0.00003), tmp_path / "rounds", 1)
    assert small[-1] == f"{shown}=3e-05"


def test_a_stopped_round_goes_on(calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dagger_round.run_command

    def stopped(words: Any) -> None:
        if words[0] == "train":
            sys.exit(130)
        whole(words)

    monkeypatch.setattr(dagger_round, "run_command", stopped)
    with pytest.raises(SystemExit):
        dagger_round.main(ARGS)
    assert not (tmp_path / "data/dagger/wood/rounds.json").exists()
    monkeypatch.setattr(dagger_round, "run_command", whole)
    dagger_round.main(ARGS)
    assert [words[0] for words in calls] == [
        "generate_dataset",
        "create_sampling",
        "generate_dataset",
        "create_sampling",
        "train",
        "evaluate",
    ]
    assert len(json.loads((tmp_path / "data/dagger/wood/rounds.json").read_text())["rounds"]) == 1


def test_a_persons_session_is_not_held_again_when_its_conversion_was_stopped(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dagger_round.run_command

    def stopped(words: Any) -> None:
        whole(words)
        recordings = Path(dict(itertools.pairwise(words))["--recordings_dir"])
        recordings.mkdir(exist_ok=True)
        (recordings / "chop_a_tree_000.mp4").write_bytes(b"")
        sys.exit(137)

    args = dataclasses.replace(ARGS, record="person")
    monkeypatch.setattr(dagger_round, "run_command", stopped)
    with pytest.raises(SystemExit):
        dagger_round.main(args)
    monkeypatch.setattr(dagger_round, "run_command", whole)
    dagger_round.main(args)
    first, second = (dict(itertools.pairwise(calls[at])) for at in (0, 1))
    assert (first["--source"], first["--prompts"], second["--source"]) == ("person", "chop a tree", "folder")
    assert second["--mineclip"].endswith("mini_mineclip.safetensors")
    assert second["--recordings_dir"] == first["--recordings_dir"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"record": "person", "prompts": ("chop a tree", "explore")}, "one prompt"),
        ({"name": ""}, "needs a name"),
        ({"name": "a/b"}, "not a path"),
        ({"name": ".b"}, "not a path"),
        ({"prompts": ()}, "needs a name"),
        ({"in_weights": "gone.weights"}, "not found"),
        ({"prompts": ("sing",)}, "no task"),
        ({"demonstrations_share": 1.0}, "not a share"),
        ({"record": "none"}, "no corrections"),
        ({"demonstrations": ("gone",)}, "dataset folder does not exist"),
        ({"corrections": ("empty",)}, "contain no episodes"),
    ],
)
def test_what_cannot_be_a_round(calls: list[list[str]], change: dict[str, Any], says: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(UserError, match=says):
        dagger_round.main(dataclasses.replace(ARGS, **change))
    assert calls == [], "nothing is recorded before it is found"


def test_rounds_of_one_name_are_of_one_kind(calls: list[list[str]], tmp_path: Path) -> None:
    dagger_round.main(ARGS)
    with pytest.raises(UserError, match="played with other settings") as found:
        dagger_round.main(dataclasses.replace(ARGS, episodes=10))
    assert "episodes 40 (now 10)" in str(found.value)
    (tmp_path / "data/dagger/other").mkdir()
    (tmp_path / "data/dagger/other/mine.txt").write_text("x")
    with pytest.raises(UserError, match="something else"):
        dagger_round.main(dataclasses.replace(ARGS, name="other"))
