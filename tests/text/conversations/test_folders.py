import json

import pytest
from tests.text.conversations.exports import SAID, messenger, slack

from sharedllm.errors import TextError
from sharedllm.text.conversations import recognise_folder


def folder(files):
    return {path: (lambda value=value: value if isinstance(value, bytes) else json.dumps(value).encode())
            for path, value in files.items()}  # fmt: skip


def turns(document):
    return [(turn.author, turn.text) for turn in document.turns]


def test_days_of_a_slack_channel_are_one_document_with_the_names_of_the_users():
    day = [each | {"user_profile": None} for each in slack()]
    users = [
        {"id": "UALICE", "name": "alice", "profile": {"display_name": "", "real_name": "Alice"}},
        {"id": "UBOB", "name": "bob", "profile": {"display_name": "Bob", "real_name": "Robert"}},
    ]
    talk = {
        "type": "message",
        "user": "UBOB",
        "ts": "1710450000.1",
        "text": "<@UALICE> see <https://x.org|this> &amp; <https://y.org>",
    }
    found = recognise_folder(
        folder(
            {
                "export/users.json": users,
                "export/channels.json": [],
                "export/general/2024-03-14.json": [talk],
                "export/general/2024-03-13.json": day,
                "export/notes.txt": b"hello",
            }
        )
    )
    (document,) = found.documents
    assert document.source == "export/general" and document.kind == "Slack channel"
    assert turns(document) == [*SAID, ("Bob", "@Alice see this & https://y.org")]
    names = ("users.json", "channels.json", "general/2024-03-14.json", "general/2024-03-13.json")
    assert found.taken == {f"export/{name}" for name in names}


def test_discords_package_is_its_owners_alone():
    rows = [
        {"ID": 2, "Timestamp": "2024-03-13 21:01:00", "Contents": "> bob's words\nno", "Attachments": ""},
        {"ID": 1, "Timestamp": "2024-03-13 21:00:00", "Contents": "hello", "Attachments": "https://cdn/x.png"},
    ]
    table = b'ID,Timestamp,Contents,Attachments\r\n1,2020-03-13 21:00:00.000000+00:00,"well,\nyes",\r\n'
    found = recognise_folder(
        folder(
            {
                "package/account/user.json": {"id": "1", "username": "alice"},
                "package/messages/index.json": {},
                "package/messages/c1234567/channel.json": {"id": "1234567", "type": "DM"},
                "package/messages/c1234567/messages.json": rows,
                "package/messages/c7654321/messages.csv": table,
            }
        )
    )
    assert [turns(each) for each in found.documents] == [
        [("alice", "hello"), ("alice", "no")],
        [("alice", "well,\nyes")],
    ]
    assert {each.me for each in found.documents} == {"alice"}


def test_the_pieces_of_a_messenger_chat_are_one_document_and_the_profile_says_whose():
    whole = messenger()
    newer, older = whole | {"messages": whole["messages"][:3]}, whole | {"messages": whole["messages"][3:]}
    found = recognise_folder(
        folder(
            {
                "fb/messages/inbox/bob_5/message_1.json": newer,
                "fb/messages/inbox/bob_5/message_2.json": older,
                "fb/profile_information/profile_information.json": {"profile_v2": {"name": {"full_name": "Alice"}}},
            }
        )
    )
    (document,) = found.documents
    assert turns(document) == SAID and document.me == "Alice"
    assert len(found.taken) == 3


def test_a_broken_piece_is_refused_by_name():
    with pytest.raises(
        TextError, match=r"inbox/bob/message_1.json is a Messenger or Instagram export, but it is not whole"
    ):
        recognise_folder(folder({"inbox/bob/message_1.json": b'{"messages": ['}))


def test_other_folders_are_left_alone_and_nothing_of_them_is_read():
    def fails():
        raise AssertionError("it was read")

    found = recognise_folder({"a/b.txt": fails, "a/c.json": fails, "src/2024-01-01.json": fails, "x/users.json": fails})
    assert not found.documents and not found.taken


@pytest.mark.parametrize("root", ["", "/home/alice/export.zip/", "export/"])
def test_names_of_a_slack_export_are_found_wherever_it_lies(root):
    users = [{"id": "UALICE", "name": "alice", "profile": {"display_name": "Alice"}}]
    day = [each | {"user_profile": None} for each in slack()]
    found = recognise_folder(folder({f"{root}users.json": users, f"{root}general/2024-03-13.json": day}))
    assert [set(each.authors) for each in found.documents] == [{"Alice", "UBOB"}]
    assert found.taken == {f"{root}users.json", f"{root}general/2024-03-13.json"}
