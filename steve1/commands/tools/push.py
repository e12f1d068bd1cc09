"""Command: weights, goals, replay packs and datasets → the Hugging Face hub, or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from steve1.core.errors import UserError
from steve1.core.files import existing_file
from steve1.core.messages import message, progress, say_next, translated
from steve1.core.options import Option
from steve1.core.paths import resolve
from steve1.hub.bundle import bundle_of
from steve1.hub.places import FolderPlace, HubPlace, place_of
from steve1.hub.transfer import push


@dataclass(frozen=True)
class Args:
    """Flags of `steve1 push`."""

    path: Annotated[str, Option(positional=True)] = ""
    """What to push: weights, an adapter, a goal file, a replay pack, or the folder of a dataset."""
    to: str = ""
    """Where to: user/name on the hub, or a folder: ./folder, /folder or file:///folder."""
    evaluations: tuple[str, ...] = ()
    """Folders of evaluations (data/evaluations/…) whose results the card shows."""
    licence: str = ""
    """Licence in the card, such as mit or cc-by-4.0."""
    private: bool = True
    """Make a new repository private."""
    overwrite: bool = False
    """Replace the files of an earlier push: those that differ; those that are not among these are removed."""
    dry_run: bool = False
    """Print the card and the files, and push nothing."""


def main(args: Args) -> None:
    """Write the card, send what is missing."""
    if not args.path or not (args.to or args.dry_run):
        what = "Say what to push, and where to."
        raise UserError(what, todo="python -m steve1 push data/weights/steve1/quickstart.weights --to user/quickstart")
    path = resolve(args.path)
    if not path.is_dir():
        path = existing_file(args.path, "These files")
    bundle = bundle_of(path, [resolve(folder) for folder in args.evaluations], args.licence)
    size = sum(file.stat().st_size for file in bundle.files.values())
    if args.dry_run:
        print(bundle.card)
        print(*(f"  {name}" for name in list(bundle.files)[:50]), sep="\n")
        print(translated(f"{len(bundle.files)} files, {size / 1e6:,.1f} MB, not pushed (--dry_run)"))
        return
    place = place_of(args.to, bundle.repository_kind, private=args.private, writing=True)
    if isinstance(place, FolderPlace) and path.resolve() in place.path.resolve().parents:
        what, todo = "This folder would be pushed into itself.", "name a folder outside of it with --to"
        raise UserError(what, where=place.path, todo=todo)
    with progress(total=size, desc=message("bar pushing"), unit="B", unit_scale=True) as bar:
        moved = push(bundle, place, overwrite=args.overwrite, on_file=lambda name, length: bar.update(length))
    print(translated(f"{len(moved.sent)} files pushed to {place.name}, {len(moved.there)} were there already"))
    if isinstance(place, HubPlace):
        say_next(f"python -m steve1 pull {place.repository}{' --dataset' * (place.kind == 'dataset')}")
