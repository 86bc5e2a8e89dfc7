"""Music, speech and ad requests are checked before they cost anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.catalogue.listing import Listing
from kubeez_mcp_local.catalogue.voices import DIALOGUE_VOICES, OMNI_VOICES, omni_voice
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import ad_copy, dialogue, music
from kubeez_mcp_local.operations.ad_copy import AdCopyRequest
from kubeez_mcp_local.operations.dialogue import DialogueRequest, Line
from kubeez_mcp_local.operations.music import MODE_NOTE, MusicRequest, music_engines

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.catalogue.models import Model

ADVANCED: dict[str, Any] = {"title": "Kite", "style": "folk"}


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "a calm piano piece"},
        {"prompt": "x" * 400, "instrumental": True, "model": "v5"},
        {**ADVANCED, "lyrics": "la la", "vocal_gender": "F"},
        {**ADVANCED, "song_description": "calm", "instrumental": True, "style_weight": 0},
    ],
)
def test_music_that_can_be_made(listing: Listing, fields: dict[str, Any]) -> None:
    settled = music.check(listing, MusicRequest(**fields))
    assert settled.notes == ()
    assert music.check(listing, settled) == settled


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({}, "prompt"),
        ({"prompt": "  "}, "prompt"),
        ({"prompt": "x" * 401}, "prompt"),
        ({"prompt": "x", "title": "Kite"}, "style"),
        ({"prompt": "x", "style": "folk", "title": " "}, "title"),
        ({"prompt": "x", "lyrics": "la"}, "lyrics"),
        ({**ADVANCED}, "lyrics"),
        ({**ADVANCED, "lyrics": "la", "song_description": "calm"}, "lyrics"),
        ({**ADVANCED, "lyrics": "la"}, "vocal_gender"),
        ({**ADVANCED, "lyrics": "la", "vocal_gender": "tenor"}, "vocal_gender"),
        ({**ADVANCED, "lyrics": "la", "instrumental": True}, "lyrics"),
        ({**ADVANCED, "song_description": "x" * 400, "vocal_gender": "m"}, "song_description"),
        ({"prompt": "x", "style_weight": 1.1}, "style_weight"),
        ({"prompt": "x", "audio_weight": float("nan")}, "audio_weight"),
        ({"prompt": "x", "model": "V9"}, "model"),
        ({"prompt": "x", "model": "suno-add-vocals"}, "model"),
    ],
)
def test_music_that_cannot(listing: Listing, fields: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        music.check(listing, MusicRequest(**fields))
    assert caught.value.argument == argument


def test_a_song_without_lyrics_becomes_a_simple_one_and_says_so(listing: Listing) -> None:
    request = MusicRequest(**ADVANCED, song_description="calm", vocal_gender="f")
    settled = music.check(listing, request)
    assert settled.prompt == "calm Title: Kite. Style: folk, female vocals."
    assert not settled.advanced
    assert settled.notes == (MODE_NOTE,)
    assert music.check(listing, settled) == settled


def test_what_a_song_without_lyrics_cannot_have_is_said(listing: Listing) -> None:
    request = MusicRequest(**ADVANCED, song_description="calm", vocal_gender="f", negative_tags="metal", style_weight=1)
    settled = music.check(listing, request)
    assert settled.negative_tags is None
    assert "negative_tags, style_weight" in settled.notes[1]


def test_extras_of_the_other_mode_are_dropped_with_a_note(listing: Listing) -> None:
    settled = music.check(listing, MusicRequest(prompt="x", negative_tags="drums", style_weight=0.65))
    assert (settled.negative_tags, settled.style_weight) == (None, None)
    assert "negative_tags, style_weight" in settled.notes[0]


def test_the_newest_engine_comes_first(listing: Listing) -> None:
    assert [engine.id for engine in music_engines(listing)] == ["V5_5", "V5", "V4_5PLUS", "V4_5", "V4"]


def test_music_is_priced_flat(listing: Listing) -> None:
    assert music.price(listing, MusicRequest(prompt="x", model="V4"), count=2).credits == 38
    assert music.price(listing, MusicRequest(prompt="x")).credits == 19
    assert music.price(Listing((), source="live"), MusicRequest(prompt="x")).credits is None


def spoken(*lines: Line, **fields: Any) -> DialogueRequest:
    return DialogueRequest(lines or (Line("Hello there."),), **fields)


def test_voices_are_spelled_as_the_catalogue_spells_them(listing: Listing) -> None:
    settled = dialogue.check(listing, spoken(Line("Hello", "rachel"), Line("Hi", None), language_code="EN"))
    assert [line.voice for line in settled.lines] == ["Rachel", None]
    assert settled.language_code == "en"


def test_an_unknown_voice_is_refused_with_the_list_before_paying(listing: Listing) -> None:
    with pytest.raises(InvalidArgumentError, match="Rachel") as caught:
        dialogue.check(listing, spoken(Line("Hello", "Rachael")))
    assert caught.value.code == "invalid_voice_id"
    assert "Did you mean Rachel" in caught.value.message


def test_the_rows_own_voices_win(listing: Listing, make_model: Callable[..., Model]) -> None:
    row = make_model("text-to-dialogue-v3", model_type="speech", voice_allowlist=["Nova"])
    newer = replace(listing, models=(row,))
    assert dialogue.check(newer, spoken(Line("Hello", "nova"))).lines[0].voice == "Nova"
    with pytest.raises(InvalidArgumentError, match="Nova"):
        dialogue.check(newer, spoken(Line("Hello", "Rachel")))


def test_other_providers_have_voices_of_their_own(listing: Listing) -> None:
    assert dialogue.check(listing, spoken(Line("Hello", "kore"), provider="Gemini")).lines[0].voice == "kore"


@pytest.mark.parametrize(
    ("request_", "argument"),
    [
        (DialogueRequest(()), "dialogue"),
        (spoken(Line("Hi")), "text"),
        (spoken(Line("Hello"), Line(" ")), "dialogue"),
        (spoken(Line("x" * 5001)), "text"),
        (spoken(Line("x" * 3000), Line("y" * 2001)), "dialogue"),
        (spoken(stability=1.5), "stability"),
        (spoken(provider="acme"), "provider"),
        (spoken(*(Line("Hello", voice) for voice in ("kore", "puck", "leda")), provider="gemini-3.8"), "dialogue"),
        (spoken(language_code="english!"), "language_code"),
    ],
)
def test_dialogue_that_cannot_be_spoken(listing: Listing, request_: DialogueRequest, argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        dialogue.check(listing, request_)
    assert caught.value.argument == argument


@pytest.mark.parametrize("length", [5, 5000])
def test_dialogue_limits_are_inclusive(listing: Listing, length: int) -> None:
    assert dialogue.check(listing, spoken(Line("x" * length))).characters == length


@pytest.mark.parametrize(
    ("length", "price", "basis"), [(5, 21, "catalogue"), (1000, 21, "catalogue"), (1001, 42, "rate")]
)
def test_long_dialogue_is_quoted_by_the_dearer_reading(listing: Listing, length: int, price: float, basis: str) -> None:
    quote = dialogue.price(listing, spoken(Line("x" * length)))
    assert (quote.credits, quote.basis) == (price, basis)


def test_other_speech_engines_have_no_recorded_price(listing: Listing) -> None:
    assert dialogue.price(listing, spoken(provider="seed")).basis == "unknown"


def test_the_voice_lists_have_their_known_sizes_and_members() -> None:
    assert len(set(DIALOGUE_VOICES)) == 26
    assert len({voice.id for voice in OMNI_VOICES}) == 30
    assert {voice.evidence for voice in OMNI_VOICES} == {"inferred"}
    assert (omni_voice("KORE").label, omni_voice("puck").gender) == ("Kore", "male")


def test_an_unknown_omni_voice_has_the_hosted_error_name() -> None:
    with pytest.raises(InvalidArgumentError, match="achernar") as caught:
        omni_voice("nobody")
    assert caught.value.code == "invalid_voice_id"


def test_ad_copy_is_settled_and_priced_by_variant(listing: Listing) -> None:
    settled = ad_copy.check(listing, AdCopyRequest("https://example.com/ad.png", product_text=" ", variant_count=3))
    assert (settled.product_text, settled.aspect_ratio) == (None, "9:16")
    quote = ad_copy.price(listing, settled.variant_count)
    assert quote.credits == 150
    assert "no row" in quote.note


def test_ad_copy_uses_the_row_where_there_is_one(make_model: Callable[..., Model]) -> None:
    rows = Listing((make_model("ad-copy", model_type="image", cost_per_generation=60),), source="live")
    assert ad_copy.price(rows, 1).credits == 60


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"reference_ad_url": " "}, "reference_ad_url"),
        ({"variant_count": 0}, "variant_count"),
        ({"variant_count": 11}, "variant_count"),
        ({"language": "english language"}, "language"),
        ({"aspect_ratio": "tall"}, "aspect_ratio"),
        ({"product_text": "x" * 5001}, "product_text"),
    ],
)
def test_ad_copy_that_cannot_be_made(listing: Listing, fields: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        ad_copy.check(listing, AdCopyRequest(**{"reference_ad_url": "https://example.com/ad.png", **fields}))
    assert caught.value.argument == argument


@pytest.mark.parametrize(("provider", "characters"), [("google", 20), ("elevenlabs", 1_001)])
def test_the_api_is_not_asked_for_a_price_that_rests_on_what_it_cannot_be_told(provider: str, characters: int) -> None:
    """Its estimate takes neither engine nor text: its answer would be the price of something else."""
    asked = DialogueRequest((Line("x" * characters),), provider)
    assert dialogue.described(asked) is None
    usual = dialogue.described(DialogueRequest((Line("hello"),)))
    assert usual is not None


def test_characters_are_counted_and_not_bytes(listing: Listing) -> None:
    lines = (Line("\N{THUMBS UP SIGN}" * 600), Line("é" * 400))
    assert DialogueRequest(lines).characters == 1_000
    assert dialogue.price(listing, DialogueRequest(lines)) == dialogue.price(listing, DialogueRequest((Line("x" * 9),)))
