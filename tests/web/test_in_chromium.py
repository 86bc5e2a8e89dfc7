"""The upload page and the approval page as a person uses them, in a real browser."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from PIL import Image

from kubeez_mcp_local.bridge.login import keep_sign_in
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.hosted.signing_in import SignInFailedError, SigningIn, listening
from kubeez_mcp_local.hosted.tokens import Kept
from kubeez_mcp_local.media.measure import measure
from kubeez_mcp_local.media.sniff import sniff
from kubeez_mcp_local.settings import config_file
from kubeez_mcp_local.web.approval_page import ApprovalPage, Asked
from kubeez_mcp_local.web.upload_page import UploadPage
from tests.damaged import encoded
from tests.keyrings import MemoryKeyring, use
from tests.sandbox_server import running_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from kubeez_mcp_local.media.sniff import MediaType
    from tests.web.conftest import Chromium

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("chromium")]


@dataclass
class Kubeez:
    """Where files end up."""

    names: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    away: bool = False

    async def deliver(self, _path: Path, content_type: MediaType, name: str) -> str:
        if self.away:
            raise KubeezError("Kubeez does not answer.", next_step="Try again in a minute.")
        self.names.append(name)
        self.types.append(content_type.mime)
        return f"https://media.example.com/{name}"


@pytest.fixture
def kubeez() -> Kubeez:
    return Kubeez()


@pytest.fixture
async def page(kubeez: Kubeez, tmp_path: Path) -> AsyncIterator[UploadPage]:
    async with anyio.create_task_group() as tasks:
        yield UploadPage(
            kubeez.deliver,
            tmp_path / "inbox",
            start=tasks.start_soon,
            sniff=sniff,
            measure=measure,
            notice="Sandbox: nothing is uploaded to Kubeez.",
        )
        tasks.cancel_scope.cancel()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = []
    for number, color in enumerate(("#c33", "#3a6", "#36c"), start=1):
        paths.append(tmp_path / f"frame {number}.png")
        Image.new("RGB", (640, 360), color).save(paths[-1])
    return paths


async def using(steps: Callable[[], None]) -> None:
    """Act in the browser while the server goes on."""
    with anyio.fail_after(60):
        await anyio.to_thread.run_sync(steps)


async def test_files_are_dropped_put_in_order_and_handed_over(
    page: UploadPage, kubeez: Kubeez, chromium: Chromium, pictures: list[Path]
) -> None:
    session = await page.open_session("seedance-2-0", ["image", "video"], 4)

    def act() -> None:
        chromium.open(session.url)
        chromium.wait_for("document.body.innerText.includes('seedance-2-0')")
        assert "up to 4 files: pictures and videos" in chromium.text()
        chromium.drop("#drop", pictures[:2])
        chromium.choose("#picker", pictures[2:])
        chromium.wait_for("document.querySelectorAll('#list li').length === 3")
        chromium.click("#list li:nth-child(3) .up")
        chromium.click("#list li:nth-child(2) .up")
        chromium.click("#send")
        chromium.wait_for("!document.querySelector('#arrived').hidden")
        assert "3 files have arrived" in chromium.text()

    await using(act)
    assert kubeez.names == ["frame 3.png", "frame 1.png", "frame 2.png"]
    state = page.session(session.token)
    assert state["count"] == 3
    assert (state["media"][0]["width"], state["media"][0]["height"]) == (640, 360)
    assert chromium.complaints() == []
    assert chromium.requested() == {session.url.split("/")[2]}


async def test_files_that_do_not_fit_are_refused_before_anything_is_sent(
    page: UploadPage, kubeez: Kubeez, chromium: Chromium, pictures: list[Path], tmp_path: Path
) -> None:
    for name, content in (("notes.txt", "text"), ("empty.png", ""), ("song.mp3", "ID3")):
        await anyio.Path(tmp_path / name).write_text(content)
    session = await page.open_session("logo-maker", ["image"], 1)

    def act() -> None:
        chromium.open(session.url)
        chromium.wait_for("document.body.innerText.includes('one file')")
        for name, words in (
            ("notes.txt", "not a picture, video or sound file"),
            ("empty.png", "is empty"),
            ("song.mp3", "sound file, which this model does not take"),
        ):
            chromium.drop("#drop", [tmp_path / name])
            chromium.wait_for(f"document.querySelector('#message').innerText.includes('{words}')")
        chromium.drop("#drop", pictures[:2])
        chromium.wait_for("document.querySelector('#message').innerText.includes('one too many')")
        assert chromium.evaluate("document.querySelectorAll('#list li').length") == 1
        chromium.click("#list li .remove")
        assert chromium.evaluate("document.querySelector('#chosen').hidden")

    await using(act)
    assert kubeez.names == []


async def test_it_can_be_used_without_a_mouse(page: UploadPage, chromium: Chromium, pictures: list[Path]) -> None:
    session = await page.open_session("seedance-2-0", ["image"], 4)

    def focused() -> str:
        return str(chromium.evaluate("document.activeElement.ariaLabel || document.activeElement.id"))

    def press(selector: str) -> str:
        chromium.evaluate(f"document.querySelector('{selector}').focus()")
        for kind in ("keyDown", "keyUp"):
            text = "\r" if kind == "keyDown" else ""
            chromium.call("Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, text=text)
        return focused()

    def act() -> None:
        chromium.open(session.url)
        chromium.wait_for("document.body.innerText.includes('seedance-2-0')")
        chromium.drop("#drop", pictures)
        chromium.wait_for("document.querySelectorAll('#list li').length === 3")
        assert press("#list li:nth-child(3) .up") == "Move up: frame 3.png"
        assert press("#list li:nth-child(2) .up") == "Move down: frame 3.png"
        assert press("#list li:nth-child(3) .remove") == "Remove: frame 1.png"
        assert press("#list li:nth-child(2) .remove") == "Remove: frame 3.png"
        assert press("#list li:nth-child(1) .remove") == "choose"

    await using(act)


async def test_a_refusal_is_shown_at_the_file_and_can_be_tried_again(
    page: UploadPage, kubeez: Kubeez, chromium: Chromium, pictures: list[Path]
) -> None:
    session = await page.open_session("seedance-2-0", ["image"], 4)
    kubeez.away = True

    def act() -> None:
        chromium.open(session.url)
        chromium.wait_for("document.body.innerText.includes('seedance-2-0')")
        chromium.choose("#picker", pictures[:2])
        chromium.click("#send")
        chromium.wait_for("document.querySelector('li.failed') !== null")
        assert "Kubeez does not answer. Try again in a minute." in chromium.text()
        kubeez.away = False
        chromium.click("#send")
        chromium.wait_for("!document.querySelector('#arrived').hidden")

    await using(act)
    assert kubeez.names == ["frame 1.png", "frame 2.png"]


async def test_a_type_the_browser_does_not_know_still_gets_a_real_one(
    page: UploadPage, kubeez: Kubeez, chromium: Chromium, tmp_path: Path
) -> None:
    await anyio.Path(tmp_path / "clip.mkv").write_bytes(encoded("matroska", video="libx264", seconds=1.0))
    session = await page.open_session("seedance-2-0", ["video"], 1)

    def act() -> None:
        chromium.open(session.url)
        chromium.wait_for("document.body.innerText.includes('seedance-2-0')")
        chromium.choose("#picker", [tmp_path / "clip.mkv"])
        chromium.click("#send")
        chromium.wait_for("!document.querySelector('#arrived').hidden")

    await using(act)
    assert kubeez.types == ["video/x-matroska"]
    assert page.session(session.token)["media"][0]["duration_seconds"] == pytest.approx(1.0, abs=0.1)


async def test_another_site_cannot_use_the_session(page: UploadPage, kubeez: Kubeez, chromium: Chromium) -> None:
    mine = await page.open_session("mine", ["image"], 1)
    other_name = mine.url.replace("127.0.0.1", "localhost")

    def act() -> None:
        chromium.open(other_name)
        chromium.wait_for("document.body.innerText.includes('mine')")
        outcome = chromium.evaluate(
            "(async () => { const form = new FormData(); form.append('token', location.pathname.split('/').pop());"
            "form.append('file', new File(['x'], 'a.png', {type: 'image/png'}));"
            f"try {{ await fetch('{mine.direct_upload_url}', {{method: 'POST', body: form, mode: 'no-cors'}});"
            "return 'sent' } catch { return 'blocked' } })()"
        )
        assert outcome == "blocked"

    await using(act)
    assert kubeez.names == []


async def test_a_wrong_link_explains_itself(page: UploadPage, chromium: Chromium) -> None:
    session = await page.open_session("mine", ["image"], 1)

    def act() -> None:
        chromium.open(session.url[:-4] + "none")
        assert "This link is not valid" in chromium.text()

    await using(act)


async def test_it_has_a_light_and_a_dark_look(page: UploadPage, chromium: Chromium) -> None:
    session = await page.open_session("mine", ["image"], 1)
    looks: dict[str, str] = {}

    def act() -> None:
        chromium.open(session.url)
        for scheme in ("light", "dark"):
            chromium.prefer(scheme)
            looks[scheme] = chromium.evaluate("getComputedStyle(document.body).backgroundColor")

    await using(act)
    assert looks["light"] != looks["dark"]


async def test_a_question_is_answered_with_one_of_two_buttons(chromium: Chromium, pictures: list[Path]) -> None:
    async def drawn() -> tuple[bytes, str]:
        return await anyio.Path(pictures[0]).read_bytes(), "image/png"

    words = ("Make an image or video: z-image for 4 credits.", "Balance afterwards: 996 credits.")
    prompt = "a <b>kite</b>\nover 'the' sea"
    async with anyio.create_task_group() as tasks:
        pages = ApprovalPage(tasks.start_soon)
        until = pages.clock() + 600
        question = Asked("", "Pay 4 credits?", words, prompt, "Yes, pay 4 credits", "Sandbox.", picture=drawn)
        asked = [pages.put(replace(question, identity=name), until) for name in ("yes", "no", "over")]
        ticks = (("row_1", "Mine: 1) a kite"), ("none_of_these", "None of these"))
        asked.append(pages.put(replace(question, identity="ticks", yes="That is it", choices=ticks), until))
        pages.withdraw(asked[2])

        def steps() -> None:
            chromium.open(asked[0].url)
            chromium.wait_for("!document.querySelector('#picture').hidden")
            for said in ("Pay 4 credits?", *words, prompt, "Sandbox."):
                assert said in chromium.text()
            assert asked[0].answer is None
            chromium.click("#yes")
            chromium.wait_for("!document.querySelector('#said').hidden")
            assert "You said yes. Tell your assistant to go on" in chromium.text()
            assert not chromium.evaluate("document.querySelector('#yes').checkVisibility()")
            chromium.open(asked[1].url)
            chromium.wait_for("!document.querySelector('#question').hidden")
            chromium.click("#no")
            chromium.wait_for("!document.querySelector('#said').hidden")
            assert "You said no. Nothing is paid." in chromium.text()
            assert chromium.complaints() == []
            chromium.open(asked[2].url)
            chromium.wait_for("!document.querySelector('#message').hidden")
            assert "this question is over" in chromium.text()
            assert not chromium.evaluate("document.querySelector('#yes').checkVisibility()")

            chromium.open(asked[3].url)
            chromium.wait_for("!document.querySelector('#choices').hidden")
            chromium.click("#yes")
            chromium.wait_for("!document.querySelector('#message').hidden")
            assert "Tick what applies first." in chromium.text()
            chromium.click("input[value=row_1]")
            chromium.click("#yes")
            chromium.wait_for("!document.querySelector('#said').hidden")
            assert "Thank you. Tell your assistant to go on" in chromium.text()

        await using(steps)
        assert [each.answer for each in asked] == [True, False, None, True]
        assert asked[3].chosen == {"row_1"}
        assert chromium.requested() == {asked[0].url.split("/")[2]}
        tasks.cancel_scope.cancel()


async def test_somebody_signs_in_to_the_hosted_server_and_the_page_says_how_it_went(
    chromium: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, ring := MemoryKeyring())
    ended: list[tuple[str, str]] = []

    async def signed_in(url: str, answer: str) -> None:
        """Sign in while somebody clicks on `answer`, which is what the browser does not wait for."""
        async with listening() as place, anyio.create_task_group() as tasks:

            def click() -> None:
                chromium.wait_for(f"!!document.querySelector('button[value={answer}]')")
                chromium.click(f"button[value={answer}]")
                chromium.wait_for("location.pathname === '/done' && document.readyState === 'complete'")
                ended.append((chromium.text(), chromium.evaluate("location.href")))

            async def show(address: str) -> None:
                await anyio.to_thread.run_sync(chromium.open, address)
                tasks.start_soon(using, click)

            with suppress(SignInFailedError):
                await keep_sign_in(SigningIn(f"{url}/mcp", place, show), config_file())

    with running_sandbox(tmp_path / "hosted", hosted=True) as sandbox:
        await signed_in(sandbox.url, "deny")
        assert ring.kept == {}
        await signed_in(sandbox.url, "allow")
    [text] = ring.kept.values()
    kept = Kept.read(text)
    assert kept is not None
    assert "generate:media" in kept.scopes
    (no, _), (yes, address) = ended
    assert "You are not signed in" in no
    assert "The sign-in was declined in the browser." in no
    assert "You are signed in" in yes
    assert "?" not in address, "the code does not stay in the address"
    assert [each for each in chromium.complaints() if "favicon" not in str(each)] == []
