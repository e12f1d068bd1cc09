"""The commands that open a page or serve weights: what they offer, refuse and warn of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from steve1.commands.play import live, serve
from steve1.core.checkpoint_metadata import GoalFile, write_goal
from steve1.core.errors import UserError
from steve1.core.messages import message
from steve1.core.options import CommandLine
from steve1.core.paths import ROOT
from steve1.live import host as live_host
from steve1.live.host import Host

MINI = str(ROOT / "data/mini/mini.weights")


@pytest.mark.parametrize("given", ["prompts", "planner"])
def test_prompts_without_weights_are_refused_by_the_name_that_was_given(given: str) -> None:
    with pytest.raises(UserError) as found:
        live.main(live.Args(**{given: "json:dumps"}))
    assert found.value.todo == f"add --weights, or leave out --{given}"


def test_a_server_of_weights_offers_no_game() -> None:
    text = CommandLine(serve.Args, "serve").help()
    assert "--env" not in text
    assert "start states" not in text
    assert "--seed" in text
    with pytest.raises(UserError, match="--env"):
        CommandLine(serve.Args, "serve").parse(["--weights", "a.weights", "--env", "luanti"])


@pytest.mark.e2e
def test_weights_of_another_game_are_told_once_here_and_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = live.Args(
        weights=MINI, env="minerl", recordings=str(tmp_path / "takes"), folder=str(tmp_path / "session"), similarity=False, device="cpu",
    )  # fmt: skip
    with live.make_session(args) as session:
        (notice,) = session.screen.notices
    assert notice["level"] == "warning"
    assert notice["text"] == "mini: these weights were made for luanti, and play in minerl"
    said = capsys.readouterr()
    assert (said.out + said.err).count("were made for luanti") == 1


@pytest.mark.e2e
def test_a_chain_begins_in_the_world_of_its_first_prompt(tmp_path: Path) -> None:
    args = live.Args(
        weights=MINI, prompts="swim under water=20;explore", recordings=str(tmp_path / "takes"), folder=str(tmp_path / "session"), device="cpu",
    )  # fmt: skip
    with live.make_session(args) as session:
        assert session._first_prompt == "swim under water"


def test_what_follows_no_prompt_is_refused(tmp_path: Path) -> None:
    write_goal(tmp_path / "dig.goal.json", GoalFile(np.ones(8, np.float32), MINI))
    for given in ("random", "player:dig_dirt", str(tmp_path / "dig.goal.json")):
        for command in (live.main, serve.main):
            with pytest.raises(UserError, match="follow prompts") as found:
                command((live if command is live.main else serve).Args(weights=given, device="cpu"))
            assert ("--goal_file" in found.value.todo) == given.endswith(".goal.json")


def test_a_token_of_any_letters_stands_in_the_address() -> None:
    service: Any = SimpleNamespace(files={}, max_message=1)
    for token in ("abc+def/g=", "a b&c#d", "口令口令口令"):
        url = Host(service, port=8765, token=token).url
        assert parse_qs(urlsplit(url).query)["token"] == [token]


def test_a_session_of_fewer_than_no_ticks_is_refused() -> None:
    with pytest.raises(UserError, match="--ticks"):
        live.main(live.Args(ticks=-1))


def test_the_address_for_other_machines_is_not_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_host, "_own_address", lambda: "192.0.2.7")
    service: Any = SimpleNamespace(files={}, max_message=1)
    for place, address in (("0.0.0.0", "192.0.2.7"), ("::", "192.0.2.7"), ("192.0.2.9", "192.0.2.9")):
        host = Host(service, host=place, port=8765, token="x" * 20)
        assert host.is_public
        assert host.public_url == f"http://{address}:8765/?token={'x' * 20}"
    assert message("live public", url=host.public_url).startswith("warning: ")
