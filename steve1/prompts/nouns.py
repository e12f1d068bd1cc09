"""Reads the nouns of a Chinese prompt, with their numbers, adjectives and what they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from steve1.prompts.english import Noun, plural, spoken, with_article
from steve1.prompts.words import Token, dictionary

NOMINAL = {"mass", "count", "before", "amounts", "number", "size", "measure", "ordinal"}
EXTENT = {"高": "tall", "长": "long", "宽": "wide", "深": "deep", "远": "away"}
_AND = ("和", "与", "跟", "以及", "还有")
_ASIDE = {
    "forward": "in front",
    "backward": "behind",
    "left": "on the left",
    "right": "on the right",
    "up": "above",
    "down": "below",
    "around": "nearby",
}
_ONE = ("another", "every", "a whole", "half a", "the", "any")  # amounts that leave a noun in the singular


@dataclass
class Cursor:
    """The words of a clause, and how far it has been read."""

    tokens: Sequence[Token]
    at: int = 0

    @property
    def more(self) -> bool:
        """Whether there is a word left."""
        return self.at < len(self.tokens)

    def kinds(self, ahead: int = 0) -> dict[str, Any]:
        """What the next word may be, or one further ahead; {} behind the end."""
        return self.tokens[self.at + ahead].kinds if self.at + ahead < len(self.tokens) else {}

    def text(self, ahead: int = 0) -> str:
        """The next word, or one further ahead; "" behind the end."""
        return self.tokens[self.at + ahead].text if self.at + ahead < len(self.tokens) else ""

    def nominal(self, ahead: int = 0) -> bool:
        """Whether that word may be a part of a noun."""
        return bool(NOMINAL & set(self.kinds(ahead)))

    def verb_follows(self) -> bool:
        """Whether there is a verb behind the next word."""
        return any({"verbs", "phrases"} & set(token.kinds) for token in self.tokens[self.at + 1 :])


def read_nouns(cursor: Cursor, *, article: str = "", plural: bool = False, has_verb: bool = False) -> list[Noun]:
    """One noun, or several joined by "and"; [] and the cursor where it was if there is none.

    Args:
        article: "the" where a noun that is counted has it; otherwise "a".
        plural: such a noun stands in the plural where no number is said.
        has_verb: a verb stands in front, so a word that may be a noun or a verb is a noun.
    """
    nouns: list[Noun] = []
    while (noun := _NounPhrase(article, plural).read(cursor, has_verb)) is not None:
        nouns.append(noun)
        if not (cursor.text() in _AND and cursor.nominal(1)):
            break
        cursor.at += 1
    return nouns


@dataclass
class _NounPhrase:
    """What has been read of one noun."""

    article: str
    plural: bool
    number: int | None = None
    amount: str = ""
    measure: str = ""
    behind: list[str] = field(default_factory=list)  # "three blocks tall", "in the chest"
    adjectives: list[str] = field(default_factory=list)
    nouns: list[tuple[str, bool]] = field(default_factory=list)  # (English, whether it is counted)

    def read(self, cursor: Cursor, has_verb: bool) -> Noun | None:
        """The noun at the cursor."""
        start = cursor.at
        while cursor.more and ((not self.nouns and self._number(cursor)) or self._name(cursor, has_verb)):
            cursor.at += 1
        if self.nouns:
            return self._noun()
        cursor.at = start
        return None

    def _number(self, cursor: Cursor) -> bool:
        """A number, amount or measure; its last word is left for the caller to pass."""
        kinds = cursor.kinds()
        measure, unit = kinds.get("measure", ("", ""))
        if "number" in kinds:
            self.number = kinds["number"]
        elif "ordinal" in kinds:
            self.adjectives.append(kinds["ordinal"])
            self.article = "the"
            if cursor.text(1) == "格":
                self.nouns.append(("slot", True))
                cursor.at += 1
        elif "size" in kinds:
            self.adjectives.append(kinds["size"])
        elif "amounts" in kinds and (cursor.text() != "点" or cursor.nominal(1)):
            self.amount = kinds["amounts"]
        elif measure in ("plain", "of") and not self.adjectives and (self.number or self.amount or cursor.nominal(1)):
            self.measure = unit or self.measure
            self.number = self.number or (None if self.amount else 1)
        elif measure == "length" and self.number is not None:
            if cursor.text(1) in EXTENT:
                self.behind.append(f"{spoken(self.number)} {_units(unit, self.number)} {EXTENT[cursor.text(1)]}")
                cursor.at += 1
            elif unit == "layer":
                self.adjectives.append(f"{spoken(self.number)}-story")
            self.number = None
        else:
            return False
        return True

    def _name(self, cursor: Cursor, has_verb: bool) -> bool:
        """An adjective, a material or the noun itself."""
        kinds = cursor.kinds()
        if "before" in kinds and (cursor.nominal(1) or cursor.text(1) == "的"):
            self.adjectives.append(kinds["before"])
        elif "directions" in kinds and cursor.text(1) == "的" and not self.nouns:
            self.behind.append(_ASIDE.get(kinds["directions"], ""))
            self.article = "the"
            cursor.at += 1
        elif self.nouns and {"verbs", "phrases"} & set(kinds) and not has_verb and not cursor.verb_follows():
            return False
        elif "mass" in kinds or "count" in kinds:
            self.nouns.append((kinds.get("count") or kinds["mass"], "count" in kinds))
        elif self.nouns and "places" in kinds and cursor.text(1) == "的" and cursor.nominal(2):
            whole = " ".join(noun for noun, _ in self.nouns)
            whole = whole if whole.startswith("the ") else f"{'your' if whole == 'hand' else 'the'} {whole}"
            self.behind.append(f"{kinds['places']} {whole}")
            self.nouns, self.number, self.amount, self.measure, self.article = [], None, "", "", "the"
            cursor.at += 1
        elif cursor.text() == "的" and (self.nouns or self.adjectives or self.behind) and cursor.nominal(1):
            pass
        elif cursor.text() == "们" and self.nouns:
            self.plural = True
        else:
            return False
        return True

    def _noun(self) -> Noun:
        """The noun in English."""
        words = dictionary()
        head, counted = self.nouns[-1]
        made_of = [words.materials.get(noun, noun) for noun, _ in self.nouns[:-1]]
        noun = " ".join([*self.adjectives, *made_of, head])
        several = plural(noun, words.plurals) if counted else noun
        if self.measure:
            container, of = self.measure.rsplit(" ", 1)
            many = (self.number or 1) > 1
            container = f"{spoken(self.number or 1)} {plural(container, {})}" if many else with_article(container)
            text = f"{container} {of} {several}"
        elif self.number is not None:
            text = f"{spoken(self.number)} {several}" if self.number != 1 else with_article(noun) if counted else noun
        elif self.amount:
            text = f"{self.amount} {noun if self.amount in _ONE else several}"
        elif not counted or noun.startswith(("the ", "your ")):
            text = noun
        elif self.plural or (head.endswith("s") and words.plurals.get(head) == head):  # boots
            text = several
        elif self.article == "the" or "nearest" in self.adjectives:
            text = f"the {noun}"
        else:
            text = with_article(noun)
        return Noun(" ".join(part for part in (text, *self.behind) if part), head)


def _units(unit: str, number: int) -> str:
    return unit if number == 1 else unit + "s"
