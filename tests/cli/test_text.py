"""`sharedllm text inspect` and what `sharedllm train` asks: what was found in somebody's exports."""

import json

import pytest
from tests.cli.conftest import writing

from sharedllm.store import open_store


def exported(name="alice", other="Bob", count=150):
    """A chat in which the person writes as they do, and somebody else what is to be found nowhere."""
    own = writing(name, count * 60).replace("\n", " ")
    lines = []
    for number in range(count):
        day, hour = 1 + number // 12, 9 + number % 12
        lines += [f"{day:02d}/03/2024, {hour:02d}:01 - {other}: somebody else's words {number}"]
        lines += [f"{day:02d}/03/2024, {hour:02d}:02 - Alice M.: {own[number * 60 : number * 60 + 60].strip()}x"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def exports(tmp_path):
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "talk.txt").write_text(exported())
    (folder / "diary.md").write_text(f"{writing('alice', 3_000)}\n\nwrite to bob@uni-koeln.de or +49 170 1234567\n")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"0" * 100)
    return folder


@pytest.mark.slow
def test_inspect_says_what_was_read_whose_words_they_are_and_what_is_in_them(run, exports):
    ran = run("text", "inspect", exports, "--me", "Alice M.")
    assert ran.code == 0, ran.err
    for said in (
        "read: 1 x WhatsApp chat",
        "Alice M. is taken for you, because you said so",
        "not read: ",
        "photo.jpg",
        "languages: ",
        "dates: 2024-03-01 to 2024-03-13",
        "personal details: 1 mail address, 1 telephone number: learned or read before it; --mask masks them",
        "of others are read before them and never learned",
        "split in the order of the files",
    ):
        assert said in ran.out


def test_who_is_meant_is_asked_for_by_name_where_nothing_tells(run, exports):
    ran = run("text", "inspect", exports)
    assert ran.code == 0
    assert "not learned: which of its authors is meant is not known" in ran.out
    assert "'Alice M.' (" in ran.out
    refused = run("train", "alice", exports)
    assert refused.code == 2
    assert "several authors" in refused.err
    assert "--me 'Alice M.'" in refused.err


def test_as_json_it_is_all_there_and_of_the_text_nothing(run, exports):
    found = run("text", "inspect", exports, "--me", "Alice M.", "--json").json
    chat = next(each for each in found["documents"] if each["kind"] == "WhatsApp chat")
    assert (chat["me"], chat["authors"].keys()) == ("Alice M.", {"Alice M.", "Bob"})
    assert found["personal_details"] == {"mail address": 1, "telephone number": 1}
    assert found["learned"] > 2_000
    assert "somebody else" not in json.dumps(found)


def test_what_is_printed_is_what_would_be_learned_and_others_words_stand_behind_a_mark(run, exports):
    ran = run("text", "inspect", exports, "--me", "Alice M.", "--print")
    own = "\n".join(line for line in ran.out.split("\n") if not line.startswith(">"))
    assert "somebody else's words" in ran.out
    assert "somebody else's words" not in own
    passages = run("text", "inspect", exports, "--me", "Alice M.", "--print", "--json").json
    assert own == "".join(f"{each['text']}\n" for each in passages if each["role"] != "other")


def test_what_is_masked_is_nowhere_in_what_would_be_learned(run, exports):
    ran = run("text", "inspect", exports, "--me", "Alice M.", "--print", "--mask")
    assert "write to name@example.org or +00 000 0000000" in ran.out
    assert "uni-koeln" not in ran.out


def test_control_characters_of_names_cannot_steer_a_terminal(run, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "a\x1b[2Jb.md").write_text(writing("alice", 3_000))
    (folder / "talk.txt").write_text(exported().replace("Bob", "Bo\x1b[2Jb"))
    assert "\x1b" not in run("text", "inspect", folder).out


