"""Tables and JSON: whose words stand in them, by what their columns are called and what is in these."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from sharedllm.text.choices import Choices
from sharedllm.text.readers import read_documents
from sharedllm.text.whose_words import whose_words

SAID = ["We walked along the river until the lamps came on.", "The train is late again, I take the bicycle."]


def read(path):
    unread = []
    return list(read_documents([path], unread=unread.append)), unread


def table(path, header, *rows):
    file = io.StringIO()
    csv.writer(file).writerows([header, *rows])
    path.write_text(file.getvalue())
    documents, _ = read(path.parent)
    return next((document for document in documents if document.source == str(path)), None)


def authors(document):
    return [turn.author for turn in document.turns]


@pytest.mark.parametrize(
    "header", ["Sender Name", "sender_name", "AuthorName", "Absender", "Posted by", "First Name", "User ID", "FROM"]
)
def test_a_column_whose_name_says_who_wrote_tells_the_authors(header, tmp_path):
    document = table(tmp_path / "m.csv", ["Date", header, "Text"], ["2024", "Bob", SAID[0]], ["2024", "Carol", SAID[1]])
    assert authors(document) == ["Bob", "Carol"]


def test_names_go_before_numbers_and_addresses(tmp_path):
    document = table(tmp_path / "m.csv", ["Sender ID", "Sender Name", "Text"], ["+491", "Bob", SAID[0]])
    assert authors(document) == ["Bob"]


@pytest.mark.slow
def test_rows_that_were_sent_are_the_owners_whatever_name_stands_beside_them(tmp_path):
    header = ["Type", "Sender Name", "Text"]
    document = table(tmp_path / "m.csv", header, ["Incoming", "Bob", SAID[0]], ["Outgoing", "", SAID[1]])
    assert (authors(document), document.me) == (["Bob", "Me"], "Me")
    document = table(
        tmp_path / "m.csv", ["Type", "From", "Text"], ["received", "Bob", SAID[0]], ["sent", "Bob", SAID[1]]
    )
    assert (authors(document), document.me) == (["Bob", "Me"], "Me")
    document = table(tmp_path / "m.csv", ["Direction", "Text"], ["received", SAID[0]], ["sent", SAID[1]])
    assert (authors(document), document.me) == (["other", "Me"], "Me")


def test_what_a_program_tells_between_rows_makes_nobody_else_the_owner(tmp_path):
    header = ["Type", "Sender Name", "Text"]
    rows = ["Incoming", "Bob", SAID[0]], ["Outgoing", "", SAID[1]], ["Notification", "", "Bob left"]
    document = table(tmp_path / "m.csv", header, *rows)
    assert (authors(document), document.me) == (["Bob", "Me", "other"], "Me")


def test_of_rows_that_were_all_received_none_is_the_owners(tmp_path):
    document = table(tmp_path / "m.csv", ["Type", "Text"], ["received", SAID[0]], ["received", SAID[1]])
    assert (authors(document), document.me) == (["other", "other"], "Me")


def test_whom_the_owner_has_saved_as_me_is_somebody_else(tmp_path):
    document = table(tmp_path / "m.csv", ["Type", "Name", "Text"], ["in", "Me", SAID[0]], ["out", "Me", SAID[1]])
    assert (authors(document), document.me) == (["Me (other)", "Me"], "Me")


@pytest.mark.parametrize("column", ["is_from_me", "fromMe", "isSender", "Outgoing"])
@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("TRUE", "FALSE")])
def test_a_column_that_says_yes_or_no_to_whether_a_row_is_the_owners_is_believed(column, yes, no, tmp_path):
    document = table(tmp_path / "m.csv", [column, "Text"], [yes, SAID[0]], [no, SAID[1]])
    assert (authors(document), document.me) == (["Me", "other"], "Me")


def test_types_of_androids_own_table_of_text_messages_say_who_wrote(tmp_path):
    rows = ["+491", "1", SAID[0]], ["+491", "2", SAID[1]], ["+491", "5", SAID[1]]
    document = table(tmp_path / "m.csv", ["address", "type", "body"], *rows)
    assert (authors(document), document.me) == (["other", "Me", "Me"], "Me")


def test_rows_without_a_name_beside_rows_with_one_are_not_taken_for_the_same_person(tmp_path):
    document = table(tmp_path / "m.csv", ["Sender", "Text"], ["Bob", SAID[0]], ["", SAID[1]])
    assert authors(document) == ["Bob", "(no name)"]


@pytest.mark.parametrize(
    ("ann", "bob"),
    [
        ({"author": {"name": "Ann", "id": 1}}, {"author": {"name": "Bob", "id": 2}}),
        ({"from": {"id": 1, "is_bot": False, "first_name": "Ann"}}, {"from": {"id": 2, "first_name": "Bob"}}),
        ({"u": {"_id": "1", "username": "Ann"}}, {"u": {"_id": "2", "username": "Bob"}}),
    ],
)
@pytest.mark.parametrize("name", ["m.json", "m.jsonl"])
def test_who_wrote_may_be_an_object_with_a_name_in_it(ann, bob, name, tmp_path):
    rows = [ann | {"text": SAID[0]}, bob | {"text": SAID[1]}]
    written = json.dumps(rows) if name == "m.json" else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(written)
    (document,), _ = read(tmp_path)
    assert authors(document) == ["Ann", "Bob"]


@pytest.mark.slow
def test_people_of_whom_json_has_no_name_are_told_apart_and_flags_are_read(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps([{"author": {"key": at}, "text": SAID[at]} for at in (0, 1)]))
    (document,), _ = read(tmp_path)
    assert len(set(authors(document))) == 2 and None not in authors(document)
    (tmp_path / "m.json").write_text(json.dumps([{"fromMe": not at, "text": SAID[at]} for at in (0, 1)]))
    (document,), _ = read(tmp_path)
    assert (authors(document), document.me) == (["Me", "other"], "Me")


def test_a_column_of_other_words_is_no_direction(tmp_path):
    document = table(tmp_path / "m.csv", ["Folder", "Text"], ["sent", SAID[0]], ["sent", SAID[1]])
    assert (authors(document), document.me) == ([None, None], None)


@pytest.mark.slow
def test_a_table_of_names_and_times_that_does_not_say_who_wrote_is_named(tmp_path):
    rows = [
        ["26/02/2024", f"08:0{at}:11", ("Bob", "Alice M.")[at % 2], "+4915112345678", SAID[at % 2]] for at in range(9)
    ]
    path = tmp_path / "viber.csv"
    assert table(path, *rows) is None
    _, (unread,) = read(tmp_path)
    assert "has names beside its times, like 'Bob'" in unread.error.message and "'author'" in unread.error.remedy
    assert authors(table(path, ["day", "time", "author", "number", "text"], *rows[:2])) == ["Bob", "Alice M."]
    moods = [["2024-02-26", f"{at}:04 pm", ("good", "bad")[at % 2], SAID[at % 2]] for at in range(1, 10)]
    assert authors(table(tmp_path / "diary.csv", ["date", "time", "mood", "note"], *moods)) == [None] * 9


def test_times_are_told_of_columns_that_are_called_dates_and_in_utc_where_they_say_so(tmp_path):
    document = table(tmp_path / "m.csv", ["Message Date", "Text"], ["2024-02-26 08:04:11 UTC", SAID[0]])
    assert document.turns[0].when == datetime(2024, 2, 26, 8, 4, 11, tzinfo=UTC)


def test_messages_that_stand_newest_first_and_of_several_chats_are_read_in_their_order_chat_by_chat(tmp_path):
    header = ["CONVERSATION ID", "CONVERSATION TITLE", "FROM", "DATE", "CONTENT"]
    rows = [
        ["2-b", "", "Bob", "2024-02-26 09:00:00 UTC", "last"],
        ["2-c", "Plans", "Carol", "2024-02-26 08:30:00 UTC", "elsewhere"],
        ["2-b", "", "Ann", "2024-02-26 08:00:00 UTC", "second of one minute"],
        ["2-b", "", "Bob", "2024-02-26 08:00:00 UTC", "first of one minute"],
        ["2-c", "Plans", "Ann", "2024-02-26 07:00:00 UTC", "before"],
    ]
    path = tmp_path / "messages.csv"
    with path.open("w") as file:
        csv.writer(file).writerows([header, *rows])
    (bob, carol), unread = read(path)
    assert unread == [] and (bob.source, carol.source) == (f"{path}/2-b", f"{path}/Plans")
    assert [turn.text for turn in bob.turns] == ["first of one minute", "second of one minute", "last"]
    assert [(turn.author, turn.text) for turn in carol.turns] == [("Ann", "before"), ("Carol", "elsewhere")]
    assert [each.me for each in whose_words([bob, carol], Choices())] == ["Ann", "Ann"], "who is in both"


def test_what_was_written_at_one_time_stands_as_all_of_the_table_does_and_two_chats_never_have_one_name(tmp_path):
    header = "CONVERSATION ID,CONVERSATION TITLE,FROM,DATE,CONTENT\n"
    rows = [
        "a,P,Bob,2024-02-26,last",
        "b,P,Cy,2024-02-25,later",
        "b,P,Ann,2024-02-25,sooner",
        "a,P,Ann,2024-02-24,first",
    ]
    (tmp_path / "m.csv").write_text(header + "\n".join(rows))
    (one, other), _ = read(tmp_path / "m.csv")
    assert [turn.text for turn in other.turns] == ["sooner", "later"] and one.source != other.source


def test_a_time_at_the_end_of_the_calendar_is_none(tmp_path):
    header, *rows = ["Date", "Author", "Text"], ["0001-01-01 00:00:00", "Ann", "b"], ["2024-02-26", "Ann", "a"]
    assert [turn.text for turn in table(tmp_path / "m.csv", header, *rows).turns] == ["b", "a"]


def test_rows_without_times_and_those_of_one_stay_as_they_stand(tmp_path):
    some = table(tmp_path / "m.csv", ["Date", "Author", "Text"], ["2024-02-26", "Ann", "b"], ["?", "Ann", "a"])
    same = table(tmp_path / "n.csv", ["Date", "Author", "Text"], *[["2024-02-26", "Ann", each] for each in "ba"])
    assert [[turn.text for turn in each.turns] for each in (some, same)] == [["b", "a"], ["b", "a"]]


def test_text_messages_of_a_telephone_are_whose_they_say(tmp_path):
    messages = "".join(
        f'<sms address="+4915112345678" date="{1_710_363_600_000 + at}" type="{1 + at % 2}" body="{said} &amp;#10;2"'
        ' contact_name="Bob" readable_date="x" />'
        for at, said in enumerate(["hi", "hello"])
    ).replace("&amp;#10;", "&#10;")
    group = (
        '<mms address="+1~+2" date="1710363700000" msg_box="1" contact_name="(Unknown)"><parts>'
        '<part ct="application/smil" text="smil"/><part ct="image/jpeg" data="AAAA"/>'
        '<part ct="text/plain" text="to all"/></parts>'
        '<addrs><addr address="+2" type="137"/><addr address="+1" type="151"/></addrs></mms>'
    )
    head = "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>\n<!--File Created By SMS Backup-->\n"
    path = tmp_path / "sms-2024.xml"
    path.write_text(f'{head}<smses count="3">{messages}{group}</smses>')
    (bob, all_), unread = read(path)
    assert unread == []
    assert [(turn.author, turn.text) for turn in bob.turns] == [("Bob", "hi \n2"), ("Me", "hello \n2")]
    assert [(turn.author, turn.text) for turn in all_.turns] == [("+2", "to all")]
    assert bob.me == all_.me == "Me" and bob.turns[0].when == datetime(2024, 3, 13, 21, tzinfo=UTC)


def test_drafts_are_the_owners_and_whom_she_has_saved_as_me_is_somebody_else(tmp_path):
    sent = {"1": "theirs", "2": "mine", "3": "a draft", "5": "a failed one"}
    messages = "".join(
        f'<sms address="+49151" date="171036360000{kind}" type="{kind}" body="{said}" contact_name="Me"/>'
        for kind, said in sent.items()
    )
    (tmp_path / "sms.xml").write_text(f"<?xml version='1.0'?>\n<smses count=\"4\">{messages}</smses>")
    ((document,), _) = read(tmp_path)
    assert authors(document) == ["Me (+49151)", "Me", "Me", "Me"] and document.me == "Me"


def test_a_long_film_among_text_messages_costs_no_message(tmp_path):
    film = f"<part ct='video/mp4' data='{'A' * 10_500_000}'/>"
    (tmp_path / "sms.xml").write_text(
        "<smses><sms address='1' type='2' body='mine' date='1'/>"
        f"<mms address='1' msg_box='2' date='2'><parts>{film}</parts></mms></smses>"
    )
    ((document,), _) = read(tmp_path)
    assert [turn.text for turn in document.turns] == ["mine"] and document.left_out["attachments"] == 10_500_000


@pytest.mark.slow
def test_json_objects_with_a_text_are_a_table_and_others_are_named(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(
        json.dumps([{"author": "Bob", "text": SAID[0], "at": {"x": 1}}, {"author": "Carol", "text": SAID[1]}])
    )
    (document,), _ = read(path)
    assert authors(document) == ["Bob", "Carol"]
    for other in ([{"summary": SAID[0] * 3}], {"notes": SAID}, [SAID], SAID, {"a": {"b": SAID}}, [1, 2]):
        path.write_text(json.dumps(other))
        documents, (unread,) = read(tmp_path)
        assert documents == [] and "is JSON " in unread.error.message and unread.error.remedy


@pytest.mark.parametrize("column", ["Display Name", "Full Name", "Who", "role", "Nick", "Wer"])
def test_who_wrote_is_in_a_column_of_many_names(column, tmp_path):
    found = table(
        tmp_path / "m.csv", ["Date", column, "Message"], ["2024-02-26", "Ann", "a"], ["2024-02-27", "Bob", "b"]
    )
    assert [(turn.author, turn.text) for turn in found.turns] == [("Ann", "a"), ("Bob", "b")]


@pytest.mark.parametrize("header", [["prompt", "response"], ["Instruction", "Output"], ["prompt", "completion"]])
def test_what_a_model_was_asked_and_answered_is_not_one_persons(header, tmp_path):
    answer = "A drink that is made of leaves and hot water, and of little else. Many like it."
    (tmp_path / "m.csv").write_text(",".join(header) + f"\nwhat is tea,{answer}\n" * 3)
    documents, (unread,) = read(tmp_path)
    assert documents == [] and "what a model was asked" in unread.error.message


def test_excels_line_on_its_sign_is_none_of_the_table(tmp_path):
    (tmp_path / "m.csv").write_text("sep=;\nAuthor;Text\nAnn;hello, you\nBob;hi\n")
    ((document,), unread) = read(tmp_path / "m.csv")
    assert unread == [] and [turn.author for turn in document.turns] == ["Ann", "Bob"]


ROWS = [("Zoë", SAID[0]), ("Bob", SAID[1]), ("Zoë", "So do I."), ("Bob", 'He said "no", and left.')]


def as_text(path, header, rows=ROWS, *, sign="\t", encoding="utf-8", lead="", end="\r\n"):
    """A table as a spreadsheet saves it as text; every cell of the rows is quoted."""
    quoted = [sign.join('"{}"'.format(cell.replace('"', '""')) for cell in row) for row in rows]
    path.write_bytes((lead + end.join([sign.join(header), *quoted, ""])).encode(encoding))
    documents, unread = read(path)
    assert not unread
    (document,) = documents
    return document


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("sign", list("\t;,|"))
def test_a_table_that_a_spreadsheet_saved_as_text_is_a_table(sign, encoding, tmp_path):
    found = as_text(tmp_path / "m.txt", ["Autorin", "Nachricht"], sign=sign, encoding=encoding)
    assert [(turn.author, turn.text) for turn in found.turns] == ROWS


@pytest.mark.parametrize(
    "header",
    [
        ["Direction", "Text"],
        ["AuthorName", "Message"],
        ["Display Name", "Comment"],
        ["Absender", "Bericht"],
        ["Отправитель", "Текст"],
        ["送信者", "本文"],
        ["Benutzer", "Beitrag"],
        ["User ID", "Content"],
    ],
)
def test_its_columns_are_called_in_many_languages(header, tmp_path):
    rows = ROWS if header[0] != "Direction" else [("sent", SAID[0]), ("received", SAID[1])]
    found = as_text(tmp_path / "m.txt", header, rows)
    assert (found.kind, [turn.text for turn in found.turns]) == ("table", [text for _, text in rows])
    assert all(turn.author for turn in found.turns)


@pytest.mark.parametrize(("lead", "end"), [("\r\n", "\r\n"), ("sep=\t\n", "\n"), (" \n\n", "\n"), ("", "\r")])
def test_what_is_above_its_header_and_how_its_lines_end_makes_no_difference(lead, end, tmp_path):
    found = as_text(tmp_path / "m.txt", ["Sender", "Text"], lead=lead, end=end)
    assert [(turn.author, turn.text) for turn in found.turns] == ROWS


def test_columns_without_a_name_and_texts_of_several_lines_are_of_a_table_too(tmp_path):
    rows = [(f"{number}", text.replace(" ", "\n", 1), who, "") for number, (who, text) in enumerate(ROWS)]
    found = as_text(tmp_path / "m.txt", ["", "text", "author", ""], rows)
    assert authors(found) == [who for who, _ in ROWS]


MINE = "All of this long paragraph is mine, and I wrote it myself, on a Sunday, in the rain.\n" * 3


@pytest.mark.parametrize(
    "text",
    [
        "Text\n" + MINE,
        "Dear diary, today I sent a message\n" + MINE,
        "Notes, time and again\nI was there, all day, and it rained.\nThen, nothing.\n",
        "Review, by Anna Schmidt\n\nI went to see it on Monday, and it was long.\nThe first act, though, is good.\n",
        "Note, from Paris\n" + MINE,
        "Message\tand more\n" + MINE,
        "Comment|Reply\nOne thing|another\n",
        "1. Text, 2. Author\n" + MINE,
        "Sender\tText\n" + MINE,
        "Text;Author\n" + MINE,
        "Author | Note\n--- | ---\nAnn | Sea\nBob | Rain\n",
        "Author | Text\nAnn | Sea\n\n# What I think of it\n\n" + MINE,
        "Name | Notes\nRosa | the woman from the bakery, who hums\nEmil | her brother, a sailor\n",
        "author\ttext\n1\tAnn\tSea\n2\tBob\tRain\n",
        "Date\tNote\n2024-01-01\tWent to the sea.\n2024-01-02\tRain.\n",
    ],
)
def test_a_text_that_only_begins_as_a_table_is_one(text, tmp_path):
    (tmp_path / "m.txt").write_text(text)
    (document,), _ = read(tmp_path)
    assert document.kind == "plain text"
    assert "".join(turn.text for turn in document.turns) == text


@pytest.mark.parametrize("sign", list("\t|;"))
def test_who_wrote_stands_before_the_text_in_its_own_cell_and_the_table_is_refused(sign, tmp_path):
    for ending in ("txt", "csv"):
        lines = [f"2024-01-01 10:{10 + at}{sign}{'Ann' if at % 2 else 'Bob'}: {SAID[at % 2]}" for at in range(8)]
        (tmp_path / f"m.{ending}").write_text("\n".join([f"Time{sign}Message", *lines]))
    documents, unread = read(tmp_path)
    assert not documents
    assert all("'Ann'" in str(each.error) or "'Bob'" in str(each.error) for each in unread)


@pytest.mark.parametrize(("column", "found"), [("Direction", ["->", "<-"]), ("Outgoing", ["X", "Y"])])
def test_a_column_that_says_whose_rows_are_in_unknown_words_is_refused(column, found, tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f"{column},Text\n{found[0]},{SAID[0].replace(',', '')}\n{found[1]},So do I\n")
    documents, unread = read(path)
    assert not documents
    assert column in str(unread[0].error)


@pytest.mark.parametrize(("yes", "no"), [("WAHR", "FALSCH"), ("VRAI", "FAUX"), ("VERDADERO", "FALSO")])
def test_a_spreadsheets_own_words_for_yes_and_no_are_known(yes, no, tmp_path):
    document = table(tmp_path / "m.csv", ["Outgoing", "Text"], [yes, SAID[0]], [no, SAID[1]])
    assert (authors(document), document.me) == (["Me", "other"], "Me")


def test_a_quotation_mark_that_is_never_closed_keeps_no_rows_together(tmp_path):
    (tmp_path / "m.csv").write_text('Author\tText\nMe\t"No way\nBob\tyour secret is safe with me\nMe\tok\n')
    (document,), _ = read(tmp_path)
    told = [("Me", '"No way'), ("Bob", "your secret is safe with me"), ("Me", "ok")]
    assert [(turn.author, turn.text) for turn in document.turns] == told


def test_a_row_that_is_a_chat_of_several_is_left_out_and_counted(tmp_path):
    chat = "You said:\nwhat is tea\nChatGPT said:\nA drink."
    found = table(tmp_path / "m.csv", ["text"], ["I was there all day."], [chat], ["And so was he, the whole day."])
    assert [turn.text for turn in found.turns] == ["I was there all day.", "And so was he, the whole day."]
    assert found.left_out["pasted chats"] == len(chat)


def test_emoji_of_text_messages_are_read_also_where_they_are_spelled_as_no_xml_may(tmp_path):
    bodies = ["ok &#55357;&#56834;&#55357;&#56834;", "&#xD83D;&#xDE02; no", "half &#55357;", "&#54620; &amp; &#128514;"]
    messages = "".join(f"<sms address='1' type='2' date='{at}' body='{body}'/>" for at, body in enumerate(bodies))
    (tmp_path / "sms.xml").write_text(f"<?xml version='1.0' encoding='UTF-8'?>\n<smses count='4'>{messages}</smses>")
    ((document,), _) = read(tmp_path)
    assert [turn.text for turn in document.turns] == ["ok 😂😂", "😂 no", "half", "한 & 😂"]


def test_what_is_quoted_in_a_cell_is_nobodys_words(tmp_path):
    path = tmp_path / "comments.csv"
    path.write_text(
        'id,date,body\na,2024-03-09,"> their words\n\nmy answer"\nb,2024-03-09,a > b\nc,2024-03-09,> theirs\n'
        'd,2024-03-09,">>> 1 + 1\n2, and so on"\n'
    )
    ((document,), _) = read(path)
    assert [turn.text.strip() for turn in document.turns] == ["my answer", "a > b", "2, and so on"]
    assert document.left_out["quoted text"] == len("> their words> theirs>>> 1 + 1")
