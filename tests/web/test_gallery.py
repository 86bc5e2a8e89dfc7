"""The gallery in a real browser, over a ledger with everything that can be made in it."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import start_blocking_portal

from kubeez_mcp_local.bridge.gallery import Outputs
from kubeez_mcp_local.jobs.ledger import open_ledger
from kubeez_mcp_local.media.path_guard import PathGuard
from kubeez_mcp_local.media.thumbnails import Thumbnails
from kubeez_mcp_local.web.export import Export
from kubeez_mcp_local.web.gallery import Gallery, Wanted
from kubeez_mcp_local.web.pages import Pages, Seal
from tests.damaged import encoded
from tests.outputs_made import DAY, NOON, Made
from tests.web.looking import press, resize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anyio.from_thread import BlockingPortal

    from tests.web.conftest import Chromium

pytestmark = pytest.mark.xdist_group("chromium")

HOSTILE = "<img src=x onerror=alert(1)>.png"
HARM = "<script>alert(1)</script>\u202e \"'&amp; ${7*7}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("gallery")
    made = Made(folder / "state", folder / "Kubeez")
    older = [made.picture(f"older/{at}.png", (60, 80), at * 20) for at in range(10)]
    for at in range(160):
        made.job(older[at % 10], prompt=f"older {at}", created_at=NOON - DAY * (1 + at // 40), model="z-image")
    film = made.folder / "waves.mp4"
    film.write_bytes(encoded("mp4", video="libx264", seconds=1.0))
    text = made.folder / "copy.txt"
    text.write_text("Run before the sun. <b>bold</b>")
    made.job(film, prompt="waves, slow motion", model="seedance-2-0", credits=40)
    made.job(made.sound("piano.wav"), prompt="calm piano", model="music-v5", credits=12)
    made.job(text, prompt="ad copy", model="ad-copy", credits=None)
    cut = made.folder / "cut.png"
    cut.write_bytes(b"no picture")
    made.job(made.folder / "gone.png", cut, prompt="a picture that was moved away")
    made.job(
        made.picture("kite-1.png"),
        made.picture("kite-2.png", hue=90),
        prompt="a red kite",
        account="sandbox",
        recipe="ads",
        run="ads-1/4f",
        labels=json.dumps({"inputs": ["/home/lea/kite.jpg"], "call": "variants[0]"}),
    )
    hostile = made.picture(HOSTILE, hue=200)
    hostile.with_suffix(".json").write_text(json.dumps({"prompt": HARM, "key": "sk_live_secret"}))
    made.job(hostile, prompt=HARM, model="m" * 80)
    return made


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="module")
def outputs(made: Made, portal: BlockingPortal) -> Iterator[Outputs]:
    ledger = open_ledger(made.state_dir, "live-x", made.ledger.ceilings)
    thumbnails = portal.call(Thumbnails, made.state_dir / "thumbnails")
    yield Outputs(ledger, PathGuard([made.folder]), thumbnails)
    portal.call(ledger.aclose)


@pytest.fixture(scope="module")
def address(outputs: Outputs, portal: BlockingPortal) -> Iterator[str]:
    tasks = []
    start = lambda work, *given: tasks.append(portal.start_task_soon(work, *given))  # noqa: E731
    yield Pages([Gallery(outputs, seal=Seal()).page()], start=start).address("gallery")
    tasks[0].cancel()


@pytest.fixture
def gallery(chromium: Chromium, address: str) -> Iterator[Chromium]:
    resize(chromium, 1200, 900)
    chromium.open(address)
    chromium.wait_for("list.total > 0 && document.querySelectorAll('.glimpse img.there').length > 0")
    yield chromium
    assert chromium.complaints() == []
    assert chromium.requested() == {address.split("/")[2]}


def focused(chromium: Chromium) -> str:
    return str(chromium.evaluate("document.activeElement.ariaLabel || document.activeElement.id"))


def open_output(chromium: Chromium, words: str) -> None:
    said = json.dumps(words)
    tile = f"[...document.querySelectorAll('.tile')].find((each) => each.ariaLabel.startsWith({said}))"
    chromium.evaluate(f"{tile}.querySelector('.open').click()")
    chromium.wait_for(f"byId('job').open && byId('job').innerText.includes({said})")


def test_the_key_is_taken_out_of_the_address_and_works_in_another_tab(gallery: Chromium, address: str) -> None:
    assert "key" not in gallery.evaluate("location.href")
    gallery.new_tab()
    gallery.open(address.partition("#")[0])
    gallery.wait_for("list.total === 168")


def test_everything_is_shown_by_day_with_what_it_is(gallery: Chromium) -> None:
    text = gallery.text()

    assert "168 outputs" in text
    assert any(day in text for day in ("Sunday, 29 November 2026", "Today", "Yesterday"))
    assert "moved or deleted" in text
    assert "Run before the sun. <b>bold</b>" in text
    gallery.wait_for("document.querySelectorAll('.tile.video img.there, .tile.audio svg.wave').length === 2")
    assert gallery.evaluate("document.querySelectorAll('.tile .tag.warm').length") == 2
    assert gallery.evaluate("[...document.images].filter(e => e.complete && !e.naturalWidth && e.src).length") == 0


def test_what_others_wrote_is_only_text(gallery: Chromium) -> None:
    open_output(gallery, HARM[:24])

    shown = gallery.evaluate("byId('job').querySelector('.prompt').textContent")
    assert shown == HARM.replace("\u202e", "\\u202e")
    assert HOSTILE in gallery.evaluate("byId('job-title').textContent")
    sidecar = gallery.evaluate("byId('job').querySelector('details pre').textContent")
    assert "<script>" in sidecar
    assert "sk_live_secret" not in sidecar
    assert gallery.evaluate("document.querySelectorAll('script:not([src]), [onerror], main b, dialog b').length") == 0
    gallery.wait_for("byId('job').querySelector('.stage img').naturalWidth > 0")


def test_it_is_searched_and_filtered_and_the_address_says_by_what(gallery: Chromium) -> None:
    def count(**wanted: str) -> int:
        given = f"Object.entries({json.dumps(wanted)}).forEach(([name, value]) => {{ byId(name).value = value; }})"
        gallery.evaluate(f"clearFilters(); {given}; filter()")
        gallery.wait_for("byId('grid').ariaBusy === 'false'")
        return int(gallery.evaluate("list.total"))

    assert count(words="PIANO music") == 1
    assert count(kind="video") == 1
    assert count(model="z-image") == 160
    assert count(recipe="ads") == 2
    assert count(mode="sandbox") == 2
    assert count(least="12", most="39") == 1
    assert count(since="2026-11-28", until="2026-11-28") == 40
    assert "since=2026-11-28" in gallery.evaluate("location.hash")
    assert count(words="no such thing") == 0
    assert "Nothing fits" in gallery.text()
    gallery.click("#empty button")
    gallery.wait_for("list.total === 168")


def test_what_somebody_writes_is_left_alone_and_the_way_to_the_content_keeps_it(gallery: Chromium) -> None:
    gallery.evaluate("byId('words').focus()")
    gallery.call("Input.insertText", text="a red ")
    gallery.wait_for("wanted.words === 'a red' && byId('grid').ariaBusy === 'false' && list.total === 2")
    assert gallery.evaluate("byId('words').value") == "a red "
    gallery.click(".skip")
    assert gallery.evaluate("[location.hash, document.activeElement.id]") == ["#words=a+red", "main"]
    gallery.evaluate("history.replaceState(null, '', location.pathname); arrive()")
    gallery.wait_for("list.total === 168 && byId('words').value === ''")


def test_what_is_left_before_it_is_there_does_not_open_any_more(gallery: Chromium) -> None:
    ids = gallery.evaluate("list.pages.get(0).slice(0, 2).map(({ job, number }) => `${job}:${number}`)")
    job = json.dumps({"job": ids[0].partition(":")[0], "number": 0})
    gallery.evaluate(f"go({job}); leave()")
    gallery.evaluate(f"source.job('{ids[0].partition(':')[0]}').then(() => openComparison({json.dumps(ids)}))")
    gallery.wait_for("!location.hash")
    assert gallery.evaluate("[...document.querySelectorAll('dialog')].map((each) => each.open)") == [False, False]


def test_an_empty_text_is_said_to_be_empty_and_the_focus_stays_where_one_goes_on(gallery: Chromium, made: Made) -> None:
    (made.folder / "empty.txt").touch()
    job = made.job(made.folder / "empty.txt", prompt="nothing to read")
    gallery.wait_for("list.total === 169")
    open_output(gallery, "nothing to read")
    gallery.wait_for("byId('job').innerText.includes('This file is empty.')")
    assert gallery.evaluate("byId('job').querySelector('[aria-label=Newer]').disabled")
    gallery.evaluate("byId('job').querySelector('[aria-label=Older]').focus()")
    press(gallery, "Enter")
    gallery.wait_for("byId('job').innerText.includes('2 of 169')")
    assert focused(gallery) == "Older"
    with made.ledger.writing() as tx:
        tx.execute("UPDATE jobs SET files = '[]' WHERE id = :job", job=job)
    gallery.wait_for("list.total === 168")


def test_a_job_tells_prompt_settings_inputs_and_price_and_what_to_copy(gallery: Chromium) -> None:
    gallery.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    open_output(gallery, "a red kite")
    text = gallery.evaluate("byId('job').innerText")
    for words in (
        "a red kite",
        "5 credits",
        "Sandbox",
        "aspect ratio",
        "4:5",
        "/home/lea/kite.jpg",
        "ads-1",
        "variants[0]",
    ):
        assert words in text

    copied = {}
    for label in ("Make another like this", "Copy prompt", "Copy path"):
        gallery.evaluate(f"[...byId('job').querySelectorAll('button')].find(e => e.textContent === '{label}').click()")
        gallery.wait_for("!byId('job').querySelector('.said').hidden")
        copied[label] = gallery.evaluate("navigator.clipboard.readText()")
    assert copied["Copy prompt"] == "a red kite"
    assert copied["Copy path"].endswith("kite-1.png")
    assert re.match(
        r"Make another one like this with Kubeez: .*“a red kite”.*regenerate", copied["Make another like this"]
    )


def test_films_and_sounds_play_and_can_be_wound(gallery: Chromium) -> None:
    for words, tag in (("waves, slow", "video"), ("calm piano", "audio")):
        open_output(gallery, words)
        gallery.wait_for(f"byId('job').querySelector('{tag}').duration > 0.5")
        gallery.evaluate(f"byId('job').querySelector('{tag}').currentTime = 0.5")
        gallery.wait_for(
            f"byId('job').querySelector('{tag}').currentTime === 0.5 && !byId('job').querySelector('{tag}').seeking"
        )
        gallery.evaluate("leave()")
        gallery.wait_for("!byId('job').open")


def test_two_to_four_are_compared_side_by_side(gallery: Chromium) -> None:
    gallery.evaluate("[...document.querySelectorAll('.pick input')].slice(0, 5).forEach((box) => box.click())")
    assert gallery.evaluate("document.querySelectorAll('.tile.picked').length") == 4
    assert "Four at most" in gallery.text()
    gallery.evaluate("document.querySelectorAll('.tile.picked .pick input')[1].click()")
    gallery.click(".tray .first")
    gallery.wait_for("byId('compare').open && byId('compare').querySelectorAll('article').length === 3")
    assert "differs" in gallery.evaluate("byId('compare').innerHTML")
    press(gallery, "Escape")
    gallery.wait_for("!byId('compare').open")


def test_everything_can_be_done_with_the_keyboard_and_the_focus_is_seen(gallery: Chromium) -> None:
    gallery.evaluate("document.querySelector('.tile .open').focus()")
    first = focused(gallery)
    press(gallery, "ArrowRight")
    press(gallery, "ArrowDown")
    assert focused(gallery) != first
    outline = gallery.evaluate(
        "(({outlineStyle, outlineWidth}) => outlineStyle + outlineWidth)(getComputedStyle(document.activeElement))"
    )
    assert outline == "solid3px"
    press(gallery, "Tab")
    assert focused(gallery).startswith("Compare: ")
    press(gallery, "End")
    gallery.wait_for("(document.activeElement.ariaLabel || '').startsWith('older')")
    press(gallery, "Enter")
    gallery.wait_for("byId('job').open")
    assert gallery.evaluate("byId('job').contains(document.activeElement)")
    press(gallery, "ArrowLeft")
    gallery.wait_for("byId('job').innerText.includes('167 of 168')")
    press(gallery, "Escape")
    gallery.wait_for("!byId('job').open && list.current === 166 && !!document.activeElement.closest('.tile')")
    assert gallery.evaluate("document.activeElement.closest('.tile').index") == 166


def test_only_what_can_be_seen_is_in_the_document(gallery: Chromium) -> None:
    gallery.evaluate("scrollTo(0, 2000)")
    gallery.wait_for("document.querySelectorAll('.tile').length > 0 && !document.querySelector('.tile.waiting')")
    assert gallery.evaluate("document.querySelectorAll('.tile').length") < 70
    gallery.wait_for(
        "[...document.querySelectorAll('.tile')].every((e, at, all) => !at || e.index > all[at - 1].index)"
    )


def test_what_is_under_way_is_shown_and_what_is_made_appears(gallery: Chromium, made: Made) -> None:
    job = made.job(
        prompt="a lighthouse at dawn",
        state="accepted",
        settled_at=None,
        saved_at=None,
        charged=None,
        expected_seconds=30,
    )
    gallery.wait_for("byId('running').innerText.includes('a lighthouse at dawn')")
    assert "1 job under way" in gallery.text()
    gallery.click("#running button")
    gallery.wait_for("byId('job').open && byId('job').innerText.includes('It is being made.')")
    files = json.dumps([made._saved(made.picture("lighthouse.png"))])
    with made.ledger.writing() as tx:
        tx.execute(
            "UPDATE jobs SET state = 'completed', files = :files, saved_at = 2 WHERE id = :job", files=files, job=job
        )
    gallery.wait_for("!!byId('job').querySelector('.stage img')")
    gallery.evaluate("leave()")
    gallery.wait_for("list.total === 169 && byId('running').hidden")
    gallery.wait_for("!!document.querySelector('.tile[aria-label^=\"a lighthouse\"] img.there')")
    with made.ledger.writing() as tx:
        tx.execute("UPDATE jobs SET files = '[]' WHERE id = :job", job=job)
    gallery.wait_for("list.total === 168")


@pytest.mark.parametrize(("place", "width"), [("list", 390), ("job", 390), ("hostile job", 320), ("comparison", 390)])
def test_nothing_is_wider_than_a_telephone(gallery: Chromium, place: str, width: int) -> None:
    resize(gallery, width, 844)
    gallery.evaluate("further(true)")
    if place == "job":
        open_output(gallery, "a red kite")
    if place == "hostile job":
        open_output(gallery, HARM[:24])
    if place == "comparison":
        gallery.evaluate("[...document.querySelectorAll('.pick input')].slice(0, 4).forEach((box) => box.click())")
        gallery.click(".tray .first")
        gallery.wait_for("byId('compare').open")
    parts = "[document.documentElement, ...document.querySelectorAll('dialog[open], dialog[open] > *')]"
    widest = f"Math.max(...{parts}.map((each) => each.scrollWidth))"
    assert gallery.evaluate(widest) <= width
    if place == "job":
        parts = "[...document.querySelectorAll('.stage img, .strip, .both > .words')]"
        edges = f"{parts}.map((each) => each.getBoundingClientRect()).map(({{ top, bottom }}) => [top, bottom])"
        picture, strip, words = gallery.evaluate(edges)
        assert picture[1] <= strip[0] + 1
        assert strip[1] <= words[0] + 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_enough_from_what_is_behind_them(gallery: Chromium, scheme: str) -> None:
    gallery.prefer(scheme)
    gallery.evaluate("[...document.querySelectorAll('.pick input')].slice(0, 2).forEach((box) => box.click())")
    weak = too_faint(gallery, "body")
    open_output(gallery, "a red kite")
    assert {**weak, **too_faint(gallery, "#job")} == {}


def too_faint(chromium: Chromium, within: str) -> dict[str, float]:
    """Words whose contrast is below WCAG's 4.5 (3 for large ones), with how much it is."""
    found: list[dict[str, Any]] = chromium.evaluate(_TEXTS.replace("WITHIN", json.dumps(within)))
    ratios = {each["text"]: contrast(each["ink"], each["paper"]) / (3 if each["large"] else 4.5) for each in found}
    assert len(ratios) > 10
    return {text: round(ratio * 4.5, 2) for text, ratio in ratios.items() if ratio < 1}


