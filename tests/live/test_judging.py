"""Episodes judged at the page: what is kept of it, the list and the cuts that are made, and that nothing else changes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.data.episodes.episode import Episode, find_episodes, write_goals
from steve1.data.loading.lists import read_list
from steve1.live.dataset_page import DatasetPage
from steve1.live.host import Host
from steve1.live.judging import Judgement, Judgements, checked, write_judged
from steve1.live.protocol import unpack
from tests.data.makers import embeds, make_dataset
from tests.live.browser import CHROMIUM, opened


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def judged(folder: Path, **marks: Judgement) -> dict[Path, Judgements]:
    found = Judgements(folder)
    for name, judgement in marks.items():
        found.set(name, judgement)
    return {folder: found}


def test_judgements_are_kept_beside_the_dataset(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "ds", [40, 40])
    before = contents(folder)
    judged(folder, ep00=Judgement("bad"), ep01=Judgement("good", 3, 30, "dig", 2.0))
    assert Judgements(folder).of("ep01") == Judgement("good", 3, 30, "dig", 2.0)
    assert Judgements(folder).of("ep09") == Judgement()
    assert contents(folder) == before
    for edited in ('{"start": "5"}', '{"weight": -1}', '{"weight": NaN}', '{"mark": true}', '{"stop": 2.5}'):
        (tmp_path / "ds.judgements.json").write_text(f'{{"ep00": {edited}}}')
        with pytest.raises(UserError, match="Not a file of judgements"):
            Judgements(tmp_path / "ds")
    (tmp_path / "ds.judgements.json").write_text('{"ep00": {"colour": 3}}')
    with pytest.raises(UserError, match="Not a file of judgements"):
        Judgements(folder)


def test_two_servers_of_one_dataset_keep_what_both_judge(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "ds", [40, 40])
    one, other = Judgements(folder), Judgements(folder)
    one.set("ep00", Judgement("bad"))
    other.set("ep01", Judgement("good"))
    one.set("ep00", Judgement("bad", caption="dig"))
    kept = Judgements(folder)
    assert (kept.of("ep00"), kept.of("ep01")) == (Judgement("bad", caption="dig"), Judgement("good"))


@pytest.mark.parametrize(("start", "stop"), [(-1, 0), (30, 0), (0, 10), (5, 41), (20, 20)])
def test_a_stretch_has_to_lie_in_the_episode(start: int, stop: int) -> None:
    with pytest.raises(UserError, match="too short, or not in"):
        checked(Judgement(start=start, stop=stop), 40)
    assert checked(Judgement(start=4, stop=40), 40) == Judgement(start=4)


def test_an_episode_that_is_too_short_to_be_cut_can_be_marked_bad() -> None:
    assert checked(Judgement("bad", 0, 10), 10) == checked(Judgement("bad"), 10) == Judgement("bad")


def test_the_list_holds_what_is_not_bad_and_cuts_are_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_dataset(tmp_path / "ds", [60, 60, 60, 60])
    before = contents(folder)
    marks = judged(
        folder, ep00=Judgement("bad"), ep01=Judgement("good", 10, 50, "dig a hole"), ep02=Judgement(weight=3.0)
    )
    listed = tmp_path / "samplings" / "mine_train.txt"
    found = write_judged(find_episodes(folder), marks, listed)
    assert (found["kept"], found["left_out"], found["cut"]) == (3, 1, 1)
    entries = read_list(listed)
    # Of 160 frames 100 count once, and 60 three times.
    assert {entry.path.name: entry.weight for entry in entries} == {"ep01_10-50": 0.625, "ep03": 0.625, "ep02": 1.125}
    copy = Episode(next(entry.path for entry in entries if entry.path.name == "ep01_10-50"))
    assert len(copy) == 40
    assert copy.metadata["captions"] == ["dig a hole"]
    assert copy.actions() == Episode(folder / "ep01").actions(10, 50)
    assert contents(folder) == before
    with pytest.raises(UserError, match="exists already"):
        write_judged(find_episodes(folder), marks, listed)
    assert write_judged(find_episodes(folder), marks, listed, overwrite=True)["cut"] == 1  # the copy is still right
    again = tmp_path / "samplings" / "again_train.txt"
    marks[folder].set("ep01", Judgement("", 10, 50, "dig a hole", 2.0))
    write_judged(find_episodes(folder), marks, again)
    assert "ep01_10-50" in {entry.path.name for entry in read_list(again)}  # mark and weight do not show in the copy
    marks[folder].set("ep01", Judgement("good", 10, 50, "something else"))
    write_judged(find_episodes(folder), marks, again, overwrite=True)
    assert "ep01_10-50_2" in {entry.path.name for entry in read_list(again)}
    assert Episode(tmp_path / "ds_judged" / "ep01_10-50").metadata["captions"] == [
        "dig a hole"
    ]  # the other list has it
    with pytest.raises(UserError, match="would be empty"):
        write_judged([folder / "ep00"], marks, listed, overwrite=True)


def test_a_cut_of_an_episode_that_was_embedded_anew_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, listed = make_dataset(tmp_path / "ds", [60, 60]), tmp_path / "mine_train.txt"
    marks = judged(folder, ep01=Judgement("good", 10, 50))

    def cut() -> Path:
        write_judged(find_episodes(folder), marks, listed, overwrite=True)
        return next(entry.path for entry in read_list(listed) if entry.path.name.startswith("ep01_"))

    first = cut()
    assert cut() == first
    write_goals(folder / "ep01", embeds(60, seed=7))
    again = cut()
    assert again != first
    assert np.array_equal(Episode(again).goals[15:], Episode(folder / "ep01").goals[25:50])


def test_cuts_of_episodes_whose_names_begin_alike_are_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of the parts of one video with a long title."""
    monkeypatch.chdir(tmp_path)
    folder = make_dataset(tmp_path / "ds", [60, 50])
    for number in range(2):
        (folder / f"ep{number:02d}").rename(folder / f"{'How to build a house ' * 5}_{6000 * number:06d}")
    episodes = find_episodes(folder)
    marks = judged(folder, **{path.name: Judgement(caption="build a house") for path in episodes})
    listed = tmp_path / "mine_train.txt"
    assert write_judged(episodes, marks, listed)["cut"] == 2
    assert sorted(len(Episode(entry.path)) for entry in read_list(listed)) == [50, 60]


