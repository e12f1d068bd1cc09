"""The whole loop on a stand-in game: it learns, a placebo does not, a killed run ends in the same bits, old prompts stay."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steve1.commands.train import train_rl as train_rl_command
from steve1.commands.train.make_replay import contents_of, make_pack
from steve1.core.checkpoint_metadata import read_goal
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.paths import ROOT
from steve1.policy import load_policy, read_weights, save_weights, write_model
from steve1.policy.vision import ImageEncoder
from steve1.rl import inputs, loop
from steve1.rl.inputs import Inputs
from steve1.rl.loop import Run, train_rl
from steve1.rl.passes import score
from steve1.rl.player import Recipe, RolloutJob, Version
from steve1.rl.reward import load_reward
from steve1.rl.rollouts import Rollout, batch_of
from steve1.rl.settings import RlSettings
from steve1.rl.update import Judged
from steve1.rl.values import HeadValue
from steve1.rl.weights import EQUAL, TIED
from steve1.training.cache import FeatureCache
from tests.rl.games import OpenKeyGame
from tests.training.conftest import TINY, E

Make = Callable[..., RlSettings]
STARTS = [{"id": f"demo-{number}", "split": "demo", "shade": 40 + 40 * number} for number in range(4)]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Settings of a short run with tiny weights; goals are made up, and the game is the stand-in."""
    write_model(TINY, tmp_path / "tiny.model")
    torch.manual_seed(3)
    save_weights(load_policy(tmp_path / "tiny.model"), tmp_path / "tiny.weights")
    metadata = {"model": str(tmp_path / "tiny.model"), "env": "luanti", "cond_scale": 0.0, "temperature": 0.9}
    (tmp_path / "tiny.weights.json").write_text(json.dumps(metadata))
    (tmp_path / "keys.yaml").write_text(
        "env: luanti\nrewards:\n  keys:\n    task: dig_dirt\n    steps: 16\n    terms: [{env: 1}]\n"
    )

    def goal_of(self: Run, prompt: str, prior_seed: int) -> Any:
        rng = np.random.default_rng(len(prompt))
        return (rng.normal(size=E) if prompt else np.zeros(E)).astype(np.float32)

    monkeypatch.setattr(Run, "_goal_of", goal_of)
    monkeypatch.setattr(Inputs, "starts_of", lambda self, task: STARTS)

    def settings(name: str = "rl", **changes: Any) -> RlSettings:
        values: dict[str, Any] = {
            "in_weights": str(tmp_path / "tiny.weights"), "out_weights": str(tmp_path / "out" / f"{name}.weights"), "checkpoint_dir": str(tmp_path / "runs"),
            "reward": str(tmp_path / "keys.yaml"), "iterations": 2, "places": 2, "group": 4, "workers": 0, "threads": 1, "device": "cpu", "learning_rate": 3e-3,
            "target_kl": 1.0, "keep_prompts": "", "kl_coef": 0.0, "minibatches": 2, "films_every": 0,
        }  # fmt: skip
        return RlSettings(**{**values, **changes})

    return settings


@pytest.fixture
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's few pictures are encoded once each, as long as the CNN is frozen: most of a step's time is the CNN's."""
    known: dict[int, torch.Tensor] = {}
    encode = ImageEncoder.dense

    def dense(self: ImageEncoder, frames: torch.Tensor, **how: Any) -> torch.Tensor:
        if len(frames) > 1:
            return encode(self, frames, **how)
        shade = int(frames.flatten()[0])
        if shade not in known:
            known[shade] = encode(self, frames, **how)
        return known[shade]

    monkeypatch.setattr(ImageEncoder, "dense", dense)


def curve(settings: RlSettings, name: str) -> list[float]:
    return [row[f"rl/{name}"] for row in json.loads((settings.run_dir / "curves.json").read_text())]


@pytest.mark.e2e
@pytest.mark.usefixtures("few_pictures")
@pytest.mark.parametrize("method", ["ppo", "group", "clone"])
def test_it_learns_which_key_pays(make: Make, method: str) -> None:
    more = {"clone_beta": 3.0} if method == "clone" else {}
    chosen = make(method=method, iterations=9, group=6, epochs=4, learning_rate=3e-2, **more)
    train_rl(chosen, OpenKeyGame())
    earned = curve(chosen, "return")
    assert np.mean(earned[:2]) < 12
    assert np.mean(earned[-2:]) > np.mean(earned[:2]) + 1.2, earned


