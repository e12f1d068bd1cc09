"""Labels five minutes of a video and makes episodes of their sound stretches.

Input: a video, an inverse dynamics model. Output: episodes (or recordings), and a record with everything that the report shows.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import math
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import steve1
from steve1 import actions as act
from steve1.core.device import autocast, choose_precision
from steve1.core.errors import UserError
from steve1.core.files import read_json, scratch_dir, sha256_file
from steve1.core.frames import jpeg_bytes
from steve1.core.paths import display
from steve1.data.episodes.episode import Episode
from steve1.data.media.video import FPS, Frame
from steve1.data.videos.form import VideoForm, look_at
from steve1.data.videos.overlays import OverlayFinder
from steve1.data.videos.stream import LONGEST, Stretch, game_frames, stretches
from steve1.idm.label import Labels
from steve1.idm.labelling.checks import (
    SECTION,
    Evidence,
    Thresholds,
    measured,
    reasons_against,
    section_reasons,
    warnings_on,
)
from steve1.idm.labelling.mirror import MirrorSample
from steve1.idm.labelling.parts import Part
from steve1.idm.labelling.scratch import Scratch
from steve1.idm.labelling.settings import IdmFiles, LabelSettings, same_settings
from steve1.idm.network import InverseDynamicsModel

SHORTEST = 40
"""Frames (2 s) that an episode takes at least, before null frames are dropped."""
_AT_A_CUT = 2  # frames whose windows see black, or nothing of the future
_SHEET = 10  # the least sure frames

Record = dict[str, Any]


@dataclasses.dataclass
class _Labelled:
    """The part's frames of a stretch with their labels."""

    stretch: Stretch
    first: int  #: number of the first of these frames
    labels: Labels
    scratch: Scratch
    evidence: Evidence

    @property
    def end(self) -> int:
        """Number of the frame after the last of these."""
        return self.first + len(self.evidence)

    @property
    def near_cuts(self) -> NDArray[np.bool_]:
        """Which of these frames (N,) lie so near to a cut that their windows see black, or nothing of the future."""
        numbers = np.arange(self.first, self.end)
        begin, end = self.stretch.first, self.stretch.first + len(self.stretch)
        after = self.stretch.after_cut & (numbers < begin + _AT_A_CUT)
        found: NDArray[np.bool_] = after | (self.stretch.before_cut & (numbers >= end - _AT_A_CUT))
        return found


