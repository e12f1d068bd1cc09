"""A prompt in any language becomes the English that MineCLIP reads.

In this order: the tasks' own prompts, the Chinese dictionary, and a translator of the user's choice (STEVE1_TRANSLATOR), whose
answers are kept in ~/.cache/steve1/translations.json.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import re
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.prompts.chinese import is_chinese, read_chinese

TRANSLATOR = "STEVE1_TRANSLATOR"
_TIMEOUT_S = 30.0
# Only the prompts are read from the tasks' files; nothing of the evaluation is imported.
_TASKS = Path(__file__).parents[1] / "evaluation" / "tasks"


@dataclass(frozen=True)
class Translation:
    """english: what MineCLIP is to read, "" if nothing was understood; unknown: the parts that it leaves out."""

    english: str
    unknown: tuple[str, ...] = ()


def split_prompts(text: str) -> list[str]:
    """Prompts separated by semicolons; Chinese keyboards type the full-width one."""
    return [prompt.strip() for prompt in re.split("[;；]", text) if prompt.strip()]


@functools.cache
def known_prompts() -> Mapping[str, str]:
    """{prompt in another language, lower case: English prompt} of the tasks that come with the package."""
    found: dict[str, str] = {}
    for path in sorted(_TASKS.glob("*.yaml")):
        for task in (yaml.safe_load(path.read_text(encoding="utf-8")).get("tasks") or {}).values():
            texts = task["prompts"]
            found |= {text.lower(): texts["en"] for language, text in texts.items() if language != "en"}
    return found


def translate(prompt: str, known: Mapping[str, str]) -> Translation:
    """A prompt in English. `known`: {prompt in another language, lower case: English prompt}.

    Raises:
        UserError: the user's translator failed.
    """
    if prompt.isascii():
        return Translation(prompt)
    if english := known.get(prompt.strip().lower()):
        return Translation(english)
    reading = read_chinese(prompt) if is_chinese(prompt) else None
    if reading and reading.english and not reading.unknown:
        return Translation(reading.english)
    if translator := os.environ.get(TRANSLATOR, "").strip():
        return Translation(_translated(prompt, translator))
    return Translation(reading.english, reading.unknown) if reading else Translation("", (prompt,))


def _translated(prompt: str, translator: str) -> str:
    """What the user's translator makes of a prompt; asked once for each prompt."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steve1" / "translations.json"
    known = read_json(cache) if cache.is_file() else {}
    key = f"{translator}\n{prompt}"
    if not isinstance(known.get(key), str):
        answer = _asked_there(prompt, translator) if "://" in translator else _asked_program(prompt, translator)
        english = " ".join(answer.split()).rstrip(".").lower()
        if not english or not english.isascii():
            raise UserError(
                "The translator gave no English.",
                where=f"{TRANSLATOR}={translator}",
                got=answer[:200],
                expected=f'"{prompt}" in English',
            )
        known[key] = english
        with contextlib.suppress(OSError):  # no home, no space: it is asked again the next time
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_json(cache, known)
    return str(known[key])


def _asked_there(prompt: str, url: str) -> str:
    """The answer of a server that speaks LibreTranslate's protocol."""
    question = {"q": prompt, "source": "auto", "target": "en", "format": "text"}
    try:
        request = urllib.request.Request(url, json.dumps(question).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return str(json.loads(answer.read(100_000))["translatedText"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as fault:
        raise UserError(
            "The translator did not answer.",
            where=f"{TRANSLATOR}={url}",
            expected='JSON with "translatedText", as LibreTranslate answers',
            got=" ".join(str(fault).split()),
        ) from None


def _asked_program(prompt: str, command: str) -> str:
    """What a program prints for a prompt on its standard input."""
    try:
        done = subprocess.run(
            shlex.split(command), input=prompt, capture_output=True, encoding="utf-8", timeout=_TIMEOUT_S, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError) as fault:
        said = getattr(fault, "stderr", None) or fault
        raise UserError(
            "The translator could not be run.",
            where=f"{TRANSLATOR}={command}",
            expected="a command that reads a prompt and prints it in English",
            got=said,
        ) from None
    return done.stdout
