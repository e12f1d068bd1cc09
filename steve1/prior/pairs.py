"""The prior's data: text embeddings beside the video embeddings of clips that show what the text says.

Input: a pickle `{text_embeddings, visual_embeddings}` as STEVE-1 publishes it, an `.npz` of the same names, or embedded
episodes with captions. Output: float32 arrays (N,E), and for each pair the group (episode) it comes from.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.paths import download_advice
from steve1.core.reading.contents import refuse_other_content
from steve1.core.reading.pickles import load_restricted
from steve1.core.seeds import generator
from steve1.data.episodes.captions import Captions, captions_of
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.mineclip.model import MineCLIP

FIRST = 15  # the first frame of an episode that has a goal embedding


@dataclass(frozen=True)
class Pairs:
    """text, visual: float32 (N,E); groups: int64 (N,), pairs of one group go to the same side of the split."""

    text: NDArray[np.float32]
    visual: NDArray[np.float32]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.text)

    def sha256(self) -> str:
        """A hash of the content, whatever file it is from: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for array in (self.text, self.visual, self.groups):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


def load_pairs(path: str | Path) -> Pairs:
    """Read pairs; nothing in the file is executed.

    Raises:
        UserError: the file is missing, holds other things, or its arrays do not fit each other or are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            "The prior's data is missing.",
            where=path,
            expected="a pickle or .npz with text_embeddings and visual_embeddings",
            todo=download_advice(path) or "name embedded episodes with --dataset_dir",
        )
    content = _read_npz(path) if path.suffix == ".npz" else load_restricted(path)
    if not isinstance(content, dict):
        content = {}
    missing = [key for key in ("text_embeddings", "visual_embeddings") if key not in content]
    if missing:
        raise UserError(
            "This is not the prior's data.",
            where=path,
            expected="text_embeddings, visual_embeddings",
            got=f"no {missing[0]}",
        )
    text, visual = (_rows(content[key], f"{path}, {key}") for key in ("text_embeddings", "visual_embeddings"))
    groups = np.asarray(content["groups"]) if "groups" in content else np.arange(len(text))
    if text.shape != visual.shape or len(groups) != len(text):
        raise UserError(
            "The arrays of the prior's data do not fit together.",
            where=path,
            expected="as many texts as videos, equally wide",
            got=f"text {text.shape}, video {visual.shape}, groups {groups.shape}",
        )
    return Pairs(text, visual, groups.astype(np.int64))


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    refuse_other_content(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError("The prior's data cannot be read.", where=path, got=str(error)) from error


def _rows(values: Any, where: str) -> NDArray[np.float32]:
    """An array (N,E), (N,1,E), or a list of (E,) or (1,E) → float32 (N,E), finite."""
    try:
        rows = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UserError("These embeddings are not rows of one width.", where=where, got=str(error)) from error
    if rows.ndim == 3 and rows.shape[1] == 1:
        rows = rows[:, 0]
    if rows.ndim != 2 or not len(rows):
        raise UserError("These embeddings have the wrong form.", where=where, expected="(N, E)", got=str(rows.shape))
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise UserError("An embedding is not finite.", where=f"{where}, row {bad[0]}", got=f"{len(bad)} such rows")
    return rows


def make_pairs(
    datasets: Sequence[str | Path],
    mineclip: MineCLIP,
    table: dict[str, Captions],
    *,
    stride: int = 4,
    seed: int = 0,
    mineclip_sha256: str = "",
) -> Pairs:
    """Pairs from embedded episodes: every `stride`-th frame's goal beside one of the episode's training captions.

    Args:
        datasets: folders with episodes that have goals of this MineCLIP and captions (their own or the table's).
        stride: frames between pairs; neighbouring goals share 15 of 16 frames.
        seed: chooses the captions.
        mineclip_sha256: of its weights file; "": goals are compared by their width alone.

    Raises:
        UserError: no episodes, no goals, no captions, or goals of another MineCLIP.
    """
    texts: dict[str, NDArray[np.float32]] = {}
    rows: list[NDArray[np.float32]] = []
    captions: list[str] = []
    groups: list[int] = []
    paths = [path for folder in datasets for path in find_episodes(folder)]
    if not paths:
        raise UserError("There are no episodes to make pairs from.", where=", ".join(map(str, datasets)))
    for number, path in enumerate(paths):
        episode = Episode(path)
        if episode.goals.shape[1] != mineclip.embed_dim:
            raise UserError(
                "This episode's goals are of another MineCLIP.",
                where=path,
                expected=f"width {mineclip.embed_dim}",
                got=f"width {episode.goals.shape[1]}",
            )
        if mineclip_sha256 and episode.mineclip_sha256 not in ("", mineclip_sha256):
            raise UserError(
                "This episode's goals are of another MineCLIP.",
                where=path,
                expected=f"sha256 {mineclip_sha256[:12]}…",
                got=f"{episode.mineclip_sha256[:12]}…",
                todo="name the weights that made the goals (--mineclip), or compute the embeddings anew (--overwrite)",
            )
        episode.check_goals()
        _, own = captions_of(episode.metadata, table, path)
        goals = np.asarray(episode.goals[FIRST::stride], np.float32)
        choice = generator(seed, "pairs", number).integers(0, len(own.train), len(goals))
        rows.append(goals)
        captions += [own.train[i] for i in choice]
        groups += [number] * len(goals)
    for text in sorted(set(captions)):
        texts[text] = mineclip.encode_text([text])[0].cpu().numpy()
    visual = np.concatenate(rows)
    text_rows = np.stack([texts[text] for text in captions]) if captions else np.zeros_like(visual)
    return Pairs(text_rows, visual, np.asarray(groups, np.int64))


def save_pairs(pairs: Pairs, path: str | Path) -> None:
    """Write pairs as `.npz`, whole or not at all."""
    with atomic_file(path) as file:
        np.savez(file, text_embeddings=pairs.text, visual_embeddings=pairs.visual, groups=pairs.groups)


def split(pairs: Pairs, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers for training and validation, disjoint by group; at least one group on each side.

    Raises:
        UserError: fewer than two groups.
    """
    groups = np.unique(pairs.groups)
    if len(groups) < 2:
        raise UserError(
            "The prior's data is too small to hold some out for validation.",
            expected="at least 2 groups",
            got=f"{len(groups)}",
        )
    shuffled = generator(seed, "prior split").permutation(groups)
    held = shuffled[: min(max(round(fraction * len(groups)), 1), len(groups) - 1)]
    inside = np.isin(pairs.groups, held)
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def tensors(pairs: Pairs, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as tensors: text (n,E), visual (n,E)."""
    return torch.from_numpy(pairs.text[rows]), torch.from_numpy(pairs.visual[rows])
