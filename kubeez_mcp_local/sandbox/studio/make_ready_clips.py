"""Makes the clips in `ready/`. Needs PyAV; run after a change of the scenery: `python -m <this module>`."""

from __future__ import annotations

from pathlib import Path

from kubeez_mcp_local.sandbox.frames import clip_size
from kubeez_mcp_local.sandbox.studio import clips
from kubeez_mcp_local.sandbox.studio.ready_clips import RATIOS, file_name
from kubeez_mcp_local.sandbox.studio.work import Work

SECONDS = 4.0


def make(folder: Path) -> None:
    """Write one small clip for each ratio into `folder`."""
    folder.mkdir(exist_ok=True)
    for seed, ratio in enumerate(RATIOS, start=11):
        width, height = clip_size(ratio)
        work = Work("clip", "mp4", "sandbox", "A stand-in clip", seed, "", width // 2, height // 2, SECONDS)
        clips.render(work, [], folder / file_name(ratio))


if __name__ == "__main__":
    make(Path(__file__).with_name("ready"))
