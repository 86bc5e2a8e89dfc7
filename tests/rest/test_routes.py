"""The table of routes agrees with itself."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.rest.routes import KINDS, ROUTES, SCOPES, Route


@pytest.mark.parametrize("route", ROUTES.values(), ids=lambda route: route.name)
def test_each_route_is_sound(route: Route) -> None:
    assert ROUTES[route.name] is route
    assert route.path.startswith("/")
    assert route.scope in (None, *SCOPES)
    assert route.method == "POST" or not route.spends
    assert route.keyed == route.path.startswith("/v1/")
    assert route.kind is None or ROUTES[f"{route.kind}_status"].method == "GET"
    assert route.unproven <= set(route.fields)
    assert bool(route.fields) or not route.spends
    assert bool(route.called) == (route.evidence == "assumed")


def test_only_media_and_music_are_streamed() -> None:
    assert KINDS == ("media", "music", "separation")
    assert [f"{kind}_stream" in ROUTES for kind in KINDS] == [True, True, False]
