"""The prior alone, the guidance sweep, and the paper's prompts."""

from __future__ import annotations

import dataclasses
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from research import paper_videos
from research.paper import films_to_make, make_film, paper_prompts, published_goals
from research.prior_analysis import analyse, nearest, pca, prepare, render, tsne
from research.prior_pictures import write_analysis
from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.evaluation.demonstrations import VisualPrompt
from steve1.evaluation.guidance_sweep import summarise_sweep, sweep_guidance
from steve1.evaluation.policies import PolicySpec
from steve1.evaluation.statistics.tests import wilson
from steve1.rollout.play import DoNothing
from steve1.rollout.supervise import SupervisedEnv
from tests.evaluation.worlds import injected, settings
from tests.rollout.fakes import FakeEnv


class Clip:
    embed_dim = 8

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        return torch.eye(8)[[{"dig": 0, "swim": 1}[text] for text in texts]]


class Mixing:
    """A prior whose goal for "dig" is right and whose goal for "swim" is that for digging; its samples spread by `noise`."""

    embed_dim = 8

    def __init__(self, noise: float = 0.05) -> None:
        self.noise = noise

    def samples(self, text: torch.Tensor, seed: int, n: int) -> torch.Tensor:
        drawn = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32))
        return 5 * torch.eye(8)[[2]] + 5 * self.noise * drawn


def demonstrations() -> list[VisualPrompt]:
    rng = np.random.default_rng(0)
    rows = [np.eye(8)[kind] + 0.1 * rng.normal(size=(40, 8)) for kind in (2, 3)]
    return [
        VisualPrompt.of(f"set/{name}_0", row.astype(np.float32), name) for name, row in zip(("dig_dirt", "swim"), rows)
    ]


def test_a_prior_that_mixes_two_tasks_up_is_found_without_a_game(tmp_path: Path) -> None:
    prompts = [("dig_dirt", "dig_dirt", "dig"), ("swim", "swim", "swim")]
    material = prepare(prompts, Clip(), Mixing(), demonstrations(), samples=8)
    found = analyse(material)
    dig, swim = found["prompts"]
    assert (dig["prior_rank"], swim["prior_rank"]) == (1, 2)
    assert dig["prior_own"] > 0.8 > 0.2 > swim["prior_own"]
    assert [entry["behaviour"] for entry in swim["nearest"]] == ["dig_dirt", "swim"]
    assert "The goals of swim are nearer to demonstrations of something else" in render(found)
    assert (
        analyse(prepare(prompts, Clip(), Mixing(0.0), demonstrations(), samples=8))["prompts"][0]["spread"]
        < 1e-5
        < dig["spread"]
    )
    paths = write_analysis(material, tmp_path, tsne_points=20)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths.values() if path.suffix == ".png")
    assert json.loads(paths["json"].read_text())["behaviours"] == ["dig_dirt", "swim"]
    with pytest.raises(UserError, match="prompts"):
        prepare([], Clip(), Mixing(), [])
    assert "nearest demonstration" in render(analyse(prepare(prompts, Clip(), Mixing(), []))), (
        "prompts alone can be analysed too"
    )


def test_projections_keep_groups_together() -> None:
    rng = np.random.default_rng(1)
    rows = np.concatenate([4 * np.eye(6)[kind] + 0.3 * rng.normal(size=(25, 6)) for kind in range(3)]).astype(
        np.float32
    )
    flat, held = pca(rows)
    reference = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    assert held == pytest.approx(reference[:2] / reference.sum(), rel=1e-4)
    for place in (flat, tsne(rows, perplexity=10, steps=200)):
        middles = np.array([place[25 * kind : 25 * kind + 25].mean(axis=0) for kind in range(3)])
        own = np.linalg.norm(place - np.repeat(middles, 25, axis=0), axis=1)
        others = min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
        assert np.median(own) < others / 3
    assert np.array_equal(tsne(rows[:12], steps=20), tsne(rows[:12], steps=20))
    assert nearest(rows[0], [VisualPrompt.of("x", rows, "")], 1)[0]["frame"] == 0
    with pytest.raises(UserError, match="at least 5"):
        tsne(rows[:4])


def lines(scale: float, wins: int, episodes: int = 20) -> list[dict[str, Any]]:
    return [
        {"contestant": f"w@{scale:g}", "row": "t", "number": n, "success": {"t": n < wins}, "measure": {"t": 0.0}}
        for n in range(episodes)
    ]


