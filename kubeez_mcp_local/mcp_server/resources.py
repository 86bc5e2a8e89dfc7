"""Resources: models, recipes, skills, jobs and the account, as text a client can attach to a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.types import Resource, ResourceTemplate

from kubeez_mcp_local.catalogue.listing import UnknownModelError
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.mcp_server.answers import json_of
from kubeez_mcp_local.mcp_server.rows import job_details, job_row, model_row
from kubeez_mcp_local.mcp_server.skills import SCHEME, SkillsOverMcp, skill_names, skill_text
from kubeez_mcp_local.text import on_one_line

if TYPE_CHECKING:
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.recipes import Recipes

_JSON = "application/json"
_MARKDOWN = "text/markdown"


class Resources:
    """The resources of one bridge, its recipes, and its skills."""

    def __init__(self, bridge: Bridge, recipes: Recipes, skills: SkillsOverMcp) -> None:
        self._bridge = bridge
        self._recipes = recipes
        self._skills = skills

    async def listing(self) -> list[Resource]:
        """Every resource with a fixed address, recipes and skills included."""
        index = await self._recipes.index()
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
        """Addresses with a variable part."""
        return [
            ResourceTemplate(uri_template="kubeez://models/{id}", name="model", title="One model", mime_type=_JSON),
            ResourceTemplate(uri_template="kubeez://jobs/{id}", name="job", title="One job", mime_type=_JSON),
            ResourceTemplate(
                uri_template="kubeez://recipes/{name}", name="recipe", title="One recipe", mime_type=_MARKDOWN
            ),
            ResourceTemplate(
                uri_template="kubeez://skills/{name}", name="skill", title="One skill", mime_type=_MARKDOWN
            ),
        ]

    async def read(self, uri: str) -> ReadResourceContents:
        """The content at `uri`.

        Raises:
            ResourceNotFoundError: There is nothing at this address.
            ResourceError: It exists but cannot be read now; the message says why.
        """
        if uri.startswith(SCHEME):
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
            raise ResourceNotFoundError(f"There is no resource {on_one_line(uri)}.")
        try:
            content, mime_type = await reader(unquote(rest))
        except KubeezError as error:
            missing = error.code in ("unknown_model", "unknown_job", "unknown_recipe", "unknown_skill", "not_found")
            raise (ResourceNotFoundError if missing else ResourceError)(str(error)) from None
        text = content if isinstance(content, str) else json_of(content)
        return ReadResourceContents(content=text, mime_type=mime_type)

    async def _models(self, model_id: str) -> tuple[Any, str]:
        listing = await self._bridge.catalogue.listing()
        if model_id:
            model = listing.find(model_id)
            if model is None:
                raise UnknownModelError(model_id, listing.near(model_id))
            return dict(model.row), _JSON
        rows = [model_row(model) for model in listing.models]
        return {"source": listing.source, "age_seconds": int(listing.age_seconds), "models": rows}, _JSON

    async def _account(self, rest: str) -> tuple[Any, str]:
        if rest:
            raise ResourceNotFoundError("kubeez://account has no parts.")
        return await self._bridge.account_facts(), _JSON

    async def _jobs(self, job_id: str) -> tuple[Any, str]:
        if job_id in ("", "recent"):
            return [job_row(job) for job in await self._bridge.ledger.recent(20)], _JSON
        return job_details(await self._bridge.ledger.get(job_id)), _JSON

    async def _recipe(self, name: str) -> tuple[Any, str]:
        recipe = await self._recipes.get(name)
        return recipe.text, _MARKDOWN

    async def _shared_skill(self, uri: str) -> ReadResourceContents:
        text = await self._skills.read(uri)
        if text is None:
            raise ResourceNotFoundError(f"There is no resource {on_one_line(uri)}.")
        return ReadResourceContents(content=text, mime_type=_MARKDOWN if uri.endswith(".md") else "text/plain")

    async def _skill(self, name: str) -> tuple[Any, str]:
        return skill_text(name), _MARKDOWN
