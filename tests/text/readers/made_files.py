"""Files of every kind that is read, made with the libraries that people's programs are made of."""

import csv
import io
import json
import random
import zipfile
from datetime import datetime
from email.message import EmailMessage

import docx
import fpdf
import pptx
import xlsxwriter
from ebooklib import epub
from odf import draw, office, style, table, text
from odf.opendocument import OpenDocumentPresentation, OpenDocumentSpreadsheet, OpenDocumentText

OWN = (
    "We walked along the river until the lamps came on, and nobody said a word about the letter.",
    "My grandmother kept her recipes in a tin box; the one for plum cake is stained beyond reading.",
    "If the train is late again tomorrow I shall take the bicycle, rain or no rain.",
    "Größer als das Haus war nur die Stille danach — so erinnere ich mich an jenen Sommer.",
    "The committee met for three hours and decided, as committees do, to meet again.",
    "Yesterday the boiler broke, the cat was sick and the bakery had sold its last loaf by nine.",
)
OTHERS = "zebra quagga okapi"
"""Words that are in what a reader has to leave out, and nowhere else."""


def as_docx(paragraphs=OWN):
    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = OTHERS
    document.sections[0].footer.paragraphs[0].text = OTHERS
    for number, paragraph in enumerate(paragraphs):
        if number == 1:
            cells = document.add_table(1, 1).rows[0].cells
            cells[0].text = paragraph
        else:
            document.add_paragraph(paragraph, style="List Bullet" if number == 2 else None)
    first = document.paragraphs[0]
    document.add_comment(first.runs, text=OTHERS, author="Bob")
    return _saved(document.save)


def as_odt(paragraphs=OWN):
    document = OpenDocumentText()
    for number, paragraph in enumerate(paragraphs):
        element = text.P(text=paragraph)
        if number == 0:
            comment = office.Annotation()
            comment.addElement(text.P(text=OTHERS))
            element.addElement(comment)
        document.text.addElement(element)
    return _saved(document.write)


def as_ods(paragraphs=OWN):
    document = OpenDocumentSpreadsheet()
    hidden = style.Style(name="hidden", family="table")
    hidden.addElement(style.TableProperties(display="false"))
    document.automaticstyles.addElement(hidden)
    days = [f"2024-03-{1 + number:02}" for number in range(len(paragraphs))]
    rows = [["id", "date", "text", "tags"]]
    rows += [[str(number), days[number], paragraph, OTHERS] for number, paragraph in enumerate(paragraphs)]
    sheets = {"diary": rows, "secret": [[OTHERS] * 3], "budget": [[OTHERS, "12.5", "3"]]}
    for name, lines in sheets.items():
        sheet = table.Table(name=name, **({"stylename": hidden} if name == "secret" else {}))
        for number, line in enumerate(lines):
            row = table.TableRow()
            for column, said in enumerate(line):
                dated = name == "diary" and number and column == 1
                cell = table.TableCell(**({"valuetype": "date", "datevalue": said} if dated else {}))
                if name == "diary" and number == 1 and column == 2:
                    cell.addElement(office.Annotation())
                    cell.lastChild.addElement(text.P(text=OTHERS))
                cell.addElement(text.P(text=said))
                row.addElement(cell)
            row.addElement(table.TableCell(numbercolumnsrepeated="16380"))
            sheet.addElement(row)
        empty = table.TableRow(numberrowsrepeated="1048500")
        empty.addElement(table.TableCell(numbercolumnsrepeated="16384"))
        sheet.addElement(empty)
        document.spreadsheet.addElement(sheet)
    return _saved(document.write)


def as_odp(paragraphs=OWN):
    document = OpenDocumentPresentation()
    layout = style.PageLayout(name="paper")
    document.automaticstyles.addElement(layout)
    master = style.MasterPage(name="master", pagelayoutname=layout)
    document.masterstyles.addElement(master)
    for number, paragraph in enumerate([OTHERS, *paragraphs]):
        slide = draw.Page(masterpagename=master, name=f"page{number}")
        shown = [(paragraph, "outline")] + ([(OTHERS, "footer"), (str(number), "page-number")] if number else [])
        for said, kind in shown:
            frame = draw.Frame(width="10cm", height="3cm", attributes={"class": kind})
            box = draw.TextBox()
            box.addElement(text.P(text=said))
            frame.addElement(box)
            slide.addElement(frame)
        document.presentation.addElement(slide)
    return _saved(document.write)


def as_rtf(paragraphs=OWN):
    body = "\\par\n".join("".join(c if c.isascii() else f"\\u{ord(c)}?" for c in each) for each in paragraphs)
    fonts = r"{\fonttbl{\f0\fswiss Helvetica;}}{\colortbl;\red255\green0\blue0;}"
    return (r"{\rtf1\ansi\ansicpg1252" + fonts + r"{\*\generator " + OTHERS + r"}\f0\fs24 " + body + "}").encode()


def as_pdf(paragraphs=OWN, pages=3):
    class Paper(fpdf.FPDF):
        def header(self):
            self.cell(0, 8, f"{OTHERS} - {self.page_no()}", new_y="NEXT", new_x="LMARGIN")

        def footer(self):
            self.set_y(-12)
            self.cell(0, 8, f"Page {self.page_no()} of {{nb}}")

    paper = Paper()
    paper.set_font("Helvetica", size=12)
    each_page = -(-len(paragraphs) // pages)
    for page in range(pages):
        paper.add_page()
        for paragraph in paragraphs[page * each_page : (page + 1) * each_page]:
            shown = paragraph.replace("—", "-")
            paper.multi_cell(0, 6, shown, new_x="LMARGIN", new_y="NEXT", align="L")
            paper.ln(4)
    return bytes(paper.output())


def as_html(paragraphs=OWN):
    body = "".join(f"<p>{each}</p>\n" for each in paragraphs)
    return (
        f"<!DOCTYPE html><html><head><title>{OTHERS}</title><style>.a{{}} {OTHERS}</style>"
        f"<script>{OTHERS}</script></head>"
        f"<body><header>{OTHERS}</header><nav><ul><li><a href='/'>{OTHERS}</a></li></ul></nav>"
        f"<main><article>{body}<p hidden>{OTHERS}</p></article></main>"
        f"<aside>{OTHERS}</aside><footer>{OTHERS}</footer><noscript>{OTHERS}</noscript></body></html>"
    ).encode()


def as_epub(paragraphs=OWN):
    book = epub.EpubBook()
    book.set_identifier("a book")
    book.set_title("A book")
    book.set_language("en")
    chapters = []
    for number, paragraph in enumerate(paragraphs):
        chapter = epub.EpubHtml(title=OTHERS, file_name=f"{number}.xhtml")
        chapter.content = f"<html><body><p>{paragraph}</p></body></html>"
        book.add_item(chapter)
        chapters.append(chapter)
    book.toc = chapters
    book.add_item(epub.EpubNcx())
    book.add_item(epub.EpubNav())
    book.spine = ["nav", *chapters]
    return _saved(lambda file: epub.write_epub(file, book))


def as_ipynb(paragraphs=OWN):
    picture = "iVBORw0KGgo" + "".join(random.Random(0).choices("ABCDEFGHabcdefgh0123456789+/", k=27_000))
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [paragraphs[0]]}]
    for each in paragraphs[1:]:
        shown = {"output_type": "display_data", "metadata": {}, "data": {"image/png": picture, "text/plain": [OTHERS]}}
        printed = {"output_type": "stream", "name": "stdout", "text": [OTHERS]}
        outputs = [shown, printed]
        cells.append(
            {"cell_type": "code", "metadata": {}, "source": f"# {each}", "outputs": outputs, "execution_count": 1}
        )
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}).encode()


def as_csv(paragraphs=OWN, delimiter=","):
    file = io.StringIO()
    table = csv.writer(file, delimiter=delimiter)
    table.writerow(["id", "text", "tags"])
    table.writerows([number, paragraph, OTHERS] for number, paragraph in enumerate(paragraphs))
    return file.getvalue().encode()


