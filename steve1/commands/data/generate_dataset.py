"""Command: recordings from a source → a dataset ready for sampling.

Input: the game, a folder, an index of published recordings, or videos without actions.
Output: a dataset folder of episodes with goal embeddings. Each stage skips what exists, so the same command continues a
stopped run.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from steve1.commands.cli import run_command
from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.files import existing_file
from steve1.core.messages import message, say_next, translated
from steve1.core.paths import PUBLISHED, display, output_path, resolve
from steve1.data.episodes.listing import sampling_arguments
from steve1.data.recordings.contractor_index import read_index
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.fetch import FetchSettings, fetch_and_convert
from steve1.data.recordings.layouts import find_recordings
from steve1.data.recordings.shards import Shard, parse_shard
from steve1.data.recordings.summary import Summary
from steve1.prompts import split_prompts

_PUBLISHED_MINECLIP = "data/weights/mineclip/attn.pth"
_GAME = "luanti"
_PLAYED = ("luanti", "policy", "corrections", "person")
_BY_WEIGHTS = ("policy", "corrections")
#: datasets of other programs, whose frames were chosen by whoever made them
_STORES = ("lerobot", "minestudio")
_BROUGHT = ("folder", *_STORES)
_INDEX = "8.x"
_MINI_MINECLIP = "data/mini/mini_mineclip.safetensors"


@dataclass(frozen=True)
class Args:
    """Flags of `1_generate_dataset.sh`."""

    GROUPS: ClassVar = {
        "options": "source output_dir recordings_dir n_episodes",
        "recording": "behaviours weights prompts takeover env steps seed port",
        "contractor": "index filter keep_recordings",
        "videos": "videos_dir idm_model idm_weights calibrate mask start end fov keep_rejected overwrite",
        "converting and embedding": "nulls camera_rounding mineclip embed",
        "machine": "device workers label_workers shard ray",
    }

    source: Literal[
        "auto", "luanti", "policy", "corrections", "person", "folder", "lerobot", "minestudio", "contractor", "videos"
    ] = "auto"
    """auto: contractor where an index or a filter is named, otherwise luanti. luanti: record scripted demonstrations in the game. policy: let weights play prompts they can follow, and keep what succeeds, for replay. corrections: let weights begin and the scripted player take over. person: play yourself in a browser. folder: use your own recordings or episodes. lerobot, minestudio: convert a LeRobot dataset or a MineStudio trajectory store. contractor: download VPT's recordings. videos: label videos without actions."""
    output_dir: str = "data/dataset_finetune"
    """Dataset folder."""
    recordings_dir: str = ""
    """Folder of the recordings or of the dataset, read (folder, lerobot, minestudio) or written (the others); default: data/recordings/<name of the dataset>."""
    n_episodes: int = 12
    """luanti, policy, corrections: episodes per behaviour or prompt. contractor: episodes in total, 0 for the whole index."""
    behaviours: str = "dig_dirt"
    """luanti: behaviours to record, separated by spaces or commas; NAME=COUNT sets a number of episodes."""
    weights: str = ""
    """policy, corrections: weights that play. person: weights that play until you take over."""
    prompts: str = ""
    """policy, corrections: prompts, separated by semicolons; PROMPT=COUNT sets a number of episodes. person: what you are going to show."""
    takeover: tuple[int, int] = (40, 160)
    """corrections: the fewest and the most steps that the weights play before the scripted player takes over."""
    env: str = ""
    """policy, corrections, person: game to play; default: luanti. videos: the game that they are of; default: that of the inverse dynamics model."""
    steps: int = 400
    """luanti, policy, corrections: steps per episode, 20 per second."""
    seed: int = 0
    """luanti, policy, corrections, person: seed for start states and players."""
    port: int = 8765
    """person: port of the page; 0: any free one."""
    index: str = ""
    """contractor: index of recordings (default: 8.x): 6.x, 7.x, 8.x (house building), 9.x, 10.x; BASALT's find-cave, waterfall, pen-animals, build-house; or the path or URL of an index JSON."""
    filter: str = ""
    """contractor: regular expression for paths, or a file with one name per line."""
    keep_recordings: bool = False
    """contractor: keep the downloaded recordings."""
    videos_dir: str = ""
    """videos: folder of videos, or one video."""
    idm_model: str = PUBLISHED["idm_model"]
    """videos: the inverse dynamics model's .model file."""
    idm_weights: str = PUBLISHED["idm"]
    """videos: its weights."""
    calibrate: str = ""
    """videos: a recording with known actions, which sets the thresholds of the quality checks."""
    mask: tuple[str, ...] = ()
    """videos: boxes x,y,w,h in pixels to paint over; NAME=x,y,w,h is for the video of that name only."""
    start: float = 0.0
    """videos: seconds to leave out at the beginning of each video."""
    end: float = 0.0
    """videos: second at which to stop in each video; 0: its end, -20: 20 s before its end."""
    fov: float = 0.0
    """videos: vertical field of view in degrees that they were played at, where it is not the model's."""
    keep_rejected: bool = False
    """videos: keep what the quality checks reject, too."""
    overwrite: bool = False
    """videos: label again what was labelled with other settings; its earlier episodes are removed."""
    nulls: Literal["auto", "keep", "drop"] = "auto"
    """Frames without any action: keep or drop them. auto: keep those of scripted players, policies and other programs' datasets, drop those of people."""
    camera_rounding: Literal["float", "legacy_int"] = "float"
    """float: exact. legacy_int: whole degrees, as in the data of the published weights."""
    mineclip: str = ""
    """MineCLIP weights for the goals; default: those of --weights, else the mini ones for luanti (folder, lerobot: where all recordings name it; videos: by the inverse dynamics model's game), otherwise the published ones."""
    device: str = "auto"
    """Device for embedding: auto, cpu, cuda or mps."""
    embed: bool = True
    """Compute goal embeddings."""
    workers: int = os.cpu_count() or 1
    """Parallel processes for conversion."""
    label_workers: int = 1
    """Parallel processes for labelling videos; each loads the model."""
    shard: str = ""
    """folder, lerobot, minestudio, contractor, videos: process only part i of n (i/n), to split the work over machines that share a disk."""
    ray: bool = False
    """folder, lerobot, minestudio, contractor, videos: download, convert, label and embed on a Ray cluster (RAY_ADDRESS, or one on this machine)."""


