"""Measures cells: demonstrations → training → paired episodes → a line of the table. Each stage goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research.measure_methods import learning
from research.measure_methods.cells import Cell, append_cells, read_cells
from research.measure_methods.recipes import RECIPES, Recipe
from research.measure_methods.settings import Settings
from steve1.commands.data import create_sampling, generate_dataset
from steve1.commands.train import interpolate_weights, make_replay, train_rl
from steve1.commands.train import train as train_command
from steve1.core.checkpoint_metadata import checkpoint_metadata_path
from steve1.core.files import rename, sha256_file
from steve1.core.messages import translated
from steve1.core.paths import output_path, resolve
from steve1.data.loading.sampling import SamplingSettings
from steve1.evaluation.pipeline import evaluate
from steve1.evaluation.settings import EvaluationSettings
from steve1.evaluation.statistics.summary import Lines, own_row
from steve1.evaluation.tasks.suite import load_suite
from steve1.rl.report.findings import holds_rl_run, read_rl_run
from steve1.training.config import TrainSettings


class Measurement:
    """One measurement: its settings and the cells that are finished."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.path = output_path(settings.cells)
        self.suite = load_suite()

    @property
    def cells(self) -> list[Cell]:
        """What is finished."""
        return read_cells(self.path)

    def measure(self, method: str, skill: str, seed: int, old: bool = True) -> list[Cell]:
        """The cells of one trained policy: the trained skill and, if asked, the old ones; those that are finished are not measured again."""
        recipe, settings = RECIPES[method], self.settings
        others = settings.old_tasks if old and recipe.changes_weights else ()
        tasks = [skill, *(task for task in others if task != skill)]
        called = skill in settings.called and skill not in settings.skills
        done = {cell.key for cell in self.cells}
        missing = [task for task in tasks if (method, skill, seed, task) not in done]
        if not missing:
            self.keep_learning(method, skill, seed)
            return []
        print(translated(f"\n== {method}, {skill}, seed {seed}: {', '.join(missing)}"), flush=True)
        weights = self.weights(method, skill, seed)
        self.keep_learning(method, skill, seed)
        lines = self.play(weights, missing)
        base = Path(settings.base).name.removesuffix(".weights").removesuffix(".safetensors")
        name = weights.name.removesuffix(".goal.json").removesuffix(".weights")
        facts: dict[str, Any] = {
            "method": method,
            "skill": skill,
            "seed": seed,
            "frames": self.frames(recipe),
            "weights_sha256": sha256_file(weights)[:12],
            "base_sha256": sha256_file(resolve(settings.base))[:12],
            "date": datetime.date.today().isoformat(),
        }
        found = [
            Cell(
                task=task,
                role="called" if called else "new" if task == skill else "old",
                base=outcomes(lines, task, base),
                tuned=outcomes(lines, task, name),
                **facts,
            )
            for task in missing
        ]
        append_cells(self.path, found)
        return found

    # ---- data ----

    def sampling_of(self, skill: str, seed: int) -> str:
        """The sampling of a skill's demonstrations, recorded where they are missing."""
        name = f"{self.settings.name}_{skill}_{seed}"
        return self._sampling(
            name, behaviours=f"{skill}={self.settings.demonstrations}", steps=self.settings.steps, seed=1000 + seed
        )

    def old_sampling(self) -> str:
        """Demonstrations of the old skills."""
        settings = self.settings
        behaviours = " ".join(f"{task}={settings.demonstrations}" for task in settings.old_tasks)
        return self._sampling(f"{settings.name}_old", behaviours=behaviours, steps=settings.steps, seed=2000)

    def self_sampling(self) -> str:
        """What the base plays itself of the old skills, successes alone."""
        settings = self.settings
        prompts = [f"{self.suite.tasks[task].prompts['en']}={settings.demonstrations}" for task in settings.old_tasks]
        return self._sampling(
            f"{settings.name}_self",
            source="policy",
            weights=settings.base,
            prompts=";".join(prompts),
            steps=settings.steps,
            seed=3000,
        )

    def _sampling(self, name: str, **how: Any) -> str:
        folder = f"data/dataset_{name}"
        if not resolve(f"{self.settings.sampling_dir}/{name}_train.txt").is_file():
            generate_dataset.main(generate_dataset.Args(output_dir=folder, **how))
            create_sampling.main(
                create_sampling.Args(
                    name,
                    dataset_dir=folder,
                    split=SamplingSettings(val_fraction=0.1),
                    samplings_dir=self.settings.sampling_dir,
                )
            )
        return name

    def pack(self) -> str:
        """The replay pack: the one that was named, or one of the old demonstrations."""
        settings = self.settings
        if settings.replay:
            return settings.replay
        path = f"data/{settings.name}.replay.safetensors"
        if not resolve(path).is_file():
            make_replay.main(
                make_replay.Args(
                    path,
                    sampling_name=self.old_sampling(),
                    sampling_dir=settings.sampling_dir,
                    in_model=settings.in_model,
                    in_weights=settings.base,
                    device=settings.device,
                )
            )
        return path

    # ---- training and playing ----

    def frames(self, recipe: Recipe) -> int:
        """Frames that it is trained on: features take a tenth of the time, so there are more of them. 0 where none are given."""
        if recipe.between or recipe.rl is not None:
            return 0
        return self.settings.frames if recipe.trains_cnn else self.settings.feature_frames

    def name(self, method: str, skill: str, seed: int) -> str:
        """The name of a policy's run, weights and episodes."""
        return f"{self.settings.name}_{method}_{skill}_{seed}"

    def weights(self, method: str, skill: str, seed: int) -> Path:
        """The policy's file, trained where it is missing."""
        recipe, settings = RECIPES[method], self.settings
        name = self.name(method, skill, seed)
        if recipe.between:
            path = output_path(f"data/interpolations/{name}/{name}.weights")
            if path.is_file():
                return path
            tuned = self.weights(recipe.between, skill, seed)
            args = interpolate_weights.Args(settings.base, str(tuned), alpha="0.5", in_model=settings.in_model)
            args = dataclasses.replace(args, device=settings.device)
            found = interpolate_weights.interpolate(args, path.parent)[0].weights
            assert found is not None
            rename(checkpoint_metadata_path(found), checkpoint_metadata_path(path))
            rename(found, path)
            return path
        if recipe.rl is not None:
            played = self.playing(recipe, name, skill, seed)
            if not resolve(played.out_weights).is_file():
                train_rl.main(played)
            return resolve(played.out_weights)
        chosen = self.training(recipe, name, skill, seed)
        if not chosen.out_path.is_file():
            train_command.main(chosen)
        return chosen.out_path

    def training(self, recipe: Recipe, name: str, skill: str, seed: int) -> TrainSettings:
        """The settings of a method's training: those of the quickstart and its own."""
        settings, frames = self.settings, self.frames(recipe)
        old = {"": "", "demonstrations": self.old_sampling, "self": self.self_sampling, "pack": self.pack}[recipe.old]
        common: dict[str, Any] = {
            "in_model": settings.in_model,
            "in_weights": settings.base,
            "out_weights": f"data/weights/steve1/{name}.weights",
            "sampling_name": self.sampling_of(skill, seed),
            "sampling_dir": settings.sampling_dir,
            "replay": old() if callable(old) else old,
            "fixed_prompt": self.suite.tasks[skill].prompts["en"] if recipe.prompted else "",
            "feature_cache": not recipe.trains_cnn,
            "seed": seed,
            "batch_size": 8,
            "T": 64,
            "trunc_t": 16,
            "learning_rate": 7e-4,
            "max_grad_norm": 100.0,
            "total_frames": frames,
            "warmup_frames": frames // 20,
            "max_btwn_goals": 60,
            "jitter": True,
            "turn_loss_weight": 2.0,
            "val_freq": 200,
            "save_every": 500,
            "keep_checkpoints": False,
            "log_every": 200,
            "device": settings.device,
        }
        return TrainSettings(**{**common, **recipe.settings, **settings.training})

    def playing(self, recipe: Recipe, name: str, skill: str, seed: int) -> train_rl.Args:
        """The settings of a method that learns from what it plays: those of 3_train_finetune_rl.sh and its own."""
        settings = self.settings
        common: dict[str, Any] = {
            "in_weights": settings.base,
            "out_weights": f"data/weights/steve1/{name}.weights",
            "reward": skill,
            "iterations": settings.iterations,
            "workers": settings.workers,
            "seed": seed,
            "device": settings.device,
        }
        return train_rl.Args(**{**common, **(recipe.rl or {}), **settings.training})

    def keep_learning(self, method: str, skill: str, seed: int) -> None:
        """Write down how many episodes of each iteration succeeded, where a picture of it is asked for and the run's folder is still there."""
        run = output_path(train_rl.Args.checkpoint_dir) / self.name(method, skill, seed)
        if not self.settings.learning or RECIPES[method].rl is None or not holds_rl_run(run):
            return
        found = read_rl_run(run)
        learning.keep_iterations(
            output_path(self.settings.learning).with_suffix(".csv"),
            [
                learning.Iteration(method, skill, seed, step, found.episodes, round(share, 6))
                for step, share in found.points("rl/success")
            ],
        )

    def play(self, weights: Path, tasks: Sequence[str]) -> Lines:
        """Base and tuned weights on the same places; the base's episodes are played once for all methods."""
        settings = self.settings
        report = evaluate(
            EvaluationSettings(
                weights=(settings.base, str(weights)),
                tasks=tuple(tasks),
                episodes=settings.episodes,
                seed=settings.evaluation_seed,
                workers=settings.workers,
                similarity=0,
                target=(tasks[0],),
                folder=f"data/evaluations/{settings.name}",
                device=settings.device,
            )
        )
        return report.lines


def outcomes(lines: Lines, task: str, policy: str) -> str:
    """A policy's episodes of a task in order: "0" and "1"."""
    return "".join(str(int(bool(line["success"][task]))) for line in own_row(lines, task, policy))