def test_the_best_guidance_is_suggested_and_chance_is_named() -> None:
    names = {0.0: "w@0", 2.0: "w@2", 6.0: "w@6"}
    found = summarise_sweep([*lines(0, 4), *lines(2, 18), *lines(6, 10)], names, ["t"], 6.0)
    assert (found["best"], found["proven"]) == (2.0, True)
    found = summarise_sweep([*lines(0, 4), *lines(2, 11), *lines(6, 10)], names, ["t"], 6.0)
    assert (found["best"], found["proven"]) == (2.0, False), "one more of twenty may be chance"
    found = summarise_sweep([*lines(0, 10), *lines(2, 10), *lines(6, 10)], names, ["t"], 2.0)
    assert found["best"] == 2.0, "among equals the present one"


def test_one_episode_proves_no_guidance() -> None:
    names = {0.0: "w@0", 6.0: "w@6"}
    found = summarise_sweep([*lines(0, 1, 1), *lines(6, 0, 1)], names, ["t"], 6.0)
    assert (found["best"], found["proven"]) == (0.0, False)
    never = found["points"][1]
    assert (never["low"], never["high"]) == wilson(0, 1), "it may well succeed the next time"
    assert never["interval"] == [0, 0], "the present one is compared with itself"
    many = [{**line, "row": task, "success": {task: line["success"]["t"]}, "measure": {task: 0.0}}
            for task in ("a", "b") for line in (*lines(0, 5, 5), *lines(6, 0, 5))]  # fmt: skip
    assert not summarise_sweep(many, names, ["a", "b"], 6.0)["proven"], "ten episodes, of five seeds"


def test_the_best_of_many_scales_has_more_to_prove() -> None:
    """Six more of twenty is beyond chance for one other scale, and not for the best of five."""
    some = {0.0: "w@0", 6.0: "w@6"}
    played = [*lines(0, 16), *lines(6, 10)]
    assert summarise_sweep(played, some, ["t"], 6.0)["proven"]
    every = {**some, 1.0: "w@1", 2.0: "w@2", 3.0: "w@3", 4.0: "w@4"}
    found = summarise_sweep(
        [*played, *(line for scale in (1, 2, 3, 4) for line in lines(scale, 10))], every, ["t"], 6.0
    )
    assert (found["best"], found["proven"]) == (0.0, False)


