"""Personal details are found, counted and masked; what only looks like one is left alone."""

import pytest

from sharedllm.text.contents.personal_details import count_details, find_details, mask_details

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
