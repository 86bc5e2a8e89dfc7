from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.web.export import _portable
from tests.forking import command
from tests.outputs_made import Made

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    made = Made(tmp_path / "state", tmp_path / "out")
    made.job(made.picture("kite.png"), prompt="a red kite sk_live_secret", recipe="ads", run="ads-1/4f")
    made.job(made.picture("fox.png"), prompt="a fox", model="z-image")
    made.ledger.close()
    return {
        "KUBEEZ_STATE_DIR": str(tmp_path / "state"),
        "KUBEEZ_OUTPUT_DIR": str(tmp_path / "out"),
        "KUBEEZ_MODE": "sandbox",
    }


def test_what_is_asked_for_becomes_a_page_in_a_new_folder(variables: dict[str, str], tmp_path: Path) -> None:
    share = tmp_path / "share"

    def export(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["gallery", "--export", str(share), *arguments], env=variables).output

    assert "index.html: 1 output with its sidecar." in export("--run", "ads-1").replace("\n", "")
    assert sorted(path.name for path in share.glob("files/*/*")) == ["kite.json", "kite.png"]
    assert "a red kite" in (share / "data.js").read_text()
    assert "sk_live_secret" not in (share / "data.js").read_text()
    assert "a fox" not in (share / "data.js").read_text()
    assert "is not empty" in export("--model", "z-image")


@pytest.mark.parametrize(
    ("name", "portable"),
    [
        ("a kite.png", "a kite.png"),
        ("../a:b?.png", "_a_b_.png"),
        ("\udce9.png", "_.png"),
        ("con.png", "_con.png"),
        ("Lpt1.a.png", "_Lpt1.a.png"),
        ("é" * 100 + ".png", "é" * 60 + ".png"),
        (". .png", "file.png"),
    ],
)
def test_a_file_gets_a_name_that_every_system_takes(name: str, portable: str) -> None:
    assert _portable(name) == portable


def test_it_serves_until_it_is_interrupted(variables: dict[str, str], tmp_path: Path) -> None:
    kept = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    with subprocess.Popen(
        command("gallery", "--no-open", "--since", "2026-11-29"),
        env=kept | variables,
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().strip())
        assert address.fragment.endswith("since=2026-11-29")
        page = httpx.get(f"http://{address.netloc}{address.path}", trust_env=False, verify=False)
        assert "<title>Gallery" in page.text
        with httpx.stream(
            "GET", f"http://{address.netloc}/api/gallery/changes", trust_env=False, verify=False
        ) as refused:
            assert refused.status_code == 401
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, said.strip()) == ("", "Ctrl-C ends it.")