def main(args: Args) -> None:
    """Record or download, convert, embed."""
    args = with_source(args)
    output = output_path(args.output_dir)
    place = output_path if args.source in (*_PLAYED, "contractor") else resolve
    recordings = place(args.recordings_dir or f"data/recordings/{output.name.removeprefix('dataset_')}")
    shard = parse_shard(args.shard)
    check(args, recordings)
    weights = mineclip(args, recordings) if args.embed else Path()
    if args.source == "videos":
        mine = label(args, output, shard)
        if args.embed:
            embed(args, output, weights, mine)
        _say_next(output, shard)
        return
    kept = (*_PLAYED, *_STORES)
    keep_nulls = args.nulls == "keep" or (args.nulls == "auto" and args.source in kept and args.source != "person")
    settings = ConvertSettings(keep_nulls, args.camera_rounding)
    if args.source in _PLAYED:
        _say(message("recording demonstrations", what=_what(args)))
        record(args, recordings)
    key = "converting" if shard.whole else "converting part"
    _say(message(key, folder=display(output), number=shard.number, count=shard.count))
    if args.source == "contractor":
        summary = fetch(args, recordings, output, settings, shard)
    else:
        summary = convert_folder(recordings, output, settings, workers=args.workers, shard=shard, ray=args.ray)
    print(summary.text)
    summary.check_finished()
    if not summary.count("converted") + summary.count("exists"):
        todo = f"the reasons are in {display(summary.report)}"
        raise UserError("No recording could be converted.", where=recordings, todo=todo)
    if args.embed:
        # A shard's episodes are known from its recordings: those of the other machines may not exist yet.
        mine = None if shard.whole else sorted(Path(r.episode).name for r in summary.results if r.episode)
        embed(args, output, weights, mine)
    _say_next(output, shard)


