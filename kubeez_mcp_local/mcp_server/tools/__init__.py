"""Every tool there is, in the order in which clients see them."""

from __future__ import annotations

from kubeez_mcp_local.mcp_server.tools import files, jobs, library, paid, planning, recipes

ALL_TOOLS = (
    planning.plan,
    planning.pick_model,
    planning.get_skill,
    planning.get_models,
    planning.estimate,
    planning.get_balance,
    *paid.paid_tools(),
    paid.regenerate,
    files.trim_video,
    files.join_videos,
    paid.generate_music_persona,
    jobs.wait_for_generation,
    jobs.get_status,
    jobs.get_generation,
    jobs.get_generations,
    files.view_media,
    files.upload_media,
    files.get_upload_url,
    files.get_upload_session,
    library.list_assets,
    library.manage_library,
    library.list_gemini_omni_voices,
    library.play_gemini_omni_voice,
    library.list_gemini_omni_characters,
    library.open_studio,
    library.open_gallery,
    library.open_pricing,
    recipes.list_recipes,
    recipes.get_recipe,
    recipes.run_recipe,
    recipes.save_recipe,
)
HOSTED_TOOLS = paid.hosted_tools({name for spec in ALL_TOOLS for name in (spec.name, *spec.aliases)})
"""Exist only where the user asked for them, and the hosted server's door is open."""
