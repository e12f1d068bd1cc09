"""Reinforcement learning: play, judge, learn, save, iteration by iteration.

A finished episode is a file and is never played again; learning is a function of files, weights, moments and the seed. So the same command
goes on wherever a run was stopped or killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from steve1.core.device import choose_device, set_tf32
from steve1.core.errors import UserError
from steve1.core.executor import ExecutorConfig, run_jobs
from steve1.core.files import atomic_path, read_json, remove, sha256_file, write_json
from steve1.core.messages import message, progress, translated
from steve1.core.paths import display, resolve
from steve1.core.processes import limit_threads
from steve1.core.run_folder import RunFolder
from steve1.envs.worker.resources import shared_renderer
from steve1.evaluation.policies import environment_threads
from steve1.goals import Goal, GoalEncoder
from steve1.policy import GoalPolicy, load_policy, save_weights
from steve1.rl.inputs import EMPTY_PROMPT, KEPT_ITERATIONS, Inputs
from steve1.rl.keep import Kept, OldEpisodes, PlayedPrompts, old_windows
from steve1.rl.passes import at_temperature, latents_of
from steve1.rl.plan import FIRST_PRIOR_SEED, EpisodeJob
from steve1.rl.player import Recipe, RolloutJob, Version, gpu_share
from steve1.rl.report.charts import layout
from steve1.rl.report.films import film_iteration, is_filmed
from steve1.rl.report.page import write_rl_report
from steve1.rl.rollouts import Rollout, figures_of, speed_of, tag_of
from steve1.rl.settings import RlSettings
from steve1.rl.update import Judged, Learner
from steve1.rl.values import HeadValue
from steve1.rl.weights import NO_SUCCESS, TIED
from steve1.training.checkpoint.checkpointer import optimizer_state_dict, restore_optimizer
from steve1.training.checkpoint.exports import sidecar_files, write_output
from steve1.training.checkpoint.run_folder import RESULT_FILE
from steve1.training.config import KEEPS_REPLAY
from steve1.training.optim.optimizers import make_optimizer
from steve1.training.trainable import apply_mode, frozen_copy, plain_policy, trained_parameters, tuned_goal

NO_SIGNAL_AFTER = 4
"""Iterations in a row without anything to learn, after which a run stops; a shorter run stops when none has taught anything."""
LARGEST_LOG_P_GAP = 1e-3
"""Between an action's log-probability when it was played and by the learner, without guidance, which multiplies rounding. Float32 leaves 1e-5, whatever the threads,
in Luanti too; one step of 3e-5 in random directions moves some action of a hundred by 1.6e-3."""
_ROLLOUT = re.compile(r"\d+-\d+\.rollout")
_PLAYING = re.compile(r"playing_\d+\.safetensors")


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome: where the weights are, and how many iterations made them."""

    out_weights: Path
    run_dir: Path
    iterations: int


