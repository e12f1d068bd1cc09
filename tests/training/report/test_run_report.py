"""A run's numbers on disk, its report, and the rollouts of its checkpoints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.training.config import TrainSettings
from steve1.training.logging.scalars import SCALARS_FILE, ScalarFile, read_scalars, read_tables
from steve1.training.loop import Hooks
from steve1.training.report import page as report
from steve1.training.train import finetune

Make = Callable[..., TrainSettings]


def lines(run_dir: Path) -> list[dict[str, Any]]:
    """What a run recorded, without what depends on the machine's mood."""
    rows = [json.loads(line) for line in (run_dir / SCALARS_FILE).read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("speed/")} for row in rows]


def test_a_file_goes_on_without_what_lies_beyond(tmp_path: Path) -> None:
    first = ScalarFile(tmp_path)
    for step in (1, 2, 3):
        first.add(step, {"train/loss": 1.0 / step, "x": float("nan") if step == 2 else 1.0})
    first.add(2, {"table": {"a": 1}})
    first.close()
    with open(tmp_path / SCALARS_FILE, "a") as file:
        file.write('{"step": 4, "train/lo')  # killed while writing
    again = ScalarFile(tmp_path, first_step=2)
    again.add(3, {"train/loss": 7.0})
    again.close()
    curves = read_scalars(tmp_path)
    assert curves["train/loss"] == [(1, 1.0), (2, 0.5), (3, 7.0)]
    assert np.isnan(curves["x"][1][1])
    assert read_tables(tmp_path) == {"table": {"a": 1}}
    ScalarFile(tmp_path).close()
    assert read_scalars(tmp_path) == {}


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / SCALARS_FILE).write_text('{"step": 1}\n{"loss": 1}\n{"step": 3}\n')
    with pytest.raises(UserError, match="line 2"):
        read_scalars(tmp_path)


class Crash(Exception):
    pass


@pytest.mark.e2e
def test_a_killed_run_records_what_one_that_was_not_would(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = settings(log_every=1, val_freq=2)
    finetune(chosen)
    expected = lines(chosen.run_dir)
    shutil.rmtree(chosen.run_dir)
    shutil.rmtree(chosen.out_path.parent)

    def crash(step: int) -> None:
        if step == 5:
            raise Crash

    with pytest.raises(Crash):
        finetune(chosen, hooks=Hooks(on_step=crash))
    assert max(line["step"] for line in lines(chosen.run_dir)) == 5
    finetune(chosen)
    assert lines(chosen.run_dir) == expected

    events = EventAccumulator(str(chosen.run_dir))
    events.Reload()
    curves = read_scalars(chosen.run_dir)
    for name in (
        "train/loss",
        "train/clipped_share",
        "validation/loss",
        "validation/camera_error_degrees",
        "goal/true_minus_none",
    ):
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in shown] == [step for step, _ in curves[name]]
        assert [value for _, value in shown] == pytest.approx([value for _, value in curves[name]], rel=1e-6)
    assert [step for step, _ in curves["validation/loss"]] == [0, 2, 4, 6]
    assert "settings/text_summary" in events.Tags()["tensors"]
    assert "actions" in events.Tags()["images"]
    assert {"camera_yaw_degrees/recorded", "camera_yaw_degrees/policy"} <= set(events.Tags()["histograms"])

    page = (chosen.run_dir / "report.html").read_text()
    assert "report.html" in capsys.readouterr().out
    assert 'id="play_it"' in page
    assert json.loads((chosen.run_dir / "result.json").read_text())["out_sha256"] in page
    assert page.count("<svg") >= 8
    assert "data:image/jpeg;base64," in page
    assert not [word for word in ("http://", "https://", "<link", "<script") if word in page]

    # Without its file of numbers, as a run of an earlier version, TensorBoard's files tell the same.
    (chosen.run_dir / SCALARS_FILE).unlink()
    old = read_scalars(chosen.run_dir)
    assert [value for _, value in old["train/loss"]] == pytest.approx(
        [value for _, value in curves["train/loss"]], rel=1e-6
    )
    assert 'id="play_it"' in report.write_report(chosen.run_dir).read_text()


