"""Where a name ends and the words begin, in chats that part them by a sign that names hold, too."""

import pytest

from sharedllm.text.choices import Choices
from sharedllm.text.conversations import recognise
from sharedllm.text.conversations.names import IN_DOUBT
from sharedllm.text.whose_words import whose_words


def whatsapp(said, name="chat.txt"):
    (document,) = recognise(
        name, "\n".join(f"13/03/2024, 21:{at:02} - {who}: {text}" for at, (who, text) in enumerate(said)).encode()
    )
    return document


def kakaotalk(said, name="chat.txt", other="Friends"):
    lines = [f"{other} 님과 카카오톡 대화", "저장한 날짜 : 2024년 3월 14일 오전 9:12", "", "2024년 3월 13일 오후 9:00"]
    lines += [f"2024년 3월 13일 오후 9:{at:02}, {who} : {text}" for at, (who, text) in enumerate(said)]
    (document,) = recognise(name, "\n".join(lines).encode())
    return document


def sigexport(said, name="chat.md"):
    lines = [f"[2024-03-13 21:{at:02}:00] {who}: {text}  " for at, (who, text) in enumerate(said)]
    (document,) = recognise(name, "\n".join(lines).encode())
    return document


def turns(document):
    return [(turn.author, turn.text) for turn in document.turns]


PROGRAMS = {"WhatsApp": (whatsapp, ": "), "KakaoTalk": (kakaotalk, " : "), "sigexport": (sigexport, ": ")}
every_program = pytest.mark.parametrize(("write", "sign"), PROGRAMS.values(), ids=PROGRAMS)


@every_program
@pytest.mark.parametrize("called", ["Lee", "Lee Smith", "work", "Ann 🌸", "مريم", "リー"])
@pytest.mark.parametrize("times", [1, 4])
def test_what_may_be_of_somebody_whose_name_begins_with_another_is_nobodys(write, sign, called, times):
    longer = f"Ann{sign}{called}"
    said = [("Ann", "hello"), ("Bob", "hi"), *[(longer, "see my words")] * times, ("Ann", "well")]
    if times == 1 and called == "work":
        said.append((longer, "mine too"))
    document = write(said)
    assert turns(document) == [("Ann", "hello"), ("Bob", "hi"), ("Ann", "well")]
    assert document.left_out[IN_DOUBT] >= len("see my words") * times
    (doubt,) = document.doubts
    assert f"'{longer}'" in doubt and ("1 message " in doubt or " messages " in doubt)


@pytest.mark.parametrize(("write", "sign"), [(whatsapp, ": "), (kakaotalk, " : ")])
def test_where_one_person_alone_seems_to_write_the_other_may_be_called_alike(write, sign):
    document = write([("Ann", "hello"), (f"Ann{sign}the plumber from work", "see my words"), ("Ann", "well")])
    assert turns(document) == [("Ann", "hello"), ("Ann", "well")] and document.doubts


def test_a_name_with_the_sign_in_it_that_the_files_name_tells_is_whole():
    said = [("Ann", "hello"), ("Ann: Lee", "hi"), ("Ann: Lee", "PS: so"), ("Ann", "well")]
    document = whatsapp(said, "WhatsApp Chat with Ann_ Lee.txt")
    assert turns(document) == said and not document.doubts
    (read,) = whose_words([document], Choices())
    assert read.me == "Ann" and read.own == len("hellowell")


PAIR = [("Ann", "hello"), ("Bob", "hi"), ("Ann", "PS: bring it"), ("Ann", "work: on it"), ("Ann", "work: done")]


