"""Finding models, filtering them, and saying what was meant by a wrong name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.catalogue.listing import Listing
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.catalogue.models import Model


@pytest.mark.parametrize("name", ["Logo-maker", "logo-maker", "LOGO-MAKER", " Logo-maker "])
def test_the_case_of_an_id_does_not_matter(listing: Listing, name: str) -> None:
    assert listing.get(name).id == "Logo-maker"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nano-banan-2", "nano-banana-2"),
        ("seedream4.5", "seedream-v4-5"),
        ("Wan 2.5 Text-to-Video (5s 720p)", "wan-2-5-text-to-video-5s-720p"),
        ("Grok Image-to-Image", "grok-image-to-image"),
        ("imagen4 fast", "imagen-4-fast"),
        ("veo3-1-fast-text-2-video", "veo3-1-fast-text-to-video"),
    ],
)
def test_a_wrong_name_gets_near_matches(listing: Listing, name: str, expected: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        listing.get(name)
    assert expected in listing.near(name)
    assert expected in caught.value.message
    assert caught.value.code == "unknown_model"


def test_a_display_name_that_many_share_lists_them(listing: Listing) -> None:
    assert len(listing.near("Seedance 1.5 Pro")) > 5


@pytest.mark.parametrize(
    ("container", "member", "count"),
    [
        ("flux-2", "flux-2-2K", 4),
        ("flux-2-edit", "flux-2-edit-1K", 2),
        ("veo3-1", "veo3-1-text-to-video", 5),
        ("sora-2-pro-storyboard", "sora-2-pro-storyboard-25s", 3),
        ("seedance-1-5-pro", "seedance-1-5-pro-480p-4s", 18),
        ("seedream-v5-lite", "5-lite-text-to-image", 2),
        ("v1-pro-fast-i2v", "v1-pro-fast-i2v-720p-5s", 4),
        ("wan-2-5-text-to-video-5s", "wan-2-5-text-to-video-5s-720p", 2),
        ("suno", "V5_5", 5),
        ("Kling 3.0", "kling-3-0-std", 4),
    ],
)
def test_a_family_name_lists_its_concrete_ids(listing: Listing, container: str, member: str, count: int) -> None:
    with pytest.raises(InvalidArgumentError, match="family") as caught:
        listing.get(container)
    assert member in caught.value.message
    assert len(listing.members(container)) == count


def test_nonsense_gets_no_suggestions_but_a_way_on(listing: Listing) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        listing.get("qqqqqqqq")
    assert caught.value.message == "model: there is no model 'qqqqqqqq'."
    assert "get_models" in caught.value.next_step


@pytest.mark.parametrize("name", ["", "   ", "-", "💥", "a" * 5000])
def test_odd_names_are_refused_quietly(listing: Listing, name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        listing.get(name)


def test_filters_combine(listing: Listing) -> None:
    found = listing.filter(max_credits=100, query="5S kling-2-6 kuai")
    assert [model.id for model in found.models] == ["kling-2-6-text-to-video-5s", "kling-2-6-image-to-video-5s"]
    assert found.source == listing.source


def test_of_two_ids_that_differ_only_in_case_the_exact_one_is_found(make_model: Callable[..., Model]) -> None:
    both = Listing((make_model("Kite"), make_model("kite")), source="live")
    assert [both.get(name).id for name in ("Kite", "kite", "KITE")] == ["Kite", "kite", "Kite"]


def test_filters_that_match_nothing_give_nothing(listing: Listing) -> None:
    assert listing.filter(query="no such thing").models == ()