@pytest.mark.e2e
@pytest.mark.usefixtures("few_pictures")
def test_a_placebo_learns_nothing(make: Make) -> None:
    chosen = make(iterations=6, group=6, epochs=4, learning_rate=3e-2, placebo=True)
    train_rl(chosen, OpenKeyGame())
    earned = curve(chosen, "return")
    assert abs(np.mean(earned[-3:]) - np.mean(earned[:3])) < 1.2, earned


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["frozen_cnn", "lora", "goal", "all"])
def test_what_the_learner_sees_is_what_was_played(make: Make, mode: str) -> None:
    """The ratio of the first step is 1: log p when played and when learned agree, at the temperature of playing."""
    chosen = make(
        finetune_mode=mode, iterations=1, places=1, out_weights="x.goal.json" if mode == "goal" else "x.weights"
    )
    chosen = dataclasses.replace(chosen, out_weights=str(Path(chosen.checkpoint_dir) / chosen.out_weights))
    train_rl(chosen, OpenKeyGame())
    rollouts = [Rollout.load(path) for path in sorted((chosen.run_dir / "rollouts" / "000000").glob("*.rollout"))]
    assert len(rollouts) == 4
    if mode == "goal":
        assert "train_list" not in read_goal(chosen.out_weights).made_by, "no list was read"
    assert len({rollout.buttons.tobytes() for rollout in rollouts}) == 4, "members of a group draw for themselves"
    policy = load_policy(TINY, chosen.in_weights)
    for head in (policy.pi_head.buttons, policy.pi_head.camera):
        head.temperature *= 0.9
    for rollout in rollouts:
        again = score(policy, batch_of([rollout], policy.device)).log_p[0].numpy()
        assert np.abs(again - rollout.log_p).max() < 1e-4
        assert rollout.images.shape[1:] == ((128, 128, 3) if mode == "all" else (256,))


class Killed(Exception):
    """Stands for a kill."""


def die(*_: Any, **__: Any) -> None:
    raise Killed


def killing_save(moment: int) -> Callable[[Rollout, Any], None]:
    """Rollout.save that is killed before the file of this number is written."""
    count, original = 0, Rollout.save

    def save(self: Rollout, path: Any) -> None:
        nonlocal count
        count += 1
        if count == moment:
            raise Killed
        original(self, path)

    return save


