"""Personal details are found, counted and masked; what only looks like one is left alone."""

import time

import pytest

from sharedllm.text.contents import personal_details
from sharedllm.text.contents.personal_details import (
    MOST_ASKED,
    Telephones,
    count_details,
    find_details,
    mask_details,
)

DETAILS = [
    ("Write to anna.li+news@uni-köln.de today", "mail address", "Write to name@example.org today"),
    ("call +49 170 1234567 tonight", "telephone number", "call +00 000 0000000 tonight"),
    ("call (808) 782-1557 tonight", "telephone number", "call (000) 000-0000 tonight"),
    ("ruf 0170 1234567 an", "telephone number", "ruf 0000 0000000 an"),
    ("appelle-moi au 06 12 34 56 78", "telephone number", "appelle-moi au 00 00 00 00 00"),
    ("my card 4111 1111 1111 1111 exp", "card number", "my card 0000 0000 0000 0000 exp"),
    ("an DE89 3704 0044 0532 0130 00 BITTE", "bank account", "an DE00 0000 0000 0000 0000 00 BITTE"),
    # Of a bank that the country's list does not have.
    ("to BE68 5390 0754 7034 soon", "bank account", "to BE00 0000 0000 0000 soon"),
    ("to GB82WEST12345698765432.", "bank account", "to GB00XXXX00000000000000."),
    ("the wifi password is Sunshine99!", "key or password", "the wifi password is ********!"),
    ("Passwort: geheim123", "key or password", "Passwort: ********"),
    ("PIN: 4711", "key or password", "PIN: ********"),
    ("export KEY=ghp_16C7e42F292c6912E7710c838347Ae178B4a", "key or password", "export KEY=********"),
    ("aws AKIAIOSFODNN7EXAMPLE", "key or password", "aws ********"),
    ("git clone https://anna:s3cret@host/x.git", "key or password", "git clone https://anna:********@host/x.git"),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow/IB+A=\n-----END RSA PRIVATE KEY-----\nok",
        "key or password",
        "********\nok",
    ),
]


@pytest.mark.parametrize(("text", "kind", "masked"), DETAILS)
def test_a_detail_is_found_and_masked_so_that_it_reads_as_what_it_was(text, kind, masked):
    assert [detail.kind for detail in find_details(text)] == [kind]
    assert mask_details(text) == masked


def test_what_is_masked_has_nothing_left_to_mask():
    masked = mask_details("\n".join(text for text, _, _ in DETAILS))
    assert find_details(masked) == []
    assert mask_details(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "It was 1,234,567 in 2013-2015, and 3.14159265 or 2147483647 of them.",
        "on 2024-05-12 at 13:45:10, id 20151231",
        "He said that the password is required, and his secret: he loved her.",
        "token: object = self.token; password = os.environ['PASS']",
        "@property\ndef mail(self): ...",
        "1234 5678 9012 3456",
        "See arXiv:0801.1234 and chapters 5600-5850, 4485/4490.",
        "write to name@example.org",
    ],
)
def test_what_only_looks_like_a_detail_is_left_alone(text):
    assert mask_details(text) == text


def test_different_ones_are_counted_however_they_are_spaced():
    texts = ["a@b.org or +49 170 1234567", "+491701234567 again, A@b.org, c@b.org"]
    assert count_details(texts) == {"mail address": 2, "telephone number": 1}
    assert count_details(["nothing here"]) == {}


@pytest.fixture
def asked(monkeypatch):
    """Every question that is put to the library of telephone numbers."""
    import phonenumbers

    questions = []
    matcher = phonenumbers.PhoneNumberMatcher

    def ask(text, region, **rest):
        questions.append((text, region))
        return matcher(text, region, **rest)

    monkeypatch.setattr(phonenumbers, "PhoneNumberMatcher", ask)
    return questions


@pytest.mark.parametrize("text", ["0176 123 4567, " * 5_000, "1 " * 50_000])
def test_what_might_be_a_number_is_asked_about_once_however_often_it_is_there(asked, text):
    mask_details(text)
    assert 0 < len(asked) <= 3 * 34


def test_beyond_a_number_of_candidates_all_with_the_shape_of_one_are_masked_unasked(asked, monkeypatch):
    monkeypatch.setattr(personal_details, "MOST_ASKED", 20)
    text = ", ".join(f"0999 {number:03} 11{number:03}" for number in range(500))
    assert mask_details("0999 000 11000") == "0999 000 11000"
    asked.clear()
    masked = mask_details(text)
    assert len(asked) <= 20 * 34
    assert masked.endswith("0000 000 00000")
    assert mask_details(masked) == masked
    assert count_details([text])["telephone number"] == 480


def test_all_texts_of_a_person_share_how_many_are_asked_about(asked, monkeypatch):
    monkeypatch.setattr(personal_details, "MOST_ASKED", 20)
    texts = [f"at 0999 {number:03} 11{number:03}" for number in range(500)]
    assert count_details(texts) == {"telephone number": 480}
    assert len(asked) <= 20 * 34
    assert MOST_ASKED == 2_000


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("0049 170 1234567 or so", "0000 000 0000000 or so"),
        ("0170 12345678 10115 Berlin", "0000 00000000 10115 Berlin"),
    ],
)
def test_what_stands_behind_a_number_does_not_hide_it(text, masked):
    assert mask_details(text) == masked


@pytest.mark.parametrize(
    "unit", ["://a:", "sk-", "eyJ", "//a/", "a@", "DE12 ", "token=", "-----BEGIN PRIVATE KEY-----"]
)
def test_looking_through_a_text_takes_time_in_proportion_to_it(unit):
    mask_details(unit)
    text = unit * (60_000 // len(unit))
    began = time.process_time()
    mask_details(text)
    assert time.process_time() - began < 30


def test_keys_of_vendors_are_masked_whole():
    key = "sk-proj-" + "aB3dE6gH" * 7 + "T3BlbkFJ" + "xY9zW8vU" * 4
    token = "eyJ" + "aB3d" * 100 + ".eyJ" + "xY9z" * 400 + "." + "Zz09" * 10
    for secret in (key, token):
        assert mask_details(f"it was {secret} then").startswith("it was ********")
        assert secret[: len(secret) // 2] not in mask_details(f"it was {secret} then")


def test_how_many_candidates_were_taken_for_numbers_unasked_is_told(asked, monkeypatch):
    monkeypatch.setattr(personal_details, "MOST_ASKED", 20)
    telephones = Telephones()
    count_details((f"at 0999 {number:03} 11{number:03}" for number in (*range(500), 499)), telephones)
    assert telephones.unasked == 480
