"""A headless Chromium driven over DevTools' pipe: no port, no websocket, no package.

The browser reads commands from descriptor 3 and writes answers and events to descriptor 4, JSON ended by a zero byte.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
# Puts the two pipes at 3 and 4, then becomes the browser.
START = "import os, sys; [os.dup2(int(sys.argv[i]), i + 2) for i in (1, 2)]; os.execvp(sys.argv[3], sys.argv[3:])"


def find() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One Chromium with one page. `events` holds everything that the page's session reported."""

    def __init__(self, binary: str, home: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()  # commands, answers
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (ours[0], theirs[1])]
        words = [sys.executable, "-I", "-c", START, *map(str, ends), binary, *FLAGS, f"--user-data-dir={home}"]
        self.process = subprocess.Popen(
            [*words, "about:blank"], pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for fd in (*ends, ours[0], theirs[1]):
            os.close(fd)
        self.out, self.into = ours[1], theirs[0]
        self.events: list[dict[str, Any]] = []
        self._buffer, self._last, self._session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result; events that arrive on the way are kept."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session and not method.startswith(("Browser.", "Target.")):
            message["sessionId"] = self._session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._receive(90)
            if found.get("id") == self._last:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            self.events.append(found)

    def _receive(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self.into], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"Chromium said nothing for {seconds:g} s"
            part = os.read(self.into, 1 << 20)
            assert part, "Chromium ended"
            self._buffer += part
        head, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(head)

    def until(self, met: Callable[[], Any], seconds: float = 90) -> Any:
        """Ask `met` until it is true, and return its answer."""
        end = time.monotonic() + seconds
        while not (found := met()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)
        return found

    def open(self, path: Path) -> None:
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.until(lambda: self.run("document.readyState") == "complete")

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression (a promise is awaited), as JSON holds it."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def look(self, width: int, dark: bool = False, height: int = 900) -> None:
        """Give the page a window of `width` CSS pixels and a colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """A screenshot of the whole page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        try:
            self.call("Browser.close")
            self.process.wait(timeout=10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        for fd in (self.out, self.into):
            os.close(fd)


if __name__ == "__main__":  # python tests/report/chromium.py report.html OUT: pictures to look at
    import tempfile

    binary = find()
    assert binary, "no Chromium"
    page, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        browser = Browser(binary, Path(home))
        try:
            for width in (400, 1400):
                for dark in (False, True):
                    browser.look(width, dark)
                    browser.open(page)
                    browser.picture(folder / f"report-{width}-{'dark' if dark else 'light'}.png")
        finally:
            browser.close()
