"""Cuts a Chinese prompt into the words of chinese_terms.yaml."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from steve1.prompts.english import plural, spoken

_TERMS = Path(__file__).with_name("chinese_terms.yaml")
_NUMBER = re.compile(r"\d+|[零一二两俩三四五六七八九十百千]+")
_LATIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_SIDE, _BY = r"(\d+|[一二两三四五六七八九十]+)", r"\s*(?:[xX×*]|乘以?)\s*"
_SIZE = re.compile(f"{_SIDE}{_BY}{_SIDE}(?:{_BY}{_SIDE})?")
_DIGITS = {"零": 0, "一": 1, "二": 2, "两": 2, "俩": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_ORDINALS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_LONGEST = 24


@dataclass(frozen=True)
class Token:
    """A word; kinds: {kind of word: its English}, empty for what is not known."""

    text: str
    kinds: dict[str, Any]


class Dictionary:
    """The terms by their Chinese.

    Attributes:
        words: {Chinese: {kind of word: English}}.
        plurals: {singular: plural} of all nouns that are counted.
        materials: {noun: how it stands before what is made of it}.
        lists: sets of English words by the name of their section.
    """

    def __init__(self) -> None:
        terms = yaml.safe_load(_TERMS.read_text(encoding="utf-8"))
        self.words: dict[str, dict[str, Any]] = {}
        self.plurals: dict[str, str] = {}
        self.materials: dict[str, str] = terms["materials"]
        listed = ("dug", "laid", "repaired", "stands_on", "plural_after", "to_it")
        self.lists: dict[str, set[str]] = {key: set(terms[key]) for key in listed}
        plain = ("phrases", "verbs", "mass", "directions", "places", "prepositions", "before", "amounts", "quickly")
        for kind in plain:
            for chinese, english in terms[kind].items():
                self._add(chinese, kind, english)
        for section in ("count", "structures", "mobs"):
            names = [english.partition("|") for english in terms[section].values()]
            for chinese, (singular, _, several) in zip(terms[section], names):
                self._counted(chinese, singular, several)
            self.lists[section] = {singular for singular, _, _ in names}
        for kind in ("and", "not", "keep", "fillers"):
            for chinese in terms[kind]:
                self._add(chinese, kind, "")
        for kind, units in terms["measures"].items():
            for chinese in units:
                self._add(chinese, "measure", (kind, units[chinese] if isinstance(units, dict) else ""))
        for chinese, material in terms["tool_materials"].items():
            for tool, english in terms["tools"].items():
                self._counted(chinese + tool, f"{material} {english}")
        for chinese, wood in terms["woods"].items():
            for part, english in terms["of_wood"].items():
                self._counted(chinese + part, f"{wood} {english}")
            for part, english in terms["of_wood_mass"].items():
                self._add(chinese + part, "mass", f"{wood} {english}")

    def _add(self, chinese: str, kind: str, english: Any) -> None:
        self.words.setdefault(chinese, {})[kind] = english

    def _counted(self, chinese: str, singular: str, several: str = "") -> None:
        self._add(chinese, "count", singular)
        self.plurals[singular] = several or plural(singular, self.plurals)

    def kinds(self, part: str) -> dict[str, Any]:
        """What a piece of text may be; {} where it is no word."""
        kinds = dict(self.words.get(part, {}))
        if _NUMBER.fullmatch(part):
            kinds["number"] = number(part)
        if part[0] == "第" and _NUMBER.fullmatch(part[1:]) and 0 < number(part[1:]) < len(_ORDINALS):
            kinds["ordinal"] = _ORDINALS[number(part[1:])]
        if match := _SIZE.fullmatch(part):
            kinds["size"] = " by ".join(spoken(number(side)) for side in match.groups() if side)
        if not kinds and _LATIN.fullmatch(part):
            kinds["count"] = part
        return kinds


@functools.cache
def dictionary() -> Dictionary:
    """The dictionary, read once."""
    return Dictionary()


def number(text: str) -> int:
    """64, 十五 and 两百 as whole numbers."""
    if text.isdigit():
        return int(text)
    total, last = 0, 0
    for letter in text:
        if letter in _DIGITS:
            last = _DIGITS[letter]
        else:
            total += (last or 1) * {"十": 10, "百": 100, "千": 1000}[letter]
            last = 0
    return total + last


def tokens(clause: str) -> list[Token]:
    """The clause in words: as few characters unknown as possible, then as few words, above all of one character, as possible."""
    best: list[tuple[tuple[int, int], int, Token]] = [
        ((0, 0), 0, Token("", {}))
    ]  # cost, where its last word begins, that word
    for end in range(1, len(clause) + 1):
        (unknown, count), _, _ = best[end - 1]
        choice = ((unknown + 1, count + 1), end - 1, Token(clause[end - 1], {}))
        for start in range(max(0, end - _LONGEST), end):
            part = clause[start:end]
            if kinds := dictionary().kinds(part):
                (unknown, count), _, _ = best[start]
                cost = count + 1 + (len(part) == 1)  # 打开|箱子, not 打|开箱子
                choice = min(choice, ((unknown, cost), start, Token(part, kinds)), key=lambda found: found[0])
        best.append(choice)
    found: list[Token] = []
    at = len(clause)
    while at:
        _, start, token = best[at]
        if not token.kinds and found and not found[-1].kinds:  # unknown characters side by side are one word
            found[-1] = Token(token.text + found[-1].text, {})
        else:
            found.append(token)
        at = start
    return found[::-1]
