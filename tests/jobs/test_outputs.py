"""Outputs on disk: named sensibly, never outside the folder, never over another file."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from kubeez_mcp_local.jobs.job import Job, Labels, State
from kubeez_mcp_local.jobs.outputs import NotAnOutputError, OutputStore, sidecar, what_it_is
from kubeez_mcp_local.rest.wire import Generation, Output, Song, read_generation

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio
MEDIA = "https://media.kubeez.com"


@pytest.fixture
def job(ledger_file: Any, order: Any) -> Job:
    made = ledger_file.claim([order(prompt="A red fox, 35 mm", labels=Labels("red-fox"))]).claims[0].job
    assert isinstance(made, Job)
    return replace(made, state=State.COMPLETED, charged=14.0)


@pytest.fixture
def store(tmp_path: Path, api: Any) -> OutputStore:
    return OutputStore(tmp_path / "out", save_sidecars=True, download=api.download)


@pytest.fixture
def image(api: Any) -> Callable[..., Generation]:
    def make(*names: str, content: bytes | None = None) -> Generation:
        for name in names:
            api.files[f"{MEDIA}/{name}"] = content or api.png
        return Generation(
            id="gen-1", status="completed", outputs=[Output(id=name, url=f"{MEDIA}/{name}") for name in names]
        )

    return make


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def test_a_name_says_what_it_is(store: OutputStore, job: Job, image: Any) -> None:
    saved = await store.save(job, [image("x.png")])
    path = Path(saved.files[0].path)
    assert path.name == "red-fox.png"
    assert path.parent.name == "2027-01-15"
    assert names_in(path.parent) == ["red-fox.json", path.name]


async def test_a_job_of_an_older_version_is_called_by_prompt_and_id(store: OutputStore, job: Job, image: Any) -> None:
    saved = await store.save(replace(job, place=""), [image("x.png")])
    assert Path(saved.files[0].path).name == f"red-fox-35-mm-{job.id[:8]}.png"


async def test_the_name_is_that_of_the_order_however_late_it_is_saved(store: OutputStore, job: Job, image: Any) -> None:
    late = replace(job, settled_at=job.created_at + 3 * 86_400)
    path = Path((await store.save(late, [image("x.png")])).files[0].path)
    assert (path.parent.name, path.name) == ("2027-01-15", "red-fox.png")


async def test_a_sidecar_says_what_it_is(store: OutputStore, job: Job, image: Any) -> None:
    labels = Labels("ads-de", "1-of-2", "runs/ads", call="ads[0]", item="Berlin", language="de", inputs=("/tmp/a.png",))
    part = replace(job, labels=labels, run="ads-1f0c/5d", recipe="ads", place="runs/ads/ads-de")
    (file,) = (await store.save(part, [image("x.png")])).files
    told = json.loads(await anyio.Path(file.path).with_suffix(".json").read_text("utf-8"))
    wanted = {"recipe": "ads", "run": "ads-1f0c", "call": "ads[0]", "item": "Berlin", "language": "de"}
    assert {name: told[name] for name in wanted} == wanted
    assert (told["label"], told["inputs"]) == ("1-of-2", ["/tmp/a.png"])
    plain = sidecar(job, image("x.png"), file)
    assert not {"run", "call", "item", "language", "language_doubt"} & plain.keys()


@pytest.mark.parametrize(
    ("told", "names", "doubt"),
    [
        ([{"language": "de"}, {"language_code": "pt-BR"}], ["talk-de", "talk-pt-br"], ""),
        ([{"file": "x.pt_br"}, {"file": "x.de"}], ["talk-pt-br", "talk-de"], ""),
        ([{}, {}], ["talk-de", "talk-pt-br"], "as ordered, unverified"),
        ([{"language": "de"}, {"language": "de"}], ["talk-de", "talk-pt-br"], "as ordered, unverified"),
        ([{}, {}, {}], ["talk-1-of-3", "talk-2-of-3", "talk-3-of-3"], ""),
    ],
)
async def test_a_dubbing_is_matched_by_what_is_said_of_it_or_doubted(
    store: OutputStore, job: Job, api: Any, told: list[dict[str, str]], names: list[str], doubt: str
) -> None:
    outputs: list[dict[str, str]] = []
    for number, one in enumerate(told):
        url = f"{MEDIA}/{one.get('file', f'{number}0')}.mp4"
        api.files[url] = b"\x00\x00\x00\x18ftypisom\0\0\0\0isomavc1" + bytes([number])
        outputs.append({"id": str(number), "url": url, **one})
    dubbing = replace(job, generation_type=None, arguments={"languages": ["de", "pt_br"]}, place="2027-01-15/talk")
    generation = read_generation({"id": "g", "status": "completed", "outputs": outputs})
    kept = Generation.model_validate(generation.model_dump(mode="json", exclude={"raw"}))  # as the ledger does
    files = (await store.save(dubbing, [kept])).files
    assert [Path(file.path).stem for file in files] == names
    assert {file.doubt for file in files} == {doubt}
    sidecar_ = json.loads(await anyio.Path(files[0].path).with_suffix(".json").read_text("utf-8"))
    assert sidecar_.get("language_doubt", "") == doubt


async def test_several_outputs_are_numbered(store: OutputStore, job: Job, image: Any, tmp_path: Path) -> None:
    saved = await store.save(job, [image("x.png", "y.png")])
    assert [Path(file.path).stem for file in saved.files] == ["red-fox-1-of-2", "red-fox-2-of-2"]
    assert len(names_in(tmp_path / "out")) == 4


async def test_the_type_is_what_the_content_says(store: OutputStore, job: Job, image: Any) -> None:
    jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + b"\x00" * 64
    (file,) = (await store.save(job, [image("x.png", content=jpeg)])).files
    assert (Path(file.path).suffix, file.media_type) == (".jpg", "image/jpeg")


PAGE = b"<!DOCTYPE html><title>Sign in</title>"
WAVE = b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 40


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (PAGE, "a web page"),
        (b"", "it is empty"),
        (b"MZ\x90\0" + b"\0" * 99, "a program"),
        (b"#!/bin/sh\nrm -rf ~", "a program"),
        (b'{"error": "not found"}', "it is text"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
async def test_what_is_no_output_is_not_saved_and_can_be_fetched_again(
    store: OutputStore, job: Job, image: Any, api: Any, tmp_path: Path, content: bytes, said: str
) -> None:
    generation = image("x.png")
    api.files[f"{MEDIA}/x.png"] = content
    saved = await store.save(job, [generation])
    assert saved.files == ()
    assert said in str(saved.error)
    assert f"{MEDIA}/x.png" in str(saved.error)
    assert names_in(tmp_path / "out") == []
    again = await store.save(replace(job, save_error=saved.error), [image("x.png")])
    assert (len(again.files), again.error) == (1, None)


async def test_what_may_be_what_was_paid_for_is_kept_aside(
    store: OutputStore, job: Job, image: Any, tmp_path: Path
) -> None:
    for number, (content, extension) in enumerate([(b"\x00\x01\x02nothing known", ".bin"), (WAVE, ".wav")]):
        for _ in range(2):
            saved = await store.save(job, [image(f"{number}.png", content=content)])
        assert saved.files == ()
        assert "kept as" in str(saved.error)
        (kept,) = [name for name in names_in(tmp_path / "out") if name.endswith(extension)]
        assert "unrecognised" in kept


def test_outputs_are_judged_by_what_was_to_be_made(tmp_path: Path) -> None:
    heic = b"\x00\x00\x00\x18ftypheic\0\0\0\0mif1heic"
    new = b"\x00\x01\x02nothing known"
    film = b"\x00\x00\x00\x18ftypisom\0\0\0\0isomavc1"
    cases: list[tuple[bytes, str | None, set[str], str | None]] = [
        (heic, None, {"image"}, "image/heic"),
        (heic, "image/png", set(), "image/heic"),
        (heic, None, {"video"}, None),
        (new, "image/jxl", {"image"}, "image/jxl"),
        (new, "image/png", {"image"}, None),
        (new, None, {"image"}, None),
        (new, "application/octet-stream", set(), None),
        (film, None, {"audio"}, "video/mp4"),
        (film, "image/png", {"image"}, None),
        (WAVE, "text/html", set(), "audio/wav"),
        (b"1\n00:00 words", "application/x-subrip", {"video", "text"}, "text/plain"),
        (PAGE, "text/html", {"text"}, None),
    ]
    for content, said, kinds, mime in cases:
        (tmp_path / "file").write_bytes(content)
        try:
            found = what_it_is(tmp_path / "file", said, frozenset(kinds)).mime
        except NotAnOutputError:
            found = None
        assert (content, said, kinds, found) == (content, said, kinds, mime)


async def test_addresses_that_nothing_is_fetched_from_are_told(store: OutputStore, job: Job) -> None:
    for address in ("file:///etc/passwd", "data:image/png;base64," + "A" * 999, "javascript:alert(1)"):
        generation = read_generation({"id": "g", "status": "completed", "outputs": [{"id": "o", "url": address}]})
        assert generation.settled
        assert generation.outputs[0].url is None
        saved = await store.save(job, [Generation.model_validate(generation.model_dump(mode="json"))])
        assert address[:40] in str(saved.error)
        assert len(str(saved.error)) < 500
    nothing = await store.save(job, [Generation(id="g", status="completed")])
    assert "names no file" in str(nothing.error)


async def test_nothing_is_overwritten(store: OutputStore, job: Job, image: Any, tmp_path: Path) -> None:
    first = (await store.save(job, [image("x.png")])).files[0]
    await anyio.Path(first.path).write_text("edited by hand")
    second = (await store.save(job, [image("x.png")])).files[0]
    assert second.path != first.path
    assert await anyio.Path(first.path).read_text() == "edited by hand"


async def test_what_a_killed_process_saved_but_did_not_note_is_found_again(
    store: OutputStore, job: Job, image: Any, tmp_path: Path
) -> None:
    generation = image("x.png", "y.png")
    before = await store.save(job, [generation])
    left = names_in(tmp_path / "out")
    assert await store.save(job, [generation]) == before
    assert names_in(tmp_path / "out") == left


async def test_saving_again_fetches_only_what_is_missing(store: OutputStore, job: Job, image: Any) -> None:
    generation = image("x.png", "y.png")
    files = (await store.save(job, [generation])).files
    await anyio.Path(files[0].path).unlink()
    again = (await store.save(replace(job, files=files), [generation])).files
    assert files[1] in again
    assert len(again) == 2
    assert all([await anyio.Path(file.path).exists() for file in again])


async def test_one_missing_output_does_not_lose_the_other(store: OutputStore, job: Job, image: Any, api: Any) -> None:
    generation = image("x.png", "y.png")
    del api.files[f"{MEDIA}/x.png"]
    saved = await store.save(job, [generation])
    assert [file.output_id for file in saved.files] == ["y.png"]
    assert saved.error == f"The file is not there. ({MEDIA}/x.png)"


async def test_songs_and_separated_tracks_are_saved_too(store: OutputStore, job: Job, image: Any, api: Any) -> None:
    image("a.mp3", "v.wav", "i.wav", content=b"ID3\x04\x00" + b"\x00" * 100)
    songs = Generation(id="g1", songs=[Song(id="s", audio_url=f"{MEDIA}/a.mp3")])
    tracks = Generation(id="g2", vocals_url=f"{MEDIA}/v.wav", instrumental_url=f"{MEDIA}/i.wav")
    files = (await store.save(job, [songs, tracks])).files
    assert len(files) == 3
    assert [Path(file.path).stem.rpartition("-")[2] for file in files[1:]] == ["vocals", "instrumental"]


async def test_sidecars_can_be_turned_off(tmp_path: Path, job: Job, image: Any, api: Any) -> None:
    store = OutputStore(tmp_path / "out", save_sidecars=False, download=api.download)
    await store.save(job, [image("x.png")])
    assert [name for name in names_in(tmp_path / "out") if name.endswith(".json")] == []


async def test_a_link_inside_the_output_folder_leads_nowhere(
    store: OutputStore, job: Job, image: Any, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "2027-01-15").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    saved = await store.save(job, [image("x.png")])
    assert "leads out of the output folder" in (saved.error or "")
    assert names_in(tmp_path / "elsewhere") == []


async def test_the_output_folder_itself_may_be_a_link(store: OutputStore, job: Job, image: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert (await store.save(job, [image("x.png")])).error is None
    assert len(names_in(tmp_path / "elsewhere")) == 2


@pytest.mark.parametrize("system_error", [28, 30, 13], ids=["full", "read-only", "forbidden"])
async def test_a_disk_that_refuses_loses_nothing(tmp_path: Path, job: Job, image: Any, system_error: int) -> None:
    async def refuse(url: str, target: Path, *, max_bytes: int, accept: Any = None) -> Any:
        raise OSError(system_error, os.strerror(system_error))

    saved = await OutputStore(tmp_path / "out", save_sidecars=True, download=refuse).save(job, [image("x.png")])
    assert saved.files == ()
    assert "then save the job's outputs again" in (saved.error or "")
    assert names_in(tmp_path / "out") == []


async def test_without_hard_links_files_are_still_never_overwritten(
    store: OutputStore, job: Job, image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "link", no_links)
    first = (await store.save(job, [image("x.png")])).files[0]
    await anyio.Path(first.path).write_text("edited by hand")
    second = (await store.save(job, [image("x.png")])).files[0]
    assert first.path != second.path