@pytest.mark.parametrize(
    "document",
    [
        whatsapp(PAIR, "WhatsApp Chat with Bob.txt"),
        whatsapp(PAIR, "Alice/WhatsApp Chat - Bob.zip/_chat.txt"),
        kakaotalk(PAIR, other="Bob"),
        sigexport([*PAIR[2:], ("Me", "ok")], "export/Ann/chat.md"),
    ],
    ids=["WhatsApp", "WhatsApp, iOS", "KakaoTalk", "sigexport"],
)
def test_in_a_chat_with_one_other_person_whatever_begins_like_a_name_is_what_it_seems(document):
    assert {("Ann", "PS: bring it"), ("Ann", "work: done")} <= set(turns(document))
    assert not document.doubts and IN_DOUBT not in document.left_out


@every_program
def test_a_sentence_with_the_sign_in_it_is_nobodys_name(write, sign):
    said = [
        ("Ann", f"never mind what the forecast says{sign}pack it"),
        ("Bob", "hi"),
        ("Ann", f"Really?{sign}no"),
        ("Ann", f"see{sign}there"),
        ("Ann", f"So I asked, and he said{sign}no"),
        *[("Ann", f"note to my self{sign}on {at}") for at in range(3)],
        *[("Ann", "and so on")] * 20,
    ]
    said += [("Me", "ok")] * (write is sigexport)
    document = write(said)
    assert turns(document) == said and not document.doubts


@every_program
def test_a_name_of_whom_all_begins_alike_is_whole(write, sign):
    said = [(f"Work{sign}Eve", "one"), ("Ann", "two"), (f"Work{sign}Eve", "three"), (f"Work{sign}Eve", f"so{sign}four")]
    said += [("Me", "ok")] * (write is sigexport)
    assert turns(write(said)) == said


def test_what_whatsapp_tells_of_somebody_so_called_is_nobodys():
    lines = ["Ann: hello", "Ann: Lee: hi", "Bob: hi", "Ann: Lee: ok", "Ann: Lee left", "Ann: Leeds is far, I left"]
    text = "\n".join(f"13/03/2024, 21:0{at} - {line}" for at, line in enumerate(lines))
    (document,) = recognise("chat.txt", text.encode())
    assert turns(document) == [("Ann", "hello"), ("Bob", "hi"), ("Ann", "Leeds is far, I left")]


def test_a_name_with_a_colon_and_no_space_is_whole_in_sigexport():
    said = [("Me", "hello"), ("Dr:Who", "hi"), ("Me", "ok")]
    assert turns(sigexport(said)) == said


def test_many_beginnings_cost_no_more_than_their_length():
    said = [("Ann", f"N{at}: Lee {at} left") for at in range(3_000)]
    document = whatsapp([(who, text) for who, text in said][:60]).left_out
    assert document[IN_DOUBT]
    text = "\n".join(f"13/03/2024, 21:05 - {who}: {text}" for who, text in said)
    assert recognise("chat.txt", text.encode())


@every_program
@pytest.mark.parametrize(
    ("called", "times"),
    [("Smith, Lee", 1), ("Lee!", 4), ("2", 4), ("My Very Long Work Name", 2)],
)
def test_a_name_of_many_words_or_with_signs_or_numbers_that_recurs_is_nobodys(write, sign, called, times):
    said = [("Ann", "hello"), ("Bob", "hi"), *[("Ann", "and so on")] * 30]
    document = write([*said, *[(f"Ann{sign}{called}", "see my words")] * times])
    assert turns(document) == said and document.doubts


def test_a_name_above_an_empty_line_ends_with_its_sign():
    lines = ["Ann: hello", "Bob: hi", "Ann: Lee: hi", "Ann: Lee:\nsee my words"]
    (document,) = recognise("chat.txt", "\n".join(f"13/03/2024, 21:05 - {line}" for line in lines).encode())
    assert turns(document) == [("Ann", "hello"), ("Bob", "hi")]


def test_names_of_emoji_alone_are_not_all_one():
    assert turns(sigexport([("Ann", "hello"), ("🌸", "hi"), ("Ann: Lee", "see my words")])) == [
        ("Ann", "hello"),
        ("🌸", "hi"),
    ]
