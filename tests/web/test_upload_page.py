from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.media.containers import Measured
from kubeez_mcp_local.media.sniff import MediaType
from kubeez_mcp_local.web.sessions import Sessions, UploadError
from kubeez_mcp_local.web.upload_page import UploadPage, UploadSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

PNG, JPEG, MP4, MP3 = b"PNG picture", b"JPEG picture", b"MP4 film", b"MP3 sound"


@dataclass
class Program:
    """Stands in for the program behind the page: files of these tests begin with the name of their type."""

    delivered: list[tuple[str, str, bytes]] = field(default_factory=list)
    fail_on: str = ""
    gate: anyio.Event | None = None
    sizes: dict[str, Measured] = field(default_factory=dict)
    now: float = 1_000_000.0
    free: int = 10**12

    def sniff(self, path: Path) -> MediaType:
        known = {
            b"PNG": MediaType("image/png", "image", ".bin"),
            b"JPEG": MediaType("image/jpeg", "image", ".bin"),
            b"MP4": MediaType("video/mp4", "video", ".bin"),
            b"MP3": MediaType("audio/mpeg", "audio", ".bin"),
        }
        found = known.get(path.read_bytes()[:16].split(b" ")[0])
        if found is None:
            raise KubeezError(f"{path.name} cannot be used.", next_step="Choose another file.")
        return found

    async def measure(self, path: Path) -> Measured:
        return self.sizes.get(self.sniff(path).kind, Measured())

    async def deliver(self, path: Path, content_type: object, name: str) -> str:
        if self.gate is not None:
            await self.gate.wait()
        if name == self.fail_on:
            raise KubeezError("The API is away.", next_step="Try again later.")
        assert isinstance(content_type, MediaType)
        self.delivered.append((name, content_type.mime, await anyio.Path(path).read_bytes()))
        return f"https://media.example.com/{len(self.delivered)}"


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
async def page(program: Program, tmp_path: Path) -> AsyncIterator[UploadPage]:
    async with anyio.create_task_group() as tasks:
        yield UploadPage(
            program.deliver,
            tmp_path / "inbox",
            start=tasks.start_soon,
            sniff=program.sniff,
            measure=program.measure,
            max_file_bytes=1000,
            notice="This is the sandbox.",
            sessions=Sessions(clock=lambda: program.now),
            free_bytes=lambda _: program.free,
        )
        tasks.cancel_scope.cancel()


@pytest.fixture
async def session(page: UploadPage) -> UploadSession:
    return await page.open_session("seedance", ["image", "video", "audio"], 4)


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=60) as client:
        yield client


Part = tuple[str, tuple[str, bytes, str]]


def part(content: bytes, name: str = "a.png", mime: str = "image/png") -> Part:
    return ("file", (name, content, mime))


async def post(
    client: httpx.AsyncClient, session: UploadSession, *parts: Part, token: str | None = None, **headers: str
) -> httpx.Response:
    data = {"token": session.token if token is None else token}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(session.direct_upload_url, data=data, files=list(parts), headers=sent)