def label(args: Args, output: Path, shard: Shard) -> list[str] | None:
    """Label the videos; the names of this shard's episodes, None for all."""
    from steve1.commands.data import label_videos as command  # loads torch, which conversion does not need
    from steve1.idm.labelling.folder import Machine, label_folder
    from steve1.idm.labelling.settings import LabelSettings

    _say(message("labelling", videos=args.videos_dir, folder=display(output)))
    settings = LabelSettings(
        idm_model=args.idm_model,
        idm_weights=args.idm_weights,
        calibrate=args.calibrate,
        env=args.env,
        mask=args.mask,
        start=args.start,
        end=args.end,
        fov=args.fov,
        keep_nulls=args.nulls == "keep",
        keep_rejected=args.keep_rejected,
    )
    command.game_of(args.idm_weights, args.env)
    machine = Machine(args.device, command.workers(args.label_workers), shard, args.ray)
    summary = label_folder(args.videos_dir, output, settings, machine, overwrite=args.overwrite)
    command.show(summary)
    return None if shard.whole else sorted(episode["name"] for episode in summary.episodes)


def _say_next(output: Path, shard: Shard) -> None:
    print(f"\n{message('dataset', folder=display(output))}")
    command = f"bash 2_create_sampling.sh {sampling_arguments(output)}".rstrip()
    if shard.whole:
        say_next(command)
    else:
        print(f"{message('once all parts are done', count=shard.count)}: {command}")


def _what(args: Args) -> str:
    """What is recorded, with the number of episodes: dig_dirt 10, explore 12."""
    if args.source == "person":
        return args.prompts
    names = split_prompts(args.prompts) if args.source in _BY_WEIGHTS else args.behaviours.replace(",", " ").split()
    pairs = [name.partition("=") for name in names if name.strip()]
    return ", ".join(f"{name.strip()} {count or args.n_episodes}" for name, _, count in pairs)


def default_mineclip(args: Args, recordings: Path = Path()) -> str:
    """The MineCLIP that embeds the source's episodes; `recordings` is the folder that SOURCE=folder and lerobot read."""
    if args.source in (*_BY_WEIGHTS, "person") and args.weights:
        return read_checkpoint_metadata(existing_file(args.weights, "These weights")).mineclip
    game = {"luanti": "luanti", "person": args.env or _GAME}.get(args.source)
    if args.source in ("folder", "lerobot"):
        games = {recording.game for recording in find_recordings(recordings)[0]}
        game = games.pop() if len(games) == 1 else None
    if args.source == "videos":
        from steve1.commands.data.label_videos import game_of  # loads torch, which conversion does not need

        game = game_of(args.idm_weights, args.env)
    return _MINI_MINECLIP if game == _GAME else _PUBLISHED_MINECLIP


def mineclip(args: Args, recordings: Path) -> Path:
    """The MineCLIP that embeds; UserError where it does not exist."""
    weights = resolve(args.mineclip or default_mineclip(args, recordings))
    if not weights.exists():
        todo = "bash 0_download_weights.sh mineclip, or --no_embed to embed later"
        raise UserError("The MineCLIP weights for the goal embeddings do not exist.", where=weights, todo=todo)
    return weights


def with_source(args: Args) -> Args:
    """`args` with the source and the index that are meant.

    Raises:
        UserError: an index or a filter for a source that has none; before, they were ignored.
    """
    named = " ".join(f"{name}={value}" for name, value in (("INDEX", args.index), ("FILTER", args.filter)) if value)
    if args.source == "auto" and named:
        print(translated(f"{named}: recordings of players are downloaded (SOURCE=contractor)"))
    elif named and args.source not in ("auto", "contractor"):
        raise UserError(
            "An index and a filter are for SOURCE=contractor alone.",
            got=f"SOURCE={args.source} {named}",
            todo="SOURCE=contractor, or leave out INDEX and FILTER",
        )
    chosen = ("contractor" if named else "luanti") if args.source == "auto" else args.source
    return replace(args, source=chosen, index=args.index or _INDEX)


