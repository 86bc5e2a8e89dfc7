"""A skill written for the hosted server runs unchanged: stills, clips chained by their frames, uploads with curl.

The calls are those of Kubeez's own published skill for scrolling worlds: the same tools, argument names and spellings,
and only result fields that the hosted server documents. Nothing in here knows what this server adds.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
from PIL import Image, ImageStat

from tests.e2e.clients import ERAS, client, facts_of, says_yes, text_of
from tests.e2e.conftest import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from mcp import Client

    from tests.sandbox_server import RunningSandbox

av = pytest.importorskip("av")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("curl") is None, reason="the skill uploads with curl, which is not installed"),
]

IMAGE_MODEL, VIDEO_MODEL = "gpt-image-2", "seedance-2-480p"
SCENES = {"farm": 11, "kitchen": 27}
"""Each with a seed, so that their colours stay apart however often the test runs."""


@dataclass
class Skill:
    """An assistant that follows the skill; everything it has made lies in `folder`."""

    server: Client
    folder: Path
    seen: dict[str, Any] = field(default_factory=dict)

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        result = await self.server.call_tool(tool, arguments)
        assert not result.is_error, text_of(result)
        return facts_of(result)

    async def start(self, **arguments: Any) -> str:
        """`generate_media`; its id."""
        started = await self.call("generate_media", **arguments)
        assert started["status"] in ("pending", "processing", "completed")
        job: str = started["generation_id"]
        return job

    async def poll(self, job: str) -> dict[str, Any]:
        """`get_generation` until the job is done and its URLs are there, as the skill demands."""
        with anyio.fail_after(60):
            while True:
                row = await self.call("get_generation", id=job)
                assert row["status"] != "failed", row.get("error_message")
                if row["status"] == "completed" and row["outputs"] and all(each["url"] for each in row["outputs"]):
                    return row
                await anyio.sleep(0.3)

    async def download(self, url: str, name: str) -> Path:
        """`curl -fsSL "$url" -o name`."""
        await self._curl("-fsSL", url, "-o", name)
        return self.folder / name

    async def upload(self, page: dict[str, Any], *names: str) -> dict[str, Any]:
        """Several files in one `curl`, in order, each with its media type; what the server answers."""
        files = [part for name in names for part in ("-F", f"file=@{self.folder / name};type=image/png")]
        answer: dict[str, Any] = json.loads(
            await self._curl("-sS", "-X", "POST", page["direct_upload_url"], "-F", f"token={page['token']}", *files)
        )
        return answer

    async def _curl(self, *arguments: str) -> bytes:
        return (await anyio.run_process(["curl", "--noproxy", "*", *arguments], cwd=self.folder)).stdout


@pytest.mark.parametrize("era", ERAS)
async def test_a_chain_of_clips_whose_seams_are_the_same_frame(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any], era: str
) -> None:
    api.control.key(KEY, credits=2000)
    api.control.knobs(drawing="rich")  # the frames of its clips are looked at
    (folder := tmp_path / "work").mkdir()
    async with client(tmp_path, era, person=says_yes(), **live) as server:
        skill = Skill(server, folder)
        await read_up(skill)
        stills = await make_stills(skill)
        await dive_in(skill, stills)
        uploaded = await connect(skill)
        charged = skill.seen["balance"] - (await skill.call("get_balance"))["credits"]
    jobs = [job["request"] for account in api.control.books()["accounts"] for job in account["jobs"]]
    assert len(jobs) == 1 + len(SCENES) + len(SCENES) + 1
    assert charged == sum(job["credits"] for account in api.control.books()["accounts"] for job in account["jobs"])
    assert jobs[-1]["source_media_urls"] == uploaded
    inbox = [file for account in api.control.books()["accounts"] for file in account["uploads"]]
    sizes = [file["size"] for url in uploaded for file in inbox if url.endswith(file["path"])]
    assert sizes == [(folder / name).stat().st_size for name in ("last_farm.png", "first_kitchen.png")]


async def read_up(skill: Skill) -> None:
    """Skills first, then models, and the price before anything is paid."""
    for name in ("model-selection", "billing-confirmation", "polling", "media-upload"):
        assert (await skill.call("get_skill", name=name))["text"]
    images = {row["model_id"]: row for row in (await skill.call("get_models", model_type="image"))["models"]}
    assert "image-to-image" in images[IMAGE_MODEL]["generation_types"]
    assert "16:9" in images[IMAGE_MODEL]["capabilities"]["aspect_ratio_options"]
    clips = {row["model_id"]: row for row in (await skill.call("get_models", model_type="video"))["models"]}
    able = clips[VIDEO_MODEL]["capabilities"]
    assert "image-to-video" in clips[VIDEO_MODEL]["generation_types"]
    assert able["max_input_images"] >= 2
    assert {"5s", "8s"} <= set(able["duration_options"])
    quote = await skill.call(
        "estimate", model=VIDEO_MODEL, generation_type="image-to-video", duration="8s", sound=False
    )
    skill.seen["balance"] = (await skill.call("get_balance"))["credits"]
    assert 0 < quote["credits"] < skill.seen["balance"]


async def make_stills(skill: Skill) -> dict[str, str]:
    """One master, then a scene each after it; the URLs of the scenes."""
    look = {"model": IMAGE_MODEL, "aspect_ratio": "16:9", "resolution": "2k", "quality": "high"}
    job = await skill.start(generation_type="text-to-image", prompt="A clay world seen from above", **look)
    master = (await skill.poll(job))["outputs"][0]["url"]
    jobs = {
        name: await skill.start(
            generation_type="image-to-image",
            source_media_urls=[master],
            prompt=f"Subject: a {name} of clay",
            seed=seed,
            **look,
        )
        for name, seed in SCENES.items()
    }
    stills = {}
    for name, job in jobs.items():
        row = await skill.poll(job)
        assert row["prompt"] == f"Subject: a {name} of clay"
        assert row["model"] == IMAGE_MODEL
        assert row["credits_deducted"] > 0
        stills[name] = row["outputs"][0]["url"]
        with Image.open(await skill.download(stills[name], f"still_{name}.png")) as still:
            assert abs(still.width / still.height - 16 / 9) < 0.01
    return stills


async def dive_in(skill: Skill, stills: dict[str, str]) -> None:
    """A clip into each scene, whose first and last frame are kept as pictures."""
    jobs = {
        name: await skill.start(
            model=VIDEO_MODEL,
            generation_type="image-to-video",
            source_media_urls=[stills[name]],
            prompt=f"The camera glides into the {name}",
            aspect_ratio="16:9",
            duration=4,
            sound=False,
        )
        for name in SCENES
    }
    for name, job in jobs.items():
        clip = await skill.download((await skill.poll(job))["outputs"][0]["url"], f"dive_{name}.mp4")
        first, last = await anyio.to_thread.run_sync(ends_of, clip)
        first.save(skill.folder / f"first_{name}.png")
        last.save(skill.folder / f"last_{name}.png")


async def connect(skill: Skill) -> list[str]:
    """A clip from the last frame of one dive to the first of the next, both uploaded; the URLs it was made of."""
    page = await skill.call("get_upload_url", model_id=VIDEO_MODEL)
    before = await skill.call("get_upload_session", token=page["token"])
    assert (before["count"], before["media_urls"]) == (0, [])
    await skill.upload(page, "last_farm.png", "first_kitchen.png")
    session = await skill.call("get_upload_session", token=page["token"])
    assert session["count"] == 2
    assert session["billing_readiness"] == "exact"
    assert session["unknown_duration_count"] == 0
    assert [each["url"] for each in session["media"]] == session["media_urls"]
    assert {(each["kind"], each["mime_type"], each["width"]) for each in session["media"]} == {
        ("image", "image/png", 640)
    }
    urls: list[str] = session["media_urls"]
    job = await skill.start(
        model=VIDEO_MODEL,
        generation_type="image-to-video",
        source_media_urls=[urls[0], urls[1]],
        prompt="From the farm on to the kitchen",
        aspect_ratio="16:9",
        duration=5,
        sound=False,
    )
    connector = await skill.download((await skill.poll(job))["outputs"][0]["url"], "conn_1.mp4")
    await anyio.to_thread.run_sync(check_seams, connector, skill.folder)
    return urls


def ends_of(clip: Path) -> tuple[Image.Image, Image.Image]:
    """First and last frame of a clip that decodes from beginning to end."""
    with av.open(str(clip)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = [frame.to_image() for frame in container.decode(video=0)]
    assert len(frames) > 30
    return frames[0], frames[-1]


def check_seams(connector: Path, folder: Path) -> None:
    """The sandbox fades from its first input to its last, so the order can be seen in the clip itself."""
    with av.open(str(connector)) as container:
        assert container.duration is not None
        assert abs(container.duration / av.time_base - 5) < 0.2
    begins, ends = ends_of(connector)
    with Image.open(folder / "last_farm.png") as leaving, Image.open(folder / "first_kitchen.png") as arriving:
        assert 2 * difference(begins, leaving) < difference(begins, arriving)
        assert 2 * difference(ends, arriving) < difference(ends, leaving)


def difference(one: Image.Image, other: Image.Image) -> float:
    """How far the colours at the left edge are apart, where the sandbox neither writes nor shows the inputs' inputs."""
    first, second = (ImageStat.Stat(image.convert("RGB").crop((0, 0, 110, 220))).mean for image in (one, other))
    return sum(abs(a - b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("era", ERAS)
async def test_the_curl_command_works_as_it_is_written(tmp_path: Path, api: RunningSandbox, era: str) -> None:
    (folder := tmp_path / "work").mkdir()
    for name, colour in (("first.png", "teal"), ("last.png", "tomato")):
        Image.new("RGB", (64, 36), colour).save(folder / name)
    async with client(tmp_path, era, mode="sandbox", base_url=api.url) as server:
        skill = Skill(server, folder)
        page = await skill.call("get_upload_url", model_id=VIDEO_MODEL)
        await anyio.run_process(["sh", "-c", page["direct_upload_curl_example"]], cwd=folder)
        session = await skill.call("get_upload_session", token=page["token"])
        assert [each["name"] for each in session["media"]] == ["first.png", "last.png"]
        colours = [
            Image.open(await skill.download(url, f"back_{number}.png")).getpixel((0, 0))
            for number, url in enumerate(session["media_urls"])
        ]
        assert colours == [(0, 128, 128), (255, 99, 71)]


async def test_what_the_hosted_upload_refuses_is_refused_with_status_400(tmp_path: Path, api: RunningSandbox) -> None:
    (folder := tmp_path / "work").mkdir()
    Image.new("RGB", (64, 36), "teal").save(folder / "first.png")
    async with client(tmp_path, mode="sandbox", base_url=api.url) as server:
        page = await Skill(server, folder).call("get_upload_url", model_id=VIDEO_MODEL)
        command = ["curl", "-sS", "-w", "\n%{http_code}", "-F", f"token={page['token']}", page["direct_upload_url"]]
        for part in ("file=@first.png;type=application/octet-stream", "wrong=@first.png;type=image/png"):
            done = await anyio.run_process([*command, "-F", part], cwd=folder)
            body, _, status = done.stdout.decode().rpartition("\n")
            assert status == "400"
            assert json.loads(body)["next_step"]
