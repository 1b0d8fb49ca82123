"""Files that were made to do harm cost their own file, some seconds and some memory: never the others."""

import io
import json
import os
import time
import zipfile
from pathlib import Path

import pytest
from tests.text.readers.made_files import OWN, as_docx, as_odp, as_ods, as_odt, as_pdf, as_pptx, as_xlsx, zipped

from sharedllm.text.readers import dispatch, read_documents, reading_process


def read_with_neighbours(folder, name, data):
    """What becomes of a file between two others: its documents, and why it was not read."""
    (folder / "a.html").write_text("<p>Before.</p>")
    (folder / name).write_bytes(data)
    (folder / "z.html").write_text("<p>After.</p>")
    unread = []
    began = time.monotonic()
    documents = list(read_documents([folder], unread=unread.append))
    assert time.monotonic() - began < 100
    assert documents[0].turns[0].text == "Before." and documents[-1].turns[0].text == "After."
    return documents[1:-1], [each.error.message for each in unread]


def with_part(data, name, part):
    """A zipped document in which one part is another."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = [(each, part if each == name else archive.read(each)) for each in archive.namelist()]
    return zipped(files)


ENTITIES = "".join(f'<!ENTITY a{number} "{f"&a{number - 1};" * 10}">' for number in range(1, 10))
LAUGHS = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "lol">{ENTITIES}]><x><p>&a9;</p></x>'.encode()
SECRET = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><x><p>&f;</p></x>'


@pytest.mark.parametrize("bomb", [LAUGHS, SECRET, b"<a>" * 500_000, b"<x>" + b"<p>" * 200 + b"deep"])
@pytest.mark.parametrize(
    ("make", "part"),
    [
        (as_docx, "word/document.xml"),
        (as_odt, "content.xml"),
        (as_ods, "content.xml"),
        (as_odp, "content.xml"),
        (as_xlsx, "xl/worksheets/sheet1.xml"),
        (as_xlsx, "xl/sharedStrings.xml"),
        (as_pptx, "ppt/presentation.xml"),
        (as_pptx, "ppt/_rels/presentation.xml.rels"),
    ],
)
def test_entities_of_xml_are_not_put_in_and_depth_has_an_end(bomb, make, part, tmp_path):
    ending = make.__name__.removeprefix("as_")
    documents, unread = read_with_neighbours(tmp_path, f"m.{ending}", with_part(make(), part, bomb))
    assert not documents
    assert len(unread) == 1 and "root:" not in unread[0]


@pytest.mark.rare
def test_a_zip_bomb_ends_where_an_archive_may_not_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "MAX_TEXT_BYTES", 300_000_000)
    bomb = zipped([("bomb.bin", b"\x01" * 300_000_000), ("note.txt", OWN[0].encode())])
    documents, unread = read_with_neighbours(tmp_path, "m.zip", bomb)
    assert [each.turns[0].text for each in documents] == [OWN[0]]
    assert "is larger than 256 MB" in unread[0]


@pytest.mark.slow
def test_archives_in_archives_are_read_to_a_depth(tmp_path):
    data = zipped([("note.txt", OWN[0].encode())])
    for _ in range(2):
        data = zipped([("inner.zip", data)])
    documents, unread = read_with_neighbours(tmp_path, "m.zip", data)
    assert [each.source for each in documents] == [str(tmp_path / "m.zip" / "inner.zip" / "inner.zip" / "note.txt")]
    for _ in range(4):
        data = zipped([("inner.zip", data)])
    documents, unread = read_with_neighbours(tmp_path, "m.zip", data)
    assert documents == []
    assert "in 4 others; it goes no deeper" in unread[0]


@pytest.mark.slow
def test_an_archive_of_too_many_files_is_given_up_and_what_was_read_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "MOST_MEMBERS", 5)
    data = zipped([(f"{number}.txt", f"Number {number}.".encode()) for number in range(9)])
    documents, unread = read_with_neighbours(tmp_path, "m.zip", data)
    assert len(documents) == 5
    assert "holds more than 5 files" in unread[0]


def test_paths_in_archives_lead_nowhere_and_links_in_them_are_no_files(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../../../tmp/evil.txt", OWN[0])
        archive.writestr("/etc/evil\x1b[2J.txt", OWN[1])
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    documents, unread = read_with_neighbours(tmp_path, "m.zip", file.getvalue())
    assert {each.source for each in documents} == {
        str(tmp_path / "m.zip" / "tmp" / "evil.txt"),
        str(tmp_path / "m.zip" / "etc" / "evil\\x1b[2J.txt"),
    }
    assert all("\x1b" not in each.source for each in documents)
    assert "is a link or a device" in unread[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.ipynb", b'{"cells":' + b"[" * 200_000),
        ("m.json", b"[" * 200_000),
        ("m.jsonl", b'{"a":' * 100_000),
        ("m.xml", b"<smses>" + b"<sms>" * 300_000),
        ("m.xml", LAUGHS.replace(b"<x>", b"<smses>").replace(b"<p>", b'<sms body="&a9;"/>')),
        ("m.rtf", b"{\\rtf1 " + b"{" * 300_000),
        ("m.html", b"<div>" * 300_000 + b"deep"),
        (
            "m.eml",
            b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\nContent-Type: multipart/mixed\n\n" * 20_000,
        ),
        ("m.csv", b'text\n"' + b"a," * 500_000),
        ("m.txt", b"01/01/2024, 10:00 - " * 50_000),
    ],
)
def test_deep_and_endless_files_have_an_end(name, data, tmp_path):
    read_with_neighbours(tmp_path, name, data)


@pytest.mark.slow
def test_a_cell_that_says_it_is_repeated_a_billion_times_is_there_once(tmp_path):
    with zipfile.ZipFile(io.BytesIO(as_ods())) as archive:
        content = archive.read("content.xml")
    for repeated in (b"1000000000", b"99999"):
        many = content.replace(
            b"<table:table-cell>", b'<table:table-cell table:number-columns-repeated="%s">' % repeated
        )
        many = many.replace(b"<table:table-row>", b'<table:table-row table:number-rows-repeated="%s">' % repeated)
        assert many != content
        documents, _ = read_with_neighbours(tmp_path, "m.ods", with_part(as_ods(), "content.xml", many))
        assert [len(document.turns) for document in documents] == [len(OWN)]


@pytest.mark.slow
def test_a_pdf_whose_pages_are_a_circle_has_an_end(tmp_path):
    pdf = as_pdf(pages=1)
    circle = pdf.replace(b"/Kids [3 0 R]", b"/Kids [1 0 R]")
    assert circle != pdf
    read_with_neighbours(tmp_path, "m.pdf", circle)


@pytest.mark.rare
def test_a_file_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_process, "SECONDS", 1.0)
    rows = b"".join(b"%d,%s\n" % (number, b"word " * 20) for number in range(400_000))
    documents, unread = read_with_neighbours(tmp_path, "m.csv", b"id,text\n" + rows[:40_000_000])
    assert documents or "too long" in unread[0] or "longer than" in unread[0]


@pytest.mark.slow
def test_a_process_that_dies_costs_its_file_and_the_next_has_a_new_one(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.html").write_text(f"<p>{name}</p>")
    unread, texts = [], []
    with dispatch.Dispatch(unread.append) as door:
        for name in ("a", "b", "c"):
            if name == "b":
                process = door._processes[0]._process
                os.kill(process.pid, 9)
                process.wait()
            source = dispatch.FoundFile(tmp_path / f"{name}.html", named=False)
            texts += [each.turns[0].text for each in door.read(source)]
    assert texts == ["a", "b", "c"] and unread == []


def test_nothing_of_the_environment_reaches_a_reading_process(tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_MASTER_KEY", "secret")
    (tmp_path / "a.html").write_text("<p>a</p>")
    with dispatch.Dispatch(print) as door:
        list(door.read(dispatch.FoundFile(tmp_path / "a.html", named=True)))
        environment = Path(f"/proc/{door._processes[0]._process.pid}/environ").read_bytes()
        assert b"secret" not in environment


def test_what_is_no_file_and_what_leads_out_of_a_folder_is_not_read(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    (folder / "a\x1b[2J\nb.txt").write_text("mine")
    unread = []
    (document,) = read_documents([folder], unread=unread.append)
    assert document.turns[0].text == "mine"
    assert "\x1b" not in document.source and "\n" not in document.source
    assert ["is a link to a file outside" in each.error.message for each in unread] == [True]


def test_what_programs_leave_beside_peoples_files_is_passed_over_in_folders_and_archives(tmp_path):
    left = [".DS_Store", "Thumbs.db", "desktop.ini", "~$diary.docx", "__MACOSX/._note.txt"]
    for name in (*left, "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine" if name == "note.txt" else "of a program")
    (tmp_path / "all.zip").write_bytes(zipped([(name, b"of a program") for name in left] + [("b.txt", b"also mine")]))
    unread = []
    found = [document.turns[0].text for document in read_documents([tmp_path], unread=unread.append)]
    assert (found, unread) == (["also mine", "mine"], [])


def test_deep_json_in_a_chat_export_is_its_own_error(tmp_path):
    nested = json.dumps({"messages": []})[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    read_with_neighbours(tmp_path, "m.json", nested.encode())


def test_tables_in_cells_of_tables_say_once_what_stands_in_them(tmp_path):
    said = "These are quite enough words for a sentence that stands in a cell."
    begin = '<table:table table:name="a"><table:table-row><table:table-cell>'
    content = f"{begin * 70}<text:p>{said}</text:p>{'</table:table-cell></table:table-row></table:table>' * 70}"
    spaces = 'xmlns:office="o" xmlns:table="t" xmlns:text="x"'
    with zipfile.ZipFile(tmp_path / "a.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", f"<office:document-content {spaces}>{content}</office:document-content>")
    (document,) = read_documents([tmp_path / "a.ods"], unread=pytest.fail)
    assert [turn.text for turn in document.turns] == [said]
