"""Image and video jobs from request to file."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from kubeez_mcp_local.sandbox import free_routes
from tests.sandbox.jobs import PICTURE, finish, start, upload

if TYPE_CHECKING:
    import httpx

    from tests.sandbox_server import RunningSandbox


def _png(colour: str = "red", size: tuple[int, int] = (64, 48)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return data.getvalue()


def _open(http: httpx.Client, url: str) -> Image.Image:
    answer = http.get(url)
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    return Image.open(io.BytesIO(answer.content))


def test_a_start_answers_with_id_price_and_pending(http: httpx.Client) -> None:
    started = http.post("/v1/generate/media", json=PICTURE).json()
    assert started["status"] == "pending"
    assert started["model"] == "nano-banana-2"
    assert started["estimated_cost_credits"] == 14
    assert started["generation_id"]


def test_a_job_passes_through_its_states(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.knobs(speed=1)
    job = start(http)
    first = http.get(f"/v1/generate/media/{job}").json()
    assert (first["status"], first["outputs"], first["completed_at"]) == ("pending", [], None)
    sandbox.control.knobs(speed=100_000)
    state = finish(http, job)
    assert state["status"] == "completed"
    assert state["credits_deducted"] == 14
    assert state["prompt"] == PICTURE["prompt"]
    assert state["completed_at"] > state["created_at"]


@pytest.mark.parametrize(
    ("ratio", "size"), [("16:9", (1024, 576)), ("9:16", (576, 1024)), ("1:1", (1024, 1024)), ("4:5", (816, 1024))]
)
def test_a_picture_has_the_ratio_asked_for(http: httpx.Client, ratio: str, size: tuple[int, int]) -> None:
    output = finish(http, start(http, **PICTURE, aspect_ratio=ratio))["outputs"][0]
    picture = _open(http, output["url"])
    assert picture.size == size == (output["width"], output["height"])
    assert (picture.format, output["format"], output["media_type"]) == ("PNG", "png", "image")
    assert output["file_size"] > 10_000


def test_a_tier_makes_the_picture_larger(http: httpx.Client) -> None:
    output = finish(http, start(http, prompt="a", model="nano-banana-2-2K"))["outputs"][0]
    assert max(output["width"], output["height"]) == 2048


@pytest.mark.usefixtures("rich")
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(http: httpx.Client) -> None:
    seeds = (7, 7, 8)
    files = [http.get(finish(http, start(http, **{**PICTURE, "seed": s}))["outputs"][0]["url"]).content for s in seeds]
    assert files[0] == files[1] != files[2]


def test_a_thumbnail_is_small(http: httpx.Client) -> None:
    output = finish(http, start(http))["outputs"][0]
    assert max(_open(http, output["thumbnail_url"]).size) == 320


def test_outputs_need_no_key(sandbox: RunningSandbox, http: httpx.Client) -> None:
    url = finish(http, start(http))["outputs"][0]["url"]
    with sandbox.client(key=None) as stranger:
        answer = stranger.get(url)
        assert answer.headers["content-type"] == "image/png"
        assert stranger.head(url).headers["content-length"] == str(len(answer.content))
        assert stranger.get(url, headers={"Range": "bytes=0-3"}).content == b"\x89PNG"


@pytest.mark.usefixtures("rich")
def test_an_upload_shows_in_what_is_made_from_it(http: httpx.Client) -> None:
    made = []
    for colour in ("red", "blue"):
        url = upload(http, _png(colour))
        body = {**PICTURE, "generation_type": "image-to-image", "source_media_urls": [url]}
        made.append(_open(http, finish(http, start(http, **body))["outputs"][0]["url"]))
    middle = (made[0].width // 2, round(made[0].height * 0.38))
    assert [picture.getpixel(middle) for picture in made] == [(255, 0, 0), (0, 0, 255)]


def test_a_background_is_removed_with_real_alpha(http: httpx.Client) -> None:
    url = upload(http, _png("white", (200, 200)))
    output = finish(http, start(http, "/v1/generate/remove-background", image_url=url))["outputs"][0]
    picture = _open(http, output["url"])
    assert (picture.mode, picture.size) == ("RGBA", (200, 200))
    assert picture.getchannel("A").getextrema() != (255, 255)


@pytest.mark.usefixtures("rich")
def test_a_clip_plays_in_the_ratio_and_length_asked_for(http: httpx.Client) -> None:
    av = pytest.importorskip("av")
    job = start(
        http, prompt="a ship at sea", model="kling-3-0-std", generation_type="text-to-video",
        aspect_ratio="9:16", duration="3s",
    )  # fmt: skip
    output = finish(http, job)["outputs"][0]
    assert output["media_type"] == "video"
    assert output["duration"] == pytest.approx(3, abs=0.1)
    with av.open(io.BytesIO(http.get(output["url"]).content)) as clip:
        stream = clip.streams.video[0]
        frames = [frame.to_image() for frame in clip.decode(stream)]
    assert stream.codec_context.name == "h264"
    assert stream.width / stream.height == pytest.approx(9 / 16, rel=0.02)
    assert frames[0].tobytes() != frames[len(frames) // 2].tobytes()


@pytest.mark.usefixtures("rich")
def test_a_clip_has_sound_when_asked(http: httpx.Client) -> None:
    av = pytest.importorskip("av")
    body = {"prompt": "rain", "model": "seedance-1-5-pro-480p-4s", "generation_type": "text-to-video"}
    heard = {}
    for sound in (True, False):
        output = finish(http, start(http, **body, sound=sound))["outputs"][0]
        with av.open(io.BytesIO(http.get(output["url"]).content)) as clip:
            heard[sound] = bool(clip.streams.audio)
    assert heard == {True: True, False: False}


def test_events_end_with_the_result_that_the_status_route_gives(http: httpx.Client) -> None:
    job = start(http)
    blocks = http.get(f"/v1/generate/media/{job}/stream").text.strip().split("\n\n")
    assert blocks[0].startswith("event: heartbeat\n")
    name, data = blocks[-1].split("\n")
    assert name == "event: result"
    assert json.loads(data.removeprefix("data: ")) == http.get(f"/v1/generate/media/{job}").json()


def test_history_is_newest_first_filtered_and_at_most_25(http: httpx.Client) -> None:
    jobs = [start(http, prompt=f"number {number}", model="z-image") for number in range(3)]
    for job in jobs:
        finish(http, job)
    last = finish(http, start(http))["id"]
    rows = http.get("/v1/generations").json()["generations"]
    assert [row["id"] for row in rows] == [last, *reversed(jobs)]
    assert [row["id"] for row in http.get("/v1/generations?model=nano-banana-2").json()["generations"]] == [last]
    assert http.get("/v1/generations?status=failed").json()["generations"] == []
    assert len(http.get("/v1/generations?limit=2").json()["generations"]) == 2


def _let_them_end(sandbox: RunningSandbox) -> None:
    """Wait until all jobs are over, with no look at any."""
    deadline = time.monotonic() + 60
    while any(job["status"] != "completed" for job in sandbox.control.account()["jobs"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_history_knows_the_size_of_files_that_nobody_has_looked_at(sandbox: RunningSandbox, http: httpx.Client) -> None:
    start(http)
    _let_them_end(sandbox)
    (row,) = http.get("/v1/generations").json()["generations"]
    (output,) = row["outputs"]
    assert output["file_size"] == len(http.get(output["url"]).content)


def test_history_spends_little_time_on_files_that_are_not_made_yet(
    sandbox: RunningSandbox, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_routes, "_SECONDS_TO_MAKE", 0)
    job = start(http)
    _let_them_end(sandbox)
    (row,) = http.get("/v1/generations").json()["generations"]
    assert (row["status"], row["completed_at"], row["outputs"]) == ("processing", None, [])
    assert http.get("/v1/generations", params={"status": "completed"}).json()["generations"] == []
    finish(http, job)
    (row,) = http.get("/v1/generations", params={"status": "completed"}).json()["generations"]
    assert row["outputs"][0]["file_size"]


def test_jobs_of_another_account_are_not_to_be_seen(sandbox: RunningSandbox, http: httpx.Client) -> None:
    job = start(http)
    with sandbox.client("sk_live_other") as other:
        assert other.get(f"/v1/generate/media/{job}").status_code == 404
        assert other.get(f"/v1/generate/media/{job}/stream").status_code == 404
    assert http.get(f"/v1/generate/music/{job}").status_code == 404


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "nano-banana-9"}, "nano-banana-9"),
        ({"model": "flux-2"}, "flux-2"),
        ({"model": "suno-add-vocals"}, "suno-add-vocals"),
        ({"model": "V5"}, "V5"),
        ({"aspect_ratio": "7:5"}, "16:9"),
        ({"prompt": "  "}, "empty"),
        ({"prompt": "x" * 20_001}, "20000"),
        ({"generation_type": "text-to-video"}, "text-to-image"),
        ({"generation_type": "image-to-image"}, "source_media_urls"),
        ({"source_media_urls": ["http://example.com/a.png"]}, "https"),
        ({"source_media_urls": ["http://127.0.0.1/files/none.png"]}, "fetched"),
        ({"source_media_urls": ["https://example.com/a.mp4"]}, "video"),
        ({"source_media_urls": [f"https://example.com/{n}.png" for n in range(9)]}, "at most 8"),
        ({"model": "nano-banana", "source_media_urls": "https://example.com/a.png"}, "at most 0"),
        ({"resolution": "8K"}, "4K"),
        ({"model": "imagen-4", "resolution": "huge"}, "4K"),
        ({"model": "gpt-image-2", "resolution": "8K", "aspect_ratio": "16:9"}, "1K, 2K, 4K"),
        ({"model": "gpt-image-2", "resolution": "2K"}, "aspect_ratio other than 1:1"),
        ({"model": "gpt-image-2", "resolution": "4k", "aspect_ratio": "1:1"}, "aspect_ratio other than 1:1"),
        ({"model": "gpt-image-2", "resolution": "2K", "aspect_ratio": "auto"}, "aspect_ratio other than 1:1"),
    ],
)
def test_what_does_not_fit_the_row_is_refused_before_billing(
    sandbox: RunningSandbox, http: httpx.Client, change: dict[str, Any], says: str
) -> None:
    answer = http.post("/v1/generate/media", json={**PICTURE, **change})
    assert answer.status_code == 400
    assert says in answer.text
    assert [entry["kind"] for entry in sandbox.control.account()["entries"]] == ["grant"]


@pytest.mark.parametrize(
    ("model", "change", "says"),
    [
        ("kling-3-0-std", {"duration": "20s"}, "15s"),
        ("seedance-2-480p-video-ref", {"source_media_urls": ["https://example.com/a.png"]}, "needs a video"),
        ("veo3-1-first-and-last-frames", {"source_media_urls": ["https://example.com/a.png"]}, "exactly 2"),
        ("kling-2-6-motion-control-720p", {"source_media_urls": ["https://example.com/a.png"]}, "then 1 video"),
        (
            "kling-2-6-motion-control-720p",
            {"source_media_urls": ["https://example.com/a.mp4", "https://example.com/a.png"]},
            "then 1 video",
        ),
    ],
)
def test_video_rules_are_kept(http: httpx.Client, model: str, change: dict[str, Any], says: str) -> None:
    kind = "text-to-video" if model == "kling-3-0-std" else "image-to-video"
    answer = http.post("/v1/generate/media", json={"prompt": "a", "model": model, "generation_type": kind, **change})
    assert (answer.status_code, says in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("change", "cost"),
    [
        ({"resolution": "2K"}, 17),
        ({"resolution": "standard"}, 14),
        ({"model": "flux-2-1K", "resolution": "2K"}, 10),
        ({"model": "gpt-image-2"}, 20),
        ({"model": "gpt-image-2", "resolution": "2k", "aspect_ratio": "16:9"}, 30),
    ],
)
def test_each_tier_has_a_price_of_its_own(http: httpx.Client, change: dict[str, Any], cost: float) -> None:
    assert http.post("/v1/generate/media", json={**PICTURE, **change}).json()["estimated_cost_credits"] == cost


def test_videos_that_go_in_are_billed_with_the_clip_and_sound_instead_of_it(http: httpx.Client) -> None:
    clip = {"prompt": "a", "model": "kling-3-0-std", "generation_type": "text-to-video", "duration": "3s"}
    video = finish(http, start(http, **clip))["outputs"][0]["url"]
    speech = finish(http, start(http, "/v1/generate/dialogue", dialogue=[{"text": "Good morning to you"}]))
    sound = speech["outputs"][0]
    request = {"prompt": "a", "generation_type": "image-to-video", "duration": "5s"}
    costs = [
        http.post("/v1/generate/media", json={**request, "model": model, "source_media_urls": [url]})
        for model, url in (("seedance-2-480p-video-ref", video), ("p-video", sound["url"]))
    ]
    assert [answer.json()["estimated_cost_credits"] for answer in costs] == pytest.approx(
        [20 * (3 + 5), 6 * sound["duration"]], abs=0.01
    )


@pytest.mark.parametrize("body", [{}, {"prompt": "a"}, {"prompt": 5, "model": "z-image"}, {**PICTURE, "seed": "many"}])
def test_missing_or_mistyped_fields_get_fastapis_422(http: httpx.Client, body: dict[str, Any]) -> None:
    answer = http.post("/v1/generate/media", json=body)
    assert answer.status_code == 422
    assert {"loc", "msg", "type"} <= set(answer.json()["detail"][0])


def test_unknown_fields_are_ignored(http: httpx.Client) -> None:
    start(http, **PICTURE, fixed_lens=True, no_such_field=1)


def test_unknown_ids_and_routes_are_404(http: httpx.Client) -> None:
    for path in ("/v1/generate/media/none", "/v1/nothing", "/files/none.png"):
        assert http.get(path).status_code == 404
        assert "detail" in http.get(path).json()
