"""`login` and `logout` as a person types them, and what `install` and `doctor` say afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import click
import pytest
from click.testing import CliRunner
from mcp import Client

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.environment import APP
from kubeez_mcp_local.logs import configure_logging
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.settings import config_file, load_settings
from tests.keyrings import LockedKeyring, MemoryKeyring, NoKeyring, use
from tests.mcp_server.driving import made
from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

CANARY = "sk_live_CanaryThatSingsNowhere"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=5000, rate_limits="off") as sandbox:
        sandbox.control.key(CANARY, credits=1000)
        yield sandbox


@pytest.fixture(autouse=True)
def at_work(clientless: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder is an empty one outside the home, and no client of this machine is seen."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def at_the_api(api: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> RunningSandbox:
    monkeypatch.setenv("KUBEEZ_BASE_URL", api.url)
    return api


def typed(*arguments: str, code: int = 0, stdin: str | bytes = "") -> Result:
    done = CliRunner().invoke(cli, arguments, input=stdin)
    assert done.exit_code == code, done.output
    assert CANARY not in done.output
    return done


def everything_below(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def in_words(done: Result) -> str:
    return " ".join(done.stdout.split())


def test_the_key_is_in_no_output_log_ledger_or_config_whatever_is_done_with_it(
    at_the_api: RunningSandbox, ring: MemoryKeyring, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    typed("login", stdin=f"{CANARY}\n")
    assert ring.kept == {(APP, at_the_api.url): CANARY}
    settings = load_settings({"output_dir": tmp_path / "out", "state_dir": tmp_path / "state", "ask_above": 1e9})
    assert settings.api_key is None
    configure_logging("debug")

    async def conversation() -> str:
        async with Client(KubeezServer(Bridge(settings))) as client:
            done = await made(client, "generate_media", prompt="a kite", model="nano-banana-2")
            assert done["mode"] == "live"
            at_the_api.control.key(CANARY, revoked=True)
            refused = await client.call_tool("get_balance", {})
            at_the_api.control.key(CANARY, revoked=False)
            assert refused.is_error
            return refused.model_dump_json() + json.dumps(done)

    assert CANARY not in anyio.run(conversation)
    assert CANARY not in "".join(capfd.readouterr())
    assert CANARY.encode() not in everything_below(tmp_path)


def test_a_key_of_the_user_in_a_file_is_said_to_be_there_as_plain_text(
    at_the_api: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, NoKeyring())
    said = in_words(typed("login", stdin=CANARY))
    assert "There is no keyring on this machine. The key is in" in said
    assert "as plain text, which only you can read" in said
    assert CANARY in config_file().read_text("utf-8")
    use(monkeypatch, LockedKeyring())
    assert "keyring is locked. The key is in" in in_words(typed("login", stdin=CANARY))


def test_a_file_can_be_wanted_in_place_of_the_keyring(at_the_api: RunningSandbox, ring: MemoryKeyring) -> None:
    typed("login", stdin=CANARY)
    assert "plain text" in in_words(typed("login", "--file", stdin=CANARY))
    assert ring.kept == {}
    assert config_file().read_text("utf-8") == f"KUBEEZ_API_KEY={CANARY}\n"
    typed("login", stdin=CANARY)
    assert CANARY not in config_file().read_text("utf-8")


def test_a_person_is_asked_without_echo_and_a_pipe_of_any_kind_is_read(
    at_the_api: RunningSandbox, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("login", stdin=f"KUBEEZ_API_KEY='{CANARY}'\r\n".encode("utf-16"))
    assert list(ring.kept.values()) == [CANARY]
    asked: dict[str, Any] = {}

    def prompt(_: str, **how: Any) -> str:
        asked.update(how)
        return f' "{CANARY}" '

    monkeypatch.setattr(click, "prompt", prompt)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    typed("login")
    assert asked["hide_input"] is True


def test_what_is_no_key_is_refused_and_nothing_kept(ring: MemoryKeyring, throw_away_home: Path) -> None:
    assert "pasted twice" in typed("login", stdin=CANARY * 2, code=2).stderr
    assert "unencrypted" in CliRunner().invoke(cli, ["login"], CANARY, env={"KUBEEZ_BASE_URL": "http://x.y"}).stderr
    assert ring.kept == {}
    assert list(throw_away_home.iterdir()) == []


def test_bad_other_settings_and_a_missing_key_do_not_keep_anybody_from_logging_in(
    at_the_api: RunningSandbox, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEEZ_MODE", "live")
    monkeypatch.setenv("KUBEEZ_MAX_CREDITS_PER_DAY", "lots")
    monkeypatch.setenv("KUBEEZ_API_KEY", "${input:key}")
    said = in_words(typed("login", stdin=CANARY))
    assert ring.kept
    assert "There is a key in KUBEEZ_API_KEY in the environment, too, and that one wins." in said


def test_after_login_entries_need_no_key_and_logout_says_who_still_has_one(
    at_the_api: RunningSandbox, ring: MemoryKeyring, throw_away_home: Path, at_work: Path
) -> None:
    typed("install", "cursor", "--with-key", "--no-check", stdin="sk_live_another")
    said = in_words(typed("login", stdin=CANARY))
    entry = throw_away_home / ".cursor" / "mcp.json"
    assert f"in the entry of Cursor ({entry}), too, and that one wins" in said
    assert "none needed: the server takes it from the system's keyring" in in_words(
        typed("install", "gemini-cli", "--no-check")
    )
    assert "KUBEEZ" not in (throw_away_home / ".gemini" / "settings.json").read_text("utf-8")
    (at_work / ".env").write_text("KUBEEZ_API_KEY=sk_live_another\n", "utf-8")
    said = in_words(typed("logout"))
    assert "The key is out of the system's keyring." in said
    assert "There still is a key in .env in the working folder." in said
    assert f"There still is a key in the entry of Cursor ({entry})." in said
    assert ring.kept == {}
    entry.unlink()
    (at_work / ".env").unlink()
    assert "No key was kept. Servers that run keep theirs until they end; those that start" in in_words(typed("logout"))


@pytest.mark.usefixtures("unstarted")
def test_doctor_looks_into_the_keyring(
    at_the_api: RunningSandbox, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("login", stdin=CANARY)
    found = json.loads(typed("doctor", "--json").stdout)["findings"]
    assert {one["check"]: one["level"] for one in found}["account"] == "ok"
    assert any("in the system's keyring" in one["detail"] for one in found if one["check"] == "key")
    use(monkeypatch, LockedKeyring())
    found = json.loads(typed("doctor", "--json", code=1).stdout)["findings"]
    told = {one["check"]: one for one in found}
    assert "is locked" in told["key"]["detail"]
    assert "login --file" in told["key"]["next_step"]
    assert told["mode"]["detail"].startswith("live")
    monkeypatch.setenv("KUBEEZ_API_KEY", CANARY)
    found = json.loads(typed("doctor", "--json").stdout)["findings"]
    assert any("wins over the one that `login` keeps" in one["detail"] for one in found)
