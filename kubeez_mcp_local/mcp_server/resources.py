"""Resources: models, recipes, skills, jobs and the account, as text a client can attach to a conversation.

Skills are short texts on how to work with this server that come with the package, and every recipe. They are served as
resources, and as Skills over MCP (SEP-2640, final since September 2026) for hosts that ask. Recipes are files that
change, so nothing is kept: each list is made from what is on disk.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import anyio.to_thread
from mcp import MCPError
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Extension, MethodBinding
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.types import INVALID_PARAMS, PaginatedRequestParams, RequestParams, Resource, ResourceTemplate
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.mcp_server.answers import json_of
from kubeez_mcp_local.mcp_server.rows import job_details, job_row, model_row
from kubeez_mcp_local.text import on_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.prompts import Recipes

_JSON = "application/json"
_MARKDOWN = "text/markdown"
_SCHEME = "skill://"
_NAME = re.compile(r"[a-z0-9-]+\Z")


@dataclass(frozen=True)
class Resources:
    """The resources of one bridge, its recipes, and its skills."""

    bridge: Bridge
    recipes: Recipes
    skills: SkillsOverMcp

    async def listing(self) -> list[Resource]:
        index = await self.recipes.index()
        return [
            Resource(uri="kubeez://models", name="models", title="Models and prices", mime_type=_JSON),
            Resource(uri="kubeez://account", name="account", title="Balance, ceilings, spent today", mime_type=_JSON),
            Resource(uri="kubeez://jobs/recent", name="recent jobs", title="The newest 20 jobs", mime_type=_JSON),
            *(
                Resource(uri=f"kubeez://skills/{name}", name=name, title=f"Skill: {name}", mime_type=_MARKDOWN)
                for name in skill_names()
            ),
            *(
                Resource(
                    uri=f"kubeez://recipes/{entry.name}",
                    name=entry.name,
                    title=entry.summary.title,
                    description=entry.summary.description,
                    mime_type=_MARKDOWN,
                )
                for entry in index.entries.values()
            ),
        ]

    def templates(self) -> list[ResourceTemplate]:
        return [
            ResourceTemplate(uri_template=f"kubeez://{path}", name=name, title=f"One {name}", mime_type=mime_type)
            for path, name, mime_type in (
                ("models/{id}", "model", _JSON),
                ("jobs/{id}", "job", _JSON),
                ("recipes/{name}", "recipe", _MARKDOWN),
                ("skills/{name}", "skill", _MARKDOWN),
            )
        ]

    async def read(self, uri: str) -> ReadResourceContents:
        """The content at `uri`.

        Raises:
            ResourceNotFoundError: There is nothing at this address.
            ResourceError: It exists but cannot be read now; the message says why.
        """
        if uri.startswith(_SCHEME):
            return await self._shared_skill(uri)
        scheme, _, path = uri.partition("://")
        place, _, rest = path.partition("/")
        reader = {
            "models": self._models,
            "account": self._account,
            "jobs": self._jobs,
            "recipes": self._recipe,
            "skills": self._skill,
        }.get(place)
        if scheme != "kubeez" or reader is None:
            raise _nothing_at(uri)
        try:
            content, mime_type = await reader(unquote(rest))
        except KubeezError as error:
            missing = error.code in ("unknown_model", "unknown_job", "unknown_recipe", "unknown_skill", "not_found")
            raise (ResourceNotFoundError if missing else ResourceError)(str(error)) from None
        text = content if isinstance(content, str) else json_of(content)
        return ReadResourceContents(content=text, mime_type=mime_type)

    async def _models(self, model_id: str) -> tuple[Any, str]:
        listing = await self.bridge.catalogue.listing()
        if model_id:
            return dict(listing.get(model_id).row), _JSON
        rows = [model_row(model, listing) for model in listing.models]
        return {"source": listing.source, "age_seconds": int(listing.age_seconds), "models": rows}, _JSON

    async def _account(self, rest: str) -> tuple[Any, str]:
        if rest:
            raise ResourceNotFoundError("kubeez://account has no parts.")
        return await self.bridge.account_facts(), _JSON

    async def _jobs(self, job_id: str) -> tuple[Any, str]:
        if job_id in ("", "recent"):
            return [job_row(job) for job in await self.bridge.ledger.recent(20)], _JSON
        return job_details(await self.bridge.ledger.get(job_id)), _JSON

    async def _recipe(self, name: str) -> tuple[Any, str]:
        return (await self.recipes.get(name)).text, _MARKDOWN

    async def _shared_skill(self, uri: str) -> ReadResourceContents:
        text = await self.skills.read(uri)
        if text is None:
            raise _nothing_at(uri)
        return ReadResourceContents(content=text, mime_type=_MARKDOWN if uri.endswith(".md") else "text/plain")

    async def _skill(self, name: str) -> tuple[Any, str]:
        return skill_text(name), _MARKDOWN


def _nothing_at(uri: str) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"There is no resource {on_one_line(uri)}.")


def skill_names() -> list[str]:
    return sorted(
        item.name.removesuffix(".md")
        for item in (files("kubeez_mcp_local") / "skills").iterdir()
        if item.name.endswith(".md")
    )


def skill_text(name: str) -> str:
    """The Markdown of one skill, front matter included.

    Raises:
        KubeezError: There is none of that name (`unknown_skill`); the message lists those there are.
    """
    if not _NAME.match(name) or name not in skill_names():
        known = ", ".join(skill_names())
        raise KubeezError(f"There is no skill {name!r}.", next_step=f"Skills: {known}.", code="unknown_skill")
    return (files("kubeez_mcp_local") / "skills" / f"{name}.md").read_text("utf-8")


class GetSkillParams(RequestParams):
    uri: str


@dataclass(frozen=True)
class Skill:
    """One skill: its name and its files by relative path, `SKILL.md` first."""

    name: str
    files: dict[str, str]

    @property
    def uri(self) -> str:
        return f"{_SCHEME}{self.name}/SKILL.md"

    @property
    def front_matter(self) -> Any:
        """What `SKILL.md` says at its top; a listing has to say exactly the same."""
        from kubeez_mcp_local.cookbook.parse import read_yaml

        front, _ = read_yaml(self.files["SKILL.md"].removeprefix("---\n").partition("\n---\n")[0], "SKILL.md")
        return front

    def entry(self) -> dict[str, Any]:
        """What `skills/list` and `skills/get` say of it."""
        return {
            "uri": self.uri,
            "frontmatter": self.front_matter,
            "resources": [
                {
                    "uri": f"{_SCHEME}{self.name}/{path}",
                    "digest": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
                    "size": len(text.encode()),
                }
                for path, text in self.files.items()
            ],
        }


class SkillsOverMcp(Extension):
    """Serves `skills/list` and `skills/get`; the files themselves are resources. Each recipe is a skill too."""

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
        name, _, path = uri.removeprefix(_SCHEME).partition("/")
        skill = await anyio.to_thread.run_sync(self._find, name)
        return skill.files.get(path) if skill else None

    async def _list(self, _context: Any, _params: PaginatedRequestParams) -> dict[str, Any]:
        skills = await anyio.to_thread.run_sync(self._entries)
        return {"skills": skills, "ttlMs": 0, "cacheScope": "private"}

    async def _get(self, _context: Any, params: GetSkillParams) -> dict[str, Any]:
        name = params.uri.removeprefix(_SCHEME).removesuffix("/SKILL.md")
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
