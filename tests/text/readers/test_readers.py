"""Every kind of file that is read: a person's own words of it, and nothing of what others or programs wrote."""

import io
import random
import re
import time

import fpdf
import pytest
from tests.text.readers.made_files import MADE, OTHERS, OWN

from sharedllm.text.readers import pdf, read_documents
from sharedllm.text.readers.found import Unreadable
from sharedllm.text.readers.pdf import whole_words


def read(*sources, **options):
    unread = []
    return list(read_documents(sources, unread=unread.append, **options)), unread


def words(text):
    return re.findall(r"\w+", text)


@pytest.fixture(scope="module", params=MADE)
def made(request):
    return request.param, MADE[request.param]()


def test_of_a_file_of_every_kind_the_own_words_are_read_in_order_and_nothing_else(made, tmp_path):
    ending, data = made
    file = tmp_path / f"mine.{ending}"
    file.write_bytes(data)
    documents, unread = read(file)
    assert unread == []
    text = "\n".join(turn.text for document in documents for turn in document.turns)
    own = words(" ".join(OWN))
    found = words(text)
    assert [word for word in found if word in own] == own
    assert not set(words(OTHERS)) & set(found)
    assert len(found) <= 1.001 * len(own) + (len(OWN) if ending == "ipynb" else 0)


def test_the_content_tells_what_a_file_is_whatever_it_is_called(made, tmp_path):
    ending, data = made
    if ending in ("csv", "jsonl", "ipynb", "eml"):
        pytest.skip("its name tells")
    for name in ("mine.txt", "mine"):
        (tmp_path / name).write_bytes(data)
        documents, unread = read(tmp_path / name)
        assert unread == []
        assert OWN[2] in " ".join(turn.text for each in documents for turn in each.turns).replace("\n", " ")


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "noise after its beginning"])
def test_a_damaged_file_is_named_with_its_reason_or_read_as_far_as_it_goes_and_the_others_are_read(
    made, damage, tmp_path
):
    ending, data = made
    noise = random.Random(1).randbytes(4_000)
    half = len(data) // 2
    damaged = {"empty": b"", "cut": data[:half], "noise": noise, "noise after its beginning": data[:200] + noise}[
        damage
    ]
    (tmp_path / "a.txt").write_text("Before.")
    (tmp_path / f"b.{ending}").write_bytes(damaged)
    (tmp_path / "c.txt").write_text("After.")
    began = time.monotonic()
    documents, unread = read(tmp_path)
    assert time.monotonic() - began < 60
    assert [each.turns[0].text for each in (documents[0], documents[-1])] == ["Before.", "After."]
    for each in unread:
        assert each.source.startswith(str(tmp_path / f"b.{ending}"))
        assert each.error.message.startswith(repr(each.source)[:-1]) and each.error.remedy
        assert not each.named
    assert unread or len(documents) == 3 or damage == "empty"


@pytest.mark.parametrize("ending", ["docx", "odt", "epub", "xlsx", "pptx"])
@pytest.mark.parametrize("length", [300, -30])
def test_of_a_document_that_is_a_damaged_zip_file_nobody_is_told_to_unpack_it(ending, length, tmp_path):
    (tmp_path / f"mine.{ending}").write_bytes(MADE[ending]()[:length])
    documents, (unread,) = read(tmp_path)
    assert documents == []
    assert f"({ending})" in unread.error.message or "EPUB" in unread.error.message
    assert "npack" not in str(unread.error)
    assert "whether it is whole" in unread.error.remedy


@pytest.mark.parametrize(
    "page",
    [
        '<div class="message default clearfix" id="message7"><div class="from_name">Bob</div>hi</div>',
        '<div class="chatlog__message-group"><div class="chatlog__message-container">Bob hi</div></div>',
        '<div class="_3-95 _a6-g"><div class="_2ph_ _a6-h _a6-i">Bob</div><div class="_2ph_ _a6-p">hi</div></div>',
    ],
)
def test_a_chat_as_a_web_page_is_refused_since_it_would_be_taken_for_one_persons_words(page, tmp_path):
    (tmp_path / "messages.html").write_text(f"<!DOCTYPE html><html><body>{page * 20}</body></html>")
    documents, (unread,) = read(tmp_path)
    assert documents == []
    assert "is a chat as " in unread.error.message
    assert "JSON, and give that" in unread.error.remedy


@pytest.mark.parametrize(
    ("program", "page"),
    [
        (
            "Facebook",
            '<div class="pam uiBoxWhite noborder"><div class="_3-96 _2lek _2lel">Bob</div>'
            '<div class="_3-96 _2let">hi</div><div class="_3-94 _2lem">Mar 9, 2024 8:03 am</div></div>',
        ),
        ("Snapchat", "<h3>Chat History with bob</h3><h4>bob</h4><p>hi</p><h6>2024-03-09 08:00:00 UTC</h6>"),
        ("VK", '<div class="message"><div class="message__header">Bob, 9 мар 2024</div><div>hi</div></div>'),
        ("Google Voice", '<div class="hChatLog hfeed"><cite class="sender vcard"><a>Bob</a></cite>: <q>hi</q></div>'),
        ("Google", '<div class="outer-cell mdl-cell"><div>Prompted hi<br>Mar 9, 2024<br><p>Hello!</p></div></div>'),
        ("imessage-exporter", '<span class="sender">Bob</span><div class="message_part"><span>hi</span></div>'),
    ],
)
def test_a_chat_of_one_message_is_known_by_how_its_program_writes_pages(program, page, tmp_path):
    (tmp_path / "page.html").write_text(f"<html><body>{page}</body></html>")
    documents, (unread,) = read(tmp_path)
    assert documents == []
    assert f"is a chat as {program}" in unread.error.message and "ive " in unread.error.remedy


