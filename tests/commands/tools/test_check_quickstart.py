"""What the quickstart says before it starts: what is missing, what to expect of the skill, and how long its stages take here."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from steve1.commands.tools import check_quickstart
from steve1.commands.tools.check_quickstart import Args, expectation, played, speed, stage_seconds, write_expected
from steve1.core.errors import UserError
from steve1.core.files import sha256_file, write_json
from steve1.core.paths import ROOT
from steve1.data.episodes.formats.replay import write_pack
from steve1.policy import load_policy
from steve1.rollout.players.behaviours import BEHAVIOURS

KNOWN = ("explore", "swim")


@pytest.mark.parametrize(
    ("skill", "english", "chinese"),
    [
        ("dig_dirt", "was not trained on dig dirt; MineCLIP and the prior know it", "没有学过“挖泥土”，但 MineCLIP"),
        (
            "swim",
            "was trained on swim and succeeded in 3 of 4 episodes: expect a small change",
            "学过“游泳”，4 局中成功 3 局",
        ),
        (
            "explore",
            "was trained on explore and still succeeded in only 1 of 4 episodes",
            "学过“探索”，但 4 局中只成功 1 局",
        ),
        ("build_wall", "Neither the base nor its MineCLIP was trained on build", "都没有学过"),
    ],
)
def test_it_says_what_to_expect_of_a_skill(
    skill: str, english: str, chinese: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "base.weights"
    weights.write_bytes(b"base")
    known = tmp_path / "known"
    write_json(known / "settings.json", {"contestants": [{"name": "base", "sha256": sha256_file(weights)}, {"name": "other", "sha256": "1"}]})  # fmt: skip
    lines = [
        {"key": f"{name}/{row}/{n}", "contestant": name, "row": row, "success": {row: name == "other" or n < many}}
        for name in ("base", "other") for row, many in (("swim", 3), ("explore", 1)) for n in range(4)
    ]  # fmt: skip
    (known / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(check_quickstart, "MINI", ("dig_dirt", "swim", "explore"))
    for language, words in (("en", english), ("zh", chinese)):
        monkeypatch.setenv("STEVE1_LANG", language)
        assert words in expectation(skill, KNOWN, weights, known)


def test_results_of_other_weights_say_nothing(tmp_path: Path) -> None:
    results, mini = ROOT / "data/mini/results", ROOT / "data/mini/mini.weights"
    assert played("swim", mini, results)[1] == 20
    other = tmp_path / "other.weights"
    other.write_bytes(b"other")
    for weights, known in ((other, results), (mini, tmp_path)):
        assert played("swim", weights, known) == (0, 0)
        assert expectation("swim", KNOWN, weights, known).startswith("The base was trained on swim: expect a small")


def test_every_skill_that_can_be_demonstrated_has_an_expectation() -> None:
    mini, results = ROOT / "data/mini/mini.weights", ROOT / "data/mini/results"
    for name in BEHAVIOURS:
        assert expectation(name, KNOWN, mini, results)
    with pytest.raises(UserError, match="Unknown behaviour"):
        expectation("dig_drit", KNOWN, mini, results)
    with pytest.raises(UserError, match="no task says whether it succeeded"):
        expectation("babble_meadow", KNOWN, mini, results)


def test_stages_take_longer_with_more_work_and_on_a_slower_machine(tmp_path: Path) -> None:
    args = Args(expected=str(tmp_path / "expected"))
    usual = stage_seconds(args, check_quickstart.REFERENCE_SPEED)
    slow = stage_seconds(args, check_quickstart.REFERENCE_SPEED / 2)
    more = stage_seconds(Args(frames=6000, train_frames=600_000, episodes=80), check_quickstart.REFERENCE_SPEED)
    assert list(usual) == ["record", "train", "play"]
    for name, seconds in usual.items():
        assert slow[name] == pytest.approx(2 * seconds, abs=1)
        assert seconds < more[name] < 2 * seconds
    write_expected(args, check_quickstart.REFERENCE_SPEED)
    lines = (tmp_path / "expected").read_text().splitlines()
    assert lines == [f"{name} {seconds}" for name, seconds in usual.items()]


def test_the_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 frames in the tenth of a second that lies between two looks at the clock."""
    looks = itertools.count()
    monkeypatch.setattr(check_quickstart, "time", SimpleNamespace(perf_counter=lambda: 0.1 * next(looks)))
    policy = load_policy(ROOT / "data/mini/mini.model", ROOT / "data/mini/mini.weights")
    assert speed(policy) == pytest.approx(320)
    assert 0.1 * next(looks) > check_quickstart.BENCHMARK_SECONDS


def test_a_pack_that_training_would_refuse_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    def fault(**changes: Any) -> UserError:
        with pytest.raises(UserError) as caught:
            check_quickstart.main(Args(weights=str(ROOT / "data/mini/mini.weights"), **changes))
        return caught.value

    missing = fault(replay=str(tmp_path / "none.replay.safetensors"))
    assert missing.what == "This replay pack cannot be opened."
    assert "none.replay.safetensors" in missing.where
    foreign = tmp_path / "foreign.replay.safetensors"
    rows = (np.zeros((20, 4)), np.zeros((20, 3), np.float32), np.zeros(20), np.zeros(20), np.ones(20))
    write_pack(foreign, [("a/b", 20)], iter([rows]), {"cnn_sha256": "0" * 64})
    assert "another CNN" in fault(replay=str(foreign)).what
    foreign.write_bytes(foreign.read_bytes()[:-9])
    assert "cut short" in fault(replay=str(foreign)).what
    assert "replay_share is a share above 0" in fault(replay_share=1.0).what


def test_old_skills_may_come_from_a_sampling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"mine_train\.txt"):
        check_quickstart.main(Args(weights=str(ROOT / "data/mini/mini.weights"), replay="mine"))
