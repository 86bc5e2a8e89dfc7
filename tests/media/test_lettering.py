"""Text on pictures: in lines that fit, in letters that can be seen."""

from __future__ import annotations

from kubeez_mcp_local.media.lettering import block


def test_words_wrap_at_spaces_and_end_in_an_ellipsis() -> None:
    written = block("one two three four five six seven eight nine ten", 20, "white", width=120, most=3)
    assert len(written.lines) == 3
    assert written.lines[-1].endswith(("…", "..."))
    assert all(written.font.getlength(line) <= 120 for line in written.lines)
    assert written.lines[0] == "one two"
