"""Workers under every kind of trouble: killed at any moment, hanging, full disks; and one process that serves all policies."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import signal
import stat
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.evaluation.pipeline import evaluate
from steve1.evaluation.policies import PolicyCache, PolicySpec
from steve1.evaluation.runner.inference import RemotePolicyCache, policy_service
from steve1.evaluation.runner.plan import make_plan
from steve1.evaluation.settings import EpisodeExecutor
from steve1.rollout.trace import Trace
from tests import forks
from tests.evaluation.worlds import injected, settings
from tests.rollout.fakes import FakeEnv, OpenFake


class SlowDisk:
    """Opens a world whose process stops before it finishes a file, while somebody wants to kill it there or the episodes would be over too soon.

    Args:
        signs: a folder with the files "inside" (a kill inside a write is wanted) and "killing" (there are more kills to come).
        log: one line for each finished episode.
        most: episodes that may be finished while there are more kills to come.
    """

    def __init__(self, signs: Path, log: Path, most: int) -> None:
        self.signs, self.log, self.most = signs, log, most

    def __call__(self, instance: int) -> FakeEnv:
        original = os.fsync

        def slow(handle: int) -> None:
            half = stat.S_ISREG(os.fstat(handle).st_mode)  # a folder is synced when its file is whole
            while half and ((self.signs / "inside").exists() or ((self.signs / "killing").exists() and self._enough())):
                time.sleep(0.005)
            original(handle)

        os.fsync = slow
        return FakeEnv()

    def _enough(self) -> bool:
        return self.log.exists() and self.log.read_bytes().count(b"\n") >= self.most


def half_written(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.tmp"))


def kill_often(folder: Path, signs: Path, done: threading.Event, inside: list[bool], wanted: int) -> None:
    """Kill workers of this process: in turn at any moment, and the one that has a file half-written; notes whether the half was left behind."""
    chance, dead = random.Random(0), {os.getpid()}
    try:
        while len(inside) < wanted and not done.is_set():
            time.sleep(chance.uniform(0.02, 0.2))
            if len(inside) % 2:
                (signs / "inside").touch()
                files = [path for path in half_written(folder) if int(path.name.split(".")[-3]) not in dead]
                if files:
                    pid = int(files[0].name.split(".")[-3])
                    os.kill(pid, signal.SIGKILL)
                    dead.add(pid)
                    inside.append(files[0].exists())
                    (signs / "inside").unlink()
                continue
            workers = [pid for pid in forks.workers() if pid not in dead]
            if workers:
                pid = chance.choice(workers)
                os.kill(pid, signal.SIGKILL)
                dead.add(pid)
                inside.append(False)
    finally:
        for name in ("inside", "killing"):
            (signs / name).unlink(missing_ok=True)


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_workers_killed_twenty_times_lose_and_repeat_nothing(world: Path) -> None:
    words: dict[str, Any] = {"episodes": 40, "tasks": ("dig_dirt",)}
    calm = evaluate(settings(world, "random", "nothing", folder=str(world / "calm"), **words), injected(()))
    folder, signs, kills, done = world / "rough", world / "signs", [], threading.Event()  # type: ignore[var-annotated]
    signs.mkdir()
    (signs / "killing").touch()
    killer = threading.Thread(target=kill_often, args=(folder, signs, done, kills, 20), daemon=True)
    killer.start()
    try:
        rough = evaluate(
            settings(world, "random", "nothing", folder=str(folder), workers=2, max_restarts=25, **words),
            injected((), open_game=SlowDisk(signs, folder / "episodes.jsonl", len(calm.lines) - 10)),
        )
    finally:
        done.set()
        killer.join()
    assert len(kills) == 20
    assert sum(kills) >= 3, "some of them inside a write: the half-written file was left behind"
    keys = [json.loads(text)["key"] for text in (folder / "episodes.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) == len(calm.lines)

    def results(report: Any) -> list[Any]:
        return [(line["key"], line["seed"], line["success"], line["measure"], line["actions"]) for line in report.lines]

    assert results(rough) == results(calm)
    assert half_written(folder) == []
    for key in keys:
        again, first = Trace.load(folder / "traces" / key), Trace.load(world / "calm" / "traces" / key)
        assert np.array_equal(again.tokens, first.tokens)


class SilentGame:
    """Opens a world that stops answering for ever at its third step."""

    def __call__(self, instance: int) -> FakeEnv:
        env = FakeEnv()
        original = env.step

        def step(action: dict[str, Any]) -> Any:
            if env.step_number == 2:
                time.sleep(600)
            return original(action)

        env.step = step  # type: ignore[method-assign]
        return env


def test_a_game_may_die_as_often_as_asked(world: Path) -> None:
    """Over a long evaluation games die more often than three times."""
    deaths: list[int] = []
    words: dict[str, Any] = {"episodes": 1, "tasks": ("swim",)}
    game = injected((), open_game=lambda instance: FakeEnv(die_at=(2, 4, 6, 8, 10), deaths=deaths))
    report = evaluate(settings(world, "nothing", **words), game)
    assert [line["restarts"] for line in report.lines] == [5]
    deaths.clear()
    with pytest.raises(UserError, match="The game died too often"):
        evaluate(settings(world, "nothing", folder=str(world / "less"), max_restarts=4, **words), game)


@pytest.mark.e2e
def test_a_game_that_never_answers_is_ended_and_named(world: Path) -> None:
    with pytest.raises(UserError, match="died too often") as fault:
        evaluate(
            settings(world, "nothing", workers=1, timeout_s=2, max_restarts=1, episodes=1, tasks=("swim",)),
            injected((), open_game=SilentGame()),
        )
    assert "gave no answer for 2 s" in str(fault.value)
    assert "finished results are kept" in str(fault.value)
    assert forks.left() == []


def test_a_disk_that_fills_while_a_video_is_written(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named; what was finished stays, nothing half is left, and the same command goes on where it was."""
    from steve1.data.media.video import VideoWriter

    original, written = VideoWriter.write, []  # type: ignore[var-annotated]

    def write(self: Any, frame: Any) -> None:
        written.append(1)
        if len(written) == 60:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        original(self, frame)

    monkeypatch.setattr(VideoWriter, "write", write)
    words: dict[str, Any] = {"tasks": ("dig_dirt",), "episodes": 3, "videos": 3}
    with pytest.raises(UserError, match="disk is full") as fault:
        evaluate(settings(world, "tuned", **words), injected())
    assert "001.mp4" in fault.value.where
    folder = world / "run"
    assert len((folder / "episodes.jsonl").read_text().splitlines()) == 1
    assert [path.name for path in (folder / "videos").rglob("*") if path.is_file()] == ["meadow-000.mp4"]
    report = evaluate(settings(world, "tuned", **words), injected())
    assert [line["number"] for line in report.lines] == [0, 1, 2]
    assert all((folder / line["video"]).is_file() for line in report.lines)


