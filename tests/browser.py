"""A headless Chromium driven over a pipe by its DevTools protocol, with the standard library."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEYS = {"Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36, "ArrowUp": 38, "ArrowDown": 40}
KEYS |= {"ArrowLeft": 37, "ArrowRight": 39, "Tab": 9}


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Page:
    """One page; use it as a context manager."""

    def __init__(self, path: Path, profile: Path, *, size=(1280, 900), dark=False):
        """
        Args:
            path: path of the HTML file.
            profile: an empty folder for the browser.
            size: (width, height) of the window in CSS pixels.
        """
        self._last_id = 0
        read_end, self._write = os.pipe()
        self._read, write_end = os.pipe()

        def connect() -> None:  # the protocol is spoken on descriptors 3 and 4
            read, write = os.dup(read_end), os.dup(write_end)
            os.dup2(read, 3)
            os.dup2(write, 4)

        self._process = subprocess.Popen(
            [
                find_browser(),
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--mute-audio",
                "--autoplay-policy=no-user-gesture-required",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            close_fds=False,
            preexec_fn=connect,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_end)
        os.close(write_end)
        self._session = None
        self.problems: list[str] = []  # errors of scripts, and requests over a network
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        self.look(size, dark)
        self._call("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("document.readyState === 'complete'")

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def look(self, size: tuple[int, int], dark: bool) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=size[0] < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str):
        """The value of a JavaScript expression; promises are awaited."""
        answer = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 120) -> None:
        self.run(
            f"new Promise((done, fail) => {{ const end = Date.now() + {1000 * seconds};"
            f"(function look() {{ if ({condition}) done(); else if (Date.now() > end)"
            f" fail({json.dumps(condition)}); else setTimeout(look, 30); }})(); }})"
        )

    def press(self, *keys: str) -> None:
        """Real key strokes: they move the focus and press buttons."""
        for key in keys:
            text = "\r" if key == "Enter" else key if len(key) == 1 else ""
            event = {"key": key, "code": key if len(key) > 1 else "", "text": text}
            event["windowsVirtualKeyCode"] = KEYS.get(key, ord(key.upper()[0]))
            down = "keyDown" if text else "rawKeyDown"
            self._call("Input.dispatchKeyEvent", type=down, **event)
            self._call("Input.dispatchKeyEvent", type="keyUp", **{**event, "text": ""})

    def screenshot(self, path: Path, whole: bool = False) -> None:
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, **params) -> dict:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict) -> None:
        params = event.get("params", {})
        if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.problems.append(json.dumps(params))
        if event.get("method") == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "about:")):
                self.problems.append(f"asks for {url}")

    def _receive(self) -> dict:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 1 << 20)
            if not part:
                raise AssertionError("the browser has ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    _buffer = b""