def test_a_page_that_names_its_author_twice_and_others_beside_it_is_one_persons(tmp_path):
    (tmp_path / "page.html").write_text(
        '<p class="author">By Zoë Müller</p><p>mine</p><b class="author">Zoë</b><i class="book-author">Bob</i>'
        f'<aside><i class="author">Eve</i></aside><b class="{"-" * 100_000}">too</b>'
    )
    assert [len(found) for found in read(tmp_path)] == [1, 0]


@pytest.mark.parametrize(
    "page",
    [
        "<p class=msg><span class=sender>{}</span> <span class=body>some words</span></p>",
        '<article>mine</article><div class="comment"><cite class="comment-author"><a href="/x">{}</a></cite> no</div>',
        '<span class="mx_DisambiguatedProfile_displayName" dir="auto">{}</span> words',
    ],
)
def test_a_page_on_which_several_write_is_refused_and_one_of_one_author_is_not(page, tmp_path):
    (tmp_path / "page.html").write_text(f"<html><body>{page.format('Bob')}{page.format('Ann &amp; Lee')}</body></html>")
    documents, (unread,) = read(tmp_path)
    assert documents == []
    assert "several write, like 'Bob' and 'Ann & Lee'" in unread.error.message
    (tmp_path / "page.html").write_text(f"<html><body>{page.format('Bob')}{page.format('Bob')}</body></html>")
    assert [len(found) for found in read(tmp_path)] == [1, 0]


def test_of_a_pdf_the_table_of_contents_is_left_out(tmp_path):
    paper = fpdf.FPDF()
    paper.set_font("Helvetica", size=12)
    paper.add_page()
    for line in (
        "1 The river . . . . . . . . . . . . . . . 1",
        "2 The letter ............ xii",
        "We waited ... and waited.",
    ):
        paper.cell(0, 8, line, new_x="LMARGIN", new_y="NEXT")
    paper.cell(0, 8, "It was a re-union.")
    (tmp_path / "mine.pdf").write_bytes(bytes(paper.output()))
    ((document,), unread) = read(tmp_path / "mine.pdf")
    text = document.turns[0].text
    assert unread == []
    assert text.startswith("We waited ... and waited.") and "re-union" in text
    assert document.left_out["table of contents"] > 50


@pytest.mark.parametrize("beside", [(), ("We were three.", "12"), ("Nor I .....",)])
def test_prose_that_ends_in_dots_is_no_table_of_contents(beside, tmp_path):
    paper = fpdf.FPDF()
    paper.set_font("Helvetica", size=12)
    paper.add_page()
    lines = ("I never knew what she meant by that.....", *beside)
    for line in lines:
        paper.cell(0, 8, line, new_x="LMARGIN", new_y="NEXT")
    (tmp_path / "mine.pdf").write_bytes(bytes(paper.output()))
    ((document,), _) = read(tmp_path / "mine.pdf")
    assert document.turns[0].text.split() == " ".join(lines).split()


def test_of_a_pdf_the_table_of_contents_is_left_out_where_its_numbers_stand_on_lines_of_their_own(tmp_path):
    paper = fpdf.FPDF()
    paper.set_font("Helvetica", size=12)
    paper.add_page()
    for line in ("1 The river ..........", "1", "2 The letter .........", "3 The train ......... 9", "And so on."):
        paper.cell(0, 8, line, new_x="LMARGIN", new_y="NEXT")
    (tmp_path / "mine.pdf").write_bytes(bytes(paper.output()))
    ((document,), _) = read(tmp_path / "mine.pdf")
    assert document.turns[0].text.split() == ["1", "And", "so", "on."]


def test_a_pdf_whose_fonts_do_not_say_which_letters_they_show_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "_lines", lambda page: [pdf._Line("\x01-\x03\x04 \x05\x03\x04", 0, 9, 0, 9)])
    paper = fpdf.FPDF()
    paper.add_page()
    with pytest.raises(Unreadable, match="fonts do not say"):
        list(pdf.read(io.BytesIO(bytes(paper.output())), "mine.pdf"))


def test_a_hyphen_stays_where_the_text_has_it_elsewhere_too():
    assert whole_words("a non\ufffecommercial, manip\ufffeulated non-commercial X\x02") == (
        "a non-commercial, manipulated non-commercial X-"
    )


def test_of_a_page_what_leads_elsewhere_is_left_out_as_the_programs_that_write_pages_call_it(tmp_path):
    (tmp_path / "a.html").write_text(
        '<div class="nav-panel">Next: Up:</div><h1>The river<a class="headerlink" href="#river">¶</a></h1>'
        '<h2>Banks<span class="mw-editsection">[edit]</span></h2><p class="navy">We walked.</p>'
    )
    ((document,), _) = read(tmp_path / "a.html")
    assert document.turns[0].text == "The river\n\nBanks\n\nWe walked."
    assert document.left_out["navigation"] > 10


def test_to_mend_words_takes_as_long_as_there_is_text():
    began = time.process_time()
    assert whole_words("a" * 300_000) == "a" * 300_000
    assert time.process_time() - began < 30
