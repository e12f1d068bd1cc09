"""The frozen CNN's output for each frame (256 numbers), computed once and kept on disk: training then decodes no picture.

One memory-mapped array an episode, in a folder named after the CNN's weights. A computation that was cut goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0
from numpy.typing import NDArray
from torch.nn import functional as F

from steve1.core.device import autocast, set_tf32
from steve1.core.errors import UserError
from steve1.core.files import remove, remove_half_written, rename, write_json
from steve1.core.messages import message, plural, progress, translated
from steve1.core.paths import display, output_path
from steve1.core.tuning import spread
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.replay import ReplayFormat, open_pack, pack_of
from steve1.data.episodes.parts import MINECLIP_VIDEO, load_array, pictures_stamp
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.finetune_modes import modes_that

CacheDtype = Literal["float16", "float32"]
ARITHMETIC = 2
"""Part of a cache's name; one more whenever the encoder rounds differently. 2: norms over a frame are exact on a CPU."""
ROWS = 256
"""Frames computed and appended at a time; a cut computation loses at most these."""
ALIKE = 64
"""On a GPU the frames of a piece are filled up to a multiple of this."""
_PART = re.compile(r".+\.npy\.part")


@dataclasses.dataclass(frozen=True)
class Need:
    """The features still to compute."""

    episodes: list[Path]
    frames: int
    bytes: int