def test_share_of_clipped_steps() -> None:
    import torch

    from steve1.training.distributed import Ranks
    from steve1.training.logging.action_metrics import MEASURES
    from steve1.training.logging.metrics import MetricsAccumulator
    from steve1.training.step import StepOutput

    tally, no = MetricsAccumulator(Ranks(0, 1, torch.device("cpu")), MEASURES, limit=2.0), torch.tensor(False)
    for norm in (1.0, 3.0, 5.0, 2.0):
        tally.add(
            StepOutput(
                states=[],
                measures=torch.ones(len(MEASURES)),
                measured=torch.ones(len(MEASURES), dtype=torch.bool),
                gradient_norm=torch.tensor(norm),
                skipped=no,
                spike=no,
                idle=no,
            )
        )
    found = tally.averages()
    assert (found["clipped_share"], found["gradient_norm"]) == (0.5, 2.75)


def test_films_are_embedded_while_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        folder = tmp_path / "rollouts" / f"step{step:09d}"
        folder.mkdir(parents=True)
        (folder / "dig_dirt.mp4").write_bytes(bytes(100))
    monkeypatch.setattr(report, "_EMBED_AT_MOST", 150)
    page = report._films(tmp_path)
    assert page.count("data:video/mp4;base64,") == 1
    assert 'src="rollouts/step000000001/dig_dirt.mp4"' in page
    assert page.index("step 2: dig dirt") < page.index("step 1: dig dirt")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no training run"):
        report.write_report(tmp_path)


# ---- rollouts of checkpoints ----


class Board:
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.points: list[tuple[int, dict[str, float]]] = []
        self.films: list[tuple[str, bytes, int]] = []

    def say(self, *words: str) -> None:
        self.said += words

    def curves(self, step: int, numbers: dict[str, float]) -> None:
        self.points.append((step, numbers))

    def film(self, name: str, gif: bytes, width: int, height: int, step: int) -> None:
        self.films.append((name, gif, step))


PLAYS = """
import json, sys, pathlib
weights, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[3])
assert weights.read_bytes() == b"w1" and pathlib.Path(str(weights) + ".json").exists()
(out / "dig.gif").write_bytes(b"GIF")
found = {"name": "dig", "steps": 9, "distance": 1.5, "video": "dig.mp4", "gif": "dig.gif", "width": 2, "height": 2,
         "task": "dig_dirt", "measure_name": "dirt", "measure": 4.0, "success": True}
(out / "rollouts.json").write_text(json.dumps([found]))
"""


def rollouts_of(tmp_path: Path, program: str) -> tuple[Any, Board, Path]:
    from steve1.evaluation.checkpoints import CheckpointRollouts

    weights = tmp_path / "a_latest.weights"
    weights.write_bytes(b"w1")
    (tmp_path / "a_latest.weights.json").write_text("{}")
    return CheckpointRollouts(tmp_path, 10, program=(sys.executable, "-c", program)), Board(), weights


def test_a_checkpoint_plays_and_is_reported(tmp_path: Path) -> None:
    rollouts, board, weights = rollouts_of(tmp_path, PLAYS)
    rollouts.on_checkpoint(7, weights, board)
    assert not (tmp_path / "rollouts").exists()
    rollouts.on_checkpoint(14, weights, board)
    weights.unlink()
    weights.write_bytes(b"w2")  # the next checkpoint; the rollout still has its own
    rollouts.on_end(board)
    assert board.points == [(14, {"rollout/dig/distance": 1.5, "rollout/dig/dig_dirt": 4.0})]
    assert board.films == [("rollout/dig", b"GIF", 14)]
    assert "dirt 4.0 (success)" in board.said[-1]
    assert sorted(path.name for path in (tmp_path / "rollouts" / "step000000014").iterdir()) == [
        "dig.gif",
        "log.txt",
        "rollouts.json",
    ]