def test_the_same_evaluation_twice_has_the_same_successes(world: Path) -> None:
    once, twice = (
        evaluate(settings(world, "base", "tuned", "random", folder=str(world / name), episodes=2), injected())
        for name in ("a", "b")
    )
    plain = [{key: value for key, value in line.items() if key != "seconds"} for line in once.lines]
    assert plain == [{key: value for key, value in line.items() if key != "seconds"} for line in twice.lines]


@pytest.fixture
def metadata(tmp_path: Path) -> PolicySpec:
    """A small untrained policy on disk, as a spec with guidance."""
    import torch

    from steve1.core.checkpoint_metadata import CheckpointMetadata
    from steve1.policy import PolicyConfig, load_policy, save_weights, write_model

    config = PolicyConfig(
        hidsize=64, attention_heads=2, attention_memory_size=32, timesteps=16, n_recurrence_layers=2, impala_width=1,
        impala_chans=(4, 8, 8), mineclip_embed_dim=4, temperature=2.0,
    )  # fmt: skip
    write_model(config, tmp_path / "tiny.model")
    torch.manual_seed(0)
    save_weights(load_policy(tmp_path / "tiny.model"), tmp_path / "tiny.weights")
    return PolicySpec(
        "tiny",
        "weights",
        str(tmp_path / "tiny.weights"),
        metadata=CheckpointMetadata(model=str(tmp_path / "tiny.model"), cond_scale=1.5),
    )


