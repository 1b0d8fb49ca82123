"""Reading a fleet's held-out texts on a small base: each four ways, and none of them twice."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.cluster.fleets.conftest import RECIPE, write_manifest, writing

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import InvalidInput, WrongBase
from sharedllm.evaluation.perplexity import row_losses, spread
from sharedllm.operations import measure_fleet
from sharedllm.operations.erase import erase
from sharedllm.operations.measure_fleet import read_fleet
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.fleet.members import WINDOWS, find_fleet
from sharedllm.store import open_store
from sharedllm.text.splits import split_text
from sharedllm.text.windows import tokenize

USERS = ["chat/alice", "chat/bob", "library/carol"]
PASSED = GateOutcome(True, "passed: as invented")


class Desk:
    """A manifest, a store with a release of everybody's, and what a report of them looks at."""

    def __init__(self, folder, base, injection, store):
        self.base, self.injection, self.store = base, injection, store
        self.manifest, self.folder = folder / "people.jsonl", folder / "training"
        self.texts = {user: writing(user) for user in USERS}
        self.opened = 0
        self.bars = []
        self.workplaces = []
        write_manifest(self.manifest, self.texts)

    def publish(self, user, *, seed=0, recipe=RECIPE, base=None, text=None):
        format, size = self.injection.layout.format, self.injection.layout.size
        recipe = replace(recipe, method=format)
        values = np.random.default_rng([seed, *user.encode()]).normal(0, 0.05, size).astype(np.float32)
        sha256 = split_text(text or self.texts[user]).sha256
        provenance = {"recipe": recipe.as_dict(), "text_sha256": sha256}
        return self.store.publish(user, Adapter(format, base or self.base.fingerprint, values, provenance), PASSED)

    def find(self):
        return find_fleet(self.store, self.manifest, self.base.fingerprint)

    def read(self):
        return read_fleet(self.workplace_with(self.bar), self.find())

    def workplace_with(self, bar):
        """One whose base is loaded when it is needed, which is counted."""
        self.workplaces.append(Workplace("small", load=self.load, folder=self.folder, bar=bar))
        return self.workplaces[-1]

    def load(self, name):
        self.opened += 1
        return self.base

    @contextmanager
    def bar(self, what, total):
        done = []
        yield done.append
        self.bars.append((what, total, sum(done)))

    def files(self):
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def desk(request, tmp_path, base_of, inject):
    architecture, format = getattr(request, "param", ("llama", "norm"))
    base = base_of(architecture)
    with open_store(":memory:") as store:
        desk = Desk(tmp_path, base, inject(base, format), store)
        for user in USERS:
            desk.publish(user)
        yield desk
        for workplace in desk.workplaces:
            workplace.close()


# Who is in it


def test_everybody_with_a_release_of_their_text_is_in(desk):
    fleet = desk.find()
    assert [(each.user, each.kind) for each in fleet.members] == list(
        zip(USERS, ["chat", "chat", "library"], strict=True)
    )
    assert [each.text_bytes for each in fleet.members] == [len(text) for text in desk.texts.values()]
    assert fleet.recipe == RECIPE
    assert not fleet.missing


def test_who_cannot_be_in_it_is_named_with_the_reason(desk):
    lines = desk.texts | {"short": " ", "dave": writing("dave"), "erin": writing("erin"), "frank": writing("frank")}
    write_manifest(desk.manifest, lines)
    desk.publish("erin", text=writing("another text of erin's"))
    desk.publish("frank", text=lines["frank"], base="0" * 64)
    desk.store.revoke("chat/bob", "asked to")
    fleet = desk.find()
    assert [each.user for each in fleet.members] == ["chat/alice", "library/carol"]
    assert set(fleet.missing) == {"short", "dave", "erin", "frank", "chat/bob"}


def test_the_newest_releases_count_and_the_recipe_of_most_of_them_is_the_fleets(desk):
    other = type(RECIPE)(**RECIPE.as_dict() | {"name": "other"})
    for user in USERS[:2]:
        desk.publish(user, recipe=other)
    newest = desk.publish("chat/alice", seed=1, recipe=other)
    fleet = desk.find()
    assert fleet.recipe.name == "other"
    assert [each.user for each in fleet.members] == USERS[:2]
    assert fleet.members[0].release.id == newest.id
    assert "'other'" in fleet.missing["library/carol"]


def test_training_one_person_again_in_another_way_leaves_the_fleet_as_it_is(desk):
    before = desk.find()
    seed = type(RECIPE)(**RECIPE.as_dict() | {"seed": 1})
    desk.publish("chat/alice", seed=1, recipe=seed)
    after = desk.find()
    assert (after.recipe, after.missing) == (RECIPE, {})
    assert [each.release.id for each in after.members] == [each.release.id for each in before.members]


def test_of_equally_common_recipes_the_one_that_more_people_have_counts_and_then_the_newest(desk):
    other = type(RECIPE)(**RECIPE.as_dict() | {"name": "other"})
    write_manifest(desk.manifest, {user: desk.texts[user] for user in USERS[:2]})
    desk.publish("chat/alice", recipe=other)
    assert desk.find().recipe == RECIPE
    desk.publish("chat/bob", recipe=other)
    desk.publish("chat/bob", recipe=RECIPE)
    assert desk.find().recipe == RECIPE
    desk.publish("chat/alice", recipe=other)
    assert desk.find().recipe == other


def test_one_person_is_no_fleet(desk):
    write_manifest(desk.manifest, {"chat/alice": desk.texts["chat/alice"]})
    with pytest.raises(InvalidInput, match="1 of the users"):
        desk.find()


