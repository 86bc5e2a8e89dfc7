"""Skills over MCP (SEP-2640, final since September 2026): the package's skills and every recipe, for hosts that ask.

Recipes are files that change, so nothing is kept: each list is made from what is on disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from mcp import MCPError
from mcp.server.mcpserver import Extension, MethodBinding
from mcp.types import INVALID_PARAMS, PaginatedRequestParams, RequestParams
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.mcp_server.skills import skill_description, skill_names, skill_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.mcp_server.recipes import Recipes

SCHEME = "skill://"


class GetSkillParams(RequestParams):
    """Parameters of `skills/get`."""

    uri: str


@dataclass(frozen=True)
class Skill:
    """One skill: a name, what it is for, and its files by relative path, `SKILL.md` first."""

    name: str
    description: str
    files: dict[str, str]

    @property
    def uri(self) -> str:
        """Address of its `SKILL.md`."""
        return f"{SCHEME}{self.name}/SKILL.md"

    def entry(self) -> dict[str, Any]:
        """What `skills/list` and `skills/get` say of it."""
        return {
            "uri": self.uri,
            "frontmatter": {"name": self.name, "description": self.description},
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
        for skill in await self._all():
            if skill.name == name:
                return skill.files.get(path)
        return None

    async def _list(self, _context: Any, _params: PaginatedRequestParams) -> dict[str, Any]:
        skills = [skill.entry() for skill in await self._all()]
        return {"skills": skills, "ttlMs": 0, "cacheScope": "private"}

    async def _get(self, _context: Any, params: GetSkillParams) -> dict[str, Any]:
        for skill in await self._all():
            if skill.uri == params.uri:
                return {"skill": skill.entry(), "ttlMs": 0, "cacheScope": "private"}
        raise MCPError(code=INVALID_PARAMS, message=f"Unknown skill: {params.uri}", data={"uri": params.uri})

    async def _all(self) -> list[Skill]:
        ours = [
            Skill(name, skill_description(text), {"SKILL.md": text})
            for name in skill_names()
            if (text := skill_text(name))
        ]
        return [*ours, *await anyio.to_thread.run_sync(self._of_recipes)]

    def _of_recipes(self) -> list[Skill]:
        """Recipes as skills; one that cannot be rendered is left out, as it is reported among the recipes already."""
        from kubeez_mcp_local.cookbook.export.skill import skill_files

        found = []
        for name, entry in self._recipes.library.index().entries.items():
            try:
                files = skill_files(self._recipes.library.get(name))
            except KubeezError:
                continue
            inside = {path.partition("/")[2]: text for path, text in files.items()}
            found.append(Skill(name, entry.summary.description, inside))
        return found
