"""Of a git checkout what one author wrote, and nothing that a checkout names is run."""

import os
import subprocess
import time

import pytest
from tests.text.readers.made_files import as_docx

from sharedllm.text.readers import checkouts, read_documents


def git(folder, *arguments, author="Alice Miller <alice@example.org>"):
    name, _, mail = author.rstrip(">").partition(" <")
    people = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", mail))
    }
    when = {"GIT_AUTHOR_DATE": "2024-01-01T10:00:00Z", "GIT_COMMITTER_DATE": "2024-01-01T10:00:00Z"}
    environment = {**os.environ, **people, **when, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)


def commit(folder, author="Alice Miller <alice@example.org>"):
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "more", author=author)


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "both.py").write_text("alice one\nalice two\n")
    (folder / "hers.txt").write_text("all of it is hers\n")
    (folder / "hers.docx").write_bytes(as_docx())
    commit(folder)
    (folder / "both.py").write_text("alice one\nbob between\nalice two\n")
    (folder / "his.txt").write_text("all of it is his\n")
    commit(folder, "Bob <bob@example.org>")
    return folder


def read(folder, author):
    unread = []
    return list(read_documents([folder], unread=unread.append, author=author)), unread


@pytest.mark.parametrize("author", ["Alice Miller", "alice@example.org", "ALICE@example.org"])
def test_only_the_lines_of_the_author_are_read_by_name_or_mail_address(checkout, author):
    documents, unread = read(checkout, author)
    assert unread == []
    both, docx, hers = documents
    assert both.turns[0].text == "alice one\nalice two\n"
    assert both.me is None and both.turns[0].author is None
    assert both.turns[0].when.isoformat() == "2024-01-01T10:00:00+00:00"
    assert both.left_out == {"other people's lines": len("bob between\n")}
    assert docx.kind == "Word document"
    assert hers.turns[0].text == "all of it is hers\n"


def test_what_is_in_no_commit_is_named_and_an_author_who_wrote_nothing_is_told_who_did(checkout):
    (checkout / "new.txt").write_text("not committed")
    documents, (unread,) = read(checkout, "Alice Miller")
    assert len(documents) == 3 and "is in no commit" in unread.error.message
    documents, (_, nobody) = read(checkout, "Carol")
    assert documents == []
    assert "no line of which 'Carol' is the author; those who did are 'Alice Miller', 'Bob'" in nobody.error.message


def test_without_an_author_a_checkout_is_a_folder(checkout):
    documents, _ = read(checkout, None)
    assert [each.turns[0].text for each in documents if each.source.endswith("both.py")] == [
        "alice one\nbob between\nalice two\n"
    ]


def test_no_program_that_a_checkout_names_is_run(checkout, tmp_path):
    ran = tmp_path / "ran"
    for key in ("core.fsmonitor", "core.pager", "diff.evil.textconv", "filter.evil.smudge", "filter.evil.clean"):
        git(checkout, "config", key, f"touch {ran}; cat")
    git(checkout, "config", "log.showSignature", "true")
    git(checkout, "config", "gpg.program", f"touch {ran}")
    (checkout / ".git" / "info").mkdir(exist_ok=True)
    (checkout / ".git" / "info" / "attributes").write_text("* diff=evil filter=evil\n")
    documents, _ = read(checkout, "Alice Miller")
    assert len(documents) == 3
    assert not ran.exists()


def test_a_document_that_the_author_renamed_or_named_like_hers_stays_anothers(checkout):
    (checkout / "his.docx").write_bytes(as_docx(["all of it is his"] * 3))
    (checkout / ":(literal)hers.docx").write_bytes(as_docx(["and this is his"] * 3))
    commit(checkout, "Bob <bob@example.org>")
    git(checkout, "mv", "his.docx", "moved.docx")
    commit(checkout)
    documents, unread = read(checkout, "Alice Miller")
    assert [each.source.rpartition("/")[2] for each in documents] == ["both.py", "hers.docx", "hers.txt"]
    moved = [each.error.message for each in unread if each.source.endswith("moved.docx")]
    assert ["was written by several people together" in message for message in moved] == [True]


def test_a_shallow_checkout_is_refused_since_its_first_commit_would_have_written_all(checkout, tmp_path):
    git(tmp_path, "clone", "-q", "--depth", "1", checkout.as_uri(), "shallow")
    documents, unread = read(tmp_path / "shallow", "Bob")
    assert documents == []
    assert all("is in a shallow git checkout" in each.error.message for each in unread[:-1])


def test_a_text_that_is_huge_in_its_commit_is_not_blamed(checkout):
    (checkout / "huge.txt").write_text("x\n" * 2_600_000)
    commit(checkout)
    (checkout / "huge.txt").write_text("x\n")
    documents, (unread,) = read(checkout, "Alice Miller")
    assert len(documents) == 3
    assert "huge.txt' is larger in its commit than 5 MB" in unread.error.message


@pytest.mark.slow
def test_a_checkout_at_which_git_hangs_is_waited_for_once(checkout, monkeypatch):
    monkeypatch.setattr(checkouts, "SECONDS", 2)
    (checkout / ".git" / "HEAD").unlink()
    os.mkfifo(checkout / ".git" / "HEAD")
    began = time.monotonic()
    documents, unread = read(checkout, "Alice Miller")
    assert documents == []
    assert [each.error.message.endswith("took git longer than 2 seconds") for each in unread[:-1]] == [True] * 4
    assert time.monotonic() - began < 7.5


def test_git_is_asked_for_so_long_in_all_and_what_was_not_looked_at_for_that_is_named(checkout, monkeypatch):
    monkeypatch.setattr(checkouts, "SECONDS_IN_ALL", 0.5)
    asked = subprocess.run

    def slow(*arguments, timeout, **options):
        assert timeout <= 0.5
        time.sleep(0.2)
        return asked(*arguments, timeout=timeout, **options)

    monkeypatch.setattr(subprocess, "run", slow)
    documents, unread = read(checkout, "Alice Miller")
    late = [each for each in unread if "was not looked at: git had taken 0.5 seconds" in each.error.message]
    assert len(late) >= 3
    assert all("fewer files" in each.error.remedy for each in late)
    assert len(documents) + len(late) == 4