def test_a_judgement_that_was_not_written_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_dataset(tmp_path / "ds", [40])
    marks = Judgements(folder)

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("steve1.live.judging.write_json", full)
        with pytest.raises(OSError, match="No space"):
            marks.set("ep00", Judgement("bad"))
    assert marks.of("ep00") == Judgement()


def test_every_list_that_is_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_dataset(tmp_path / "ds", [60, 60, 60, 60])
    (folder / "ep03").rename(folder / " odd name ")
    listed = tmp_path / "mine_train.txt"
    marks = judged(folder, ep00=Judgement(weight=0.0), ep01=Judgement(weight=1e-6), ep02=Judgement(weight=1e6))
    found = write_judged(find_episodes(folder), marks, listed)
    assert (found["kept"], found["left_out"]) == (3, 1)
    third = {name: pytest.approx(weight / 3) for name, weight in ((" odd name ", 1.0), ("ep01", 1e-6), ("ep02", 1e6))}
    assert {entry.path.name: entry.weight for entry in read_list(listed)} == third
    for name in ("ep01", "ep02", " odd name "):
        marks[folder].set(name, Judgement(weight=0.0))
    with pytest.raises(UserError, match="would be empty"):
        write_judged(find_episodes(folder), marks, listed, overwrite=True)
    (folder / "ep01").rename(folder / "two\nlines")
    with pytest.raises(UserError, match="cannot stand in a sampling list"):
        write_judged(find_episodes(folder), marks, listed, overwrite=True)


@contextlib.contextmanager
def served(tmp_path: Path) -> Iterator[tuple[Path, Host]]:
    folder = make_dataset(tmp_path / "ds", [60, 60])
    reasons = {folder / "ep01": "nothing moves"}
    with Host(DatasetPage(find_episodes(folder), reasons, tmp_path / "samplings"), port=0) as host:
        yield folder, host


@pytest.mark.e2e
def test_a_caption_with_half_a_letter_keeps_no_page_from_opening(tmp_path: Path) -> None:
    pytest.importorskip("websockets", reason="websockets is not installed")
    from websockets.sync.client import connect

    folder = make_dataset(tmp_path / "ds", [60, 60])
    metadata = json.loads((folder / "ep00" / "metadata.json").read_text())
    (folder / "ep00" / "metadata.json").write_text(json.dumps(metadata | {"captions": ["dig \ud83d"]}))
    with (
        Host(DatasetPage(find_episodes(folder), {}, tmp_path / "samplings"), port=0) as host,
        connect(
            host.url.replace("http", "ws").replace("/?", "/socket?"), open_timeout=120, ping_interval=None
        ) as client,
    ):
        assert [row["name"] for row in json.loads(client.recv(timeout=60))["rows"]] == ["ep00", "ep01"]


