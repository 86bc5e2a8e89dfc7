from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.path_guard import (
    MAX_UPLOAD_BYTES,
    FileTooLargeError,
    PathGuard,
    absolute_path,
)
from tests.refusals import refused


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def guard(pictures: Path) -> PathGuard:
    return PathGuard([pictures], working_dir=pictures)


def written(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class TestAccepted:
    def test_an_absolute_path(self, guard: PathGuard, pictures: Path) -> None:
        file = written(pictures / "a.png")
        assert guard.check(str(file), argument="image") == file

    def test_a_path_relative_to_the_working_folder(self, guard: PathGuard, pictures: Path) -> None:
        file = written(pictures / "sub" / "a.png")
        assert guard.check("sub/a.png", argument="image") == file
        assert guard.check("./sub/../sub/a.png", argument="image") == file

    def test_the_home_folder(self, throw_away_home: Path) -> None:
        file = written(throw_away_home / "a.png")
        guard = PathGuard([throw_away_home], working_dir=Path("/"))
        assert guard.check("~/a.png", argument="image") == file

    @pytest.mark.parametrize("form", ["file://{}", "file://localhost{}", "file:{}"])
    def test_file_urls_with_encoded_characters(self, guard: PathGuard, pictures: Path, form: str) -> None:
        file = written(pictures / "my holiday #1.png")
        encoded = str(file).replace(" ", "%20").replace("#", "%23")
        assert guard.check(form.format(encoded), argument="image") == file

    @pytest.mark.parametrize("quoted", ['"{}"', "'{}'", "  {}\n"])
    def test_quotes_and_space_left_by_copying(self, guard: PathGuard, pictures: Path, quoted: str) -> None:
        file = written(pictures / "a b.png")
        assert guard.check(quoted.format(file), argument="image") == file

    def test_a_link_that_stays_inside(self, guard: PathGuard, pictures: Path) -> None:
        file = written(pictures / "real.png")
        (pictures / "link.png").symlink_to(file)
        assert guard.check("link.png", argument="image") == file

    def test_a_folder_that_is_itself_a_link(self, tmp_path: Path) -> None:
        file = written(tmp_path / "disk" / "a.png")
        (tmp_path / "shortcut").symlink_to(tmp_path / "disk")
        guard = PathGuard([tmp_path / "shortcut"], working_dir=tmp_path)
        assert guard.check("shortcut/a.png", argument="image") == file

    def test_a_hidden_folder_that_the_user_named(self, tmp_path: Path) -> None:
        file = written(tmp_path / ".renders" / "a.png")
        guard = PathGuard([tmp_path, tmp_path / ".renders"], working_dir=tmp_path)
        assert guard.check(".renders/a.png", argument="image") == file

    def test_a_name_that_only_reads_the_same(self, guard: PathGuard, pictures: Path) -> None:
        screenshot = written(pictures / "Screenshot 10.00.00\u202fAM.png")
        composed = written(pictures / unicodedata.normalize("NFD", "Müller.png"))
        assert guard.check("Screenshot 10.00.00 AM.png", argument="image") == screenshot
        assert guard.check(unicodedata.normalize("NFC", "Müller.png"), argument="image") == composed

    def test_folders_that_only_read_the_same(self, tmp_path: Path) -> None:
        own = tmp_path / unicodedata.normalize("NFD", "Été")
        file = written(own / "Screen\u202fshots" / unicodedata.normalize("NFD", "Größe.png"))
        guard = PathGuard([own], working_dir=own)
        typed = tmp_path / "Été" / "Screen shots" / "Größe.png"
        for text in (typed, unicodedata.normalize("NFC", str(typed)), unicodedata.normalize("NFD", str(typed))):
            assert guard.check(str(text), argument="image") == file
        written(own / "Screen shots" / "other.png")
        with refused("file_not_found"):
            guard.check(str(typed), argument="image")

    def test_a_name_that_begins_like_a_home_folder(self, guard: PathGuard, pictures: Path) -> None:
        file = written(pictures / "~draft.png")
        assert guard.check("~draft.png", argument="image") == file

    @pytest.mark.skipif(os.name == "nt", reason="a backslash separates folders there")
    @pytest.mark.parametrize(
        "form",
        [r"My\ Pictures\ \(1\).png", "My%20Pictures%20(1).png", r"./My%20Pictures\ (1).png", "'My Pictures (1).png'"],
    )
    def test_what_dragging_leaves_in_a_name(self, guard: PathGuard, pictures: Path, form: str) -> None:
        file = written(pictures / "My Pictures (1).png")
        assert guard.check(form, argument="image") == file

    @pytest.mark.skipif(os.name == "nt", reason="a backslash separates folders there")
    @pytest.mark.parametrize("name", ["100%25.png", r"a\ b.png", "file:notes.png", "50%.png"])
    def test_a_name_that_looks_encoded_is_taken_as_it_stands_first(
        self, guard: PathGuard, pictures: Path, name: str
    ) -> None:
        written(pictures / "100%.png")
        written(pictures / "a b.png")
        file = written(pictures / name)
        assert guard.check(name, argument="image") == file


class TestContainment:
    @pytest.mark.parametrize(
        "text", [r"..\/secret.png", "..%2Fsecret.png", "%2Fetc%2Fpasswd", r"sub\/..\/..\/secret.png"]
    )
    def test_other_spellings_lead_nowhere_else(self, guard: PathGuard, pictures: Path, text: str) -> None:
        written(pictures.parent / "secret.png")
        with pytest.raises(InvalidArgumentError):
            guard.check(text, argument="image")

    @pytest.mark.parametrize("text", ["/etc/passwd", "../secret.png", "sub/../../secret.png", "file:///etc/passwd"])
    def test_paths_outside_are_refused(self, guard: PathGuard, pictures: Path, text: str) -> None:
        written(pictures.parent / "secret.png")
        with refused("path_outside_allowed_folders") as refusal:
            guard.check(text, argument="image_url")
        assert str(refusal.value).startswith("image_url: ")
        assert str(pictures) in str(refusal.value)
        assert "KUBEEZ_INPUT_DIRS" in refusal.value.next_step

    def test_whether_a_file_outside_exists_is_not_told(self, guard: PathGuard, pictures: Path) -> None:
        written(pictures.parent / "there.png")
        messages = set()
        for name in ("there.png", "gone.png"):
            with refused("path_outside_allowed_folders") as refusal:
                guard.check(f"../{name}", argument="image")
            messages.add(str(refusal.value).replace(name, "NAME"))
        assert len(messages) == 1

    def test_a_sibling_with_the_same_beginning_is_outside(self, guard: PathGuard, pictures: Path) -> None:
        file = written(pictures.with_name("pictures-private") / "a.png")
        with refused("path_outside_allowed_folders"):
            guard.check(str(file), argument="image")

    def test_a_link_that_escapes_is_refused_and_named(self, guard: PathGuard, pictures: Path) -> None:
        secret = written(pictures.parent / "secret.png")
        (pictures / "innocent.png").symlink_to(secret)
        with refused("path_outside_allowed_folders", match=r"innocent\.png leads to .*secret\.png"):
            guard.check("innocent.png", argument="image")

    def test_a_linked_folder_that_escapes_is_refused(self, guard: PathGuard, pictures: Path) -> None:
        written(pictures.parent / "private" / "a.png")
        (pictures / "album").symlink_to(pictures.parent / "private")
        with refused("path_outside_allowed_folders"):
            guard.check("album/a.png", argument="image")

    def test_without_folders_nothing_is_readable(self, pictures: Path) -> None:
        file = written(pictures / "a.png")
        with refused("path_outside_allowed_folders", match="none"):
            PathGuard([], working_dir=pictures).check(str(file), argument="image")


class TestHidden:
    @pytest.mark.parametrize("name", [".ssh/id.png", ".secret.png", "sub/.git/a.png"])
    def test_hidden_files_and_folders_are_refused(self, guard: PathGuard, pictures: Path, name: str) -> None:
        written(pictures / name)
        with refused("hidden_path", match="hidden"):
            guard.check(name, argument="image")

    def test_a_visible_link_into_a_hidden_folder_is_refused(self, guard: PathGuard, pictures: Path) -> None:
        (pictures / "a.png").symlink_to(written(pictures / ".cache" / "a.png"))
        with refused("hidden_path"):
            guard.check("a.png", argument="image")

    def test_a_hidden_link_to_a_visible_file_is_refused(self, guard: PathGuard, pictures: Path) -> None:
        written(pictures / "a.png")
        (pictures / ".link.png").symlink_to(pictures / "a.png")
        with refused("hidden_path"):
            guard.check(".link.png", argument="image")

    def test_hidden_files_that_do_not_exist_give_the_same_answer(self, guard: PathGuard) -> None:
        with refused("hidden_path"):
            guard.check(".env", argument="image")


class TestUnusable:
    def test_a_missing_file_names_similar_ones(self, guard: PathGuard, pictures: Path) -> None:
        for name in ("product-front.png", "product-back.png", "unrelated.wav", ".product-front.png"):
            written(pictures / name)
        with refused("file_not_found") as refusal:
            guard.check("prodct-front.png", argument="image")
        assert "Similar names there: product-front.png" in str(refusal.value)
        assert ".product-front.png" not in str(refusal.value)

    def test_a_missing_file_with_another_extension_is_suggested(self, guard: PathGuard, pictures: Path) -> None:
        written(pictures / "logo.webp")
        with refused("file_not_found") as refusal:
            guard.check("logo.png", argument="image")
        assert "Similar names there: logo.webp." in str(refusal.value)

    def test_a_link_to_nothing_is_told_from_a_missing_file(self, guard: PathGuard, pictures: Path) -> None:
        (pictures / "link.png").symlink_to(pictures / "gone.png")
        with refused("file_not_found", match=r"link to .*gone\.png, which is gone") as refusal:
            guard.check(str(pictures / "link.png"), argument="image_url")
        assert "Similar names" not in str(refusal.value)

    def test_a_missing_folder_is_said(self, guard: PathGuard) -> None:
        with refused("file_not_found", match="no folder"):
            guard.check("nowhere/a.png", argument="image")

    def test_a_path_below_a_file(self, guard: PathGuard, pictures: Path) -> None:
        written(pictures / "a.png")
        with refused("file_not_found", match="is a file"):
            guard.check("a.png/b.png", argument="image")

    def test_a_folder_suggests_a_pattern(self, guard: PathGuard, pictures: Path) -> None:
        (pictures / "album").mkdir()
        with refused("not_a_file", match=r"album/\*\.png"):
            guard.check("album", argument="image")

    def test_an_empty_file(self, guard: PathGuard, pictures: Path) -> None:
        written(pictures / "a.png", b"")
        with refused("file_empty"):
            guard.check("a.png", argument="image")

    def test_exactly_500_mb_is_accepted_and_one_byte_more_is_not(self, guard: PathGuard, pictures: Path) -> None:
        file = written(pictures / "a.mp4")
        os.truncate(file, MAX_UPLOAD_BYTES)
        assert guard.check("a.mp4", argument="video") == file
        os.truncate(file, MAX_UPLOAD_BYTES + 1)
        with pytest.raises(FileTooLargeError, match="at most 500 MB"):
            guard.check("a.mp4", argument="video")

    def test_a_pipe_does_not_hang(self, guard: PathGuard, pictures: Path) -> None:
        os.mkfifo(pictures / "a.png")
        with refused("not_a_file", match="a pipe"):
            guard.check("a.png", argument="image")

    def test_a_device(self) -> None:
        with refused("not_a_file", match="a device"):
            PathGuard([Path("/dev")], working_dir=Path("/")).check("/dev/null", argument="image")

    def test_a_file_without_permission(self, guard: PathGuard, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written(pictures / "a.png")

        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        with refused("file_unreadable", match="permission denied"):
            guard.check("a.png", argument="image")

    def test_a_link_to_itself(self, guard: PathGuard, pictures: Path) -> None:
        (pictures / "loop.png").symlink_to(pictures / "loop.png")
        with refused("file_unreadable"):
            guard.check("loop.png", argument="image")


class TestMalformed:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "empty"),
            ("  ", "empty"),
            ("a\0b.png", "control character"),
            ("a\nb.png", "control character"),
            ("a\x9bb.png", "control character"),
            ("\ud800.png", "not valid text"),
            ("a" * 5000, "at most 4096"),
            ("C:\\Users\\me\\a.png", "Windows path"),
            ("\\\\server\\share\\a.png", "Windows path"),
            ("file://server/share/a.png", "another machine"),
            ("file:///c%3A/Users/me/a.png", "Windows path"),
            ("file:///C:/Users/me/a.png", "Windows path"),
            ("file:///a%0Ab.png", "control character"),
            ("~nobody-of-that-name/a.png", "home folder"),
        ],
    )
    def test_texts_that_are_no_path_here(self, guard: PathGuard, text: str, words: str) -> None:
        with refused("malformed_path", match=words):
            guard.check(text, argument="image")

    def test_a_name_longer_than_the_file_system_takes(self, guard: PathGuard) -> None:
        with refused("file_unreadable"):
            guard.check("a" * 300 + ".png", argument="image")

    def test_on_windows_drive_letters_are_paths_and_streams_are_not(self) -> None:
        text = absolute_path("file:///C:/a.png", Path("/w"), argument="image", windows=True)
        assert str(text).endswith("C:/a.png")
        with refused("malformed_path", match="data stream"):
            absolute_path("a.png:hidden", Path("/w"), argument="image", windows=True)


