"""`login --hosted`, `logout --hosted` and `doctor` as a person types them; no token is in what they say."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import click
import httpx
import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli import login
from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.hosted.tokens import Kept
from kubeez_mcp_local.settings import config_file
from tests.hosted.authority import Authority, browse, running_authority, web_token
from tests.keyrings import MemoryKeyring, NoKeyring, use
from tests.sandbox_server import running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

TOKEN = "kbz_pat_CanaryThatSingsNowhere"


@pytest.fixture
def authority(clientless: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Authority]:
    """One whose address is set, seen from an empty folder without any client of this machine."""
    (work := tmp_path / "work").mkdir()
    monkeypatch.chdir(work)
    with running_authority() as running:
        monkeypatch.setenv("KUBEEZ_MCP_URL", running.mcp)
        yield running


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What it shows last; it goes where it is led, and nobody waits for it."""
    shown: list[str] = []

    def launch(address: str) -> None:
        threading.Thread(target=lambda: shown.append(browse(address)), daemon=True).start()

    monkeypatch.setattr(click, "launch", launch)
    return shown


def typed(authority: Authority, *arguments: str, code: int = 0, stdin: str = "") -> Result:
    done = CliRunner().invoke(cli, arguments, input=stdin)
    assert done.exit_code == code, done.output
    to_open = next((line for line in done.output.splitlines() if "/authorize?" in line), None)
    said = done.output.replace(to_open or "\0", "")  # the address to open has the state in it, and nothing else
    assert not [secret for secret in authority.secret if secret in said]
    return done


def in_words(done: Result) -> str:
    return " ".join(done.stdout.split())


