"""The spend page: what it tells of the ledger, the files for spreadsheets and programs, and how it looks."""

from __future__ import annotations

import csv
import io
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
import pytest

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.bridge.spending import Spending
from kubeez_mcp_local.jobs.ledger import LedgerFile
from kubeez_mcp_local.settings import load_settings
from kubeez_mcp_local.web.pages import KEY_HEADER
from kubeez_mcp_local.web.spend import Entry, as_csv
from tests.outputs_made import DAY, Made
from tests.web.looking import faint, press, resize

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.web.conftest import Chromium

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("chromium")]

MARKUP = "<img src=x onerror=alert(1)>"
FORMULA = "=cmd|' /C calc'!A0"


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    settings = load_settings(
        {
            "mode": "sandbox",
            "state_dir": tmp_path / "state",
            "output_dir": tmp_path / "out",
            "max_credits_per_day": 300,
        },
        environ={},
        working_dir=tmp_path,
    )
    async with Bridge(settings) as opened:
        yield opened


@pytest.fixture
async def made(bridge: Bridge, tmp_path: Path) -> AsyncIterator[Made]:
    made = Made(tmp_path / "state", tmp_path / "made")
    made.ledger.close()
    made.ledger = LedgerFile(tmp_path / "state", bridge.account, made.ledger.ceilings)
    yield made
    made.ledger.close()


def fill(made: Made) -> list[str]:
    """Charges on three days, and one job of each kind that holds credits; returns the ids of these."""
    now = time.time()
    for back, credits_, model in (
        (0, 14, "z-image"),
        (0, 6, MARKUP),
        (2, 200, "veo3-1"),
        (29, 30, FORMULA),
        (60, 9, "old"),
    ):
        made.job(created_at=now - back * DAY, credits=credits_, model=model, recipe="ads" if back else "")
    return [
        made.job(created_at=now, state=state, charged=None, reserved=held * 1_000_000, prompt=f"{state} {MARKUP}")
        for state, held in (("unknown", 14), ("accepted", 65), ("completed", 21))
    ]


async def test_it_tells_what_the_ledger_tells(bridge: Bridge, made: Made) -> None:
    unknown, running, ended = fill(made)

    account = await Spending(bridge.ledger, bridge.settings, bridge.reconciler.doubles).account(30)

    assert (account.mode, account.spent, account.held, account.left) == ("sandbox", 120, 100, 180)
    assert (account.per_day, account.asks_above) == (300, None)
    assert len(account.days) == 30
    assert [part.charged for part in account.days if part.charged] == [30, 200, 20]
    assert account.days[-1].name == account.today
    assert [part.name for part in account.models][:2] == ["veo3-1", "nano-banana-2"]
    assert {part.name: part.charged for part in account.recipes} == {"ads": 230, "": 20}
    by_job = {job.job: job for job in account.open}
    assert [command for _, command in by_job[unknown].ways] == [
        f"kubeez-mcp-local jobs reconcile {unknown[:12]}{end}" for end in ("", " --paid", " --not-paid")
    ]
    assert by_job[running].ways[0][1] == f"kubeez-mcp-local jobs wait {running[:12]}"
    assert by_job[ended].ways[0][1] == f"kubeez-mcp-local jobs show {ended[:12]}"


async def test_the_files_have_addresses_that_nobody_can_guess(bridge: Bridge, made: Made) -> None:
    fill(made)
    address = urlsplit(bridge.pages.address("spend"))
    async with httpx.AsyncClient(trust_env=False, verify=False, base_url=f"http://{address.netloc}") as browser:
        assert (await browser.get("/api/spend/account")).status_code == 401
        answers = {
            days: (await browser.get(f"/api/spend/account?days={days}", headers={KEY_HEADER: bridge.pages.key})).json()
            for days in ("7", "30", "9999999999999", "x")
        }
        assert [len(answer["days"]) for answer in answers.values()] == [7, 30, 30, 30]
        files: dict[str, str] = answers["30"]["files"]
        table = await browser.get(f"/{files['csv']}")
        told: list[dict[str, Any]] = (await browser.get(f"/{files['json']}")).json()
        for other in (files["csv"].replace("/30/", "/90/"), files["csv"].replace("csv", "html")):
            assert (await browser.get(f"/{other}")).status_code == 404
    assert table.headers["content-disposition"] == 'attachment; filename="kubeez-spend-30-days.csv"'
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [float(row["charged"]) for row in rows] == [entry["charged"] for entry in told]
    assert f"'{FORMULA}" in {row["model"] for row in rows}
    assert FORMULA in {entry["model"] for entry in told}
    assert sum(entry["held"] for entry in told) == 100


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"])
def test_no_text_is_taken_for_a_formula(text: str) -> None:
    written = as_csv([Entry("2026-11-29", text, 'a "model", quoted', "ads", 1, 0.5, 0)])

    (row,) = csv.DictReader(io.StringIO(written))
    assert row["tool"] == f"'{text}"
    assert (row["model"], row["charged"]) == ('a "model", quoted', "0.5")


