"""Thresholds of the quality checks from a recording whose actions are known, and how well the model labels it.

The recording goes the way of a video: the same reduction, the same windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from steve1.actions.buttons import BUTTONS
from steve1.core.errors import UserError
from steve1.core.files import read_json, sha256_file, write_json
from steve1.core.frames import agent_frame
from steve1.core.paths import display
from steve1.data.media.motion import Motion, grey_of
from steve1.data.media.video import Frame
from steve1.data.recordings.contractor import ContractorRecording
from steve1.data.recordings.resample import read_game_ticks
from steve1.idm.labelling.checks import Evidence, LabelMeasures, Thresholds, calibrated, measured, section_confidence
from steve1.idm.labelling.mirror import MirrorSample
from steve1.idm.labelling.settings import PUBLISHED_FOV, IdmFiles
from steve1.idm.metrics import ButtonScores, CameraScores, Scores, scores, true_actions
from steve1.idm.network import InverseDynamicsModel

FILE = "calibration.json"
_FEWEST = 400  # frames; less is no basis for thresholds


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a recording with known actions says about a model."""

    recording: str
    recording_sha256: str
    weights_sha256: str
    thresholds: Thresholds
    measures: LabelMeasures
    scores: Scores
    pressed: dict[str, float]  #: true share of frames, by button
    fov: float = PUBLISHED_FOV  #: vertical field of view in degrees that the recording is taken to have: the model's

    def save(self, folder: Path) -> None:
        """Into a dataset's folder."""
        write_json(folder / FILE, dataclasses.asdict(self))


def calibrate(
    video: Path, model: InverseDynamicsModel, files: IdmFiles, on_frames: Callable[[int], object] = lambda count: None
) -> Calibration:
    """Label a recording and compare with its actions.

    Raises:
        UserError: it cannot be read, or is too short.
    """
    recording = ContractorRecording(video.stem, video)
    ticks, pairing = read_game_ticks(recording)
    numbers = pairing.frames[ticks.rows[ticks.rows < len(pairing.frames)]]
    if len(numbers) < _FEWEST:
        expected, got = f"{_FEWEST // 20} s and more; five minutes are better", f"{len(numbers) / 20:.0f} s"
        raise UserError("This recording is too short to calibrate with.", where=video, expected=expected, got=got)
    motion, mirror = Motion(), MirrorSample(model, len(numbers))

    def frames() -> Iterator[Frame]:
        for number, frame in enumerate(recording.frames(numbers)):
            agent = agent_frame(frame)
            motion.add(grey_of(agent))
            mirror.add(agent)
            if number % 32 == 31:
                on_frames(32)
            yield agent

    labels = model.label(frames())
    evidence = Evidence.of(labels, motion, files.thresholds)
    measures = measured(evidence, mirror.agreement())
    pressed, degrees = true_actions(ticks.actions[: len(evidence)])
    found = scores(np.exp(labels.buttons[:, :, 1]), evidence.bins, pressed, degrees, thresholds=files.thresholds)
    shares = {button.name: button.share for button in found.buttons}
    return Calibration(
        display(video),
        sha256_file(video),
        files.sha256,
        calibrated(measures, section_confidence(evidence)),
        measures,
        found,
        shares,
        files.fov,
    )


def read_calibration(folder: Path, files: IdmFiles, video: Path | None) -> Calibration | None:
    """The calibration that lies in a dataset's folder; None where there is none of these weights and this recording.

    Args:
        video: the recording, which is scored at the thresholds that `<weights>.json` has today; None: any, at those of its day.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    known = read_json(path)
    if known.get("weights_sha256") != files.sha256 or (video and known.get("recording_sha256") != sha256_file(video)):
        return None
    try:
        found = known["scores"]
        calibration = Calibration(
            str(known["recording"]),
            str(known["recording_sha256"]),
            str(known["weights_sha256"]),
            Thresholds.read(known["thresholds"], path),
            LabelMeasures(**known["measures"]),
            Scores(
                int(found["frames"]),
                [ButtonScores(**row) for row in found["buttons"]],
                [CameraScores(**row) for row in found["camera"]],
            ),
            dict(known["pressed"]),
            files.fov,  # the recording is taken to have the model's, which may have been edited since
        )
    except (KeyError, TypeError, ValueError) as fault:
        todo = "remove it, and calibrate again with --calibrate"
        raise UserError("This calibration cannot be read.", where=path, got=str(fault), todo=todo) from fault
    limits = [0.5] * len(BUTTONS) if files.thresholds is None else files.thresholds.tolist()
    if video and [button.threshold for button in calibration.scores.buttons] != limits:
        return None
    return calibration
