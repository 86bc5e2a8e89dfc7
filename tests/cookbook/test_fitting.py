"""An intent in plain words leads to the recipes that do it."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.cookbook.library import Library, fitting_recipes

PACK = list(Library.of().index().entries)


@pytest.mark.parametrize(
    ("intent", "recipe"),
    [
        ("a 30 second podcast intro with music and a voice", "podcast-intro"),
        ("Three ad variants for a running shoe", "three-ad-variants"),
        ("remove the background of 20 product shots", "remove-backgrounds"),
        ("put captions on my video", "video-with-captions"),
        ("turn this storyboard into clips", "storyboard-to-clips"),
        ("an ad campaign, one picture a row of my CSV", "campaign-from-csv"),
    ],
)
def test_the_closest_recipe_comes_first(intent: str, recipe: str) -> None:
    assert fitting_recipes(intent, PACK)[0] == recipe


@pytest.mark.parametrize("intent", ["", "a red kite", "a video of a boat from the harbour", "a picture for the wall"])
def test_one_common_word_is_not_enough(intent: str) -> None:
    assert fitting_recipes(intent, PACK) == []
