"""Where files are: what is read is looked for in a few places, what is written goes to the current folder.

The scripts change to the checkout first, so that every path in the documents counts from there.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
from pathlib import Path

from steve1.core.errors import UserError

# The folder that holds the package: the checkout, or site-packages where it was installed by pip.
ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = ROOT if (ROOT / "pyproject.toml").is_file() else None

_WEIGHTS = (".weights", ".safetensors", ".model", ".goal.json")
_WEIGHTS_FOLDERS = ("data/weights", "data/weights/steve1", "data/mini")
# {name: where it goes} of the files that 0_download_weights.sh downloads.
PUBLISHED = {
    "vpt_model": "data/weights/vpt/2x.model",
    "vpt": "data/weights/vpt/rl-from-foundation-2x.weights",
    "vpt_foundation": "data/weights/vpt/foundation-model-2x.weights",
    "steve1": "data/weights/steve1/steve1.weights",
    "steve1_hub": "data/weights/steve1/steve1.safetensors",
    "mineclip": "data/weights/mineclip/attn.pth",
    "prior": "data/weights/steve1/steve1_prior.pt",
    "prior_data": "data/prior_data/steve1_prior_data.pkl",
    "visual_prompts": "data/visual_prompts/visual_prompts.zip",
    "idm_model": "data/weights/idm/4x_idm.model",
    "idm": "data/weights/idm/4x_idm.weights",
}


def resolve(path: str | os.PathLike[str], near: Path | None = None) -> Path:
    """Absolute path of something to be read: the first that exists, else as it would be below the current folder.

    Looks in the current folder, in the one where a script was typed, in STEVE1_HOME and in the checkout; with `near`, a folder, also there, in the folders above it,
    and there by the bare name (weights that were copied together with what belongs to them). Weights, models and goal files that
    are in none of these are looked for below data/weights, data/weights/steve1 and data/mini.

    Raises:
        UserError: several such weights have this name, or the path is longer than the system allows.
    """
    given = _expanded(path)
    folders = [
        Path.cwd(),
        *filter(None, (_named("STEVE1_FROM"), _named("STEVE1_HOME"), CHECKOUT)),
        *((near, *near.parents) if near else ()),
    ]
    places = [folder / given for folder in folders] + ([near / given.name] if near else [])
    try:
        os.lstat(places[0])
    except OSError as fault:
        if fault.errno == errno.ENAMETOOLONG:
            raise UserError("This path is longer than any file's.", where=f"{str(path)[:200]} …") from None
    found = next((place for place in places if os.path.exists(place)), None)
    if found is None and given.name.endswith(_WEIGHTS) and not given.is_absolute():
        usual = [folder / name / given for folder in folders for name in _WEIGHTS_FOLDERS]
        known = list(dict.fromkeys(place for place in usual if os.path.isfile(place)))
        if len(known) > 1:
            raise UserError(
                "Several files have this name.", got=", ".join(map(display, known)), todo="name the folder too"
            )
        found = known[0] if known else None
    return found or places[0]


def quoted(path: str | os.PathLike[str]) -> str:
    """`display(path)` as a word of a command that can be copied."""
    return shlex.quote(display(path))


def download_advice(path: str | os.PathLike[str]) -> str:
    """The command that downloads this file; nothing for a file that is not published."""
    name = next(
        (name for name, file in PUBLISHED.items() if Path(path).parts[-len(Path(file).parts) :] == Path(file).parts), ""
    )
    return name and f"bash 0_download_weights.sh {name}"


def output_path(path: str | os.PathLike[str]) -> Path:
    """Absolute path of something to be written: relative ones count from the current folder."""
    return Path.cwd() / _expanded(path)


def _expanded(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.expanduser(path))  # pathlib's own ends with an error where there is no such user


def display(path: str | os.PathLike[str]) -> str:
    """`path` for messages and lists: relative in the checkout, if that is the user's current folder, else the whole path."""
    full = Path(path).absolute()
    if CHECKOUT and full.is_relative_to(CHECKOUT) and {Path.cwd(), _named("STEVE1_FROM") or CHECKOUT} == {CHECKOUT}:
        return str(full.relative_to(CHECKOUT))
    return str(full)


def python_path() -> str:
    """PYTHONPATH for a child process that imports this package from any folder."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def _named(variable: str) -> Path | None:
    """The folder in an environment variable: STEVE1_HOME of the user's, STEVE1_FROM of the scripts'."""
    given = os.environ.get(variable, "")
    return Path(given).expanduser().absolute() if given else None


def slug(text: str) -> str:
    """`text` as part of a file name: letters of any script, digits, dots, dashes and @; at most 80 of them, and 180 bytes, which leaves room for endings."""
    name = re.sub(r"[^\w.@]+", "-", text).strip("-.").lower()[:80]
    return name.encode()[:180].decode(errors="ignore") or "x"