class FeatureCache:
    """The features of one CNN in one precision.

    Args:
        root: folder of all caches; this one's is `<root>/<key>`.
        policy: its CNN makes the features; its weights name the cache.
        precision: torch.bfloat16 computes under autocast, as training in that precision does.
        dtype: of the numbers on disk. float16 halves the disk; float32 keeps every bit.
    """

    def __init__(
        self, root: Path, policy: GoalPolicy, *, precision: torch.dtype = torch.float32, dtype: CacheDtype = "float16"
    ) -> None:
        self._policy, self._precision = policy, precision
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.size = policy.net.img_process.dense_size
        self.weights_hash = cnn_hash(policy)
        kind = f"{self.weights_hash} {precision} {dtype}"
        self.folder, self._earlier = (
            root / hashlib.sha256(name.encode()).hexdigest()[:16] for name in (f"{kind} {ARITHMETIC}", kind)
        )
        self._files: dict[str, Path] = {}

    def file_of(self, episode: str | os.PathLike[str]) -> Path:
        """The array of an episode, there or not; another file once the episode's pictures have changed."""
        path = Path(episode).resolve()
        if str(path) not in self._files:
            mark = hashlib.sha256(f"{path}\n{pictures_stamp(path, (MINECLIP_VIDEO,))}".encode()).hexdigest()[:12]
            self._files[str(path)] = self.folder / f"{path.name}-{mark}.npy"
        return self._files[str(path)]

    def need(self, episodes: Iterable[Path]) -> Need:
        """Which of the episodes are missing, how many frames they have, and the disk that these will take."""
        missing = [path for path in dict.fromkeys(episodes) if not self._has(path)]
        parts = [self.file_of(path).with_suffix(".npy.part") for path in missing]
        frames = sum(len(Episode(path)) for path in missing)
        there = sum(part.stat().st_size for part in parts if part.is_file())
        return Need(missing, frames, max(0, frames * self.size * self.dtype.itemsize - there))

    def _has(self, episode: Path) -> bool:
        """Whether the features of an episode are there: in the cache, or in the episode's replay pack."""
        pack = pack_of(episode)
        if pack is not None and open_pack(pack).cnn_hash != self.weights_hash:
            raise UserError(
                "This replay pack was made with another CNN than that of these weights.",
                where=display(pack),
                expected=f"features of the CNN with sha256 {self.weights_hash[:12]}…",
                got=f"{open_pack(pack).cnn_hash[:12]}…",
                todo="take the pack that belongs to the starting weights, or make one: python -m steve1 make_replay --in_weights …",
            )
        return pack is not None or self.file_of(episode).is_file()

    def rows_of(self, episode: Path) -> NDArray[Any]:
        """The features (N, size) of an episode that has been computed, memory-mapped."""
        opened = Episode(episode).format
        return opened.features if isinstance(opened, ReplayFormat) else _mapped(self.file_of(episode))

    def fill(self, episodes: Iterable[Path], on_frames: Callable[[int], object] = lambda count: None) -> None:
        """Compute what is missing; `on_frames` is called with the number of frames done since its last call.

        Raises:
            UserError: too little disk; a feature that the dtype cannot hold; an episode that cannot be read; a cache of an earlier
                version, whose features are rounded differently.
        """
        need = self.need(episodes)
        if not need.episodes:
            return
        if self._earlier.is_dir():
            raise UserError(
                "An earlier version computed this feature cache, and today's encoder rounds differently (norms are exact).",
                where=display(self._earlier),
                expected=f"arithmetic {ARITHMETIC}, in {display(self.folder)}",
                got="arithmetic 1",
                todo=f"rm -r {shlex.quote(str(self._earlier))}; then the same command computes the features anew",
            )
        set_tf32(False)  # a cache of float32 holds what every device computes alike
        self.check_room(need)
        remove_half_written(self.folder, {"about.json"})
        about = {"cnn_sha256": self.weights_hash, "precision": str(self._precision), "dtype": self.dtype.name}
        more = {"numbers_per_frame": self.size, "arithmetic": ARITHMETIC}
        write_json(self.folder / "about.json", {**about, **more})
        encoder = self._policy.net.img_process
        first = Episode(need.episodes[0])

        def piece(frames: int) -> float:
            encoder.frames_at_once = frames
            return float(len(self._rows(first, 0, min(len(first), 8 * encoder.plain_frames))))

        kind = {"work": "features", "precision": self._precision, "network": encoder.described}
        place, plain = self._policy.device, encoder.plain_frames
        with spread(kind, place, plain, min(ROWS, 8 * plain), need.frames, piece) as frames:
            encoder.frames_at_once = frames
            for path in need.episodes:
                self._compute(path, on_frames)
        encoder.frames_at_once = plain

    def check_room(self, need: Need) -> None:
        """UserError where the disk is too small for what is missing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if need.bytes > 0.95 * free:
            raise UserError(
                "The features of these episodes do not fit on the disk.",
                where=display(self.folder),
                expected=f"{need.bytes / 1e9:.2f} GB for {need.frames} frames",
                got=f"{free / 1e9:.2f} GB free",
                todo="free some space, name another --cache_dir, or use --cache_dtype float16",
            )

    def _compute(self, path: Path, on_frames: Callable[[int], object]) -> None:
        """Append rows to a part file, after the last whole piece that a cut computation left; rename it once all are there.

        Another run that computes the same episode is waited for.
        """
        episode, target = Episode(path), self.file_of(path)
        part = target.with_suffix(".npy.part")
        buffer = io.BytesIO()
        shape = {**header_data_from_array_1_0(np.empty(0, self.dtype)), "shape": (len(episode), self.size)}
        write_array_header_1_0(buffer, shape)
        header, row = buffer.getvalue(), self.size * self.dtype.itemsize
        with open(part, "a+b") as file:
            _lock(file)
            if target.is_file():  # the other run has finished it; `file` is that one, or a new one that nobody needs
                remove(part, ours=_PART)
                on_frames(len(episode))
                return
            file.seek(0)
            if file.read(len(header)) != header:  # new, damaged, or of another length
                file.truncate(0)
                file.write(header)
            held = (file.seek(0, os.SEEK_END) - len(header)) // row
            done = held if held == len(episode) else held // ROWS * ROWS
            file.truncate(len(header) + done * row)
            on_frames(done)
            for start in range(done, len(episode), ROWS):
                stop = min(start + ROWS, len(episode))
                file.write(self._rows(episode, start, stop).tobytes())
                file.flush()
                os.fsync(file.fileno())
                on_frames(stop - start)
            rename(part, target)  # while it is locked: whoever waits finds it there

    def _rows(self, episode: Episode, start: int, stop: int) -> NDArray[Any]:
        device, pictures = self._policy.device, torch.from_numpy(episode.frames(start, stop))
        if device.type == "cuda":  # cuDNN looks for its fastest convolutions anew at each number of frames: few numbers
            pictures = F.pad(pictures, (0, 0, 0, 0, 0, 0, 0, -len(pictures) % ALIKE))
        with torch.no_grad(), autocast(device, self._precision):
            rows = self._policy.net.img_process.dense(pictures.to(device))[: stop - start]
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
            found = rows.float().cpu().numpy().astype(self.dtype)
        if not np.isfinite(found).all():
            raise UserError(
                "A frame's features are not numbers that the cache can hold.",
                where=f"{episode.path}, frames {start} to {stop - 1}",
                expected=f"finite {self.dtype.name}",
                got=f"largest size {float(rows.float().abs().max()):g}",
                todo="--cache_dtype float32; if that fails too, the weights are damaged",
            )
        return found

    def serve(self, dataset: WindowDataset) -> None:
        """Let the dataset's windows hold features; every episode of it has to be in the cache."""
        missing = [str(path) for path in dataset.paths if not self._has(path)]
        if missing:
            raise UserError("These episodes' features have not been computed.", where=self.folder, got=missing[0])
        files = {str(path): self.file_of(path) for path in dataset.paths if pack_of(path) is None}
        dataset.frame_source = CachedFeatures(files, self.size, self.dtype)