def test_a_sweep_is_played_drawn_and_stored(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steve1.evaluation import policies as module

    original = module.PolicyCache.actor

    def actor(self: Any, who: PolicySpec, *rest: Any) -> Any:
        # In this world the skilled one is called "tuned": guidance of 2 makes it so.
        return original(self, dataclasses.replace(who, name="tuned" if who.metadata.cond_scale == 2 else "base"), *rest)

    monkeypatch.setattr(module.PolicyCache, "actor", actor)
    names = ("base@0", "base@2", "base@6")
    settled = settings(world, "base", tasks=("swim",), episodes=3)
    found, paths = sweep_guidance(settled, (0.0, 2.0), inputs=injected(names))
    assert [point["scale"] for point in found["points"]] == [0.0, 2.0, 6.0], "the present value is played as well"
    assert (found["best"], found["current"]) == (2.0, 6.0)
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    assert "Suggested: cond_scale 2 (now 6)" in paths["md"].read_text()
    weights = str(world / "base.weights")
    assert read_checkpoint_metadata(weights).cond_scale == 6.0, "nothing is stored unasked"
    before = read_checkpoint_metadata(weights)
    sweep_guidance(settled, (0.0, 2.0, 6.0), store=True, inputs=injected(names))
    assert read_checkpoint_metadata(weights).cond_scale == 2.0
    assert dataclasses.replace(read_checkpoint_metadata(weights), cond_scale=6.0).env == before.env
    for wrong in ((-1.0,), (float("nan"),)):
        with pytest.raises(UserError, match="guidance scale"):
            sweep_guidance(settled, wrong)
    with pytest.raises(UserError, match="A goal file has no guidance scale"):
        sweep_guidance(dataclasses.replace(settled, weights=("data/dig.goal.json",)), (0.0, 1.0))
    with pytest.raises(UserError, match="one weights file"):
        sweep_guidance(settings(world, "base", "tuned"), (0.0, 1.0))


def test_sweeps_of_the_same_weights_share_a_folder(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named after the weights, not after the scales, so that a further scale alone is played."""
    monkeypatch.chdir(world)
    settled = settings(world, "base", tasks=("swim",), episodes=1, folder="")
    inputs = injected(("base@0", "base@2", "base@6"))
    for scales in ((0.0,), (0.0, 2.0)):
        paths = sweep_guidance(settled, scales, inputs=inputs)[1]
        assert paths["json"] == world / "data" / "guidance_sweeps" / "base" / "sweep.json"
    keys = [json.loads(text)["key"] for text in (paths["json"].parent / "episodes.jsonl").read_text().splitlines()]
    assert [key.partition("/")[0] for key in keys] == ["base@0", "base@6", "base@2"]


def test_a_swept_scale_is_stored_beside_weights_that_were_found_elsewhere(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world / "data" / "weights" / "steve1"
    folder.mkdir(parents=True)
    for name in ("base.weights", "base.weights.json"):
        (world / name).rename(folder / name)
    monkeypatch.chdir(world)
    settled = settings(world, tasks=("swim",), episodes=1)
    settled = dataclasses.replace(settled, weights=("base.weights",))
    found, paths = sweep_guidance(settled, (0.0,), store=True, inputs=injected(("base@0", "base@6")))
    assert not (world / "base.weights.json").exists()
    assert paths["metadata"].resolve() == (folder / "base.weights.json").resolve()
    assert read_checkpoint_metadata(str(folder / "base.weights")).cond_scale == found["best"]


def test_the_papers_prompts_and_their_published_goals(tmp_path: Path) -> None:
    prompts = paper_prompts()
    assert [prompt.name for prompt in prompts] == [
        "dig",
        "dirt",
        "sky",
        "leaves",
        "wood",
        "seeds",
        "flower",
        "explore",
        "swim",
        "underwater",
        "inventory",
    ]
    from steve1.evaluation.tasks.suite import load_suite

    suite = load_suite("luanti")
    assert all(suite.tasks[prompt.task].biome == prompt.biome for prompt in prompts)
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        for name in ("dig", "sky"):
            archive.writestr(f"visual_prompt_embeds/{name}.pkl", pickle.dumps(np.full((1, 4), 0.5, np.float32)))
    goals = published_goals(tmp_path / "v.zip")
    assert {name: goal.shape for name, goal in goals.items()} == {"dig": (4,), "sky": (4,)}
    text = {prompt.name: np.ones(4, np.float32) for prompt in prompts}
    films = films_to_make(prompts, text, goals, (6.0, 7.0), tmp_path)
    assert len(films) == 11 + 2
    assert (films[0].path.name, films[-1].path.name, films[-1].cond_scale) == (
        "dig - Text Prompt.mp4",
        "sky - Visual Prompt.mp4",
        7.0,
    )
    with pytest.raises(UserError, match="no visual prompts"):
        published_goals(tmp_path / "missing.zip")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "dig.pkl").write_bytes(pickle.dumps("text"))
    with pytest.raises(UserError, match="no embedding"):
        published_goals(tmp_path / "bad")


def test_a_film_of_a_prompt_with_its_trace(tmp_path: Path) -> None:
    from steve1.data.media.video import probe

    class Still:
        def prepare(self, spec: PolicySpec, goal: Any) -> None:
            assert spec.metadata.cond_scale == 7.0

        def actor(self, spec: PolicySpec, goal: Any, seed: int) -> Any:
            return DoNothing()

    prompts = paper_prompts()[:1]
    film = films_to_make(prompts, {}, {"dig": np.ones(4, np.float32)}, (6.0, 7.0), tmp_path)[0]
    with SupervisedEnv(lambda: FakeEnv(size=(360, 640))) as game:
        make_film(
            film, PolicySpec("w", "weights"), Still(), game, {"x": 0.0, "y": 0.0, "z": 0.0, "yaw": 0.0}, {}, 20, 0
        )  # type: ignore[arg-type]
    assert probe(film.path).frames == 20
    assert json.loads((tmp_path / "dig - Visual Prompt.json").read_text())["cond_scale"] == 7.0


def test_films_that_were_made_otherwise_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mini"
    folder.mkdir()
    for name, steps in (("dig", 20), ("dirt", 3000)):
        (folder / f"{name} - Text Prompt.mp4").touch()
        facts = {"seed": 0, "steps_asked": steps, "cond_scale": 0.0}
        (folder / f"{name} - Text Prompt.json").write_text(json.dumps(facts))
    weights = str(ROOT / "data" / "mini" / "mini.weights")
    asked: dict[str, Any] = {
        "in_weights": weights,
        "prompts": ("dig", "dirt"),
        "kinds": ("text",),
        "save_dirpath": str(tmp_path),
    }
    long = "steps_asked 20 (now 3000)"
    for scale, dig, dirt in ((0.0, long, ""), (2.0, f"cond_scale 0.0 (now 2.0), {long}", "cond_scale 0.0 (now 2.0)")):
        paper_videos.main(paper_videos.Args(**asked, text_cond_scale=scale))
        said = capsys.readouterr().out
        assert "2 exist, 0 to make" in said
        for name, what in (("dig", dig), ("dirt", dirt)):
            assert (f"{name} - Text Prompt.mp4: {what}; it stays as it is" in said) == bool(what), said
