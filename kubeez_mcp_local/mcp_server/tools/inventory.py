"""Every tool there is, in the order in which clients see them."""

from __future__ import annotations

from kubeez_mcp_local.mcp_server.tools import (
    choosing,
    files,
    jobs,
    library,
    links,
    paid,
    planning,
    recipes,
    uploads,
    voices,
)

ALL_TOOLS = (
    choosing.plan,
    choosing.pick_model,
    choosing.get_skill,
    planning.get_models,
    planning.estimate,
    planning.get_balance,
    *paid.paid_tools(),
    paid.regenerate,
    files.trim_video,
    paid.generate_music_persona,
    jobs.wait_for_generation,
    jobs.get_status,
    jobs.get_generation,
    jobs.get_generations,
    files.view_media,
    files.upload_media,
    uploads.get_upload_url,
    uploads.get_upload_session,
    library.list_assets,
    library.manage_library,
    voices.list_gemini_omni_voices,
    voices.play_gemini_omni_voice,
    library.list_gemini_omni_characters,
    links.open_studio,
    links.open_gallery,
    links.open_pricing,
    recipes.list_recipes,
    recipes.get_recipe,
    recipes.run_recipe,
    recipes.save_recipe,
)
