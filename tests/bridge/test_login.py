"""The key that `login` keeps: where it goes, when a server fetches it, and what is said when it cannot be had."""

from __future__ import annotations

import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from mcp import Client
from mcp.types import ElicitRequestParams, ElicitResult

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.bridge.login import (
    PATIENCE_SECONDS,
    Keyring,
    KeyUnavailableError,
    forget_key,
    keep_key,
    key_in,
    origin_for,
)
from kubeez_mcp_local.environment import APP
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.jobs.job import fingerprint
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.rest.errors import UnauthorizedError
from kubeez_mcp_local.settings import (
    DEFAULT_BASE_URL,
    Login,
    Mode,
    Settings,
    SettingsError,
    load_settings,
    settings_to_log_in_by,
)
from tests.keyrings import LockedKeyring, MemoryKeyring, NoKeyring, SilentKeyring, use
from tests.mcp_server.driving import bridge_of, call, client_of, refused
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.anyio

OTHER = "sk_live_another"


@pytest.fixture(scope="module")
def running_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=5000, rate_limits="off") as sandbox:
        yield sandbox


@pytest.fixture
def api(running_api: RunningSandbox) -> RunningSandbox:
    running_api.control.key(KEY, credits=1000)
    running_api.control.key(OTHER, credits=1000)
    return running_api


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config" / "config.env"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, "utf-8")


def said_in(file: Path) -> str:
    return file.read_text("utf-8") if file.exists() else ""


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


