import io
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm.errors import TextError
from sharedllm.text.documents import normalise_newlines
from sharedllm.text.readers import dispatch
from sharedllm.text.reading import read_user

LANGUAGES = {
    "malayalam": "എല്ലാ മനുഷ്യരും സ്വതന്ത്രരായി ജനിക്കുന്നു.",
    "chinese": "人人生而自由,在尊严和权利上一律平等。",
    "arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
    "emoji": "👩‍👩‍👧‍👦 says 👍🏽 to 🇮🇳",
}


def refusal_of(*sources, **options) -> TextError:
    with pytest.raises(TextError) as refusal:
        read_user("alice", sources, **options)
    return refusal.value


@pytest.mark.parametrize("text", LANGUAGES.values(), ids=LANGUAGES)
def test_any_language_is_kept_as_it_is(tmp_path, text):
    file = tmp_path / "നോട്ട്.txt"
    file.write_text(text, encoding="utf-8")
    assert read_user("ആലീസ്", [file]).text == text


def test_byte_order_mark_and_line_endings_are_normalised(tmp_path):
    file = tmp_path / "windows.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert read_user("alice", [str(file)]).text == "one\ntwo\nthree\n"


@given(st.text())
def test_normalising_newlines_twice_changes_nothing_more(text):
    once = normalise_newlines(text)
    assert "\r" not in once
    assert normalise_newlines(once) == once


def test_sources_keep_their_order_and_each_file_is_read_once(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(f"text {name}\n")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = read_user("alice", [tmp_path / "b", tmp_path / "a", tmp_path, tmp_path / "b"])
    assert found.text == "text b\n\ntext a\n"


def test_a_folder_is_read_in_order_by_content(tmp_path):
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "deep").write_text("last")
    (tmp_path / "b.weird").write_text("second")
    (tmp_path / "a.md").write_text("first")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "photo.txt").write_bytes(b"\x89PNG\0")
    (tmp_path / "latin.txt").write_bytes("naïve".encode("latin-1"))
    (tmp_path / ".hidden").write_text("hidden")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("hidden")
    (tmp_path / "z" / "loop").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    found = read_user("alice", [tmp_path])
    assert found.text == "first\nsecond\nlast"
    assert found.skipped == (tmp_path / "latin.txt", tmp_path / "photo.txt")
    latin, photo = found.why_skipped
    assert "byte 0xef at offset 2" in latin.message
    assert "iconv -f latin1 -t utf-8" in latin.remedy
    assert "it is a PNG image" in photo.message
    assert [(part.source, part.characters) for part in found.parts] == [
        (str(tmp_path / "a.md"), 5),
        (str(tmp_path / "b.weird"), 6),
        (str(tmp_path / "z" / "deep"), 4),
    ]


def test_dash_is_standard_input_and_a_path_of_that_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_text("from the file")
    assert read_user("alice", ["-", "-"], stdin=io.BytesIO(b"typed")).text == "typed"
    assert read_user("alice", [tmp_path / "-"]).text == "from the file"


def test_a_pipe_can_be_named(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("through a pipe",))
    writer.start()
    assert read_user("alice", [pipe]).text == "through a pipe"
    writer.join()


@pytest.mark.parametrize(
    ("content", "said", "remedy"),
    [
        (b"", "is empty", "Give a file with text in it"),
        (b" \n\t", "is empty", "Give a file with text in it"),
        (b"GIF89a\0\1", "is binary, not text: NUL byte at offset 6", "save it as UTF-8"),
        ("h\x01".encode("utf-16-le"), "is binary, not text: NUL byte at offset 1", "text in UTF-16, save it as UTF-8"),
        ("naïve".encode("latin-1"), "is not UTF-8 text: byte 0xef at offset 2", "Save it as UTF-8"),
        (b"\xef\xbb\xbfok \xff", "byte 0xff at offset 6", "Save it as UTF-8"),
        ("cut off: é".encode()[:-1], "byte 0xc3 at offset 9", "Save it as UTF-8"),
        (b"a" * 100_000 + b"\xff", "byte 0xff at offset 100,000", "Save it as UTF-8"),
        (
            b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
            "is damaged, or not what it seems: PdfiumError; it is a PDF document",
            "Export",
        ),
        (b"%PDF-1.4\nonly ASCII", "it is a PDF document", "pdftotext"),
        (b"PK\x03\x04\x14\0word/document.xml", "it is a Word document (docx)", "export it as text"),
    ],
)
def test_a_named_file_that_is_not_text_is_refused(tmp_path, content, said, remedy):
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    refusal = refusal_of(file)
    assert said in refusal.message
    assert repr(str(file)) in refusal.message
    assert remedy in refusal.remedy
    refusal = refusal_of("-", stdin=io.BytesIO(content))
    assert "standard input" in refusal.message


def test_a_character_across_the_first_bytes_read_is_whole(tmp_path):
    file = tmp_path / "long.txt"
    text = "x" + "é" * 70_000
    file.write_text(text, encoding="utf-8")
    assert read_user("alice", [file]).text == text


def test_a_missing_path_is_named(tmp_path):
    refusal = refusal_of(tmp_path / "nowhere.md")
    assert "nowhere.md' cannot be read: No such file" in refusal.message
    assert "Check the path" in refusal.remedy


@pytest.mark.parametrize("name", ["a\0b", "a\ud83d", "x" * 10_000], ids=["nul", "surrogate", "long"])
def test_an_impossible_path_is_named(name):
    assert repr(name) in refusal_of(name).message


def test_a_folder_without_text_and_no_source_at_all_are_refused(tmp_path):
    (tmp_path / "photo").write_bytes(b"\0")
    assert f"no text for 'alice' in {str(tmp_path)!r}" in refusal_of(tmp_path).message
    (tmp_path / "notes.pdf").write_bytes(b"%PDF-1.7\n\xff")
    assert "it is a PDF document. Export its text" in refusal_of(tmp_path).message
    refusal = refusal_of()
    assert "no text for 'alice' in no sources" in refusal.message
    assert "Name UTF-8 text files" in refusal.remedy


def test_too_much_text_is_refused_before_it_is_all_read(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "MAX_TEXT_BYTES", 1_000_000)
    (tmp_path / "a").write_text("a" * 600_000)
    (tmp_path / "film").write_bytes(b"\0" * 2_000_000)
    assert read_user("alice", [tmp_path]).skipped == (tmp_path / "film",)
    (tmp_path / "b").write_text("b" * 600_000)
    refusal = refusal_of(tmp_path)
    assert f"exceeds 1 MB at {str(tmp_path / 'b')!r}" in refusal.message
    assert "fewer or smaller files" in refusal.remedy


def test_an_endless_stream_is_refused(monkeypatch):
    monkeypatch.setattr(dispatch, "MAX_TEXT_BYTES", 1_000_000)

    class Endless(io.BytesIO):
        def read(self, size=-1):
            assert size >= 0
            return b"y" * size

    assert "exceeds 1 MB at standard input" in refusal_of("-", stdin=Endless()).message
