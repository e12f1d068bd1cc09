"""Room `training`, its settings: one frozen dataclass, named like the variables of `3_train_finetune_template.sh`.

In: what a person chose. Out: the same, checked (every fault in one message, before anything loads), the learning-rate
schedule's numbers, and the names of what differs from the settings of an earlier run.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

from ..core.errors import UserError
from ..core.paths import ROOT, display, resolve

# These change how fast or how chatty a run is, or when it looks at itself, but not the weights that it arrives at;
# or they name files and a precision, whose content and meaning are compared instead.
HARMLESS = (
    "in_model",
    "in_weights",
    "sampling_name",
    "sampling_dir",
    "train_list",
    "val_list",
    "checkpoint_dir",
    "precision",
    "max_bad_steps",
    "num_workers",
    "threads",
    "log_every",
    "val_freq",
    "val_windows",
    "save_every",
    "step_weights",
    "patience",
    "compile",
    "device",
    "resume_anyway",
    "overwrite",
)


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Everything that a training run depends on."""

    in_model: str = "data/weights/vpt/2x.model"
    """Network settings: a .model file (IN_MODEL)."""
    in_weights: str = "data/weights/steve1/steve1.weights"
    """Weights to start from; "none": freshly initialised ones (IN_WEIGHTS)."""
    out_weights: str = "data/weights/steve1/steve1_finetuned.weights"
    """Where the final weights go; its name also names the run's folder (OUT_WEIGHTS)."""
    from_vpt: bool = False
    """The starting weights are VPT's: the goal layer is missing there and starts at zero."""
    from_scratch: bool = False
    """Start from freshly initialised weights (with IN_WEIGHTS=none)."""

    sampling_name: str = "finetune_task"
    """Reads <sampling_dir>/<name>_train.txt and _val.txt (SAMPLING_NAME)."""
    sampling_dir: str = "data/samplings"
    """Folder of the sampling lists."""
    train_list: str = ""
    """A list of training episodes, instead of the one that sampling_name points at."""
    val_list: str = ""
    """A list of validation episodes, instead of the one that sampling_name points at."""

    batch_size: int = 8
    """Windows in a batch, on each process (BATCH_SIZE)."""
    gradient_accum_steps: int = 1
    """Batches whose gradients make one optimizer step; the effective batch is batch_size times this."""
    learning_rate: float = 1e-5
    """Highest learning rate (LEARNING_RATE)."""
    total_frames: int = 10_000_000
    """Frames to train on, all processes together (TOTAL_FRAMES)."""
    warmup_frames: int = 1_000_000
    """Frames over which the rate rises; afterwards it falls as a cosine to zero at total_frames."""
    weight_decay: float = 0.039
    """AdamW's decay, on tensors of two or more dimensions except the attention's relative biases."""
    max_grad_norm: float = 5.0
    """Gradients are clipped to this norm, in the published unit: of a loss summed over TRUNC_T frames. 0: never."""
    T: int = 320
    """Frames in a window."""
    trunc_t: int = 64
    """Frames that gradients flow back over: one optimizer step each, state carried on (TRUNC_T)."""
    min_btwn_goals: int = 15
    """Fewest frames between two hindsight goals."""
    max_btwn_goals: int = 100
    """Most frames between two hindsight goals (exclusive)."""
    p_uncond: float = 0.1
    """Share of windows trained without a goal, which guidance needs when playing."""
    camera_weight: float = 1.0
    """Frames whose action moves the camera count this many times in the loss: short decisive turns are rare in most recordings."""
    goal_switch: Literal["exact", "legacy"] = "exact"
    """When a goal gives way to the next: at its frame, or one frame late as in the published code."""
    jitter: bool = False
    """Move each window by up to T/2 frames within its episode, anew in every epoch (for small datasets)."""
    first_frame: int = 15
    """Where an episode's first window starts; 15 as published, 0 to train on the very first frames too."""

    val_freq: int = 1000
    """Optimizer steps between validations; 0: never, and no validation list is needed."""
    val_windows: int = 0
    """Validate on this many windows, spread over the list; 0: on all."""
    patience: int = 0
    """Stop after this many validations without a better one; 0: never."""
    save_every: int = 1000
    """Optimizer steps between checkpoints (latest, step, and all that resuming needs)."""
    step_weights: bool = True
    """Keep <name>_step<N>.weights at each checkpoint, beside latest and best."""
    checkpoint_dir: str = "data/finetuning_checkpoint"
    """The run's folder is made in here, named like the output weights."""
    log_every: int = 100
    """Optimizer steps between two lines on the console."""
    max_bad_steps: int = 5
    """Stop after this many non-finite steps in a row."""

    num_workers: int = 1
    """Processes that prepare batches; 0: none. The batches are the same."""
    threads: int = 0
    """CPU threads for the network; 0: torch's own choice."""
    seed: int = 0
    """Order of windows, hindsight goals and initial weights follow from it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 autocast or float32; auto: bf16 on GPUs, and on CPUs that have bf16 instructions."""
    compile: bool = False
    """Compile the network with torch.compile: slow to start, faster afterwards on a GPU."""

    resume_anyway: bool = False
    """Go on with a run although the settings differ from those it began with."""
    overwrite: bool = False
    """Delete an earlier run of this name and its output weights, and start again."""

    # ---- what follows from the above ----

    @property
    def name(self) -> str:
        """The run's name: that of the output weights, without folder and ending."""
        return Path(self.out_weights).stem

    @property
    def out_path(self) -> Path:
        """Where the final weights go: as given from the current folder or the project's root."""
        return _output(self.out_weights)

    @property
    def best_path(self) -> Path:
        """Where the best weights go at the end: beside the final ones."""
        return self.out_path.with_name(f"{self.out_path.stem}_best{self.out_path.suffix}")

    @property
    def run_dir(self) -> Path:
        """Folder of the run: checkpoints, TensorBoard files, settings.json."""
        return _output(self.checkpoint_dir) / self.name

    @property
    def starts_empty(self) -> bool:
        """True where no weights are read: the network is initialised."""
        return self.from_scratch or self.in_weights.strip().lower() == "none"

    @property
    def train_path(self) -> Path:
        """The list of training episodes."""
        return resolve(self.train_list or Path(self.sampling_dir) / f"{self.sampling_name}_train.txt")

    @property
    def val_path(self) -> Path | None:
        """The list of validation episodes; None where validation is off, or where only a training list was given."""
        if self.val_freq == 0:
            return None
        if self.train_list and not self.val_list:
            return None
        return resolve(self.val_list or Path(self.sampling_dir) / f"{self.sampling_name}_val.txt")

    def frames_per_step(self, processes: int = 1) -> int:
        """Frames of a full optimizer step: batch_size · trunc_t · gradient_accum_steps · processes."""
        return self.batch_size * self.trunc_t * self.gradient_accum_steps * processes

    def total_steps(self, processes: int = 1) -> int:
        """Optimizer steps of the whole run."""
        return math.ceil(self.total_frames / self.frames_per_step(processes))

    # ---- checks ----

    def faults(self) -> list[str]:
        """Every value that cannot be, and every contradiction, as sentences."""
        return [*self._value_faults(), *self._contradictions()]

    def _value_faults(self) -> list[str]:
        at_least: dict[str, float] = {
            "batch_size": 1,
            "gradient_accum_steps": 1,
            "total_frames": 1,
            "T": 16,
            "trunc_t": 1,
            "min_btwn_goals": 1,
            "first_frame": 0,
            "warmup_frames": 0,
            "weight_decay": 0,
            "max_grad_norm": 0,
            "val_freq": 0,
            "val_windows": 0,
            "patience": 0,
            "save_every": 1,
            "log_every": 1,
            "max_bad_steps": 1,
            "num_workers": 0,
            "threads": 0,
        }
        found = [
            f"{name} must be at least {low:g}, got {getattr(self, name)}"
            for name, low in at_least.items()
            if not getattr(self, name) >= low
        ]
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            found.append(f"learning_rate must be a number above 0, got {self.learning_rate}")
        if not (self.camera_weight > 0 and math.isfinite(self.camera_weight)):
            found.append(f"camera_weight must be a number above 0, got {self.camera_weight}")
        if not 0 <= self.p_uncond <= 1:
            found.append(f"p_uncond is a share between 0 and 1, got {self.p_uncond}")
        for name, choices in (("goal_switch", ("exact", "legacy")), ("precision", ("auto", "bf16", "fp32"))):
            if getattr(self, name) not in choices:
                found.append(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.device not in ("auto", "cpu", "mps", "cuda") and not self.device.startswith("cuda:"):
            found.append(f"device must be auto, cpu, cuda, cuda:N or mps, got {self.device!r}")
        if Path(self.out_weights).suffix not in (".weights", ".safetensors"):
            found.append(f"out_weights must end in .weights or .safetensors, got {self.out_weights!r}")
        return found

    def _contradictions(self) -> list[str]:
        found = []
        if self.min_btwn_goals >= self.max_btwn_goals:
            found.append(
                f"min_btwn_goals must be below max_btwn_goals, got {self.min_btwn_goals} and {self.max_btwn_goals}"
            )
        if self.trunc_t > self.T:
            found.append(f"trunc_t cannot be longer than T, got {self.trunc_t} and {self.T}: set TRUNC_T={self.T}")
        if self.warmup_frames >= self.total_frames:
            found.append(
                f"warmup_frames must be below total_frames, got {self.warmup_frames} and {self.total_frames}: "
                f"a tenth is usual, WARMUP_FRAMES={max(1, self.total_frames // 10)}"
            )
        given = self.in_weights.strip().lower() not in ("", "none")
        if self.from_scratch and given:
            found.append("from_scratch reads no weights, but in_weights names some: set IN_WEIGHTS=none")
        if not self.starts_empty and not given:
            found.append("in_weights is empty: name the weights to start from, or say --from_scratch")
        if self.starts_empty and self.from_vpt:
            found.append("from_vpt needs VPT's weights in in_weights, and none are to be read")
        if given and resolve(self.in_weights) == self.out_path:
            found.append(f"out_weights would replace in_weights ({self.in_weights}): choose another OUT_WEIGHTS")
        if self.resume_anyway and self.overwrite:
            found.append("resume_anyway goes on with the earlier run and overwrite deletes it: choose one")
        if not self.in_model:
            found.append("in_model is empty: name a .model file")
        return found

    def check(self) -> None:
        """Raise one UserError with every fault, missing files included; nothing is loaded for it."""
        found = self.faults() + self._missing_files()
        if found:
            listed = "".join(f"\n  {number}. {text}" for number, text in enumerate(found, 1))
            raise UserError(
                f"{len(found)} training setting(s) cannot work:{listed}",
                todo="change them in the script, or in front of it: LEARNING_RATE=5e-6 bash 3_train_….sh (--help lists all)",
            )

    def _missing_files(self) -> list[str]:
        found = []
        if self.in_model and not resolve(self.in_model).is_file():
            found.append(f"in_model does not exist: {display(resolve(self.in_model))} (bash 0_download_weights.sh)")
        if not self.starts_empty and self.in_weights and not resolve(self.in_weights).is_file():
            found.append(f"in_weights does not exist: {display(resolve(self.in_weights))} (bash 0_download_weights.sh)")
        if not self.train_path.is_file():
            found.append(self._no_list(self.train_path, "training"))
        if self.val_path is not None and not self.val_path.is_file():
            found.append(self._no_list(self.val_path, "validation") + "; VAL_FREQ=0 trains without validation")
        return found

    def _no_list(self, path: Path, kind: str) -> str:
        folder = resolve(self.sampling_dir)
        names = sorted(item.name[: -len("_train.txt")] for item in folder.glob("*_train.txt"))
        known = f"samplings there: {', '.join(names)}" if names else f"no samplings in {display(folder)} yet"
        make = f" {self.sampling_name}"
        if self.sampling_name == "finetune_task":
            make = ""
        elif self.sampling_name.startswith("finetune_"):
            make += f" --dataset_dir data/dataset_{self.sampling_name.removeprefix('finetune_')}"
        return f"the {kind} list {display(path)} does not exist ({known}); bash 2_create_sampling.sh{make} makes one"

    def differences(self, earlier: dict[str, Any]) -> list[str]:
        """What of `earlier` (the settings of the run so far) would lead to other weights than these, as sentences."""
        now = dataclasses.asdict(self)
        changed = [name for name in now if name not in HARMLESS and name in earlier and earlier[name] != now[name]]
        return [f"{name}: {earlier[name]!r} then, {now[name]!r} now" for name in changed]


def _output(path: str) -> Path:
    """Absolute path of something to be written; relative ones always count from the project's root."""
    return ROOT / Path(path).expanduser()
