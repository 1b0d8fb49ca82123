"""Every kind of file that is read: a person's own words of it, and nothing of what others or programs wrote."""

import random
import re
import time

import pytest
from tests.text.readers.made_files import MADE, OTHERS, OWN

from sharedllm.text.readers import read_documents


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
