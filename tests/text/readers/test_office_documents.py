"""Sheets and slides: what is sentences or a column of text, and nothing of lists, headings and numbers."""

import io
import zipfile
from datetime import datetime

import pptx
import pytest
import xlsxwriter
from tests.text.readers.made_files import OTHERS, OWN, as_docx, as_odp, as_ods, as_xlsx, zipped

from sharedllm.text.readers import read_documents


def read(path):
    """What is read of a file as it lies in a folder, and why it is not."""
    unread = []
    return list(read_documents([path.parent], unread=unread.append)), [each.error.message for each in unread]


def workbook(path, **sheets):
    with xlsxwriter.Workbook(path) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)


def presentation(path, *slides):
    show = pptx.Presentation()
    for title, text in slides:
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    show.save(path)


def test_the_column_of_text_is_read_with_when_each_cell_was_written(tmp_path):
    (tmp_path / "diary.xlsx").write_bytes(as_xlsx())
    (document,), unread = read(tmp_path / "diary.xlsx")
    assert unread == []
    assert document.source.endswith("diary.xlsx/diary")
    assert [turn.text for turn in document.turns] == list(OWN)
    assert [turn.when for turn in document.turns] == [datetime(2024, 3, 1 + day) for day in range(len(OWN))]
    assert document.left_out.keys() == {"other columns", "cells that are no text", "hidden sheets", "comments"}


def test_every_sheet_is_a_document_and_where_no_column_is_the_text_its_sentences_are(tmp_path):
    plans = [["Monday", "shop", 3], ["Tuesday", OWN[0], 4], [OWN[1], "call Ruth", "https://example.org/" + "a" * 90]]
    workbook(tmp_path / "b.xlsx", plans=plans, posts=[["text"], [OWN[2]], ["ok"]])
    (plans, posts), _ = read(tmp_path / "b.xlsx")
    assert [turn.text for turn in plans.turns] == [OWN[0], OWN[1]]
    assert [turn.text for turn in posts.turns] == [OWN[2], "ok"]


@pytest.mark.parametrize("rows", [[], [["Rent", 900], ["Food", 250]]])
def test_a_workbook_of_numbers_and_names_is_named_with_its_reason(rows, tmp_path):
    workbook(tmp_path / "b.xlsx", budget=rows)
    documents, (why,) = read(tmp_path / "b.xlsx")
    assert documents == []
    assert "b.xlsx' holds no words of a person" in why
    assert ("of cells that are no text" in why) == bool(rows)


def test_slides_are_read_in_their_order_where_a_sentence_is_on_them_or_in_their_notes(tmp_path):
    presentation(tmp_path / "s.pptx", (OTHERS, "one\ntwo"), ("River", f"{OWN[0]}\nand so on"), ("Train", OWN[2]))
    show = pptx.Presentation(tmp_path / "s.pptx")
    show.slides[0].notes_slide.notes_text_frame.text = OWN[1]
    # The order is that of the list, not that of the names of the parts.
    listed = show.slides._sldIdLst
    listed.append(listed[0])
    show.save(tmp_path / "s.pptx")
    (document,), unread = read(tmp_path / "s.pptx")
    assert unread == []
    texts = [f"River\n{OWN[0]}\nand so on", f"Train\n{OWN[2]}", f"{OTHERS}\none\ntwo\n{OWN[1]}"]
    assert [turn.text for turn in document.turns] == texts


def test_slides_of_headings_are_left_out_and_a_presentation_of_them_is_named_with_its_reason(tmp_path):
    presentation(tmp_path / "s.pptx", ("Agenda", "intro\nfigures\nquestions"), ("Figures", "12 %\n14 %"))
    documents, (why,) = read(tmp_path / "s.pptx")
    assert documents == []
    assert "holds no words of a person, but " in why and "of slides without a sentence" in why
    presentation(tmp_path / "s.pptx", ("Agenda", "intro\nfigures"), ("River", OWN[0]))
    (document,), _ = read(tmp_path / "s.pptx")
    assert document.left_out == {"slides without a sentence": len("Agenda\nintro\nfigures")}


def test_what_scripts_without_spaces_say_is_a_sentence_too(tmp_path):
    said = "昨日は川沿いを歩いて、街灯がともるまで誰も手紙のことを口にしなかった。"
    workbook(tmp_path / "b.xlsx", plans=[["月曜", said], ["火曜", "買い物"]])
    (document,), _ = read(tmp_path / "b.xlsx")
    assert [turn.text for turn in document.turns] == [said]


