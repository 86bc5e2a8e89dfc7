"""Arguments as clients and models really send them: what is understood, and how the rest is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.mcp_server.inventory import BoundTool
from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

TOOLS: Mapping[str, BoundTool] = {spec.name: BoundTool(spec) for spec in ALL_TOOLS}
IMAGE = {"prompt": "a kite", "model": "z-image"}


def refused(tool: str, **arguments: Any) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as caught:
        TOOLS[tool].checked(arguments)
    return caught.value


def test_this_is_understood() -> None:
    for argument, sent, understood in (
        ("source_media_urls", "/a.png", ["/a.png"]),
        ("source_media_urls", '["/a.png", "https://example.com/b.png"]', ["/a.png", "https://example.com/b.png"]),
        ("source_media_urls", " [] ", []),
        ("source_media_urls", "", []),
        ("source_media_urls", "[draft] kite.png", ["[draft] kite.png"]),
        ("duration", 5, "5"),
        ("duration", "5s", "5s"),
        ("seed", "7", 7),
        ("seed", 7.0, 7),
        ("variant_count", "3", 3),
        ("sound", "true", True),
        ("sound", "false", False),
        ("source_media_urls", None, []),
        ("aspect_ratio", None, ""),
        ("variant_count", None, 1),
        ("variant_count", "", 1),
        ("seed", " ", None),
        ("sound", "", None),
        ("negative_prompt", "", ""),
    ):
        assert TOOLS["generate_media"].checked({**IMAGE, argument: sent})[argument] == understood


def test_this_is_refused_by_name() -> None:
    for argument, sent in (
        ("prompt", None),
        ("prompt", ["a", "kite"]),
        ("prompt", {"text": "a kite"}),
        ("model", 5),
        ("seed", "many"),
        ("seed", -1),
        ("seed", 2**31),
        ("seed", 1.5),
        ("variant_count", 0),
        ("variant_count", 5),
        ("variant_count", float("nan")),
        ("sound", "loud"),
        ("duration", True),
        ("duration", [5]),
        ("source_media_urls", [1]),
        ("source_media_urls", {"url": "/a.png"}),
    ):
        error = refused("generate_media", **{**IMAGE, argument: sent})
        assert error.argument.split(".")[0] == argument
        assert error.message
        assert error.next_step
        assert error.spent is False


def test_a_word_for_nothing_is_not_taken_at_its_word_where_an_argument_may_be_left_out() -> None:
    for argument in ("negative_prompt", "aspect_ratio", "seed", "sound", "source_media_urls", "approval"):
        for word in ("null", " undefined", "None"):
            error = refused("generate_media", **{**IMAGE, argument: word})
            assert (error.argument, error.spent) == (argument, False)
            assert "Leave the argument out" in error.next_step
    assert TOOLS["generate_media"].checked({**IMAGE, "prompt": "null"})["prompt"] == "null"
    assert TOOLS["generate_media"].checked({**IMAGE, "negative_prompt": "no null signs"})


def test_an_unknown_argument_is_refused_with_the_near_one_and_all_that_are_allowed() -> None:
    for tool, written, meant in (
        ("generate_media", "aspect", "aspect_ratio"),
        ("generate_media", "source_media_url", "source_media_urls"),
        ("generate_media", "negativ_prompt", "negative_prompt"),
        ("wait_for_generation", "timeout", "timeout_seconds"),
    ):
        error = refused(tool, **({**IMAGE, written: "1"} if tool == "generate_media" else {"id": "x", written: 1}))
        assert f"Did you mean {meant}?" in error.message
        assert meant in error.next_step


def test_a_missing_argument_is_named() -> None:
    error = refused("generate_media", prompt="a kite")
    assert error.argument == "model"
    assert "required" in error.message


def test_a_huge_value_is_not_repeated_back() -> None:
    assert len(str(refused("generate_media", **{**IMAGE, "seed": "9" * 100_000}))) < 500


def test_lists_that_are_left_out_are_never_shared_between_calls() -> None:
    tool = TOOLS["generate_media"]
    tool.checked(dict(IMAGE))["source_media_urls"].append("/leaked.png")
    assert tool.checked(dict(IMAGE))["source_media_urls"] == []


def test_a_mistyped_name_is_told_before_what_is_missing_without_it() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"promt: generate_media has no such argument. Did you mean prompt\?"
    ):
        TOOLS["generate_media"].checked({"promt": "a cup", "model": "nano-banana-2"})
    with pytest.raises(InvalidArgumentError, match="prompt: is required"):
        TOOLS["generate_media"].checked({"model": "nano-banana-2"})


def test_every_tool_refuses_what_it_does_not_declare() -> None:
    for tool in TOOLS.values():
        schema = tool.listing.input_schema
        assert schema["additionalProperties"] is (tool.spec.name == "estimate")  # which takes those of all paid tools
        if not schema.get("required"):
            with pytest.raises(InvalidArgumentError, match=r"no_such_argument: .* has no such argument"):
                tool.checked({"no_such_argument": None})
