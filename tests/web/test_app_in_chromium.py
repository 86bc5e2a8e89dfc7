"""The page of MCP Apps in a real browser, inside a host that speaks by the protocol makers' own bridge."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import pytest
from mcp import Client, MCPError

from kubeez_mcp_local.mcp_server.app import PREVIEWS, RUNS, page
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.mcp_server.tools import recipes
from kubeez_mcp_local.rest.routes import SCOPES
from kubeez_mcp_local.settings import Mode
from tests.e2e.node_tools import node_tools
from tests.mcp_server.driving import SPEED, bridge_of
from tests.sandbox_server import KEY, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sandbox_server import RunningSandbox
    from tests.web.conftest import Chromium

pytestmark = [pytest.mark.xdist_group("app in chromium"), pytest.mark.long]

HOSTILE = '<img src=x onerror="document.title=1">\u202eexe.gnp </script><b>bold</b>\n\n' + "very " * 60 + "long"
ALL: dict[str, Any] = {"serverTools": {}, "serverResources": {}, "openLinks": {}, "message": {"text": {}}}
DARK = {
    "theme": "dark",
    "styles": {"variables": {"--color-background-primary": "#101418", "--color-text-primary": "#e8eef4"}},
}


@dataclass
class Made:
    """Results as the server gave them, and what it answers when the page reads."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    reads: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(json.dumps(self.results[name]))
        return result

    async def keep(self, client: Client, name: str, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool; keep its result as it goes over the wire, and the previews that the page may read of it."""
        result = await client.call_tool(tool, arguments)
        self.results[name] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        told = result.structured_content or {}
        await self.read(client, *(PREVIEWS + quote(file["path"], safe="") for file in told.get("files", ())))
        if told.get("sheet"):
            await self.read(client, PREVIEWS + quote(told["sheet"], safe=""))
        return told

    async def read(self, client: Client, *uris: str) -> None:
        for uri in uris:
            try:
                found = await client.read_resource(uri)
            except MCPError:
                continue
            self.reads[uri] = found.model_dump(mode="json", by_alias=True, exclude_none=True)


async def _make(api: RunningSandbox, folder: Path) -> Made:
    made = Made()
    async with Client(KubeezServer(bridge_of(api, folder))) as client:

        async def finished(name: str, tool: str, /, **arguments: Any) -> None:
            started = await client.call_tool(tool, arguments)
            ids = ",".join((started.structured_content or {})["generation_ids"])
            await made.keep(client, name, "wait_for_generation", id=ids)

        await finished("pictures", "generate_media", prompt="a red kite over the sea", model="z-image", variant_count=2)
        await finished("hostile", "generate_media", prompt=HOSTILE, model="z-image", name="../<b>kite</b> & co")
        await finished("film", "generate_media", prompt="waves", model="seedance-1-5-pro-480p-4s-audio")
        await finished("song", "generate_music", prompt="a slow waltz")
        await made.keep(client, "one", "get_generation", id=made["hostile"]["structuredContent"]["generation_id"])
        arguments = {"brief": "Tea for the night"}
        run = await made.keep(client, "run", "run_recipe", name="three-ad-variants", arguments=arguments)
        await made.read(client, RUNS + run["run_id"])
        other = {"brief": "Coffee at dawn"}
        await made.keep(client, "quoted", "run_recipe", name="three-ad-variants", arguments=other, quote_only=True)
        await made.keep(client, "views", "view_media", output_id=run["run_id"])
        await made.keep(client, "refused", "get_generation", id="no-such-job")
        api.control.knobs(fail_next=1, failure_message="The provider refused <i>this</i> prompt.")
        await finished("failed", "generate_media", prompt="a storm", model="z-image")
        api.control.knobs(speed=0.001)
        started = await client.call_tool("generate_media", {"prompt": "a slow kite", "model": "z-image"})
        name = (started.structured_content or {})["generation_id"]
        await made.keep(client, "running", "wait_for_generation", id=name, timeout_seconds=1)
        api.control.knobs(speed=SPEED)
        await made.keep(client, "finished", "wait_for_generation", id=name)
        api.control.knobs(speed=0.001)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipes, "RUN_PATIENCE", 0.5)
            going = await made.keep(client, "running run", "run_recipe", name="three-ad-variants", arguments=other)
        await made.read(client, RUNS + going["run_id"])
        api.control.knobs(speed=SPEED)
        await made.keep(client, "finished run", "run_recipe", name="three-ad-variants", arguments=other)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    with running_sandbox(folder / "api", speed=SPEED, rate_limits="off") as api:
        api.control.knobs(assumed_routes=True)
        api.control.key(KEY, credits=100_000, scopes=list(SCOPES))
        return anyio.run(partial(_make, api, folder))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the host is; the page stands under another name, with the policy that hosts make of what it declares."""
    tools = node_tools()
    script = tmp_path_factory.mktemp("host") / "host.js"
    programs = tools / "node_modules" / ".bin"
    subprocess.run(
        [programs / "esbuild", "--bundle", "--minify", "--log-level=error", f"--outfile={script}"],
        cwd=tools,
        input=Path(__file__).with_name("app_host.js").read_bytes(),
        check=True,
        timeout=60,
        env={**os.environ, "PATH": os.pathsep.join([str(programs), os.environ["PATH"]])},
    )
    shell = "<!doctype html><meta charset=utf-8><title>host</title><style>iframe{border:0;width:100%}</style>"
    with serving(
        {
            "/": (f"{shell}<body><script src=/host.js></script>".encode(), "text/html", ""),
            "/host.js": (script.read_bytes(), "text/javascript", ""),
            "/favicon.ico": (b"", "image/png", ""),
            "/sandbox": (str(page(Mode.SANDBOX).content).encode(), "text/html", policy(Mode.SANDBOX)),
            "/live": (str(page(Mode.LIVE).content).encode(), "text/html", policy(Mode.LIVE)),
        }
    ) as url:
        yield url


def policy(mode: Mode) -> str:
    """What the specification has hosts make of the declared domains."""
    ui = (page(mode).meta or {})["ui"]
    domains = " ".join(ui.get("csp", {}).get("resourceDomains", ()))
    inline = f"'self' 'unsafe-inline' {domains}"
    return (
        f"default-src 'none'; script-src {inline}; style-src {inline}; img-src 'self' data: {domains}; "
        f"media-src 'self' data: {domains}; font-src 'self' {domains}; connect-src 'self'; frame-src 'none'; "
        "object-src 'none'; base-uri 'self'"
    )


@contextmanager
def serving(files: dict[str, tuple[bytes, str, str]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content, kind, rules = files[self.path]
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            if rules:
                self.send_header("Content-Security-Policy", rules)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@dataclass
class Shown:
    """The page as a host shows it."""

    chromium: Chromium
    host: str
    made: Made
    opened: bool = False

    def show(
        self,
        result: dict[str, Any] | None,
        *,
        live: bool = False,
        width: int = 720,
        context: dict[str, Any] | None = None,
        capabilities: dict[str, Any] = ALL,
        calls: tuple[dict[str, Any], ...] = (),
        reads: dict[str, Any] | None = None,
        refuses: tuple[str, ...] = (),
    ) -> None:
        browser = self.chromium
        browser.leave_frame()
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        if not self.opened:
            browser.open(f"{self.host}/")
            self.opened = True
        address = f"{self.host.replace('127.0.0.1', 'localhost')}/{'live' if live else 'sandbox'}"
        told = {
            "address": address,
            "capabilities": capabilities,
            "context": context or {},
            "input": {"id": "gen-1"},
            "result": result,
            "reads": self.made.reads if reads is None else reads,
            "calls": list(calls),
            "refuses": list(refuses),
        }
        browser.evaluate(f"start({json.dumps(told)})")
        browser.enter_frame(address)
        told_to_wait = "document.querySelector('.state').textContent === 'Waiting'"
        browser.wait_for(
            f"!({told_to_wait})" if result else f"{told_to_wait} && document.body.innerText.includes('gen-1')"
        )

    def asked(self, method: str) -> list[Any]:
        found = self.chromium.in_page("asked")
        return [params for name, params in found if name == method]

    def ready(self) -> None:
        """Wait until every preview is there, and the frame as high as the page."""
        self.chromium.wait_for("!document.querySelector('.loading')")
        self.chromium.wait_for("innerHeight >= document.documentElement.getBoundingClientRect().height")

    def photo(self, name: str) -> None:
        """For whoever wants to look: `APP_SHOTS` names the folder."""
        if folder := os.environ.get("APP_SHOTS"):
            self.ready()
            for evaluate in (self.chromium.evaluate, self.chromium.in_page):
                evaluate("new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)))")
            self.chromium.screenshot(Path(folder) / f"{name}.png")


@pytest.fixture
def shown(host: str, made: Made, chromium: Chromium) -> Iterator[Shown]:
    shown = Shown(chromium, host, made)
    yield shown
    assert chromium.in_page("problems") == []
    assert chromium.complaints() == []
    own = shown.host.split("/")[2]
    assert chromium.requested() <= {own, own.replace("127.0.0.1", "localhost")}


def test_pictures_are_shown_with_price_sheet_and_folder(shown: Shown) -> None:
    page = shown.chromium
    shown.show(shown.made["pictures"])
    shown.ready()
    shown.photo("pictures")
    told = shown.made["pictures"]["structuredContent"]
    text = page.text()
    for words in ("Done", "sandbox, free", "a red kite over the sea", "z-image · 8 credits", "1024 × 1024 · 4 credits"):
        assert words in text
    assert str(Path(told["files"][0]["path"]).parent) in text
    sizes = page.evaluate(
        "[...document.querySelectorAll('figure img')].map((image) => [image.naturalWidth, image.alt])"
    )
    assert [width >= 512 for width, _ in sizes] == [True, True]
    assert all(alt.startswith("a red kite over the sea (red-kite-sea-") for _, alt in sizes)
    page.click("details.block summary")
    page.wait_for("document.querySelector('details.block img').naturalWidth > 500")
    shown.photo("sheet")
    asked = {each["uri"] for each in shown.asked("resources/read")}
    assert asked == {
        PREVIEWS + quote(path, safe="") for path in (*(file["path"] for file in told["files"]), told["sheet"])
    }
    assert shown.asked("tools/call") == []


def test_buttons_put_a_sentence_into_the_conversation_and_call_nothing(shown: Shown) -> None:
    page = shown.chromium
    shown.show(shown.made["pictures"])
    shown.ready()
    for text in ("Another variant", "Compare"):
        page.evaluate(f"[...document.querySelectorAll('button')].find((each) => each.innerText === '{text}').click()")
        page.wait_for("document.getElementById('news').innerText === 'It is in the conversation now.'")
    told = shown.made["pictures"]["structuredContent"]
    first = told["files"][0]["generation_id"]
    both = ",".join(file["output_id"] for file in told["files"])
    messages = shown.asked("ui/message")
    assert [message["role"] for message in messages] == ["user", "user"]
    assert [message["content"] for message in messages] == [
        [{"type": "text", "text": f"Make another variant of generation {first}: regenerate(id='{first}')."}],
        [{"type": "text", "text": f"Compare these side by side: view_media(output_id='{both}')."}],
    ]
    assert shown.asked("tools/call") == []


def test_where_the_host_takes_no_message_the_sentence_is_shown(shown: Shown) -> None:
    page = shown.chromium
    shown.show(shown.made["pictures"], refuses=("ui/message",))
    page.click("footer button")
    page.wait_for("document.querySelector('.say') !== null")
    assert "Say this in the conversation:" in page.text()
    assert "Compare these side by side: view_media(output_id='" in page.text()
    assert page.evaluate("document.activeElement.matches('.say code')")


def test_a_job_is_followed_to_its_end_by_the_free_tool_alone(shown: Shown) -> None:
    page = shown.chromium
    running, finished = shown.made["running"], shown.made["finished"]
    shown.show(running, calls=(running, finished))
    assert page.evaluate("document.querySelector('progress') !== null")
    assert "Waiting its turn" in page.text()
    shown.photo("running")
    page.wait_for("document.querySelectorAll('figure').length === 1")
    shown.ready()
    assert "Done" in page.text()
    name = running["structuredContent"]["generation_id"]
    call = {"name": "wait_for_generation", "arguments": {"id": name, "timeout_seconds": 20}}
    assert shown.asked("tools/call") == [call, call]
    shown.photo("finished")


def test_a_run_is_followed_by_its_resource_and_never_called_again(shown: Shown) -> None:
    page = shown.chromium
    running, finished = shown.made["running run"], shown.made["finished run"]
    uri = RUNS + running["structuredContent"]["run_id"]
    over = {"contents": [{"uri": uri, "text": json.dumps(finished["structuredContent"])}]}
    shown.show(running, reads={**shown.made.reads, uri: [shown.made.reads[uri], over]})
    assert "Running" in page.text()
    assert "about 42 credits · " in page.text()
    shown.photo("running-run")
    page.wait_for("document.querySelectorAll('figure').length === 3")
    shown.ready()
    for words in ("Done", "product as hero", "the moment of use", "one bold idea", "3 steps", "Comparison sheet"):
        assert words in page.text()
    shown.photo("run")
    assert shown.asked("tools/call") == []


def test_a_price_that_awaits_a_yes_is_answered_in_the_conversation(shown: Shown) -> None:
    quoted = shown.made["quoted"]
    shown.show(quoted)
    shown.ready()
    shown.photo("quoted")
    assert "Priced, not started" in shown.chromium.text()
    quoted["structuredContent"].update(status="approval_required", approval="yes-please-1234")
    shown.show(quoted)
    shown.ready()
    shown.photo("approval")
    assert "Waits for your yes" in shown.chromium.text()
    assert "nothing is paid from here" in shown.chromium.text()
    assert "yes-please" not in shown.chromium.evaluate("document.body.outerHTML.split('<script>')[0]")
    assert shown.chromium.evaluate("document.querySelectorAll('button').length") == 0


def test_without_the_media_host_a_film_is_a_frame_and_a_song_a_shape(shown: Shown) -> None:
    page = shown.chromium
    for name, kind in (("film", "film"), ("song", "song")):
        shown.show(shown.made[name])
        shown.ready()
        shown.photo(name)
        assert page.evaluate(f"document.querySelectorAll('figure.{kind}').length") >= 1
        assert page.evaluate("document.querySelectorAll('video, audio').length") == 0
        assert shown.made[name]["structuredContent"]["files"][0]["path"] in page.text()
    assert page.evaluate("document.querySelectorAll('figure svg[role=img] rect').length") == 2 * 120
    shown.show(shown.made["film"])
    shown.ready()
    assert page.evaluate("document.querySelector('figure img').naturalWidth") >= 320


def test_with_the_media_host_films_and_songs_are_played_from_it(shown: Shown) -> None:
    page = shown.chromium
    for name, player in (("film", "video"), ("song", "audio")):
        result = shown.made[name]
        result["structuredContent"].update(mode="live", outputs=[], songs=[])
        for number, file in enumerate(result["structuredContent"]["files"]):
            file["url"] = f"https://media.kubeez.com/{name}-{number}"
        shown.show(result, live=True)
        shown.ready()
        shown.photo(f"{name}-live")
        sources = page.evaluate(f"[...document.querySelectorAll('{player}')].map((each) => [each.src, each.controls])")
        assert sources == [[file["url"], True] for file in result["structuredContent"]["files"]]
        page.evaluate("[...document.querySelectorAll('button')].find((each) => each.innerText === 'Open').click()")
        page.wait_for("true")
        assert shown.asked("ui/open-link") == [{"url": f"https://media.kubeez.com/{name}-0"}]


def test_what_others_wrote_is_shown_as_text(shown: Shown) -> None:
    page = shown.chromium
    for name in ("hostile", "one", "failed"):
        shown.show(shown.made[name], context={"locale": "no such locale", "styles": {"variables": {"color": "red"}}})
        shown.ready()
        shown.photo(name)
        assert page.evaluate("document.title") == "Kubeez"
        assert page.evaluate("document.querySelectorAll('main b:not(figcaption > b), main i, main script').length") == 0
    assert "The provider refused <i>this</i> prompt." in page.text()
    assert "nothing charged" in page.text()
    evil = shown.made["pictures"]
    told = evil["structuredContent"]
    told["files"][0].update(generation_id="x'); pay(", output_id='"><b>', url="javascript:alert(1)", title=HOSTILE)
    told.update(status="<b>odd</b>", mode="live", settings=HOSTILE, generation_ids=["x'"], outputs=[])
    shown.show(evil)
    shown.ready()
    shown.photo("evil")
    assert (
        page.evaluate("document.querySelectorAll('main b:not(figcaption > b), main img[src^=\"javascript\"]').length")
        == 0
    )
    sentences = page.evaluate("[...document.querySelectorAll('button')].map((each) => each.innerText)")
    assert "Open" not in sentences
    assert sentences.count("Another variant") == 1
    assert "\u202e" not in page.text()


def test_previews_of_view_media_are_shown_as_they_came(shown: Shown) -> None:
    shown.show(shown.made["views"])
    shown.photo("views")
    shown.chromium.wait_for("document.querySelector('.frame img').naturalWidth > 500")
    assert "product as hero · nano-banana-2 · 14 credits" in shown.chromium.text()
    shown.show(shown.made["refused"])
    shown.photo("refused")
    assert "No job has the id 'no-such-job'" in shown.chromium.text()
    assert shown.asked("resources/read") == []


def test_a_host_that_can_do_little_gets_paths_and_a_way_on(shown: Shown) -> None:
    page = shown.chromium
    shown.show(shown.made["pictures"], capabilities={})
    shown.ready()
    shown.photo("poor-host")
    assert "This host shows no previews" in page.text()
    shown.show(shown.made["running"], capabilities={}, refuses=("ui/message",))
    assert "Waiting its turn" in page.text()
    shown.show(None)
    shown.photo("waiting")
    assert "Waiting" in page.text()
    page.in_page("bridge.sendToolCancelled({ reason: 'the user stopped it' })")
    page.wait_for("document.body.innerText.includes('the user stopped it')")


def test_the_host_gives_the_look(shown: Shown) -> None:
    page = shown.chromium
    shown.show(shown.made["run"], context=DARK, width=390)
    shown.ready()
    shown.photo("run-dark-390")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 24)"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for theme in ("light", "dark"):
        context: dict[str, Any] = {"theme": theme, "styles": {"variables": {}}}
        for name in ("run", "failed"):
            shown.show(shown.made[name], context=context)
            shown.ready()
            assert page.evaluate(LOW_CONTRAST) == []
    page.in_page("bridge.sendHostContextChange({ theme: 'light' })")
    page.wait_for("getComputedStyle(document.body).backgroundColor === 'rgb(255, 255, 255)'")


def test_it_is_used_by_keyboard_with_the_focus_in_sight(shown: Shown) -> None:
    page = shown.chromium
    shown.show(shown.made["pictures"])
    shown.ready()
    page.in_page("frame.focus()")
    reached = []
    for _ in range(8):
        for kind in ("rawKeyDown", "keyUp"):
            page.page_call("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)
        reached.append(
            page.evaluate(
                "(({ dataset, ariaLabel, innerText }) => [(ariaLabel || innerText).slice(0, 15), "
                "getComputedStyle(document.activeElement).outlineStyle])(document.activeElement)"
            )
        )
    names = ["Enlarge red-kit", "Another variant", "Enlarge red-kit", "Another variant", "Comparison shee", "Compare"]
    assert reached[:6] == [[name, "solid"] for name in names]
    page.evaluate("document.querySelector('button.frame').focus()")
    for kind in ("keyDown", "keyUp"):
        text = "\r" if kind == "keyDown" else ""
        page.page_call("Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, text=text)
    page.wait_for("document.querySelector('figure').classList.contains('large')")
    assert page.evaluate("document.activeElement.ariaExpanded") == "true"


def test_it_ends_when_the_host_says_so(shown: Shown) -> None:
    page = shown.chromium
    shown.show(shown.made["running"])
    assert page.in_page("bridge.teardownResource({})") == {}
    page.in_page(f"bridge.sendToolResult({json.dumps(shown.made['finished'])})")
    assert page.evaluate("document.querySelectorAll('figure').length") == 0


LOW_CONTRAST = """(() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = (v) => (v <= 10.3 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (node) => {
    for (let each = node; each; each = each.parentElement) {
      const color = rgb(getComputedStyle(each).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !node.checkVisibility() || node.matches("script, style")) continue;
    const [one, other] = [light(rgb(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => b - a);
    if ((one + 0.05) / (other + 0.05) < 4.5) found.push(node.outerHTML.slice(0, 80));
  }
  return found;
})()"""
