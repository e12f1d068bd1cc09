"""Prompts, goal files and episodes become the goals that a policy is conditioned on, alike for training, playing and evaluating.

Input: a checkpoint's metadata, which names its MineCLIP, prior and policy; prompts, goal files or embedded episodes.
Output: goals, float32 (E,), checked against the policy's size.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steve1.core.checkpoint_metadata import CheckpointMetadata, read_checkpoint_metadata, read_goal
from steve1.core.device import choose_device
from steve1.core.errors import UserError, nearest
from steve1.core.files import existing_file
from steve1.core.messages import message, translated
from steve1.core.paths import display, resolve
from steve1.data.episodes.episode import Episode
from steve1.mineclip import MineCLIP, load_mineclip
from steve1.mineclip.tokenizer import part_read
from steve1.policy import read_model
from steve1.prior import Prior, load_prior
from steve1.prompts import known_prompts, translate

Goal = NDArray[np.float32]
GoalSource = Literal["prior", "text"]


class GoalEncoder:
    """The goals of one checkpoint. MineCLIP and the prior are loaded at their first use and kept."""

    def __init__(
        self,
        metadata: CheckpointMetadata,
        *,
        device: str = "cpu",
        translations: Mapping[str, str] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        """
        Args:
            metadata: names the MineCLIP, the prior and the policy's model file.
            device: where MineCLIP and the prior compute.
            translations: {prompt in another language: English prompt}, in addition to `known_prompts`.
            say: is told what a prompt is read as, once for each.
        """
        self.metadata, self._device, self._say = metadata, device, say
        self._translations = {**known_prompts(), **{text.lower(): en for text, en in (translations or {}).items()}}
        self._encoded: dict[tuple[str, GoalSource, int], Goal] = {}

    @classmethod
    def from_checkpoint(cls, weights: str | os.PathLike[str], *, device: str = "cpu") -> GoalEncoder:
        """The encoder of a weights file, through `<weights>.json` beside it."""
        return cls(read_checkpoint_metadata(weights), device=device)

    @functools.cached_property
    def mineclip(self) -> MineCLIP:
        """The checkpoint's MineCLIP."""
        path = existing_file(self.metadata.mineclip, "The MineCLIP weights", "pass --mineclip_weights")
        return load_mineclip(str(path), self.metadata.mineclip_config or "attn").to(choose_device(self._device))

    @functools.cached_property
    def prior(self) -> Prior:
        """The checkpoint's prior."""
        path = existing_file(self.metadata.prior, "The prior's weights", "pass --prior_weights")
        return load_prior(path, device=choose_device(self._device))

    @functools.cached_property
    def size(self) -> int:
        """E: the size of the policy's goals."""
        return read_model(resolve(self.metadata.model)).mineclip_embed_dim

    @property
    def no_goal(self) -> Goal:
        """The goal that stands for none: zeros (E,)."""
        return np.zeros(self.size, dtype=np.float32)

    def encode(self, prompts: Sequence[str], *, by: GoalSource = "prior", seed: int = 0) -> dict[str, Goal]:
        """{prompt: goal}. A prompt's goal depends on (prompt, by, seed) alone, not on the other prompts.

        Args:
            prompts: what to do, in English, in Chinese, or in any language that STEVE1_TRANSLATOR translates.
            by: "prior" samples the prior with `seed`, or takes its middle where the metadata's `prior_code` says so; "text" takes the text embedding itself.
            seed: draws the prior's code.

        Raises:
            UserError: an empty prompt, a missing file, or files that do not belong together.
        """
        return {prompt: self._encode(prompt, by, seed) for prompt in prompts}

    def _encode(self, prompt: str, by: GoalSource, seed: int) -> Goal:
        key = (prompt, by, seed)
        if key not in self._encoded:
            english = self.translate(prompt)
            for note in self.cut_short(english):
                self._say(note)
            goal = self.mineclip.encode_text([english])
            if by == "prior":
                goal = self.prior.goal(goal, seed, deterministic=self.metadata.prior_code == "middle")
            self._encoded[key] = self.checked(goal[0].float().cpu().numpy(), self.metadata.mineclip)
        return self._encoded[key]

    def translate(self, prompt: str) -> str:
        """`prompt` in English, the only language that MineCLIP reads; says what it is read as, and what is left out.

        Raises:
            UserError: the user's translator failed.
        """
        english, notes = self.reading(prompt)
        for note in notes:
            self._say(note)
        return english

    def reading(self, prompt: str) -> tuple[str, list[str]]:
        """`prompt` in English, and what there is to say about that: what it is read as, and what is left out.

        Raises:
            UserError: the user's translator failed.
        """
        found, notes = translate(prompt, self._translations), []
        if found.english != prompt and found.english:
            notes.append(message("prompt read as", prompt=prompt, english=found.english))
        if found.unknown:
            key = "prompt partly read" if found.english else "prompt not read"
            near = nearest(prompt, list(self._translations))
            text = message(key, words=", ".join(found.unknown), prompt=prompt, nearest=near)
            notes.append(f"{message('warning')}: {text}")
        return found.english or prompt, notes

    def cut_short(self, english: str) -> list[str]:
        """A warning if MineCLIP reads only the beginning of this prompt."""
        read = part_read(english, self.mineclip.config.context)
        warning = f'warning: this prompt is too long for MineCLIP, which reads only its beginning: "{read}"'
        return [translated(warning)] if read else []

    def from_file(self, path: str | os.PathLike[str]) -> Goal:
        """The goal of a `.goal.json` file."""
        return self.checked(read_goal(path).goal, str(path))

    def from_episode(self, episode: Episode, frame: int = -1) -> Goal:
        """The visual goal of an embedded episode: what its 16 frames up to `frame` show.

        Raises:
            UserError: the episode has no embeddings, or those of another MineCLIP.
        """
        return self.checked(np.array(episode.goals[frame], np.float32), str(episode.path))

    def checked(self, goal: Goal, source: str) -> Goal:
        """`goal`, which comes from the file `source`, if the policy can pursue it.

        Raises:
            UserError: it is of another size.
        """
        if goal.shape != (self.size,):
            raise UserError(
                "The goal does not fit the policy: it belongs to another MineCLIP or prior.",
                where=display(source),
                expected=f"({self.size},), as in {display(self.metadata.model)}",
                got=goal.shape,
                todo="pass the MineCLIP and prior that the weights were trained with, or correct <weights>.json",
            )
        return goal
