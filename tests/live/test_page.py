"""The page in a real browser: every control does what it says, and nothing sticks out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.envs import make_env, start_states
from steve1.live.host import Host
from steve1.live.session_page import SessionPage
from tests.live.browser import CHROMIUM, Browser, opened
from tests.live.worlds import Played, lines, options, playing

pytest.importorskip("websockets", reason="websockets is not installed")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]


@contextlib.contextmanager
def shown(folder: Path, **more: Any) -> Iterator[tuple[Browser, Played]]:
    """A session with its page open."""
    with playing(folder, arrived=False, **{"rate": 20.0, **more}) as played:
        page = SessionPage(played.session)
        with Host(page, port=0) as host, opened(folder) as browser:
            played.session.screen.listen(lambda: host.call(page.wake_all))
            browser.open(host.url)
            browser.until("state && Number(document.body.dataset.painted) > 0")
            yield browser, played
            assert browser.console == []


def enabled(browser: Browser, name: str) -> bool:
    return bool(browser.js(f"!at('{name}').disabled"))


@pytest.mark.parametrize("game", ["fake", pytest.param("luanti", marks=pytest.mark.game)])
def test_everything_on_the_page_works(tmp_path: Path, game: str) -> None:
    real: dict[str, Any] = {"env": lambda: make_env("luanti"), "starts": start_states}
    with shown(tmp_path, **(real if game == "luanti" else {})) as (browser, played):
        session = played.session
        browser.key("F2")
        browser.until("state.recording && !at('rec').hidden")
        played.ticks(5)
        # a prompt, by its button and typed
        browser.js("[...document.querySelectorAll('#chips button')].find(b => b.textContent === 'explore').click()")
        browser.until("state.prompt === 'explore'")
        browser.click("#prompt")
        browser.write("挖泥土")
        browser.key("Enter")
        browser.until("state.prompt === '挖泥土' && at('now-prompt').textContent.includes('dig dirt')")
        # spaces of any width, and letters that nobody sees; what is refused is said
        browser.click("#prompt")
        browser.write("chop\u3000a\u00a0\u200btree")
        browser.key("Enter")
        browser.until("state.prompt === 'chop a tree'")
        browser.js("send('prompt', { text: 'a\\tb' })")
        browser.until("at('notices').textContent.includes('at most 500 characters')")
        browser.js("ask('挖泥土')")
        browser.until("state.prompt === '挖泥土'")
        # take over: the mouse is caught, keys and mouse play
        browser.key("F4")
        browser.until("state.who === 'person'")
        assert browser.js("document.activeElement.id") == "screen"
        browser.click("#screen")
        browser.until("document.pointerLockElement === at('screen')")
        browser.until("at('veil').classList.contains('off')")
        browser.key("KeyW", up=False)
        played.until(lambda: session.screen.view.facts["pressed"] == ["forward"])  # type: ignore[union-attr]
        browser.until("at('cap-forward').classList.contains('on')")
        browser.key("KeyW", down=False)
        played.until(lambda: session.screen.view.facts["pressed"] == [])  # type: ignore[union-attr]
        x, y = browser.place("#screen")
        browser.mouse("mousePressed", x, y, "left", clickCount=1)
        played.until(lambda: session.screen.view.facts["pressed"] == ["attack"])  # type: ignore[union-attr]
        browser.mouse("mouseReleased", x, y, "left", clickCount=1)
        browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=100)
        turned = session._now[0]["location_stats"]["yaw"]
        browser.mouse("mouseMoved", x + 40, y)
        browser.mouse("mouseMoved", x + 80, y)
        played.until(lambda: session._now[0]["location_stats"]["yaw"] != turned)
        # hand back, stop
        browser.key("F4")
        browser.until("state.who === 'policy' && !document.pointerLockElement")
        played.ticks(5)
        browser.key("F2")
        browser.until("state.takes.length === 1 && at('takes').textContent.includes('dig_dirt-0000')")
        # redo and throw away leave nothing
        browser.key("F3")
        browser.until("state.recording")
        browser.key("F7")
        browser.until("!state.recording && state.takes.length === 1")
        # sliders, speed, film, worlds
        browser.js("at('guidance').value = 3; at('guidance').oninput()")
        browser.js("at('temperature').value = 0.5; at('temperature').oninput()")
        browser.js("at('speed').value = '0.5'; at('speed').onchange()")
        browser.until("state.guidance === 3 && state.temperature === 0.5 && state.speed === 0.5")
        browser.click("#film")
        browser.until("state.filming")
        browser.click("#film")
        browser.until("!state.filming")
        browser.click("#world")
        browser.click("#forget")
        browser.until(
            "state.events.filter(e => e.kind === 'world').length === 3 && state.events.some(e => e.kind === 'reset_agent')"
        )
        # pause, one tick, go on
        browser.key("F8")
        browser.until("state.paused && at('veil-title').textContent === 'Paused'")
        stopped = session.screen.tick
        browser.key("F2")
        browser.until("state.recording")
        assert browser.js("[at('rec').hidden, at('rec').textContent]") == [False, "0:00"]
        browser.key("F7")
        browser.until("!state.recording")
        assert browser.js("at('rec').hidden"), "no frame comes that would say so"
        browser.key("F9")
        browser.until(f"tick === {stopped + 1}")
        time.sleep(0.2)
        assert session.screen.tick == stopped + 1
        # back from looking back, the picture is that of now, though no tick brings another
        browser.js("at('scrub').value = 10; at('scrub').oninput()")
        browser.until("document.body.dataset.painted === '10'")
        browser.js("at('now').click()")
        browser.until(f"document.body.dataset.painted === '{stopped + 1}'")
        browser.click("#screen")
        browser.until("!state.paused")
        # looking back does not stop the game
        browser.js("at('scrub').value = 10; at('scrub').oninput()")
        browser.until("document.body.dataset.painted === '10'")
        played.ticks(3)
        assert browser.js("document.body.dataset.painted") == "10"
        browser.js("at('now').click()")
        browser.until(f"Number(document.body.dataset.painted) > {stopped}")
        # help
        browser.key("F1")
        browser.until("at('keys-help').open && at('keys-help').textContent.includes('redo')")
        browser.key("F1")
        browser.until("!at('keys-help').open")
        assert "rect" in browser.js("at('timeline').innerHTML")
        browser.js("window.confirm = () => true")
        browser.click("#finish")
        browser.until("at('veil-title').textContent.includes('over')")
        assert browser.js("[...document.querySelectorAll('.bar button, #prompt')].every(each => each.disabled)")
    ticks, noted = lines(tmp_path, "dig_dirt-0000"), options(tmp_path, "dig_dirt-0000")
    assert {tick["who"] for tick in ticks} == {"policy", "person"}
    assert sum(tick["mouse"]["dx"] for tick in ticks if tick["who"] == "person") > 0
    assert any(tick["hotbar"] == 1 for tick in ticks)
    assert [prompt for _, prompt in noted["prompts"]] == ["dig dirt", "explore", "挖泥土", "chop a tree", "挖泥土"]


def test_sliders_say_what_the_policy_plays_with(tmp_path: Path) -> None:
    """Weights may be played with more guidance than the slider has, and with a temperature between its steps."""
    with shown(tmp_path) as (browser, played):
        agent = played.session._agent
        assert agent is not None
        agent.cond_scale, agent.temperature = 15.0, 0.33
        browser.click("#forget")
        browser.until("state.guidance === 15 && state.temperature === 0.33")
        assert browser.js("at('guidance-row').querySelector('output').textContent") == "15.0"
        assert browser.js("at('temperature-row').querySelector('output').textContent") == "0.33"
        assert browser.js("Number(at('guidance').value)") == 15


def test_the_keyboard_alone_plays_and_one_tick_takes_what_is_held(tmp_path: Path) -> None:
    with shown(tmp_path) as (browser, played):
        session = played.session
        browser.key("F4")
        browser.until("state.who === 'person'")
        browser.key("F8")
        browser.until("state.paused")
        stopped = session.screen.tick
        for code in ("KeyW", "KeyC", "ArrowRight"):
            browser.key(code, up=False)
        browser.until("person.down.size === 3 && !person.dirty")
        browser.key("F9")
        browser.until(f"tick === {stopped + 1}")
        assert session.screen.view is not None
        facts = session.screen.view.facts
        assert (set(facts["pressed"]), facts["camera"]) == ({"forward", "attack"}, [0.0, 3.0])
        for code in ("KeyW", "KeyC", "ArrowRight"):
            browser.key(code, down=False)
        browser.until("person.down.size === 0 && !person.dirty")
        browser.key("F9")
        browser.until(f"tick === {stopped + 2}")
        assert session.screen.view.facts["pressed"] == []
        # Space presses the button that was reached by Tab, and is the game's after a click
        browser.js("at('film').focus()")
        browser.key("Space")
        browser.until("state.filming && document.activeElement === at('film')")
        browser.click("#film")
        browser.until("!state.filming && document.activeElement !== at('film')")
        browser.key("Space", up=False)
        browser.until("person.down.has('Space') && !person.dirty")
        browser.key("F9")
        browser.until(f"tick === {stopped + 3}")
        assert session.screen.view.facts["pressed"] == ["jump"]
        browser.key("Space", down=False)
        assert browser.js("at('guidance').focus(), at('guidance').value") == "6"
        browser.key("ArrowRight")
        browser.until("state.guidance === 6.1")


def test_the_mouse_and_other_programs_leave_the_keys_to_the_game(tmp_path: Path) -> None:
    with shown(tmp_path) as (browser, _):
        browser.key("F4")
        browser.until("state.who === 'person'")
        # a slider that the mouse has moved, also where it is let go beside it, and a list
        x, y = browser.place("#guidance")
        for moved in ((x + 20, y), (x + 25, y - 60)):
            browser.mouse("mousePressed", x, y, "left", clickCount=1)
            browser.mouse("mouseMoved", *moved, "left", buttons=1)
            browser.mouse("mouseReleased", *moved, "left", clickCount=1)
            browser.until("state.guidance > 6 && state.guidance === Number(at('guidance').value)")
            guidance = browser.js("state.guidance")
            browser.key("ArrowRight", up=False)
            assert browser.js("[[...person.down], Number(at('guidance').value)]") == [["ArrowRight"], guidance]
            browser.key("ArrowRight", down=False)
        browser.js(
            "at('speed').focus(), at('speed').dispatchEvent(new PointerEvent('pointerdown', { bubbles: true })), at('speed').value = '0.5',"
            "at('speed').dispatchEvent(new Event('change', { bubbles: true }))"
        )
        browser.until("state.speed === 0.5")
        browser.key("KeyW", up=False)
        assert browser.js("[...person.down]") == ["KeyW"]
        # what is let go while a question stands there is not held afterwards
        browser.js("window.confirm = () => false, at('finish').click()")
        assert browser.js("person.down.size") == 0
        # Alt+F4 closes a window, and Ctrl+F3 searches
        for code, held in (("F4", "altKey"), ("F3", "ctrlKey"), ("F2", "metaKey"), ("F1", "ctrlKey")):
            taken = (
                f"!dispatchEvent(new KeyboardEvent('keydown', {{ code: '{code}', {held}: true, cancelable: true }}))"
            )
            assert browser.js(taken) is False, code
        assert browser.js("[state.who, state.recording, at('keys-help').open]") == ["person", False, False]


def test_prompts_come_back(tmp_path: Path) -> None:
    with shown(tmp_path) as (browser, _):
        for prompt in ("find a cave", "explore", "find a cave", "挖泥土"):
            browser.click("#prompt")
            browser.write(prompt)
            browser.key("Enter")
            browser.until(f"state.prompt === {prompt!r}")
        assert browser.js("[...at('known').children].slice(0, 4).map(each => each.value)") == [
            "挖泥土", "find a cave", "explore", "dig dirt",
        ]  # fmt: skip
        browser.key("Enter")
        browser.until("document.activeElement === at('prompt')")
        shown_ = []
        for code in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowUp", *("ArrowDown",) * 4):
            browser.key(code)
            shown_.append(browser.js("at('prompt').value"))
        assert shown_ == ["挖泥土", "find a cave", "explore", "find a cave", "explore", "find a cave", "挖泥土", "", ""]
        browser.write("something else")
        browser.key("ArrowUp")
        assert browser.js("at('prompt').value") == "something else"


def test_a_page_of_an_earlier_session_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as browser:
        with playing(tmp_path, arrived=False) as played:
            page = SessionPage(played.session)
            with Host(page, port=0) as host:
                played.session.screen.listen(lambda: host.call(page.wake_all))
                browser.open(host.url)
                browser.until("state && state.controls === 'you'")
            browser.until("at('veil-title').textContent === 'The connection is lost'")
            controls = "[...document.querySelectorAll('.bar button, .bar select, #prompt, #chips button, #guidance')]"
            assert browser.js(f"{controls}.every(each => each.disabled)"), "what nobody hears cannot be pressed"
            assert browser.js("window.confirm = () => true, at('finish').onclick(), over") is False
        with playing(tmp_path, arrived=False) as played, Host(SessionPage(played.session), port=host.port):
            browser.until("at('veil-title').textContent === 'This page belongs to an earlier session'")
            assert browser.js("at('veil-text').textContent") == "Open the new address, which the console printed."


def test_a_closed_tab_leaves_nothing_pressed(tmp_path: Path) -> None:
    with shown(tmp_path, weights=False, prompt="my skill") as (browser, played):
        assert browser.js("at('take').disabled && at('forget').disabled")
        # Whoever has no mouse sees the game too.
        browser.until("at('veil-title').textContent === 'Click to play' && !at('veil').classList.contains('off')")
        browser.key("KeyA")
        browser.until("at('veil').classList.contains('off')")
        browser.click("#screen")
        browser.key("KeyW", up=False)
        played.until(lambda: "forward" in played.session.screen.view.facts["pressed"])  # type: ignore[union-attr]
        browser.open("about:blank")
        played.until(lambda: played.session.screen.state["paused"])
        assert played.session.person.take()["forward"] == 0


def test_h264_is_shown_where_the_browser_decodes_it(tmp_path: Path) -> None:
    """The picture on the page is the game's, within what 4:2:0 and the quantiser change."""
    with shown(tmp_path) as (browser, played):
        asked = "VideoDecoder.isConfigSupported({ codec: 'avc1.42c01e', codedWidth: 640, codedHeight: 360 }).then(found => found.supported)"
        if not browser.js(f"globalThis.VideoDecoder ? {asked} : false"):
            pytest.skip("this Chromium does not decode H.264")
        browser.until("document.body.dataset.video === 'h264'")
        browser.key("F8")
        browser.until("state.paused")
        tick = played.session.screen.tick
        browser.until(f"document.body.dataset.painted === '{tick}'")
        pixels = browser.js("[...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]")
        view = played.session.screen.view
        assert view is not None
        height, width = view.frame.shape[:2]
        shown_ = np.array(pixels, np.int64).reshape(height, width, 4)[..., :3]
        assert np.abs(shown_ - view.frame).mean() < 4
        # a browser that falls back gets JPEGs, and one that asks again begins at a key frame
        browser.key("F8")
        browser.js("delete document.body.dataset.video; video.fail()")
        played.ticks(5)
        browser.until(f"Number(document.body.dataset.painted) > {tick + 3} && !document.body.dataset.video")
        browser.js("video.restart()")
        browser.until("document.body.dataset.video === 'h264'")


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out(tmp_path: Path, width: int) -> None:
    with shown(tmp_path) as (browser, _):
        browser.size(width)
        assert browser.js("document.documentElement.scrollWidth") <= width
        assert browser.js("note('w'.repeat(200)), at('notices').lastChild.getBoundingClientRect().right") <= width
        grounds = []
        for dark in (False, True):
            browser.dark(dark)
            browser.picture(tmp_path / f"page-{width}-{'dark' if dark else 'light'}.png")
            grounds.append(browser.js("getComputedStyle(document.body).backgroundColor"))
        assert grounds[0] == "rgb(255, 255, 255)"
        assert grounds[0] != grounds[1]
