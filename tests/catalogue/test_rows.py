"""Rows from the API become models, whatever state they are in."""

from __future__ import annotations

from typing import Any

import pytest

from kubeez_mcp_local.catalogue.listing import snapshot_rows
from kubeez_mcp_local.catalogue.models import RowError, parse_row, parse_rows


def row(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "model_id": "kite-1",
        "display_name": "Kite",
        "model_type": "video",
        "cost_per_generation": 12.5,
        "capabilities": {"aspect_ratio_options": ["16:9"], "duration_options": ["5s", "10s"]},
    }
    return {**plain, **changes}


def test_every_row_of_the_snapshot_becomes_a_model() -> None:
    models, notes = parse_rows(snapshot_rows())
    assert (len(models), notes) == (111, ())


def test_a_row_keeps_what_it_says() -> None:
    model = parse_row(row())
    assert (model.id, model.name, model.credits, model.ratios, model.durations) == (
        "kite-1",
        "Kite",
        12.5,
        ("16:9",),
        (5, 10),
    )


def test_unknown_fields_are_ignored_and_the_row_is_kept_as_received() -> None:
    received = row(card_image_url="https://example.com/x.png", surprise={"deep": [1]})
    assert parse_row(received).row is received


@pytest.mark.parametrize(
    ("capabilities", "field", "value"),
    [
        ({"max_input_images": 3}, "max_images", 3),
        ({"max_images": 3}, "max_images", 3),
        ({"max_reference_files": 3}, "max_images", 3),
        ({"max_videos": 2}, "max_videos", 2),
        ({"supports_aspect_ratio": False, "aspect_ratio_options": ["1:1"]}, "ratios", ()),
        ({"resolution": "2k"}, "resolutions", ("2K",)),
        ({"resolution": ["1K", "4k", "1080P"]}, "resolutions", ("1K", "4K", "1080p")),
        ({"generation_types": ["TEXT_TO_VIDEO"]}, "generation_types", ("text-to-video",)),
        ({"duration_options": [5, "10"]}, "durations", (5, 10)),
        ({"input_media_types": ["image"]}, "input_types", ("image",)),
        ({"video_audio": "included", "supports_sound": False}, "sound", "included"),
        ({"video_audio": "toggle_via_sound_param"}, "sound", "toggle"),
        ({"supports_sound": False}, "sound", "none"),
        ({}, "sound", "unknown"),
    ],
)
def test_capabilities_and_their_aliases(capabilities: dict[str, Any], field: str, value: object) -> None:
    assert getattr(parse_row(row(capabilities=capabilities)), field) == value


def test_an_audio_id_has_its_sound_included_even_where_the_row_offers_the_switch() -> None:
    model = parse_row(row(model_id="kite-1-audio", capabilities={"video_audio": "toggle_via_sound_param"}))
    assert model.sound == "included"


def test_kinds_that_are_not_listed_are_none_once_anything_is_known() -> None:
    counted = parse_row(row(input_media_types=[], capabilities={"max_input_images": 1}))
    assert (counted.input_types, counted.max_images, counted.max_videos) == (("image",), 1, 0)


def test_nothing_recorded_about_inputs_stays_unknown() -> None:
    silent = parse_row(row(capabilities={}))
    assert (silent.max_images, silent.max_videos, silent.max_audios) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model_id": None}, "model_id"),
        ({"model_id": 7}, "model_id"),
        ({"model_type": ["video"]}, "model_type"),
        ({"cost_per_generation": "12"}, "cost_per_generation"),
        ({"cost_per_generation": True}, "cost_per_generation"),
        ({"cost_per_generation": -1}, "cost_per_generation"),
        ({"cost_per_generation": float("nan")}, "cost_per_generation"),
        ({"capabilities": []}, "capabilities"),
        ({"capabilities": {"aspect_ratio_options": {"a": 1}}}, "aspect_ratio_options"),
        ({"capabilities": {"duration_options": [True]}}, "duration_options"),
        ({"capabilities": {"max_input_images": "two"}}, "max_input_images"),
        ({"capabilities": {"prompt_max_chars": 10.5}}, "prompt_max_chars"),
        ({"requires_input_media": "yes"}, "requires_input_media"),
    ],
)
def test_a_wrong_type_costs_only_that_row(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RowError, match=field):
        parse_row(row(**changes))
    models, notes = parse_rows([row(**changes), row(model_id="kite-2")])
    assert [model.id for model in models] == ["kite-2"]
    assert len(notes) == 1


@pytest.mark.parametrize("thing", [None, "row", 3, ["model_id"]])
def test_things_that_are_no_rows_are_left_out(thing: object) -> None:
    models, notes = parse_rows([thing])
    assert models == ()
    assert "expected an object" in notes[0]


@pytest.mark.parametrize("field", ["display_name", "provider", "usage_notes", "cost_note", "estimated_time_seconds"])
def test_cosmetic_fields_of_the_wrong_type_count_as_absent(field: str) -> None:
    assert parse_row(row(**{field: {"an": "object"}})).id == "kite-1"


def test_a_second_row_with_the_same_id_is_left_out() -> None:
    models, notes = parse_rows([row(cost_per_generation=1), row(cost_per_generation=2)])
    assert [model.credits for model in models] == [1]
    assert "twice" in notes[0]


def test_a_missing_type_is_read_off_the_generation_types() -> None:
    assert parse_row({"id": "x", "generation_types": ["text-to-image"]}).type == "image"
