"""Prompts in other languages than English, the only one that MineCLIP reads."""

from steve1.prompts.translator import Translation, known_prompts, split_prompts, translate

__all__ = ["Translation", "known_prompts", "split_prompts", "translate"]
