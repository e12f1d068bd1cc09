"""Finds a MineRL action's buttons and camera in the columns of a LeRobot dataset: by our names, or by a mapping file.

The mapping (steve1/mapping.yaml in the dataset) has `actions`: our name → theirs, and may name the `picture`. Theirs is a name within
"action", or FEATURE:NAME or FEATURE:NUMBER; {column: …, scale: …} multiplies, such as pixels of the mouse to degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError, nearest
from steve1.core.paths import display
from steve1.core.reading.contents import read_yaml
from steve1.data.exchange.lerobot.schema import ACTION_NAMES, CAMERA, CAMERA_NAMES, MAPPING


@dataclass(frozen=True)
class Source:
    """Where one of our 25 numbers comes from: a feature, the place in it, and what to multiply by."""

    feature: str
    place: int
    scale: float = 1.0


def flat_names(names: Any) -> list[str]:
    """A feature's names, which datasets write as a list, a nested list or a dict of lists; [] without."""
    if isinstance(names, str):
        return [names]
    if isinstance(names, dict):
        names = list(names.values()) if all(isinstance(each, (list, dict)) for each in names.values()) else list(names)
    return [name for each in names or [] for name in flat_names(each)] if isinstance(names, (list, tuple)) else []


@dataclass(frozen=True)
class Columns:
    """The mapping of a dataset.

    Attributes:
        sources: our name → where it is.
        missing: buttons that the dataset does not have, which count as never pressed.
    """

    sources: dict[str, Source]
    missing: tuple[str, ...]

    @property
    def features(self) -> list[str]:
        """The columns to read."""
        return sorted({source.feature for source in self.sources.values()})

    def actions(self, columns: dict[str, NDArray[Any]], where: object) -> list[act.EnvAction]:
        """MineRL actions of N frames, from the columns (N, k) of `features`.

        Raises:
            UserError: a number is not finite (names the frame).
        """
        found = np.zeros((len(next(iter(columns.values()))), len(ACTION_NAMES)))
        for number, name in enumerate(ACTION_NAMES):
            if source := self.sources.get(name):
                rows = columns[source.feature]
                if source.place >= rows.shape[1] or rows.dtype.kind not in "bifu":
                    got = f"rows of {rows.shape[1]} ({rows.dtype})"
                    raise UserError(f"The column {source.feature!r} is not as described.", where=where, got=got)
                found[:, number] = rows[:, source.place].astype(np.float64) * source.scale
        bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(bad):
            raise UserError("An action is not a finite number.", where=f"{where}, frame {int(bad[0])}")
        pressed, camera = (found[:, : -len(CAMERA_NAMES)] > 0.5).tolist(), found[:, -len(CAMERA_NAMES) :].tolist()
        return [
            {**dict(zip(act.ENV_BUTTONS, map(int, buttons))), "camera": move} for buttons, move in zip(pressed, camera)
        ]


def find_columns(root: Path, features: dict[str, Any], mapping: dict[str, Any]) -> Columns:
    """Find all actions in a dataset's features.

    Args:
        mapping: `actions` of the mapping file, {} without one.

    Raises:
        UserError: the dataset has no camera or none of our buttons by these names; names what is missing and what there is.
    """
    known = {name: flat_names(feature.get("names")) for name, feature in features.items() if isinstance(feature, dict)}
    theirs = known.get("action", [])
    sources = {name: Source("action", theirs.index(name)) for name in ACTION_NAMES if name in theirs}
    if CAMERA in known and not mapping and features[CAMERA].get("shape") == [2]:
        # The same movements, not rounded to 32 bits.
        sources |= {name: Source(CAMERA, place) for place, name in enumerate(CAMERA_NAMES)}
    for name, given in mapping.items():
        if name not in ACTION_NAMES:
            what = "The mapping names an action that does not exist here."
            raise UserError(what, where=root / MAPPING, expected=nearest(str(name), list(ACTION_NAMES)), got=name)
        sources[name] = _source(root, features, known, name, given)
    missing = tuple(name for name in ACTION_NAMES if name not in sources)
    buttons = [name for name in sources if name in act.ENV_BUTTONS]
    if not buttons or set(CAMERA_NAMES) & set(missing):
        raise UserError(
            "The actions of this dataset have other names than Minecraft's.",
            where=root,
            expected=f"action with {', '.join(ACTION_NAMES)}; missing: {', '.join(missing)}",
            got=", ".join(theirs) or f"action without names, of shape {features.get('action', {}).get('shape')}",
            todo=f"say which is which in {display(root / MAPPING)}, such as: actions: {{forward: key_w, camera_yaw: {{column: 'action:5', scale: 0.15}}}}",
        )
    return Columns(sources, missing)


def _source(root: Path, features: dict[str, Any], known: dict[str, list[str]], ours: str, given: Any) -> Source:
    scale, column = 1.0, given
    if isinstance(given, dict):
        column, scale = given.get("column"), given.get("scale", 1.0)
    feature, _, place = str(column).rpartition(":")
    feature = feature or "action"
    names = known.get(feature, [])
    shape = features.get(feature, {}).get("shape")
    width = shape[0] if isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) else 0
    number = names.index(place) if place in names else int(place) if place.isdecimal() and len(place) < 6 else -1
    good = isinstance(scale, (int, float)) and not isinstance(scale, bool)
    if not good or not 0 <= number < width:
        raise UserError(
            "The mapping names something that this dataset does not have.",
            where=f"{root / MAPPING}, actions.{ours}",
            expected=f"a name of {feature}: {', '.join(names[:30])}"
            if names
            else f"FEATURE:NUMBER, such as action:0; features: {', '.join(known)}",
            got=str(given),
        )
    return Source(feature, number, float(scale))


def read_mapping(root: Path) -> tuple[dict[str, Any], str]:
    """The mapping file of a dataset: its actions and the picture that it names; nothing without one.

    Raises:
        UserError: it is not YAML of this form.
    """
    path = root / MAPPING
    if not path.exists():
        return {}, ""
    found = read_yaml(path, "mapping of a dataset's actions")
    actions, picture = found.get("actions") or {}, found.get("picture") or ""
    if not isinstance(actions, dict) or not isinstance(picture, str) or set(found) - {"actions", "picture"}:
        expected = "actions: {our name: theirs, …} and picture: FEATURE"
        raise UserError("This mapping has another form.", where=path, expected=expected, got=", ".join(map(str, found)))
    return actions, picture
