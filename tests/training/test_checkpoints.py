import errno
import math
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from sharedllm.errors import DiskFull
from sharedllm.holder import Removed
from sharedllm.training.checkpoints import Checkpoints, Progress, UnfinishedTraining, digest
from sharedllm.training.recipes import Recipe

RECIPE = Recipe("r")
TEXT = "0" * 64


def progress(step=3):
    values, mean, square, best = torch.randn(4, 5, generator=torch.Generator().manual_seed(step)).unbind()
    return Progress(step, values, mean, square, best, 1.25, 2, [(1, 1.5), (2, 1.25)])


def same(first, second):
    tensors = ("values", "mean", "square", "best")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in tensors) and all(
        getattr(first, name) == getattr(second, name) for name in ("step", "best_loss", "stale", "losses")
    )


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "made" / "on" / "demand", "base-1")


def files(checkpoints):
    return sorted(path for path in checkpoints._folder.rglob("*"))


@pytest.mark.parametrize("user", ["alice", "a/b", "../../up", "🙂", "x" * 10_000, "."])
def test_what_is_saved_is_loaded_bit_for_bit(checkpoints, user):
    checkpoints.save(user, TEXT, RECIPE, progress())
    assert same(checkpoints.load(user, TEXT, RECIPE), progress())
    assert [path.parent for path in files(checkpoints)] == [checkpoints._folder]


def test_a_first_checkpoint_has_no_best_loss_yet(checkpoints):
    checkpoints.save("alice", TEXT, RECIPE, replace(progress(), best_loss=math.inf, losses=[]))
    assert checkpoints.load("alice", TEXT, RECIPE).best_loss == math.inf


def test_saving_replaces(checkpoints):
    checkpoints.save("alice", TEXT, RECIPE, progress(3))
    checkpoints.save("alice", TEXT, RECIPE, progress(4))
    assert same(checkpoints.load("alice", TEXT, RECIPE), progress(4))
    assert len(files(checkpoints)) == 1


def test_it_belongs_to_a_user_a_text_a_recipe_and_a_base(checkpoints):
    checkpoints.save("alice", TEXT, RECIPE, progress())
    assert checkpoints.load("bob", TEXT, RECIPE) is None
    assert checkpoints.load("alice", "1" * 64, RECIPE) is None
    assert checkpoints.load("alice", TEXT, replace(RECIPE, learning_rate=1.0)) is None
    assert Checkpoints(checkpoints._folder, "base-2").load("alice", TEXT, RECIPE) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(b"\xff" * 50),
        lambda path: save_file({"values": torch.zeros(5)}, path),
        lambda path: save_file({"values": torch.zeros(5)}, path, metadata={"progress": "{}"}),
        lambda path: save_file(
            {name: torch.zeros(5) for name in ("values", "mean", "square", "best")}, path, metadata={"progress": "{}"}
        ),
        lambda path: save_file(
            {name: torch.zeros(5) for name in ("values", "mean", "square", "best")}, path, metadata={"progress": "7"}
        ),
    ],
    ids=["empty", "cut", "junk", "no-metadata", "no-rows", "no-step", "not-an-object"],
)
def test_a_damaged_one_is_as_good_as_none(checkpoints, damage):
    checkpoints.save("alice", TEXT, RECIPE, progress())
    damage(files(checkpoints)[0])
    assert checkpoints.load("alice", TEXT, RECIPE) is None


def test_erasing_takes_all_of_a_users_and_nobody_elses(checkpoints):
    for seed in range(3):
        checkpoints.save("alice", TEXT, replace(RECIPE, seed=seed), progress())
    checkpoints.save("bob", TEXT, RECIPE, progress())
    scrap = checkpoints._folder / "left by a killed process"
    scrap.mkdir()
    shutil.copy(next(path for path in files(checkpoints) if path.name.startswith(digest("alice"))), scrap)
    holder = UnfinishedTraining(checkpoints._folder)
    for count in (4, 0):
        assert holder.forget("alice") == [Removed("checkpoints of training", "data folder", count)]
    assert checkpoints.load("bob", TEXT, RECIPE)


def test_discarding_what_is_not_there_is_nothing(checkpoints):
    checkpoints.discard("alice", TEXT, RECIPE)


def test_a_full_disk_keeps_the_earlier_one_and_leaves_no_scrap(checkpoints, monkeypatch):
    checkpoints.save("alice", TEXT, RECIPE, progress(3))

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull, match="No space left"):
        checkpoints.save("alice", TEXT, RECIPE, progress(4))
    assert same(checkpoints.load("alice", TEXT, RECIPE), progress(3))
    assert len(files(checkpoints)) == 1


def test_nobody_else_may_read_them(checkpoints, umask):
    def modes():
        return [oct(path.stat().st_mode & 0o777) for path in checkpoints._folder.parents[1].rglob("*")]

    checkpoints.save("alice", TEXT, RECIPE, progress())
    assert modes() == ["0o700", "0o700", "0o600"]
    # As an earlier version made them.
    for path in (checkpoints._folder, *files(checkpoints)):
        path.chmod(0o755 if path.is_dir() else 0o644)
    Checkpoints(checkpoints._folder, "base-1")
    assert modes() == ["0o700", "0o700", "0o600"]
