"""What a careful reader would copy of an export, and how what was read is compared with it."""

import pytest
from benchmarks.exports import by_kind, compared, measured
from benchmarks.exports_chats import chats
from benchmarks.exports_documents import Made
from benchmarks.exports_letters import letters
from benchmarks.exports_models import model_chats
from benchmarks.exports_phones import phone_chats
from benchmarks.exports_programs import program_chats

CHATS = list(chats())
TODAY = {
    f"{kind}, {name}": (kind, name, *rest) for kind, name, *rest in [*phone_chats(), *program_chats(), *model_chats()]
}


@pytest.mark.parametrize("number", [0, 6, 10, 14])
def test_of_an_export_her_words_are_found_and_nobody_elses(number, tmp_path):
    kind, name, file, data, me, own, others = CHATS[number]
    (tmp_path / file).write_bytes(data)
    found = measured(Made(kind, name, tmp_path / file, own, others, me=me), None)
    assert found["found"] == found["own"] > 2_000
    assert found["let_in"] == 0


@pytest.mark.parametrize("made", TODAY.values(), ids=TODAY)
def test_of_what_programs_export_today_her_words_are_found_and_nobody_elses(made, tmp_path):
    kind, name, file, data, me, own, others = made
    (tmp_path / file).write_bytes(data)
    found = measured(Made(kind, name, tmp_path / file, own, others, me=me), None)
    assert found["found"] == found["own"] > 2_000
    assert found["let_in"] == 0


@pytest.mark.slow
def test_of_mails_in_every_language_what_is_answered_is_left_out(tmp_path):
    for made in letters(tmp_path):
        found = measured(made, None)
        assert (found["found"], found["let_in"]) == (found["own"], 0), made.name


def test_a_word_that_is_read_twice_or_is_not_hers_is_let_in_and_one_that_is_not_read_is_not_found(tmp_path):
    made = Made("mails", "a box", tmp_path, ["tea at nine", "tea"], ["coffee"])
    assert compared(made, ["tea tea tea", "nine coffee"]) == {"found": 3, "let_in": 2}


def test_shares_are_of_all_words_of_a_kind_and_a_peer_is_told_of_what_it_read():
    peer = {"name": "peer", "found": 5, "let_in": 10}
    files = [
        {"kind": "mails", "own": 90, "others": 80, "found": 90, "let_in": 1, "peer": None},
        {"kind": "mails", "own": 10, "others": 20, "found": 9, "let_in": 0, "peer": peer},
    ]
    told = by_kind(files)["mails"]
    assert (told["files"], told["found"], told["let_in"]) == (2, 0.99, 0.01)
    assert told["peer"] == {"name": "peer", "files": 1, "found": 0.5, "let_in": 0.5}
