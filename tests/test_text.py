"""What others have written is shown as what it is: no character steers, no line poses, nothing is endless."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.text import (
    LONGEST_MESSAGE,
    control_character,
    cut,
    cut_and_counted,
    escaped_json,
    hide,
    lines_of,
    list_entry,
    on_one_line,
    quoted,
    spoken,
    visible,
    without_keys,
)

STEERING = "".join(map(chr, [*range(9), *range(11, 32), *range(127, 160), 0x202E, 0x2066, 0x2028, 0xFEFF, 0xE0041]))
ANYTHING = st.text(st.characters(exclude_categories=())) | st.text(alphabet=STEERING + "\n\t ab:>-“”")


def test_what_cannot_be_seen_is_written_as_an_escape_and_the_rest_stays() -> None:
    assert visible("a\x1b[2Jb\u202ec\x9bd\U000e0041") == "a\\x1b[2Jb\\u202ec\\x9bd\\U000e0041"
    for whole in ("two\nlines", "a\tb", "Fuß 👩\u200d🚀 می\u200cخواهم \u0627", ""):
        assert visible(whole) == whole
    assert visible("a\r\nb") == "a\nb"


def test_keys_are_cut_whatever_they_are_made_of_and_wherever_they_stand() -> None:
    key = "sk_live_ab.C-D_e/f+g~h=="
    for around in (
        "{}",
        "'{}'",
        "x={}, y",
        "x\\n{}",
        "%22{}%22",
        "\\x22{}",
        '\\u0022{}"',
        "Bearer {}.",
        "https://a/{}?b",
    ):
        assert without_keys(around.format(key)) == around.format("sk_live_…").replace("…%22", "…")
    for plain in ("sk_live_…", "sk_live_...", "task_live_view", "risk_test_1"):
        assert without_keys(plain) == plain


def test_tokens_are_taken_out_by_their_form_or_once_they_are_known() -> None:
    web = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJl"
    for around in ("{}", "x={},", "https://a/{}?b", "token {}.", '"access_token": "{}"'):
        assert web not in without_keys(around.format(web))
    opaque = "4f/Q-0_known.only~to=us"
    for around in ("Authorization: Bearer {}", '{{"refresh_token": "{}"}}', "code=1&access_token={}&x=1"):
        assert opaque not in without_keys(around.format(opaque))
    assert without_keys(f"a {opaque} b") == f"a {opaque} b"
    hide(opaque)
    assert without_keys(f"a {opaque} b") == "a … b"
    for written in ("4f%2FQ-0_known.only~to%3Dus", "4f/Q-0_known.only~to%3Dus", "4f%2fQ-0_known.only~to%3dus"):
        assert without_keys(f"https://a/?x={written}") == "https://a/?x=…"
    assert without_keys(r'{"x": "4f\/Q-0_known.only~to=us"}') == '{"x": "…"}'
    for plain in ("the bearer of a characterization", "a token of my love", "eyJ is how it begins", "bearer 1234"):
        assert without_keys(plain) == plain


@given(ANYTHING)
def test_nothing_that_steers_is_left(text: str) -> None:
    assert not set(visible(text)) & set(STEERING)
    assert visible(visible(text)) == visible(text)
    assert "\n" not in on_one_line(text)
    assert len(on_one_line(text, 30)) <= 30
    inside = quoted(text)[1:-1]
    assert not {"“", "”", "\n"} & set(inside)


@given(ANYTHING)
def test_a_value_of_several_lines_is_marked_on_each(text: str) -> None:
    lines = lines_of(text)
    assert len(lines) == 1 or all(line.startswith(">") for line in lines)
    assert not any("\n" in line for line in lines)


@given(st.dictionaries(ANYTHING, st.lists(ANYTHING), max_size=3))
def test_json_for_terminals_reads_back_as_the_same_values(value: dict[str, list[str]]) -> None:
    text = escaped_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == json.loads(json.dumps(value))
    assert not set(text) & set(STEERING)


def test_long_texts_are_cut() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"
    assert cut_and_counted("x" * 4_004, 5) == "xxxxx… (4,004 characters)"
    assert len(str(KubeezError("y" * 10**6))) < LONGEST_MESSAGE + 50


def test_an_entry_that_reads_like_a_field_is_quoted() -> None:
    for entry, shown in (
        ("status: failed", "“status: failed”"),
        ("- status: failed", "“- status: failed”"),
        ("estimate(model='x'): the price", "estimate(model='x'): the price"),
        ("Saving failed: the disk is full", "Saving failed: the disk is full"),
        ("C:\\out\\fox.png 12 KB; 4 credits", "C:\\out\\fox.png 12 KB; 4 credits"),
    ):
        assert list_entry(entry) == shown


def test_control_characters_are_named() -> None:
    assert control_character("a\x00") == "\\x00"
    assert control_character("\x9b") == "\\x9b"
    assert control_character("a\r\n\tb\u202e") is None


def test_an_error_shows_what_steers() -> None:
    assert str(KubeezError("a\x1b[31mb", next_step="c\u202e")) == "a\\x1b[31mb. c\\u202e"


def test_credits_in_words() -> None:
    assert [spoken(amount) for amount in (14, 0.5, 1, 0, 1e-6)] == [
        "14 credits",
        "0.5 credits",
        "1 credit",
        "0 credits",
        "0.000001 credits",
    ]
