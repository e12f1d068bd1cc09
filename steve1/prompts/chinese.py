"""Reads a Chinese prompt about Minecraft as English, with a dictionary and the grammar of short imperatives.

Input: a prompt such as "用木头建一座小房子". Output: "build a small house with wood", and the words that are not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from steve1.prompts.english import VerbPhrase, definite, joined, spoken
from steve1.prompts.nouns import EXTENT, NOMINAL, Cursor, read_nouns
from steve1.prompts.sentence import sentence
from steve1.prompts.words import Token, dictionary, tokens

_ENDS = {"on top of": "the top of ", "at the bottom of": "the bottom of ", "at the end of": "the end of "}
_HAVE_A_PLACE = (" into", " on", " to", " onto", " in", "climb")  # verbs that end so have their place as their object
_BEHIND_THE_VERB = ("在", "到", "去", "有没有", "和", "与", "跟")  # prepositions that may stand behind their verb


@dataclass(frozen=True)
class Reading:
    """english: the prompt in English, as far as it was understood; unknown: parts that are not in the dictionary."""

    english: str
    unknown: tuple[str, ...]


def is_chinese(prompt: str) -> bool:
    """Whether there is a Chinese character in a prompt."""
    return re.search(r"[\u4e00-\u9fff]", prompt) is not None


def read_chinese(prompt: str) -> Reading:
    """A prompt in English. What is not understood is left out and named."""
    text = prompt.strip().replace("、", "和")
    said: list[str] = []
    unknown: list[str] = []
    for clause in re.split(r"[，,。.；;！!？?\s：:~～]+", text):
        for part in _split_at_and(tokens(clause)):
            unknown += [token.text for token in part if not token.kinds]
            phrases = [phrase for phrase in _Clause(part).read() if not phrase.empty]
            said += [sentence(phrase, last) for last, phrase in zip([None, *phrases], phrases)]
    return Reading(" and ".join(said).replace(" to and ", " to "), tuple(unknown))


def _split_at_and(words: list[Token]) -> Iterator[list[Token]]:
    """The parts between words such as "then"."""
    part: list[Token] = []
    for token in words:
        between = part and "prepositions" in part[-1].kinds and len(part[-1].kinds) == 1  # and its noun
        if "and" in token.kinds and "fillers" not in token.kinds and not between:
            yield part
            part = []
        else:
            part.append(token)
    yield part


class _Clause:
    """Reads the words of one clause from left to right."""

    def __init__(self, words: list[Token]) -> None:
        self.cursor = Cursor([token for token in words if token.kinds])
        self.done: list[VerbPhrase] = []
        self.now = VerbPhrase()

    def read(self) -> list[VerbPhrase]:
        """The verbs of the clause with what belongs to each."""
        while self.cursor.more:
            self._step(self.cursor.kinds(), self.cursor.text())
        return [*self.done, self.now]

    def _step(self, kinds: dict[str, Any], text: str) -> None:
        """Read the next word, and those that belong to it."""
        now, noun_follows = self.now, self.cursor.nominal(1)
        noun_fits = bool({"mass", "count"} & set(kinds) and (now.verb or now.after) and not now.objects)
        if "phrases" in kinds and not ("verbs" in kinds and noun_follows):
            self._begin()
            self.now.fixed = kinds["phrases"]
        elif "not" in kinds:
            now.negated = True
        elif "keep" in kinds:
            now.kept_up = True
        elif text == "了":
            now.ended = True
        elif "quickly" in kinds and (text == "满" or not noun_follows):
            now.adverbs.append(kinds["quickly"])
        elif "prepositions" in kinds and self._preposition(kinds["prepositions"], text):
            return
        elif "verbs" in kinds and not noun_fits:
            self._begin()
            self.now.verb = kinds["verbs"]
        elif "directions" in kinds and "before" not in kinds and (now.verb or len(text) > 1):
            now.after.append(kinds["directions"])
        elif NOMINAL & set(kinds) and self._object():
            return
        self.cursor.at += 1

    def _begin(self) -> None:
        """Another verb: a new phrase, unless this one has none yet."""
        if self.now.verb or self.now.fixed:
            self.done.append(self.now)
            self.now = VerbPhrase()

    def _preposition(self, english: str, text: str) -> bool:
        """A preposition with its noun or direction, or a word that is a verb here; False if it is neither."""
        cursor, has_verb = self.cursor, bool(self.now.verb or self.now.fixed)
        if text in ("去", "到") and not has_verb:
            if cursor.nominal(1) or "directions" in cursor.kinds(1):
                self.now.verb = ["go to", "go"]
            cursor.at += 1
            return True
        if text in ("拿", "使用", "用") and not cursor.verb_follows():
            self._begin()
            self.now.verb = ["get"] if text == "拿" else ["use"]
            cursor.at += 1
            return True
        if text == "跟" and not cursor.verb_follows():
            return False
        if has_verb and text not in _BEHIND_THE_VERB and cursor.verb_follows():
            self._begin()
        elif english == "and" and not has_verb:
            english = "with"
        start = cursor.at
        cursor.at += 1
        if english == "toward" and "directions" in cursor.kinds():
            self.now.after.append(cursor.kinds()["directions"])
            cursor.at += 1
            return True
        article = "" if english == "with" else "the"
        nouns = read_nouns(cursor, article=article, plural=text == "有没有", has_verb=bool(self.now.verb))
        if not nouns:
            cursor.at = start
            return False
        if text in ("给", "为"):
            self.now.to += nouns
        elif english == "":
            self.now.front += nouns
        elif english == "and":
            self.now.objects += nouns
        else:
            place = self._place()
            if english == "in" and nouns[0].head in dictionary().lists["stands_on"]:
                english = "on"
            self.now.after.append(f"{place or english if english == 'in' else english} {joined(nouns)}")
        return True

    def _place(self) -> str:
        """Where something is in relation to the noun just read; "" if that is not said."""
        place = self.cursor.kinds().get("places")
        self.cursor.at += place is not None
        return str(place or "")

    def _object(self) -> bool:
        """A noun, a distance, a time or a number of times; False if there is none."""
        now = self.now
        if extent := self._extent():
            now.after.append(extent)
            return True
        verb = now.verb[0] if now.verb else ""
        several = verb in dictionary().lists["plural_after"] or "everywhere" in now.adverbs
        nouns = read_nouns(self.cursor, plural=several, has_verb=bool(verb))
        if not nouns:
            return False
        place = self._place()
        if place:
            nouns = [definite(noun) for noun in nouns]
        if place and verb.endswith((" to", "climb")):
            nouns[0].text = _ENDS.get(place, "") + nouns[0].text
        if place and not verb.endswith(_HAVE_A_PLACE):
            now.after.append(f"{place} {joined(nouns)}")
        elif now.verb:
            now.objects += nouns
        else:
            now.front += nouns
        return True

    def _extent(self) -> str:
        """ "five blocks", "for ten seconds", "three times"; "" if this is none."""
        cursor = self.cursor
        kind, unit = cursor.kinds(1).get("measure", ("", ""))
        if "number" not in cursor.kinds() or kind not in ("length", "time", "times"):
            return ""
        length = 2 + (kind == "length" and cursor.text(2) in EXTENT)
        if kind == "length" and (
            {"mass", "count", "before"} & set(cursor.kinds(length)) or cursor.text(length) == "的"
        ):
            return ""  # "a three-story house"
        number = cursor.kinds()["number"]
        cursor.at += length
        if kind == "times":
            return {1: "once", 2: "twice"}.get(number, f"{spoken(number)} times")
        words = f"{spoken(number)} {unit if number == 1 else unit + 's'}"
        return f"for {words}" if kind == "time" else words
