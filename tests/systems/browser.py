"""Headless Chromium, driven over its DevTools protocol by a pair of pipes: null-terminated JSON, no port, no library.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

# Chromium itself is kept from talking to anybody; what is left are the requests of the page.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--no-first-run", "--remote-debugging-pipe",
]  # fmt: skip

DRAWN = "document.documentElement.hasAttribute('data-drawn')"  # a report has drawn its figures


class Browser:
    """One browser, one page. ``complaints``: errors and warnings on its console. ``requests``: addresses asked for."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = 0
        self._number = 0
        self._buffer = b""
        self._profile = tempfile.mkdtemp(prefix="hwnas-chromium-")
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        command = ["chromium", *FLAGS, f"--user-data-dir={self._profile}", "about:blank"]

        def at_3_and_4() -> None:
            """Where Chromium looks for the pipes. Through high numbers, since 3 or 4 may be one of the two itself."""
            high = os.dup(to_read), os.dup(to_write)
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=at_3_and_4
        )
        os.close(to_read)
        os.close(to_write)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command to the page, and its result. RuntimeError if Chromium refuses, TimeoutError if it is silent."""
        return self._call(method, self._session, **parameters)

    def open(
        self, page: Path, *, width: int, height: int = 900, dark: bool = False, ready: str = DRAWN, on: str = ""
    ) -> None:
        """Return once the page is loaded and ``ready`` is true. ``on``: where on the page, as in "#heading"."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        before = self._loaded
        self.call("Page.navigate", url=page.resolve().as_uri() + on)
        self._until(lambda: self._loaded > before)
        self._until(lambda: bool(self.evaluate(ready)))

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """``text``: what the key types, "\\r" of Enter."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def click(self, x: float, y: float) -> None:
        """At a place in the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path, *, height: int | None = None) -> None:
        """PNG of the page from its top: all of it, or ``height`` pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        os.write(self._out, json.dumps(request | ({"sessionId": session} if session else {})).encode() + b"\0")
        while (message := self._receive()).get("id") != self._number:
            self._notice(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        result: dict[str, Any] = message["result"]
        return result

    def _receive(self, timeout_s: float = 60.0) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], timeout_s)[0]:
                raise TimeoutError(f"Chromium has said nothing for {timeout_s:g} s")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise RuntimeError(f"Chromium has ended with exit code {self._process.wait(20)}")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        value: dict[str, Any] = json.loads(message)
        return value

    def _notice(self, message: dict[str, Any]) -> None:
        given = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded += 1
            case "Network.requestWillBeSent":
                self.requests.append(given["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(given["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if given["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(given["args"]))
            case "Log.entryAdded" if given["entry"]["level"] in ("error", "warning"):
                self.complaints.append(str(given["entry"]))

    def wait(self, expression: str, timeout_s: float = 60.0) -> None:
        """Until a JavaScript expression is true."""
        self._until(lambda: bool(self.evaluate(expression)), timeout_s)

    def _until(self, done: Any, timeout_s: float = 60.0) -> None:
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(f"the page was not ready within {timeout_s:g} s; its console: {self.complaints}")
            self.evaluate("0")  # takes in what Chromium has to say
            time.sleep(0.05)
