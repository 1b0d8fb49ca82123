"""What holds of every program's exports."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from tests.text.conversations.exports import EXPORTS, SAID, TIMES

from sharedllm.errors import TextError
from sharedllm.text.conversations import recognise

every_program = pytest.mark.parametrize("program", EXPORTS)


def turns(document):
    return [(turn.author, turn.text) for turn in document.turns]


@every_program
def test_what_people_said_is_found_and_nothing_else(program):
    data, alice, bob = EXPORTS[program]
    documents = recognise("export", data)
    names = {"Alice": alice, "Bob": bob}
    assert documents
    for document in documents:
        assert turns(document) == [(names[author], text) for author, text in SAID]
        assert all("’s words" not in text and "'s words" not in text for _, text in turns(document))


@every_program
def test_a_program_is_known_by_content_whatever_the_file_is_called(program):
    data, _, _ = EXPORTS[program]
    kinds = {tuple(each.kind for each in recognise(name, data)) for name in ("a.txt", "b.json", "c", "messages.csv")}
    assert len(kinds) == 1


@every_program
def test_times_are_told_where_the_export_has_them(program):
    data, _, _ = EXPORTS[program]
    if program.startswith("messages"):
        assert all(turn.when is None for turn in recognise("export", data)[0].turns)
        return
    for document in recognise("export", data):
        for turn, at in zip(document.turns, TIMES, strict=True):
            when = turn.when.replace(tzinfo=UTC, microsecond=0)
            assert when == datetime.fromtimestamp(at, UTC)


@every_program
def test_a_truncated_file_is_refused_by_name_or_read_as_far_as_it_goes(program):
    data, _, _ = EXPORTS[program]
    for cut in range(len(data) // 3, len(data), 97):
        try:
            documents = recognise("cut off", data[:cut])
        except TextError as error:
            assert "cut off is a " in str(error)
            continue
        for document in documents or ():
            # Where a text ends, what the program itself was writing there may not be known.
            whole = document.turns[:-1]
            assert {text for _, text in SAID} >= {turn.text for turn in whole}


def test_a_truncated_export_in_json_is_refused_and_not_passed_over():
    for program, (data, _, _) in EXPORTS.items():
        if data[:1] in b"{[" and "text" not in program and "lines" not in program and "Signal" not in program:
            with pytest.raises(TextError, match=r"is not whole|is broken"):
                recognise(program, data[:-20])


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_no_export(seed):
    noise = np.random.default_rng(seed).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    assert recognise("noise.txt", noise) is None
    letters = bytes(32 + each % 96 if each % 13 else 10 for each in noise)
    assert recognise("noise.txt", letters) is None
    signs = np.random.default_rng(seed).choice(list('[]{}:,-/. 0123456789\n"ab'), 200_000)
    assert recognise("noise.json", "".join(signs).encode()) is None


@pytest.mark.parametrize("deep", ["[" * 200_000, '{"mapping":' * 100_000, '{"messages":[' * 50_000])
def test_json_that_is_nested_deep_is_no_export(deep):
    assert recognise("deep.json", deep.encode()) is None


@pytest.mark.parametrize(
    "value", [[], {}, [[]], [{}], {"messages": []}, {"messages": 5}, [1, 2], ["a"], {"a": {"b": None}}, "x", 5, None]
)
def test_other_json_is_no_export(value):
    assert recognise("other.json", json.dumps(value).encode()) is None


OTHER_TEXT = {
    "prose": "It was the best of times, it was the worst of times.\nAt 12:30 on 12/03/2020 he said: go.\n" * 20,
    "log": "[2024-03-13 21:05:33] INFO: started\n[2024-03-13 21:05:34] ERROR: it fell\n" * 50,
    "another log": "2024-03-13 21:05:33,123 - root - INFO - started: now\n" * 50,
    "diary": "12.03.2024, 21:05 - rain again\n13.03.2024, 22:10 - no rain\n" * 10,
    "subtitles": "1\n00:00:01,000 --> 00:00:02,000\nHello: there\n\n" * 20,
    "table": "date,time,what\n12/03/2024,21:05,a\n" * 20,
    "empty": "",
}


@pytest.mark.parametrize("text", OTHER_TEXT.values(), ids=OTHER_TEXT.keys())
def test_other_text_is_no_export(text):
    assert recognise("other.txt", text.encode()) is None


def told_in(told, author="Zoë Müller"):
    """What is left of a chat of Messenger in which the program told something as if somebody had said it."""
    messages = [
        {"sender_name": who, "timestamp_ms": at, "content": text}
        for at, (who, text) in enumerate([(author, "hello"), ("Bob", "hi"), (author, told)])
    ]
    (document,) = recognise("x", json.dumps({"participants": [], "messages": messages}, ensure_ascii=False).encode())
    return [turn.text for turn in document.turns]


@pytest.mark.parametrize(
    "told",
    [
        *("Du hast ein Bild gesendet.", "Du hast Bob zur Gruppe hinzugefügt.", "Du hast eine Umfrage erstellt: Wohin?"),
        *("Vous avez nommé le groupe Amis.", "Enviaste una foto.", "Você saiu do grupo.", "Hai abbandonato il gruppo."),
        *(
            "Je hebt een foto verzonden.",
            "Zoë Müller hat Ömer als Gruppenadmin hinzugefügt.",
            "Zoë Müller zmieniła temat.",
        ),
    ],
)
def test_what_messenger_tells_of_the_owner_or_by_name_is_nobodys_words_in_other_languages(told):
    assert told_in(told) == ["hello", "hi"]


@pytest.mark.parametrize(
    "said",
    [
        *("Du hast das Bild gesendet?", "Zoë Müller\nElmstreet 5.", "Vous avez raison.", "Du hast das Thema verfehlt."),
        *("Enviaste una foto?", "Tu as quitté le groupe?", "Sie haben das Design wirklich toll gemacht."),
    ],
)
def test_what_people_say_stays_in_messenger(said):
    assert told_in(said) == ["hello", "hi", said]


def test_whoever_is_called_like_a_verb_may_begin_with_it():
    assert told_in("Will do that tomorrow.", "Will") == ["hello", "hi", "Will do that tomorrow."]


def test_an_address_and_an_edit_that_is_told_are_said_in_imessage():
    said = "see https://example.org/attachments/1/cat.png now\nEdited the video later: it is short"
    (document,) = recognise("Bob.txt", f"Mar 12, 2024  9:00:00 AM\nMe\n{said}\n".encode())
    assert [turn.text for turn in document.turns] == [said]


def test_of_an_imessage_that_was_edited_the_last_version_is_read_and_no_path_of_a_file():
    text = (
        "Mar 12, 2024  9:00:00 AM\nMe\n/Users/a/imessage_export/attachments/10/x.heic\nlook\n\n"
        "Mar 12, 2024  9:05:00 AM\nBob\nfirst\nEdited 12 seconds later: second\nEdited 1 minute later: third\n"
    )
    (document,) = recognise("Bob.txt", text.encode())
    assert [(turn.author, turn.text) for turn in document.turns] == [("Me", "look"), ("Bob", "third")]
    assert document.left_out["deleted messages"] == len("firstsecond") and document.left_out["attachments"]
