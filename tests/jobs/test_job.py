"""What counts as the same intention, and whose it is."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from kubeez_mcp_local.jobs.job import account_of, digest_of, fingerprint, group_digest
from kubeez_mcp_local.settings import Settings

BODY = {"prompt": "a fox", "model": "z-image", "source_media_urls": ["/home/me/a.png", "/home/me/b.png"], "seed": 7}
BASE: dict[str, Any] = {"account": "live-1", "route": "generate_media", "body": BODY}


@pytest.mark.parametrize(
    "same",
    [
        {"body": dict(reversed(BODY.items()))},
        {"body": BODY | {"negative_prompt": None}},
        {"body": BODY | {"seed": 7.0}},
        {"inputs": {}},
    ],
)
def test_spelling_does_not_make_another_intention(same: dict[str, Any]) -> None:
    assert digest_of(**(BASE | same)) == digest_of(**BASE)


@pytest.mark.parametrize(
    "other",
    [
        {"account": "live-2"},
        {"route": "generate_music"},
        {"body": BODY | {"prompt": "a  fox"}},
        {"body": BODY | {"seed": 8}},
        {"body": BODY | {"source_media_urls": ["/home/me/b.png", "/home/me/a.png"]}},
        {"body": BODY | {"sound": False}},
        {"variant": 1},
        {"repeat": "job-1"},
        {"inputs": {"/home/me/a.png": "hash"}},
    ],
)
def test_every_difference_makes_another_intention(other: dict[str, Any]) -> None:
    assert digest_of(**(BASE | other)) != digest_of(**BASE)


def test_local_inputs_count_by_content_and_not_by_name() -> None:
    moved = BODY | {"source_media_urls": ["/tmp/copy.png", "/home/me/b.png"]}
    assert digest_of(**(BASE | {"body": moved, "inputs": {"/tmp/copy.png": "hash-a"}})) == digest_of(
        **(BASE | {"inputs": {"/home/me/a.png": "hash-a"}})
    )


def test_true_is_not_one() -> None:
    assert digest_of(**(BASE | {"body": {"n": True}})) != digest_of(**(BASE | {"body": {"n": 1}}))


def test_a_group_is_the_same_whatever_its_order() -> None:
    assert group_digest(["a"]) == "a"
    assert group_digest(["a", "b"]) == group_digest(["b", "a"]) != group_digest(["a", "c"])


def test_an_account_is_a_key_at_an_origin_and_does_not_show_the_key() -> None:
    key = "sk_live_example"
    name = fingerprint(key, "https://api.kubeez.com")
    assert key not in name
    assert name == account_of(Settings(api_key=SecretStr(key)))
    assert len({name, fingerprint(key, "https://other.example"), fingerprint(key + "2", "https://api.kubeez.com")}) == 3


def test_each_sandbox_is_an_account_of_its_own() -> None:
    assert account_of(Settings()) == "sandbox"
    standalone = account_of(Settings(mode="sandbox", base_url="http://127.0.0.1:8787"))
    assert standalone.startswith("sandbox-")
