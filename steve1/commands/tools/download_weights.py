"""Downloads the published weights: every file with its fall-backs, resumed, verified where a checksum is known.

Output: files below data/weights/, data/prior_data/ and data/visual_prompts/.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from steve1.core.download import download
from steve1.core.errors import UserError, nearest
from steve1.core.messages import heading, padded, progress, translated
from steve1.core.options import Option
from steve1.core.paths import PUBLISHED, display

_VPT = "https://openaipublic.blob.core.windows.net/minecraft-rl/models/"
_IDM = "https://openaipublic.blob.core.windows.net/minecraft-rl/idm/"
_HUB = "https://huggingface.co/CraftJarvis/MineStudio_STEVE-1.official/resolve/main/"


@dataclass(frozen=True)
class Published:
    """One published file: where it goes, its size, and where it comes from: addresses, or a file of Google Drive."""

    path: str
    megabytes: float
    needed_for: str
    urls: tuple[str, ...] = ()
    drive: str = ""
    md5: str = ""
    optional: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """Addresses to try, in this order."""
        # confirm=t answers the question about the virus scan that large files bring up.
        return self.urls or (
            f"https://drive.usercontent.google.com/download?id={self.drive}&export=download&confirm=t",
        )

    @property
    def by_hand(self) -> str:
        """The page for a browser; "" where there is none."""
        return self.drive and f"https://drive.google.com/file/d/{self.drive}"


FILES = {
    "vpt_model": Published(
        PUBLISHED["vpt_model"], 0.01, "every 2x policy: the network's sizes", urls=(_VPT + "2x.model",)
    ),
    "vpt": Published(
        PUBLISHED["vpt"],
        1000,
        "pretraining from VPT (3_train.sh)",
        urls=(_VPT + "rl-from-foundation-2x.weights",),
    ),
    "vpt_foundation": Published(
        PUBLISHED["vpt_foundation"],
        1000,
        "the other agent of 1_generate_mixed_agents.sh",
        urls=(_VPT + "foundation-model-2x.weights",),
        optional=True,
    ),
    "steve1": Published(
        PUBLISHED["steve1"], 1000, "fine-tuning and playing", drive="1E3fd_-H1rRZqMkUKHfiMhx-ppLLehQPI"
    ),
    "steve1_hub": Published(
        PUBLISHED["steve1_hub"],
        1000,
        "the same policy from the model hub, where the drive's quota is used up (IN_WEIGHTS=data/weights/steve1/steve1.safetensors)",
        urls=(_HUB + "model.safetensors",),
        optional=True,
    ),
    "mineclip": Published(
        PUBLISHED["mineclip"],
        640,
        "embedding recordings and prompts",
        drive="1uaZM1ZLBz2dZWcn85rZmjP7LV6Sg5PZW",
        md5="b5ece9198337cfd117a3bfbd921e56da",
    ),
    "prior": Published(PUBLISHED["prior"], 12, "prompts as goals", drive="1OdX5wiybK8jALVfP5_dEo0CWm9BQbDES"),
    "prior_data": Published(
        PUBLISHED["prior_data"],
        100,
        "training the prior anew (4_train_prior.sh)",
        drive="18JKzIwHmFBrAjfiRNobtwkN7zhwQc7IO",
        optional=True,
    ),
    "visual_prompts": Published(
        PUBLISHED["visual_prompts"],
        50,
        "visual goals of the paper",
        drive="1K--DOHMDKjtklTK6SbpH11wrI2j_61mu",
        optional=True,
    ),
    "idm_model": Published(
        PUBLISHED["idm_model"],
        0.01,
        "the inverse dynamics model's sizes (SOURCE=videos)",
        urls=(_IDM + "4x_idm.model",),
        optional=True,
    ),
    "idm": Published(
        PUBLISHED["idm"],
        1930,
        "labelling videos without actions (SOURCE=videos)",
        urls=(_IDM + "4x_idm.weights",),
        optional=True,
    ),
}


@dataclass(frozen=True)
class Args:
    """What to download."""

    names: Annotated[tuple[str, ...], Option(positional=True)] = ()
    """Names of files (see --list); default: everything that fine-tuning and playing need."""
    list: bool = False
    """List the files, what they are for, and which are here already."""
    mirror: str = ""
    """Try this folder or URL first, with the files under the same names (a lab's server, file:///media/usb, a plain path)."""
    root: Path = Path()
    """Folder in which data/weights/ is created."""
    attempts: int = 6
    """Attempts without progress before giving up on a source."""
    backoff: float = 1.0
    """Seconds before the second attempt; doubled each time, at most 30."""


def main(args: Args) -> int:
    """Fetch what is missing; continue after a failure; exit 1 if a file could not be downloaded."""
    for name in args.names:
        if name not in FILES:
            raise UserError("There is no published file of this name.", got=name, expected=nearest(name, list(FILES)))
    if args.list:
        _show(args.root)
        return 0
    wanted = list(args.names) or [name for name, file in FILES.items() if not file.optional]
    missing = [name for name in wanted if not (args.root / FILES[name].path).exists()]
    for name in wanted:
        if name not in missing:
            print(translated(f"already there: {FILES[name].path}"))
    if missing:
        _plan(args.root, missing)
    failed = [name for name in missing if not _fetch(FILES[name], args)]
    if failed:
        print(
            translated(
                f"\n{len(failed)} of {len(wanted)} files could not be downloaded: {', '.join(failed)}. The same command tries them again and continues where it was."
            )
        )
        return 1
    print(translated("everything is there.") if wanted else translated("nothing to do."))
    return 0


def _plan(root: Path, missing: list[str]) -> None:
    # What an earlier run has brought takes no more space.
    parts = {name: root / f"{FILES[name].path}.part" for name in missing}
    arrived = {name: part.stat().st_size / 1e6 if part.is_file() else 0.0 for name, part in parts.items()}
    total = sum(max(0.0, FILES[name].megabytes - arrived[name]) for name in missing)
    print(
        translated(
            f"downloading {', '.join(missing)}: about {total:,.0f} MB, {total * 8 / 50 / 60:.0f} minutes at 50 Mbit/s"
        )
    )
    folder = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(folder).free / 1e6
    if free < total * 1.02:
        raise UserError(
            "There is not enough free disk space.",
            where=folder,
            expected=f"about {total:,.0f} MB",
            got=f"{free:,.0f} MB free",
        )


def _fetch(file: Published, args: Args) -> bool:
    target = args.root / file.path
    mirror = [args.mirror.rstrip("/") + "/" + target.name] if args.mirror else []
    reasons = []
    with progress(total=int(file.megabytes * 1e6), desc=target.name, unit="B", unit_scale=True) as bar:

        def on_bytes(done: int, total: int) -> None:
            if total:
                bar.total = total
            bar.update(done - bar.n)

        for url in (*mirror, *file.sources):
            try:
                download(url, target, md5=file.md5, attempts=args.attempts, backoff=args.backoff, on_bytes=on_bytes)
                return True
            except UserError as fault:
                reasons.append(f"{url}: {translated(fault.what)} {translated(fault.got)}".rstrip())
    print(translated(f"\nnot downloaded: {file.path} (needed for {file.needed_for})"))
    for reason in reasons:
        print(f"  {reason}")
    if file.by_hand:
        print(
            translated(
                f"  by hand: open {file.by_hand} in a browser, sign in, download, and put the file at {display(target)}"
            )
        )
        print(translated("  if the drive's quota is used up, try again after 24 hours."))
    if file is FILES["steve1"]:
        print(translated("  or take the model hub's copy: bash 0_download_weights.sh steve1_hub"))
    return False


def _show(root: Path) -> None:
    for name, file in FILES.items():
        state = padded(heading("here") if (root / file.path).exists() else "-", 5)
        kind = padded(heading("optional" if file.optional else "default"), 9)
        print(f"{name:<15}{file.megabytes:>8,.2f} MB  {state}{kind} {file.path}\n{'':<26}{translated(file.needed_for)}")