def everything_below(folder: Path) -> bytes:
    return b"".join(str(file).encode() + file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.usefixtures("browser")
def test_signing_in_and_out_says_what_was_done(
    authority: Authority, ring: MemoryKeyring, throw_away_home: Path
) -> None:
    said = in_words(typed(authority, "login", "--hosted"))
    assert f"You are signed in to {authority.mcp}, with the scopes generate:media, read:balance." in said
    assert "UTC; it is refreshed by itself." in said
    assert f"; {config_file()} only says whose, without them." in said
    assert not [secret for secret in authority.secret if secret.encode() in everything_below(throw_away_home)]
    said = in_words(typed(authority, "logout", "--hosted"))
    assert f"{authority.mcp} took back the refresh token and the access token." in said
    assert "The sign-in is forgotten here." in said
    assert ring.kept == {}
    assert in_words(typed(authority, "logout", "--hosted")) == "Nobody was signed in to the hosted server."


@pytest.mark.usefixtures("browser", "ring")
def test_a_key_is_told_what_the_sign_in_changes(authority: Authority) -> None:
    assert "are in the sandbox" in in_words(typed(authority, "logout"))
    typed(authority, "login", "--hosted")
    assert "those that start from now on go to the hosted server" in in_words(typed(authority, "logout"))
    said = in_words(typed(authority, "install", "cursor", "--no-check"))
    assert "none needed: everything goes to the hosted server, as your config file says." in said
    assert "Now: live, by the hosted server" in welcomed()
    pasted = typed(authority, "login", code=2, stdin=web_token(sub="ana"))
    assert "(a token of the hosted server belongs into KUBEEZ_MCP_TOKEN)" in " ".join(pasted.stderr.split())


def welcomed() -> str:
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.cli.welcome import _how_it_stands

    return _how_it_stands(Options({}, None))


@pytest.mark.usefixtures("browser")
def test_what_cannot_be_revoked_is_said(authority: Authority, ring: MemoryKeyring) -> None:
    authority.metadata["revocation_endpoint"] = None
    typed(authority, "login", "--hosted")
    said = in_words(typed(authority, "logout", "--hosted"))
    assert "Not everything could be revoked" in said
    assert "names no safe address at which tokens are revoked" in said
    assert "connected apps" in said
    assert "took back" not in said


@pytest.mark.usefixtures("browser")
def test_where_it_goes_and_what_else_wins_is_said(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, NoKeyring())
    monkeypatch.setenv("KUBEEZ_MCP_TOKEN", TOKEN)
    done = typed(authority, "login", "--hosted")
    assert "There is no keyring on this machine. Its tokens are in" in in_words(done)
    assert "There is a token in KUBEEZ_MCP_TOKEN (the environment), too, and that one wins." in in_words(done)
    assert TOKEN not in done.output
    assert "There still is a token in KUBEEZ_MCP_TOKEN" in in_words(typed(authority, "logout", "--hosted"))


def test_a_no_in_the_browser_is_an_answer(authority: Authority, ring: MemoryKeyring, browser: list[str]) -> None:
    authority.declines = "access_denied"
    done = typed(authority, "login", "--hosted", code=2)
    assert "The sign-in was declined in the browser. Nothing was kept." in " ".join(done.stderr.split())
    assert ring.kept == {}


def test_an_address_can_be_pasted_where_the_browser_is_on_another_machine(
    authority: Authority, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Person:
        """Opens the address elsewhere, and pastes first something else and then what that browser ended at."""

        said, pasted = "", 0
        out, into = os.pipe()

        def fileno(self) -> int:
            self.said += capsys.readouterr().err
            self.pasted += 1
            back = "http://127.0.0.1/callback?code=1&state=2"
            if self.pasted == 2:
                address = next(line for line in self.said.splitlines() if "/authorize?" in line)
                back = httpx.get(address, trust_env=False, verify=False).headers["location"]
            os.write(self.into, f"{back}\n".encode())
            return self.out

    monkeypatch.setattr(login, "PERSON_SECONDS", 30.0)
    monkeypatch.setattr(click, "launch", pytest.fail)
    monkeypatch.setattr("sys.stdin", person := Person())
    cli.main(["login", "--hosted", "--no-browser"], standalone_mode=False)
    assert person.pasted == 2
    assert "paste that address here" in person.said
    assert "That is not where this sign-in ends." in person.said
    assert "You are signed in to" in capsys.readouterr().out
    assert len(ring.kept) == 1


def test_nobody_has_to_paste_anything_to_be_let_go(
    authority: Authority, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Silent:
        """Opens the address in a browser of this machine, and types nothing."""

        out, into = os.pipe()

        def fileno(self) -> int:
            address = next(line for line in capsys.readouterr().err.splitlines() if "/authorize?" in line)
            threading.Thread(target=browse, args=(address,), daemon=True).start()
            return self.out

    monkeypatch.setattr(login, "PERSON_SECONDS", 30.0)
    monkeypatch.setattr("sys.stdin", person := Silent())
    cli.main(["login", "--hosted", "--no-browser"], standalone_mode=False)
    assert len(ring.kept) == 1
    [waiting] = [thread for thread in threading.enumerate() if thread.name == "typed"]
    assert waiting.daemon, "the end of the program waits for no other thread"
    os.close(person.into)
    waiting.join(10)


# What `doctor` sees


def seen(authority: Authority, code: int = 0) -> list[tuple[str, str]]:
    told = json.loads(typed(authority, "doctor", "--json", code=code).stdout)["findings"]
    assert TOKEN not in str(told)
    return [(one["level"], f"{one['detail']} {one['next_step']}") for one in told if one["check"] == "hosted server"]


@pytest.mark.usefixtures("unstarted")
def test_doctor_says_that_the_door_is_closed_and_what_opens_it(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "login --hosted` opens it" in seen(authority)[0][1]
    monkeypatch.setenv("KUBEEZ_MODE", "sandbox")
    monkeypatch.setenv("KUBEEZ_MCP_TOKEN", TOKEN)
    monkeypatch.delenv("KUBEEZ_MCP_URL")
    assert seen(authority) == [("ok", "not used in the sandbox ")]


@pytest.mark.usefixtures("unstarted")
def test_doctor_says_by_which_token_and_whether_the_server_takes_it(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBEEZ_MCP_TOKEN", TOKEN)
    with running_sandbox(tmp_path / "hosted", hosted=True) as server:
        monkeypatch.setenv("KUBEEZ_MCP_URL", f"{server.url}/mcp")
        server.control.token(TOKEN, credits=50)
        (_, door), (_, answers), (_, balance) = seen(authority)
        assert "is open by the token in KUBEEZ_MCP_TOKEN (30 characters, known here as hosted-" in door
        assert "its end is not known here, nor are its scopes" in door
        assert "tools" in answers
        assert "the token is accepted; 50 credits" in balance
        server.control.token(TOKEN, scopes=["generate:media"])
        step = "Sign in again, or make a token, with the scope read:balance."
        assert ("warning", f"the token may not read the balance {step}") in seen(authority)
        server.control.token(TOKEN, revoked=True)
        level, told = seen(authority, code=1)[-1]
        assert level == "problem"
        assert "Put another one there, or take it out and run `kubeez-mcp-local login --hosted`" in told
    monkeypatch.setenv("KUBEEZ_MCP_TOKEN", web_token(exp=1_500_000_000))
    assert "ended at 2017-07-14 02:40 UTC" in seen(authority, code=1)[0][1]


@pytest.mark.usefixtures("unstarted", "browser")
def test_doctor_says_whose_sign_in_with_which_scopes_until_when(authority: Authority, ring: MemoryKeyring) -> None:
    typed(authority, "login", "--hosted")
    [(place, text)] = ring.kept.items()
    kept = Kept.read(text)
    assert kept is not None
    authority.overrides["/mcp"] = (404, {})
    (level, told), (asked, _) = seen(authority, code=1)
    assert (level, asked) == ("ok", "problem")
    assert "is open by your sign-in, with the scopes generate:media, read:balance, kept in the system's keyr" in told
    assert "The access token ends at" in told
    ring.kept[place] = kept.model_copy(update={"expires_at": 1_500_000_000.0}).model_dump_json()
    [(level, told)] = seen(authority)
    assert "The access token ended at 2017-07-14 02:40 UTC; it is refreshed by itself." in told
    assert authority.count("POST /token") == 1, "nothing is refreshed"
    ring.kept[place] = kept.model_copy(update={"expires_at": 1.0, "refresh_token": None}).model_dump_json()
    assert seen(authority, code=1)[1] == (
        "problem",
        "the sign-in has ended, and nothing came to refresh it by Run `kubeez-mcp-local login --hosted`.",
    )
    ring.kept.clear()
    assert seen(authority, code=1)[0][0] == "problem"


def test_what_belongs_to_the_hosted_half_is_only_for_it(authority: Authority) -> None:
    done = typed(authority, "login", "--no-browser", code=2)
    assert "--no-browser goes with --hosted" in done.stderr