def test_many_kinds_are_as_many_as_a_chart_can_show(desk):
    texts = {f"{kind}/{user}": writing(kind + user) for kind in "abcdef" for user in ("x", "y")[: 1 + (kind in "ab")]}
    write_manifest(desk.manifest, texts)
    for user, text in texts.items():
        desk.publish(user, text=text)
    kinds = {each.user: each.kind for each in desk.find().members}
    assert len(set(kinds.values())) == 4
    assert (kinds["a/x"], kinds["b/y"], kinds["f/x"]) == ("a", "b", "others")


# How it is read


@pytest.mark.parametrize("desk", [("llama", "norm"), ("adapted", "norm+bank")], indirect=True, ids=lambda each: each[1])
def test_a_text_is_read_by_the_base_its_owner_and_one_other(desk):
    readings, fleet = desk.read(), desk.find()
    for number, user in enumerate(USERS):
        text = tokenize(user, split_text(desk.texts[user]), desk.base.encode, window=RECIPE.window)
        rows = [fleet.members[number].release.adapter.values, fleet.other(number).release.adapter.values]
        table = np.stack([np.zeros_like(rows[0]), *rows])
        alone = row_losses(desk.base, desk.injection, table, spread(text.heldout, WINDOWS))
        for name, expected in zip(("base", "own", "other"), alone, strict=True):
            assert getattr(readings[user], name).nats == pytest.approx(expected.nats, rel=1e-5)
        assert readings[user].everyone.perplexity < readings[user].base.perplexity


def test_how_far_it_is_adds_up(desk):
    desk.read()
    names, totals, done = zip(*desk.bars, strict=True)
    assert names == ("reading texts", "training on everybody's text", "measuring")
    assert totals == done == (3, 4 * RECIPE.steps, 3)


def test_nothing_is_read_twice_and_only_numbers_are_kept(desk):
    first = desk.read()
    again = desk.read()
    assert desk.opened == 1
    for user in USERS:
        assert list(again[user].own.nats) == list(first[user].own.nats)
    assert [path.parent.name for path in desk.files()] == ["fleet"] * 3
    for path in desk.files():
        kept = load_file(path)
        assert len(kept) == 4
        assert all(nats.ndim == 1 and len(nats) <= WINDOWS for nats in kept.values())


@pytest.mark.slow
def test_who_was_trained_again_is_read_again(desk):
    first = desk.read()
    desk.publish("chat/alice", seed=1)
    again = desk.read()
    assert desk.opened == 2
    assert list(again["chat/alice"].own.nats) != list(first["chat/alice"].own.nats)
    assert list(again["chat/alice"].everyone.nats) == list(first["chat/alice"].everyone.nats)
    # Theirs, and the one that theirs reads as a control.
    assert desk.bars[-1] == ("measuring", 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("what, when", [("training on everybody's text", 5), ("measuring", 1)])
def test_what_was_interrupted_is_gone_on_with(desk, what, when):
    whole = desk.read()
    erase_everything(desk)
    calls = []

    @contextmanager
    def impatient(doing, total):
        def advance(done):
            calls.append(doing)
            if calls.count(what) == when:
                raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        read_fleet(desk.workplace_with(impatient), desk.find())
    assert desk.files()
    desk.bars.clear()
    resumed = desk.read()
    for user in USERS:
        assert list(resumed[user].everyone.nats) == list(whole[user].everyone.nats)
    assert calls.count(what) == when
    assert len([path for path in desk.files() if path.parent.name == "fleet"]) == len(desk.files()) == 3


def test_erasing_a_user_removes_what_was_read_with_their_adapter(desk):
    desk.read()
    erase(desk.store, "chat/alice", folder=desk.folder)
    assert not desk.files()


def test_erasing_a_user_removes_the_unfinished_adapter_for_everybody(desk):
    @contextmanager
    def impatient(doing, total):
        def advance(done):
            if doing == "training on everybody's text":
                raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        read_fleet(desk.workplace_with(impatient), desk.find())
    assert desk.files()
    erase(desk.store, "chat/alice", folder=desk.folder)
    assert not desk.files()


def test_a_damaged_file_is_read_anew(desk):
    desk.read()
    desk.files()[0].write_bytes(b"not what it was")
    assert set(desk.read()) == set(USERS)
    assert desk.bars[-1] == ("measuring", 1, 1)


def test_everybody_gives_as_much_to_the_adapter_for_all(desk, monkeypatch):
    seen = []
    train = measure_fleet.train_vectors
    monkeypatch.setattr(measure_fleet, "train_vectors", lambda *a, **k: seen.extend(a[2]) or train(*a, **k))
    desk.texts["chat/alice"] = writing("chat/alice", 9_000)
    write_manifest(desk.manifest, desk.texts)
    desk.publish("chat/alice")
    desk.read()
    (together,) = seen
    shares = []
    for user in USERS:
        ids = tokenize(user, split_text(desk.texts[user]), desk.base.encode, window=RECIPE.window).train
        own = {tuple(ids[begin : begin + RECIPE.window]) for begin in range(0, len(ids), RECIPE.window)}
        cut = together.train.reshape(-1, RECIPE.window)
        shares.append(sum(tuple(window) in own for window in cut))
    assert shares[0] == shares[1] == shares[2] > 0
    assert sum(shares) * RECIPE.window == len(together.train)


def test_an_adapter_that_does_not_fit_is_refused(desk):
    size = desk.injection.layout.size
    provenance = {"recipe": RECIPE.as_dict(), "text_sha256": split_text(desk.texts["chat/alice"]).sha256}
    adapter = Adapter("norm", desk.base.fingerprint, np.zeros(size - 1, dtype=np.float32), provenance)
    desk.store.publish("chat/alice", adapter, PASSED)
    with pytest.raises(WrongBase):
        desk.read()


def erase_everything(desk):
    for path in desk.files():
        path.unlink()
