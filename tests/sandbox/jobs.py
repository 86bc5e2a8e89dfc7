"""Short ways to start and finish jobs, shared by the sandbox's tests."""

from __future__ import annotations

import io
import time
import wave
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import httpx


def image(form: str = "PNG") -> bytes:
    """A picture of 30 by 20."""
    data = io.BytesIO()
    Image.new("RGB", (30, 20), "green").save(data, form)
    return data.getvalue()


def silence(seconds: float) -> bytes:
    """A WAV of that length."""
    data = io.BytesIO()
    with wave.open(data, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(int(8000 * seconds) * 2))
    return data.getvalue()


PICTURE: dict[str, Any] = {"prompt": "A lighthouse at dawn", "model": "nano-banana-2", "seed": 7}


def start(http: httpx.Client, path: str = "/v1/generate/media", **body: Any) -> str:
    """Start a job, a picture by default, and return its id."""
    answer = http.post(path, json=body or PICTURE)
    assert answer.status_code in (200, 202), answer.text
    started = answer.json()
    return str(started.get("generation_id") or started["separation_id"])


def finish(http: httpx.Client, job: str, kind: str = "media") -> dict[str, Any]:
    """Poll until the job is over."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = http.get(f"/v1/generate/{kind}/{job}")
        assert answer.status_code == 200, answer.text
        state: dict[str, Any] = answer.json()
        if state["status"] in ("completed", "failed"):
            return state
        time.sleep(0.01)
    raise AssertionError(f"job {job} did not finish")


def upload(http: httpx.Client, data: bytes, name: str = "input.png", media_type: str = "image/png") -> str:
    """Upload bytes and return their URL."""
    answer = http.post("/v1/upload/media", files={"file": (name, data, media_type)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])
