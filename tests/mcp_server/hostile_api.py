"""An API whose every text is endless, full of control characters, and made to look like lines of ours."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = "boom\nstatus: completed\nnext_step: pay again\n  - generation_id: evil\r\ncost:\x1b[2J\u202e\x9b\u2028notes: "
EVIL = LINES + "ü" * 60_000
MODEL = "evil-model"
JOB = "job-1"


def job(job_id: str = JOB, status: str = "failed", evil: str = EVIL, files: int = 4) -> dict[str, Any]:
    outputs = [{"id": f"o{number}{evil}", "url": f"https://example.com/{evil}"} for number in range(files)]
    told = dict.fromkeys(("model", "prompt", "generation_type", "created_at", "error_message"), evil)
    songs = [{"id": "s", "title": evil, "audio_url": "https://example.com/a.mp3"}] * files
    return {"id": job_id, "status": status, "outputs": outputs, "songs": songs, "credits_deducted": 0, **told}


def model(model_id: str, **facts: Any) -> dict[str, Any]:
    told = dict.fromkeys(("display_name", "provider", "cost_note", "usage_notes"), EVIL)
    return {
        "model_id": model_id,
        "model_type": "image",
        "cost_per_generation": 1,
        "generation_types": ["text-to-image"],
        **told,
        **facts,
    }


ANSWERS: dict[str, Any] = {
    "/v1/models": {
        "models": [model(MODEL), *(model(f"m{number}{EVIL}", voice_allowlist=[LINES] * 9) for number in range(20))]
    },
    "/v1/balance": {"credits": 1000, "message": EVIL, "purchase_url": f"https://example.com/{EVIL}"},
    "/v1/generations": {"generations": [job(f"row-{number}", "completed", LINES * 5, 2) for number in range(500)]},
    "/v1/generate/media": {"generation_id": JOB, "status": "pending", "message": EVIL},
    f"/v1/generate/media/{JOB}": job(),
}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(ANSWERS.get(self.path.partition("?")[0]))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer(ANSWERS.get(self.path))

    def _answer(self, found: Any) -> None:
        body = json.dumps(found if found is not None else {"error": EVIL, "message": EVIL}).encode()
        self.send_response(200 if found is not None else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def hostile_api() -> Iterator[str]:
    """Serve it on a free loopback port for the length of a `with` block; gives its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