_TEXTS = """(() => {
  const rgb = (color) => {
    const pen = new OffscreenCanvas(1, 1).getContext("2d");
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const paperOf = (element) => {
    let paper = [0, 0, 0, 0];
    for (let at = element; at && paper[3] < 0.99; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      const share = (1 - paper[3]) * color[3] / 255;
      paper = [...[0, 1, 2].map((each) => paper[each] + color[each] * share), paper[3] + share];
    }
    return paper;
  };
  const texts = [...document.querySelector(WITHIN).querySelectorAll("*")].filter((element) =>
    element.checkVisibility({ opacityProperty: true }) && !element.closest(".unseen, option, .skip, .said")
    && [...element.childNodes].some((each) => each.nodeType === 3 && each.data.trim()));
  return texts.map((element) => {
    const style = getComputedStyle(element);
    const points = parseFloat(style.fontSize) * 0.75;
    const large = points >= 18 || (points >= 14 && style.fontWeight >= 700);
    return { text: element.textContent.trim().slice(0, 40), ink: rgb(style.color), paper: paperOf(element), large };
  });
})()"""


def contrast(ink: list[float], paper: list[float]) -> float:
    """As WCAG 2 reckons it, 1 to 21."""

    def light(color: list[float]) -> float:
        parts = [each / 255 for each in color[:3]]
        linear = [each / 12.92 if each <= 0.04045 else math.pow((each + 0.055) / 1.055, 2.4) for each in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dim = sorted((light(ink), light(paper)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_without_the_whole_address_nothing_is_shown(chromium: Chromium, address: str) -> None:
    chromium.open(address.replace("127.0.0.1", "localhost").partition("#")[0])
    chromium.wait_for("byId('trouble').textContent.includes('whole address')")
    assert chromium.evaluate("document.querySelectorAll('.tile').length") == 0


def test_the_page_says_when_the_program_has_ended(chromium: Chromium, outputs: Outputs, portal: BlockingPortal) -> None:
    tasks = []
    start = lambda work, *given: tasks.append(portal.start_task_soon(work, *given))  # noqa: E731
    chromium.open(Pages([Gallery(outputs, seal=Seal()).page()], start=start).address("gallery"))
    chromium.wait_for("byId('live').textContent === 'Up to date'")
    tasks[0].cancel()
    chromium.wait_for("byId('live').textContent === 'Not connected'")
    assert "The program that served this page has ended." in chromium.text()


def test_an_exported_page_works_as_a_file_without_keys_and_paths(
    chromium: Chromium, outputs: Outputs, portal: BlockingPortal, made: Made, tmp_path: Path
) -> None:
    export = Export(outputs, tmp_path / "share", Wanted(since="2026-11-29"))
    done = portal.call(export.write)
    assert (done.outputs, done.missing) == (8, 1)
    written = [path for path in (tmp_path / "share").rglob("*") if path.is_file()]
    for path in written:
        content = path.read_bytes()
        assert b"sk_live_secret" not in content
        assert str(made.folder).encode() not in content
        assert b"/home/lea" not in content
    assert sum(path.suffix == ".json" for path in written) == 7
    chromium.open((tmp_path / "share" / "index.html").as_uri())
    chromium.wait_for("list.total === 8 && document.querySelectorAll('.glimpse img.there').length === 4")
    assert "Run before the sun" in chromium.text()
    open_output(chromium, "a red kite")
    chromium.wait_for("byId('job').querySelector('.stage img').naturalWidth === 320")
    chromium.evaluate("leave()")
    chromium.wait_for("!byId('job').open")
    open_output(chromium, "waves, slow")
    chromium.wait_for("byId('job').querySelector('video').duration > 0.5")
    assert "kite.jpg" not in chromium.evaluate("byId('job').innerText")
    assert chromium.complaints() == []
    assert chromium.requested() == set()


def test_an_export_overwrites_nothing(outputs: Outputs, portal: BlockingPortal, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(Exception, match="is not empty"):
        portal.call(Export(outputs, tmp_path, Wanted()).write)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["mine.txt"]
