"""TensorBoard's file of a run: every tag carries its description, the losses come first, and settings and results fill the HParams page.

Importing it takes a second, for TensorBoard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from steve1.training.logging.layout import FIRST, description

_PLUGINS = {"simple_value": "scalars", "histo": "histograms", "image": "images"}
# Shown beside the settings: their last values.
_RESULTS = (*FIRST, "goal/true_minus_shuffled", "validation/f1_mean", "speed/frames_per_second")


class Board(SummaryWriter):
    """The writer of one run.

    Args:
        first_step: what was recorded beyond it is no longer shown.
    """

    def __init__(self, run_dir: Path, first_step: int = 0) -> None:
        self._described: set[str] = set()
        super().__init__(str(run_dir), purge_step=first_step + 1 if first_step else 0, flush_secs=10)
        assert self.file_writer is not None, "the writer opens its file at once"
        self._write: Callable[..., None] = self.file_writer.add_summary
        self.file_writer.add_summary = self._add  # type: ignore[method-assign]

    def _add(self, summary: Summary, global_step: int | None = None, walltime: float | None = None) -> None:
        for value in summary.value:
            if value.tag not in self._described:
                self._described.add(value.tag)
                value.metadata.summary_description = description(value.tag)
                if kind := _PLUGINS.get(value.WhichOneof("value") or ""):
                    value.metadata.plugin_data.plugin_name = kind
        self._write(summary, global_step, walltime)

    def curve(self, name: str, value: float, step: int) -> None:
        """A point of a curve, and of its copy among the first."""
        self.add_scalar(name, value, step)
        if name in FIRST:
            self.add_scalar(FIRST[name], value, step)

    def film(self, name: str, gif: bytes, width: int, height: int, step: int) -> None:
        """An animation: the bytes of a GIF."""
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        self._add(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def settings(self, values: Mapping[str, Any], *, finished: bool = False) -> None:
        """The run's line in the table of the HParams page; its results are the curves' last values."""
        shown = {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str))}
        experiment, start, end = hparams(shown, dict.fromkeys(_RESULTS, 0.0))
        for summary in (end,) if finished else (experiment, start):
            self._write(summary, 0)