@dataclass
class Clock:
    """Time that passes only where somebody sleeps."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await anyio.lowlevel.checkpoint()

    def keyring(self) -> Keyring:
        return Keyring(clock=self, sleep=self.sleep)


def logged_in(api: RunningSandbox, folder: Path, key: str = KEY, **variables: str) -> dict[str, Any]:
    """Variables of a server whose user has logged in: no key, and a live API that is the stand-in."""
    login = Login(fingerprint(key, api.url), api.url)
    return {"KUBEEZ_API_KEY": "", "KUBEEZ_LOGIN": str(login), "KUBEEZ_MODE": "auto", **variables}


def target(api: RunningSandbox) -> Settings:
    return Settings(base_url=api.url)


async def test_the_key_goes_into_the_keyring_and_a_mark_without_it_into_the_config(
    api: RunningSandbox, ring: MemoryKeyring, config: Path
) -> None:
    write(config, "# mine\nKUBEEZ_ASK_ABOVE=5\nexport kubeez_api_key='sk_live_old'\n# end")
    kept = await keep_key(KEY, target(api), config)
    assert ring.kept == {(APP, api.url): KEY}
    assert "1000 credits" in kept.checked
    assert kept.why_in_file == ""
    mark = f"KUBEEZ_LOGIN={kept.account}@{api.url}"
    assert said_in(config) == f"# mine\nKUBEEZ_ASK_ABOVE=5\n# end\n{mark}\n"
    settings = load_settings({"base_url": api.url}, environ={}, env_file=config)
    assert settings.effective_mode is Mode.LIVE
    assert settings.api_key is None
    assert ring.looks == 1, "reading settings opens no keyring"


@pytest.mark.parametrize("unusable", [NoKeyring, LockedKeyring, SilentKeyring])
async def test_without_a_usable_keyring_the_key_is_in_a_private_file(
    api: RunningSandbox, monkeypatch: pytest.MonkeyPatch, config: Path, unusable: type[MemoryKeyring]
) -> None:
    found = use(monkeypatch, unusable())
    kept = await keep_key(KEY, target(api), config, keyring=Clock().keyring())
    assert "keyring" in kept.why_in_file
    assert f"The key is in {config} as plain text" in kept.where
    assert said_in(config) == f"KUBEEZ_API_KEY={KEY}\n"
    assert sys.platform == "win32" or mode_of(config) == 0o600
    if isinstance(found, SilentKeyring):
        found.answer.set()


class _Panic(BaseException):
    """As libraries written in Rust raise it."""


@pytest.mark.parametrize("kind", [OSError, _Panic, SystemExit])
async def test_a_keyring_that_breaks_says_why_without_the_key(
    api: RunningSandbox,
    monkeypatch: pytest.MonkeyPatch,
    config: Path,
    capfd: pytest.CaptureFixture[str],
    kind: type[BaseException],
) -> None:
    class Broken(MemoryKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            raise kind("cannot read")

        def set_password(self, service: str, username: str, password: str) -> None:
            raise kind(f"cannot write {password!r}")

    use(monkeypatch, Broken())
    kept = await keep_key("opaque.key/with=signs", Settings(mode="sandbox"), config)
    assert kept.why_in_file == "The system's keyring refuses: cannot write '…'."
    assert "opaque" not in "".join(capfd.readouterr())
    with pytest.raises(KeyUnavailableError, match="refuses: cannot read"):
        await Keyring().key_of(Login(fingerprint(KEY, api.url), api.url))


async def test_a_key_that_the_api_does_not_take_is_not_kept(
    api: RunningSandbox, ring: MemoryKeyring, config: Path
) -> None:
    api.control.key("sk_live_revoked", revoked=True)
    with pytest.raises(UnauthorizedError, match="Nothing was kept"):
        await keep_key("sk_live_revoked", target(api), config)
    assert ring.kept == {}
    assert said_in(config) == ""


async def test_what_could_not_be_checked_is_said_and_the_key_kept(ring: MemoryKeyring, config: Path) -> None:
    kept = await keep_key(KEY, Settings(base_url="http://127.0.0.1:9"), config)
    assert "could not be checked" in kept.checked
    sandboxed = await keep_key(KEY, Settings(mode="sandbox"), config)
    assert "not checked: KUBEEZ_MODE is sandbox" in sandboxed.checked
    assert len(ring.kept) == 2


async def test_a_config_that_is_none_is_left_alone(api: RunningSandbox, ring: MemoryKeyring, config: Path) -> None:
    write(config, "kubeez:\n  api_key: 1\n")
    with pytest.raises(SettingsError, match="no setting"):
        await keep_key(KEY, target(api), config)
    assert ring.kept == {}


async def test_a_config_that_cannot_be_written_is_found_out_before_the_key_is_kept(
    api: RunningSandbox, ring: MemoryKeyring, config: Path
) -> None:
    write(config, "")
    with pytest.raises(SettingsError, match="cannot be written"):
        await keep_key(KEY, target(api), config / "below-a-file" / "config.env")
    assert ring.kept == {}


async def test_logging_out_forgets_both_places(api: RunningSandbox, ring: MemoryKeyring, config: Path) -> None:
    await keep_key(KEY, target(api), config)
    write(config, f"{said_in(config)}KUBEEZ_API_KEY={OTHER}\nKUBEEZ_SHEETS=off\n")
    gone = await forget_key(target(api), config)
    assert gone.places == ("the system's keyring", str(config))
    assert gone.trouble == ""
    assert ring.kept == {}
    assert said_in(config) == "KUBEEZ_SHEETS=off\n"
    assert (await forget_key(target(api), config)).places == ()


async def test_logging_out_says_where_the_keyring_could_not_be_opened(
    api: RunningSandbox, ring: MemoryKeyring, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep_key(KEY, target(api), config)
    use(monkeypatch, LockedKeyring())
    assert "locked" in (await forget_key(target(api), config)).trouble
    assert said_in(config) == ""


@pytest.mark.parametrize(
    "typed",
    [
        f"  {KEY}\r\n",
        f'"{KEY}"',
        f"KUBEEZ_API_KEY={KEY}",
        f"export KUBEEZ_API_KEY='{KEY}'",
        f'$env:KUBEEZ_API_KEY = "{KEY}"',
        f"set KUBEEZ_API_KEY={KEY}",
        f"X-API-Key: {KEY}",
        f"Authorization: Bearer {KEY}",
        f"# a file\nOTHER=1\nKUBEEZ_API_KEY={KEY}\n",
        f"\ufeff{KEY}",
        f"“{KEY}”",
    ],
)
def test_a_key_is_found_in_what_was_pasted(typed: str) -> None:
    assert key_in(typed, "key") == KEY


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "nothing was given"),
        ("   \n", "nothing was given"),
        (KEY + KEY, "pasted twice"),
        (f"{KEY}\n{OTHER}", "2 lines"),
        ("ghp_abcdef", "begin with sk_live_"),
        ("sk_live_a b", "spaces"),
        ("sk_live_é", "characters that no key has"),
    ],
)
def test_what_is_no_key_is_refused_without_being_repeated(typed: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said) as refusal:
        key_in(typed, "key")
    assert "sk_live_a" not in str(refusal.value).replace("sk_live_.", "")
    assert "ghp_" not in str(refusal.value)


def test_a_nearer_key_wins_over_the_keyring_and_the_keyring_over_dotenv(tmp_path: Path) -> None:
    config = tmp_path / "own.env"
    config.write_text("KUBEEZ_LOGIN=live-0123456789abcdef@https://api.kubeez.com\n", "utf-8")
    (tmp_path / ".env").write_text("KUBEEZ_API_KEY=sk_live_dotenv\n", "utf-8")

    def loaded(**environ: str) -> Settings:
        return load_settings(environ=environ, env_file=config, working_dir=tmp_path)

    assert loaded().api_key is None
    assert loaded().login is not None
    near = loaded(KUBEEZ_API_KEY=KEY)
    assert near.login is None
    assert near.api_key is not None
    assert near.api_key.get_secret_value() == KEY
    assert loaded(KUBEEZ_MODE="sandbox").effective_mode is Mode.SANDBOX


def test_a_key_is_never_meant_for_a_sandbox() -> None:
    stand_in = "http://127.0.0.1:8787"
    assert origin_for(Settings(mode="sandbox", base_url=stand_in)) == DEFAULT_BASE_URL
    assert origin_for(Settings(mode="live", base_url=stand_in)) == stand_in
    assert origin_for(Settings(mode="sandbox", base_url="https://api.example.com")) == "https://api.example.com"


def test_a_key_that_was_kept_is_never_sent_unencrypted() -> None:
    clear = "http://api.example.com"
    with pytest.raises(SettingsError, match="unencrypted"):
        load_settings(environ={"KUBEEZ_LOGIN": f"live-0123456789abcdef@{clear}", "KUBEEZ_BASE_URL": clear})


def test_the_key_goes_to_the_api_it_was_kept_for_and_to_no_other() -> None:
    environ = {"KUBEEZ_LOGIN": "live-0123456789abcdef@https://api.kubeez.com"}
    with pytest.raises(SettingsError, match="is for https://api"):
        load_settings(environ={**environ, "KUBEEZ_BASE_URL": "https://example.com"})
    with pytest.raises(SettingsError, match="run that again"):
        load_settings(environ={"KUBEEZ_LOGIN": "yes"})
    with pytest.raises(SettingsError, match="unencrypted"):
        settings_to_log_in_by({"base_url": "http://example.com"})


async def test_a_server_fetches_the_key_at_the_first_call_that_needs_it(
    api: RunningSandbox, ring: MemoryKeyring, tmp_path: Path
) -> None:
    ring.kept[APP, api.url] = KEY
    async with client_of(api, tmp_path, **logged_in(api, tmp_path)) as client:
        await client.list_tools()
        assert (await call(client, "list_recipes"))["recipes"]
        assert ring.looks == 0
        assert (await call(client, "get_balance"))["credits"] == 1000
        await call(client, "get_balance")
    assert ring.looks == 1


async def test_jobs_of_earlier_runs_wait_for_the_key_to_be_needed(
    api: RunningSandbox, ring: MemoryKeyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring.kept[APP, api.url] = KEY
    monkeypatch.setattr("kubeez_mcp_local.bridge.bridge._RESUME_AFTER_SECONDS", 0)
    resumed = anyio.Event()
    bridge = bridge_of(api, tmp_path, **logged_in(api, tmp_path))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "ledger.db").touch()

    async def resume_all() -> None:
        resumed.set()

    async def nothing() -> None: ...

    monkeypatch.setattr(bridge.follower, "resume_all", resume_all)
    monkeypatch.setattr(bridge.reconciler, "settle_all", nothing)
    async with bridge:
        await anyio.wait_all_tasks_blocked()
        assert not resumed.is_set()
        await bridge.api.client()
        with anyio.fail_after(60):
            await resumed.wait()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (LockedKeyring(), "is locked"),
        (NoKeyring(), "none can be reached from here"),
        (MemoryKeyring(), "not in the keyring any more"),
        (SilentKeyring(), "not answered within 5 s"),
    ],
    ids=["locked", "gone", "emptied", "silent"],
)
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_keyring_that_gives_nothing_never_means_sandbox_and_is_explained(
    api: RunningSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: MemoryKeyring,
    said: str,
    mode: str,
) -> None:
    use(monkeypatch, found)
    paid = api.control.books()
    bridge = bridge_of(api, tmp_path, **logged_in(api, tmp_path))
    bridge.api.keyring = Clock().keyring()
    assert bridge.mode is Mode.LIVE
    async with _connected(bridge, mode) as client:
        for tool, arguments in (
            ("get_balance", {}),
            ("get_models", {}),
            ("generate_media", {"prompt": "a kite", "model": "nano-banana-2"}),
        ):
            error = await refused(client, tool, **arguments)
            assert error["code"] == "key_unavailable", error
            assert said in error["message"]
            assert error["next_step"]
        assert (await call(client, "list_recipes"))["recipes"]
    assert api.control.books()["accounts"] == paid["accounts"]


def _connected(bridge: Bridge, mode: str) -> Any:
    return Client(KubeezServer(bridge), mode=mode)


async def test_a_question_that_is_answered_late_is_asked_once_and_serves_the_next_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = SilentKeyring()
    use(monkeypatch, found)
    found.kept[APP, "https://x"] = KEY
    clock = Clock()
    keyring, login = clock.keyring(), Login(fingerprint(KEY, "https://x"), "https://x")
    for _ in range(2):
        with pytest.raises(KeyUnavailableError, match="not answered"):
            await keyring.key_of(login)
    assert clock.now == pytest.approx(PATIENCE_SECONDS, abs=0.1), "the second call does not wait once more"
    assert found.looks == 1
    found.answer.set()
    attempt = keyring._reading["https://x"]
    assert attempt.done.wait(10)
    assert (await keyring.key_of(login)).get_secret_value() == KEY
    assert found.looks == 1


async def test_another_key_than_that_of_the_ledger_is_not_used(api: RunningSandbox, ring: MemoryKeyring) -> None:
    ring.kept[APP, api.url] = OTHER
    with pytest.raises(KeyUnavailableError, match="another key"):
        await Keyring().key_of(Login(fingerprint(KEY, api.url), api.url))


async def test_a_key_that_is_typed_into_the_page_serves_the_running_server_if_it_is_of_its_account(
    api: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    use(monkeypatch, LockedKeyring())
    settings = bridge_of(api, tmp_path, **logged_in(api, tmp_path)).settings
    async with Bridge(settings, config=config) as bridge:
        assert await bridge.credits_if_known() is None
        said = await bridge.key_page.keep(OTHER)
        assert "started with another key: restart it" in said
        assert await bridge.credits_if_known() is None
        said = await bridge.key_page.keep(f"KUBEEZ_API_KEY={KEY}")
        assert "is locked. The key is in" in said
        assert said.endswith("Go back to your assistant and try again.")
        assert await bridge.credits_if_known() == 1000
    assert said_in(config) == f"KUBEEZ_API_KEY={KEY}\n"


async def test_a_server_in_the_sandbox_has_to_be_restarted_for_a_key(
    tmp_path: Path, ring: MemoryKeyring, config: Path
) -> None:
    settings = Settings(mode="sandbox", state_dir=tmp_path / "state", output_dir=tmp_path / "out")
    async with Bridge(settings, config=config) as bridge:
        assert "started in the sandbox: restart it" in await bridge.key_page.keep(KEY)
    assert list(ring.kept.values()) == [KEY]


async def test_nobody_is_asked_to_pay_where_there_is_no_key_to_pay_with(
    api: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ring: MemoryKeyring
) -> None:
    """The models may still be known from before; the balance is then the first thing that needs the key."""
    asked: list[str] = []

    async def yes(context: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"spend": True})

    ring.kept[APP, api.url] = KEY
    order = {"prompt": "a kite", "model": "nano-banana-2"}
    for found, expected in ((ring, 1), (LockedKeyring(), 1)):
        use(monkeypatch, found)
        server = KubeezServer(bridge_of(api, tmp_path, **logged_in(api, tmp_path)))
        async with Client(server, elicitation_callback=yes) as client:
            result = await client.call_tool("generate_media", order)
            assert result.is_error == isinstance(found, LockedKeyring)
            assert len(asked) == expected
        order["prompt"] = "another kite"
    assert (result.structured_content or {})["error"]["code"] == "key_unavailable"