class PartLabeller:
    """Labels parts with one model.

    Args:
        on_frames: called with the number of frames labelled since the last call.
    """

    def __init__(
        self,
        model: InverseDynamicsModel,
        files: IdmFiles,
        settings: LabelSettings,
        limits: Thresholds,
        output_dir: Path,
        on_frames: Callable[[int], object] = lambda count: None,
    ) -> None:
        self._model, self._files, self._settings, self._limits = model, files, settings, limits
        self._output, self._on_frames = output_dir, on_frames
        self._known: tuple[Path, VideoForm, str] | None = None

    def label(self, part: Part) -> Record:
        """Label a part; faults of the video are in the record. Raises OSError for faults of the machine alone."""
        record: Record = {
            "video": part.name,
            "source": display(part.video),
            "first": part.first,
            "fault": "",
            "notes": [],
        }
        record |= {"frames": 0, "rejected": [], "episodes": [], "measures": None, "overlays": []}
        try:
            if part.stop is not None and part.stop <= part.first:
                start, end = self._settings.start, self._settings.end
                raise UserError(
                    "Nothing of this video is left to label.", where=part.video, got=f"--start {start:g} --end {end:g}"
                )
            form, digest = self._form_of(part)
            record |= {"sha256": digest, "notes": list(form.notes), **form.metadata()}
            with scratch_dir(self._output / part.key) as folder:
                self._label(part, form, record, folder)
        except UserError as fault:
            record["fault"] = fault.one_line
        return record

    def _form_of(self, part: Part) -> tuple[VideoForm, str]:
        if self._known is None or self._known[0] != part.video:
            form = look_at(part.video, self._settings.masks_for(part.name))
            self._known = part.video, form, sha256_file(part.video)
        return self._known[1:]

    def _label(self, part: Part, form: VideoForm, record: Record, folder: Path) -> None:
        overlays, mirror = OverlayFinder(), MirrorSample(self._model)
        begin, end = part.with_context(self._model.config.timesteps)
        found: list[_Labelled] = []
        for first in sorted({begin, part.first}):
            found = list(self._stretches(part, game_frames(part.video, form, first, end), folder, overlays, mirror))
            if found:
                break  # else the video is damaged just before this part
        if not found:
            raise UserError("The video ends before this part.", where=part.video, got=f"{part.first / FPS:.0f} s")
        for each in found:
            if each.stretch.fault and (part.stop is None or each.end < part.stop):
                where = f"{each.end / FPS:.1f} s"
                record["notes"].append(
                    f"the video is damaged at {where} and is labelled up to there: {each.stretch.fault}"
                )
        record["frames"] = sum(len(each.evidence) for each in found)
        wanted = part.stop if part.stop is not None else form.count
        last = found[-1].end  # not the count of frames, of which time stamps may leave some out on the way
        if 0 < wanted - FPS > last and not any(each.stretch.fault for each in found):
            record["notes"].append(f"the video breaks off after {last / FPS:.1f} s of {wanted / FPS:.1f} s")
        everything = Evidence.joined([each.evidence for each in found])
        measures = measured(everything, mirror.agreement())
        record["measures"] = dataclasses.asdict(measures)
        record["cuts"] = sum(each.stretch.after_cut and each.first == each.stretch.first for each in found)
        record["overlays"] = [
            self._overlay_text(part.name, overlay.box, overlay.text, form) for overlay in overlays.find()
        ]
        record["notes"] += warnings_on(measures, self._limits) + record["overlays"]
        record["sheet"] = _sheet(found, self._files)
        against = reasons_against(measures, self._limits)
        for reason in against:
            record["rejected"].append({"first": part.first, "frames": record["frames"], "reason": reason})
        if against and not self._settings.keep_rejected:
            return
        for each in found:
            self._write(part, form, each, record)

    def _stretches(
        self,
        part: Part,
        frames: Iterator[tuple[int, Frame]],
        folder: Path,
        overlays: OverlayFinder,
        mirror: MirrorSample,
    ) -> Iterator[_Labelled]:
        """The part's frames with their labels, stretch by stretch; the frames around them are labelled too, and left out."""
        device, full_size = self._model.device, self._settings.form == "recordings"
        # No stretch is divided: labels near a division would see one side only.
        for stretch in stretches(frames, sys.maxsize):
            rows = range(max(0, part.first - stretch.first), (part.stop or sys.maxsize) - stretch.first)
            if not rows:
                return
            place = folder / f"{stretch.first}"
            place.mkdir(exist_ok=True)
            with Scratch(place, full_size=full_size, second=full_size or self._settings.mineclip_frames) as scratch:
                watched = self._watched(stretch, rows, overlays, mirror)
                with autocast(device, choose_precision("auto", device, bf16_on_cpu=False)):
                    labels = self._model.label(scratch.take(watched, rows))
            mirror.end()
            if here := range(len(stretch))[rows.start : rows.stop]:
                kept = slice(here.start, here.stop)
                evidence = Evidence.of(labels, stretch.motion, self._files.thresholds, kept)
                yield _Labelled(stretch, stretch.first + here.start, labels[kept], scratch, evidence)

    def _watched(
        self, stretch: Stretch, rows: range, overlays: OverlayFinder, mirror: MirrorSample
    ) -> Iterator[tuple[Frame, Frame]]:
        """The frames of a stretch; those of the part, `rows`, are counted."""
        count = 0
        for number, (frame, agent) in enumerate(stretch.frames):
            assert stretch.motion.grey is not None
            overlays.add(stretch.motion.grey, stretch.motion.last_shift)
            mirror.add(agent)
            count += number in rows
            if count == 32:
                self._on_frames(count)
                count = 0
            yield frame, agent
        self._on_frames(count)

    @staticmethod
    def _overlay_text(name: str, box: tuple[float, float, float, float], text: str, form: VideoForm) -> str:
        """What lies over the picture, with the option that paints over it in this video."""
        x, y, w, h = form.crop
        mask = (x + box[0] * w, y + box[1] * h, box[2] * w, box[3] * h)
        option = shlex.quote(f"{name}={','.join(str(round(value)) for value in mask)}")
        return f"{text}: --mask {option} paints over it"

    def _write(self, part: Part, form: VideoForm, each: _Labelled, record: Record) -> None:
        """Write the sound runs of a stretch."""
        evidence, first = each.evidence, each.first
        reasons = section_reasons(evidence, self._limits)
        for number, reason in enumerate(reasons):
            if reason:
                frames = min(SECTION, len(evidence) - number * SECTION)
                record["rejected"].append({"first": first + number * SECTION, "frames": frames, "reason": reason})
        sound = np.ones(len(evidence), np.bool_)
        if not self._settings.keep_rejected:
            sound = np.repeat([not reason for reason in reasons], SECTION)[: len(evidence)]
        sound[each.near_cuts] = False
        edges = np.flatnonzero(np.diff(sound, prepend=False, append=False)).reshape(-1, 2).tolist()
        actions = self._actions(each.labels)
        for start, stop in [piece for edge in edges for piece in _divided(*edge)]:
            if stop - start < SHORTEST:
                reason = "shorter than 2 s"
                record["rejected"].append({"first": first + start, "frames": stop - start, "reason": reason})
                continue
            self._write_run(part, form, each, record, actions, start, stop)

    def _actions(self, labels: Labels) -> list[act.EnvAction]:
        gain = self.gain
        found = labels.actions(self._files.thresholds)
        if gain != 1:
            for action in found:
                action["camera"] = [float(value) * gain for value in action["camera"]]
        return found

    @property
    def gain(self) -> float:
        """What camera labels are multiplied by where the videos have another field of view than the model's data."""
        fov = self._settings.fov or self._files.fov
        return math.tan(math.radians(fov) / 2) / math.tan(math.radians(self._files.fov) / 2)

    def _write_run(
        self,
        part: Part,
        form: VideoForm,
        each: _Labelled,
        record: Record,
        actions: list[act.EnvAction],
        start: int,
        stop: int,
    ) -> None:
        """Write frames start … stop - 1 of a stretch as one episode or recording."""
        run = np.arange(start, stop)
        keep = run if self._settings.keep_nulls else run[~each.evidence.null[start:stop]]
        name = f"{part.name}_{each.first + start:06d}"
        made = {
            "name": name,
            "first": each.first + start,
            "frames": len(keep),
            "null": stop - start - len(keep),
        }
        if not len(keep):
            record["rejected"].append({"first": made["first"], "frames": stop - start, "reason": "nothing is pressed"})
            return
        target, of_run = self._output / name, measured(each.evidence[start:stop])
        metadata = {
            "source": display(part.video),
            "source_kind": "video",
            "env": self._files.env,
            **form.metadata(),
            "sha256": {part.video.name: record["sha256"]},
            "keep_nulls": self._settings.keep_nulls,
            "null_frames_dropped": made["null"],
            "first_frame": made["first"],
            "tool_version": steve1.__version__,
            "notes": record["notes"],
            "idm": {
                **self._files.metadata,
                "temperature": self._model.config.temperature,
                "window": self._model.config.timesteps,
                "stride": self._model.config.timesteps // 2,
                "rule": "aligned",
                "crop": list(form.crop),
                "mask": [list(box) for box in form.masks],
                "camera_gain": round(self.gain, 5),
                "thresholds": dataclasses.asdict(self._limits),
                "agreement": [of_run.overlap_buttons, of_run.overlap_camera],
                "follow": [of_run.follow_pitch, of_run.follow_yaw],
                "pixels_per_degree": of_run.pixels_per_degree,
                "sure": [round(of_run.sure_buttons, 4), round(of_run.sure_camera, 4)],
            },
        }
        chosen = [actions[number] for number in keep]
        if self._settings.form == "recordings":
            if target.with_name(f"{name}.mp4").exists():
                options = target.with_name(f"{name}-options.json")
                _check_same(target, read_json(options) if options.is_file() else {}, metadata)
            else:
                every = [actions[number] for number in run]  # conversion drops null frames itself
                each.scratch.write_recording(target, run, every, {**metadata, "null_frames_dropped": 0})
        elif target.exists():
            _check_same(target, Episode(target).metadata, metadata)
        else:
            each.scratch.write_episode(target, keep, chosen, each.evidence.sure[keep], metadata)
        record["episodes"].append(made)  # last: what is in the list is this video's, and --overwrite removes it


