"""The part of an exported script that talks to the API. Its source is copied into every script, below the imports.

It stands alone: httpx and the standard library, nothing of this package.
"""

from __future__ import annotations

import mimetypes
import random
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx

# --8<-- copied from here
CDN = "https://media.kubeez.com"
AT_ONCE = 5  # jobs that run side by side
GIVE_UP_AFTER = 3600.0  # seconds for one job


class Failed(Exception):  # noqa: N818
    """Something that stops the script, in words."""


class Kubeez:
    """Starts jobs, waits for them and saves what they made.

    A read is repeated when the API is busy or away. A paid request is repeated only when the API said that it took
    nothing (429) or was never reached; after anything else the script stops, so that nothing is paid for twice.
    """

    def __init__(self, base_url: str, key: str, folder: Path, budget: float, poll_seconds: float) -> None:
        self.http = httpx.Client(base_url=base_url, headers={"X-API-Key": key}, timeout=60)
        self.downloads = httpx.Client(timeout=300, follow_redirects=True)  # no key: files are public
        self.folder = folder
        self.budget = budget
        self.poll_seconds = poll_seconds
        self.spent = 0.0
        self.models: dict[str, dict[str, Any]] = {row["model_id"]: row for row in self.read("/v1/models")["models"]}
        self.running: list[dict[str, Any]] = []
        self.uploaded: dict[str, str] = {}
        self.published: dict[str, Any] | None = None

    def read(self, path: str) -> dict[str, Any]:
        """GET, repeated while that may help."""
        for attempt in range(6):
            try:
                answer = self.http.get(path)
            except httpx.TransportError as error:
                if attempt == 5:
                    raise Failed(f"{path}: {error}") from error
            else:
                if answer.status_code != 429 and answer.status_code < 500:
                    return parsed(answer)
                if attempt == 5:
                    raise Failed(f"{path}: {answer.status_code} {answer.text[:200]}")
                time.sleep(pause(attempt, answer.headers.get("Retry-After")))
                continue
            time.sleep(pause(attempt, None))
        raise AssertionError("not reached")

    def pay(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST a paid request; repeated only when nothing can have been accepted."""
        for attempt in range(8):
            try:
                answer = self.http.post(path, json=body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if attempt == 7:
                    raise Failed(f"{path}: {error}") from error
                time.sleep(pause(attempt, None))
                continue
            except httpx.TransportError as error:
                raise Failed(f"{path}: {error}. It may have been charged: look at {path} in your history.") from error
            if answer.status_code != 429 or attempt == 7:
                return parsed(answer)
            time.sleep(pause(attempt, answer.headers.get("Retry-After")))
        raise AssertionError("not reached")

    def start(self, name: str, kind: str, path: str, body: dict[str, Any], model: str = "") -> dict[str, Any]:
        """Start one job; waits first while too many run, and stops before the budget is passed."""
        while len(self.running) >= AT_ONCE:
            self.wait(self.running[0])
        row = self.models.get(str(body.get("model") or model), {})
        price = float(row.get("cost_per_generation") or 0)
        if self.spent + price > self.budget:
            raise Failed(f"{name} costs {price:g} credits; {self.spent:g} of {self.budget:g} are spent.")
        answer = self.pay(path, {key: value for key, value in body.items() if value is not None})
        job_id = answer.get("generation_id") or answer.get("separation_id") or answer.get("id")
        if not job_id:
            raise Failed(f"{name}: the answer names no job: {str(answer)[:200]}")
        self.spent += float(answer.get("estimated_cost_credits") or price)
        job = {"name": name, "kind": kind, "id": job_id, "status": "pending", "model": body.get("model") or model}
        self.running.append(job)
        print(f"{name}: started {job_id}", flush=True)  # noqa: T201
        return job

    def finish(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Wait for all of these jobs; they come back with `outputs`, `songs` and `files`."""
        for job in jobs:
            self.wait(job)
        return jobs

    def wait(self, job: dict[str, Any]) -> None:
        """Poll one job to its end and save its files. It may take a moment until the API knows a new job."""
        if job not in self.running:
            return
        deadline = time.monotonic() + GIVE_UP_AFTER
        time.sleep(self.poll_seconds)
        missing = 0
        while True:
            try:
                state = self.read(f"/v1/generate/{job['kind']}/{job['id']}")
            except NotFound:
                missing += 1
                if missing > 12:
                    raise
                state = {"status": "pending"}
            urls = file_urls(state)
            if str(state.get("status")).lower() == "completed" and urls and all(urls):
                break
            if str(state.get("status")).lower() in ("failed", "error"):
                raise Failed(f"{job['name']}: {state.get('error_message') or 'the job failed'}")
            if time.monotonic() > deadline:
                raise Failed(f"{job['name']}: job {job['id']} is not over; look at it later.")
            time.sleep(self.poll_seconds)
        self.running.remove(job)
        for output in state.get("outputs") or []:
            output["url"] = urljoin(CDN, output["url"])
        job.update(state)
        job["files"] = [self.save(job["name"], number, url) for number, url in enumerate(file_urls(state), start=1)]

    def save(self, name: str, number: int, url: str) -> str:
        """Download one file; the copy on the CDN can lag behind the job."""
        for attempt in range(6):
            try:
                answer = self.downloads.get(url)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.is_success:
                break
            if attempt == 5:
                raise Failed(f"{url} cannot be downloaded.")
            time.sleep(pause(attempt, None))
        assert answer is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        ending = Path(url.split("?")[0]).suffix[:8] or ".bin"
        path = self.folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{number}{ending}"
        path.write_bytes(answer.content)
        print(f"{name}: saved {path}", flush=True)  # noqa: T201
        return str(path)

    def url(self, source: str) -> str:
        """A URL as it is; a local file uploaded, once."""
        if source.startswith(("http://", "https://")):
            return source
        if source not in self.uploaded:
            path = Path(source).expanduser()
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            with path.open("rb") as file:
                answer = self.http.post("/v1/upload/media", files={"file": (path.name, file, kind)}, timeout=600)
            self.uploaded[source] = parsed(answer)["url"]
        return self.uploaded[source]

    def media(self, body: dict[str, Any]) -> dict[str, Any]:
        """A picture or clip: files uploaded, and what the model's row leaves no choice about filled in."""
        row = self.models.get(str(body["model"]), {})
        able = row.get("capabilities") or {}
        sources = body.get("source_media_urls") or []
        sources = [self.url(one) for one in ([sources] if isinstance(sources, str) else sources)]
        body["source_media_urls"] = sources or None
        begins = "image-to" if sources else "text-to"
        fitting = [name for name in row.get("generation_types") or [] if name.startswith(begins)]
        body.setdefault("generation_type", fitting[0] if fitting else None)
        ratios = able.get("aspect_ratio_options") or []
        if "aspect_ratio" not in body and ratios and "1:1" not in ratios:
            body["aspect_ratio"] = ratios[0]
        if body.get("duration") is not None:
            digits = re.sub(r"\D", "", str(body["duration"]))
            offered = able.get("duration_options") or []
            body["duration"] = next((one for one in offered if re.sub(r"\D", "", str(one)) == digits), f"{digits}s")
            if not offered:
                del body["duration"]
        if able.get("video_audio") == "toggle_via_sound_param":
            body.setdefault("sound", False)
        return body

    def music(self, body: dict[str, Any]) -> dict[str, Any]:
        """A song."""
        return body

    def dialogue(self, body: dict[str, Any]) -> dict[str, Any]:
        """Speech: one text with one voice becomes a dialogue of one line."""
        text, voice = body.pop("text", None), body.pop("voice", None)
        if text:
            body["dialogue"] = [{"text": text, **({"voice": voice} if voice else {})}]
        return body

    def plain(self, body: dict[str, Any]) -> dict[str, Any]:
        """Any other job: local files uploaded."""
        return {key: self.url(value) if key.endswith("_url") and value else value for key, value in body.items()}

    def must_offer(self, path: str) -> str:
        """`path`, if the API's own document lists it; nothing is paid into the blue."""
        if self.published is None:
            self.published = self.read("/openapi.json").get("paths") or {}
        if path not in self.published:
            raise Failed(f"The API does not publish {path}; this step cannot be run over REST.")
        return path

    def pick_model(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """The cheapest model that fits."""
        task, ratio = wanted.get("task"), wanted.get("aspect_ratio")
        found = []
        for row in self.models.values():
            able = row.get("capabilities") or {}
            price = row.get("cost_per_generation")
            lengths = [int(re.sub(r"\D", "", str(one)) or 0) for one in able.get("duration_options") or []]
            if price is None or (task and task not in (row.get("generation_types") or [])):
                continue
            if ratio and ratio not in (able.get("aspect_ratio_options") or []):
                continue
            if wanted.get("duration") and int(wanted["duration"]) not in lengths:
                continue
            if wanted.get("max_credits") is None or price <= float(wanted["max_credits"]):
                found.append((price, row["model_id"]))
        if not found:
            raise Failed(f"No model fits {wanted}.")
        price, model = min(found)
        return {"model": model, "credits": price}


class NotFound(Failed):
    """404."""


def parsed(answer: httpx.Response) -> dict[str, Any]:
    """The JSON of a good answer; a bad one in the API's own words."""
    if answer.status_code == 404:
        raise NotFound(f"{answer.request.url.path}: not found")
    try:
        data = answer.json()
    except ValueError:
        data = None
    if not answer.is_success or not isinstance(data, dict):
        said = data.get("message") or data.get("error") or data.get("detail") if isinstance(data, dict) else None
        raise Failed(f"{answer.request.url.path}: {answer.status_code} {said or answer.text[:200]}")
    return data


def pause(attempt: int, retry_after: str | None) -> float:
    """Seconds before the next try: what the API asked for, else 1, 2, 4 … with some chance in it."""
    if retry_after and retry_after.isdigit():
        return min(float(retry_after), 120.0)
    return float(min(2**attempt, 30) * random.uniform(0.7, 1.3))  # noqa: S311


def file_urls(state: dict[str, Any]) -> list[Any]:
    """Where the files of a job are; `None` for one that is not there yet."""
    urls = [urljoin(CDN, output["url"]) if output.get("url") else None for output in state.get("outputs") or []]
    urls += [song.get("audio_url") for song in state.get("songs") or []]
    return urls + [state[name] for name in ("vocals_url", "instrumental_url") if name in state]


# --8<-- to here
