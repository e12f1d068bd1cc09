"""Published recordings by index: filters, a server that fails in every way, bounded disk, going on."""

from __future__ import annotations

import dataclasses
import errno
import http.server
import json
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steve1.commands.data import generate_dataset
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.recordings.contractor_index import INDEXES, read_index
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.fetch import FetchSettings, fetch_and_convert
from tests.core.servers import faulty_server, running
from tests.data.makers import make_recording, tick


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings as a server has them, with an index; one listed file does not exist."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("cheeky-setter-a1", "brave-penguin-b2", "quiet-fox-c3"):
        make_recording(folder / "data" / "6.13", name, 40)
    (folder / "data" / "6.13" / "quiet-fox-c3-options.json").write_text('{"captions": ["walk"]}')
    relpaths = [
        "data/6.13/cheeky-setter-a1.mp4",
        "data/6.13/gone-d4.mp4",
        "data/6.13/brave-penguin-b2",
        "data/6.13/quiet-fox-c3.mp4",
    ]
    (folder / "index.json").write_text(json.dumps({"basedir": ".", "relpaths": relpaths}))
    return folder


def fetch(folder: Path, entries: list[Any], **more: Any) -> Any:
    settings = FetchSettings(**{"parallel": 2, "attempts": 3, "backoff": 0.01, **more})
    return fetch_and_convert(entries, folder / "rec", folder / "out", ConvertSettings(), settings)


def test_indexes_are_read_from_paths_and_urls_and_filtered(published: Path, tmp_path: Path) -> None:
    entries = read_index(str(published / "index.json"), tmp_path)
    assert [entry.name for entry in entries] == ["cheeky-setter-a1", "gone-d4", "brave-penguin-b2", "quiet-fox-c3"]
    assert {entry.version for entry in entries} == {"6.13"}
    assert [e.name for e in read_index(f"file://{published}/index.json", tmp_path, "fox|penguin")] == [
        "brave-penguin-b2",
        "quiet-fox-c3",
    ]
    names = tmp_path / "wanted.txt"
    names.write_text("# build house\nquiet-fox-c3\n")
    assert [e.name for e in read_index(str(published / "index.json"), tmp_path, str(names))] == ["quiet-fox-c3"]
    for pattern, message in (("zebra", "matches nothing"), ("(", "neither a file nor")):
        with pytest.raises(UserError, match=message):
            read_index(str(published / "index.json"), tmp_path, pattern)
    with pytest.raises(UserError, match="does not exist"):
        read_index("11.x", tmp_path)
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(UserError, match="not an index"):
        read_index(str(tmp_path / "no.json"), tmp_path)
    assert {"6.x", "7.x", "8.x", "9.x", "10.x"} <= set(INDEXES)  # beside them: the BASALT tasks