@pytest.mark.e2e
def test_frames_come_with_their_actions(tmp_path: Path) -> None:
    pytest.importorskip("websockets", reason="websockets is not installed")
    from websockets.sync.client import connect

    with (
        served(tmp_path) as (folder, host),
        connect(
            host.url.replace("http", "ws").replace("/?", "/socket?"), open_timeout=120, ping_interval=None
        ) as client,
    ):
        rows = json.loads(client.recv())["rows"]
        assert [(row["name"], row["frames"]) for row in rows] == [("ep00", 60), ("ep01", 60)]
        client.send(json.dumps({"do": "frames", "episode": 1, "start": 40}))
        found = [unpack(client.recv()) for _ in range(20)]  # type: ignore[arg-type]
        assert [header["frame"] for header, _ in found] == list(range(40, 60))
        actions = Episode(folder / "ep01").actions(40, 60)
        assert ["attack" in header["pressed"] for header, _ in found] == [bool(action["attack"]) for action in actions]

        def ask(**message: Any) -> dict[str, Any]:
            client.send(json.dumps(message))
            answer: dict[str, Any] = json.loads(client.recv())
            return answer

        judge = {"do": "judge", "episode": 0, "mark": "bad", "start": 0, "stop": 0, "caption": "", "weight": None}
        assert ask(**judge)["kind"] == "judged"
        assert ask(**{**judge, "stop": 3})["kind"] == "fault"
        known = json.loads(client.recv())  # so that the page forgets what was refused
        assert (known["kind"], known["mark"], known["stop"]) == ("judged", "bad", 0)
        for bad in (
            {"weight": -1},
            {"weight": "1"},
            {"mark": "fine"},
            {"caption": "a\tb"},
        ):  # refused, and the page told what is kept
            assert ask(**{**judge, **bad})["kind"] == "refused"
            known = json.loads(client.recv())
            assert (known["kind"], known["episode"], known["mark"], known["weight"]) == ("judged", 0, "bad", None)
        assert ask(**{**judge, "caption": "dig\u3000a\u00a0hole"})["caption"] == "dig a hole"
        assert ask(**judge)["caption"] == ""
        for number in (2, -1, "0", True, 1.0):
            refused = ask(**{**judge, "episode": number})
            assert refused["kind"] == "refused"
        assert ask(do="write", name="../x", overwrite=False)["kind"] == "fault"
        written = ask(do="write", name="my list", overwrite=False)
        assert written["command"] == "SAMPLING_NAME='my list' bash 3_train_finetune_template.sh"
        assert ask(do="write", name="mine", overwrite=False)["kept"] == 1
        found_again = ask(do="write", name="mine", overwrite=False)
        assert (found_again["kind"], found_again["code"]) == ("fault", "list_exists")
        # Another server of this dataset judges: the list is of what the file says.
        Judgements(folder).set("ep01", Judgement("bad"))
        assert ask(do="write", name="mine", overwrite=True)["kind"] == "fault"


@pytest.mark.e2e
def test_what_one_page_judges_the_others_know(tmp_path: Path) -> None:
    pytest.importorskip("websockets", reason="websockets is not installed")
    from websockets.sync.client import connect

    with served(tmp_path) as (_, host), contextlib.ExitStack() as held:
        address = host.url.replace("http", "ws").replace("/?", "/socket?")
        one, other = (held.enter_context(connect(address, open_timeout=120, ping_interval=None)) for _ in range(2))
        assert {json.loads(client.recv())["kind"] for client in (one, other)} == {"episodes"}
        judge = {"do": "judge", "episode": 1, "mark": "bad", "start": 0, "stop": 0, "caption": "", "weight": None}
        one.send(json.dumps(judge))
        for client, by_other in ((one, False), (other, True)):
            told = json.loads(client.recv(timeout=120))
            assert (told["kind"], told["episode"], told["mark"], told["by_other"]) == ("judged", 1, "bad", by_other)


