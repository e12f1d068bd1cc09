"""Command: a table of datasets, and one HTML page that shows their episodes and which of them look suspicious."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from steve1.core.errors import UserError
from steve1.core.files import atomic_file, check_writable
from steve1.core.messages import message, padded, translated
from steve1.core.options import Option
from steve1.core.paths import display, output_path
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.parts import name_fault
from steve1.data.loading.sampling import SAMPLINGS
from steve1.data.quality.page import Inspected, inspect, overview, page


@dataclass(frozen=True)
class Args:
    """Flags of `tools/inspect_dataset.py`."""

    paths: Annotated[tuple[str, ...], Option(positional=True, aliases=("--dataset_dir",))] = ()
    """Dataset folders or single episodes."""
    output: str = "runs/inspect/report.html"
    """HTML file to write, with all pictures inside."""
    sheets: int = 24
    """Contact sheets per dataset, about 60 KB each: suspicious episodes first, then a sample of the rest."""
    workers: int = 1
    """Parallel processes."""
    serve: bool = False
    """Open a page on which episodes are played, marked good or bad, cut, and put on a sampling list. Episodes are only read."""
    samplings_dir: str = SAMPLINGS
    """With --serve: folder of the lists."""
    host: str = "127.0.0.1"
    """With --serve: address to answer on. Any other than 127.0.0.1 lets other machines in, who must know the token."""
    port: int = 8767
    """With --serve: port; 0: any free one."""


def main(args: Args) -> None:
    """Measure, judge, print, write the page."""
    if args.sheets < 0:
        raise UserError("--sheets must be at least 0.", got=args.sheets)
    target = output_path(args.output)
    check_writable(target)
    inspected = inspect(args.paths, workers=args.workers)
    _print(inspected)
    if args.serve:
        _serve(args, inspected)
        return
    made = f"python tools/inspect_dataset.py {' '.join(args.paths)}, {time.strftime('%Y-%m-%d %H:%M')}"
    with atomic_file(target, "w") as handle:
        handle.write(page(inspected, sheets=args.sheets, made=made))
    print(message("report size", path=display(target), megabytes=f"{target.stat().st_size / 1e6:.1f}"))


def _serve(args: Args, inspected: list[Inspected]) -> None:
    """Answer at the page until Ctrl-C."""
    from steve1.live.dataset_page import DatasetPage  # the page is optional, and so is its package
    from steve1.live.host import Host

    episodes, reasons = [], {}
    for dataset in inspected:
        ranked = dataset.ranked()
        for number in [*ranked, *(n for n in range(len(dataset.episodes)) if n not in set(ranked))]:
            path = dataset.episodes[number].path
            try:
                Episode(path)
                whole = path.name == os.fsencode(path.name).decode(errors="replace")
                reason = "" if whole else translated(name_fault(path.name))
            except UserError as fault:
                reason = fault.one_line
            if reason:  # the page shows the others
                print(f"  {padded(message('status refused'), 8)} {display(path)}: {reason}")
                continue
            episodes.append(path)
            if dataset.reasons[number]:
                reasons[path] = dataset.reasons[number][0].text
    if not episodes:
        raise UserError("No episode here can be shown.", where=", ".join(args.paths))
    with Host(DatasetPage(episodes, reasons, output_path(args.samplings_dir)), host=args.host, port=args.port) as host:
        print(message("live page", url=host.url))
        if host.is_public:
            print(message("live public", url=host.public_url))
        print(message("live tunnel", port=str(host.port)), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def _print(inspected: list[Inspected]) -> None:
    print(overview(inspected).console())
    for dataset in inspected:
        ranked = dataset.ranked()
        for number in ranked[:10]:
            worst = dataset.reasons[number][0]
            print(f"  {padded(worst.tag, 11)}{display(dataset.episodes[number].path)}: {worst.text}")
        if len(ranked) > 10:
            kinds = Counter(dataset.reasons[number][0].tag for number in ranked[10:])
            more = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
            print("  " + message("more episodes in", count=len(ranked) - 10, name=dataset.name, kinds=more))
