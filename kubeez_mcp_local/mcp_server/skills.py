"""Skills: short texts on how to work with this server that come with the package, and every recipe.

Served as resources, and as Skills over MCP (SEP-2640, final since September 2026) for hosts that ask. Recipes are files
that change, so nothing is kept: each list is made from what is on disk.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from mcp import MCPError
from mcp.server.mcpserver import Extension, MethodBinding
from mcp.types import INVALID_PARAMS, PaginatedRequestParams, RequestParams
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.text import on_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.mcp_server.recipes import Recipes

SCHEME = "skill://"
_NAME = re.compile(r"[a-z0-9-]+\Z")


class UnknownSkillError(KubeezError):
    """There is no skill of that name."""

    code = "unknown_skill"


def skill_names() -> list[str]:
    """Names of the skills."""
    return sorted(
        item.name.removesuffix(".md")
        for item in (files("kubeez_mcp_local") / "skills").iterdir()
        if item.name.endswith(".md")
    )


def skill_text(name: str) -> str:
    """The Markdown of one skill, front matter included.

    Raises:
        UnknownSkillError: There is none of that name; the message lists those there are.
    """
    if not _NAME.match(name) or name not in skill_names():
        raise UnknownSkillError(f"There is no skill {name!r}.", next_step=f"Skills: {', '.join(skill_names())}.")
    return (files("kubeez_mcp_local") / "skills" / f"{name}.md").read_text("utf-8")


class GetSkillParams(RequestParams):
    """Parameters of `skills/get`."""

    uri: str


@dataclass(frozen=True)
class Skill:
    """One skill: its name and its files by relative path, `SKILL.md` first."""

    name: str
    files: dict[str, str]

    @property
    def uri(self) -> str:
        """Address of its `SKILL.md`."""
        return f"{SCHEME}{self.name}/SKILL.md"

    @property
    def front_matter(self) -> Any:
        """What `SKILL.md` says at its top; a listing has to say exactly the same."""
        from kubeez_mcp_local.cookbook.parse import read_yaml

        front, _ = read_yaml(self.files["SKILL.md"].removeprefix("---\n").partition("\n---\n")[0])
        return front

    def entry(self) -> dict[str, Any]:
        """What `skills/list` and `skills/get` say of it."""
        return {
            "uri": self.uri,
            "frontmatter": self.front_matter,
            "resources": [
                {
                    "uri": f"{SCHEME}{self.name}/{path}",
                    "digest": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
                    "size": len(text.encode()),
                }
                for path, text in self.files.items()
            ],
        }


class SkillsOverMcp(Extension):
    """Serves `skills/list` and `skills/get`; the files themselves are resources.

    Args:
        recipes: The recipes, each of which is a skill too.
    """

    identifier = "io.modelcontextprotocol/skills"

    def __init__(self, recipes: Recipes) -> None:
        self._recipes = recipes

    def methods(self) -> Sequence[MethodBinding]:
        modern = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [
            MethodBinding("skills/list", PaginatedRequestParams, self._list, modern),
            MethodBinding("skills/get", GetSkillParams, self._get, modern),
        ]

    async def read(self, uri: str) -> str | None:
        """The text at a `skill://` address, or `None` if there is none."""
        name, _, path = uri.removeprefix(SCHEME).partition("/")
        skill = await anyio.to_thread.run_sync(self._find, name)
        return skill.files.get(path) if skill else None

    async def _list(self, _context: Any, _params: PaginatedRequestParams) -> dict[str, Any]:
        skills = await anyio.to_thread.run_sync(self._entries)
        return {"skills": skills, "ttlMs": 0, "cacheScope": "private"}

    async def _get(self, _context: Any, params: GetSkillParams) -> dict[str, Any]:
        name = params.uri.removeprefix(SCHEME).removesuffix("/SKILL.md")
        skill = await anyio.to_thread.run_sync(self._find, name)
        if skill is None or skill.uri != params.uri:
            uri = on_one_line(params.uri)
            raise MCPError(code=INVALID_PARAMS, message=f"Unknown skill: {uri}", data={"uri": uri})
        return {"skill": skill.entry(), "ttlMs": 0, "cacheScope": "private"}

    def _entries(self) -> list[dict[str, Any]]:
        names = dict.fromkeys([*skill_names(), *self._recipes.library.index().entries])
        return [skill.entry() for name in names if (skill := self._find(name))]

    def _find(self, name: str) -> Skill | None:
        """The skill of that name. A recipe that cannot be rendered is none: it is reported among the recipes."""
        from kubeez_mcp_local.cookbook.export.documents import skill_files

        if name in skill_names():
            return Skill(name, {"SKILL.md": skill_text(name)})
        try:
            files = skill_files(self._recipes.library.get(name))
        except KubeezError:
            return None
        return Skill(name, {path.partition("/")[2]: text for path, text in files.items()})
