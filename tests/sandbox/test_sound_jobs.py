"""Music, speech and the assumed audio and video routes."""

from __future__ import annotations

import io
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from tests.sandbox.jobs import finish, start, upload

if TYPE_CHECKING:
    import httpx

    from tests.sandbox_server import RunningSandbox

av = pytest.importorskip("av")


def _seconds(data: bytes) -> float:
    with av.open(io.BytesIO(data)) as container:
        return float(container.duration / av.time_base)


def _loudest(data: bytes) -> int:
    """The largest sample, of 32,767 at most."""
    flat = av.AudioResampler(format="s16", layout="mono")
    with av.open(io.BytesIO(data)) as container:
        frames = [part for frame in container.decode(audio=0) for part in flat.resample(frame)]
    return max(max(array("h", bytes(frame.planes[0])[: frame.samples * 2])) for frame in frames)


def _clip(http: httpx.Client) -> str:
    body = {"prompt": "a", "model": "kling-3-0-std", "generation_type": "text-to-video", "duration": "3s"}
    return str(finish(http, start(http, **body))["outputs"][0]["url"])


@pytest.mark.usefixtures("rich")
def test_music_gives_two_songs_one_can_hear(http: httpx.Client) -> None:
    state = finish(http, start(http, "/v1/generate/music", prompt="calm piano"), "music")
    assert len(state["songs"]) == 2
    files = [http.get(song["audio_url"]).content for song in state["songs"]]
    assert files[0] != files[1]
    assert all(_seconds(data) > 10 for data in files)
    assert http.get(state["songs"][0]["cover_image_url"]).headers["content-type"] == "image/jpeg"


def test_music_can_be_heard_before_it_is_done(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.knobs(speed=30, music_streaming=True)
    job = start(http, "/v1/generate/music", prompt="calm piano")
    while (state := http.get(f"/v1/generate/music/{job}").json())["status"] == "pending":
        pass
    assert state["status"] == "streaming"
    assert [(song["audio_url"], bool(song["stream_url"])) for song in state["songs"]] == [(None, True)] * 2
    assert http.get(state["songs"][0]["stream_url"]).status_code == 200


def test_an_unknown_engine_is_silently_the_default_one(http: httpx.Client) -> None:
    assert http.post("/v1/generate/music", json={"prompt": "a", "model": "V99"}).json()["model"] == "V6"
    assert http.post("/v1/generate/music", json={"prompt": "a", "model": "V5"}).json()["model"] == "V5"


def test_lyrics_are_listed_but_no_route_runs_them(http: httpx.Client) -> None:
    listed = http.get("/v1/models", params={"model_type": "music"}).json()["models"]
    assert "suno-lyrics-generation" in {row["model_id"] for row in listed}
    started = http.post("/v1/generate/music", json={"prompt": "a", "model": "suno-lyrics-generation"}).json()
    assert (started["model"], started["estimated_cost_credits"]) == ("V6", 19)
    assert http.post("/v1/estimate", json={"model": "suno-lyrics-generation"}).status_code == 400


@pytest.mark.parametrize("ratio", ["7:3", "wide", "", "1:0", "9" * 5000 + ":1"])
def test_ads_come_in_known_ratios_only(sandbox: RunningSandbox, http: httpx.Client, ratio: str) -> None:
    body = {"reference_ad_url": "https://example.com/ad.png", "aspect_ratio": ratio}
    answer = http.post("/v1/generate/ad-copy", json=body)
    assert (answer.status_code, "9:16" in answer.json()["detail"]) == (400, True)
    assert http.get("/v1/balance").json()["credits"] == 10_000


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": "x" * 401},
        {"title": "only a title", "prompt": "a"},
        {"title": "t", "style": "s", "vocal_gender": "f"},
        {"title": "t", "style": "s", "vocal_gender": "f", "lyrics": "la", "song_description": "d"},
        {"title": "t", "style": "s", "lyrics": "la"},
        {"title": "t", "style": "s", "lyrics": "la", "instrumental": True},
    ],
)
def test_music_modes_are_not_mixed(http: httpx.Client, body: dict[str, Any]) -> None:
    assert http.post("/v1/generate/music", json=body).status_code == 400


def test_advanced_music_works(http: httpx.Client) -> None:
    start(http, "/v1/generate/music", title="Tide", style="folk", vocal_gender="f", lyrics="Over the water we go")


def test_speech_is_read_on_the_media_route(http: httpx.Client) -> None:
    lines = [{"text": "Hello there, how are you?", "voice": "Rachel"}, {"text": "Very well indeed.", "voice": "Drew"}]
    state = finish(http, start(http, "/v1/generate/dialogue", dialogue=lines))
    output = state["outputs"][0]
    assert output["media_type"] == "audio"
    assert state["credits_deducted"] == 21
    assert _loudest(http.get(output["url"]).content) > 2_000


@pytest.mark.parametrize(
    "lines",
    [[], [{"text": "Hey"}], [{"text": "x" * 5001}], [{"text": "Hello there", "voice": "Adam"}]],
    ids=["none", "short", "long", "voice"],
)
def test_speech_limits(http: httpx.Client, lines: list[dict[str, str]]) -> None:
    assert http.post("/v1/generate/dialogue", json={"dialogue": lines}).status_code == 400