class Run:
    """One run: what it is made of, and its steps. `open_game` replaces the game (tests)."""

    def __init__(self, settings: RlSettings, open_game: Any = None) -> None:
        self.inputs = Inputs(settings)
        self.settings, self.metadata, self.training = settings, self.inputs.metadata, self.inputs.training
        self._open_game = open_game
        self._kept_is_played = False

    def run(self) -> Result:
        """Everything; see the module."""
        settings = self.settings
        if settings.threads:
            limit_threads(settings.threads)
        self.folder = RunFolder(
            settings.run_dir,
            self.inputs.record(),
            settings.overwrite,
            differences=self.inputs.differences,
            layout=layout(),
        )
        try:
            self._claim_output()
            self._set_up()
            with (
                at_temperature(self.policy, self.metadata.temperature),
                at_temperature(self.reference, self.metadata.temperature),
            ):
                return self._run()
        finally:
            self.folder.close()

    def _claim_output(self) -> None:
        """Refuse to replace weights that this run did not write; with `overwrite` delete them now, or the run would refuse them when it goes on."""
        out, result = self.training.out_path, self.settings.run_dir / RESULT_FILE
        if self.settings.overwrite:
            for file in sidecar_files(out, self.training):
                remove(file, asked=True)
        own = read_json(result)["out_sha256"] if result.is_file() else ""
        if out.exists() and sha256_file(out) != own:
            raise UserError(
                "The output weights exist already and are not this run's.",
                where=display(out),
                todo="choose another OUT_WEIGHTS, or --overwrite to replace them",
            )

    def _set_up(self) -> None:
        settings, metadata, inputs = self.settings, self.metadata, self.inputs
        device = choose_device(settings.device)
        set_tf32(False)
        self.encoder = GoalEncoder(metadata, device=settings.device, translations=inputs.suite.translations)
        self.goals: dict[tuple[str, int], Goal] = {}
        torch.manual_seed(settings.seed)
        self.policy: GoalPolicy = load_policy(resolve(metadata.model), inputs.weights, device=device)
        tunes_goal = self.training.mode.adds == "goal"
        first = self._goal_of(inputs.prompt, FIRST_PRIOR_SEED) if tunes_goal else None
        apply_mode(self.policy, self.training, None if first is None else torch.from_numpy(first))
        if not self.policy.net.img_process.cnn_is_frozen and not inputs.keep_frames:
            raise UserError("This fine-tuning mode trains the CNN.", got=settings.finetune_mode)
        self.reference = frozen_copy(self.policy)
        self.optimizer = make_optimizer(self.policy, self.training)
        self.head = HeadValue(self.policy) if settings.value == "head" and settings.method == "ppo" else None
        self.kept: Kept | None = None
        if settings.keeping in KEEPS_REPLAY:
            windows = old_windows(self.training, self.policy)
            imitates, pulls = settings.keeping != "kl", settings.keeping != "replay"
            self.kept = OldEpisodes(windows, settings.seed, imitates=imitates, pulls=pulls)
        self.iteration, self.silent, self.silence, self.taught = 0, 0, "", False
        if (state := self.folder.load()) is not None:
            trained = trained_parameters(self.policy)
            with torch.no_grad():
                for name, tensor in state["trained"].items():
                    trained[name].copy_(tensor)
            restore_optimizer(self.policy, self.optimizer, state["optimizer"])
            if self.head:
                self.head.load_state_dict(state["head"])
            self.iteration, self.silent = int(state["iteration"]), int(state["silent"])
            self.taught, self.silence = bool(state["taught"]), str(state["silence"])
        self._write_version()

    def _goal_of(self, prompt: str, prior_seed: int) -> Goal:
        """The goal of a prompt under one draw of the prior; no goal for the empty prompt."""
        if prompt == EMPTY_PROMPT:
            return self.encoder.no_goal
        key = (prompt, prior_seed)
        if key not in self.goals:
            self.goals[key] = self.encoder.encode([prompt], seed=prior_seed)[prompt]
        return self.goals[key]

    # ---- versions of the weights ----

    def _write_version(self) -> None:
        """The weights that play the present iteration, where the workers find them."""
        path = self.settings.run_dir / f"playing_{self.iteration:06d}.safetensors"
        save_weights(plain_policy(self.policy), path)
        for other in self.settings.run_dir.glob("playing_*.safetensors"):
            if other != path:
                remove(other, ours=_PLAYING)
        goal = tuned_goal(self.policy)
        sha256 = version = sha256_file(path)
        if goal is not None:  # the whole of it: two goals may begin alike
            tuned = goal.detach().float().cpu().numpy().tobytes()
            version = hashlib.sha256(version.encode() + tuned).hexdigest()
        self.playing = Version(path, sha256, version)

    def _jobs(
        self, episodes: Sequence[EpisodeJob], folder: Path, version: Version, film: bool = False
    ) -> list[RolloutJob]:
        """What is missing of these episodes; rollouts that other weights played are refused."""
        folder.mkdir(parents=True, exist_ok=True)
        tuned = tuned_goal(self.policy)
        jobs = []
        for episode in episodes:
            path = folder / episode.key
            if path.with_suffix(".rollout").exists():
                Rollout.check(path.with_suffix(".rollout"), version.name)
                continue
            goal = self._goal_of(episode.prompt, episode.prior_seed)
            if tuned is not None and folder.name != "keep":
                goal = tuned.detach().float().cpu().numpy()
            jobs.append(RolloutJob(episode, version, goal, path, film))
        return jobs

    def _folder_of(self, iteration: int) -> Path:
        return self.settings.run_dir / "rollouts" / f"{iteration:06d}"

    # ---- playing and learning ----

    def _run(self) -> Result:
        settings, inputs = self.settings, self.inputs
        # Whole paths: the machines of a cluster have other current folders.
        recipe = Recipe(
            model=str(resolve(self.metadata.model)),
            env=inputs.env,
            reward=f"{inputs.reward.path}:{inputs.reward.name}",
            cond_scale=self.metadata.cond_scale,
            temperature=self.metadata.temperature,
            steps=inputs.steps,
            tasks=inputs.keep_tasks,
            device=settings.device,
            keep_frames=inputs.keep_frames,
            mineclip=(str(resolve(self.metadata.mineclip)), self.metadata.mineclip_config),
            likeness=self._likeness(),
            open_game=self._open_game,
        )
        config = ExecutorConfig(
            workers=settings.workers,
            threads=environment_threads(settings.workers),
            timeout_s=inputs.timeout_s,
            max_restarts=settings.max_restarts,
            ray=settings.ray,
            gpus=gpu_share(settings),
        )
        first = self._next()
        if first:
            if self.folder.resume_point is None:
                self._save()  # from here on there are episodes, which other settings may not go on with
            # The machines of a Ray cluster have their own processors.
            renderer = contextlib.nullcontext() if settings.ray else shared_renderer(settings.workers)
            with renderer, progress(desc=message("bar episodes"), unit="ep") as self.bar:
                run_jobs(first, recipe, self._played, config, more=self._next)
        return self._finish()

    def _likeness(self) -> dict[str, Goal]:
        wanted = self.inputs.reward.likeness
        return {prompt: self._goal_of(prompt, 0) for prompt in (wanted.to, *wanted.against)} if wanted else {}

    def _played(self, job: RolloutJob, result: None) -> None:
        self.bar.update(1)

    def _next(self) -> list[RolloutJob]:
        """The episodes to play next, after whatever can be learned from those that are there; none when the run is at its end."""
        inputs = self.inputs
        if not self._kept_is_played:
            folder = self.settings.run_dir / "keep"
            start = Version(inputs.weights, inputs.weights_sha256, inputs.weights_sha256)
            keep = self._jobs(inputs.keep_plan, folder, start)
            if keep:
                return keep
            self._kept_is_played = True
        while self.iteration < self.settings.iterations and not self._hopeless():
            missing = self._jobs(
                inputs.plan(self.iteration),
                self._folder_of(self.iteration),
                self.playing,
                is_filmed(self.settings, self.iteration),
            )
            if missing:
                return missing
            self._learn()
        return []

    def _hopeless(self) -> bool:
        return self.silent >= min(NO_SIGNAL_AFTER, self.settings.iterations)

    @functools.cached_property
    def learner(self) -> Learner:
        """Made once the kept episodes are there."""
        folder, kept, metadata = self.settings.run_dir / "keep", self.kept, self.metadata
        if self.inputs.keep_tasks:
            played = [Rollout.load(folder / f"{job.key}.rollout") for job in self.inputs.keep_plan]
            latents = latents_of(self.reference, played, metadata.cond_scale)
            kept = PlayedPrompts(played, self.settings.seed, latents)
        return Learner(
            self.policy,
            self.reference,
            self.optimizer,
            self.settings,
            kept,
            metadata.cond_scale,
            metadata.temperature,
            self.head,
        )

    def _learn(self) -> None:
        """One iteration's learning, its figures, and the point from which the next one goes on."""
        settings, iteration, began = self.settings, self.iteration, time.perf_counter()
        folder = self._folder_of(iteration)
        rollouts = [Rollout.load(folder / f"{job.key}.rollout") for job in self.inputs.plan(iteration)]
        film_iteration(settings.run_dir, folder, rollouts, iteration + 1, self.inputs.prompt)
        figures = figures_of(rollouts)
        judged = self.learner.judge(rollouts, iteration)
        self._check_gap(judged.log_p_gap)
        self._count_silence(judged, any(rollout.success for rollout in rollouts))
        learned: dict[str, float] = {}
        if not judged.silence:
            learned = self.learner.learn(judged, iteration, settings.kl_coef * settings.kl_decay**iteration)
            learned |= {
                "explained_variance": judged.explained,
                "entropy_buttons": judged.entropy_buttons,
                "entropy_camera": judged.entropy_camera,
                "log_p_gap": judged.log_p_gap,
            }
            learned |= {f"keep_kl/{tag_of(prompt)}": moved for prompt, moved in self.learner.kept_kl().items()}
        speed = speed_of(rollouts, settings.workers)
        seconds = time.perf_counter() - began
        share = seconds / (seconds + speed["seconds_playing"])
        figures |= learned | speed | {"seconds_learning": seconds, "share_learning": share}
        self.folder.log(iteration + 1, **{f"rl/{name}": value for name, value in figures.items()})
        self.iteration += 1
        self._write_version()
        self._save()
        write_rl_report(settings.run_dir)
        self._forget()
        print(
            translated(
                f"\niteration {self.iteration} of {settings.iterations}: {100 * figures['success']:.0f} % succeeded, return {figures['return']:.2f}"
            )
            + (
                translated(f", moved {learned['kl_update']:.4f} nats a step")
                if learned
                else translated(", nothing to learn from")
            ),
            flush=True,
        )

    def _check_gap(self, gap: float) -> None:
        most = LARGEST_LOG_P_GAP * (1 + 2 * self.metadata.cond_scale)
        if gap > most:
            raise UserError(
                "The learner finds other probabilities than those with which these episodes were played.",
                where=display(self._folder_of(self.iteration)),
                expected=f"log p differs by at most {most:g}",
                got=f"{gap:.3g}",
                todo="run every machine with the same version of the project, then remove the iteration's folder; the same command plays it again",
            )

    def _count_silence(self, judged: Judged, succeeds: bool) -> None:
        """Count iterations in a row without anything to learn; what was learned and still succeeds may be at its ceiling."""
        if not judged.silence:
            self.silent, self.taught = 0, True
        elif self.taught and succeeds:
            self.silent = 0
        else:
            self.silent, self.silence = self.silent + 1, judged.silence

    def _save(self) -> None:
        self.folder.save(
            {
                "iteration": self.iteration,
                "silent": self.silent,
                "silence": self.silence,
                "taught": self.taught,
                "trained": {
                    name: tensor.detach().cpu().clone() for name, tensor in trained_parameters(self.policy).items()
                },
                "optimizer": optimizer_state_dict(self.policy, self.optimizer),
                **({"head": self.head.state_dict()} if self.head else {}),
            }
        )

    def _forget(self) -> None:
        """Rollouts of earlier iterations go; their traces stay."""
        for number in range(self.iteration - KEPT_ITERATIONS):
            for path in self._folder_of(number).glob("*.rollout"):
                remove(path, ours=_ROLLOUT)

    def _nothing_learned(self) -> UserError:
        """Why the run stops, and what to do."""
        settings = self.settings
        played, last = self.iteration * settings.episodes, self.silent * settings.episodes
        where, got = display(settings.run_dir), f"{played} episodes of {self.inputs.prompt!r}"
        if self.silence == NO_SUCCESS:
            return UserError(
                f"None of the last {last} episodes succeeded, and method clone imitates successes: there is nothing to learn from.",
                where=where,
                got=got,
                todo="--clone_beta 1 weighs episodes by what they earn, METHOD=ppo learns from progress, or fine-tune on demonstrations first (3_train_finetune_template.sh)",
            )
        if self.silence == TIED:
            return UserError(
                f"In the last {last} episodes all from the same start earned the same, and they are compared with one another: there is nothing to learn from.",
                where=where,
                got=got,
                todo="a larger GROUP, METHOD=ppo without --centre group, or a reward that pays for progress",
            )
        return UserError(
            f"No success and no difference of reward in the last {last} episodes: there is nothing to learn from.",
            where=where,
            got=got,
            todo="fine-tune on demonstrations first (3_train_finetune_template.sh), or give a reward that pays for progress",
        )

    def _finish(self) -> Result:
        out, settings = self.training.out_path, self.settings
        if self._hopeless():
            raise self._nothing_learned()
        hashes = {"in_weights": self.inputs.weights_sha256}
        metadata = self.metadata.updated(run=display(settings.run_dir), hashes=hashes)
        facts: dict[str, Any] = {"reward": settings.reward, "method": settings.method, "iterations": self.iteration}
        # The run's folder knows the output before it is there, so that a kill in between leaves nothing that the run would refuse.
        final = settings.run_dir / out.name
        write_output(
            self.policy, final, dataclasses.replace(self.training, fixed_prompt=self.inputs.prompt), metadata, facts
        )
        write_json(settings.run_dir / RESULT_FILE, {"out_sha256": sha256_file(final), **facts})
        ours = sidecar_files(final, self.training)
        for made, target in zip(reversed(ours), reversed(sidecar_files(out, self.training))):
            with atomic_path(target) as part:
                shutil.copyfile(made, part)
        for made in ours:
            remove(made, ours=re.compile(re.escape(made.name)))
        write_rl_report(settings.run_dir)
        return Result(out, settings.run_dir, self.iteration)


def train_rl(settings: RlSettings, open_game: Any = None) -> Result:
    """Fine-tune by reinforcement learning; go on where an earlier run with the same settings stopped.

    Raises:
        UserError: settings, files or rewards that cannot work; nothing to learn from; workers that died too often.
    """
    return Run(settings, open_game).run()
