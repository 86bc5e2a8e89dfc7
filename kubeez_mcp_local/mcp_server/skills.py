"""The skills that come with the package: short texts on how to work with this server."""

from __future__ import annotations

import re
from importlib.resources import files

from kubeez_mcp_local.errors import KubeezError

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
