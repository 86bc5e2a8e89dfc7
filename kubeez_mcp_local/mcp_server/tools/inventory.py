"""Every tool there is, in the order in which clients see them."""

from __future__ import annotations

from kubeez_mcp_local.mcp_server.tools import audio, choosing, clips, files, jobs, links, making, planning

ALL_TOOLS = (
    choosing.plan,
    choosing.pick_model,
    choosing.get_skill,
    planning.get_models,
    planning.estimate,
    planning.get_balance,
    making.generate_media,
    making.regenerate,
    clips.remove_background,
    audio.generate_music,
    audio.generate_sound,
    audio.generate_dialogue,
    clips.generate_dubbing,
    clips.generate_captions,
    clips.generate_separation,
    clips.create_ad_copy,
    jobs.wait_for_generation,
    jobs.get_status,
    jobs.get_generation,
    jobs.get_generations,
    files.view_media,
    files.upload_media,
    links.open_studio,
    links.open_gallery,
    links.open_pricing,
)
