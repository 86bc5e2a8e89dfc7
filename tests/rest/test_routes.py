"""The table of routes agrees with itself and with the requests that use it."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.rest.requests import REQUESTS, StartRequest
from kubeez_mcp_local.rest.routes import ROUTES, SCOPES, Route, status_route, stream_route


@pytest.mark.parametrize("route", ROUTES.values(), ids=lambda route: route.name)
def test_each_route_is_sound(route: Route) -> None:
    assert ROUTES[route.name] is route
    assert route.path.startswith("/")
    assert route.scope in (None, *SCOPES)
    assert route.method == "POST" or not route.spends
    assert route.keyed == route.path.startswith("/v1/")
    assert route.kind is None or status_route(route.kind).method == "GET"


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda kind: kind.__name__)
def test_each_request_has_a_route_of_its_own(request_type: type[StartRequest]) -> None:
    assert [kind for kind in REQUESTS if kind.route is request_type.route] == [request_type]
    assert request_type.unproven <= set(request_type.model_fields)


def test_every_route_that_starts_a_job_has_its_request() -> None:
    started = {route.name for route in ROUTES.values() if route.spends}
    assert started <= {kind.route.name for kind in REQUESTS}


def test_only_media_and_music_are_streamed() -> None:
    assert [stream_route(kind) is not None for kind in ("media", "music", "separation")] == [True, True, False]
