"""The comparison of true actions and labels: which commands it runs, and what it makes of the videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from research import idm_proof
from steve1.data.media.video import probe
from tests.data.makers import make_recording, tick


def test_videos_are_made_small_and_lose_their_actions(tmp_path: Path) -> None:
    make_recording(tmp_path / "raw", "one", [tick(number) for number in range(30)])
    idm_proof.degrade(tmp_path / "raw", tmp_path / "videos", 90, 30)
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["one.mp4"]
    found = probe(tmp_path / "videos" / "one.mp4")
    assert (found.width, found.height, found.frames) == (160, 90, 30)
    before = (tmp_path / "videos" / "one.mp4").stat().st_mtime_ns
    idm_proof.degrade(tmp_path / "raw", tmp_path / "videos", 90, 30)
    assert (tmp_path / "videos" / "one.mp4").stat().st_mtime_ns == before


def test_both_kinds_are_trained_alike_and_evaluated_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(idm_proof, "step", lambda *words, **more: ran.append([str(word) for word in words]))
    monkeypatch.setattr(idm_proof, "degrade", lambda *args: None)
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "x.weights"
    weights.write_bytes(b"x")
    idm_proof.main(idm_proof.Args(idm_weights=str(weights), tasks=("dig_dirt",), fps=(20,)))
    trained = [words for words in ran if words[0] == "train"]
    assert len(trained) == 2

    def same(words: list[str]) -> Any:
        return [word for word in words if "idm_proof_" not in word]

    assert same(trained[0]) == same(trained[1])
    evaluated = ran[-1]
    assert evaluated[0] == "evaluate"
    assert sum("idm_proof_" in word for word in evaluated) == 2