async def looked_at(bridge: Bridge, chromium: Chromium, look: Callable[[], None], **view: str) -> None:
    """Open the page, and hold what must hold whatever was done there."""
    address = bridge.pages.address("spend", **view)

    def steps() -> None:
        chromium.open(address)
        chromium.wait_for("!byId('content').hidden")
        look()
        assert chromium.complaints() == []
        assert chromium.requested() == {address.split("/")[2]}
        assert chromium.evaluate("document.querySelectorAll('main img, main script').length") == 0

    await anyio.to_thread.run_sync(steps)


async def test_it_is_read_in_light_and_dark_on_a_desk_and_on_a_telephone(
    bridge: Bridge, made: Made, chromium: Chromium
) -> None:
    fill(made)

    def look() -> None:
        chromium.evaluate("byId('table').open = true")
        for scheme in ("light", "dark"):
            chromium.prefer(scheme)
            assert faint(chromium) == []
        resize(chromium, 390)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= 390
        cards = "[...document.querySelectorAll('.card')].filter((card) => card.scrollWidth > card.clientWidth)"
        assert chromium.evaluate(f"{cards}.length") == 0
        said = chromium.text()
        for words in ("180 of 300 credits left", "20 credits charged, 100 held back", MARKUP, FORMULA, "fate unknown"):
            assert words in said

    await looked_at(bridge, chromium, look)


async def test_charts_have_words_and_tables(bridge: Bridge, made: Made, chromium: Chromium) -> None:
    fill(made)

    def look() -> None:
        said = chromium.evaluate("document.querySelector('.plot').getAttribute('aria-label')")
        assert said.startswith("350 credits on 3 days, most on ")
        assert "(200)" in said
        assert "ceiling of a day: 300" in chromium.evaluate("document.querySelector('.plot').textContent")
        assert chromium.evaluate("document.querySelectorAll('.plot .column').length") == 30
        assert chromium.evaluate("document.querySelectorAll('#day-table tbody tr').length") == 3
        drawn = "[...document.querySelectorAll('svg')].filter((svg) => !svg.ariaLabel && !svg.ariaHidden).length"
        assert chromium.evaluate(drawn) == 0

    await looked_at(bridge, chromium, look)


async def test_everything_is_reached_with_the_keyboard(bridge: Bridge, made: Made, chromium: Chromium) -> None:
    fill(made)

    def look() -> None:
        reached: list[str] = []
        for _ in range(40):
            press(chromium, "Tab")
            name = "(each) => each.ariaLabel || each.value || each.textContent"
            reached.append(chromium.evaluate(f"({name})(document.activeElement)"))
            ring = "getComputedStyle(document.activeElement.closest('.period label') || document.activeElement)"
            assert chromium.evaluate(f"{ring}.outlineStyle") == "solid", reached[-1]
            if "The same as a table" in reached[-1]:
                break
        for wanted in ("Gallery", "30", "Download these 30 days as CSV", "Copy the command: Wait for its end"):
            assert wanted in reached
        press(chromium, "Enter")
        assert chromium.evaluate("byId('table').open")
        chromium.evaluate("document.querySelector('#period :checked').focus()")
        press(chromium, "ArrowRight")
        chromium.wait_for("document.querySelectorAll('.plot .column').length === 90")
        assert chromium.evaluate("location.hash") == "#days=90"

    await looked_at(bridge, chromium, look)


async def test_nothing_and_one_of_a_kind_are_no_charts(bridge: Bridge, made: Made, chromium: Chromium) -> None:
    def nothing() -> None:
        assert "Nothing was spent in these 7 days." in chromium.text()
        assert chromium.evaluate("document.querySelectorAll('.plot, .bar-of').length") == 0
        assert not chromium.evaluate("byId('files').checkVisibility()")

    await looked_at(bridge, chromium, nothing, days="7")
    made.job(created_at=time.time(), credits=14)

    def one() -> None:
        assert "14 credits on " in chromium.text()
        assert chromium.evaluate("document.querySelectorAll('.bar-of').length") == 0
        widest = "Math.max(...[...document.querySelectorAll('.column rect')].map((each) => each.getBBox().width))"
        whole = "document.querySelector('.plot').getBoundingClientRect().width"
        assert chromium.evaluate(f"{widest} < {whole} / 6")

    chromium.new_tab()
    await looked_at(bridge, chromium, one, days="7")
