from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.media.inputs import Inputs, InvalidUrlError, LocalInput, RemoteInput
from kubeez_mcp_local.media.path_errors import MissingFileError, OutsideFoldersError
from kubeez_mcp_local.media.path_guard import PathGuard
from kubeez_mcp_local.media.sniff import UnsupportedMediaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(PathGuard([tmp_path], working_dir=tmp_path))


async def test_a_local_file_is_hashed_and_typed_by_content(
    inputs: Inputs, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    picture = make_image(tmp_path / "a.png")
    misnamed = picture.rename(tmp_path / "a.mp4")
    content = misnamed.read_bytes()

    found = await inputs.resolve("a.mp4", argument="source_media_urls")

    assert isinstance(found, LocalInput)
    assert (found.path, found.kind, found.media_type.mime, found.size) == (misnamed, "image", "image/png", len(content))
    assert found.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://media.example.com/images/a.PNG", "image"),
        ("https://media.example.com/a.jpeg?sig=abc.mp4", "image"),
        ("https://media.example.com/clip%2Emp4", "video"),
        ("HTTPS://media.example.com/a.mp3", "audio"),
        ("https://media.example.com/a", None),
        ("http://127.0.0.1:8787/media/a.webm", "video"),
        ("http://localhost/a.wav", "audio"),
    ],
)
async def test_urls_are_taken_and_their_kind_guessed(inputs: Inputs, url: str, kind: str | None) -> None:
    assert await inputs.resolve(f" {url} ", argument="image_url") == RemoteInput(url, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("http://example.com/a.png", "not encrypted"),
        ("http://127.0.0.1.example.com/a.png", "not encrypted"),
        ("ftp://example.com/a.png", "ftp: URLs are not taken"),
        ("s3://bucket/a.png", "s3: URLs are not taken"),
        ("javascript:alert(1)", "not taken"),
        ("data:image/png;base64,iVBORw0KGgo=", "Save the data to a file"),
        ("https://", "names no host"),
        ("https://user:secret@example.com/a.png", "user name or password"),
        ("https://example.com/a b.png", "spaces"),
        ("https://example.com\\@evil.example/a.png", "backslashes"),
        ("https://example.com:99999/a.png", "malformed"),
        ("https://[::1/a.png", "malformed"),
        ("https://example.com/" + "a" * 5000, "at most 4096"),
        ("library:hero", "no library"),
    ],
)
async def test_other_urls_are_refused_with_advice(inputs: Inputs, value: str, words: str) -> None:
    with pytest.raises(InvalidUrlError, match=words) as refusal:
        await inputs.resolve(value, argument="image_url")
    assert refusal.value.argument == "image_url"


async def test_a_refusal_never_repeats_the_query_or_the_data(inputs: Inputs) -> None:
    for value in ("http://example.com/a.png?sig=SECRET", "data:text/plain,SECRET", "https://a:SECRET@example.com/"):
        with pytest.raises(InvalidUrlError) as refusal:
            await inputs.resolve(value, argument="image_url")
        assert "SECRET" not in str(refusal.value)


async def test_refused_paths_and_contents(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<html>")
    with pytest.raises(UnsupportedMediaError, match=r"^image_url: a\.png cannot be used"):
        await inputs.resolve("a.png", argument="image_url")
    with pytest.raises(OutsideFoldersError):
        await inputs.resolve("/etc/hostname", argument="image_url")
    with pytest.raises(MissingFileError):
        await inputs.resolve("b.png", argument="image_url")


async def test_many_keep_their_order(inputs: Inputs, make_image: Callable[..., Path], tmp_path: Path) -> None:
    make_image(tmp_path / "b.png")
    make_image(tmp_path / "a.png", color="red")
    values = ["b.png", "https://example.com/x.png", "a.png"]
    found = await inputs.resolve_all(values, argument="source_media_urls")
    names = [each.path.name if isinstance(each, LocalInput) else each.url for each in found]
    assert names == ["b.png", "https://example.com/x.png", "a.png"]


async def test_a_pattern_gives_many_and_a_url_one(
    inputs: Inputs, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    for number in (10, 9):
        make_image(tmp_path / f"{number}.png", size=(number, number))
    found = await inputs.expand("*.png", argument="paths", limit=5)
    assert [each.path.name for each in found if isinstance(each, LocalInput)] == ["9.png", "10.png"]
    assert await inputs.expand("https://example.com/*.png", argument="paths", limit=5) == [
        RemoteInput("https://example.com/*.png", "image")
    ]