def as_jsonl(paragraphs=OWN):
    return "".join(json.dumps({"id": 1, "text": each, "tags": OTHERS}) + "\n" for each in paragraphs).encode()


def mail(body, *, sender="Alice Miller <alice@example.org>", hour=9, attachment=True, **headers):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, "Bob <bob@example.org>", f"{OTHERS} 1"
    message["Date"] = f"Mon, 01 Jan 2024 {hour:02d}:00:00 +0100"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(body)
    if attachment:
        message.add_attachment(random.Random(hour).randbytes(40_000), maintype="image", subtype="png", filename="x.png")
    return message.as_bytes()


QUOTED = f"On Mon, Jan 1, 2024 at 08:00 Bob <bob@example.org> wrote:\n> {OTHERS}\n> {OTHERS}\n"
SIGNED = f"-- \nAlice Miller\n{OTHERS}\n"


def as_eml(paragraphs=OWN):
    return mail("\n\n".join(paragraphs) + f"\n\n{QUOTED}\n{SIGNED}")


def as_mbox(paragraphs=OWN):
    mails = [
        mail(f"{each}\n\n{SIGNED}\n{QUOTED}", hour=number, Delivered_To="alice@example.org")
        for number, each in enumerate(paragraphs)
    ]
    return b"".join(b"From alice@example.org Mon Jan  1 09:00:00 2024\n" + each + b"\n\n" for each in mails)


def as_xlsx(paragraphs=OWN):
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"default_date_format": "d. mmm yy"}) as book:
        diary = book.add_worksheet("diary")
        diary.write_row(0, 0, ["id", "date", "text", "tags"])
        for number, paragraph in enumerate(paragraphs):
            diary.write_row(number + 1, 0, [number, datetime(2024, 3, 1 + number), paragraph, OTHERS])
        diary.write_comment(1, 2, OTHERS)
        secret = book.add_worksheet("secret")
        secret.write_row(0, 0, [OTHERS] * 3)
        secret.hide()
        book.add_worksheet("budget").write_row(0, 0, [OTHERS, 12.5, "=1+1"])
    return file.getvalue()


def as_pptx(paragraphs=OWN):
    show = pptx.Presentation()
    bare = show.slides.add_slide(show.slide_layouts[0])
    bare.shapes.title.text = OTHERS
    slides = [show.slides.add_slide(show.slide_layouts[6]) for _ in range(3)]
    text = slides[0].shapes.add_textbox(0, 0, 9_000_000, 900_000).text_frame
    text.text = paragraphs[0]
    text.add_paragraph().text = paragraphs[1]
    table = slides[1].shapes.add_table(1, 1, 0, 0, 900_000, 900_000).table
    table.cell(0, 0).text = paragraphs[2]
    slides[1].notes_slide.notes_text_frame.text = paragraphs[3]
    for paragraph in paragraphs[4:]:
        slides[2].shapes.add_group_shape().shapes.add_textbox(0, 0, 900_000, 900_000).text_frame.text = paragraph
    return _saved(show.save)


def as_zip(paragraphs=OWN):
    names = [f"notes/{number}.txt" for number in range(len(paragraphs))]
    files = [(name, paragraph.encode()) for name, paragraph in zip(names, paragraphs, strict=True)]
    files += [("__MACOSX/._0.txt", OTHERS.encode()), (".hidden", OTHERS.encode())]
    return zipped(files)


def zipped(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return file.getvalue()


def _saved(save):
    file = io.BytesIO()
    save(file)
    return file.getvalue()


MADE = {
    "docx": as_docx,
    "odt": as_odt,
    "ods": as_ods,
    "odp": as_odp,
    "xlsx": as_xlsx,
    "pptx": as_pptx,
    "rtf": as_rtf,
    "pdf": as_pdf,
    "html": as_html,
    "epub": as_epub,
    "ipynb": as_ipynb,
    "csv": as_csv,
    "jsonl": as_jsonl,
    "eml": as_eml,
    "mbox": as_mbox,
    "zip": as_zip,
}
"""By how the names of such files end, what makes one that holds `OWN` and what has to be left out."""
