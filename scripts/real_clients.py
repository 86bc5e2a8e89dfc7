"""Connect real client programs to this server, each from an empty home, by what `install` writes there.

`uv run python -m scripts.real_clients [FOLDER]`: FOLDER is where npm installs the programs (default: a new one). Prints
a table of what was tried, and exits with 1 if something failed. Needs npm and a network for that; the programs
themselves need neither a login nor a model for what is tried here. Not part of CI: they are some 700 MB.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts import package

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = ("@anthropic-ai/claude-code", "@openai/codex", "@google/gemini-cli", "opencode-ai", "node@22")
PATIENCE = 120.0
"""Seconds for one command of a program; some look around the network first."""


class TrialError(Exception):
    """What a program did is not what it should have done."""


@dataclass
class Home:
    """An empty home, the programs that npm brought, and what was tried in it."""

    folder: Path
    programs: Path
    tried: list[str] = field(default_factory=list)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBEEZ_", "XDG_"))}
        path = os.pathsep.join([str(self.programs), os.environ["PATH"]])
        homes = {"HOME": str(self.folder), "USERPROFILE": str(self.folder)}
        return kept | homes | {"PATH": path, "GEMINI_CLI_TRUST_WORKSPACE": "true"}

    def run(self, *command: str) -> str:
        """Everything that a command prints.

        Raises:
            TrialError: It ended with another exit code than 0.
        """
        done = subprocess.run(
            command,
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        printed = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.stdout + done.stderr)
        if done.returncode:
            raise TrialError(f"{' '.join(command)} ended with {done.returncode}: {printed.strip()[-300:]}")
        return printed

    def install(self, client: str, *options: str) -> None:
        self.run(sys.executable, "-m", "kubeez_mcp_local", *options, "install", client)
        self.tried.append("`install` wrote the entry")

    def publish(self) -> None:
        """Let `uvx` find this version as if it were published: by a file, since not every client hands on variables."""
        self.run("uv", "build", "--quiet", "--wheel", "--out-dir", str(self.folder / "dist"), str(package.ROOT))
        config = self.folder / ".config" / "uv" / "uv.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f"native-tls = true\nfind-links = [{json.dumps(str(self.folder / 'dist'))}]\n", "utf-8")

    def expect(self, pattern: str, *command: str) -> None:
        """Raises `TrialError` unless what a command prints matches."""
        printed = self.run(*command)
        if not re.search(pattern, printed):
            raise TrialError(f"{' '.join(command)} printed: {printed.strip()[-300:]}")
        self.tried.append(f"`{' '.join(command)}`: connected")


def claude_code(home: Home) -> None:
    home.install("claude-code")
    home.expect(r"kubeez: .*✔ Connected", "claude", "mcp", "list")


def claude_code_plugin(home: Home) -> None:
    home.publish()
    home.run("claude", "plugin", "validate", "--strict", str(package.ROOT))
    home.run("claude", "plugin", "validate", "--strict", str(package.ROOT / "packaging" / "claude-plugin"))
    home.tried.append("`claude plugin validate --strict`, plugin and marketplace")
    home.run("claude", "plugin", "marketplace", "add", str(package.ROOT))
    home.run("claude", "plugin", "install", f"kubeez@{package.NAME}")
    home.tried.append("`claude plugin install`")
    home.expect(r"plugin:kubeez:kubeez: .*✔ Connected", "claude", "mcp", "list")


def gemini_cli(home: Home) -> None:
    home.install("gemini-cli")
    home.expect(r"✓ kubeez: .* Connected", "gemini", "mcp", "list")


def gemini_extension(home: Home) -> None:
    home.publish()
    extension = str(package.ROOT / "packaging" / "gemini-extension")
    home.run("gemini", "extensions", "validate", extension)
    home.tried.append("`gemini extensions validate`")
    home.run("gemini", "extensions", "install", extension, "--consent", "--skip-settings")
    home.tried.append("`gemini extensions install`")
    home.expect(r"✓ kubeez .*Connected", "gemini", "mcp", "list")


def opencode(home: Home) -> None:
    home.install("opencode")
    home.expect(r"✓ +kubeez +connected", "opencode", "mcp", "list")


def codex(home: Home) -> None:
    settings = home.folder / "settings.env"
    settings.write_text("KUBEEZ_ASK_ABOVE=0\nKUBEEZ_SANDBOX_SPEED=1000\n", "utf-8")
    home.install("codex", "--env-file", str(settings))
    server = CodexServer(home)
    try:
        server.use()
    finally:
        server.close()


class CodexServer:
    """Codex's app server, which lists and calls an MCP server's tools without login and without a model."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._questions: list[str] = []
        self._last = 0
        self._process = subprocess.Popen(
            ["codex", "app-server"],
            cwd=home.work,
            env=home.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def use(self) -> None:
        who = {"clientInfo": {"name": "try", "version": "1"}, "capabilities": {"experimentalApi": True}}
        self._request("initialize", who)
        self._write({"method": "initialized", "params": {}})
        (listed,) = self._request("mcpServerStatus/list", {"detail": "full"})["data"]
        self._home.tried.append(f"{listed['name']}: {len(listed['tools'])} tools, {len(listed['resources'])} resources")
        thread = self._request("thread/start", {})["thread"]["id"]
        asked = {"threadId": thread, "server": "kubeez"}
        picture = {"prompt": "a kite", "model": "z-image"}
        started = self._call(asked, "generate_media", picture)
        approval = started.get("approval")
        if approval:
            started = self._call(asked, "generate_media", {**picture, "approval": approval})
        done = self._call(asked, "wait_for_generation", {"id": started["generation_id"]})
        how = "its approval code passed on" if approval else f"asked: {self._questions[0][:60]}…"
        self._home.tried.append(f"a picture ordered ({how}), waited for: {done['status']}")
        uri = f"kubeez://jobs/{started['generation_id']}"
        read = self._request("mcpServer/resource/read", {**asked, "uri": uri})["contents"][0]["text"]
        self._home.tried.append(f"the job read as a resource: {json.loads(read)['state']}")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def _call(self, asked: dict[str, Any], tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = self._request("mcpServer/tool/call", {**asked, "tool": tool, "arguments": arguments})
        if result.get("isError"):
            raise TrialError(f"{tool}: {result['content'][0]['text']}")
        facts: dict[str, Any] = result["structuredContent"]
        return facts

    def _request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._last += 1
        self._write({"id": self._last, "method": method, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "elicitation" in message.get("method", "") and "id" in message:
                self._questions.append(message["params"]["message"])
                self._write({"id": message["id"], "result": {"action": "accept", "content": {"spend": True}}})
            elif message.get("id") == self._last and "method" not in message:
                if "error" in message:
                    raise TrialError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
        raise TrialError(f"Codex ended before it answered {method}.")

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


TRIALS: dict[str, Callable[[Home], None]] = {
    "Claude Code": claude_code,
    "Claude Code, plugin": claude_code_plugin,
    "Codex": codex,
    "Gemini CLI": gemini_cli,
    "Gemini CLI, extension": gemini_extension,
    "opencode": opencode,
}
COMMANDS = {"Claude Code": "claude", "Codex": "codex", "Gemini CLI": "gemini", "opencode": "opencode"}


def fetch(folder: Path) -> Path:
    """Install what is missing in `folder` by npm; returns where the programs are."""
    programs = folder / "node_modules" / ".bin"
    if not all((programs / command).exists() for command in COMMANDS.values()):
        folder.mkdir(parents=True, exist_ok=True)
        flags = ("--silent", "--no-audit", "--no-fund", "--no-package-lock")
        npm = shutil.which("npm") or sys.exit("There is no npm here, which brings the programs.")
        subprocess.run([npm, "install", *flags, "--prefix", str(folder), *PROGRAMS], check=True)
    return programs


def main(arguments: list[str]) -> None:
    """Try all clients, or with more arguments than FOLDER those whose names begin so."""
    failed = False
    with tempfile.TemporaryDirectory(prefix="kubeez-clients-") as made:
        programs = fetch(Path(*arguments[:1]) if arguments else Path(made, "programs"))
        print("| client | version | what was tried | result |\n| --- | --- | --- | --- |")
        for number, (client, trial) in enumerate(TRIALS.items()):
            if arguments[1:] and not client.lower().startswith(tuple(arguments[1:])):
                continue
            home = Home(Path(made, str(number)), programs)
            home.work.mkdir(parents=True)
            version = re.findall(r"\d+\.\d+\.\d+", home.run(COMMANDS[client.partition(",")[0]], "--version"))[0]
            try:
                trial(home)
                result = "works"
            except (TrialError, subprocess.TimeoutExpired, KeyError) as error:
                failed, result = True, f"failed: {error}"
            print(f"| {client} | {version} | {'; '.join(home.tried)} | {result} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
