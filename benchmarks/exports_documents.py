"""Documents, notebooks, tables, mails and a checkout for `benchmarks.exports`, made by the programs that people use.

LibreOffice, Chromium and git where they are installed, and the libraries python-docx, XlsxWriter, python-pptx, odfpy,
fpdf2, EbookLib, nbformat and Python's own mailbox; with what a careful reader would copy of each.
"""

import csv
import html
import io
import json
import mailbox
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from benchmarks.exports_words import OTHERS, OWN, latin, messages

PARAGRAPHS = 60
HEAD, FOOT, COMMENT = "Draft of the zebra society", "Printed for the quagga archive", "okapi remarks by a reviewer"


@dataclass(frozen=True)
class Made:
    """A file or a folder, and what is in it.

    Attributes:
        kind: of file.
        name: what made it.
        path: where it lies.
        own: what Alice wrote, as a careful reader would copy it.
        others: what others or programs wrote there.
        me: how she is called in it; None where nobody is.
        author: how git calls her; None where it is no checkout.
    """

    kind: str
    name: str
    path: Path
    own: list[str] = field(repr=False)
    others: list[str] = field(repr=False)
    me: str | None = None
    author: str | None = None


def documents(folder: Path) -> Iterator[Made]:
    """Everything, in folders of its own below one."""
    for number, make in enumerate(
        (_word, _open_document, _portable, _pages, _books, _notebooks, _tables, _mails, _checkout, _sheets, _slides)
    ):
        yield from make(folder / str(number), 1_000 + 10 * number)


def _paragraphs(seed: int) -> list[str]:
    return [" ".join(messages(OWN, 3, seed * 100 + number)) for number in range(PARAGRAPHS)]