@pytest.mark.e2e
def test_policies_served_together_act_as_each_alone(metadata: PolicySpec) -> None:
    """Two games through one process, out of step with one another, against agents of their own."""

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (2, 40, 96, 160, 3), dtype=np.uint8)
    goals = [rng.normal(size=4).astype(np.float32) for _ in range(2)]
    alone = PolicyCache()
    expected = []
    for game in range(2):
        actor = alone.actor(metadata, goals[game], seed=game)
        actor.reset({}, {})
        expected.append([actor.act({"pov": frame}, {}) for frame in frames[game]])
    found: list[list[Any]] = [[], []]
    with policy_service({"tiny": metadata}, PolicyCache()) as address:

        def play(game: int) -> None:
            cache = RemotePolicyCache(address)
            cache.prepare(metadata, goals[game])
            for _ in range(2):  # the second episode must forget the first
                actor = cache.actor(metadata, goals[game], seed=game)
                actor.reset({}, {})
                found[game] = [actor.act({"pov": frame}, {}) for frame in frames[game]]
            cache.close()

        faults: list[BaseException] = []

        def guarded(game: int) -> None:
            try:
                play(game)
            except BaseException as fault:
                faults.append(fault)

        games = [threading.Thread(target=guarded, args=(game,)) for game in range(2)]
        for game in games:
            game.start()
        for game in games:
            game.join(240)
        assert faults == []
        with pytest.raises(UserError, match="no goal for this prompt"):
            RemotePolicyCache(address).prepare(metadata, None)
    assert found == expected
    with pytest.raises(UserError, match="has ended"):
        RemotePolicyCache(address).prepare(metadata, goals[0])


def test_weights_of_another_size_are_named_before_a_game_is_opened(
    world: Path, metadata: PolicySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from steve1.core.checkpoint_metadata import CheckpointMetadata, write_checkpoint_metadata
    from steve1.policy import PolicyConfig, write_model

    monkeypatch.undo()
    larger = world / "larger.model"
    config = PolicyConfig(
        hidsize=128, attention_heads=2, attention_memory_size=32, timesteps=16, n_recurrence_layers=2, impala_width=1,
        impala_chans=(4, 8, 8), mineclip_embed_dim=4, temperature=2.0,
    )  # fmt: skip
    write_model(config, larger)
    opened: list[int] = []
    tiny = Path(metadata.weights)
    write_checkpoint_metadata(tiny, CheckpointMetadata(model=str(larger)))
    for goals, named in (({"swim": np.ones(4, np.float32)}, "tiny.weights"), ({}, "no goal for this prompt")):
        with pytest.raises(UserError) as fault:
            evaluate(
                dataclasses.replace(
                    settings(world, "base", tasks=("swim",), episodes=1, folder=str(world / f"run-{len(goals)}")),
                    weights=[str(tiny)],
                ),
                injected(("tiny",), open_game=opened.append, goals={"tiny": goals}),
            )
        assert named in str(fault.value)
    assert opened == []


def test_bad_input_is_named_before_anything_is_loaded(world: Path) -> None:
    with pytest.raises(UserError, match="no task") as fault:
        evaluate(settings(world, "base", tasks=("dig_dirf",)), injected())
    assert "expected: dig_dirt" in str(fault.value)
    with pytest.raises(UserError, match="no task"):
        evaluate(settings(world, "base", target=("swin",)), injected())
    with pytest.raises(UserError, match="weights were not found") as fault:
        evaluate(dataclasses.replace(settings(world, "base"), weights=[str(world / "bose.weights")]), injected())
    assert "base.weights" in str(fault.value)
    with pytest.raises(UserError, match="at least one episode"):
        evaluate(settings(world, "base", episodes=0), injected())
    (world / "other.yaml").write_text((world / "suite.yaml").read_text().replace("env: luanti", "env: minerl"))
    with pytest.raises(UserError, match="another game") as fault:
        evaluate(settings(world, "base", suite=str(world / "other.yaml"), env="luanti"), injected())
    assert "minerl" in str(fault.value)
    for wrong in (
        {"workers": -1},
        {"batched": True},
        {"ray": True},
        {"workers": 1, "ray": True, "batched": True},
        {"timeout_s": 0.0},
    ):
        with pytest.raises(UserError):
            EpisodeExecutor(**{"workers": 0, **wrong})
        with pytest.raises(UserError):
            make_plan(settings(world, "base", **wrong))


@pytest.mark.e2e
@pytest.mark.usefixtures("cluster")
def test_the_same_over_ray(world: Path) -> None:
    words: dict[str, Any] = {"episodes": 4, "tasks": ("dig_dirt",)}
    calm = evaluate(settings(world, "random", "nothing", folder=str(world / "calm"), **words), injected(()))
    spread = evaluate(
        settings(world, "random", "nothing", folder=str(world / "ray"), workers=2, ray=True, **words),
        injected((), open_game=OpenFake(str(world), "kill")),
    )
    assert [(line["key"], line["success"]) for line in spread.lines] == [
        (line["key"], line["success"]) for line in calm.lines
    ]
