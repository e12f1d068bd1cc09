"""The way of a prompt to English: tasks' prompts, the dictionary, then a translator of the user's choice, asked once."""

from __future__ import annotations

import json
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from steve1.core.errors import UserError
from steve1.prompts import Translation, known_prompts, split_prompts, translate
from tests.core.servers import running


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("STEVE1_TRANSLATOR", raising=False)


def test_tasks_come_before_the_dictionary_and_english_stays() -> None:
    assert translate("尽量往下挖", known_prompts()) == Translation("dig as far down as you can")
    assert translate("砍两棵树", known_prompts()) == Translation("chop two trees")
    assert translate("fly", known_prompts()) == Translation("fly")
    assert translate("飞上火星", known_prompts()).unknown == ("星",)
    assert translate("planter un arbre en été", {}) == Translation("", ("planter un arbre en été",))


def test_prompts_are_separated_by_semicolons_of_either_width() -> None:
    assert split_prompts("看天空；挖土=3; explore;") == ["看天空", "挖土=3", "explore"]
    assert split_prompts(" ；") == []


def test_a_program_translates_what_the_dictionary_does_not_know_and_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "asked"
    program = tmp_path / "my translator.py"
    program.write_text(
        f"import sys\ntext = sys.stdin.read()\nopen({str(log)!r}, 'a', encoding='utf-8').write(text + '\\n')\nprint('Plant a Tree.')\n"
    )
    monkeypatch.setenv("STEVE1_TRANSLATOR", f"{shlex.quote(sys.executable)} '{program}'")
    for _ in range(2):
        assert translate("planter un arbre en été", {}) == Translation("plant a tree")
    assert translate("砍树", {}) == Translation("chop a tree")  # the dictionary knows it
    assert log.read_text(encoding="utf-8") == "planter un arbre en été\n"


def test_an_answer_that_cannot_be_kept_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No home, or a full disk."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "t.py").write_text("import sys\nsys.stdin.read()\nprint('plant a tree')\n")
    monkeypatch.setenv("STEVE1_TRANSLATOR", f"{shlex.quote(sys.executable)} {tmp_path}/t.py")
    assert translate("planter un arbre en été", {}) == Translation("plant a tree")


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, str]]]]:
    asked: list[dict[str, str]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps({"translatedText": "dance"} if self.path == "/translate" else {"error": "no"}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with running(Answer) as url:
        yield url, asked


def test_a_server_translates(server: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, asked = server
    monkeypatch.setenv("STEVE1_TRANSLATOR", f"{url}/translate")
    assert translate("踢踏量子", {}) == Translation("dance")
    assert asked == [{"q": "踢踏量子", "source": "auto", "target": "en", "format": "text"}]
    monkeypatch.setenv("STEVE1_TRANSLATOR", f"{url}/elsewhere")
    with pytest.raises(UserError, match="did not answer"):
        translate("踢踏量子", {})


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
def test_a_server_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """Its port is another program's, or a proxy breaks off."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def once() -> None:
            there, _ = server.accept()
            with there:
                there.recv(10_000)
                there.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        monkeypatch.setenv("STEVE1_TRANSLATOR", f"http://127.0.0.1:{server.getsockname()[1]}/")
        with pytest.raises(UserError, match="did not answer"):
            translate("踢踏量子", {})
        thread.join()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/no/such/program", "could not be run"),
        (f"{shlex.quote(sys.executable)} -c 'import sys; sys.exit(\"out of order\")'", "out of order"),
        (f"{shlex.quote(sys.executable)} -c ''", "gave no English"),
        (f"{shlex.quote(sys.executable)} -c 'print(chr(0x6811))'", "gave no English"),
        ("'unclosed", "could not be run"),
        ("http://127.0.0.1:1/", "did not answer"),
        ("http://localhost:port/", "did not answer"),
        ("http://[::1/", "did not answer"),
    ],
)
def test_a_translator_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, command: str, words: str) -> None:
    monkeypatch.setenv("STEVE1_TRANSLATOR", command)
    with pytest.raises(UserError, match=words) as caught:
        translate("踢踏量子", {})
    assert "STEVE1_TRANSLATOR" in str(caught.value)