def check(args: Args, recordings: Path) -> None:
    """Refuse missing files and impossible settings before anything long starts."""
    if args.source in _BROUGHT and not recordings.is_dir():
        todo = f"RECORDINGS_DIR=… SOURCE={args.source} bash 1_generate_dataset.sh"
        raise UserError("The folder of recordings does not exist.", where=recordings, todo=todo)
    if args.source == "videos" and not args.videos_dir:
        todo = "SOURCE=videos VIDEOS_DIR=… bash 1_generate_dataset.sh"
        raise UserError("SOURCE=videos needs a folder of videos.", expected="VIDEOS_DIR", todo=todo)
    if args.source != "videos" and args.overwrite:
        raise UserError(
            "--overwrite labels videos again; what other sources have made is never replaced.",
            got=f"SOURCE={args.source} --overwrite",
            todo="choose another OUTPUT_DIR",
        )
    if args.source in _PLAYED and (args.shard or args.ray):
        raise UserError(
            "Demonstrations in the game are recorded on one machine; only the other sources can be divided.",
            got="--shard" if args.shard else "--ray",
            todo="on each machine SEED=<another> RECORDINGS_DIR=<shared>/<machine>, then NULLS=keep SOURCE=folder RECORDINGS_DIR=<shared>",
        )
    if args.source in _BY_WEIGHTS and not (args.weights and args.prompts):
        prompts = "explore;build a pillar" if args.source == "policy" else "chop a tree"
        raise UserError(
            f"SOURCE={args.source} needs weights and prompts.",
            expected="WEIGHTS and PROMPTS",
            got=f"WEIGHTS={args.weights!r} PROMPTS={args.prompts!r}",
            todo=f'SOURCE={args.source} WEIGHTS=data/mini/mini.weights PROMPTS="{prompts}" bash 1_generate_dataset.sh',
        )
    if args.source == "person" and not args.prompts.strip():
        todo = 'SOURCE=person PROMPTS="build a wall" bash 1_generate_dataset.sh'
        raise UserError("SOURCE=person needs a prompt: the words for what you are going to show.", todo=todo)
    if args.source not in (*_BROUGHT, "videos") and args.n_episodes < (0 if args.source == "contractor" else 1):
        todo = "N_EPISODES=12, or --n_episodes 12"
        raise UserError("There are too few episodes.", got=args.n_episodes, todo=todo)


def record(args: Args, recordings: Path) -> None:
    """Record demonstrations of the scripted players, of a policy or of a person, in another process."""
    if args.source == "person":
        words = [
            "live",
            "--prompt",
            args.prompts,
            "--env",
            args.env or _GAME,
            "--seed",
            str(args.seed),
            "--device",
            args.device,
        ]
        words += [
            "--port",
            str(args.port),
            "--recordings",
            str(recordings),
            *(["--weights", args.weights] if args.weights else []),
        ]
        run_command(words)
        return
    words = ["record", "--episodes", str(args.n_episodes)]
    if args.source in _BY_WEIGHTS:
        prompts = split_prompts(args.prompts)
        words += ["--weights", args.weights, "--env", args.env or _GAME, "--device", args.device, "--prompts", *prompts]
        words += ["--takeover", *map(str, args.takeover)] if args.source == "corrections" else []
    else:
        words += ["--behaviours", *args.behaviours.replace(",", " ").split()]
    words += [
        "--steps",
        str(args.steps),
        "--output_dir",
        str(recordings),
        "--seed",
        str(args.seed),
        "--only_successful",
    ]
    run_command(words)


def fetch(args: Args, recordings: Path, output: Path, settings: ConvertSettings, shard: Shard) -> Summary:
    """Download by an index and convert as files arrive."""
    entries = read_index(args.index, recordings, args.filter)
    wanted = args.n_episodes or len(entries)
    print(
        translated(
            f"{len(entries)} recordings match; about {min(wanted, len(entries)) * 5 / 60:.1f} hours of play, {wanted * 0.08:.1f} GB of episodes"
        )
    )
    parallel = max(2, args.workers + 2)
    how = FetchSettings(args.n_episodes, args.keep_recordings, parallel=parallel, workers=args.workers)
    return fetch_and_convert(entries, recordings, output, settings, how, shard=shard, ray=args.ray)


def embed(args: Args, output: Path, weights: Path, names: list[str] | None) -> None:
    """Make goals for every episode of the dataset, or for these."""
    from steve1.commands.data import embed as command  # loads torch, which conversion does not need

    _say(message("embedding goals"))
    wanted = command.Args(
        dataset_dir=str(output), weights=str(weights), device=args.device, shard=args.shard, ray=args.ray
    )
    if code := command.main(wanted, names, hint=False):
        sys.exit(code)


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)