def _divided(start: int, stop: int) -> list[tuple[int, int]]:
    """A run of frames in episodes of at most `LONGEST`, none of them very short."""
    count = max(1, math.ceil((stop - start) / LONGEST - 0.1))
    cuts = [*range(start, start + count * LONGEST, LONGEST)[:count], stop]
    return list(itertools.pairwise(cuts))


def _check_same(target: Path, known: Mapping[str, Any], metadata: dict[str, Any]) -> None:
    """UserError where an episode or recording of this name was made from another video, or by a run with other settings that was killed.

    Args:
        known: what it says of itself.
        metadata: what it would say now.
    """
    if known.get("sha256") != metadata["sha256"]:
        raise UserError(
            "An episode of this name was made from another video.",
            where=target,
            todo="rename the video, or choose another output folder",
        )
    before, now = (_settings_of(each) for each in (known, json.loads(json.dumps(metadata))))  # as it is stored
    if differing := [name for name, value in now.items() if not same_settings(before, {name: value})]:
        raise UserError(
            "An episode of this name was made with other settings, by a run that did not finish its part.",
            where=target,
            got=", ".join(differing),
            todo="remove this episode, and run the same command again",
        )


def _settings_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What an episode's labels depend on beside the video; not the measures, which may differ in their last digits from machine to machine."""
    by = metadata.get("idm") or {}
    names = ("sha256", "crop", "mask", "camera_gain", "thresholds", "button_thresholds")
    return {"keep_nulls": metadata.get("keep_nulls")} | {name: by[name] for name in names if name in by}


def _sheet(found: Iterable[_Labelled], files: IdmFiles) -> list[dict[str, Any]]:
    """The least sure frames of different seconds, with their labels, as small pictures."""
    rows: list[tuple[float, int, _Labelled]] = []
    for each in found:
        total = each.evidence.sure.sum(axis=1)
        for start in range(0, len(total), FPS):
            least = start + int(total[start : start + FPS].argmin())
            rows.append((float(total[least]), least, each))
    sheet = []
    for sure, number, each in sorted(rows, key=lambda row: row[0])[:_SHEET]:
        data = jpeg_bytes(each.scratch.agent_frame(number), 75)
        one = each.labels[number : number + 1].actions(files.thresholds)[0]
        sheet.append(
            {"frame": each.first + number, "sure": sure, "action": one, "jpeg": base64.b64encode(data).decode()}
        )
    return sheet
