"""Music, speech and sound through the tools: what is folded, what is left out, and how lengths are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.mcp_server.driving import call, refused

if TYPE_CHECKING:
    from mcp import Client

pytestmark = pytest.mark.anyio


async def test_a_song_without_lyrics_says_in_mode_note_how_it_is_made(connected: Client) -> None:
    async with connected as client:
        song = {"title": "Kite", "style": "folk", "vocal_gender": "f", "song_description": "calm"}
        folded = await call(client, "generate_music", **song)
        assert "simple mode" in folded["mode_note"]
        assert "mode_note" not in await call(client, "generate_music", prompt="calm")


async def test_stage_directions_that_the_engine_leaves_out_are_said(connected: Client) -> None:
    async with connected as client:
        tagged = await call(client, "generate_dialogue", text="[whispers] Hello there")
        assert "leaves out [tags]" in tagged["notes"][0]


async def test_stage_directions_that_the_engine_performs_need_no_word(connected: Client) -> None:
    async with connected as client:
        performed = await call(client, "generate_dialogue", text="[whispers] Hello there", provider="gemini-3.8")
        assert "tags" not in "".join(performed["notes"])


@pytest.mark.parametrize(
    ("words", "argument"),
    [({}, "text"), ({"text": " "}, "text"), ({"text": "Hi"}, "text"), ({"voice": "Mark"}, "text")],
)
async def test_missing_words_are_missing_from_text(connected: Client, words: dict[str, Any], argument: str) -> None:
    async with connected as client:
        error = await refused(client, "generate_dialogue", **words)
        assert error["message"].startswith(f"{argument}: ")


@pytest.mark.parametrize("duration", [3, "3", "3s", " 3S "])
async def test_the_length_of_a_sound_is_written_like_that_of_a_video(connected: Client, duration: Any) -> None:
    async with connected as client:
        made = await call(client, "generate_sound", model="sonilo-text-to-sfx", prompt="a door", duration=duration)
        assert made["cost"]["quoted"] == 3


async def test_a_refusal_of_the_api_is_quoted(connected: Client) -> None:
    async with connected as client:
        error = await refused(client, "generate_separation", media_url="https://example.com/x.mp3")
        assert "It says: “media_url must be a Kubeez upload" in error["message"]
