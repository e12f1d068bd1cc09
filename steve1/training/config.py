"""The settings of a training run: one frozen dataclass, which is the command line too (a field's docstring is its help).

Fields are named like the variables of `3_train_finetune_template.sh`; `checks.py` checks them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from steve1.core.checkpoint_metadata import GOAL_SUFFIX, REPLAY_SUFFIX
from steve1.core.options import Option
from steve1.core.paths import output_path, resolve
from steve1.training.finetune_modes import MODES, FinetuneMode, FinetuneModeName, modes_help

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# These change a run's speed, messages or how often it validates, but neither its weights nor which are the best; or they name
# files and a precision, whose content and meaning are compared instead.
RESUME_IGNORED = frozenset(
    """
    in_model in_weights sampling_name sampling_dir train_list val_list retention_sampling retention_list fixed_goal_file
    checkpoint_dir precision max_skipped_steps num_workers threads frames_at_once log log_every val_freq save_every rollout_every
    rollout_prompts rollout_steps keep_checkpoints patience compile cache_dir activation_checkpointing device force_resume
    overwrite lr_find lr_find_steps lr_find_from lr_find_to
    """.split()  # noqa: SIM905  (a word list; quoted it would be forty lines)
)

# Names of settings and LoRA targets in run folders of earlier versions.
OLD_SETTINGS = {
    "train_parts": "finetune_mode",
    "turn_weight": "turn_loss_weight",
    "step_weights": "keep_checkpoints",
    "max_bad_steps": "max_skipped_steps",
    "recompute_cnn": "activation_checkpointing",
    "resume_anyway": "force_resume",
}
OLD_LORA_TARGETS = {"heads": "action_heads", "last": "lastlayer"}
LORA_TARGETS = ("attention", "mlp", "action_heads", "goal", "lastlayer")
KEEPS_REPLAY = ("replay", "kl", "both")
"""The values of `keep` that are about the old episodes of `replay`."""


def keeps_by_default(replay: str) -> Literal["replay", "kl"]:
    """What is done with the old episodes of a pack, or of a sampling.

    `research.measure_methods` found kl ahead with a pack. With pictures kl costs another pass through the image encoder, and is not measured.
    """
    return "kl" if replay.endswith(REPLAY_SUFFIX) else "replay"


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Everything that a training run depends on."""

    GROUPS: ClassVar = {
        "options": """in_model in_weights out_weights sampling_name finetune_mode batch_size learning_rate total_frames T trunc_t
            device overwrite""",
        "data": "sampling_dir train_list val_list jitter first_frame",
        "goals": "min_btwn_goals max_btwn_goals p_uncond goal_switch fixed_prompt fixed_prompt_by fixed_goal_file",
        "what is trained": "from_vpt from_scratch lora_rank lora_alpha lora_targets",
        "keeping old skills": "keep replay replay_share kl_coef kl_frames l2sp_coef ema_decay retention_sampling retention_list best_by",
        "optimisation": """gradient_accum_steps warmup_frames weight_decay max_grad_norm optimizer turn_loss_weight skip_loss_above skip_norm_above max_skipped_steps seed""",
        "validation": """val_freq val_windows patience rollout_every rollout_prompts
            rollout_steps""",
        "saving": "save_every keep_checkpoints checkpoint_dir log_every log force_resume",
        "machine": "num_workers threads frames_at_once precision compile activation_checkpointing feature_cache cache_dtype cache_dir",
        "learning-rate finder": "lr_find lr_find_steps lr_find_from lr_find_to",
    }

    in_model: str = "data/weights/vpt/2x.model"
    """The network's .model file (IN_MODEL)."""
    in_weights: str = "data/weights/steve1/steve1.weights"
    """Weights to start from; "none": random initialisation (IN_WEIGHTS)."""
    out_weights: str = "data/weights/steve1/steve1_finetuned.weights"
    """Path of the final weights; the run's folder gets the same name (OUT_WEIGHTS)."""
    from_vpt: bool = False
    """The starting weights are VPT's; they have no goal layer, so it starts at zero."""
    from_scratch: bool = False
    """Start from random weights (with IN_WEIGHTS=none)."""

    sampling_name: str = "finetune_task"
    """Sampling to train on: <sampling_dir>/<name>_train.txt and _val.txt (SAMPLING_NAME)."""
    sampling_dir: str = "data/samplings"
    """Folder of the sampling lists."""
    train_list: str = ""
    """List of training episodes, instead of the one --sampling_name points to."""
    val_list: str = ""
    """List of validation episodes, instead of the one --sampling_name points to."""

    finetune_mode: Annotated[FinetuneModeName, Option(help=modes_help())] = "all"
    lora_rank: int = 16
    """LoRA rank."""
    lora_alpha: float = 32.0
    """LoRA updates are scaled by lora_alpha / lora_rank."""
    lora_targets: str = "attention,mlp,action_heads"
    """Layers that get LoRA, separated by commas: attention, mlp, action_heads, goal, lastlayer (the layer before the heads)."""
    fixed_prompt: str = ""
    """Use the goal of this prompt for every frame instead of hindsight goals (FIXED_PROMPT); with --finetune_mode goal: the goal to start from."""
    fixed_prompt_by: Literal["prior", "text"] = "prior"
    """How the prompt becomes a goal: through the prior, or directly as MineCLIP's text embedding (FIXED_PROMPT_BY)."""
    fixed_goal_file: str = ""
    """Like --fixed_prompt, with the goal from a .goal.json file."""

    keep: Literal["auto", "none", "replay", "self", "kl", "both"] = "auto"
    """How to keep old skills (KEEP). replay: also imitate the old episodes of REPLAY; self: the same with episodes that the starting policy played itself, by default the sampling "self"; kl: on the old episodes, stay close to the starting policy's actions; both: replay and kl together; auto: kl if REPLAY is a replay pack, replay if it is a sampling, else none."""
    replay: str = ""
    """Old episodes: a replay pack, or the name of a sampling (REPLAY)."""
    replay_share: float = 0.5
    """Share of old episodes in the training windows (REPLAY_SHARE)."""
    kl_coef: float = 0.0
    """Penalty for moving away from the starting policy's actions: this times KL(start || trained), in nats per frame; with --keep kl or both the default is 1."""
    kl_frames: Literal["all", "replay"] = "all"
    """Frames that the KL penalty applies to: all, or only those of REPLAY (as with --keep kl and both)."""
    l2sp_coef: float = 0.0
    """L2-SP: penalty on the squared distance from the starting weights, times half of this."""
    ema_decay: float = 0.0
    """Also keep an exponential moving average of the weights, saved as <name>_ema; 0.999 averages over about 1,000 steps. It doubles validation time. 0: off."""

    batch_size: int = 8
    """Windows per batch and process (BATCH_SIZE)."""
    gradient_accum_steps: int = 1
    """Batches accumulated per optimizer step; effective batch = batch_size × this."""
    learning_rate: float = 1e-5
    """Peak learning rate (LEARNING_RATE)."""
    total_frames: int = 10_000_000
    """Frames to train on, over all processes (TOTAL_FRAMES)."""
    warmup_frames: int = 1_000_000
    """Frames of linear warm-up; then the learning rate decays to zero as a cosine."""
    weight_decay: float = 0.039
    """AdamW weight decay, on matrices only (not on norms, biases or the attention's relative biases)."""
    max_grad_norm: float = 5.0
    """Clip gradients to this norm, in the published unit (loss summed over TRUNC_T frames). 0: no clipping."""
    T: int = 320
    """Frames per window."""
    trunc_t: int = 64
    """Frames that gradients flow back through; one optimizer step each (TRUNC_T)."""
    min_btwn_goals: int = 15
    """Minimum frames between two hindsight goals."""
    max_btwn_goals: int = 100
    """Maximum frames between two hindsight goals (exclusive)."""
    p_uncond: float = 0.1
    """Share of windows trained without a goal, which guidance needs; with 0 the weights are played without guidance."""
    turn_loss_weight: float = 1.0
    """Weight in the loss of frames that turn the view by 3 degrees or more, which are rare in most recordings."""
    goal_switch: Literal["exact", "legacy"] = "exact"
    """Switch to the next goal at its frame (exact), or one frame late as in the published code (legacy)."""
    jitter: bool = False
    """Shift each window by up to T/2 frames, differently in every epoch (for small datasets)."""
    first_frame: int = 15
    """First frame of an episode's first window: 15 as published, 0 to also train on the first frames."""

    val_freq: int = 1000
    """Optimizer steps between validations; 0: never (no validation list needed)."""
    val_windows: int = 0
    """Validate on this many windows, spread over the list; 0: all."""
    retention_sampling: str = ""
    """Also validate old skills, on <sampling_dir>/<name>_val.txt (RETENTION_SAMPLING)."""
    retention_list: str = ""
    """Path of the list, instead of --retention_sampling."""
    best_by: Literal["task", "task+retention"] = "task"
    """Choose the best weights by validation loss, or by its sum with the retention loss (BEST_BY)."""
    patience: int = 0
    """Stop after this many validations without improvement; 0: never."""
    save_every: int = 1000
    """Optimizer steps between checkpoints."""
    keep_checkpoints: bool = True
    """Keep <name>_step<N>.weights of each checkpoint, not only the latest and the best."""
    rollout_every: int = 0
    """Play checkpoints in a separate process, at least this many optimizer steps apart, and show the videos (ROLLOUT_EVERY). 0: never."""
    rollout_prompts: str = ""
    """Prompts to play, separated by semicolons; default: the goals that validation episodes end with."""
    rollout_steps: int = 200
    """Steps per rollout, 20 per second."""
    checkpoint_dir: str = "data/finetuning_checkpoint"
    """Folder that holds the run's folder."""
    log_every: int = 100
    """Optimizer steps between console lines."""
    log: Literal["none", "wandb", "trackio"] = "none"
    """Send the curves to an experiment tracker too; TensorBoard's stay."""
    max_skipped_steps: int = 5
    """Stop after this many skipped steps in a row (NaN, infinite, or caught by --skip_loss_above or --skip_norm_above)."""
    skip_loss_above: float = 20.0
    """Skip a step whose loss is this many standard deviations above its running mean, from step 50 on. 0: never."""
    skip_norm_above: float = 20.0
    """Skip a step whose gradient norm is this many times its running mean, from step 50 on. 0: never."""

    lr_find: bool = False
    """Try rising learning rates, write a plot and a suggestion, and stop without training."""
    lr_find_steps: int = 100
    """Steps of the learning-rate finder."""
    lr_find_from: float = 1e-7
    """Lowest learning rate to try."""
    lr_find_to: float = 0.1
    """Highest learning rate to try; stops earlier if the loss diverges."""

    num_workers: int | Literal["auto"] = "auto"
    """Processes that load batches (NUM_WORKERS). auto: 1, for pictures on a GPU 2 where there are cores for them; 0: load in the training process. Batches are the same either way."""
    threads: int | Literal["auto"] = "auto"
    """CPU threads for the network (THREADS). auto: chosen by measuring before the first step; 0: PyTorch's default."""
    frames_at_once: int | Literal["auto"] = "auto"
    """Frames that go through the convolutions together on a CPU (FRAMES_AT_ONCE). auto: chosen by measuring. Results are the same within rounding."""
    seed: int = 0
    """Seed for the order of windows, hindsight goals and initial weights."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:N or mps."""
    precision: Literal["auto", "bf16", "tf32", "fp32"] = "auto"
    """bf16 autocast or float32; auto: bf16 on GPUs and CPUs that have it, else fp32. tf32: float32 whose products CUDA rounds to 10 bits (compute capability 8.0 or higher)."""
    compile: bool = False
    """Use torch.compile: slow to start, then faster on a GPU."""
    feature_cache: bool = False
    """Compute the frozen CNN's features once, keep them on disk, and train the rest of the network on them: many times faster."""
    cache_dtype: Literal["float16", "float32"] = "float16"
    """Precision of cached features: float16 (512 bytes per frame) or float32 (exact, 1,024 bytes)."""
    cache_dir: str = "data/feature_cache"
    """Folder of the feature caches; runs with the same CNN weights share one."""
    activation_checkpointing: Literal["none", "light", "full"] = "none"
    """Save memory by computing activations of the convolutions again in the backward pass, with the same result (ACTIVATION_CHECKPOINTING). GiB of tensors and arithmetic of full training at 2x in bf16, BATCH_SIZE 8, TRUNC_T 64: none 21.3, 100 %; light 11.7, 108 %: the convolutions before the pools, and the normalised inputs; full 5.0, 132 %: all convolutions. No effect where the CNN is frozen."""
    optimizer: Literal["adamw", "factored"] = "adamw"
    """adamw, or factored: saves memory, with 2 bytes of state per weight instead of 8 (factored second moments, first moments in bf16)."""

    force_resume: bool = False
    """Resume a run even if its settings have changed."""
    overwrite: bool = False
    """Delete an earlier run of this name with its output weights, and start again."""

    # ---- what follows from the above ----

    @property
    def mode(self) -> FinetuneMode:
        return MODES[self.finetune_mode]

    @property
    def lora_target_names(self) -> list[str]:
        return [name.strip() for name in self.lora_targets.split(",") if name.strip()]

    @property
    def name(self) -> str:
        """The run's name: that of the output weights, without folder and ending."""
        name = Path(self.out_weights).name
        return name.removesuffix(GOAL_SUFFIX) if name.endswith(GOAL_SUFFIX) else Path(name).stem

    @property
    def suffix(self) -> str:
        """Ending of the files that the run writes: that of the output weights, or of a goal file."""
        return Path(self.out_weights).suffix if self.mode.changes_weights else GOAL_SUFFIX

    @property
    def out_path(self) -> Path:
        """Where the final weights (or the tuned goal) go: as given from the current folder or the project's root."""
        return output_path(self.out_weights).with_name(self.name + self.suffix)

    def beside(self, kind: str) -> Path:
        """Where another version of the output goes: <name>_<kind>, beside the final one."""
        return self.out_path.with_name(f"{self.name}_{kind}{self.suffix}")

    @property
    def run_dir(self) -> Path:
        """Folder of the run: checkpoints, TensorBoard files, settings.json."""
        return output_path(self.checkpoint_dir) / self.name

    @property
    def goal_path(self) -> Path | None:
        """Where the goal goes that weights were trained on and no prompt gives in play: the text embedding of `fixed_prompt`."""
        given = self.fixed_prompt and self.fixed_prompt_by == "text" and self.mode.changes_weights
        return self.out_path.with_name(self.name + GOAL_SUFFIX) if given else None

    def deletes(self, file: str) -> bool:
        """Whether `overwrite` deletes this file, as one that an earlier run of this name wrote."""
        path, outputs = resolve(file).resolve(), (self.out_path, self.beside("best"), self.beside("ema"))
        return path in [output.resolve() for output in outputs] or path.is_relative_to(self.run_dir.resolve())

    @property
    def starts_empty(self) -> bool:
        """True where no weights are read: the network is initialised."""
        return self.from_scratch or self.in_weights.strip().lower() == "none"

    @property
    def train_path(self) -> Path:
        return resolve(self.train_list or Path(self.sampling_dir) / f"{self.sampling_name}_train.txt")

    @property
    def val_path(self) -> Path | None:
        """The list of validation episodes; None where validation is off, or where there is a training list alone, written by hand."""
        if self.val_freq == 0 or (self.train_list and not self.val_list):
            return None
        path = resolve(self.val_list or Path(self.sampling_dir) / f"{self.sampling_name}_val.txt")
        made = self.train_path.with_name(f"{self.sampling_name}_metadata.json").is_file()
        by_hand = not self.val_list and not made and self.train_path.is_file()
        return None if by_hand and not path.is_file() else path

    @property
    def retention_path(self) -> Path | None:
        """The list of old skills' episodes; None where there is none."""
        if self.val_freq == 0 or not (self.retention_list or self.retention_sampling):
            return None
        return resolve(self.retention_list or Path(self.sampling_dir) / f"{self.retention_sampling}_val.txt")

    @property
    def pulls_on_old(self) -> bool:
        """Whether the policy stays close to its start on old episodes."""
        return self.keeping in ("kl", "both")

    @property
    def keeping(self) -> Literal["none", "replay", "self", "kl", "both"]:
        """`keep`, decided."""
        if self.keep == "auto":
            return keeps_by_default(self.replay) if self.replay else "none"
        return self.keep

    @property
    def replay_source(self) -> str:
        """The pack or the sampling of old episodes; "" without replay."""
        return "" if self.keeping == "none" else self.replay or ("self" if self.keeping == "self" else "")

    @property
    def replay_path(self) -> Path | None:
        """The pack, or the training list of the sampling, of old episodes; None without replay."""
        source = self.replay_source
        if not source:
            return None
        return resolve(source if source.endswith(REPLAY_SUFFIX) else Path(self.sampling_dir) / f"{source}_train.txt")

    @property
    def watches_retention(self) -> bool:
        """Whether old skills are validated: on a retention list, or on old episodes that replay leaves out of training."""
        return self.retention_path is not None or bool(self.val_freq and self.replay_source)

    @property
    def kl_weight(self) -> float:
        """The coefficient of the KL divergence from the starting policy; 0: no such term."""
        return self.kl_coef or float(self.pulls_on_old)

    @property
    def never_without_goal(self) -> bool:
        """True where weights are trained and every window has a goal: the unconditional output stays untrained."""
        fixed = bool(self.fixed_prompt or self.fixed_goal_file)
        return self.mode.changes_weights and (fixed or self.p_uncond == 0)

    def frames_per_step(self, processes: int = 1) -> int:
        """Frames of a full optimizer step: batch_size · trunc_t · gradient_accum_steps · processes."""
        return self.batch_size * self.trunc_t * self.gradient_accum_steps * processes

    def total_steps(self, processes: int = 1) -> int:
        """Optimizer steps of the whole run, until total_frames are seen; the last step of a window has fewer where trunc_t does not divide T."""
        in_step = self.frames_per_step(processes)
        windows, left = divmod(self.total_frames, in_step // self.trunc_t * self.T)
        return windows * math.ceil(self.T / self.trunc_t) + math.ceil(left / in_step)

    # ---- an earlier run's settings ----

    def differences(self, earlier: dict[str, Any]) -> list[str]:
        """The settings of an earlier run that would lead to other weights than these, as sentences."""
        return changed_settings(self, current_names(earlier), RESUME_IGNORED)


def frames_of_steps(steps: int, frames_per_step: int, T: int, trunc_t: int) -> int:
    """Frames of the first `steps` optimizer steps of whole windows.

    Args:
        frames_per_step: of a full step. The last one of a window has fewer where trunc_t does not divide T.
    """
    windows, more = divmod(steps, math.ceil(T / trunc_t))
    return windows * (frames_per_step // trunc_t * T) + more * frames_per_step


def changed_settings(settings: DataclassInstance, earlier: Mapping[str, Any], ignored: Collection[str]) -> list[str]:
    """Settings that are not what they were, as sentences; what was not recorded had its default."""
    then, found = dict(earlier), []
    for field in dataclasses.fields(settings):
        was, now = then.pop(field.name, field.default), getattr(settings, field.name)
        if was != now and field.name not in ignored:
            found.append(f"{field.name}: {was!r} then, {now!r} now")
    return found + [f"{name}: {value!r} then, there is no such setting now" for name, value in then.items()]


def current_names(settings: dict[str, Any]) -> dict[str, Any]:
    """A run's recorded settings under today's names."""
    found = {OLD_SETTINGS.get(name, name): value for name, value in settings.items()}
    if "lora_targets" in found:
        targets = str(found["lora_targets"]).split(",")
        found["lora_targets"] = ",".join(OLD_LORA_TARGETS.get(name.strip(), name.strip()) for name in targets)
    checkpointing = found.get("activation_checkpointing")
    if isinstance(checkpointing, bool):
        found["activation_checkpointing"] = "full" if checkpointing else "none"
    return found