@pytest.mark.e2e
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_the_page_plays_marks_cuts_and_writes(tmp_path: Path) -> None:
    pytest.importorskip("websockets", reason="websockets is not installed")
    from websockets.sync.client import connect

    with served(tmp_path) as (_, host), opened(tmp_path) as browser:
        browser.open(host.url)
        browser.until("document.body.dataset.painted === '0:0'")
        browser.key("KeyB")
        browser.until("rows[0].mark === 'bad'")
        browser.key("ArrowDown")
        browser.until("now === 1 && at('why').textContent === 'nothing moves'")  # also for whoever has no mouse
        browser.js("at('scrub').value = 20; at('scrub').oninput()")
        browser.until("document.body.dataset.painted === '1:20'")
        browser.key("BracketLeft")
        browser.until("rows[1].start === 20")
        browser.key("Space")
        browser.until("frame > 25")
        browser.key("Space")
        browser.js("at('caption').value = 'dig'; at('caption').onchange()")
        browser.until("rows[1].caption === 'dig'")
        # Two changes before the server has answered the first: what is typed, and the button that ends the typing.
        browser.js("at('caption').value = 'dig a hole'; at('caption').onchange(); at('good').onclick()")
        browser.until("rows[1].mark === 'good'")
        browser.js("judge({ stop: 22 })")  # too short, so it is refused and forgotten
        browser.until("rows[1].stop === 0")
        assert browser.js("rows[1].caption") == "dig a hole"
        # What the server would refuse does not stay on the page, nor does it hold up later judgements.
        browser.js("at('weight').value = '-1'; at('weight').onchange()")
        assert browser.js("[at('weight').value, rows[1].weight ?? null, at('notices').lastChild.textContent]") == [
            "", None, "A weight is a number from 0 to 1,000,000.",
        ]  # fmt: skip
        browser.js("at('caption').value = 'dig\u3000a\u200b\u00a0hole '; at('caption').onchange()")
        assert browser.js("[at('caption').value, rows[1].caption]") == ["dig a hole", "dig a hole"]
        browser.js("judge({ weight: -1 })")
        browser.until("rows[1].weight === null && rows[1].unanswered === 0")
        browser.js("judge({ weight: 2 })")
        browser.until("rows[1].weight === 2 && rows[1].unanswered === 0 && at('weight').value === '2'")
        browser.js("judge({ weight: null })")
        # Space presses a button that was reached by Tab, and plays otherwise.
        browser.js("at('bad').focus()")
        browser.key("Space")
        browser.until("rows[1].mark === 'bad' && !playing")
        browser.key("Space")
        browser.until("rows[1].mark === '' && rows[1].unanswered === 0")
        browser.js("at('bad').blur(), judge({ mark: 'good' })")
        # What another page judges is known here.
        with connect(host.url.replace("http", "ws").replace("/?", "/socket?"), open_timeout=120) as other:
            row = {"episode": 0, "mark": "bad", "start": 0, "stop": 0, "caption": "theirs", "weight": None}
            other.send(json.dumps({"do": "judge", **row}))
            browser.until("rows[0].caption === 'theirs'")
        # A picture that comes late is not one of the episode that was chosen meanwhile; those far away are forgotten.
        browser.js(
            "go = [], real = createImageBitmap, createImageBitmap = blob => new Promise(done => go.push(() => real(blob).then(done)))"
        )
        browser.js("choose(0)")
        browser.until("go.length > 0")
        browser.js("choose(1)")
        late = "Promise.all(go.map(each => each())).then(() => new Promise(done => setTimeout(done)))"
        assert browser.js(f"{late}.then(() => [...frames.values()].filter(each => each.episode !== now).length)") == 0
        browser.js("createImageBitmap = real, choose(1)")
        browser.js("left = false, frames.set(9999, { picture: { close() { left = true; } } }), draw()")
        assert browser.js("left && !frames.has(9999)")
        for width in (1280, 400):
            browser.size(width)
            assert browser.js("document.documentElement.scrollWidth") <= width
            browser.picture(tmp_path / f"dataset-{width}.png")
        browser.js("at('name').value = 'mine'; at('write').onsubmit(new Event('submit'))")
        browser.until("at('written').textContent.includes('1 episodes')")
        browser.js("rows[1].start = 0; judge({ start: 25 })")
        browser.until("rows[1].start === 25")
        browser.js(
            "window.confirm = text => (document.body.dataset.asked = text, true); at('written').textContent = ''"
        )
        browser.js("at('write').onsubmit(new Event('submit'))")
        browser.until("at('written').textContent.includes('1 episodes')")
        assert "Replace it" in browser.js("document.body.dataset.asked")
        assert browser.console == []
        host.close()
        browser.until("at('notices').textContent.includes('would not be kept')")
        browser.js("judge({ mark: 'bad' })")
        assert browser.js("rows[1].mark") == "good", "what would not be kept is not shown as kept"
    assert [entry.path.name for entry in read_list(tmp_path / "samplings" / "mine_train.txt")] == ["ep01_25-60"]
