"""The captions of recorded episodes: those to train on, and those held out for measuring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.reading.contents import read_yaml

TABLE = Path(__file__).with_name("captions.yaml")


@dataclass(frozen=True)
class Captions:
    """The captions of one behaviour."""

    train: tuple[str, ...]
    held_out: tuple[str, ...] = ()


def read_captions(path: str | Path = TABLE) -> dict[str, Captions]:
    """The table: behaviour → captions.

    Raises:
        UserError: the file is missing, not YAML of the expected form, or a caption is in both lists or in two behaviours.
    """
    table: dict[str, Captions] = {}
    owner: dict[str, str] = {}
    for behaviour, lists in read_yaml(path, "table of captions").items():
        if not isinstance(lists, dict) or not _texts(lists.get("train")) or not _texts(lists.get("held_out", [""])):
            expected = "behaviour: {train: [text, …], held_out: [text, …]}"
            raise UserError(
                "This table of captions has the wrong form.", where=f"{path}, {behaviour!r}", expected=expected
            )
        captions = Captions(tuple(lists["train"]), tuple(lists.get("held_out", ())))
        for text in captions.train + captions.held_out:
            if text in owner:
                raise UserError("A caption appears twice.", where=path, got=f"{text!r}: {owner[text]}, {behaviour}")
            owner[text] = str(behaviour)
        table[str(behaviour)] = captions
    return table


def _texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def captions_of(metadata: dict[str, Any], table: dict[str, Captions], where: object = "") -> tuple[str, Captions]:
    """An episode's behaviour and captions: those of its metadata and the table's for its behaviour.

    Captions that the table holds out are never returned as training captions.

    Raises:
        UserError: neither the metadata nor the table has any.
    """
    behaviour = str(metadata.get("behaviour") or "")
    known = table.get(behaviour, Captions(()))
    own = metadata.get("captions") or []
    if own and not _texts(own):
        raise UserError("Captions in the metadata must be a list of texts.", where=where, got=repr(own)[:80])
    # Recordings of a person without a prompt have an empty one.
    train = tuple(text for text in dict.fromkeys([*own, *known.train]) if text.strip() and text not in known.held_out)
    if not train:
        raise UserError(
            "An episode has no captions.",
            where=where,
            expected=f'"captions" in its metadata.json, or a "behaviour" out of {", ".join(table)}',
            got=f"behaviour {behaviour!r}",
        )
    return behaviour or train[0], Captions(train, known.held_out)


def task_of(metadata: dict[str, Any], table: dict[str, Captions]) -> str:
    """An episode's first caption: its own, or that of its behaviour; "" if it has none."""
    try:
        return captions_of(metadata, table)[1].train[0]
    except UserError:
        return ""