class CachedFeatures:
    """A dataset's frame source: rows of the cache's arrays in the pixels' place.

    Args:
        files: episode → array.
        size: numbers of a frame.
        dtype: of the numbers.
    """

    key = "features"

    def __init__(self, files: dict[str, Path], size: int, dtype: np.dtype[Any]) -> None:
        self._files = files
        self.shape: tuple[int, ...] = (size,)
        self.dtype = dtype

    def read(self, episode: Episode, start: int, stop: int, out: NDArray[Any]) -> None:
        """Rows start..stop-1 of the episode's array into `out`."""
        found = episode.format
        rows = found.features if isinstance(found, ReplayFormat) else _mapped(self._files[str(episode.path)])
        out[...] = rows[start:stop]


def _lock(file: IO[bytes]) -> None:
    """Wait until no other process writes the file; it is released with the file."""
    with contextlib.suppress(ImportError, OSError):  # a system or a disk without locks
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


@lru_cache(maxsize=64)
def _mapped(file: Path) -> NDArray[Any]:
    # In each process: workers map the arrays themselves.
    try:
        return load_array(file)
    except UserError as fault:
        raise UserError(
            "This file of image features is damaged.",
            where=display(file),
            got=fault.got,
            todo=f"rm {shlex.quote(str(file))}; then the same command computes it anew",
        ) from None


def cnn_hash(policy: GoalPolicy) -> str:
    """Hex sha256 of the names, shapes and numbers of all weights that dense features depend on."""
    digest = hashlib.sha256()
    for name, tensor in sorted(policy.net.img_process.cnn.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_features(
    settings: TrainSettings,
    policy: GoalPolicy,
    datasets: Iterable[WindowDataset | None],
    ranks: Ranks,
    precision: torch.dtype,
) -> FeatureCache:
    """Compute the features that the datasets' episodes lack, each process its share, and let their windows hold features.

    Raises:
        UserError: the CNN is trained, so that its features would not stay the same; as `FeatureCache.fill`.
    """
    if not policy.net.img_process.cnn_is_frozen:
        raise UserError(
            "A cache of image features needs a CNN that is not trained.",
            expected="every weight up to the dense layer frozen",
            todo=f"add --finetune_mode {modes_that('keep_cnn')}, or leave out --feature_cache",
        )
    cache = FeatureCache(output_path(settings.cache_dir), policy, precision=precision, dtype=settings.cache_dtype)
    chosen = [dataset for dataset in datasets if dataset is not None]
    paths = list(dict.fromkeys(path for dataset in chosen for path in dataset.paths))
    # One process looks: another's list would lack what the first has begun to compute.
    missing = [0] * len(paths)
    with ranks.synchronized("looking for image features"):
        if ranks.is_main:
            need = cache.need(paths)
            cache.check_room(need)
            lacks = set(need.episodes)
            missing = [int(path in lacks) for path in paths]
    missing = ranks.of_main(missing)
    lacking = [path for path, wanted in zip(paths, missing) if wanted]
    with ranks.synchronized("computing image features"):
        share = lacking[ranks.rank :: ranks.world]
        if ranks.is_main:
            fill_loudly(cache, share)
        else:
            cache.fill(share)
    for dataset in chosen:
        cache.serve(dataset)
    return cache


def fill_loudly(cache: FeatureCache, episodes: Iterable[Path]) -> Need:
    """`FeatureCache.fill` with a line that says how much there is to do, and a progress bar; returns what was missing."""
    need = cache.need(episodes)
    if need.episodes:
        print(
            translated(
                f"image features of {plural(need.frames, 'frame')} in {plural(len(need.episodes), 'episode')} are computed once: "
                f"{need.bytes / 1e9:.3g} GB in {display(cache.folder)}"
            ),
            flush=True,
        )
        with progress(total=need.frames, desc=message("bar features"), unit="frame") as bar:
            cache.fill(need.episodes, bar.update)
    return need
