import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharedllm.errors import ManifestError
from sharedllm.text import manifest
from sharedllm.text.manifest import contributors, read_manifest
from sharedllm.text.reading import UserText


@pytest.fixture
def users_jsonl(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("from a file")
    return tmp_path / "users.jsonl"


def refusal_of(path, *lines) -> ManifestError:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    with pytest.raises(ManifestError) as refusal:
        read_manifest(path)
    return refusal.value


def test_files_are_relative_to_the_manifest_and_texts_stand_in_it(users_jsonl):
    users_jsonl.write_text(
        '\ufeff{"user": "alice", "files": ["notes"]}\n\n  \n{"text": "one\\r\\ntwo", "user": "боб/👍"}',
        encoding="utf-8",
    )
    assert read_manifest(users_jsonl) == [UserText("alice", "from a file"), UserText("боб/👍", "one\ntwo")]


def test_a_dash_in_a_manifest_is_a_file(users_jsonl, monkeypatch):
    (users_jsonl.parent / "-").write_text("the file -")
    users_jsonl.write_text('{"user": "alice", "files": ["-"]}')
    monkeypatch.chdir(users_jsonl.parent)
    assert read_manifest(type(users_jsonl)("users.jsonl"))[0].text == "the file -"


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(users=st.dictionaries(TEXTS, TEXTS.filter(str.strip), min_size=1, max_size=5), ascii_only=st.booleans())
def test_any_users_come_back_in_order(users_jsonl, users, ascii_only):
    lines = [json.dumps({"user": user, "text": text}, ensure_ascii=ascii_only) for user, text in users.items()]
    users_jsonl.write_bytes("\n".join(lines).encode())
    assert [found.user for found in read_manifest(users_jsonl)] == list(users)


GOOD = '{"user": "alice", "text": "hello"}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"user": "bob", "text": ', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"user": ' + "9" * 5_000 + "}", "not JSON"),
        (b'{"user": "bob", "text": "na\xefve"}', "not UTF-8: byte 0xef at offset 27"),
        ('["bob"]', "a JSON list instead of an object"),
        ("null", "instead of an object"),
        ('{"user": "bob", "text": "x", "lang": "en"}', "unknown key 'lang'"),
        ('{"text": "x"}', "the user is None"),
        ('{"user": 7, "text": "x"}', "the user is 7"),
        ('{"user": "", "text": "x"}', "user id is empty"),
        ('{"user": "bob"}', "'bob' needs either files or a text"),
        ('{"user": "bob", "text": "x", "files": []}', "'bob' needs either files or a text"),
        ('{"user": "bob", "text": ["x"]}', "the text of 'bob' is not a string"),
        ('{"user": "bob", "text": " "}', "the text of 'bob' is not a string with something in it"),
        ('{"user": "bob", "files": "notes"}', "the files of 'bob' are not a list"),
        ('{"user": "bob", "files": ["notes", 3]}', "the files of 'bob' are not a list"),
        ('{"user": "bob", "files": []}', "no text for 'bob'"),
        ('{"user": "bob", "files": ["nowhere.md"]}', "nowhere.md' cannot be read: No such file"),
        ('{"user": "bob", "files": ["a\\u0000b"]}', "cannot be a path"),
        ('{"user": "bob", "files": ["a\\ud83d"]}', "cannot be a path"),
        ('{"user": "bob", "text": "a\\ud83d"}', "the text of 'bob' holds an unpaired surrogate"),
        ('{"user": "\\ud83d", "text": "x"}', "not valid Unicode"),
        ('{"user": "bob", "text": "x", "shared": "yes"}', "what 'bob' agreed to is 'yes'"),
        ('{"user": "bob", "files": ["notes"], "learn": "all"}', "what is learned is 'all'"),
        (
            '{"user": "bob", "text": "x", "learn": "answers"}',
            "the text of 'bob' is running text, which answers nothing",
        ),
        ('{"user": "bob", "files": ["notes"], "learn": "answers"}', "no text for 'bob'"),
    ],
)
def test_a_bad_line_is_named_by_its_number(users_jsonl, line, said):
    refusal = refusal_of(users_jsonl, GOOD, "", line)
    assert refusal.message.startswith(f"Line 3 of {users_jsonl}: ")
    assert said in refusal.message
    assert refusal.remedy


def test_a_user_of_two_lines_is_named_with_both(users_jsonl):
    refusal = refusal_of(users_jsonl, "", GOOD, '{"user": "bob", "text": "x"}', GOOD)
    assert f"Lines 2 and 4 of {users_jsonl} are both for the user 'alice'" in refusal.message
    assert "one line" in refusal.remedy


def test_what_is_learned_is_said_of_each_by_their_line(users_jsonl):
    asked = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    (users_jsonl.parent / "chats.jsonl").write_text(f"{json.dumps({'messages': asked})}\n")
    lines = ("alice", "answers", "Because."), ("bob", "writing", "Why?")
    files = [{"user": user, "files": ["chats.jsonl"], "me": "user", "learn": learn} for user, learn, _ in lines]
    users_jsonl.write_text("\n".join(map(json.dumps, files)))
    assert [(text.user, text.learn, text.text) for text in read_manifest(users_jsonl)] == list(lines)


def test_an_overlong_line_is_refused_with_its_number(users_jsonl, monkeypatch):
    monkeypatch.setattr(manifest, "MAX_LINE_BYTES", 1_000_000)
    refusal = refusal_of(users_jsonl, GOOD, '{"user": "bob", "text": "' + "x" * 1_000_000 + '"}')
    assert f"Line 2 of {users_jsonl} is longer than 1 MB" in refusal.message
    assert "Put the text into files" in refusal.remedy


def test_a_missing_or_empty_manifest_is_named(users_jsonl):
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        read_manifest(users_jsonl)
    assert "names no user" in refusal_of(users_jsonl, "", " ").message


def test_contributors_are_those_whose_lines_say_that_they_agreed(users_jsonl):
    lines = '{"user": "alice", "text": "x", "shared": true}', '{"user": "bob", "files": ["x"], "shared": true}'
    users_jsonl.write_text("\n".join(lines))
    assert [(offset, entry.user) for offset, entry in contributors(users_jsonl)] == [(0, "alice"), (47, "bob")]


def test_of_whom_answers_are_learned_is_no_contributor(users_jsonl):
    users_jsonl.write_text('{"user": "alice", "files": ["x"], "shared": true, "learn": "answers"}')
    with pytest.raises(ManifestError, match=r"Line 1 .*of 'alice' an assistant's answers are learned"):
        list(contributors(users_jsonl))


@pytest.mark.parametrize("said", ["", ', "shared": false'])
def test_one_who_did_not_agree_is_named_with_the_line(users_jsonl, said):
    users_jsonl.write_text('{"user": "alice", "text": "x", "shared": true}\n\n{"user": "bob", "text": "x"' + said + "}")
    with pytest.raises(ManifestError, match=r"Line 3 .*'bob' agreed"):
        list(contributors(users_jsonl))
