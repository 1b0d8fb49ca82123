import pytest

from sharedllm.errors import TextError
from sharedllm.text.conversations.me import choose_me, guess_me
from sharedllm.text.documents import Document, Turn


def chat(*authors, source="chat.txt", kind="WhatsApp chat", me=None):
    return Document(source, kind, tuple(Turn("hello", author) for author in authors), me)


def authors(guesses):
    return [guess.author for guess in guesses]


def test_what_the_export_says_comes_first():
    (guess,) = guess_me([chat("Alice", "Bob", source="WhatsApp Chat with Alice.txt", me="Alice")])
    assert guess.author == "Alice" and guess.why == "the export says so"


@pytest.mark.parametrize(
    "source",
    [
        "WhatsApp Chat with Bob.txt",
        "exports/WhatsApp Chat - Bob.zip/_chat.txt",
        "WhatsApp-Chat mit Bob.txt",
        "Chat de WhatsApp con Bob (1).txt",
        "Discussion WhatsApp avec Bob.txt",
        "BobとのWhatsAppチャット.txt",
    ],
)
def test_of_two_people_the_file_is_named_for_the_other(source):
    assert authors(guess_me([chat("Alice", "Bob", source=source)])) == ["Alice"]


def test_a_file_named_for_a_group_or_for_nobody_tells_nothing():
    assert authors(guess_me([chat("Alice", "Bob", "Eve", source="WhatsApp Chat with Bob.txt")])) == [None]
    assert authors(guess_me([chat("Alice", "Bob", source="WhatsApp Chat with Trip.txt")])) == [None]
    assert authors(guess_me([chat("Alice", "Bob")])) == [None]


def test_who_is_in_all_chats_of_two_is_their_owner_even_where_a_friend_is_in_more_groups():
    pairs = [chat("Alice", "Bob"), chat("Alice", "Eve")]
    assert authors(guess_me(pairs)) == ["Alice", "Alice"]
    assert authors(guess_me([*pairs, chat("Bob", "Eve", "Carl")])) == ["Alice", "Alice", None]


def test_who_is_called_as_another_export_calls_its_owner_is_the_owner():
    own = chat("Alice", "Bob", "Eve", kind="Telegram chat", me="Alice")
    assert authors(guess_me([own, chat("Alice", "Carl", "Dora")])) == ["Alice", "Alice"]
    assert authors(guess_me([own, chat("Alice B.", "Carl", "Dora")])) == ["Alice", None]
    mail = chat("Bob", "Eve", kind="mailbox", me="Bob")
    assert authors(guess_me([own, mail, chat("Alice", "Bob", "Dora")])) == ["Alice", "Bob", None]


def test_in_doubt_it_is_nobody():
    assert authors(guess_me([chat("Alice", "Bob"), chat("Alice", "Bob")])) == [None, None]
    assert authors(guess_me([chat("Alice", "Bob", "Eve"), chat("Alice", "Carl", "Dora")])) == [None, None]
    assert authors(guess_me([chat("Alice", "Bob"), chat("Alice", "Eve", kind="Telegram chat")])) == [None, None]
    assert authors(guess_me([Document("a.txt", "text", (Turn("hello"),))])) == [None]


@pytest.mark.parametrize("name", ["Zoë Müller", "zoe muller", "ZoëMüller ", "Zoë\u00a0Müller", "~ Zoë Müller"])
def test_a_name_is_taken_without_case_accents_and_spaces(name):
    assert choose_me([chat("Zoë Müller", "Bob"), chat("Bob")], name) == ("Zoë Müller", None)


@pytest.mark.parametrize("number", ["+49 151 23456789", "0151 23456789", "004915123456789", "+49 (151) 234-56789"])
def test_a_telephone_number_is_taken_by_its_digits(number):
    assert choose_me([chat("+49 151 23456789", "+49 151 23456788")], number) == ("+49 151 23456789",)


def test_the_exact_name_goes_before_what_is_only_like_it():
    assert choose_me([chat("alice", "Alice")], "Alice") == ("Alice",)
    assert choose_me([chat("~ Alice", "Alice")], "Alice") == ("Alice",)


def test_several_names_of_one_person_are_hers_in_different_exports():
    documents = [chat("Alice", "Bob"), chat("Me", "Bob"), chat("Eve", "Bob")]
    assert choose_me(documents, ["Alice", "Me"]) == ("Alice", "Me", None)


def test_a_name_that_nobody_or_several_have_is_refused_with_the_authors_and_their_shares():
    with pytest.raises(TextError, match=r"Nobody is called 'Carol'; the authors are 'Alice' \(50%\), 'Bob' \(50%\)"):
        choose_me([chat("Alice", "Bob")], "Carol")
    with pytest.raises(TextError, match=r"'alice' and 'ALICE' in chat\.txt are both meant"):
        choose_me([chat("alice", "ALICE")], "Alice")
    with pytest.raises(TextError, match="Nobody is called ''"):
        choose_me([chat("Alice", "👋")], "")


def test_whoever_is_in_all_is_a_friend_where_one_says_who_its_owner_is():
    pairs = [chat("Alice", "Bob"), chat("Bob", "Carol"), chat("Bob", "Eve")]
    assert {guess.author for guess in guess_me(pairs)} == {"Bob"}
    assert {guess.author for guess in guess_me([*pairs, chat("Me", "Bob", me="Me")])[:3]} == {None}
