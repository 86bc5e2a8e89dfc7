"""What every conversation with this server starts from. The first 512 characters stand alone (some hosts cut there)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubeez_mcp_local.settings import Mode

if TYPE_CHECKING:
    from kubeez_mcp_local.settings import Settings

_RULES = """\
Kubeez makes images, video, music and speech for credits. {mode} Quote first: estimate, tell the user the price, and
generate only after a yes. generate_* returns a generation_id at once; wait_for_generation(id) returns the finished
files (at most 45 s a call; call again while it runs). Never repeat a paid call to find out what became of it: ask
get_status. Local paths work wherever a media URL does.
"""
_LIMITS = """\
Ceilings set by the user, which no argument can raise: {call:g} credits a call, {day:g} a day. When a tool answers
with a quote and an approval code, show the quote to the user and pass the code back only after they agree. Files are
saved to {folder}; view_media shows a small preview. Model ids, ratios and durations come from get_models.
"""
_RECIPES = " Ready workflows with budgets are the prompts of this server, and list_recipes."
_MODES = {
    Mode.LIVE: "Mode: live, real credits.",
    Mode.SANDBOX: "Mode: sandbox, a free rehearsal with marked stand-in files; set KUBEEZ_API_KEY to go live.",
}


def instructions(settings: Settings) -> str:
    """The server's instructions for `settings`."""
    rules = _RULES.format(mode=_MODES[settings.effective_mode])
    limits = _LIMITS.format(
        call=settings.max_credits_per_call, day=settings.max_credits_per_day, folder=settings.output_dir
    )
    recipes = _RECIPES if {"all", "recipes"} & set(settings.toolsets) else ""
    return f"{rules.replace(chr(10), ' ').strip()}\n\n{limits.replace(chr(10), ' ').strip()}{recipes}"
