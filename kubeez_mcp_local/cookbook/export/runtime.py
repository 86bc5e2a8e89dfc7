"""The part of an exported script that talks to the API. Its source is copied into every script, below the imports.

It stands alone: httpx, the standard library, and the like part of `jobs/naming.py`, which scripts carry too.
"""

from __future__ import annotations

import json
import mimetypes
import random
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import httpx

from kubeez_mcp_local.jobs.naming import language_of, name_of_call, own_name, portable

if TYPE_CHECKING:
    from collections.abc import Callable

# --8<-- copied from here
CDN = "https://media.kubeez.com"
AT_ONCE = 5  # jobs that run side by side
DEAREST = 100_000  # credits; no job costs more
GIVE_UP_AFTER = 3600.0  # seconds for one job
TRIES = 6  # of a request that costs nothing
LENGTH_IN_ID = re.compile(r"-(\d+)s(?=-|$)")  # such as seedance-1-5-pro-720p-4s


class Failed(Exception):  # noqa: N818
    """Something that stops the script, in words."""


class Kubeez:
    """Starts jobs, waits for them and saves what they made.

    A free request is repeated when the API is busy or away. A paid one is repeated only when the API said that it took
    nothing (429) or was never reached; after anything else the script stops, so that nothing is paid for twice.
    `record` remembers every paid request until all is done: a script that was cut off goes on when it is started again.
    """

    def __init__(self, base_url: str, key: str, folder: Path, record: str, budget: float, poll_seconds: float) -> None:
        self.http = httpx.Client(base_url=base_url, headers={"X-API-Key": key}, timeout=60)
        self.downloads = httpx.Client(timeout=300, follow_redirects=True)  # no key: files are public
        self.folder = folder
        self.record = folder / record
        self.budget = budget
        self.poll_seconds = poll_seconds
        self.spent = 0.0
        self.paid: dict[str, dict[str, Any]] = {}  # by name; a job without an `id` may have been sent or not
        if self.record.exists():
            self.paid = json.loads(self.record.read_text(encoding="utf-8"))
            print(f"Going on with the run in {self.record}; delete it to start over.", flush=True)  # noqa: T201
        self.models: dict[str, dict[str, Any]] = {row["model_id"]: row for row in self.read("/v1/models")["models"]}
        self.running: list[dict[str, Any]] = []
        self.uploaded: dict[str, str] = {}
        self.made: dict[str, str] = {}  # what the file behind a URL is called
        self.published: dict[str, Any] | None = None

    def patiently(self, what: str, request: Callable[[], httpx.Response]) -> dict[str, Any]:
        """The answer to a free request, repeated while that may help."""
        trouble = ""
        for attempt in range(TRIES):
            wait = None
            try:
                answer = request()
            except httpx.TransportError as error:
                trouble = str(error)
            else:
                if answer.status_code != 429 and answer.status_code < 500:
                    return parsed(answer)
                trouble, wait = f"{answer.status_code} {answer.text[:200]}", answer.headers.get("Retry-After")
            if attempt < TRIES - 1:
                time.sleep(pause(attempt, wait))
        raise Failed(f"{what}: {trouble}")

    def read(self, path: str) -> dict[str, Any]:
        """GET."""
        return self.patiently(path, lambda: self.http.get(path))

    def pay(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST a paid request; repeated only when nothing can have been accepted, `Unknown` if that is unclear."""
        for attempt in range(8):
            try:
                answer = self.http.post(path, json=body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if attempt == 7:
                    raise Failed(f"{path}: {error}") from error
                time.sleep(pause(attempt, None))
                continue
            except httpx.TransportError as error:
                raise Unknown(f"{path}: {error}") from error
            if answer.status_code >= 500:
                raise Unknown(f"{path}: {answer.status_code} {answer.text[:200]}")
            if answer.status_code != 429 or attempt == 7:
                return parsed(answer)
            time.sleep(pause(attempt, answer.headers.get("Retry-After")))
        raise AssertionError("not reached")

    def start(
        self,
        name: str,
        kind: str,
        path: str,
        prepare: Callable[[dict[str, Any]], dict[str, Any]],
        body: dict[str, Any],
        model: str = "",
        at_most: float | None = None,
        called: tuple[str, str, str, str] = ("", "", "", ""),
    ) -> dict[str, Any]:
        """Start one job, or go on with it; waits first while too many run, and stops before the budget is passed."""
        while len(self.running) >= AT_ONCE:
            self.wait(self.running[0])
        model = str(body.get("model") or model)
        stem = self.stem(body, *called) or portable(name)
        languages = [portable(str(one)) for one in body.get("languages") or ()]
        before = self.paid.get(name)
        if before is None:
            before = self.send(name, path, prepare(body), self.price(name, model, at_most))
        elif "id" not in before:
            raise Unknown(f"{name}: an earlier attempt broke off while it was sent")
        job = {"name": name, "kind": kind, "id": before["id"], "status": "pending", "model": model}
        job.update(stem=stem, languages=languages)
        self.spent += before.get("credits", 0.0)
        self.running.append(job)
        return job

    def stem(self, body: dict[str, Any], step: str, item: str, part: str, makes: str) -> str:
        """What the job's files are called; a `name` among the arguments is that, and none of the API's."""
        given = portable(str(body.pop("name", None) or ""))
        inputs = [value for key, value in body.items() if key.endswith(("_url", "_urls")) and value]
        first = str(inputs[0][0] if inputs and isinstance(inputs[0], list) else inputs[0] if inputs else "")
        source = self.made.get(first) or (own_name(first) if first else "")
        if str(body.get("generation_type") or "").endswith("-to-video"):
            makes = "clip"
        wordless = not any(body.get(key) for key in ("prompt", "text", "dialogue", "product_text"))
        told = {"source": source, "makes": makes, "language": language_of(body)}
        name = given or name_of_call(step, item, part, wordless=wordless, **told)
        return f"{name}-{part}" if part else name

    def price(self, name: str, model: str, at_most: float | None) -> float:
        """Credits to reckon with: what the recipe allows for a job whose price depends on it, else the list price."""
        listed = price_told(self.models.get(model, {}).get("cost_per_generation"))
        price = listed if at_most is None else at_most
        if price is None and self.budget != float("inf"):
            raise Failed(f"{name}: the API names no price for {model or 'this job'}, so it cannot be held to a budget.")
        if self.spent + float(price or 0) > self.budget:
            raise Failed(f"{name} costs {price:g} credits; {self.spent:g} of {self.budget:g} are spent.")
        return float(price or 0)

    def send(self, name: str, path: str, body: dict[str, Any], price: float) -> dict[str, Any]:
        """Pay for one job; on record before it is sent, and with its id as soon as there is one."""
        self.remember(name, {"credits": price})
        try:
            answer = self.pay(path, {key: value for key, value in body.items() if value is not None})
        except Unknown:
            raise
        except Failed:
            self.remember(name, None)
            raise
        job_id = answer.get("generation_id") or answer.get("separation_id") or answer.get("id")
        if not job_id:
            raise Unknown(f"{name}: the answer names no job: {str(answer)[:200]}")
        sent = {"id": job_id, "credits": price_told(answer.get("estimated_cost_credits")) or price}
        self.remember(name, sent)
        print(f"{name}: started {job_id}", flush=True)  # noqa: T201
        return sent

    def remember(self, name: str, sent: dict[str, Any] | None) -> None:
        """Put one paid request on record, or off it."""
        self.paid[name] = sent or {}
        if sent is None:
            del self.paid[name]
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.record.with_suffix(".new")
        fresh.write_text(json.dumps(self.paid, indent=1), encoding="utf-8")
        fresh.replace(self.record)

    def done(self) -> None:
        """All is made: the next start is a new run."""
        self.record.unlink(missing_ok=True)

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
        missing = 0
        while True:
            time.sleep(self.poll_seconds)
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
                self.remember(job["name"], None)  # failed jobs are refunded: the next attempt sends it again
                raise Failed(f"{job['name']}: {state.get('error_message') or 'the job failed'}")
            if time.monotonic() > deadline:
                raise Failed(f"{job['name']}: job {job['id']} is not over yet.")
        self.running.remove(job)
        for output in state.get("outputs") or []:
            output["url"] = urljoin(CDN, output["url"])
        job.update(state)
        paid = self.paid[job["name"]]
        urls = file_urls(state)
        kept = paid.get("files") or []
        if not kept or not all(Path(one).exists() for one in kept):
            labels = outputs_told_apart(state, len(urls), job["languages"])
            paid["files"] = [self.save(f"{job['stem']}{label}", url) for label, url in zip(labels, urls, strict=True)]
            self.remember(job["name"], paid)
        job["files"] = paid["files"]
        self.made.update((url, Path(one).stem) for url, one in zip(urls, job["files"], strict=True))

    def save(self, stem: str, url: str) -> str:
        """Download one file; the copy on the CDN can lag behind the job."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ending = Path(url.split("?")[0]).suffix[:8] or ".bin"
        number, path = 1, self.folder / f"{stem}{ending}"
        while path.exists():  # of an earlier run
            number += 1
            path = self.folder / f"{stem}-{number}{ending}"
        part = path.with_name(f"{path.name}.part")
        for attempt in range(TRIES):
            try:
                with self.downloads.stream("GET", url) as answer, part.open("wb") as file:
                    answer.raise_for_status()
                    for chunk in answer.iter_bytes():
                        file.write(chunk)
                if not is_media(part):
                    raise httpx.DecodingError("what is there is no media file")
            except httpx.HTTPError as error:
                if attempt == TRIES - 1:
                    raise Failed(f"{url} cannot be downloaded: {error}") from error
                time.sleep(pause(attempt, None))
                continue
            part.replace(path)
            print(f"saved {path}", flush=True)  # noqa: T201
            return str(path)
        raise AssertionError("not reached")

    def url(self, source: str) -> str:
        """A URL as it is; a local file uploaded, once."""
        if source.startswith(("http://", "https://")):
            return source
        if source not in self.uploaded:
            path = Path(source).expanduser()
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"

            def upload() -> httpx.Response:
                with path.open("rb") as file:
                    return self.http.post("/v1/upload/media", files={"file": (path.name, file, kind)}, timeout=600)

            self.uploaded[source] = self.patiently(f"upload of {path}", upload)["url"]
        return self.uploaded[source]

    def media(self, body: dict[str, Any]) -> dict[str, Any]:
        """A picture or clip: files uploaded, and what the model's row leaves no choice about filled in."""
        model = str(body["model"])
        row = self.models.get(model, {})
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
            offered = [] if LENGTH_IN_ID.search(model) else able.get("duration_options") or []
            body["duration"] = next((one for one in offered if re.sub(r"\D", "", str(one)) == digits), None)
        if able.get("video_audio") != "toggle_via_sound_param" or model.endswith("-audio"):
            body.pop("sound", None)
        elif body.get("sound") is None:
            body["sound"] = False
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

    def once(self, name: str, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a question came to; a run that goes on keeps to the answer it began with."""
        if name not in self.paid:
            self.remember(name, ask())
        return self.paid[name]

    def must_offer(self, path: str) -> str:
        """`path`, if the API's own document lists it; nothing is paid into the blue."""
        if self.published is None:
            self.published = self.read("/openapi.json").get("paths") or {}
        if path not in self.published:
            raise Failed(f"The API does not publish {path}; this step cannot be run over REST.")
        return path

    def pick_model(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """The model that fits: the cheapest, or what the recipe prefers; the dearest stands for the best."""

        def rank(row: dict[str, Any]) -> tuple[float, float, str]:
            price, seconds = float(row["cost_per_generation"]), float(row.get("estimated_time_seconds") or 1e9)
            first = {"tier": (-price, seconds), "speed": (seconds, price)}.get(wanted.get("prefer") or "")
            return (*(first or (price, seconds)), row["model_id"])

        fitting = [row for row in self.models.values() if row.get("cost_per_generation") is not None]
        fitting = [row for row in fitting if fits(row, wanted, self.models)]
        if not fitting:
            raise Failed(f"No model fits {wanted}.")
        best = min(fitting, key=rank)
        return {"model": best["model_id"], "credits": best["cost_per_generation"]}


class Unknown(Failed):
    """A paid request that may have been accepted."""


class NotFound(Failed):
    """404."""


def fits(row: dict[str, Any], wanted: dict[str, Any], models: dict[str, Any]) -> bool:
    """Whether a model of the catalogue does what is wanted; `None` means that any will do."""
    model, able = row["model_id"], row.get("capabilities") or {}
    task, ratio, seconds = wanted.get("task"), wanted.get("aspect_ratio"), wanted.get("duration")
    sound, most = wanted.get("sound"), wanted.get("max_credits")
    in_id = LENGTH_IN_ID.search(model)
    lengths = [in_id[1]] if in_id else [re.sub(r"\D", "", str(one)) for one in able.get("duration_options") or []]
    always = model.endswith("-audio") or able.get("video_audio") == "included"
    audible = always or (able.get("video_audio") == "toggle_via_sound_param" and f"{model}-audio" not in models)
    return (
        (task is None or task in (row.get("generation_types") or []))
        and (ratio is None or ratio in (able.get("aspect_ratio_options") or []))
        and (seconds is None or re.sub(r"\D", "", str(seconds)) in lengths)
        and (sound is None or (audible if sound else not always))
        and (most is None or float(row["cost_per_generation"]) <= float(most))
    )


def parsed(answer: httpx.Response) -> dict[str, Any]:
    """The JSON of a good answer; a bad one in the API's own words."""
    try:
        data = answer.json()
    except ValueError:
        data = None
    if not answer.is_success or not isinstance(data, dict):
        said = data.get("message") or data.get("error") or data.get("detail") if isinstance(data, dict) else None
        kind = NotFound if answer.status_code == 404 else Failed
        raise kind(f"{answer.request.url.path}: {answer.status_code} {said or answer.text[:200]}")
    return data


def price_told(value: object) -> float | None:
    """Credits as the API tells them; `None` for what no job can cost, such as -14: then the earlier price holds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= DEAREST:
        return None
    return float(value)


def pause(attempt: int, retry_after: str | None) -> float:
    """Seconds before the next try: what the API asked for, else 1, 2, 4 … with some chance in it."""
    if retry_after and retry_after.isdigit():
        return min(float(retry_after), 120.0)
    return float(min(2**attempt, 30) * random.uniform(0.7, 1.3))  # noqa: S311


def is_media(path: Path) -> bool:
    """Whether a file may be what was made: not empty, and no page, error or program in its place."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    return bool(start) and not start.startswith((b"<", b"{", b"mz", b"#!", b"\x7felf"))


def outputs_told_apart(state: dict[str, Any], count: int, languages: list[str]) -> list[str]:
    """What tells the files of one job apart: a language (as ordered), what was separated, or which of how many."""
    if count < 2:
        return [""] * count
    if len(languages) == count:
        return [f"-{language}" for language in languages]
    labels = ["vocals", "instrumental"] if "vocals_url" in state else []
    labels = [""] * (count - len(labels)) + labels
    if len(set(labels)) < count:
        labels = [f"{label}{'-' if label else ''}{number}-of-{count}" for number, label in enumerate(labels, start=1)]
    return [f"-{label}" if label else "" for label in labels]


def file_urls(state: dict[str, Any]) -> list[Any]:
    """Where the files of a job are; `None` for one that is not there yet."""
    urls = [urljoin(CDN, output["url"]) if output.get("url") else None for output in state.get("outputs") or []]
    urls += [song.get("audio_url") for song in state.get("songs") or []]
    return urls + [state[name] for name in ("vocals_url", "instrumental_url") if name in state]


# --8<-- to here
