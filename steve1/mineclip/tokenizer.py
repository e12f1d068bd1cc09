"""CLIP's tokenizer, offline: prompts → token ids, int64 (N,77): at most 75 tokens between start and end token, then zeros."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steve1.core.errors import UserError

START, END = 49406, 49407


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """openai-clip's tokenizer. Its file is loaded alone, because the package's top level imports torchvision."""
    package = importlib.util.find_spec("clip")
    folders = list(package.submodule_search_locations or []) if package else []
    files = [path for folder in folders if (path := Path(folder) / "simple_tokenizer.py").is_file()]
    if not files:
        raise UserError(
            "CLIP's tokenizer is not installed.",
            expected="the package openai-clip, which carries the tokenizer and its vocabulary",
            todo="pip install openai-clip==1.0.1",
        )
    spec = importlib.util.spec_from_file_location("_clip_simple_tokenizer", files[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


def part_read(text: str, context: int = 77) -> str:
    """The beginning of a prompt that fits into `context` tokens, "" if all of it does."""
    tokens = _tokenizer().encode(text)
    return str(_tokenizer().decode(tokens[: context - 2])).strip() if len(tokens) > context - 2 else ""


def tokenize(texts: list[str], context: int = 77) -> Tensor:
    """Token ids of prompts, int64 (N,context): start token, at most context - 2 tokens, end token, zeros.

    Raises:
        UserError: `texts` is one bare string, or an entry is empty or not a string.
    """
    if isinstance(texts, str):
        raise UserError("Prompts must be a list.", got=repr(texts), expected=f"[{texts!r}]")
    ids = torch.zeros(len(texts), context, dtype=torch.int64)
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise UserError("A prompt is empty or not text.", where=f"prompt {row}", got=repr(text))
        tokens = [START, *_tokenizer().encode(text)[: context - 2], END]
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids
