"""A running stand-in for tests: real HTTP on a free loopback port, with its controls at hand."""

from __future__ import annotations

import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from kubeez_mcp_local.sandbox.embedded import EmbeddedSandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "sk_live_example"
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that stay on this machine: to read whom the system trusts takes a seventh of a second."""
CONTROL = {"X-Kubeez-Sandbox": "tests"}


class Control:
    """The stand-in's own controls. Blocking; it runs on a thread of its own, so tests may simply call."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, headers=CONTROL, verify=TRUSTS_NOBODY, trust_env=False, timeout=30)

    def knobs(self, **changes: Any) -> dict[str, Any]:
        """Turn knobs, or with no arguments read them."""
        return self._send("POST", "/_sandbox/knobs", changes) if changes else self._send("GET", "/_sandbox/knobs")

    def fault(self, on: str, kind: str, **details: Any) -> None:
        """Add one fault for coming calls, e.g. `fault("POST /v1/generate/media", "cut_after_acceptance")`."""
        present = self.knobs()["faults"]
        self.knobs(faults=[*present, {"on": on, "kind": kind, **details}])

    def key(self, key: str, **changes: Any) -> dict[str, Any]:
        """Register or change a key: `account`, `scopes`, `credits`, `revoked`."""
        return self._send("POST", "/_sandbox/keys", {"key": key, **changes})

    def token(self, token: str | None = None, **changes: Any) -> None:
        """Register or change a hosted token, or all: `account`, `scopes`, `credits`, `expires_in`, `revoked`."""
        self._send("POST", "/_sandbox/tokens", {"token": token, **changes})

    def books(self) -> dict[str, Any]:
        """Everything that was paid, refunded, made and called."""
        return self._send("GET", "/_sandbox/books")

    def account(self, position: int = 0) -> dict[str, Any]:
        """One account's page of the books; most tests have only one."""
        found: dict[str, Any] = self.books()["accounts"][position]
        return found

    def reset(self) -> None:
        """Forget everything but the speed."""
        self._send("POST", "/_sandbox/reset")

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self._http.request(method, path, json=body)
        answer.raise_for_status()
        parsed: dict[str, Any] = answer.json()
        return parsed


@dataclass(frozen=True)
class RunningSandbox:
    """Origin and controls of a stand-in that runs now."""

    url: str
    control: Control

    def client(self, key: str | None = KEY) -> httpx.Client:
        """A plain HTTP client that sends `key`; close it, or use it in a `with`."""
        headers = {"X-API-Key": key} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, verify=TRUSTS_NOBODY, trust_env=False, timeout=30)


@contextmanager
def running_sandbox(
    folder: Path,
    speed: float = 1000,
    *,
    clock: Callable[[], float] = time.time,
    hosted: bool = False,
    **knobs: Any,
) -> Iterator[RunningSandbox]:
    """Run a stand-in whose state is in `folder` for the length of a `with` block, its knobs set as given.

    A `hosted` one also serves the hosted MCP server's tools, at `/mcp`.
    It draws plainly; tests that look at what was drawn ask for `drawing="rich"`.
    """
    sandbox = EmbeddedSandbox(folder, speed, clock, hosted)
    url = sandbox.start_blocking()
    control = Control(url)
    try:
        control.knobs(**{"drawing": "plain", **knobs})
        yield RunningSandbox(url, control)
    finally:
        control.close()
        sandbox.stop_blocking()
