"""The comparison of true actions and labels: which commands it runs, and what it makes of the videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research import idm_proof
from research.idm_camera import Labelled, by_behaviour, by_pitch
from research.label_agreement import agreement, table
from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.data.episodes.formats.native import EpisodeWriter


def test_both_kinds_are_trained_alike_and_evaluated_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(idm_proof, "step", lambda *words, **more: ran.append([str(word) for word in words]))
    monkeypatch.setattr(idm_proof, "record_both", lambda *args, **more: None)
    monkeypatch.setattr(idm_proof, "agreement", lambda *folders: {})
    monkeypatch.setattr(idm_proof, "table", lambda found: "")
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


def test_places_of_the_recordings_are_not_evaluated() -> None:
    """The evaluation's first places are left out of the recordings: as many as there are, and no more."""
    with pytest.raises(UserError, match="places at which the videos were recorded"):
        idm_proof.main(idm_proof.Args(episodes=21))


def write(folder: Path, jumps: list[int], yaw: list[float], **metadata: Any) -> None:
    with EpisodeWriter(folder, {"source": "x.mp4", **metadata}, keep_mineclip_frames=False) as writer:
        for jump, turn in zip(jumps, yaw, strict=True):
            writer.add(np.zeros((128, 128, 3), np.uint8), {**act.null_action(), "jump": jump, "camera": [0.0, turn]})


def test_labels_are_compared_with_the_frames_that_they_are_of(tmp_path: Path) -> None:
    jumps = [int(number % 3 == 0) for number in range(600)]
    yaw = [10.0 if number % 2 else 0.0 for number in range(600)]
    write(tmp_path / "true" / "dig_dig_000", jumps, yaw)
    write(tmp_path / "true" / "dig_dig_001", jumps, yaw)
    right = {"source": "v/dig_000.mp4", "source_fps": 30.0, "first_frame": 100}
    write(tmp_path / "labels" / "dig_000_000100", jumps[100:], yaw[100:], **right)
    never = {"source": "v/dig_001.mp4", "source_fps": 60.0, "first_frame": 0}
    write(tmp_path / "labels" / "dig_001_000000", [0] * 600, [10.0 - turn for turn in yaw], **never)
    found = agreement(tmp_path / "true", tmp_path / "labels")
    assert {name: each.frames for name, each in found.items()} == {"30 frames/s": 500, "60 frames/s": 600, "all": 1100}
    assert (found["30 frames/s"].button("jump").f1, found["60 frames/s"].button("jump").f1) == (1, 0)
    assert found["30 frames/s"].camera[1].r2 > 0.99
    assert found["60 frames/s"].camera[1].r2 < -2
    rows = table(found).splitlines()
    assert len(rows) == 5
    assert "F1 jump" in rows[0]
    assert "F1 attack" not in rows[0]
    assert "1.00" in rows[2]


def test_by_behaviour_and_by_how_far_up_the_player_looks() -> None:
    """Seen level the turns are right, seen straight up they are not."""
    up = [[-10.0, 0.0]] * 8
    level = np.array([[0.0, 10.0], [0.0, -10.0]] * 10)
    degrees = np.concatenate([level, up, level])
    spoiled = degrees.copy()
    spoiled[-20:, 1] = 0.0
    one, two = (
        Labelled(name, degrees, found, found / 2) for name, found in (("dig_dirt", degrees), ("look_at_sky", spoiled))
    )
    assert one.pitch[[0, 20, 24, 27, 28, -1]].tolist() == [0, 0, -40, -70, -80, -80]
    rows = by_behaviour([one, two]).rows
    assert [row[0] for row in rows] == ["dig_dirt", "look_at_sky"]
    # half of each turn is missed: a quarter of the yaw's spread, and more of the pitch's, whose mean is not 0
    assert rows[0][1:] == ["48", "1.00, 1.00", "1.00", "0.70, 0.75"]
    rows = by_pitch([one, two]).rows
    assert [row[0] for row in rows] == ["45°", "60°", "75°", "90°"]
    assert rows[0][1:4] == ["50", "1.00, 1.00", "1.00"]
    assert str(rows[3][2]).startswith("1.00, 0.7")