def test_a_document_is_what_it_says_wherever_its_parts_lie(tmp_path):
    """SharePoint's Word calls its text document2.xml."""
    with zipfile.ZipFile(io.BytesIO(as_docx())) as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    for name in ("[Content_Types].xml", "_rels/.rels"):
        files[name] = files[name].replace(b"word/document.xml", b"word/document2.xml")
    files["word/document2.xml"] = files.pop("word/document.xml")
    (tmp_path / "mine.docx").write_bytes(zipped(files.items()))
    (document,), unread = read(tmp_path / "mine.docx")
    assert (document.kind, unread) == ("Word document", [])


def test_cells_that_refer_to_what_is_not_there_are_empty(tmp_path):
    with zipfile.ZipFile(io.BytesIO(as_xlsx())) as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    del files["xl/sharedStrings.xml"]
    (tmp_path / "mine.xlsx").write_bytes(zipped(files.items()))
    documents, (why,) = read(tmp_path / "mine.xlsx")
    assert documents == [] and why


@pytest.mark.rare
def test_a_sheet_with_a_cell_in_its_last_column_takes_no_more_than_another(tmp_path):
    with xlsxwriter.Workbook(tmp_path / "b.xlsx") as book:
        sheet = book.add_worksheet()
        sheet.write(0, 0, "text")
        for number in range(3_000):
            sheet.write(number, 16_383, number)
        sheet.write(1_048_575, 0, OWN[0])
    (document,), _ = read(tmp_path / "b.xlsx")
    assert [turn.text for turn in document.turns] == [OWN[0]]


def test_a_workbook_that_was_unpacked_and_packed_again_is_read(tmp_path):
    with zipfile.ZipFile(io.BytesIO(as_xlsx())) as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    folders = dict.fromkeys(("xl/", "xl/comments/", "xl/threadedComments/", "ppt/comments/"), b"")
    (tmp_path / "mine.xlsx").write_bytes(zipped([*folders.items(), *files.items()]))
    documents, unread = read(tmp_path / "mine.xlsx")
    assert documents and unread == []


def test_a_sheet_that_is_called_like_an_id_is_the_sheet_that_it_says(tmp_path):
    with xlsxwriter.Workbook(tmp_path / "b.xlsx") as book:
        for name, said in (("rId2", OWN[0]), ("rId1", OWN[1])):
            book.add_worksheet(name).write_column(0, 0, ["text", said])
    documents, _ = read(tmp_path / "b.xlsx")
    found = {document.source.rpartition("/")[2]: document.turns[0].text for document in documents}
    assert found == {"rId2": OWN[0], "rId1": OWN[1]}


def test_of_an_opendocument_spreadsheet_the_column_of_text_is_read_with_its_dates(tmp_path):
    (tmp_path / "diary.ods").write_bytes(as_ods())
    (document,), unread = read(tmp_path / "diary.ods")
    assert unread == []
    assert document.source.endswith("diary.ods/diary") and document.kind == "OpenDocument spreadsheet"
    assert [turn.text for turn in document.turns] == list(OWN)
    assert [turn.when for turn in document.turns] == [datetime(2024, 3, 1 + day) for day in range(len(OWN))]
    assert document.left_out.keys() == {"other columns", "cells that are no text", "hidden sheets", "comments"}


def test_of_an_opendocument_presentation_slides_with_a_sentence_are_read_without_what_is_on_every_one(tmp_path):
    (tmp_path / "talk.odp").write_bytes(as_odp())
    (document,), unread = read(tmp_path / "talk.odp")
    assert (unread, document.kind) == ([], "OpenDocument presentation")
    assert [turn.text for turn in document.turns] == list(OWN)
    assert document.left_out.keys() == {"slides without a sentence", "running heads"}


def test_a_drawing_is_named_with_its_reason(tmp_path):
    with zipfile.ZipFile(io.BytesIO(as_odp())) as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    files["mimetype"] = b"application/vnd.oasis.opendocument.graphics"
    (tmp_path / "mine.odg").write_bytes(zipped(files.items()))
    documents, (why,) = read(tmp_path / "mine.odg")
    assert documents == [] and "opendocument.graphics" in why
