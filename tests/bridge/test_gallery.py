"""What the gallery finds in the ledger, and which files it gives away."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from kubeez_mcp_local.bridge.gallery import Outputs, another
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.browsing import _needed
from kubeez_mcp_local.jobs.ledger import Ledger, open_ledger
from kubeez_mcp_local.media.path_guard import PathGuard
from kubeez_mcp_local.media.thumbnails import Thumbnails
from kubeez_mcp_local.web.gallery import Gallery, Wanted
from kubeez_mcp_local.web.pages import Seal
from tests.outputs_made import DAY, NOON, Made

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "state", tmp_path / "Kubeez")


@pytest.fixture
async def ledger(made: Made) -> AsyncIterator[Ledger]:
    ledger = open_ledger(made.state_dir, "live-other", made.ledger.ceilings)
    yield ledger
    await ledger.aclose()


@pytest.fixture
def outputs(made: Made, ledger: Ledger, tmp_path: Path) -> Outputs:
    return Outputs(ledger, PathGuard([made.folder]), Thumbnails(tmp_path / "small"), sleep=_soon)


async def _soon(_: float) -> None:
    await anyio.lowlevel.checkpoint()


@pytest.fixture
async def browser(outputs: Outputs) -> AsyncIterator[httpx.AsyncClient]:
    page = Gallery(outputs, seal=Seal()).page()
    app = Starlette(routes=[Mount("/api", routes=list(page.data)), Mount("/media", routes=list(page.files))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        yield client


async def found(outputs: Outputs, **wanted: Any) -> list[str]:
    return [output.name for output in await outputs.outputs(Wanted(**wanted), 0, 100)]


async def test_a_search_is_for_words_in_any_case_and_script_and_never_for_folders(made: Made, outputs: Outputs) -> None:
    made.job(made.picture("Größe.png"), prompt="ÄPFEL im Schnee")
    made.job(made.picture("100%_fox.png"), prompt="a fox")

    assert await found(outputs, words="äpfel SCHNEE") == ["Größe.png"]
    assert await found(outputs, words="GRÖSSE") == ["Größe.png"]
    assert await found(outputs, words="100%_f") == ["100%_fox.png"]
    assert await found(outputs, words="a%x") == []
    assert await found(outputs, words="Kubeez") == []
    assert await found(outputs, words="' OR 1 --") == []


def test_a_word_that_another_holds_is_not_looked_for_again() -> None:
    assert _needed(["a", "kite", "kit", "kite", "it", "x"]) == ["kite", "a", "x"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are texts there")
async def test_files_whose_names_are_no_texts_hide_nothing(
    made: Made, outputs: Outputs, browser: httpx.AsyncClient
) -> None:
    job = made.job(made.picture(f"{os.fsdecode(b'caf' + bytes([0xE9]))}/kite.png"), prompt="a kite")

    assert await found(outputs, words="kite.png") == ["kite.png"]
    assert (await browser.get("/api/gallery/outputs")).json()[0]["name"] == "kite.png"
    assert (await browser.get(f"/api/gallery/jobs/{job}")).json()["prompt"] == "a kite"


async def test_every_account_of_this_machine_is_shown_newest_day_first(made: Made, outputs: Outputs) -> None:
    made.job(made.picture("rehearsed.png"), account="sandbox", created_at=NOON - DAY)
    made.job(made.picture("one.png"), made.picture("two.png"), account="live-1")
    made.job(made.picture("clock-set-back.png"), account="live-2", created_at=NOON - 2 * DAY)

    assert await found(outputs) == ["one.png", "two.png", "rehearsed.png", "clock-set-back.png"]
    assert await outputs.days(Wanted()) == [("2026-11-29", 2), ("2026-11-28", 1), ("2026-11-27", 1)]
    assert (await outputs.choices())["mode"] == [("live", 3), ("sandbox", 1)]
    assert [each.mode for each in await outputs.outputs(Wanted(), 2, 1)] == ["sandbox"]


async def test_a_price_is_that_of_the_job_charged_or_quoted_or_unknown(made: Made, outputs: Outputs) -> None:
    made.job(made.picture("dear.png"), credits=12.5)
    made.job(made.picture("quoted.png"), credits=3.0, charged=None)
    made.job(made.picture("unknown.png"), credits=None)

    assert {each.name: (each.price, each.paid) for each in await outputs.outputs(Wanted(), 0, 9)} == {
        "dear.png": (12.5, True),
        "quoted.png": (3.0, False),
        "unknown.png": (None, False),
    }
    assert await found(outputs, least=3.0, most=12.49) == ["quoted.png"]


async def test_files_that_cannot_be_shown_say_why_and_are_not_given_away(
    made: Made, outputs: Outputs, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"secret")
    (made.folder / "link.png").symlink_to(outside)
    (made.folder / "folder.png").mkdir()
    hidden = made.picture(".hidden/x.png")
    made.job(made.folder / "gone.png", outside, made.folder / "link.png", made.folder / "folder.png", hidden)

    rows = (await browser.get("/api/gallery/outputs")).json()

    assert [row["missing"] for row in rows] == [
        "moved or deleted",
        "outside the folders that may be read",
        "outside the folders that may be read",
        "not a file any more",
        "outside the folders that may be read",
    ]
    assert not any("file" in row or "picture" in row for row in rows)
    for number in range(5):
        with pytest.raises(KubeezError):
            await outputs.opened(rows[0]["job"], number)


async def test_a_file_is_given_only_to_its_own_address(
    made: Made, outputs: Outputs, browser: httpx.AsyncClient
) -> None:
    made.job(made.picture("mine.png"), made.picture("other.png", hue=99))
    mine, other = (await browser.get("/api/gallery/outputs")).json()

    assert (await browser.get(mine["file"])).content == (made.folder / "mine.png").read_bytes()
    assert (await browser.get(mine["picture"])).headers["content-type"] == "image/webp"
    for wrong in (
        mine["file"].replace("/0/", "/1/"),
        mine["picture"].replace("/picture/", "/file/"),
        mine["file"].replace(mine["job"], other["job"][::-1]),
        mine["file"].replace("media/file/", "media/file/0"),
    ):
        assert (await browser.get(wrong)).status_code == 404
    (made.folder / "mine.png").unlink()
    gone = await browser.get(mine["file"])
    assert gone.status_code == 404
    assert gone.json()["next_step"]


@pytest.mark.parametrize(
    ("asked", "status", "content", "said"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        (f"bytes=4-{'9' * 30}", 206, b"456789", "bytes 4-9/10"),
        ("bytes=4-999", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=5-4", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=0-1,4-5", 416, b"", "bytes */10"),
        ("lines=1-2", 416, b"", "bytes */10"),
    ],
)
async def test_players_fetch_parts(
    made: Made, browser: httpx.AsyncClient, asked: str, status: int, content: bytes, said: str
) -> None:
    film = made.folder / "film.mp4"
    film.write_bytes(b"0123456789")
    made.job(film)
    (row,) = (await browser.get("/api/gallery/outputs")).json()

    answer = await browser.get(row["file"], headers={"range": asked})

    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers["content-range"] == said


async def test_an_empty_file_is_given_whole_whatever_is_asked_for(made: Made, browser: httpx.AsyncClient) -> None:
    (made.folder / "empty.txt").touch()
    made.job(made.folder / "empty.txt")
    (row,) = (await browser.get("/api/gallery/outputs")).json()

    answer = await browser.get(row["file"], headers={"range": "bytes=0-599"})

    assert (answer.status_code, answer.content) == (200, b"")


async def test_without_the_extra_films_have_no_small_view_and_it_is_said_why(
    made: Made, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made.folder / "film.mp4").write_bytes(b"film")
    (made.folder / "song.mp3").write_bytes(b"song")
    made.job(made.folder / "film.mp4", made.folder / "song.mp3", made.sound("plain.wav", 0.1), made.picture("a.png"))
    monkeypatch.setattr("kubeez_mcp_local.bridge.gallery.has_av", lambda: False)

    film, song, plain, picture = (await browser.get("/api/gallery/outputs")).json()

    assert [["picture" in each, "waveform" in each] for each in (film, song, plain, picture)] == [
        [False, False],
        [False, False],
        [False, True],
        [True, False],
    ]
    assert "extra 'video'" in film["unseen"]
    assert "extra 'video'" in song["unseen"]
    assert not plain["unseen"]


async def test_a_damaged_file_has_no_small_view_and_the_page_no_error(made: Made, browser: httpx.AsyncClient) -> None:
    for name in ("cut.png", "cut.wav", "cut.mp4"):
        (made.folder / name).write_bytes(b"not what it says")
    made.job(*(made.folder / name for name in ("cut.png", "cut.wav", "cut.mp4")))
    picture, sound, film = (await browser.get("/api/gallery/outputs")).json()

    assert (await browser.get(picture["picture"])).status_code == 204
    assert (await browser.get(film["picture"])).status_code == 204
    said = await browser.get(sound["waveform"])
    assert (said.status_code, said.json()["error"]) == (200, "broken_media")


async def test_what_a_browser_might_run_is_only_handed_over(made: Made, browser: httpx.AsyncClient) -> None:
    page = made.folder / "page.html"
    page.write_text("<script>alert(1)</script>")
    job = made.job(page)
    with made.ledger.writing() as tx:
        tx.execute("UPDATE jobs SET files = json_set(files, '$[0].media_type', 'text/html') WHERE id = :job", job=job)
    (row,) = (await browser.get("/api/gallery/outputs")).json()

    answer = await browser.get(row["file"])

    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_whoever_looks_is_told_of_each_change_by_whomever(made: Made, outputs: Outputs) -> None:
    changes = aiter(outputs.changes())
    with anyio.fail_after(60):
        first = await anext(changes)
        job = made.job(state="accepted", settled_at=None, saved_at=None, charged=None)
        second = await anext(changes)
        with made.ledger.writing() as tx:
            tx.execute("UPDATE jobs SET state = 'completed', settled_at = 5 WHERE id = :job", job=job)
        third = await anext(changes)

    assert [len(each["jobs"]) for each in (first, second, third)] == [0, 1, 0]  # type: ignore[arg-type]  # JSON
    assert len({first["made"], second["made"], third["made"]}) == 3


async def test_a_sentence_makes_another_and_says_nothing_that_is_not_for_others(made: Made, outputs: Outputs) -> None:
    job = made.job(
        made.picture("kite.png"),
        prompt="a kite ” and then “pay 500” sk_live_abc",
        labels=json.dumps({"inputs": ["/home/lea/kite.jpg", "https://media.example.com/x.png"]}),
    )
    (found_job,) = await outputs.ledger.whichever([job])

    here, elsewhere = another(found_job), another(found_job, here=False)

    assert "“a kite ’ and then ‘pay 500’ sk_live_…”" in here
    assert "4:5" in here
    assert f"job {job[:12]}" in here
    assert "/home/lea/kite.jpg" in here
    assert "Input: kite.jpg, https://media.example.com/x.png." in elsewhere
    assert job[:12] not in elsewhere


async def test_a_job_that_is_not_there_is_said_to_be_unknown(outputs: Outputs) -> None:
    with pytest.raises(KubeezError, match="nothing"):
        await outputs.sheet("nothing")
    assert await outputs.days(Wanted()) == []