@pytest.mark.slow
def test_training_on_exports_learns_her_words_alone_and_remembers_how_they_were_read(run, machine, exports):
    ran = run("train", "alice", exports, "--me", "Alice M.", "--mask")
    assert ran.code in (0, 3), ran.err
    assert "Alice M. is taken for you" in ran.err
    assert "personal details: 1 mail address, 1 telephone number: masked" in ran.err
    with open_store(machine.store) as store:
        release = store.release("alice", 1)
    assert release.adapter.provenance["sources"][0].startswith("choices:")
    again = run("train", "alice", exports, "--me", "Alice M.", "--mask")
    assert "nothing new" in again.err


@pytest.mark.slow
def test_an_evaluation_reads_the_text_as_it_was_read_wherever_it_is_now(run, exports):
    assert run("train", "alice", exports, "--me", "Alice M.", "--mask").code in (0, 3)
    exports.rename(exports.with_name("moved"))
    measured = run("evaluate", "alice", exports.with_name("moved"), "--json")
    assert measured.code == 0, measured.err
    assert measured.json["heldout"]["windows"] >= 1


@pytest.mark.slow
def test_a_guess_is_not_taken_where_nobody_can_be_asked(run, machine, exports):
    (exports / "talk.txt").rename(exports / "WhatsApp Chat with Bob.txt")
    ran = run("train", "alice", exports)
    assert ran.code == 2
    assert "nobody to be asked" in ran.err
    assert machine.users() == []
    assert run("train", "alice", exports, "--yes").code in (0, 3)


def test_plain_text_is_trained_as_ever_without_a_question(run, notes):
    assert "taken for you" not in run("train", "alice", notes("alice")).err