def test_an_index_by_url_is_that_of_its_address_and_of_today(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def index(*names: str) -> bytes:
        return json.dumps({"basedir": "https://x", "relpaths": [f"{name}.mp4" for name in names]}).encode()

    def names(address: str) -> list[str]:
        return [entry.name for entry in read_index(address, tmp_path)]

    with faulty_server() as server:
        server.files |= {"/a/index.json": index("one"), "/b/index.json": index("two")}
        assert names(f"{server.url}/a/index.json") == ["one"]
        assert names(f"{server.url}/b/index.json") == ["two"]
        server.files["/a/index.json"] = index("one", "three")
        assert names(f"{server.url}/a/index.json") == ["one", "three"]
        server.plan["/a/index.json"] = [404]
        assert names(f"{server.url}/a/index.json") == ["one", "three"]
    assert "The copy of an earlier run is used: " in caplog.text
    assert len(list(tmp_path.iterdir())) == 2


def test_recordings_of_one_name_in_two_folders_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "index.json"
    relpaths = ["day1/a.mp4", "day2/a.mp4", "day2/b.mp4", "day1/a", "day3/a.mp4"]
    path.write_text(json.dumps({"basedir": "https://x", "relpaths": relpaths}))
    assert [entry.relpath for entry in read_index(str(path), tmp_path)] == ["day1/a.mp4", "day2/b.mp4"]
    assert "left out 2 recordings that have the name" in caplog.text
    assert caplog.text.rstrip().endswith("day2/a.mp4, day3/a.mp4")


def test_a_regular_expression_may_be_longer_than_a_path(published: Path, tmp_path: Path) -> None:
    for count in (60, 2000):
        wanted = "|".join([*(f"no-such-{number}" for number in range(count)), "quiet-fox"])
        assert [entry.name for entry in read_index(str(published / "index.json"), tmp_path, wanted)] == ["quiet-fox-c3"]


def test_from_a_folder_with_a_missing_file(published: Path, tmp_path: Path) -> None:
    summary = fetch(tmp_path, read_index(str(published / "index.json"), tmp_path))
    assert (summary.count("converted"), summary.count("missing")) == (3, 1)
    assert [p.name for p in find_episodes(tmp_path / "out")] == ["brave-penguin-b2", "cheeky-setter-a1", "quiet-fox-c3"]
    assert Episode(tmp_path / "out" / "quiet-fox-c3").metadata["captions"] == ["walk"]
    assert Episode(tmp_path / "out" / "quiet-fox-c3").metadata["recorder_version"] == "6.13"
    assert list((tmp_path / "rec").iterdir()) == []
    assert "gone-d4" in summary.text
    assert (published / "data" / "6.13" / "quiet-fox-c3.mp4").exists()
    again = fetch(tmp_path, read_index(str(published / "index.json"), tmp_path))
    assert (again.count("exists"), again.count("missing")) == (3, 1)


def test_as_many_as_wanted_and_kept_if_asked(published: Path, tmp_path: Path) -> None:
    summary = fetch(tmp_path, read_index(str(published / "index.json"), tmp_path), n_episodes=2, keep_recordings=True)
    assert summary.count("converted") == 2
    assert len(find_episodes(tmp_path / "out")) == 2
    assert {p.name for p in (tmp_path / "rec").glob("*.mp4")} == {"cheeky-setter-a1.mp4", "brave-penguin-b2.mp4"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_kept_recordings_stay_when_the_run_is_repeated_without_keeping(published: Path, tmp_path: Path) -> None:
    entries = read_index(str(published / "index.json"), tmp_path)
    fetch(tmp_path, entries, keep_recordings=True)
    kept = contents(tmp_path / "rec")
    names = {f"{name}{end}" for name in ("cheeky-setter-a1", "brave-penguin-b2", "quiet-fox-c3") for end in (".mp4", ".jsonl")}  # fmt: skip
    assert set(kept) == names | {"quiet-fox-c3-options.json"}  # no .part of options that the server does not have
    assert fetch(tmp_path, entries).count("exists") == 3
    assert contents(tmp_path / "rec") == kept


def test_kept_recordings_convert_again_to_the_same_actions(tmp_path: Path) -> None:
    """The index's path names the recorder's version, by which moves in menus are scaled; the kept files lie elsewhere."""
    make_recording(tmp_path / "server" / "data" / "6.8", "fox", [tick(n, isGuiOpen=True) for n in range(40)])
    index = tmp_path / "server" / "index.json"
    index.write_text(json.dumps({"basedir": ".", "relpaths": ["data/6.8/fox.mp4"]}))
    assert fetch(tmp_path, read_index(str(index), tmp_path), keep_recordings=True).count("converted") == 1
    assert convert_folder(tmp_path / "rec", tmp_path / "again", ConvertSettings()).count("converted") == 1
    first, again = (Episode(tmp_path / name / "fox") for name in ("out", "again"))
    assert first.metadata["recorder_version"] == again.metadata["recorder_version"] == "6.8"
    assert first.actions() == again.actions()


def test_two_shards_fetch_one_index(tmp_path: Path) -> None:
    index = json.dumps({"basedir": "https://x", "relpaths": ["one.mp4"]}).encode()
    begun = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            return

        def do_GET(self) -> None:
            begun.set()
            time.sleep(1)
            self.send_response(200)
            self.send_header("Content-Length", str(len(index)))
            self.end_headers()
            self.wfile.write(index)

    with running(Slow) as url, ThreadPoolExecutor(2) as shards:
        first = shards.submit(read_index, f"{url}/index.json", tmp_path)
        assert begun.wait(60)
        second = shards.submit(read_index, f"{url}/index.json", tmp_path)
        assert [entry.name for entry in second.result()] == [entry.name for entry in first.result()] == ["one"]


def test_recordings_that_were_there_before_stay(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published / "data" / "6.13", tmp_path / "rec")
    (tmp_path / "rec" / "cheeky-setter-a1.jsonl").unlink()
    (tmp_path / "rec" / "brave-penguin-b2-options.json").write_text('{"captions": ["mine"]}')
    (tmp_path / "rec" / "gone-d4.jsonl").write_text("mine")
    before = contents(tmp_path / "rec")
    summary = fetch(tmp_path, read_index(str(published / "index.json"), tmp_path))
    assert (summary.count("converted"), summary.count("missing")) == (3, 1)
    assert Episode(tmp_path / "out" / "brave-penguin-b2").metadata["captions"] == ["mine"]
    assert contents(tmp_path / "rec") == before


def test_the_folder_that_the_index_points_at_stays(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published / "data" / "6.13", tmp_path / "rec")
    relpaths = ["cheeky-setter-a1.mp4", "brave-penguin-b2.mp4", "gone-d4.mp4"]
    (tmp_path / "index.json").write_text(json.dumps({"basedir": "rec", "relpaths": relpaths}))
    before = contents(tmp_path / "rec")
    summary = fetch(tmp_path, read_index(str(tmp_path / "index.json"), tmp_path))
    assert (summary.count("converted"), summary.count("missing")) == (2, 1)
    assert contents(tmp_path / "rec") == before


def test_filter_files_have_any_mark_and_their_misspelt_names_are_named(
    published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes("quiet-fox-c3\r\nbrave-penguin-b2.mp4\r\nquite-fox-c3\r\n砍树\r\n".encode("utf-8-sig"))
    found = read_index(str(published / "index.json"), tmp_path, str(names))
    assert {entry.name for entry in found} == {"quiet-fox-c3", "brave-penguin-b2"}
    assert "2 of 4 names are not in this index: quite-fox-c3, 砍树" in caplog.text
    names.write_bytes("quiet-fox-c3\n砍树\n".encode("gbk"))
    with pytest.raises(UserError, match="not UTF-8 text") as fault:
        read_index(str(published / "index.json"), tmp_path, str(names))
    assert "names.txt:2" in str(fault.value)


def test_no_part_of_an_options_file_is_left_behind(published: Path, tmp_path: Path) -> None:
    """Of a run that was killed, and of a server that ends too early each time; the recording is converted without it."""
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "cheeky-setter-a1-options.json.part").write_text("{")
    with faulty_server() as server:
        for path in (published / "data" / "6.13").iterdir():
            server.files[f"/x/data/6.13/{path.name}"] = path.read_bytes()
        server.plan["/x/data/6.13/quiet-fox-c3-options.json"] = [("short", 3), "drop", "drop"]
        index = {
            "basedir": f"{server.url}/x/",
            "relpaths": [f"data/6.13/{name}.mp4" for name in ("cheeky-setter-a1", "quiet-fox-c3")],
        }
        (tmp_path / "index.json").write_text(json.dumps(index))
        summary = fetch(tmp_path, read_index(str(tmp_path / "index.json"), tmp_path), keep_recordings=True, attempts=2)
    assert summary.count("converted") == 2
    assert {path.suffix for path in (tmp_path / "rec").iterdir()} == {".mp4", ".jsonl"}


def test_names_of_any_letters_are_found_on_a_server(published: Path, tmp_path: Path) -> None:
    with faulty_server() as server:
        for ending in (".mp4", ".jsonl"):
            content = (published / "data" / "6.13" / f"quiet-fox-c3{ending}").read_bytes()
            server.files[f"/x%20y/%E5%BB%BA%E6%88%BF/house%20%232%3F{ending}"] = content
        index = {"basedir": f"{server.url}/x y", "relpaths": ["建房/house #2?.mp4"]}
        (tmp_path / "index.json").write_text(json.dumps(index))
        summary = fetch(tmp_path, read_index(str(tmp_path / "index.json"), tmp_path))
    assert summary.count("converted") == 1, summary.text


def test_downloads_are_removed_when_the_disk_is_full(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("steve1.data.recordings.fetch.convert_recording", full)
    summary = fetch(tmp_path, read_index(str(published / "index.json"), tmp_path), parallel=1)
    assert "No space left" in summary.stopped
    assert not list((tmp_path / "rec").glob("*.mp4"))
    assert not list((tmp_path / "rec").glob("*.jsonl"))


def test_a_full_disk_does_not_wait_for_other_downloads(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is converted while another, whose server does not answer, would be tried again after a pause that does not end."""

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("steve1.data.recordings.fetch.convert_recording", full)
    monkeypatch.setattr("steve1.core.download.time", SimpleNamespace(monotonic=lambda: 0.0, sleep=time.sleep))
    with faulty_server() as server:
        for path in (published / "data" / "6.13").iterdir():
            server.files[f"/x/data/6.13/{path.name}"] = path.read_bytes()
        server.plan["/x/data/6.13/brave-penguin-b2.jsonl"] = ["drop"] * 9
        relpaths = [f"data/6.13/{name}.mp4" for name in ("brave-penguin-b2", "quiet-fox-c3")]
        (tmp_path / "index.json").write_text(json.dumps({"basedir": f"{server.url}/x/", "relpaths": relpaths}))
        entries = read_index(str(tmp_path / "index.json"), tmp_path)
        summary = fetch(tmp_path, entries, attempts=9, backoff=30.0)
    assert "No space left" in summary.stopped
    assert not list((tmp_path / "rec").glob("*.mp4"))


def test_a_server_that_drops_shortens_and_errs(published: Path, tmp_path: Path) -> None:
    with faulty_server() as server:
        for path in (published / "data" / "6.13").iterdir():
            server.files[f"/x/data/6.13/{path.name}"] = path.read_bytes()
        server.files["/index.json"] = json.dumps(
            {**json.loads((published / "index.json").read_text()), "basedir": f"{server.url}/x/"}
        ).encode()
        server.plan["/x/data/6.13/cheeky-setter-a1.mp4"] = [500, ("short", 2000), "drop"]
        server.plan["/x/data/6.13/brave-penguin-b2.jsonl"] = [("short", 300), 503]
        server.plan["/x/data/6.13/quiet-fox-c3.mp4"] = [500] * 9
        entries = read_index(f"{server.url}/index.json", tmp_path)
        summary = fetch(tmp_path, entries)
        found = {result.recording.rpartition("/")[2]: result for result in summary.results}
        assert found["cheeky-setter-a1.mp4"].status == found["brave-penguin-b2"].status == "converted"
        assert found["gone-d4.mp4"].status == "missing"
        assert "404" in found["gone-d4.mp4"].reason
        assert found["quiet-fox-c3.mp4"].status == "failed"
        assert "500" in found["quiet-fox-c3.mp4"].reason
        # Resumed where it broke, not begun again.
        assert ("/x/data/6.13/cheeky-setter-a1.mp4", "bytes=2000-") in server.requests
        # The next run could not tell finished files from the user's; parts are its own.
        assert not list((tmp_path / "rec").glob("*.jsonl"))
        server.plan.clear()
        assert fetch(tmp_path, entries).count("converted") == 1
        assert list((tmp_path / "rec").iterdir()) == []


def test_an_index_or_a_filter_is_enough(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The original guide edits the index alone; demonstrations of a game would be another dataset."""
    named = generate_dataset.Args(
        index=str(published / "index.json"),
        filter="fox",
        output_dir=str(tmp_path / "out"),
        recordings_dir=str(tmp_path / "rec"),
        embed=False,
        workers=1,
    )
    generate_dataset.main(named)
    assert [path.name for path in find_episodes(tmp_path / "out")] == ["quiet-fox-c3"]
    assert "FILTER=fox: recordings of players are downloaded (SOURCE=contractor)" in capsys.readouterr().out
    with pytest.raises(UserError, match="for SOURCE=contractor alone"):
        generate_dataset.main(dataclasses.replace(named, source="luanti"))
    plain = generate_dataset.with_source(generate_dataset.Args())
    assert (plain.source, plain.index) == ("luanti", "8.x")
    assert generate_dataset.with_source(generate_dataset.Args(filter="fox")).source == "contractor"


@pytest.mark.e2e
def test_the_script_takes_its_variables_from_the_environment(published: Path, tmp_path: Path) -> None:
    variables = {"INDEX": str(published / "index.json"), "N_EPISODES": "1", "FILTER": "fox",
                 "OUTPUT_DIR": str(tmp_path / "out"), "RECORDINGS_DIR": str(tmp_path / "rec"), "KEEP_RECORDINGS": "1"}  # fmt: skip
    import os

    command = ["bash", str(ROOT / "1_generate_dataset.sh"), "--no_embed", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr
    assert [p.name for p in find_episodes(tmp_path / "out")] == ["quiet-fox-c3"]
    assert (tmp_path / "rec" / "quiet-fox-c3.mp4").exists()
    folder = {"SOURCE": "folder", "RECORDINGS_DIR": str(published / "data"), "OUTPUT_DIR": str(tmp_path / "out2")}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **folder})
    assert done.returncode == 0, done.stderr
    assert len(find_episodes(tmp_path / "out2")) == 3
    assert "2_create_sampling.sh" in done.stdout
    missing = {**folder, "RECORDINGS_DIR": str(tmp_path / "nowhere")}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **missing})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "RECORDINGS_DIR" in done.stderr
