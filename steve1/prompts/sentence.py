"""Writes a verb with what belongs to it as English, and chooses the English verb that goes with its object."""

from __future__ import annotations

from collections.abc import Sequence

from steve1.prompts.english import Noun, VerbPhrase, definite, gerund, joined
from steve1.prompts.words import dictionary

_GIVING = ("feed", "bring", "sell", "install", "add", "throw to")  # done to somebody, not for somebody
_VESSELS = ("bucket", "bottle", "bowl")


def sentence(phrase: VerbPhrase, last: VerbPhrase | None) -> str:
    """One verb with what belongs to it; `last`, the phrase before it, has what "it" stands for."""
    objects: Sequence[Noun] = phrase.objects or phrase.front
    after = list(phrase.after)
    if phrase.to and not objects and phrase.verb:
        objects = phrase.to
    elif phrase.to:
        after.append(f"{'to' if phrase.verb and phrase.verb[0] in _GIVING else 'for'} {joined(phrase.to)}")
    verb = phrase.fixed
    if phrase.verb:
        verb = _chosen(phrase.verb, objects)
        if verb in dictionary().lists["to_it"] and not objects and last and (last.objects or last.front):
            objects = [Noun("it", "")]
        if phrase.front and phrase.objects:
            verb, objects = _two_objects(verb, phrase, after)
        if objects:
            verb, objects = _filled(verb, objects)
    if phrase.kept_up and verb:
        verb = f"keep {gerund(verb)}"
    if phrase.negated and verb:
        verb = f"stop {gerund(verb)}" if phrase.ended and phrase.verb else f"do not {verb}"
    return " ".join(part for part in (verb, joined(objects), *after, *phrase.adverbs) if part)


def _two_objects(verb: str, phrase: VerbPhrase, after: list[str]) -> tuple[str, list[Noun]]:
    """ "put coal into the furnace": the noun in front of the verb is moved to the place behind it."""
    if " " not in verb:
        after.insert(0, f"with {joined(phrase.front)}")
        return verb, phrase.objects
    verb, _, particle = verb.rpartition(" ")
    becomes = particle == "into" and not phrase.objects[0].text.startswith("a ")  # planks, not a furnace
    after.insert(0, f"{particle} {joined(phrase.objects if becomes else [definite(noun) for noun in phrase.objects])}")
    return verb, phrase.front


def _filled(verb: str, objects: Sequence[Noun]) -> tuple[str, Sequence[Noun]]:
    """ "fill a bucket with water", whatever Chinese does with the bucket."""
    vessel, of, content = objects[0].text.partition(" of ")
    if of and vessel.rsplit(" ", 1)[-1] in _VESSELS and verb in ("break", "install", "fill", "scoop up", "take", "get"):
        return "fill", [Noun(f"{vessel} with {content}", "")]
    return verb, objects


def _chosen(verb: Sequence[str], objects: Sequence[Noun]) -> str:
    """The English verb that goes with these objects, where Chinese has one for several."""
    if not objects:
        return verb[-1]
    lists, text, head = dictionary().lists, objects[0].text, objects[0].head
    built = head in lists["structures"] or "automatic" in text
    mob = head in lists["mobs"]
    choices = {
        "dig": "dig" if head in lists["dug"] else "mine",
        "make": "build" if built else "make" if head in ("food", "cake") else "craft",
        "craft": "build" if built else "craft",
        "build": "craft" if head.rsplit(" ", 1)[-1] in lists["repaired"] else "build",
        "repair": "build" if built else "repair",
        "lay": "build" if head in lists["laid"] else "place",
        "hit": "fight" if mob else "break",
        "chop": "attack" if mob else "chop",
        "cut": "shear" if head in ("sheep", "wool") else "cut",
        "close": "turn off" if "lamp" in head else "close",
    }
    return choices.get(verb[0], verb[0])