class TestDirectUpload:
    async def test_files_are_handed_on_in_order(
        self, page: UploadPage, session: UploadSession, browser: httpx.AsyncClient, program: Program
    ) -> None:
        answer = await post(browser, session, part(PNG, "first.png"), part(JPEG, "last.jpg", "image/jpeg"))

        assert answer.status_code == 200
        assert answer.json()["media_urls"] == ["https://media.example.com/1", "https://media.example.com/2"]
        assert program.delivered == [("first.png", "image/png", PNG), ("last.jpg", "image/jpeg", JPEG)]
        await post(browser, session, part(PNG, "third.png"))
        assert page.session(session.token)["media_urls"][-1] == "https://media.example.com/3"

    async def test_the_session_answers_like_the_hosted_one(
        self, page: UploadPage, session: UploadSession, browser: httpx.AsyncClient, program: Program
    ) -> None:
        program.sizes = {"image": Measured(None, 640, 480), "video": Measured(4.5, 1280, 720), "audio": Measured(2.25)}
        assert page.session(session.token)["billing_readiness"] == "pessimistic_fallback"
        await post(browser, session, part(PNG), part(MP4, "b.mp4", "video/mp4"), part(MP3, "c.mp3", "audio/mpeg"))
        await post(browser, session, part(MP4, "d.mp4", "video/mp4"))

        state = page.session(session.token)

        assert state["count"] == 4
        assert state["total_video_seconds"] == 9.0
        assert state["total_audio_seconds"] == 2.25
        assert (state["unknown_duration_count"], state["billing_readiness"]) == (0, "exact")
        assert state["media"][:2] == [
            {
                "url": "https://media.example.com/1",
                "kind": "image",
                "mime_type": "image/png",
                "file_size_bytes": len(PNG),
                "name": "a.png",
                "width": 640,
                "height": 480,
            },
            {
                "url": "https://media.example.com/2",
                "kind": "video",
                "mime_type": "video/mp4",
                "file_size_bytes": len(MP4),
                "name": "b.mp4",
                "duration_seconds": 4.5,
                "width": 1280,
                "height": 720,
            },
        ]

    async def test_what_is_damaged_is_refused_and_nothing_of_it_kept(
        self, page: UploadPage, session: UploadSession, browser: httpx.AsyncClient, program: Program
    ) -> None:
        program.sizes = {"video": Measured(damage="it was cut off")}
        answer = await post(browser, session, part(MP4, "b.mp4", "video/mp4"))
        assert (answer.status_code, "'b.mp4' is damaged: it was cut off" in answer.text) == (400, True)
        assert page.session(session.token)["media"] == []

    async def test_what_cannot_be_measured_is_said(
        self,
        page: UploadPage,
        session: UploadSession,
        browser: httpx.AsyncClient,
        program: Program,
    ) -> None:
        program.sizes = {"video": Measured()}
        await post(browser, session, part(MP4, "b.mp4", "video/mp4"))
        state = page.session(session.token)
        assert state["media"][0]["measurement"] == "unavailable"
        assert (state["unknown_duration_count"], state["billing_readiness"]) == (1, "pessimistic_fallback")

    async def test_the_file_is_removed_once_it_is_handed_on(
        self, session: UploadSession, browser: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        await post(browser, session, part(PNG))
        await post(browser, session, part(b"nonsense"))
        assert left_in(tmp_path / "inbox") == []

    async def test_the_token_may_be_a_field_as_well_wherever_it_stands(
        self, session: UploadSession, browser: httpx.AsyncClient, program: Program
    ) -> None:
        body = multipart(("file", "a.png", "image/png", PNG), ("token", None, None, session.token.encode()))
        answer = await browser.post(session.direct_upload_url, content=body, headers=FORM)
        assert answer.status_code == 200
        assert program.delivered == [("a.png", "image/png", PNG)]

    async def test_a_large_file_arrives_whole(
        self, program: Program, tmp_path: Path, browser: httpx.AsyncClient
    ) -> None:
        content = PNG + b" " + bytes(range(256)) * 20_000
        async with anyio.create_task_group() as tasks:
            page = UploadPage(
                program.deliver, tmp_path, start=tasks.start_soon, sniff=program.sniff, measure=program.measure
            )
            session = await page.open_session("model", ["image"], 1)
            assert (await post(browser, session, part(content))).status_code == 200
            tasks.cancel_scope.cancel()
        assert program.delivered[0][2] == content

    async def test_large_files_lie_nowhere_but_in_the_inbox(
        self, program: Program, tmp_path: Path, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def nowhere(*_: object, **__: object) -> object:
            raise AssertionError("a file outside of the inbox")

        monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", nowhere)
        program.gate = anyio.Event()
        inbox = tmp_path / "inbox"
        async with anyio.create_task_group() as tasks:
            page = UploadPage(
                program.deliver, inbox, start=tasks.start_soon, sniff=program.sniff, measure=program.measure
            )
            session = await page.open_session("model", ["image"], 1)
            tasks.start_soon(post, browser, session, part(PNG + b" " + bytes(3_000_000)))
            with anyio.fail_after(60):
                await until(lambda: [len(path.read_bytes()) for path in inbox.glob("*/0000")] == [3_000_012])
            program.gate.set()
            with anyio.fail_after(60):
                await until(lambda: len(program.delivered) == 1 and left_in(inbox) == [])
            tasks.cancel_scope.cancel()

    async def test_the_examples_work(
        self, session: UploadSession, browser: httpx.AsyncClient, tmp_path: Path, program: Program
    ) -> None:
        for name in ("first.png", "last.png"):
            await anyio.Path(tmp_path / name).write_bytes(PNG)
        done = await anyio.run_process(["sh", "-c", session.direct_upload_curl_example], cwd=tmp_path)
        assert b'"count":2' in done.stdout
        assert [name for name, _, _ in program.delivered] == ["first.png", "last.png"]
        compile(session.direct_upload_python_example, "example", "exec")


class TestRefusals:
    @pytest.mark.parametrize("claim", ["application/octet-stream", "binary/octet-stream"])
    async def test_a_part_without_a_real_media_type(
        self, session: UploadSession, browser: httpx.AsyncClient, program: Program, claim: str
    ) -> None:
        answer = await post(browser, session, part(PNG, "a.png", claim))
        assert (answer.status_code, answer.json()["error"]) == (400, "media_type_required")
        assert "real media type" in answer.json()["message"]
        assert "type=image/png" in answer.json()["next_step"]
        assert not program.delivered

    async def test_a_part_without_any_type(self, session: UploadSession, browser: httpx.AsyncClient) -> None:
        body = multipart(("token", None, None, session.token.encode()), ("file", "a.png", None, PNG))
        answer = await browser.post(session.direct_upload_url, content=body, headers=FORM)
        assert answer.json()["error"] == "media_type_required"

    async def test_content_that_is_of_another_kind_than_it_claims(
        self, session: UploadSession, browser: httpx.AsyncClient, program: Program
    ) -> None:
        answer = await post(browser, session, part(PNG), part(MP4, "b.png", "image/png"))
        assert (answer.status_code, answer.json()["error"]) == (400, "media_type_mismatch")
        assert not program.delivered

    async def test_a_picture_that_is_only_named_wrongly_is_taken_as_what_it_is(
        self, session: UploadSession, browser: httpx.AsyncClient, program: Program
    ) -> None:
        assert (await post(browser, session, part(JPEG, "a.png", "image/png"))).status_code == 200
        assert program.delivered == [("a.png", "image/jpeg", JPEG)]

    async def test_content_that_is_not_accepted_at_all(
        self, session: UploadSession, browser: httpx.AsyncClient
    ) -> None:
        answer = await post(browser, session, part(b"<html>", "trick.png"))
        assert answer.status_code == 400
        assert answer.json()["message"].startswith("trick.png cannot be used")

    async def test_a_kind_the_model_does_not_take(self, page: UploadPage, browser: httpx.AsyncClient) -> None:
        session = await page.open_session("model", ["image"], 2)
        answer = await post(browser, session, part(MP4, "b.mp4", "video/mp4"))
        assert answer.json()["error"] == "kind_not_accepted"

    async def test_more_files_than_the_model_takes(
        self, session: UploadSession, browser: httpx.AsyncClient, program: Program
    ) -> None:
        assert (await post(browser, session, part(PNG), part(PNG), part(PNG))).status_code == 200
        answer = await post(browser, session, part(PNG), part(PNG))
        assert answer.json()["error"] == "too_many_files"
        assert len(program.delivered) == 3

    async def test_a_file_that_is_too_large_or_empty(
        self, session: UploadSession, browser: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        large = await post(browser, session, part(PNG + b"x" * 1000))
        empty = await post(browser, session, part(b""))
        assert (large.status_code, large.json()["error"]) == (413, "file_too_large")
        assert (empty.status_code, empty.json()["error"]) == (400, "file_empty")
        assert left_in(tmp_path / "inbox") == []

    async def test_a_wrong_token(self, session: UploadSession, browser: httpx.AsyncClient, program: Program) -> None:
        base = session.direct_upload_url.removesuffix(session.token)
        for url in (f"{base}wrong", f"{base}%C3%A4", f"{base}{session.token}x"):
            answer = await browser.post(url, files=[part(PNG)])
            assert (answer.status_code, answer.json()["error"]) == (404, "unknown_upload_session")
        for token in ("", "wrong", "ä"):
            answer = await post(browser, session, part(PNG), token=token)
            assert (answer.status_code, answer.json()["error"]) == (404, "unknown_upload_session")
        assert not program.delivered

    async def test_what_cannot_be_taken_is_refused_before_its_body_is_sent(
        self, page: UploadPage, session: UploadSession, browser: httpx.AsyncClient, program: Program
    ) -> None:
        full = await page.open_session("model", ["image"], 1)
        await post(browser, full, part(PNG))
        cases = {
            404: (session.direct_upload_url + "x", 10),
            413: (session.direct_upload_url, 4 * 1000 + 64 * 1024 + 1),
            400: (full.direct_upload_url, 10),
            507: (session.direct_upload_url, 2000),
        }
        program.free = 64 * 1024 * 1024 + 1999
        for status, (url, length) in cases.items():
            assert await status_of_announced(url, length) == status
        program.now += 3600
        assert await status_of_announced(session.direct_upload_url, 10) == 410

    async def test_a_body_of_unknown_length_is_bounded_all_the_same(
        self, session: UploadSession, browser: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        async def endless() -> AsyncIterator[bytes]:
            yield b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            for _ in range(60):
                yield bytes(2000)

        answer = await browser.post(session.direct_upload_url, content=endless(), headers=FORM)
        assert answer.status_code == 413
        assert left_in(tmp_path / "inbox") == []

    async def test_an_expired_session(
        self, page: UploadPage, session: UploadSession, browser: httpx.AsyncClient, program: Program
    ) -> None:
        await post(browser, session, part(PNG))
        program.now += 3600
        answer = await post(browser, session, part(PNG))
        assert (answer.status_code, answer.json()["error"]) == (410, "upload_session_expired")
        state = page.session(session.token)
        assert (state["expired"], state["count"]) == (True, 1)

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"", "multipart/form-data; boundary=x"),
            (b"--x\r\n", "multipart/form-data; boundary=x"),
            (b"garbage", "multipart/form-data; boundary=x"),
            (b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\nContent-Type: image/png\r\n\r\nPNG",
             "multipart/form-data; boundary=x"),
            (b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\nContent-Type: a/b\r\n\r\nPNG\r\n--x\r\n",
             "multipart/form-data; boundary=x"),
            (b"{}", "application/json"),
            (b"", "multipart/form-data"),
            (b"--x\r\nContent-Disposition: form-data; name=token\r\n\r\n" + b"t" * 5000 + b"\r\n--x--\r\n",
             "multipart/form-data; boundary=x"),
        ],
    )  # fmt: skip
    async def test_broken_forms(
        self, session: UploadSession, browser: httpx.AsyncClient, program: Program, body: bytes, content_type: str
    ) -> None:
        answer = await browser.post(session.direct_upload_url, content=body, headers={"Content-Type": content_type})
        assert (answer.status_code, answer.json()["error"]) == (400, "malformed_form")
        assert answer.json()["next_step"]
        assert not program.delivered

    async def test_a_form_without_files_or_with_another_field_name(
        self, session: UploadSession, browser: httpx.AsyncClient
    ) -> None:
        none = await browser.post(session.direct_upload_url, files={"token": (None, session.token)})
        other = await post(browser, session, ("upload", ("a.png", PNG, "image/png")))
        assert (none.json()["error"], other.json()["error"]) == ("malformed_form", "malformed_form")

    async def test_a_failure_behind_the_page_keeps_what_went_before(
        self, page: UploadPage, session: UploadSession, browser: httpx.AsyncClient, program: Program
    ) -> None:
        program.fail_on = "b.png"
        answer = await post(browser, session, part(PNG, "a.png"), part(PNG, "b.png"), part(PNG, "c.png"))
        assert (answer.status_code, answer.json()["message"]) == (502, "The API is away.")
        assert page.session(session.token)["media_urls"] == ["https://media.example.com/1"]

    async def test_an_inbox_that_cannot_be_written(
        self, session: UploadSession, browser: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        await anyio.Path(tmp_path / "inbox").write_text("a file")
        assert (await post(browser, session, part(PNG))).status_code == 507

    async def test_unknown_sessions_and_models_without_inputs(self, page: UploadPage) -> None:
        with pytest.raises(UploadError, match="no upload session"):
            page.session("invented")
        for kinds, most in (([], 3), (["image"], 0)):
            with pytest.raises(InvalidArgumentError, match="takes no files"):
                await page.open_session("text-only", kinds, most)  # type: ignore[arg-type]


class TestWhoMayAsk:
    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1", "http://evil.example:80"]
    )
    async def test_other_sites_cannot_post(
        self, session: UploadSession, browser: httpx.AsyncClient, program: Program, origin: str
    ) -> None:
        answer = await post(browser, session, part(PNG), origin=origin)
        assert (answer.status_code, answer.json()["error"]) == (403, "foreign_request")
        assert not program.delivered

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1", "localhost:1", ""])
    async def test_other_names_of_this_machine_are_refused(
        self, session: UploadSession, browser: httpx.AsyncClient, host: str
    ) -> None:
        assert (await browser.get(session.url, headers={"Host": host})).status_code in (400, 403)

    async def test_a_cross_site_request_without_origin_is_refused(
        self, session: UploadSession, browser: httpx.AsyncClient
    ) -> None:
        assert (await post(browser, session, part(PNG), sec_fetch_site="cross-site")).status_code == 403

    async def test_the_page_itself_and_localhost_are_let_through(
        self, session: UploadSession, browser: httpx.AsyncClient
    ) -> None:
        own = session.url.partition("/u/")[0]
        assert (await post(browser, session, part(PNG), origin=own, sec_fetch_site="same-origin")).status_code == 200
        fallback = await browser.post(
            session.direct_upload_fallback_url, data={"token": session.token}, files=[part(PNG)]
        )
        assert fallback.status_code == 200

    async def test_no_site_may_read_frame_or_cache_an_answer(
        self, session: UploadSession, browser: httpx.AsyncClient
    ) -> None:
        for answer in (await browser.get(session.url), await post(browser, session, part(PNG), token="wrong")):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in answer.headers

    def test_tokens_are_long_and_differ(self) -> None:
        sessions = Sessions()
        tokens = {sessions.open("model", ("image",), 1).token for _ in range(100)}
        assert len(tokens) == 100
        assert min(map(len, tokens)) >= 43


class TestPage:
    async def test_it_needs_nothing_from_elsewhere(self, session: UploadSession, browser: httpx.AsyncClient) -> None:
        page = await browser.get(session.url)
        assert page.headers["content-type"].startswith("text/html")
        for name in ("upload.css", "upload.js", "icon.svg"):
            assert f"/static/{name}" in page.text
            file = await browser.get(f"{session.url.partition('/u/')[0]}/static/{name}")
            assert file.status_code == 200
            assert "http://" not in file.text.replace("http://www.w3.org/2000/svg", "")
            assert "https://" not in file.text
        assert "http" not in page.text.replace("http-equiv", "")
        assert session.token not in page.text

    async def test_its_state_tells_the_rules(self, session: UploadSession, browser: httpx.AsyncClient) -> None:
        state = (await browser.get(f"{session.url}/state")).json()
        assert state["model_id"] == "seedance"
        assert state["accepted_kinds"] == ["image", "video", "audio"]
        assert (state["max_files"], state["max_file_bytes"], state["count"]) == (4, 1000, 0)
        assert state["notice"] == "This is the sandbox."

    async def test_a_wrong_link_says_so(self, session: UploadSession, browser: httpx.AsyncClient) -> None:
        wrong = session.url[:-3] + "abc"
        page = await browser.get(wrong)
        assert page.status_code == 404
        assert "not valid" in page.text
        assert (await browser.get(f"{wrong}/state")).status_code == 404

    async def test_nothing_else_is_served(self, session: UploadSession, browser: httpx.AsyncClient) -> None:
        base = session.url.partition("/u/")[0]
        for path in ("/", "/static/upload.html", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/docs"):
            assert (await browser.get(base + path)).status_code == 404
        assert (await browser.get(session.direct_upload_url)).status_code == 405


class TestLife:
    async def test_no_port_is_opened_before_the_first_session(self, page: UploadPage) -> None:
        assert page.port is None

    async def test_sessions_share_one_server(self, page: UploadPage) -> None:
        first = await page.open_session("one", ["image"], 1)
        second = await page.open_session("two", ["image"], 1)
        assert first.direct_upload_url.rpartition("/")[0] == second.direct_upload_url.rpartition("/")[0]
        assert first.token != second.token
        assert first.expires_in_seconds == 3600

    async def test_files_do_not_cross_sessions(
        self, page: UploadPage, session: UploadSession, browser: httpx.AsyncClient
    ) -> None:
        other = await page.open_session("other", ["image"], 1)
        await post(browser, session, part(PNG))
        assert page.session(other.token)["media"] == []

    async def test_it_closes_when_all_sessions_have_expired_and_opens_anew(
        self, program: Program, tmp_path: Path, browser: httpx.AsyncClient
    ) -> None:
        slept: list[float] = []
        expire = anyio.Event()

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await expire.wait()
            program.now += seconds

        async with anyio.create_task_group() as tasks:
            page = UploadPage(
                program.deliver,
                tmp_path,
                start=tasks.start_soon,
                sniff=program.sniff,
                measure=program.measure,
                sessions=Sessions(clock=lambda: program.now),
                sleep=sleep,
            )
            session = await page.open_session("model", ["image"], 1)
            assert (await browser.get(session.url)).status_code == 200
            expire.set()
            with anyio.fail_after(60):
                await until(lambda: page.port is None)
                while await answers(browser, session.url):
                    pass
            assert slept == [3600.0]
            assert page.session(session.token)["expired"]
            expire = anyio.Event()
            again = await page.open_session("model", ["image"], 1)
            assert (await browser.get(again.url)).status_code == 200
            tasks.cancel_scope.cancel()

    async def test_it_ends_at_once_with_the_program_even_during_an_upload(
        self, program: Program, tmp_path: Path, browser: httpx.AsyncClient
    ) -> None:
        program.gate = anyio.Event()
        async with anyio.create_task_group() as senders:
            async with anyio.create_task_group() as tasks:
                page = UploadPage(
                    program.deliver, tmp_path, start=tasks.start_soon, sniff=program.sniff, measure=program.measure
                )
                session = await page.open_session("model", ["image"], 1)

                async def send() -> None:
                    with pytest.raises(httpx.TransportError):
                        await post(browser, session, part(PNG))

                senders.start_soon(send)
                with anyio.fail_after(60):
                    await until(lambda: bool(left_in(tmp_path)))
                started = anyio.current_time()
                tasks.cancel_scope.cancel()
            assert anyio.current_time() - started < 0.3


FORM = {"Content-Type": "multipart/form-data; boundary=edge"}


def multipart(*parts: tuple[str, str | None, str | None, bytes]) -> bytes:
    """A form as a program might write it by hand: field, file name, media type, content."""
    body = b""
    for field_name, name, mime, content in parts:
        filename = f'; filename="{name}"' if name else ""
        kind = f"Content-Type: {mime}\r\n" if mime else ""
        body += f'--edge\r\nContent-Disposition: form-data; name="{field_name}"{filename}\r\n{kind}\r\n'.encode()
        body += content + b"\r\n"
    return body + b"--edge--\r\n"


async def status_of_announced(url: str, length: int) -> int:
    """The status of the answer to a form of which only the announcement is sent."""
    parts = httpx.URL(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc.decode()}\r\nContent-Length: {length}\r\n"
        f"Content-Type: {FORM['Content-Type']}\r\n\r\n"
    )
    with anyio.fail_after(60):
        async with await anyio.connect_tcp("127.0.0.1", parts.port or 0) as guest:
            await guest.send(head.encode())
            return int((await guest.receive()).split(b" ")[1])


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


async def answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        await client.get(url)
    except httpx.TransportError:
        return False
    return True


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - waits for real sockets, which set no event
        await anyio.sleep(0.005)
