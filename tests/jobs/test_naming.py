"""Names of outputs: readable, fit for every file system, and telling one from the other."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeez_mcp_local.catalogue.prices import Quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.jobs.job import Labels, RunCall, State
from kubeez_mcp_local.jobs.naming import (
    LONGEST,
    given_name,
    labels_for,
    matched,
    own_name,
    portable,
    telling,
    told_apart,
)
from kubeez_mcp_local.operations import Draft, operations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubeez_mcp_local.jobs.job import Order
    from kubeez_mcp_local.jobs.ledger import LedgerFile

    Orders = Callable[..., Order]

DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(10))}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A red fox, 35 mm", "a-red-fox-35-mm"),
        ("Größe & Füße 16:9", "größe-füße-16x9"),
        ("e\u0301te\u0301", "été"),
        ("北京", "北京"),
        ("חתול בשלג", "חתול-בשלג"),
        ("\u202egnp.exe", "gnp-exe"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\Windows\\system32", "c-windows-system32"),
        ("con", "con-file"),
        ("ＮＵＬ", "nul-file"),
        ("com¹", "com1-file"),
        ("-rf", "rf"),
        ("🦊", "fox-face"),
        ("fox 🦊", "fox"),
        ("don\u2019t", "dont"),
        ("..", ""),
        ("\x00\n\t", ""),
        ("\u3164", ""),
        ("one " * 30, "-".join(["one"] * 25)),
        ("x" * 9999, "x" * LONGEST),
    ],
)
def test_text_made_portable(text: str, name: str) -> None:
    assert portable(text) == name


@given(st.text(max_size=300))
def test_no_text_chooses_a_path_a_device_or_a_hidden_file(text: str) -> None:
    for name in (portable(text), "-".join(telling(text)), own_name(text)):
        assert name == unicodedata.normalize("NFC", name)
        assert len(name.encode()) <= LONGEST + len("-file")
        assert not set(name) & set('/\\:*?"<>|. \t\r\n\0~$%')
        assert not name.startswith("-")
        assert all(unicodedata.category(letter)[0] in "LNM" or letter == "-" for letter in name)
    assert portable(text) not in DEVICES
    assert portable(portable(text)) == portable(text)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A photorealistic photo of a red mug on a white table, soft light", "red mug white table soft"),
        ("Advertising photograph. Brief: a steel bottle for cyclists.", "steel bottle cyclists"),
        ("Ein roter Fuchs im Schnee", "roter fuchs schnee"),
        ("a photo", "a photo"),
        ("", ""),
    ],
)
def test_words_that_tell(prompt: str, words: str) -> None:
    assert " ".join(telling(prompt)) == words


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/home/me/Red Mug.png", "red-mug"),
        ("C:\\clips\\Talk.MOV", "talk"),
        ("library:hero", "hero"),
        ("https://shop.example/a/Low%20Tide.mp3?v=1", "low-tide"),
        ("https://media.kubeez.com/123e4567-e89b-12d3-a456-426614174000.mp4", ""),
        ("https://media.kubeez.com/f3a9c1d2e4b5.png", ""),
        ("https://media.kubeez.com/", ""),
    ],
)
def test_the_own_name_of_a_file(source: str, name: str) -> None:
    assert own_name(source) == name


def draft(tool: str, body: Mapping[str, Any] | None = None, **more: Any) -> Draft:
    return Draft(operations()[tool].route, body or {}, "a-model", Quote(1.0, "catalogue"), **more)


def named(made: Draft, source: str = "", name: str = "", run: RunCall | None = None) -> list[str]:
    found = labels_for(made, account="live-1", name=name, run=run, inputs=(), source=source)
    return [f"{each.folder}{'/' if each.folder else ''}{each.name}{each.part and '-'}{each.part}" for each in found]


FOX = "A photo of a red fox in snow"
CLIP: dict[str, Any] = {"prompt": "turns its head", "generation_type": "image-to-video"}


@pytest.mark.parametrize(
    ("made", "source", "names"),
    [
        (draft("remove_background"), "mug", ["mug-cutout"]),
        (draft("generate_dubbing", {"languages": ("es",)}), "talk", ["talk-es"]),
        (draft("generate_dubbing", {"languages": ("es", "de")}), "talk", ["talk"]),
        (draft("generate_separation"), "low-tide", ["low-tide"]),
        (draft("generate_separation"), "", ["a-model"]),
        (draft("generate_captions"), "talk", ["talk-captioned"]),
        (draft("generate_media", prompt=FOX), "", ["red-fox-snow"]),
        (draft("generate_media", {"aspect_ratio": "16:9"}, prompt=FOX), "", ["red-fox-snow-16x9"]),
        (
            draft("generate_media", **CLIP, count=2),
            "fox",
            [f"fox-turns-head-clip-{part}" for part in ("1-of-2", "2-of-2")],
        ),
        (draft("generate_music", {"title": "Low tide"}, prompt="waves"), "", ["low-tide"]),
        (draft("generate_dialogue", {"language_code": "auto"}, prompt="Good morning"), "", ["good-morning"]),
        (draft("generate_media", called="hero", prompt=FOX), "", ["hero"]),
    ],
)
def test_names_of_single_calls(made: Draft, source: str, names: list[str]) -> None:
    assert named(made, source) == names


def test_a_chosen_name_is_the_name() -> None:
    assert named(draft("remove_background"), "mug", given_name(" Hero Shot.PNG ")) == ["hero-shot"]
    with pytest.raises(InvalidArgumentError):
        given_name("…")


@pytest.mark.parametrize(
    ("tool", "call", "item", "part", "source", "name"),
    [
        ("generate_media", "variants[0]", "product as hero", "", "", "variants-product-as-hero"),
        ("generate_media", "motif", "", "", "", "motif"),
        ("generate_media", "shots[2]", "flat lay", "", "mug", "shots-flat-lay"),
        ("generate_media", "social[1]", "16:9", "", "", "social-16x9"),
        ("generate_media", "clips[1]", "", "2-of-3", "first", "clips-2-of-3"),
        ("generate_media", "clips[1]", "Oslo", "", "first", "oslo-clip"),
        ("remove_background", "cutouts[0]", "mug", "", "mug", "mug-cutout"),
        ("remove_background", "clean[0]", "mug", "", "mug", "clean-mug-cutout"),
        ("generate_captions", "captioned", "", "", "talk", "talk-captioned"),
    ],
)
def test_names_of_calls_of_a_run(tool: str, call: str, item: str, part: str, source: str, name: str) -> None:
    run = RunCall("ads-1f0c/5d", call, 100, item=item, part=part)
    kind = "image-to-video" if source == "first" else None
    assert named(draft(tool, prompt=FOX, generation_type=kind), source, run=run) == [f"runs/ads-1f0c/{name}"]


@pytest.mark.parametrize(
    ("items", "labels"),
    [
        ([{"direction": "x" * 99, "name": "hero"}, {"name": "use"}], ["hero", "use"]),
        ([{"city": "Oslo", "idea": "a wool mitten"}, {"city": "Rom", "idea": "an oven"}], ["Oslo", "Rom"]),
        (["16:9", "1:1"], ["16:9", "1:1"]),
        (["/a/Red Mug.png", "https://x.example/Blue.png"], ["red-mug", "blue"]),
        (["/a/mug.png", "/b/mug.png"], ["mug 1-of-2", "mug 2-of-2"]),
        ([{"outputs": []}, {"url": "https://x.example/y.png"}], [" 1-of-2", " 2-of-2"]),
        ([["a", "b"], ["b", "c"], 7], [" 1-of-3", " 2-of-3", "7 3-of-3"]),
        (["A photo of a red fox who runs through the deep snow of a long winter"], ["red fox runs deep"]),
        (["🦊", ".."], ["🦊 1-of-2", ".. 2-of-2"]),
        ([], []),
    ],
)
def test_what_tells_the_items_of_a_loop_apart(items: list[Any], labels: list[str]) -> None:
    assert [f"{words} {part}".rstrip() if part else words for words, part in told_apart(items)] == labels


def test_a_rehearsal_does_not_lie_among_what_is_real() -> None:
    (labels,) = labels_for(
        draft("generate_media"), account="sandbox", name="", run=RunCall("con/5d", "x", 1), inputs=(), source=""
    )
    assert labels.folder == "runs/con-file-sandbox"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"model": "seedream-v4-5"}, "fox-seedream-v4-5"),
        ({"prompt": "a fox, digest-1, at sunset in Oslo"}, "fox-sunset-oslo"),
        ({"prompt": "a fox, digest-1", "arguments": {"seed": 7}}, "fox-seed-7"),
        ({"prompt": "a fox, digest-1"}, "fox-2"),
    ],
)
def test_what_differs_tells_names_apart(
    ledger_file: LedgerFile, order: Orders, change: dict[str, Any], place: str
) -> None:
    first, second = order(labels=Labels("fox")), order("digest-2", labels=Labels("fox"), **change)
    places = [ledger_file.claim([each]).claims[0].job for each in (first, second)]
    assert [job and job.place for job in places] == ["2027-01-15/fox", f"2027-01-15/{place}"]


def test_many_of_one_name_are_numbered_and_of_another_day_are_not(
    ledger_file: LedgerFile, order: Orders, clock: Any
) -> None:
    def ordered(number: int) -> str:
        job = ledger_file.claim([order(f"d{number}", prompt="fox", labels=Labels("fox"))]).claims[0].job
        assert job
        return job.place.partition("/")[2]

    assert [ordered(number) for number in range(4)] == ["fox", "fox-2", "fox-3", "fox-4"]
    clock.now += 86_400
    assert ordered(5) == "fox"


def test_two_processes_never_give_one_name_twice(open_file: Callable[..., LedgerFile], order: Orders) -> None:
    processes = [open_file(), open_file()]
    names = set()
    for number in range(6):
        ordered = order(f"d{number}", prompt="fox", labels=Labels("fox", folder="runs/a"))
        job = processes[number % 2].claim([ordered]).claims[0].job
        assert job
        names.add(job.place)
    assert names == {"runs/a/fox", *(f"runs/a/fox-{number}" for number in range(2, 7))}


def test_the_name_of_what_came_to_nothing_is_free_again(ledger_file: LedgerFile, order: Orders) -> None:
    job = ledger_file.claim([order(labels=Labels("fox"))]).claims[0].job
    assert job
    ledger_file.refused(job.id, "insufficient_credits", "Too few credits.")
    assert ledger_file.get(job.id).state is State.REFUSED
    again = ledger_file.claim([order("d2", labels=Labels("fox"))]).claims[0].job
    assert again
    assert again.place == "2027-01-15/fox"


def test_labels_are_kept(open_file: Callable[..., LedgerFile], order: Orders) -> None:
    labels = Labels("ads-de", "1-of-2", "runs/ads", "ads[0]", "Berlin", "de", ("/tmp/a.png",), "b1")
    call = RunCall("ads/1", "ads[0]", 100)
    job = open_file().claim([order(labels=labels, run=call)]).claims[0].job
    assert job
    kept = open_file().get(job.id)
    assert (kept.labels, kept.place, kept.run) == (labels, "runs/ads/ads-de-1-of-2", "ads/1")
    assert [each.id for each in open_file().of_run("ads/1")] == [job.id]
    assert open_file().of_run("") == []


def test_languages_are_matched_only_if_each_is_named_once() -> None:
    assert matched(["pt", "pt_br"], ["talk.pt_BR", "talk-pt"]) == ["pt_br", "pt"]
    assert matched(["es", "de"], ["es-de", "de"]) is None
    assert matched(["es", "de"], ["a", "b"]) is None
