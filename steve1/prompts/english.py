"""Puts the words of a prompt together in English: nouns with their articles, verbs with what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_DOUBLED = {"dig", "swim", "run", "chop", "cut", "get", "put", "hit", "sit", "drop", "hop"}


@dataclass
class Noun:
    """text: as it stands in the sentence, with its article; head: singular, without article and adjectives."""

    text: str
    head: str


@dataclass
class VerbPhrase:
    """A verb with what belongs to it.

    Attributes:
        verb: its form before an object, and its form without one.
        fixed: a whole phrase instead of a verb.
        front: nouns named before the verb; objects: after it; to: for whom.
        after: "in the water", "down", "five blocks"; adverbs: "quickly".
        negated, ended, kept_up: "do not …", with `negated` "stop …ing", "keep …ing".
    """

    verb: Sequence[str] = ()
    fixed: str = ""
    front: list[Noun] = field(default_factory=list)
    objects: list[Noun] = field(default_factory=list)
    to: list[Noun] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    adverbs: list[str] = field(default_factory=list)
    negated: bool = False
    ended: bool = False
    kept_up: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing has been read."""
        return not (self.verb or self.fixed or self.front or self.objects or self.to or self.after)


def spoken(number: int) -> str:
    """ "three" for 3; digits from 13 on."""
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def plural(noun: str, irregular: Mapping[str, str]) -> str:
    """The plural of a noun, which may have adjectives in front."""
    if noun in irregular:
        return irregular[noun]
    first, space, last = noun.rpartition(" ")
    if last in irregular:
        return first + space + irregular[last]
    if last.endswith(("s", "x", "ch", "sh")):
        return first + space + last + "es"
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return first + space + last[:-1] + "ies"
    return first + space + last + "s"


def with_article(noun: str) -> str:
    """ "an axe", "a sword"."""
    return f"{'an' if noun[0] in 'aeioAEIO' or noun.startswith('under') else 'a'} {noun}"


def definite(noun: Noun) -> Noun:
    """The same with "the" instead of "a"."""
    for article in ("a ", "an "):
        if noun.text.startswith(article):
            return Noun("the " + noun.text.removeprefix(article), noun.head)
    return noun


def joined(nouns: Sequence[Noun]) -> str:
    """ "dirt and sand"."""
    return " and ".join(noun.text for noun in nouns)


def gerund(verb: str) -> str:
    """ "run forward" → "running forward"."""
    first, space, rest = verb.partition(" ")
    if first in _DOUBLED:
        return first + first[-1] + "ing" + space + rest
    return (first[:-1] if first.endswith("e") and not first.endswith("ee") else first) + "ing" + space + rest