def _word(folder: Path, seed: int) -> Iterator[Made]:
    import docx

    folder.mkdir()
    own = _paragraphs(seed)
    document: Any = docx.Document()
    document.sections[0].header.paragraphs[0].text = HEAD
    document.sections[0].footer.paragraphs[0].text = FOOT
    for number, text in enumerate(own):
        if number % 20 == 0:
            document.add_heading(text, 1)
        elif number % 7 == 3:
            cells = document.add_table(1, 2).rows[0].cells
            cells[0].text, cells[1].text = text[: len(text) // 2], text[len(text) // 2 :]
        else:
            paragraph = document.add_paragraph(style="List Bullet" if number % 5 == 2 else None)
            paragraph.add_run(text[:20]).bold = True
            paragraph.add_run(text[20:])
            if number % 9 == 4:
                document.add_comment(paragraph.runs, text=COMMENT, author="Bob")
    document.save(folder / "mine.docx")
    # A table parts what it holds where its cells end.
    expected = [
        f"{text[: len(text) // 2]} {text[len(text) // 2 :]}" if number % 7 == 3 and number % 20 else text
        for number, text in enumerate(own)
    ]
    yield Made("Word documents", "python-docx", folder / "mine.docx", expected, [HEAD, FOOT, COMMENT])
    yield from _by_office(folder, seed + 1, "Word documents", "docx")


def _by_office(folder: Path, seed: int, kind: str, ending: str) -> Iterator[Made]:
    """What LibreOffice makes of a text with a running head and a comment."""
    if shutil.which("soffice") is None:
        return
    own = latin(_paragraphs(seed))
    source = folder / f"office-{ending}.odt"
    _save_odt(source, own, head=True)
    command = ["soffice", f"-env:UserInstallation=file://{folder}/profile", "--headless", "--convert-to", ending]
    subprocess.run(
        [*command, "--outdir", str(folder / "out"), str(source)], check=True, capture_output=True, timeout=180
    )
    source.unlink()
    others = [HEAD, FOOT, COMMENT]
    yield Made(kind, f"LibreOffice ({ending})", folder / "out" / f"office-{ending}.{ending}", own, others)


def _save_odt(path: Path, own: list[str], *, head: bool) -> None:
    from odf import dc, office, style, text
    from odf.opendocument import OpenDocumentText

    document: Any = OpenDocumentText()
    if head:
        page = style.PageLayout(name="page")
        document.automaticstyles.addElement(page)
        master = style.MasterPage(name="Standard", pagelayoutname=page)
        for part, words in ((style.Header(), HEAD), (style.Footer(), FOOT)):
            part.addElement(text.P(text=words))
            master.addElement(part)
        document.masterstyles.addElement(master)
    for number, words in enumerate(own):
        element = text.H(outlinelevel=1, text=words) if number % 20 == 0 else text.P(text=words)
        if number % 9 == 4:
            comment = office.Annotation()
            comment.addElement(dc.Creator(text="Bob"))
            comment.addElement(text.P(text=COMMENT))
            element.addElement(comment)
        document.text.addElement(element)
    document.save(str(path))


def _open_document(folder: Path, seed: int) -> Iterator[Made]:
    folder.mkdir()
    own = _paragraphs(seed)
    _save_odt(folder / "mine.odt", own, head=True)
    yield Made("OpenDocument and RTF", "odfpy", folder / "mine.odt", own, [HEAD, FOOT, COMMENT, "Bob"])
    yield from _by_office(folder, seed + 1, "OpenDocument and RTF", "rtf")


def _portable(folder: Path, seed: int) -> Iterator[Made]:
    import fpdf

    class Paper(fpdf.FPDF):
        def header(self) -> None:
            self.cell(0, 8, f"{HEAD} {self.page_no()}", new_y="NEXT", new_x="LMARGIN")

        def footer(self) -> None:
            self.set_y(-12)
            self.cell(0, 8, f"{FOOT}, page {self.page_no()} of {{nb}}")

    folder.mkdir()
    own = latin(_paragraphs(seed))
    paper = Paper()
    paper.set_font("Helvetica", size=11)
    paper.add_page()
    for words in own:
        paper.multi_cell(0, 6, words, new_x="LMARGIN", new_y="NEXT", align="L")
        paper.ln(3)
    (folder / "mine.pdf").write_bytes(bytes(paper.output()))
    pages = [
        f"{HEAD} {number} {FOOT}, page {number} of {paper.pages_count}" for number in range(1, paper.pages_count + 1)
    ]
    yield Made("PDF documents", "fpdf2", folder / "mine.pdf", own, pages)
    yield from _by_office(folder, seed + 1, "PDF documents", "pdf")
    if shutil.which("chromium") is not None:
        own = latin(_paragraphs(seed + 2))
        body = "".join(f"<p>{html.escape(words)}</p>" for words in own)
        (folder / "page.html").write_text(f"<meta charset=utf-8><title>{HEAD}</title>{body}")
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/chromium"]
        command += [f"--print-to-pdf={folder}/chromium.pdf", f"file://{folder}/page.html"]
        subprocess.run(command, check=True, capture_output=True, timeout=180)
        (folder / "page.html").unlink()
        yield Made("PDF documents", "Chromium", folder / "chromium.pdf", own, [HEAD] * 4)


def _pages(folder: Path, seed: int) -> Iterator[Made]:
    folder.mkdir()
    own = _paragraphs(seed)
    body = "\n".join(f"<p>{html.escape(words)}</p>" for words in own)
    menu = "".join(f"<li><a href='/{number}'>{html.escape(words)}</a></li>" for number, words in enumerate(OTHERS))
    page = (
        f"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>{HEAD}</title><style>p {{ margin: 0 }}</style>"
        f"<script>var x = {json.dumps(list(OTHERS))};</script></head><body><header>{HEAD}</header><nav><ul>{menu}</ul>"
        f"</nav><main><article>{body}</article></main><aside>{COMMENT}</aside><footer>{FOOT}</footer></body></html>"
    )
    (folder / "mine.html").write_text(page)
    yield Made(
        "web pages and books", "a blog's page", folder / "mine.html", own, [HEAD] * 2 + [FOOT, COMMENT, *OTHERS * 2]
    )


def _books(folder: Path, seed: int) -> Iterator[Made]:
    from ebooklib import epub

    folder.mkdir()
    own = _paragraphs(seed)
    book: Any = epub.EpubBook()
    book.set_identifier("mine")
    book.set_title(HEAD)
    chapters = []
    for number in range(0, PARAGRAPHS, 20):
        body = "".join(f"<p>{html.escape(words)}</p>" for words in own[number : number + 20])
        chapter = epub.EpubHtml(title=OTHERS[number // 20], file_name=f"{number}.xhtml")
        chapter.content = f"<html><body>{body}</body></html>"
        book.add_item(chapter)
        chapters.append(chapter)
    book.toc = chapters
    book.add_item(epub.EpubNcx())
    book.add_item(epub.EpubNav())
    book.spine = ["nav", *chapters]
    epub.write_epub(str(folder / "mine.epub"), book)
    yield Made("web pages and books", "EbookLib", folder / "mine.epub", own, [HEAD, *OTHERS[:3]])
    yield from _by_office(folder, seed + 1, "web pages and books", "epub")


def _notebooks(folder: Path, seed: int) -> Iterator[Made]:
    import nbformat

    folder.mkdir()
    own = _paragraphs(seed)
    v4: Any = nbformat.v4
    cells = []
    for number, words in enumerate(own):
        if number % 2:
            cells.append(v4.new_markdown_cell(words))
            continue
        shown = v4.new_output("stream", name="stdout", text=f"{OTHERS[number % 15]}\n")
        picture = v4.new_output("display_data", data={"image/png": "iVBORw0KGgo" * 900, "text/plain": COMMENT})
        cells.append(v4.new_code_cell("\n".join(f"# {line}" for line in words.split("\n")), outputs=[shown, picture]))
    write: Any = nbformat.write
    write(v4.new_notebook(cells=cells), folder / "mine.ipynb")
    others = [OTHERS[number % 15] for number in range(0, PARAGRAPHS, 2)] + [COMMENT] * 30
    yield Made("notebooks and tables", "nbformat", folder / "mine.ipynb", own, others)


def _tables(folder: Path, seed: int) -> Iterator[Made]:
    folder.mkdir()
    own = _paragraphs(seed)
    file = io.StringIO()
    table = csv.writer(file, delimiter=";")
    table.writerow(["id", "created_at", "text", "tags"])
    table.writerows([number, f"2024-03-{1 + number % 28:02}", words, COMMENT] for number, words in enumerate(own))
    (folder / "posts.csv").write_text(file.getvalue())
    yield Made("notebooks and tables", "csv, semicolons", folder / "posts.csv", own, [COMMENT] * PARAGRAPHS)
    lines = [json.dumps({"id": number, "text": words, "lang": COMMENT}) for number, words in enumerate(own[::-1])]
    (folder / "posts.jsonl").write_text("\n".join(lines))
    yield Made("notebooks and tables", "JSON lines", folder / "posts.jsonl", own, [COMMENT] * PARAGRAPHS)


def _sheets(folder: Path, seed: int) -> Iterator[Made]:
    import xlsxwriter

    folder.mkdir()
    kind, own = "sheets and slides", _paragraphs(seed)
    with xlsxwriter.Workbook(
        folder / "diary.xlsx", {"default_date_format": "dd.mm.yyyy", "strings_to_urls": False}
    ) as book:
        diary = book.add_worksheet("diary")
        diary.write_row(0, 0, ["id", "date", "text", "tags"])
        for number, words in enumerate(own):
            diary.write_row(number + 1, 0, [number, datetime(2024, 3, 1 + number % 28), words, COMMENT])
            if number % 20 == 3:
                diary.write_comment(number + 1, 2, COMMENT, {"author": "Bob"})
        budget = book.add_worksheet("budget")
        for number, words in enumerate(OTHERS):
            budget.write_row(number, 0, [words[:24], 12.5 * number, datetime(2024, 3, 1 + number)])
    others = [COMMENT] * (PARAGRAPHS + 3) + [words[:24] for words in OTHERS]
    yield Made(kind, "XlsxWriter", folder / "diary.xlsx", own, others)


def _slides(folder: Path, seed: int) -> Iterator[Made]:
    import pptx

    folder.mkdir()
    kind, own = "sheets and slides", latin(_paragraphs(seed))
    show: Any = pptx.Presentation()
    show.slides.add_slide(show.slide_layouts[0]).shapes.title.text = HEAD
    for number in range(0, PARAGRAPHS, 3):
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = own[number]
        slide.placeholders[1].text = own[number + 1]
        slide.notes_slide.notes_text_frame.text = own[number + 2]
    show.save(folder / "talk.pptx")
    yield Made(kind, "python-pptx", folder / "talk.pptx", own, [HEAD])


SIGNATURE = "Alice Miller\nZebra Lane 7\nquagga society, founding member"


def _mails(folder: Path, seed: int) -> Iterator[Made]:
    folder.mkdir()
    for name, file in (
        ("mbox", "all.mbox"),
        ("Maildir", "Maildir"),
        ("mbox, answers above the quoted mail, HTML too", "gmail.mbox"),
        ("mbox, signed without a line before it", "unmarked.mbox"),
    ):
        box = mailbox.Maildir(folder / file) if file == "Maildir" else mailbox.mbox(folder / file)
        own, others = messages(OWN, 80, seed), messages(OTHERS, 80, seed + 1)
        at = datetime(2024, 3, 1, 9, tzinfo=UTC)
        rest: list[str] = []
        for number in range(80):
            at += timedelta(hours=3)
            box.add(_mail("Bob Builder <bob@example.org>", f"Hello\n\n{others[number]}\n", at, number).as_bytes())
            rest.append(others[number])
            at += timedelta(minutes=10)
            quoted = "\n".join(f"> {line}" for line in ["Hello", "", others[number]])
            said = f"On Fri, Mar 1, 2024 at 9:00 AM Bob Builder <bob@example.org> wrote:\n{quoted}\n"
            mark = "" if file == "unmarked.mbox" else "-- \n"
            body = f"{own[number]}\n\n{said}\n{mark}{SIGNATURE}\n"
            mail = _mail('"Alice Miller" <alice@example.org>', body, at, number)
            if file == "gmail.mbox":
                page = f'<div dir="ltr">{html.escape(own[number])}</div>'
                page += f'<div class="gmail_quote">{html.escape(said)}</div>'
                mail.add_alternative(page, subtype="html")
                mail.add_attachment(b"\0" * 3_000, maintype="image", subtype="png", filename="x.png")
            box.add(mail.as_bytes())
            rest += [said, SIGNATURE]
        box.close()
        yield Made("mails", name, folder / file, own, rest, me="Alice Miller")
        seed += 2


def _mail(sender: str, body: str, at: datetime, number: int) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, "People <people@example.org>", f"Re: okapi {number}"
    mail["Date"], mail["Message-ID"] = format_datetime(at), f"<{number}.{at:%H%M}@example.org>"
    mail.set_content(body)
    return mail


def _checkout(folder: Path, seed: int) -> Iterator[Made]:
    if shutil.which("git") is None:
        return
    folder.mkdir()
    own, others = (
        _paragraphs(seed),
        [" ".join(messages(OTHERS, 3, seed * 100 + number)) for number in range(PARAGRAPHS)],
    )
    for number in range(6):
        part = slice(number * 10, number * 10 + 10)
        file = folder / f"notes{number}.md"
        file.write_text("".join(f"{words}\n" for words in own[part]))
        _commit(folder, "Alice Miller", "alice@example.org")
        mixed = [line for pair in zip(own[part], others[part], strict=True) for line in pair]
        file.write_text("".join(f"{words}\n" for words in mixed))
        _commit(folder, "Bob Builder", "bob@example.org")
    yield Made("git checkouts", "git", folder, own, others, author="alice@example.org")


def _commit(folder: Path, name: str, mail: str) -> None:
    if not (folder / ".git").exists():
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    who = ["-c", f"user.name={name}", "-c", f"user.email={mail}", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, "commit", "-qm", "more"], cwd=folder, check=True, capture_output=True)
