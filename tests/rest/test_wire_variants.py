"""Answers are understood in every spelling that clients of this API have met."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kubeez_mcp_local.rest.wire import (
    ParseError,
    moment,
    read_accepted,
    read_balance,
    read_generation,
    read_generations,
    read_models,
    read_uploaded,
    status_of,
)

CDN = "https://media.kubeez.com/images/a.png"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"credits": 100, "message": "hello"}, 100),
        ({"credits": "12.5"}, 12.5),
        ({"balance": 7}, 7),
        ({"total": "3"}, 3),
        ({"data": {"credits": 9}}, 9),
        ({"balance": {"credits": 4}}, 4),
        ({"credits": None, "balance": 2}, 2),
        ({"credits": 0}, 0),
    ],
)
def test_credits_are_found(payload: dict[str, Any], expected: float) -> None:
    assert read_balance(payload).credits == expected


@pytest.mark.parametrize("payload", [{}, [], None, {"credits": "many"}, {"credits": True}, {"credits": float("nan")}])
def test_a_balance_without_a_number_is_no_balance(payload: object) -> None:
    with pytest.raises(ParseError):
        read_balance(payload)


@pytest.mark.parametrize(
    ("payload", "ids"),
    [
        ({"generation_id": "a", "status": "pending"}, ["a"]),
        ({"id": "a"}, ["a"]),
        ({"task_id": "t"}, ["t"]),
        ({"separation_id": "s", "task_id": "t", "status": "pending"}, ["s"]),
        ({"generation_id": 17}, ["17"]),
        ({"data": {"generation_id": "a"}}, ["a"]),
        ({"generation_ids": ["a", "b"]}, ["a", "b"]),
        ({"generation_id": "a", "generation_ids": ["a", "b", "c"]}, ["a", "b", "c"]),
        ({"jobs": [{"generation_id": "a"}, {"id": "b"}]}, ["a", "b"]),
        ({"generations": [{"id": "a"}]}, ["a"]),
        ({"generation_id": "a", "results": ["https://media.kubeez.com/a.png"], "variants": ["fast", "large"]}, ["a"]),
        ({"generation_id": "a", "results": [{"id": "output-1", "url": CDN}]}, ["a"]),
        ({"generation_id": "tasks/7 b"}, ["tasks/7 b"]),
    ],
)
def test_the_ids_of_started_jobs_are_found(payload: dict[str, Any], ids: list[str]) -> None:
    accepted = read_accepted(payload)
    assert accepted.generation_ids == ids
    assert accepted.generation_id == ids[0]


@pytest.mark.parametrize(
    "payload",
    [
        *({}, {"status": "pending"}, {"generation_id": ""}, {"id": None}, [], "a", {"results": ["a"]}),
        *({"generation_id": name} for name in ("..", "a/../b", "a\x00b", "x" * 1001)),
    ],
)
def test_an_acceptance_without_an_id_is_none(payload: object) -> None:
    with pytest.raises(ParseError):
        read_accepted(payload)


def test_what_the_api_says_about_the_price_is_kept() -> None:
    accepted = read_accepted({"generation_id": "a", "estimated_cost_credits": "14", "billing_mode": "x"})
    assert accepted.estimated_cost_credits == 14
    assert accepted.raw["billing_mode"] == "x"


@pytest.mark.parametrize(
    "payload",
    [
        {"url": CDN},
        {"media_url": CDN},
        {"public_url": CDN},
        {"file_url": CDN},
        {"uploaded_url": CDN},
        {"urls": [CDN]},
        {"media_urls": [CDN]},
        {"files": [{"url": CDN}]},
        {"data": {"url": CDN}},
        {"url": "/images/a.png"},
    ],
)
def test_the_url_of_an_upload_is_found(payload: dict[str, Any]) -> None:
    assert read_uploaded(payload).url == CDN


@pytest.mark.parametrize("payload", [{}, {"url": None}, {"url": "file:///etc/passwd"}, {"urls": []}])
def test_an_upload_without_a_usable_url_is_none(payload: dict[str, Any]) -> None:
    with pytest.raises(ParseError):
        read_uploaded(payload)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", "pending"),
        ("QUEUED", "pending"),
        (None, "pending"),
        ("processing", "processing"),
        ("streaming", "processing"),
        ("some new word", "processing"),
        ("Completed", "completed"),
        ("success", "completed"),
        ("succeeded", "completed"),
        ("ready", "completed"),
        ("done", "completed"),
        ("finished", "completed"),
        ("failed", "failed"),
        ("ERROR", "failed"),
        ("cancelled", "failed"),
    ],
)
def test_status_words_mean_one_of_four(word: str | None, status: str) -> None:
    assert status_of(word) == status


def test_a_picture_is_settled_once_its_url_is_there() -> None:
    running = read_generation({"id": "a", "status": "completed", "outputs": [{"id": "o", "url": None}]})
    done = read_generation({"id": "a", "status": "completed", "outputs": [{"id": "o", "url": CDN}]})
    assert not running.settled
    assert done.settled
    assert not done.failed


@pytest.mark.parametrize("outputs", [[], None, "none yet"])
def test_completed_without_outputs_is_not_settled(outputs: object) -> None:
    assert not read_generation({"id": "a", "status": "completed", "outputs": outputs}).settled


def test_music_is_settled_once_every_song_is_rendered() -> None:
    songs: list[dict[str, Any]] = [
        {"id": 1, "audio_url": "https://media.kubeez.com/1.mp3"},
        {"stream_url": "https://x.example/2"},
    ]
    half = read_generation({"id": "a", "status": "completed", "songs": songs})
    assert not half.settled
    songs[1]["audio_url"] = "/audio/2.mp3"
    whole = read_generation({"id": "a", "status": "completed", "songs": songs})
    assert whole.settled
    assert whole.songs[1].audio_url == "https://media.kubeez.com/audio/2.mp3"


def test_a_separation_is_settled_once_both_halves_are_there() -> None:
    half = {"separation_id": "s", "status": "completed", "vocals_url": CDN}
    assert not read_generation(half).settled
    whole = read_generation({**half, "instrumental_url": CDN})
    assert whole.settled
    assert whole.id == "s"


def test_a_failed_job_is_settled_and_says_why() -> None:
    job = read_generation({"id": "a", "status": "error", "error": {"message": "moderation"}})
    assert job.failed
    assert job.settled
    assert job.error_message == "moderation"


def test_an_output_that_never_comes_counts_as_failed() -> None:
    lost = {"id": "a", "status": "completed", "outputs": [{"url": None, "optimization_status": "failed"}]}
    kept = {"id": "a", "status": "completed", "outputs": [{"url": CDN, "optimization_status": "failed"}]}
    assert read_generation(lost).failed
    assert not read_generation(kept).failed


def test_urls_are_made_absolute_and_other_schemes_dropped() -> None:
    outputs = [{"url": "/images/a.png", "thumbnail_url": "javascript:alert(1)", "optimized_url": "//cdn.example/x"}]
    output = read_generation({"id": "a", "status": "completed", "outputs": outputs}).outputs[0]
    assert (output.url, output.thumbnail_url, output.optimized_url) == (CDN, None, "https://cdn.example/x")


def test_a_sandbox_resolves_paths_against_itself() -> None:
    payload = {"id": "a", "status": "completed", "outputs": [{"url": "/images/a.png"}]}
    assert read_generation(payload, "http://127.0.0.1:8787").outputs[0].url == "http://127.0.0.1:8787/images/a.png"


def test_numbers_come_as_text_and_nonsense_counts_as_absent() -> None:
    output = {"url": CDN, "width": "1024", "height": 768.0, "duration": "5s", "file_size": "big"}
    job = read_generation(
        {"id": 5, "status": "completed", "credits_deducted": "14", "model": ["?"], "outputs": [output, CDN, None]}
    )
    first, second, third = job.outputs
    assert (first.width, first.height, first.duration, first.file_size) == (1024, 768, 5.0, None)
    assert (second.url, third.url) == (CDN, None)
    assert (job.id, job.credits_deducted, job.model) == ("5", 14, None)


def test_the_single_result_url_stands_in_for_outputs() -> None:
    assert read_generation({"id": "a", "status": "completed", "result_url": CDN}).outputs[0].url == CDN


def test_the_id_that_was_asked_for_stands_in_for_a_missing_one() -> None:
    assert read_generation({"status": "pending"}, job_id="asked").id == "asked"


@pytest.mark.parametrize("payload", [{}, {"hello": 1}, [], "x", None])
def test_something_else_is_no_job(payload: object) -> None:
    with pytest.raises(ParseError):
        read_generation(payload, job_id="asked")


def test_history_and_catalogue_come_wrapped_or_bare() -> None:
    row = {"id": "a", "status": "completed"}
    for payload in ({"generations": [row]}, [row], {"data": [row]}, {"data": {"generations": [row]}}):
        assert [job.id for job in read_generations(payload)] == ["a"]
    assert read_models({"models": [{"model_id": "m"}, "junk", {}], "total_count": 3}) == [{"model_id": "m"}]
    with pytest.raises(ParseError):
        read_models({"models": {"m": 1}})


def test_a_row_that_cannot_be_named_keeps_its_place_in_the_history() -> None:
    """Else a list that lacks somebody's job would look complete."""
    rows = read_generations([{"id": "a"}, {"prompt": "a kite"}, "junk"])
    assert [(job.id, job.status) for job in rows] == [("a", "pending"), ("", "pending"), ("", "pending")]


def test_unknown_fields_stay_readable_in_raw() -> None:
    assert read_generation({"id": "a", "status": "pending", "later": 1}).raw["later"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-28T10:00:00Z", datetime(2026, 3, 28, 10, tzinfo=UTC)),
        ("2026-03-28T10:00:00.5", datetime(2026, 3, 28, 10, microsecond=500_000, tzinfo=UTC)),
        ("2026-03-28T12:00:00+02:00", datetime(2026, 3, 28, 10, tzinfo=UTC)),
        ("1774692000", datetime(2026, 3, 28, 10, tzinfo=UTC)),
        ("1774692000000", datetime(2026, 3, 28, 10, tzinfo=UTC)),
        ("yesterday", None),
        ("1e300", None),
        (None, None),
    ],
)
def test_times_are_read_with_a_zone(text: str | None, expected: datetime | None) -> None:
    assert moment(text) == expected