@pytest.mark.e2e
@pytest.mark.usefixtures("few_pictures")
def test_a_run_that_is_killed_anywhere_ends_in_the_same_bits(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = make("whole", keep_prompts="look at the sky", keep_episodes=2, kl_coef=0.1)
    train_rl(chosen, OpenKeyGame())
    expected = read_weights(chosen.out_weights)

    for moment in (1, 7, 19):
        killed = dataclasses.replace(chosen, out_weights=chosen.out_weights.replace("whole", f"killed{moment}"))
        with monkeypatch.context() as patched:
            patched.setattr(Rollout, "save", killing_save(moment))
            if moment > 18:  # all is played, and it dies while it learns
                patched.setattr(loop.Learner, "learn", die)
            with pytest.raises(Killed):
                train_rl(killed, OpenKeyGame())
        train_rl(killed, OpenKeyGame())
        found = read_weights(killed.out_weights)
        assert all(torch.equal(found[name], expected[name]) for name in expected), moment
        assert [row["step"] for row in json.loads((killed.run_dir / "curves.json").read_text())] == [1, 2]


@pytest.mark.e2e
@pytest.mark.usefixtures("few_pictures")
def test_old_prompts_stay_where_they_were(make: Make) -> None:
    moved = {}
    for coef in (0.0, 1.0):
        chosen = make(
            f"keep{coef:g}",
            iterations=4,
            epochs=3,
            keep_prompts="look at the sky",
            keep_episodes=3,
            keep_coef=coef or 1e-9,
        )
        train_rl(chosen, OpenKeyGame())
        moved[coef] = curve(chosen, "keep_kl/look_at_the_sky")[-1]
    assert moved[1.0] < 0.1 * moved[0.0]


@pytest.mark.e2e
@pytest.mark.usefixtures("few_pictures")
def test_the_start_is_read_once_however_many_iterations_there_are(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are hashed once, and kept episodes are opened once more when all of them are there."""
    chosen = make(iterations=3, places=1, group=2, minibatches=1, keep_prompts="look at the sky", keep_episodes=2)
    read, opened = [], []
    digest, check = inputs.sha256_file, Rollout.check
    monkeypatch.setattr(inputs, "sha256_file", lambda path: read.append(str(path)) or digest(path))
    monkeypatch.setattr(Rollout, "check", lambda path, version: opened.append(path.parent.name) or check(path, version))
    train_rl(chosen, OpenKeyGame())
    assert read.count(chosen.in_weights) == 1
    assert opened.count("keep") == 2
    assert max(curve(chosen, "log_p_gap")) < 1e-4


@pytest.mark.e2e
@pytest.mark.usefixtures("few_pictures")
def test_a_game_that_dies_is_played_again_and_counted(make: Make) -> None:
    chosen = make(iterations=1, places=1, group=2)
    train_rl(chosen, OpenKeyGame(die_at=(10,)))
    assert sum(curve(chosen, "crashes")) >= 1


@pytest.mark.usefixtures("few_pictures")
def test_a_policy_that_earns_nothing_is_told_so(make: Make, tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(
        "env: luanti\nrewards:\n  keys:\n    task: explore\n    steps: 16\n    terms: [{success: 1}]\n"
    )
    chosen = make(iterations=6, places=1, group=2)
    with pytest.raises(UserError, match="nothing to learn from"):
        train_rl(chosen, OpenKeyGame())
    assert not Path(chosen.out_weights).exists()


@pytest.mark.usefixtures("few_pictures")
@pytest.mark.parametrize(
    ("reward", "settings", "said"),
    [
        ("[{success: 1}]", {}, "No success and no difference of reward in the last 4 episodes"),
        ("[{success: 1}]", {"method": "group"}, "No success and no difference of reward in the last 4 episodes"),
        ("[{env: 1}]", {"method": "clone"}, "None of the last 4 episodes succeeded, and method clone"),
    ],
)
def test_a_short_run_that_learns_nothing_fails_too(
    make: Make, tmp_path: Path, reward: str, settings: dict[str, Any], said: str
) -> None:
    """Two iterations, fewer than after which a longer run gives up; the weights would be those of the start."""
    (tmp_path / "keys.yaml").write_text(
        f"env: luanti\nrewards:\n  keys:\n    task: explore\n    steps: 16\n    terms: {reward}\n"
    )
    chosen = make(iterations=2, places=1, group=2, minibatches=1, **settings)
    for _ in range(2):  # the same command says the same
        with pytest.raises(UserError, match=said):
            train_rl(chosen, OpenKeyGame())
    assert not Path(chosen.out_weights).exists()


def test_what_has_learned_to_succeed_always_is_no_failure() -> None:
    """Then all members of a group earn the same; where nothing was learned before, or nothing succeeds, it is one."""
    run = Run.__new__(Run)
    run.silent, run.silence, run.taught = 0, "", False

    def counted(silence: str, succeeds: bool) -> int:
        run._count_silence(Judged([], [], [], np.zeros(0), 0.0, 0.0, 0.0, 0.0, silence), succeeds)
        return run.silent

    assert [counted(TIED, True), counted(TIED, True)] == [1, 2]
    assert [counted("", True), counted(TIED, True), counted(TIED, True)] == [0, 0, 0]
    assert [counted(EQUAL, False), counted(EQUAL, False), counted("", False)] == [1, 2, 0]


def test_episodes_that_the_learner_sees_otherwise_are_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a worker with other code or other weights under the right name."""
    chosen = make(iterations=1, places=1, group=2, minibatches=1)
    save = Rollout.save

    def changed(self: Rollout, path: Any) -> None:
        save(dataclasses.replace(self, log_p=self.log_p + 0.002), path)

    monkeypatch.setattr(Rollout, "save", changed)
    with pytest.raises(UserError, match="other probabilities than those with which"):
        train_rl(chosen, OpenKeyGame())


def test_a_worker_refuses_other_weights_under_the_right_name(make: Make) -> None:
    chosen = make()
    inputs = Inputs(chosen)
    recipe = Recipe(chosen.in_weights.replace("weights", "model"), "luanti", chosen.reward, 0.0, 1.0, 16, {})
    job = RolloutJob(inputs.plan(0)[0], Version(inputs.weights, "0" * 64, "0" * 64), np.zeros(E), Path("x"))
    with pytest.raises(UserError, match="not the weights that are to play"):
        recipe(0).agent(job)
    version = Version(inputs.weights, inputs.weights_sha256, inputs.weights_sha256)
    player = recipe(0)
    agent = player.agent(dataclasses.replace(job, version=version))
    assert player.agent(dataclasses.replace(job, version=version)) is agent, "read once"


def test_episodes_are_not_gone_on_with_under_other_settings(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first iteration has been learned from, too."""
    chosen = make(iterations=1, places=1, group=3, minibatches=1)
    with monkeypatch.context() as patched:
        patched.setattr(Rollout, "save", killing_save(3))
        with pytest.raises(Killed):
            train_rl(chosen, OpenKeyGame())
    with pytest.raises(UserError, match="prompt: '' then, 'explore' now"):
        train_rl(dataclasses.replace(chosen, prompt="explore"), OpenKeyGame())
    train_rl(chosen, OpenKeyGame())
    assert [path.name for path in chosen.run_dir.glob("playing*")] == ["playing_000001.safetensors"]


def test_what_cannot_work_is_said_before_anything_is_played(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="5 of these settings"):
        make(iterations=0, lam=2.0, method="preference", group=1, learning_rate=0).check()
    with pytest.raises(UserError, match="4 of these settings"):
        make(max_grad_norm=-1.0, target_kl=0.0, clip_high=-0.2, kl_coef=float("nan")).check()
    with pytest.raises(UserError, match="6 of these settings"):
        make(kl_coef=math.inf, keep_coef=math.inf, lora_rank=0, workers=-1, threads=-3, lora_targets="eyes").check()
    with pytest.raises(UserError, match="centre group subtracts the mean"):
        make(value="none", centre="group", group=1).check()
    with pytest.raises(UserError, match="group_form episode is a form of method group"):
        make(group_form="episode").check()
    with pytest.raises(UserError, match="workers must be at least 1"):
        make(ray=True).check()
    with pytest.raises(UserError, match="out_weights would replace in_weights"):
        make(out_weights=make().in_weights).check()
    inside = make().run_dir / "b_best.weights"
    inside.parent.mkdir(parents=True)
    shutil.copy(make().in_weights, inside)
    make(in_weights=str(inside)).check()
    with pytest.raises(UserError, match="overwrite would delete in_weights"):
        make(in_weights=str(inside), overwrite=True).check()
    shutil.rmtree(inside.parent)
    for ending in (".weights", ".safetensors", ".goal.json"):
        make(out_weights=f"x{ending}", finetune_mode="goal").check()
    with pytest.raises(UserError, match=r"must end in \.weights or \.safetensors, got 'x\.goal\.json'"):
        make(out_weights="x.goal.json").check()
    with pytest.raises(UserError, match="no such reward"):
        Run(make(reward="dig_dert"))
    assert "16 episodes" in Run(make()).inputs.estimate().text()
    chosen = make(iterations=1, places=1, group=2, minibatches=1)
    train_rl(chosen, OpenKeyGame())
    with pytest.raises(UserError, match=r"gamma: 0\.999 then, 0\.9 now"):
        train_rl(dataclasses.replace(chosen, gamma=0.9), OpenKeyGame())
    (tmp_path / "keys.yaml").write_text((tmp_path / "keys.yaml").read_text().replace("env: 1", "env: 2"))
    with pytest.raises(UserError, match="reward: other content than then"):
        train_rl(chosen, OpenKeyGame())
    (chosen.run_dir / "settings.json").write_text('{"weights": 3}')  # a run of another kind
    with pytest.raises(UserError, match="A run of this name exists"):
        train_rl(chosen, OpenKeyGame())
    shutil.rmtree(chosen.run_dir)
    with pytest.raises(UserError, match="not this run's"):
        train_rl(chosen, OpenKeyGame())


def test_workers_find_their_files_whatever_their_current_folder_is(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on the machines of a cluster."""
    recipes: list[Recipe] = []

    def noted(jobs: Any, recipe: Recipe, *_: Any, **__: Any) -> None:
        recipes.append(recipe)
        raise Killed

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "run_jobs", noted)
    with pytest.raises(Killed):
        train_rl(make(reward="keys.yaml"), OpenKeyGame())
    monkeypatch.chdir(tmp_path / "runs")
    assert load_reward(recipes[0].reward, "luanti").name == "keys"
    assert Path(recipes[0].model).is_file()


@pytest.mark.e2e
@pytest.mark.usefixtures("cluster")
def test_the_same_episodes_over_ray(make: Make) -> None:
    """Two workers of a cluster: the first iteration's draws are those of one process, and each version plays its iteration."""
    here, there = (
        make(name, iterations=2, places=2, group=2, keep_prompts="look at the sky", keep_episodes=1, **how)
        for name, how in (("here", {}), ("there", {"workers": 2, "ray": True}))
    )
    train_rl(here, OpenKeyGame())
    train_rl(there, OpenKeyGame())
    played = [
        {str(path.relative_to(run.run_dir)): Rollout.load(path) for path in sorted(run.run_dir.rglob("*.rollout"))}
        for run in (here, there)
    ]
    assert len(played[1]) == 2 * 4 + 1
    assert played[0].keys() == played[1].keys()
    for name, rollout in played[0].items():
        if not name.startswith("rollouts/000001"):  # learning with other threads rounds otherwise
            np.testing.assert_array_equal(rollout.buttons, played[1][name].buttons)
            np.testing.assert_allclose(rollout.log_p, played[1][name].log_p, atol=1e-4)
    versions = [
        {each.facts["weights_sha256"] for name, each in played[1].items() if f"00000{n}" in name} for n in (0, 1)
    ]
    assert [len(found) for found in versions] == [1, 1]
    assert versions[0] != versions[1]
    assert Path(there.out_weights).is_file()


@pytest.mark.game
def test_two_iterations_in_the_game(tmp_path: Path) -> None:
    """Two places, two episodes at each, 40 steps; as a whole run, smaller."""
    chosen = RlSettings(
        in_weights=str(ROOT / "data/mini/mini.weights"), out_weights=str(tmp_path / "sky.weights"), checkpoint_dir=str(tmp_path / "runs"),
        iterations=2, places=2, group=2, steps=40, workers=1, minibatches=2, keep_prompts="explore", keep_episodes=1, device="cpu",
    )  # fmt: skip
    train_rl(chosen)
    assert max(curve(chosen, "log_p_gap")) < 1e-3
    assert curve(chosen, "episode_steps") == [40, 40]
    start, found = read_weights(chosen.in_weights), read_weights(chosen.out_weights)
    assert any(not torch.equal(found[name], start[name]) for name in start)
    assert all(torch.equal(found[name], start[name]) for name in start if "img_process.cnn" in name)


def test_rollouts_of_other_weights_and_damaged_ones_are_refused(make: Make) -> None:
    chosen = make(iterations=1, places=1, group=2)
    train_rl(chosen, OpenKeyGame())
    path = next((chosen.run_dir / "rollouts").rglob("*.rollout"))
    with pytest.raises(UserError, match="other weights"):
        Rollout.check(path, "0" * 64)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be read"):
        Rollout.load(path)
    state = chosen.run_dir / "state.pt"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(UserError, match="state of this run cannot be read"):
        train_rl(chosen, OpenKeyGame())


@pytest.mark.e2e
@pytest.mark.usefixtures("few_pictures")
def test_a_run_that_is_killed_around_its_output_still_owns_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after each file that the end of a run writes: the same command finishes it, and nothing of the run stays half."""
    chosen = make(iterations=1, places=1, group=2, finetune_mode="lora", lora_rank=2)
    for name in ("write_json", "copyfile", "remove"):
        with monkeypatch.context() as patched:
            patched.setattr(*((loop.shutil, name) if name == "copyfile" else (loop, name)), die)
            with pytest.raises(Killed):
                train_rl(chosen, OpenKeyGame())
    result = train_rl(chosen, OpenKeyGame())
    record = json.loads((chosen.run_dir / "result.json").read_text())
    assert record["out_sha256"] == sha256_file(result.out_weights)
    facts = json.loads(result.out_weights.with_name(result.out_weights.name + ".json").read_text())
    assert facts["hashes"]["weights"] == record["out_sha256"]
    assert not [*chosen.run_dir.glob("*.weights*"), *chosen.run_dir.glob("*.lora.*")]


@pytest.mark.usefixtures("few_pictures")
def test_a_run_that_replaces_an_older_output_goes_on_after_a_kill(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --overwrite, which would begin it anew; the older weights are gone from its beginning, as the help says."""
    chosen = make(iterations=1, places=1, group=2, minibatches=1)
    out = Path(chosen.out_weights)
    out.parent.mkdir()
    out.write_bytes(b"of another run")
    with monkeypatch.context() as patched:
        patched.setattr(Rollout, "save", killing_save(2))
        with pytest.raises(Killed):
            train_rl(dataclasses.replace(chosen, overwrite=True), OpenKeyGame())
    assert not out.exists()
    train_rl(chosen, OpenKeyGame())
    assert json.loads((chosen.run_dir / "result.json").read_text())["out_sha256"] == sha256_file(out)


def test_where_the_output_cannot_go_is_told_before_anything_is_played(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = make()
    out = Path(chosen.out_weights).parent
    out.mkdir()
    opened = tempfile.TemporaryFile

    def file(**how: Any) -> Any:
        if how.get("dir") == out:
            raise OSError(errno.EROFS, "Read-only file system", str(out / "x"))
        return opened(**how)

    monkeypatch.setattr(tempfile, "TemporaryFile", file)
    monkeypatch.setattr(Run, "run", die)
    with pytest.raises(OSError, match="Read-only"):
        train_rl_command.main(train_rl_command.Args(**dataclasses.asdict(chosen)))


def replay_of(tiny: Path, tmp_path: Path, weights: str) -> str:
    """A replay pack of the training episodes, with the features of these weights' CNN."""
    policy = load_policy(TINY, weights)
    cache = FeatureCache(tmp_path / "cache", policy)
    episodes = sorted((tiny / "dataset_a").glob("ep*"))
    cache.fill(episodes)
    pack = tmp_path / "old.replay.safetensors"
    facts = {"cnn_sha256": cache.weights_hash, "precision": "float32"}
    make_pack(pack, contents_of(episodes), cache, facts, lambda count: None)
    return str(pack)


@pytest.mark.e2e
@pytest.mark.usefixtures("few_pictures")
@pytest.mark.parametrize(("keep", "kind"), [("replay", "pack"), ("kl", "sampling"), ("both", "pack")])
def test_old_episodes_hold_an_update_back(make: Make, tiny: Path, tmp_path: Path, keep: str, kind: str) -> None:
    """From a pack or a sampling: imitated, their loss falls; as KL, their actions stay."""
    chosen = make()
    old = replay_of(tiny, tmp_path, chosen.in_weights) if kind == "pack" else "tiny"
    where = {"sampling_dir": str(tiny / "samplings"), "cache_dir": str(tmp_path / "cache")}
    curves, pulls = {}, {}
    for coef in (1e-9, 3.0):
        chosen = make(f"{keep}{coef:g}", iterations=2, epochs=3, keep=keep, replay=old, keep_coef=coef, **where)
        train_rl(chosen, OpenKeyGame())
        curves[coef] = curve(chosen, "keep_kl" if keep == "kl" else "replay_loss")
        pulls[coef] = curve(chosen, "keep_kl") if keep == "both" else []
    assert not (chosen.run_dir / "keep").exists() or not list((chosen.run_dir / "keep").iterdir())
    assert curves[3.0][-1] < (0.5 if keep == "kl" else 0.95) * curves[1e-9][-1], curves
    assert all(value > 0 for value in pulls[3.0][1:]), pulls  # it has moved, and is pulled back


def test_old_episodes_that_cannot_be_used_are_named(make: Make, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="keep replay needs old episodes"):
        make(keep="replay").check()
    with pytest.raises(UserError, match="keep self leaves out old episodes"):
        make(keep="self", replay="old").check()
    with pytest.raises(UserError, match="were not found"):
        train_rl(make(replay="nowhere.replay.safetensors"), OpenKeyGame())
    torch.manual_seed(11)
    save_weights(load_policy(TINY), tmp_path / "other.weights")
    pack = replay_of(tiny, tmp_path, str(tmp_path / "other.weights"))
    with pytest.raises(UserError, match="another CNN"):
        train_rl(make("other", replay=pack), OpenKeyGame())
    with pytest.raises(UserError, match="trains the CNN"):
        train_rl(make("all", replay=pack, finetune_mode="all"), OpenKeyGame())


@pytest.mark.e2e
@pytest.mark.usefixtures("few_pictures")
def test_the_value_head_is_written_and_a_killed_run_ends_in_the_same_bits(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = make("head", iterations=2, places=1, group=2, value="head")
    train_rl(chosen, OpenKeyGame())
    assert curve(chosen, "explained_variance")[0] == pytest.approx(0, abs=1e-6)
    expected = read_weights(chosen.out_weights)
    assert float(expected["value_head.normalizer.debiasing_term"]) == pytest.approx(1 - HeadValue.KEEPS**2)
    assert expected["value_head.linear.bias"].abs().sum() > 0
    killed = dataclasses.replace(chosen, out_weights=chosen.out_weights.replace("head", "killed"))
    with monkeypatch.context() as patched:
        patched.setattr(Rollout, "save", killing_save(3))
        with pytest.raises(Killed):
            train_rl(killed, OpenKeyGame())
    train_rl(killed, OpenKeyGame())
    found = read_weights(killed.out_weights)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
