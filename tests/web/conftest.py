"""A headless Chromium, driven over its DevTools pipe: no driver program and no further package is needed."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_TO_BROWSER, _FROM_BROWSER = 3, 4


class Chromium:
    """A browser and the tab that is used now. Every method blocks; where an event loop has to go on, use a thread."""

    def __init__(self, profile: Path) -> None:
        program = next((found for name in _NAMES if (found := shutil.which(name))), None)
        assert program, "this test needs Chromium: apt-get install chromium"
        command_read, self._write_to = os.pipe()
        self._read_from, answer_write = os.pipe()

        def wire() -> None:
            spare_in, spare_out = os.dup(command_read), os.dup(answer_write)
            os.dup2(spare_in, _TO_BROWSER)
            os.dup2(spare_out, _FROM_BROWSER)

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        self._process = subprocess.Popen(
            [program, *flags, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            close_fds=False,
            preexec_fn=wire,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_read)
        os.close(answer_write)
        self._numbers = itertools.count(1)
        self._unread = b""
        self._left: set[str] = set()
        self.events: list[dict[str, Any]] = []
        self._session = self._page = self._target = ""

    def new_tab(self) -> None:
        """Go on in a fresh tab, with nothing seen yet; the one before is closed."""
        if self._target:
            self._call("Target.closeTarget", targetId=self._target)
        target = self._target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self.events.clear()
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._page = self._session
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=900, height=1000, deviceScaleFactor=1, mobile=False)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write_to)
        os.close(self._read_from)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A DevTools command to the tab."""
        return self._call(method, session=self._session, **params)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def enter_frame(self, url: str) -> None:
        """Go on inside the frame that shows `url`, which the browser keeps apart because it has another origin."""
        targets = self._call("Target.getTargets", filter=[{"type": "iframe"}])["targetInfos"]
        target = next(each["targetId"] for each in targets if each["url"] == url and each["targetId"] not in self._left)
        self._left.add(target)
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def leave_frame(self) -> None:
        self._session = self._page

    def page_call(self, method: str, **params: Any) -> dict[str, Any]:
        """As `call`, to the page around the frame: keys go where the focus is."""
        return self._call(method, session=self._page, **params)

    def in_page(self, expression: str) -> Any:
        """As `evaluate`, in the page around the frame."""
        inside, self._session = self._session, self._page
        try:
            return self.evaluate(expression)
        finally:
            self._session = inside

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, promises awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        until = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < until, f"{expression} did not become true; page:\n{self.text()}"
            time.sleep(0.02)

    def text(self) -> str:
        """The page as a reader sees it."""
        return str(self.evaluate("document.body.innerText"))

    def click(self, selector: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def choose(self, selector: str, paths: Sequence[Path]) -> None:
        """Pick files in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def drop(self, selector: str, paths: Sequence[Path]) -> None:
        """Drag files from the desktop and drop them on an element."""
        box = self.evaluate(f"(({{x, y}}) => [x + 20, y + 20])({selector_box(selector)})")
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)

    def prefer(self, scheme: str) -> None:
        """Ask for the `light` or `dark` look."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, target: Path) -> None:
        shot = self._call("Page.captureScreenshot", session=self._page, format="png", captureBeyondViewport=True)
        target.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """Errors that the browser logged: scripts that failed, files that did not load, policy violations."""
        found = []
        for event in self.events:
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(event["params"]["entry"]["text"])
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
        return found

    def requested(self) -> set[str]:
        """Hosts that were contacted."""
        urls = [
            each["params"]["request"]["url"] for each in self.events if each["method"] == "Network.requestWillBeSent"
        ]
        return {url.split("/")[2] for url in urls if url.startswith("http")}

    def _call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._write_to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            if "method" in answer:
                self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            data = os.read(self._read_from, 1 << 16)
            assert data, "Chromium went away"
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


def selector_box(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"


@pytest.fixture(scope="module")
def chromium_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def chromium(chromium_process: Chromium) -> Chromium:
    chromium_process.new_tab()
    return chromium_process
