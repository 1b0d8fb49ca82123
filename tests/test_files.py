"""Files that hold something of users are their owner's alone, whatever the umask, also those of earlier versions."""

import logging
import stat
from pathlib import Path

import pytest

from sharedllm.files import (
    keep_private,
    make_folder,
    make_private,
    new_file,
    new_folder,
    private_folder,
    replace_private,
    write_private,
)
from sharedllm.reporting.html import write_html
from sharedllm.store.encryption.master_key import write_master_key


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


pytestmark = pytest.mark.usefixtures("umask")


def test_what_is_written_is_its_owners_alone(tmp_path):
    with new_file(tmp_path / "file") as partial:
        partial.write_text("hers")
    with new_folder(tmp_path / "folder") as partial:
        (partial / "inside").write_text("hers")
    private_folder(tmp_path / "made" / "with" / "parents")
    replace_private(tmp_path / "replaced", b"old")
    replace_private(tmp_path / "replaced", b"new")
    assert (tmp_path / "replaced").read_bytes() == b"new"
    modes = {path.name: oct(mode(path)) for path in tmp_path.iterdir()}
    assert modes == {"file": "0o600", "folder": "0o700", "made": "0o700", "replaced": "0o600"}
    assert mode(tmp_path / "made" / "with" / "parents") == 0o700


@pytest.mark.parametrize(
    "write",
    [
        write_master_key,
        lambda path: write_private(path, b"hers"),
        lambda path: write_html("hers", path),
        private_folder,
        make_folder,
        lambda path: new_file(path).__enter__(),
        lambda path: new_folder(path).__enter__(),
    ],
)
def test_folders_that_are_made_on_the_way_are_their_owners_alone_and_those_that_are_there_stay(tmp_path, write):
    there = tmp_path / "there"
    there.mkdir(0o755)
    path = there / "made" / "with" / "parents"
    write(path)
    assert {mode(folder) for folder in (path.parent, path.parent.parent)} == {0o700}
    assert mode(there) == 0o755


def test_a_file_that_is_there_is_left_alone_unless_it_is_to_be_made_anew(tmp_path):
    path = tmp_path / "file"
    path.write_text("there")
    with pytest.raises(FileExistsError):
        make_private(path)
    assert path.read_text() == "there"
    make_private(path, anew=True)
    assert (path.read_text(), mode(path)) == ("", 0o600)


def test_what_an_earlier_version_made_is_taken_from_others(tmp_path):
    folder = tmp_path / "training"
    (folder / "fleet").mkdir(parents=True)
    for path in (folder / "a", folder / "fleet" / "b"):
        path.write_text("hers")
    script = folder / "c"
    script.write_text("")
    script.chmod(0o755)
    private_folder(folder)
    assert {mode(path) for path in (folder, folder / "fleet", script)} == {0o700}
    assert {mode(path) for path in (folder / "a", folder / "fleet" / "b")} == {0o600}


def test_what_cannot_be_taken_from_others_is_told(tmp_path, monkeypatch, caplog):
    path = tmp_path / "store.db"
    path.write_text("hers")

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refuse)
    with caplog.at_level(logging.WARNING):
        keep_private(path)
    assert f"{path} is private, and others may read it" in caplog.text
    assert mode(path) == 0o644


def test_nothing_is_made_where_nothing_is(tmp_path):
    keep_private(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []
