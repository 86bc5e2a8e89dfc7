"""Make the parts of `docs/` that say what the code says: `uv run python scripts/docs.py`.

A page is written by hand, but for what stands between `<!-- made by scripts/docs.py: NAME -->` and `<!-- end -->`.
`tests/test_readme.py` holds that these parts are as this makes them.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kubeez_mcp_local.cli.clients.formats import Json, Toml, Yaml
from kubeez_mcp_local.cli.clients.known import CLIENTS, SERVER, KeyIn
from kubeez_mcp_local.cli.clients.launch import Launch, Machine
from kubeez_mcp_local.environment import APP
from kubeez_mcp_local.mcp_server.inventory import BoundTool
from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS
from kubeez_mcp_local.sandbox.knobs import Fault, Knobs
from kubeez_mcp_local.settings import TOOLSETS, Settings, variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kubeez_mcp_local.cli.clients.known import Client
    from kubeez_mcp_local.mcp_server.inventory import ToolSpec

DOCS = Path(__file__).parents[1] / "docs"
_PART = re.compile(r"(<!-- made by scripts/docs\.py: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_LAUNCH = Launch("/home/you/.local/bin/kubeez-mcp-local")
_PLATFORMS = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}
_COMPUTED = {"output_dir": "`~/Kubeez`", "state_dir": "platform's state folder"}


def tools() -> str:
    """Every tool with its words and arguments, by toolset."""
    lines = ["| tool | what it does | can spend |", "| --- | --- | --- |"]
    lines += [
        f"| [`{spec.name}`](#{spec.name}) | {spec.description.splitlines()[0]} | {'yes' if spec.spends else 'no'} |"
        for spec in ALL_TOOLS
    ]
    for family in TOOLSETS:
        of_family = [spec for spec in ALL_TOOLS if spec.family == family]
        lines += ["", f"## {family}"] if of_family else []
        for spec in of_family:
            lines += ["", f"### {spec.name}", "", _paragraphs(spec.description), *_arguments(spec)]
    return "\n".join(lines)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _arguments(spec: ToolSpec) -> Iterator[str]:
    schema = BoundTool(spec).listing.input_schema
    if schema["properties"]:
        yield ""
    for name, field in schema["properties"].items():
        needed = ", required" if name in schema.get("required", ()) else ""
        default = f", default `{_written(field['default'])}`" if "default" in field else ""
        yield f"- `{name}` ({_kind(field)}{needed}{default}): {field['description']}"


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{one}`" for one in field["enum"])
    kind = {"array": "list", "string": "text"}.get(field.get("type", ""), field.get("type", "anything"))
    least, most = field.get("minimum"), field.get("maximum")
    if least is None and most is None:
        return str(kind)
    return f"{kind}, {'…' if least is None else least} to {'…' if most is None else most}"


def settings() -> str:
    """Every setting with its default."""
    rows = [
        f"| `{variable(name)}` | {_default(name)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    if field.default_factory is not None:
        return _COMPUTED[name]
    if field.default in (None, (), ""):
        return "–"
    return f"`{_written(field.default[0] if isinstance(field.default, tuple) else field.default)}`"


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def clients() -> str:
    """Every client of `install`: file, entry, how the key gets to the server, limits, source."""
    lines = ["| client | `install` calls it | config | key by `--key-reference` |", "| --- | --- | --- | --- |"]
    for client in CLIENTS.values():
        name = f"[{client.title}](#{_anchor(client.title)})"
        file = "pasted by hand" if client.user_file is None else f"`{_shown(client, 'linux')}`"
        lines.append(f"| {name} | `{client.name}` | {file} | {'yes' if client.reference else '–'} |")
    for client in CLIENTS.values():
        lines += ["", f"## {client.title}", "", *_details(client)]
    return "\n".join(lines)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"))


def _details(client: Client) -> Iterator[str]:
    if client.user_file is None:
        yield "- Config: none that can be edited; `install` shows the entry to paste."
    else:
        places = {platform: _shown(client, platform) for platform in _PLATFORMS}
        told = [f"`{place}`{_on(platform, places)}" for platform, place in places.items() if _first(platform, places)]
        yield f"- Config: {', '.join(told)}{', or the same with `.jsonc`' if client.or_jsonc else ''}."
    if client.project_file:
        yield f"- In a project (`--scope project`): `{client.project_file}`."
    yield f"- Key: {_sentence(client.reference) if client.reference else 'no reference to one is documented.'}"
    if client.limits:
        yield f"- Limits: {client.limits}"
    yield f"- Then: {client.after}"
    yield f"- Source: {client.source}."
    key = KeyIn.REFERENCE if client.reference else KeyIn.NOTHING
    language = {Json: "json", Toml: "toml", Yaml: "yaml"}[type(client.format)]
    text = client.format.snippet((client.path, SERVER), client.entry(_LAUNCH, key))
    question = client.asks(key)
    if question is not None:
        text = client.format.put(text, ("inputs", 0), question)
    yield from ("", f"```{language}", text, "```")


def _sentence(reference: str) -> str:
    return f"with `--key-reference`, as below, {reference}."


def _shown(client: Client, platform: str) -> str:
    """The user's config as one writes it on that platform."""
    place = client.file(Machine(platform, Path("~"), Path()), "user").as_posix()
    for folder, variable_ in (("~/AppData/Roaming", "%APPDATA%"), ("~/AppData/Local", "%LOCALAPPDATA%")):
        place = place.replace(folder, variable_)
    return place.replace("~", "%USERPROFILE%").replace("/", "\\") if platform == "win32" else place


def _first(platform: str, places: dict[str, str]) -> bool:
    return platform != "darwin" or places["darwin"] != places["linux"]


def _on(platform: str, places: dict[str, str]) -> str:
    if platform == "linux" and places["darwin"] == places["linux"]:
        return " on Linux and macOS"
    return f" on {_PLATFORMS[platform]}"


def links() -> str:
    """What installs the published package by a click, where a client has that; no key is in it."""
    entries = {name: CLIENTS[name].entry(Launch("uvx", (APP,))) for name in ("cursor", "vscode")}
    config = quote(base64.b64encode(json.dumps(entries["cursor"]).encode()).decode(), safe="")
    asked = quote(json.dumps({"name": SERVER} | entries["vscode"]), safe="")
    told = {
        "Cursor": f"https://cursor.com/en/install-mcp?name={SERVER}&config={config}",
        "VS Code": f"https://vscode.dev/redirect?url=vscode:mcp/install?{asked}",
    }
    deep = f"cursor://anysphere.cursor-deeplink/mcp/install?name={SERVER}&config={config}"
    lines = [f"- [Add to {client}]({link})" for client, link in told.items()]
    return "\n".join([*lines, f"- The same for Cursor where no browser is in between: `{deep}`"])


def knobs() -> str:
    """Every knob of the sandbox with its default, and the kinds of faults."""
    rows = [
        f"| `{name}` | `{json.dumps(field.get_default(call_default_factory=True))}` | {_cell(field.description)} |"
        for name, field in Knobs.model_fields.items()
    ]
    faults = [f"- `{name}`: {_cell(field.description)}" for name, field in Fault.model_fields.items()]
    return "\n".join(
        ["| knob | at the start | meaning |", "| --- | --- | --- |", *rows, "", "A fault has:", "", *faults]
    )


def _cell(words: str | None) -> str:
    return (words or "").replace("|", "\\|")


PARTS = {"tools": tools, "settings": settings, "clients": clients, "links": links, "knobs": knobs}


def parts_of(page: str) -> Iterable[str]:
    """The names of the parts of a page that are made here."""
    return [name for _, name, _ in _PART.findall(page)]


def made(page: str) -> str:
    """`page` with its parts made anew."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n\n{part[3]}", page)


def main() -> None:
    for path in sorted(DOCS.glob("*.md")):
        before = path.read_text("utf-8")
        after = made(before)
        if after != before:
            path.write_text(after, "utf-8")
            print(f"{path.relative_to(DOCS.parent)} is made anew.")


if __name__ == "__main__":
    main()