class TestPatterns:
    def test_files_come_in_natural_order(self, guard: PathGuard, pictures: Path) -> None:
        for number in (10, 2, 1):
            written(pictures / f"shot{number}.png")
        written(pictures / "shot3.txt")
        found = guard.expand("shot*.png", argument="paths", limit=10)
        assert [path.name for path in found] == ["shot1.png", "shot2.png", "shot10.png"]

    def test_any_depth_without_hidden_folders_and_linked_loops(self, guard: PathGuard, pictures: Path) -> None:
        for name in ("a.png", "one/b.png", "one/two/c.png", ".git/d.png"):
            written(pictures / name)
        (pictures / "one" / "back").symlink_to(pictures)
        found = guard.expand("**/*.png", argument="paths", limit=10)
        assert sorted(path.name for path in found) == ["a.png", "b.png", "c.png"]

    def test_a_link_that_leads_in_circles_is_matched_as_a_file_that_cannot_be_read(
        self, guard: PathGuard, pictures: Path
    ) -> None:
        written(pictures / "sub" / "a.png")
        (pictures / "round.png").symlink_to(pictures / "round.png")
        (pictures / "ping").symlink_to(pictures / "pong")
        (pictures / "pong").symlink_to(pictures / "ping")
        assert [each.name for each in guard.expand("*/*.png", argument="paths", limit=9)] == ["a.png"]
        with refused("file_unreadable", match="round"):
            guard.expand("**/*.png", argument="paths", limit=9)
        with refused("file_not_found", match=r"Similar names there: round\.png"):
            guard.check("rounds.png", argument="image")

    def test_question_marks_and_sets(self, guard: PathGuard, pictures: Path) -> None:
        for name in ("a1.png", "a2.png", "a33.png"):
            written(pictures / name)
        assert len(guard.expand("a?.png", argument="paths", limit=10)) == 2
        assert len(guard.expand("a[2-3]*.png", argument="paths", limit=10)) == 2

    def test_a_file_whose_name_looks_like_a_pattern(self, guard: PathGuard, pictures: Path) -> None:
        file = written(pictures / "photo[1].png")
        written(pictures / "photo1.png")
        assert guard.expand("photo[1].png", argument="paths", limit=10) == [file]

    def test_a_folder_whose_name_looks_like_a_pattern(self, guard: PathGuard, pictures: Path) -> None:
        file = written(pictures / "[2026]" / "a.png")
        assert guard.expand("[2026]/*.png", argument="paths", limit=10) == [file]

    def test_a_plain_path_is_that_file(self, guard: PathGuard, pictures: Path) -> None:
        file = written(pictures / "a.png")
        assert guard.expand("a.png", argument="paths", limit=1) == [file]

    def test_more_files_than_the_limit(self, guard: PathGuard, pictures: Path) -> None:
        for number in range(4):
            written(pictures / f"{number}.png")
        with refused("too_many_files", match="more than 3 files"):
            guard.expand("*.png", argument="paths", limit=3)

    def test_nothing_matches(self, guard: PathGuard, pictures: Path) -> None:
        written(pictures / "a.png")
        with refused("file_not_found", match=r"matches"):
            guard.expand("*.webp", argument="paths", limit=3)

    def test_a_pattern_outside_is_refused_unseen(self, guard: PathGuard) -> None:
        with refused("path_outside_allowed_folders"):
            guard.expand("/etc/*", argument="paths", limit=1000)

    def test_a_match_that_escapes_through_a_link_is_refused(self, guard: PathGuard, pictures: Path) -> None:
        (pictures / "a.png").symlink_to(written(pictures.parent / "secret.png"))
        with refused("path_outside_allowed_folders"):
            guard.expand("*.png", argument="paths", limit=3)