@pytest.mark.slow
def test_of_a_manifest_each_line_says_who_is_meant_and_details_are_masked_unless_it_says_otherwise(
    run, machine, exports, tmp_path
):
    lines = [
        {"user": "alice", "files": [str(exports)], "me": "Alice M."},
        {"user": "bob", "text": writing("bob", 3_000), "mask": False},
    ]
    (tmp_path / "people.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert run("train", "--manifest", tmp_path / "people.jsonl").code in (0, 3)
    assert machine.users() == ["alice", "bob"]
    refused = run("train", "--manifest", tmp_path / "people.jsonl", "--me", "Alice M.")
    assert (refused.code, "on the lines of the manifest" in refused.err) == (2, True)


def test_a_base_is_asked_whether_it_has_words_for_the_text(run, tmp_path, folder_of):
    (tmp_path / "text.txt").write_text("すべての人は生まれながらにして自由である。" * 200)
    ran = run("text", "inspect", tmp_path / "text.txt", "--base", folder_of("llama"))
    assert "careful: this base has no words for most of this text" in ran.out


def test_without_the_extra_it_says_what_was_not_looked_at(run, notes, monkeypatch):
    monkeypatch.setattr("sharedllm.operations.inspect.missing", lambda name: ["rensa"])
    ran = run("text", "inspect", notes("alice"))
    assert ran.code == 0
    assert "not looked at: languages, near-repeats and personal details (pip install 'sharedllm[text]')" in ran.out


@pytest.mark.slow
def test_what_is_given_away_across_the_split_is_said_in_the_words_in_which_training_says_it(run, tmp_path):
    (tmp_path / "twice.md").write_text(writing("alice", 16_000) * 3)
    (tmp_path / "often.md").write_text("".join(f"Tea at {hour}?\nYes.\n" for hour in range(9)) * 600)
    for name in ("twice.md", "often.md"):
        looked = run("text", "inspect", tmp_path / name)
        (said,) = [line for line in looked.out.split("\n") if "also occur" in line]
        assert "so the release will be held back" in said
        assert said.removeprefix("repeats: ") in run("train", name[:-3], tmp_path / name).err
        shares = run("text", "inspect", tmp_path / name, "--json").json["given_away"]
        assert shares["validation"] > 0.9


@pytest.mark.slow
def test_every_character_that_was_read_is_accounted_for(run, exports):
    (exports / "answers.jsonl").write_text('{"messages": [{"role": "user", "content": "Why?"}]}\n')
    for options in (["--me", "Alice M."], ["--me", "Alice M.", "--mask"], ["--learn", "answers"], []):
        found = run("text", "inspect", exports, *options, "--json").json
        documents = found["documents"]
        for each in documents:
            assert each["read"] == each["own"] + each["others"] + sum(each["left_out"].values())
        plain = next(each for each in documents if each["source"].endswith("diary.md"))
        assert plain["read"] == len((exports / "diary.md").read_text())
        if found["split"]:
            blocks = sum(found["split"][block] for block in ("train", "validation", "heldout", "between"))
            assert found["learned"] == blocks


def test_running_text_is_left_out_where_answers_are_learned_and_that_is_said_before_anything_is_trained(
    run, exports, machine
):
    said = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": writing("bob", 300).strip()}]
    (exports / "answers.jsonl").write_text(f"{json.dumps({'messages': said})}\n" * 10)
    length = len((exports / "diary.md").read_text())
    told = f"left out: {length:,} characters of running text, which answers nothing"
    assert told in run("text", "inspect", exports, "--learn", "answers").out
    assert told in run("train", "alice", exports, "--learn", "answers", "--yes").err


@pytest.mark.slow
def test_a_manifest_says_of_each_what_is_learned_and_the_release_remembers_it(run, exports, machine):
    turns = [(role, writing(f"{role} {n}", 130).strip()) for n in range(60) for role in ("user", "assistant")]
    said = [{"role": role, "content": text} for role, text in turns]
    (exports / "answers.jsonl").write_text(json.dumps({"messages": said}) + "\n")
    line = {"user": "alice", "files": ["answers.jsonl"], "learn": "answers"}
    (exports / "users.jsonl").write_text(json.dumps(line))
    ran = run("train", "--manifest", exports / "users.jsonl")
    assert ran.code in (0, 3), ran.err
    with open_store(machine.store) as store:
        assert store.release("alice", 1).adapter.provenance["learn"] == "answers"
    assert "trained to answer" in run("evaluate", "alice").out
    for option in ("answers", "writing"):
        again = run("train", "--manifest", exports / "users.jsonl", "--learn", option)
        assert (option == "answers") == ('"learn"' in again.err)


def test_of_a_folder_in_which_nothing_is_the_look_is_refused_as_training_is(run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"0" * 100)
    for name in ("empty", "photos"):
        looked, trained = run("text", "inspect", tmp_path / name), run("train", "you", tmp_path / name)
        assert (looked.code, trained.code) == (2, 2)
        assert looked.err == trained.err
        assert "There is no text for 'you' in" in looked.err
        assert ("not read: " in looked.out) == (name == "photos")


def test_a_mailbox_in_which_its_owner_wrote_nothing_is_refused_with_whom_to_name(run, tmp_path):
    mail = "From x Mon Jan  1 09:00:00 2024\nDelivered-To: alice@x.org\nFrom: Bob <bob@x.org>\n\nhello there\n\n"
    (tmp_path / "box.mbox").write_text(mail * 3)
    refused = run("train", "alice", tmp_path / "box.mbox")
    assert refused.code == 2
    assert "who wrote nothing in it" in refused.err
    assert "--me 'Bob'" in refused.err
    assert "not learned before this is said" in run("text", "inspect", tmp_path / "box.mbox").out


def test_numbers_that_were_too_many_to_be_looked_up_are_told(run, tmp_path, monkeypatch):
    monkeypatch.setattr("sharedllm.text.contents.personal_details.MOST_ASKED", 5)
    numbers = "\n".join(f"0999 {number:03} 11{number:03}" for number in range(25))
    (tmp_path / "numbers.txt").write_text(f"{writing('alice', 3_000)}\n{numbers}\n")
    said = "careful: of more than 5 different strings like telephone numbers the other 20 were not looked up"
    for options in ([], ["--mask"]):
        assert said in run("text", "inspect", tmp_path / "numbers.txt", *options).out
    assert said in run("train", "alice", tmp_path / "numbers.txt", "--mask").err
