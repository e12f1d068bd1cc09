"""A headless Chromium, driven over its DevTools socket: as much of a person as a test needs."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: seconds until a test gives up, where a quiet machine takes a moment
PATIENCE = 120.0
_CODES = {
    "F1": 112,
    "F2": 113,
    "F3": 114,
    "F4": 115,
    "F7": 118,
    "F8": 119,
    "F9": 120,
    "Enter": 13,
    "Space": 32,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


class Browser:
    """One page. Methods wait until the browser has done what they say."""

    def __init__(self, port: int) -> None:
        from websockets.sync.client import connect

        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE))
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self._socket = connect(address, max_size=None, compression=None, ping_interval=None, open_timeout=PATIENCE)
        self._numbers = itertools.count(1)
        self.console: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A DevTools command's answer."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            found = json.loads(self._socket.recv(timeout=PATIENCE))
            if found.get("method") == "Runtime.exceptionThrown":
                self.console.append(str(found["params"]["exceptionDetails"])[:500])
            if found.get("method") == "Log.entryAdded" and found["params"]["entry"]["level"] == "error":
                self.console.append(str(found["params"]["entry"])[:500])
            if found.get("method") == "Page.javascriptDialogOpening":
                self._socket.send(
                    json.dumps(
                        {"id": next(self._numbers), "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
                    )
                )
            if found.get("id") == number:
                assert "error" not in found, found
                return dict(found["result"])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def _found(self, expression: str) -> dict[str, Any]:
        return self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )

    def js(self, expression: str) -> Any:
        """The value of an expression on the page."""
        found = self._found(expression)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = PATIENCE) -> Any:
        """Wait until an expression is true, and the page far enough to know what it means; its value."""
        limit = time.monotonic() + seconds
        while "exceptionDetails" in (found := self._found(expression)) or not found["result"].get("value"):
            assert time.monotonic() < limit, f"{expression}: {found}; console: {self.console}"
            time.sleep(0.03)
        return found["result"]["value"]

    def key(self, code: str, down: bool = True, up: bool = True) -> None:
        """Press a key by its place."""
        key = code.removeprefix("Key").lower() if code.startswith("Key") else {"Space": " "}.get(code, code)
        more: dict[str, Any] = {
            "code": code,
            "key": key,
            "windowsVirtualKeyCode": _CODES.get(code, ord(key[0].upper())),
        }
        if down:
            text = {"text": "\r"} if code == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **more, **text)
        if up:
            self.call("Input.dispatchKeyEvent", type="keyUp", **more)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element."""
        x, y = self.js(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        return float(x), float(y)

    def mouse(self, kind: str, x: float, y: float, button: str = "none", **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, **more)

    def click(self, selector: str) -> None:
        """Click on an element's middle."""
        x, y = self.place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, "left", clickCount=1)

    def size(self, width: int, height: int = 900) -> None:
        """The window's size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def dark(self, dark: bool) -> None:
        """Whether the person prefers dark pages."""
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def picture(self, path: Path) -> None:
        """What it looks like."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own below `folder`."""
    profile = folder / "profile"
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--remote-allow-origins=*",
        "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", f"--user-data-dir={profile}", "--window-size=1280,900", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + PATIENCE
        port = profile / "DevToolsActivePort"
        while not (port.exists() and port.read_text().strip()):
            assert time.monotonic() < limit, "chromium did not start"
            assert process.poll() is None, "chromium ended"
            time.sleep(0.05)
        yield Browser(int(port.read_text().split()[0]))
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
