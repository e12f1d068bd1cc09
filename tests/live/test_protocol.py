"""Only what a page of ours would say is obeyed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steve1.live.protocol import SESSION_COMMANDS, BadMessage, parse, picture, unpack

INPUT = {"do": "input", "down": ["KeyW"], "pressed": [], "dx": 1.5, "dy": -2, "wheel": 0}


def test_what_a_page_says() -> None:
    assert parse(json.dumps(INPUT), SESSION_COMMANDS) == INPUT
    assert parse('{"do": "pause"}', SESSION_COMMANDS) == {"do": "pause"}


@pytest.mark.parametrize(
    "message",
    [
        b"\x00", "", "null", "[]", "{}", '{"do": 1}', '{"do": "rm"}', '{"do": "pause", "more": 1}', '{"do": "prompt"}', "[" * 100000,
        json.dumps({"do": "prompt", "text": "x" * 501}), json.dumps({"do": "prompt", "text": "a\nb"}), '{"do": "speed", "value": NaN}',
        '{"do": "guidance", "value": true}', '{"do": "guidance", "value": 1e99}', json.dumps({**INPUT, "dx": "1"}),
        json.dumps({**INPUT, "down": ["x"] * 33}), json.dumps({**INPUT, "down": [1]}), json.dumps({**INPUT, "wheel": 1.5}),
        json.dumps({**INPUT, "dx": 1e300}),
    ],
)  # fmt: skip
def test_anything_else_is_refused(message: str | bytes) -> None:
    with pytest.raises(BadMessage):
        parse(message, SESSION_COMMANDS)


def test_spaces_of_any_kind_are_plain_ones() -> None:
    said = parse(json.dumps({"do": "prompt", "text": "挖\u3000泥土\u00a0!"}), SESSION_COMMANDS)
    assert said == {"do": "prompt", "text": "挖 泥土 !"}


def test_a_refusal_says_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    message = json.dumps({"do": "prompt", "text": "x" * 501})
    with pytest.raises(BadMessage, match="prompt refused: text must be at most 500 characters") as found:
        parse(message, SESSION_COMMANDS)
    assert found.value.command == json.loads(message)
    monkeypatch.setenv("STEVE1_LANG", "zh")
    with pytest.raises(BadMessage, match="text 必须是至多 500 个字符"):
        parse(message, SESSION_COMMANDS)


@settings(max_examples=25, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_value_is_a_traceback(value: Any) -> None:
    for name in SESSION_COMMANDS:
        with pytest.raises(BadMessage):
            parse(json.dumps({"do": name, "x": value}), SESSION_COMMANDS)


def test_pictures_carry_their_header() -> None:
    header, jpeg = unpack(picture({"kind": "frame", "tick": 3}, np.zeros((36, 64, 3), np.uint8)))
    assert header == {"kind": "frame", "tick": 3}
    assert jpeg.startswith(b"\xff\xd8")


@given(st.binary(max_size=64))
def test_half_a_message_is_refused(message: bytes) -> None:
    try:
        header, _ = unpack(message)
    except BadMessage:
        return
    assert isinstance(header, dict)
