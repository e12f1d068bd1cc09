"""The settings of reinforcement learning: one frozen dataclass, which is the command line too (a field's docstring is its help)."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar, Literal

from steve1.core.checkpoint_metadata import GOAL_SUFFIX
from steve1.core.errors import UserError
from steve1.core.messages import translated
from steve1.core.paths import output_path, resolve
from steve1.training.config import KEEPS_REPLAY, LORA_TARGETS, TrainSettings, changed_settings, keeps_by_default
from steve1.training.finetune_modes import MODES, FinetuneModeName

# These change a run's speed or messages, but not its weights.
RESUME_IGNORED = frozenset(
    {
        "sampling_dir",
        "cache_dir",
        "workers",
        "ray",
        "threads",
        "device",
        "overwrite",
        "dry_run",
        "timeout_s",
        "max_restarts",
        "films_every",
        "known_results",  # what it chooses is recorded
    }
)


@dataclasses.dataclass(frozen=True)
class RlSettings:
    """Fine-tune a policy by what it earns: it plays, a reward judges, what went better than expected becomes more probable."""

    GROUPS: ClassVar = {
        "options": "in_weights out_weights reward prompt method group_form finetune_mode",
        "playing": "iterations places group steps env films_every",
        "learning": """learning_rate epochs minibatches clip clip_high gamma lam value centre target_kl max_grad_norm optimizer
            lora_rank lora_alpha lora_targets clone_beta preference_beta placebo seed""",
        "keeping old skills": "keep replay keep_prompts known_results keep_episodes keep_coef kl_coef kl_decay sampling_dir cache_dir",
        "saving": "checkpoint_dir overwrite dry_run",
        "machine": "workers ray threads device timeout_s max_restarts",
    }

    in_weights: str = "data/mini/mini.weights"
    """Weights that play already (IN_WEIGHTS)."""
    out_weights: str = "data/weights/steve1/mini_sky_rl.weights"
    """Where the final weights go; its name also names the run's folder (OUT_WEIGHTS)."""
    reward: str = "look_at_sky"
    """A name of steve1/rl/rewards/<game>.yaml, or a YAML file (REWARD); check it first with `python -m steve1 check_reward`."""
    prompt: str = ""
    """What the policy is asked for; empty: the prompt of the reward's task (PROMPT)."""
    method: Literal["ppo", "group", "clone", "preference"] = "ppo"
    """ppo: clipped policy gradient, advantages by a linear value function; group: the same against the other episodes from the same start; clone: imitate the successes; preference: tune the goal by pairs of a better and a worse episode (METHOD)."""
    group_form: Literal["steps", "episode"] = "steps"
    """group. steps: each step counts by what comes after it, against the others at the same step; episode: all steps of an episode count by its whole return, against the others' (GROUP_FORM)."""
    finetune_mode: FinetuneModeName = "frozen_cnn"
    """What is trained (FINETUNE_MODE); with all but the modes that train the CNN, frames are encoded while playing and never again."""

    iterations: int = 12
    """Rounds of playing and learning (ITERATIONS)."""
    places: int = 4
    """Start states of an iteration (PLACES)."""
    group: int = 8
    """Episodes from each start state, which differ in the policy's draws (GROUP)."""
    steps: int = 0
    """Steps of an episode, 20 a second; 0: the reward's own (STEPS)."""
    env: str = ""
    """The game; empty: the one that the weights were made for."""
    films_every: int = 6
    """Iterations from one to the next in which the best-paid and the worst-paid episode are filmed, beside the last; 0: none."""

    learning_rate: float = 3e-5
    """Learning rate: 3e-5 for the mini weights, 2e-5 for STEVE-1's; ten times as much for LoRA, 1e-2 for a goal (LEARNING_RATE)."""
    epochs: int = 2
    """Passes over an iteration's episodes (EPOCHS)."""
    minibatches: int = 4
    """Optimizer steps of a pass; with methods group and preference at most PLACES, as all episodes of a start state stay together (MINIBATCHES)."""
    clip: float = 0.2
    """An action whose probability has changed by more than this share stops counting (CLIP)."""
    clip_high: float = 0.0
    """The same for rising probabilities; 0: as clip (CLIP_HIGH)."""
    gamma: float = 0.999
    """Discount of a step (GAMMA)."""
    lam: float = 0.97
    """Weight of longer returns in advantages (LAMBDA); rules notice success some steps late, so not below 0.95."""
    value: Literal["linear", "head", "none"] = "linear"
    """What return to expect. linear: a linear function of the policy's latent and the time, solved in closed form; head: the policy's own value head, reset to zero and trained beside; none: nothing (VALUE)."""
    centre: Literal["none", "group"] = "none"
    """group: subtract the group's mean at the same step from advantages, where the value explains little."""
    target_kl: float = 0.02
    """An iteration's learning ends after the optimizer step by which the policy has moved by 1.5 times this on that step's episodes, in nats a step (TARGET_KL)."""
    max_grad_norm: float = 5.0
    """Gradients are clipped to this norm; 0: never (MAX_GRAD_NORM)."""
    optimizer: Literal["adamw", "factored"] = "adamw"
    """As in training."""
    lora_rank: int = 16
    """As in training."""
    lora_alpha: float = 32.0
    """As in training."""
    lora_targets: str = "attention,mlp,action_heads"
    """As in training."""
    clone_beta: float = 0.0
    """clone: 0 imitates successes alone; above 0 weights every episode by exp((return - the iteration's mean) / this), at most 20."""
    preference_beta: float = 0.1
    """preference: how far the goal may move for each preferred pair."""
    placebo: bool = False
    """Deal each iteration's rewards out among its episodes at random: a control that must not improve."""
    seed: int = 0
    """Places, draws and minibatches follow from it (SEED)."""

    keep: Literal["auto", "none", "replay", "self", "kl", "both"] = "auto"
    """How to keep old skills (KEEP). self: the starting policy plays --keep_prompts once, and every update stays close to its actions there; replay: every update also imitates old episodes of REPLAY; kl: it stays close to the starting policy's actions on those; both: replay and kl together; auto: kl if REPLAY is a replay pack, replay if it is a sampling, else self."""
    replay: str = ""
    """Old episodes: a replay pack, or the name of a sampling (REPLAY)."""
    kl_coef: float = 0.1
    """Pull towards the starting policy's actions on what is visited: this times KL(start || trained) in nats a step (KL_COEF)."""
    kl_decay: float = 1.0
    """Multiplies kl_coef after each iteration (KL_DECAY)."""
    keep_prompts: str = "auto"
    """Prompts on which the policy is to stay as it was, separated by semicolons; auto: those of the other tasks at which the weights are known to succeed in at least half of the episodes (--known_results), else of what their .json says they were trained on, else of the suite's first four of level 1; and no goal; empty: none (KEEP_PROMPTS)."""
    known_results: str = "data/mini/results"
    """Folder of an earlier evaluation, for --keep_prompts auto; results of other weights than these, or those they were fine-tuned from, are not used."""
    keep_episodes: int = 6
    """Episodes of each that the starting policy plays once (KEEP_EPISODES)."""
    keep_coef: float = 1.0
    """Weight of what keeps old skills in each update (KEEP_COEF)."""
    sampling_dir: str = TrainSettings.sampling_dir
    """Folder of the sampling lists."""
    cache_dir: str = TrainSettings.cache_dir
    """Folder of the feature caches, for a sampling in REPLAY."""

    checkpoint_dir: str = "data/finetuning_checkpoint"
    """The run's folder is made in here, named like the output weights (CHECKPOINT_DIR)."""
    overwrite: bool = False
    """Delete an earlier run of this name and its output weights, and start again."""
    dry_run: bool = False
    """Say how many episodes, frames, minutes and how much disk it takes, and stop."""

    workers: int = 2
    """Games at a time (WORKERS)."""
    ray: bool = False
    """Spread them over a Ray cluster (RAY)."""
    threads: int = 0
    """CPU threads for learning; 0: torch's own choice."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    timeout_s: float = 0.0
    """Longest time for one episode, in seconds, before its worker is ended and replaced; 0: 300 and 3 for each step, at least 900."""
    max_restarts: int = 10
    """Workers that may die or hang before the run stops."""

    def check(self) -> None:
        """Raise one UserError with every value that cannot be."""
        at_least = {"iterations": 1, "places": 1, "group": 1, "epochs": 1, "minibatches": 1, "keep_episodes": 0, "steps": 0, "films_every": 0, "kl_coef": 0, "keep_coef": 0, "clip_high": 0, "max_grad_norm": 0, "clone_beta": 0, "lora_rank": 1, "workers": int(self.ray), "threads": 0, "timeout_s": 0, "max_restarts": 0}  # fmt: skip
        faults = [
            f"{name} must be at least {low}, got {getattr(self, name)}"
            for name, low in at_least.items()
            if not getattr(self, name) >= low  # NaN is neither
        ]
        faults += [
            f"{name} must be finite, got {getattr(self, name)}" for name in at_least if getattr(self, name) == math.inf
        ]
        shares = {"gamma": (0, 1), "lam": (0, 1), "clip": (0, 1), "kl_decay": (0, 1)}
        faults += [
            f"{name} is between {low} and {high}, got {getattr(self, name)}"
            for name, (low, high) in shares.items()
            if not low <= getattr(self, name) <= high
        ]
        faults += [
            f"{name} must be a number above 0, got {getattr(self, name)}"
            for name in ("learning_rate", "target_kl", "preference_beta", "lora_alpha")
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name)))
        ]
        if self.steps and self.steps < 16:
            faults.append(f"steps must be 0 or at least 16, got {self.steps}")
        if self.compares and self.group < 2:
            faults.append(
                f"method {self.method} compares episodes from the same start: set group to at least 2, got {self.group}"
            )
        if self.method == "ppo" and self.centre == "group" and self.group < 2:
            faults.append(
                f"centre group subtracts the mean of the episodes from the same start: set group to at least 2, got {self.group}"
            )
        if self.group_form == "episode" and self.method != "group":
            faults.append(f"group_form episode is a form of method group, got method {self.method}")
        targets = set(self.training("").lora_target_names)
        if not targets or not targets <= set(LORA_TARGETS):
            faults.append(f"lora_targets are some of {','.join(LORA_TARGETS)}, got {self.lora_targets!r}")
        if self.compares and self.minibatches > self.places:
            faults.append(
                f"method {self.method} keeps the episodes of a start state in one minibatch: set minibatches (MINIBATCHES) to at most places ({self.places}), got {self.minibatches}"
            )
        if self.method == "preference" and self.finetune_mode != "goal":
            faults.append(f"method preference tunes a goal: set FINETUNE_MODE=goal, got {self.finetune_mode}")
        if self.method == "ppo" and self.value == "none" and self.centre == "none":
            faults.append("method ppo without a value function needs centre group (METHOD=group is the plain form)")
        if self.keep in KEEPS_REPLAY and not self.replay:
            faults.append(f"keep {self.keep} needs old episodes: set REPLAY to a replay pack or the name of a sampling")
        if self.keep in ("none", "self") and self.replay:
            faults.append(
                f"keep {self.keep} leaves out old episodes, but REPLAY names some ({self.replay}): set KEEP=replay, KEEP=kl or KEEP=both"
            )
        if self.replay and self.finetune_mode == "goal":
            faults.append("finetune_mode goal changes no weights, so old skills cannot be lost: leave REPLAY out")
        if self.in_weights.endswith(".goal.json"):
            faults.append(f"in_weights must be weights, got the goal file {self.in_weights}")
        if resolve(self.in_weights) == self.training("").out_path:
            faults.append(f"out_weights would replace in_weights ({self.in_weights}): choose another OUT_WEIGHTS")
        elif self.overwrite and self.training("").deletes(self.in_weights):
            faults.append(
                f"overwrite would delete in_weights ({self.in_weights}), which an earlier run of this name wrote: choose another OUT_WEIGHTS, or copy them to another name first"
            )
        mode = MODES.get(self.finetune_mode)
        endings = (".weights", ".safetensors", *([GOAL_SUFFIX] if mode is not None and mode.adds == "goal" else []))
        if not Path(self.out_weights).name.endswith(endings):
            faults.append(f"out_weights must end in {' or '.join(endings)}, got {self.out_weights!r}")
        if faults:
            listed = "".join(f"\n  {number}. {text}" for number, text in enumerate(map(translated, faults), 1))
            raise UserError(f"{len(faults)} of these settings cannot work:{listed}")

    @property
    def compares(self) -> bool:
        """Whether the method compares episodes from the same start state."""
        return self.method in ("group", "preference")

    @property
    def episodes(self) -> int:
        """Episodes of an iteration."""
        return self.places * self.group

    @property
    def keeping(self) -> Literal["none", "replay", "self", "kl", "both"]:
        """`keep`, decided; none where no weight may change, or where nothing would be kept."""
        if self.finetune_mode == "goal" or self.keep_coef == 0:
            return "none"
        chosen = (keeps_by_default(self.replay) if self.replay else "self") if self.keep == "auto" else self.keep
        return "none" if chosen == "self" and not (self.keep_prompts and self.keep_episodes) else chosen

    @property
    def name(self) -> str:
        """The run's name: that of the output weights, without folder and ending."""
        return self.training("").name

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return output_path(self.checkpoint_dir) / self.name

    def training(self, model: str) -> TrainSettings:
        """What training's parts (fine-tuning modes, optimizer, outputs) need of these settings."""
        return TrainSettings(
            in_model=model,
            in_weights=self.in_weights,
            out_weights=self.out_weights,
            checkpoint_dir=self.checkpoint_dir,
            finetune_mode=self.finetune_mode,
            lora_rank=self.lora_rank,
            lora_alpha=self.lora_alpha,
            lora_targets=self.lora_targets,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            max_grad_norm=self.max_grad_norm,
            seed=self.seed,
            weight_decay=0.0,
            replay=self.replay,
            sampling_dir=self.sampling_dir,
            cache_dir=self.cache_dir,
        )

    def differences(self, earlier: dict[str, Any]) -> list[str]:
        """The settings of an earlier run that would lead to other weights than these, as sentences."""
        return changed_settings(self, earlier, RESUME_IGNORED)