def test_ad_variants_are_jobs_of_their_own(sandbox: RunningSandbox, http: httpx.Client) -> None:
    body = {"reference_ad_url": "https://example.com/ad.png", "product_text": "Shoes", "variant_count": 3}
    started = http.post("/v1/generate/ad-copy", json=body).json()
    assert len(started["generation_ids"]) == 3
    assert started["generation_id"] == started["generation_ids"][0]
    pictures = [finish(http, job)["outputs"][0] for job in started["generation_ids"]]
    assert all(picture["height"] > picture["width"] for picture in pictures)
    assert http.get("/v1/balance").json()["credits"] == 10_000 - 150


@pytest.mark.usefixtures("rich")
def test_separation_gives_two_stems(http: httpx.Client) -> None:
    song = finish(http, start(http, "/v1/generate/music", prompt="a tune"), "music")["songs"][0]["audio_url"]
    state = finish(http, start(http, "/v1/generate/separation", media_url=song), "separation")
    stems = [http.get(state[name]).content for name in ("vocals_url", "instrumental_url")]
    assert stems[0] != stems[1]
    assert all(_seconds(stem) > 1 for stem in stems)


def test_separation_wants_a_kubeez_upload(http: httpx.Client) -> None:
    answer = http.post("/v1/generate/separation", json={"media_url": "https://example.com/a.mp3"})
    assert answer.status_code == 400


@pytest.mark.usefixtures("rich")
def test_captions_are_billed_by_the_second_and_come_as_a_clip(http: httpx.Client) -> None:
    state = finish(http, start(http, "/v1/generate/captions", media_url=_clip(http)))
    assert state["credits_deducted"] == 1.5
    assert _seconds(http.get(state["outputs"][0]["url"]).content) == pytest.approx(3, abs=0.2)


def test_dubbing_gives_one_clip_for_each_language(http: httpx.Client) -> None:
    state = finish(http, start(http, "/v1/generate/dubbing", video_url=_clip(http), languages=["de", "fr"]))
    assert state["credits_deducted"] == 2 * 30
    assert len(state["outputs"]) == 2
    refused = http.post("/v1/generate/dubbing", json={"video_url": _clip(http), "languages": ["xx"]})
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        ({"model": "sonilo-text-to-sfx", "prompt": "a door", "duration": 1}, 3),
        ({"model": "sonilo-text-to-sfx", "prompt": "a door"}, 5),
        ({"model": "sonilo-text-to-music", "prompt": "calm", "duration": 20}, 10),
    ],
)
def test_sounds_are_billed_by_the_second(http: httpx.Client, body: dict[str, Any], cost: float) -> None:
    state = finish(http, start(http, "/v1/generate/sound", **body))
    assert state["credits_deducted"] == cost
    assert state["outputs"][0]["media_type"] == "audio"


@pytest.mark.usefixtures("rich")
def test_sound_for_a_clip_comes_muxed_in(http: httpx.Client) -> None:
    body = {"model": "sonilo-video-to-video-sfx", "video_url": _clip(http)}
    output = finish(http, start(http, "/v1/generate/sound", **body))["outputs"][0]
    with av.open(io.BytesIO(http.get(output["url"]).content)) as clip:
        assert clip.streams.audio
        assert clip.streams.video


@pytest.mark.parametrize(
    "body",
    [
        {"model": "sonilo-text-to-sfx"},
        {"model": "sonilo-text-to-sfx", "prompt": "a", "duration": 181},
        {"model": "sonilo-video-to-sfx", "prompt": "a"},
        {"model": "sonilo-video-to-sound", "prompt": "a", "video_url": "https://example.com/a.mp4"},
        {"model": "nano-banana", "prompt": "a"},
    ],
)
def test_sound_rules(http: httpx.Client, body: dict[str, Any]) -> None:
    assert http.post("/v1/generate/sound", json=body).status_code == 400


def test_a_persona_is_made_from_a_song_of_ones_own(http: httpx.Client) -> None:
    song = finish(http, start(http, "/v1/generate/music", prompt="a tune"), "music")["songs"][0]["id"]
    before = http.get("/v1/balance").json()["credits"]
    body = {"song_id": song, "name": "Ida", "description": "A calm voice"}
    assert http.post("/v1/generate/music/persona", json=body).json()["persona_id"]
    assert http.post("/v1/generate/music/persona", json={**body, "song_id": "none"}).status_code == 404
    assert http.get("/v1/balance").json()["credits"] == before


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        ({"model": "nano-banana-2"}, 14),
        ({"model": "nano-banana-2", "count": 3}, 42),
        ({"model": "kling-3-0-std", "duration": "10s"}, 170),
        ({"model": "auto-caption", "reference_video_seconds": 60}, 30),
        ({"model": "gpt-image-2", "resolution": "4k"}, 45),
    ],
)
def test_estimates_match_what_jobs_cost(http: httpx.Client, body: dict[str, Any], cost: float) -> None:
    answer = http.post("/v1/estimate", json=body).json()
    assert answer["estimated_cost_credits"] == cost == sum(line["credits"] for line in answer["breakdown"])


def test_a_sandbox_url_still_works_as_an_input_under_another_port(http: httpx.Client) -> None:
    url = upload(http, http.get(_clip(http)).content, "a.mp4", "video/mp4")
    moved = url.replace(url.split("/")[2], "localhost:9")
    start(http, "/v1/generate/captions", media_url=moved)
