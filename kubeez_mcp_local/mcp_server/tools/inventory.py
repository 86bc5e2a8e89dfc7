"""Every tool there is, in the order in which clients see them."""

from __future__ import annotations

from kubeez_mcp_local.mcp_server.tools import files, jobs, making, planning

ALL_TOOLS = (
    planning.get_models,
    planning.estimate,
    planning.get_balance,
    making.generate_media,
    jobs.wait_for_generation,
    jobs.get_status,
    jobs.get_generation,
    jobs.get_generations,
    files.view_media,
    files.upload_media,
)
