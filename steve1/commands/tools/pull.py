"""Command: the Hugging Face hub, or a folder → weights, goals, replay packs and datasets here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from steve1.core.errors import UserError
from steve1.core.files import check_writable
from steve1.core.messages import message, progress, say_next, translated
from steve1.core.options import Option
from steve1.core.paths import display, output_path, quoted
from steve1.hub.places import HubPlace, place_of
from steve1.hub.transfer import pull, read_manifest

#: what comes next, by what was pulled
_NEXT = {
    "episodes": "python -m steve1 inspect_dataset {}",
    "lerobot": "SOURCE=lerobot RECORDINGS_DIR={} bash 1_generate_dataset.sh",
    "minestudio": "SOURCE=minestudio RECORDINGS_DIR={} bash 1_generate_dataset.sh",
}


@dataclass(frozen=True)
class Args:
    """Flags of `steve1 pull`."""

    source: Annotated[str, Option(positional=True)] = ""
    """Where from: user/name on the hub, a folder, or file:///folder."""
    dataset: bool = False
    """The repository is a dataset, not a model."""
    output_dir: str = ""
    """Where to; default: data/weights/<name>, of a dataset data/<name>."""
    revision: str = "main"
    """Branch, tag or commit of the hub."""
    overwrite: bool = False
    """Replace files here that differ."""


def main(args: Args) -> None:
    """Bring what is missing."""
    if not args.source:
        raise UserError("Say what to pull.", todo="python -m steve1 pull user/quickstart")
    kind = "dataset" if args.dataset else "model"
    place = place_of(args.source, kind, revision=args.revision, writing=False)
    name = place.repository.partition("/")[2] if isinstance(place, HubPlace) else Path(place.name).name
    manifest = read_manifest(place)
    dataset = args.dataset or (manifest is not None and manifest.kind in _NEXT)
    folder = output_path(args.output_dir or (f"data/{name}" if dataset else f"data/weights/{name}"))
    check_writable(folder)
    with progress(desc=message("bar pulling"), unit="B", unit_scale=True) as bar:
        found, moved = pull(
            place, folder, manifest=manifest, overwrite=args.overwrite, on_file=lambda path, size: bar.update(size)
        )
    for each in moved.kept:
        print(message("pull kept", name=display(folder / each)))
    print(translated(f"{len(moved.sent)} files pulled to {display(folder)}, {len(moved.there)} were there already"))
    if found in _NEXT:
        say_next(_NEXT[found].format(quoted(folder)))