def test_rollouts_are_as_far_apart_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints every 9 steps and rollouts at least 10 apart; after a resume too, which plays a killed rollout again."""
    started: list[int] = []
    for steps in (range(9, 46, 9), range(36, 64, 9)):
        rollouts, board, weights = rollouts_of(tmp_path, PLAYS)

        def start(step: int, weights: Path) -> None:
            (tmp_path / "rollouts" / f"step{step:09d}").mkdir(parents=True, exist_ok=True)
            started.append(step)

        monkeypatch.setattr(rollouts, "_start", start)
        for step in steps:
            rollouts.on_checkpoint(step, weights, board)
    assert started == [18, 36, 36, 54]


def test_without_the_game_it_is_said_once(tmp_path: Path) -> None:
    rollouts, board, weights = rollouts_of(
        tmp_path, "import sys; print('error: Luanti is not installed.'); sys.exit(2)"
    )
    rollouts.on_checkpoint(10, weights, board)
    rollouts.on_end(board)
    assert board.said[-1] == "  rollout @ step 10: skipped: Luanti is not installed.; rollouts are skipped from here on"
    rollouts.on_checkpoint(20, weights, board)
    assert not (tmp_path / "rollouts" / "step000000020").exists()


def test_training_does_not_fail_for_a_rollout_that_cannot_start(tmp_path: Path) -> None:
    rollouts, board, weights = rollouts_of(tmp_path, PLAYS)
    (tmp_path / "a_latest.weights.json").unlink()
    rollouts.on_checkpoint(10, weights, board)
    assert len(board.said) == 1
    assert board.said[0].startswith("  rollout @ step 10: skipped: ")
    assert "a_latest.weights.json" in board.said[0]
    assert not list((tmp_path / "rollouts").glob("*/*.weights"))
    (tmp_path / "a_latest.weights.json").write_text("{}")
    rollouts.on_checkpoint(20, weights, board)
    rollouts.on_end(board)
    assert [step for step, _ in board.points] == [20]


def test_one_at_a_time_and_none_is_left_behind(tmp_path: Path) -> None:
    rollouts, board, weights = rollouts_of(tmp_path, "import time; time.sleep(600)")
    rollouts.on_checkpoint(10, weights, board)
    child = rollouts._child
    rollouts.on_checkpoint(20, weights, board)
    assert board.said == ["  rollout @ step 20: left out, that of step 10 is still playing"]
    assert len(list((tmp_path / "rollouts").glob("*/*.weights"))) == 1
    rollouts.close()
    assert child.poll() is not None
    assert not list((tmp_path / "rollouts").glob("*/*.weights")), "its copy of the weights neither"


def test_a_policy_pursues_what_validation_episodes_reached(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole child, on the tiny policy and a plain world in the game's place."""
    import shutil

    from steve1.commands.train import rollout_checkpoint
    from steve1.core.checkpoint_metadata import CheckpointMetadata, write_checkpoint_metadata
    from tests.rollout.fakes import FakeEnv

    weights = tmp_path / "step3.weights"
    shutil.copy(tiny / "tiny.weights", weights)
    write_checkpoint_metadata(weights, CheckpointMetadata(model=str(tiny / "tiny.model"), env="luanti", cond_scale=0.0))
    world = FakeEnv()
    monkeypatch.setattr(rollout_checkpoint, "make_env", lambda *_, **__: world)
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr(rollout_checkpoint, "limit_threads", lambda _: None)
    args = rollout_checkpoint.Args(weights, tmp_path, val_list=str(tiny / "samplings" / "tiny_train.txt"), steps=6)
    rollout_checkpoint.main(args)
    found = json.loads((tmp_path / "rollouts.json").read_text())
    assert [item["name"] for item in found] == ["dataset_a", "dataset_b"]
    assert all(item["steps"] == 6 for item in found)
    assert all(options["inventory"] == {"dirt": 64} for _, options in world.resets)  # as in every demonstration
    for item in found:
        assert (tmp_path / item["gif"]).read_bytes().startswith(b"GIF8")
        assert (tmp_path / item["video"]).stat().st_size > 0
    with pytest.raises(UserError, match="nothing to play"):
        rollout_checkpoint.main(rollout_checkpoint.Args(weights, tmp_path))
