"""The contract of `sharedllm.store.Store`, asked of every implementation."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.store.samples import BETTER, WORSE, adapter

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import (
    ErasedMeanwhile,
    InvalidInput,
    InvalidUserId,
    NotServed,
    ResetToBase,
    StoreBusy,
    UnknownName,
    UnknownUser,
)
from sharedllm.holder import Derived, Removed
from sharedllm.store.contract import KEPT_RELEASES, Headcount, People
from sharedllm.store.rules import is_found

IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)
ODD_IDS = [
    "a/b",
    "../../etc/passwd",
    "..",
    "C:\\con",
    "O'Brien; DROP TABLE users",
    "%s {0} ?",
    "👩‍👩‍👧",
    "שלום",
    "مرحبا",
    "\n\x1b[31m",
    " ",
    "Alice",
    "alice",
    "\u00e9",
    "e\u0301",
    "\ufb01",
    "fi",
    "ß",
    "ss",
    "x" * 1024,
    "😀" * 1024,
]
one_store = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def kinds(store, user):
    return [(event.kind, event.number) for event in store.events(user)]


# Publishing


@pytest.mark.slow
def test_what_is_published_is_what_is_served(store):
    published = store.publish("alice", adapter(0.5, -0.25, recipe="documented", seed=3), BETTER)
    served = store.served("alice")
    for release in (published, served, store.release("alice", 1)):
        assert release.user == "alice"
        assert release.number == 1
        assert release.id == published.id
        assert release.adapter.format == "norm"
        assert release.adapter.base == "base-1"
        assert release.adapter.values.tolist() == [0.5, -0.25]
        assert release.adapter.provenance == {"recipe": "documented", "seed": 3}
        assert release.gate == BETTER
        assert release.created_at == published.created_at


def test_times_are_utc_and_now(store):
    before = datetime.now(UTC)
    release = store.publish("alice", adapter(), BETTER)
    assert release.created_at.utcoffset() == timedelta(0)
    assert before <= release.created_at <= datetime.now(UTC)


def test_a_release_cannot_be_changed(store):
    release = store.publish("alice", adapter(0.5), BETTER)
    with pytest.raises(ValueError, match="read-only"):
        release.adapter.values[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        release.number = 2


def test_changing_the_array_that_was_published_changes_nothing(store):
    mine = adapter(0.5)
    store.publish("alice", mine, BETTER)
    mine.values[0] = 9
    assert store.served("alice").adapter.values.tolist() == [0.5]


def test_numbers_count_within_a_user_and_ids_are_unique(store):
    releases = [store.publish(user, adapter(), BETTER) for user in ("alice", "bob", "alice", "alice")]
    assert [release.number for release in releases] == [1, 1, 2, 3]
    assert len({release.id for release in releases}) == 4
    assert all(len(release.id) == 32 and int(release.id, 16) for release in releases)


def test_a_release_that_failed_its_gate_is_kept_and_not_served(store):
    store.publish("alice", adapter(0.1), BETTER)
    store.publish("alice", adapter(0.2), WORSE)
    assert store.served("alice").number == 1
    assert store.release("alice", 2).gate == WORSE
    assert kinds(store, "alice") == [("published", 1), ("held_back", 2)]
    assert store.events("alice")[1].reason == WORSE.reason


def test_the_newest_release_that_passed_is_served(store):
    for gate in (BETTER, WORSE, BETTER, WORSE):
        store.publish("alice", adapter(), gate)
    assert store.served("alice").number == 3


def test_somebody_whose_releases_all_failed_is_told_why(store):
    store.publish("alice", adapter(), WORSE)
    with pytest.raises(NotServed, match="1, was held back: no better than the base"):
        store.served("alice")


def test_many_are_published_together(store):
    summaries = store.publish_many((user, adapter(), BETTER) for user in ("alice", "bob", "alice"))
    assert [(each.user, each.number, each.parameters) for each in summaries] == [
        ("alice", 1, 2),
        ("bob", 1, 2),
        ("alice", 2, 2),
    ]
    assert summaries[2] == store.releases("alice")[1]


def test_one_bad_adapter_keeps_all_of_its_batch_out(store):
    store.publish("alice", adapter(0.1), BETTER)
    with pytest.raises(InvalidInput):
        store.publish_many([("alice", adapter(0.2), BETTER), ("bob", adapter(np.nan), BETTER)])
    assert [user.user for user in store.users()] == ["alice"]
    assert store.served("alice").number == 1
    assert len(store.events("alice")) == 1


def test_an_interrupted_batch_leaves_nothing(store):
    def interrupted():
        yield "alice", adapter(), BETTER
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.publish_many(interrupted())
    assert list(store.users()) == []


# Values


@pytest.mark.slow
@one_store
@given(values=st.lists(st.floats(-65504, 65504, width=32), min_size=1, max_size=50))
def test_values_come_back_as_their_nearest_float16(store, values):
    given_values = np.array(values, np.float32)
    store.publish("alice", adapter(*given_values), BETTER)
    read = store.served("alice").adapter.values
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, given_values.astype(np.float16).astype(np.float32))


@pytest.mark.slow
@one_store
@given(values=st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_float16_values_survive_exactly(store, values):
    store.publish("alice", adapter(*values), BETTER)
    assert store.served("alice").adapter.values.tolist() == values


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([0, np.nan], "value 1 is nan"),
        ([np.inf], "value 0 is inf"),
        ([0, 0, -70000], "Value 2 .* -70000, too large for float16"),
        ([], "shape \\[0\\]"),
        ([[1, 2]], "shape \\[1, 2\\]"),
    ],
)
def test_values_that_cannot_be_stored_are_refused_before_anything_is_written(store, values, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        store.publish("alice", Adapter("norm", "base-1", np.array(values, np.float32)), BETTER)
    assert list(store.users()) == []


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, np.float32(1)])
def test_provenance_and_figures_that_are_not_json_are_refused(store, value):
    with pytest.raises(InvalidInput, match="provenance of 'alice'"):
        store.publish("alice", adapter(odd=value), BETTER)
    with pytest.raises(InvalidInput, match="gate outcome of 'alice'"):
        store.publish("alice", adapter(), GateOutcome(True, "fine", {"odd": value}))
    assert list(store.users()) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@one_store
@given(provenance=st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_provenance_is_any_json(store, provenance):
    store.publish("alice", Adapter("norm", "base-1", np.ones(1, np.float32), provenance), BETTER)
    assert store.served("alice").adapter.provenance == provenance
    assert store.releases("alice")[-1].provenance == provenance


# Ids


@pytest.mark.parametrize("user", ODD_IDS)
def test_any_unicode_string_names_a_user(store, user):
    store.publish(user, adapter(), BETTER)
    assert store.served(user).user == user
    assert [each.user for each in store.users()] == [user]


def test_ids_that_merely_look_alike_are_different_people(store):
    for position, user in enumerate(ODD_IDS):
        store.publish(user, adapter(position), BETTER)
    for position, user in enumerate(ODD_IDS):
        assert store.served(user).adapter.values.tolist() == [position]


@pytest.mark.slow
@one_store
@given(user=IDS, other=IDS)
def test_nobody_is_ever_served_for_somebody_else(store, user, other):
    store.publish(user, adapter(), BETTER)
    assert store.served(user).user == user
    if other not in {each.user for each in store.users()}:
        with pytest.raises(UnknownUser):
            store.served(other)


@pytest.mark.parametrize("user", ["", "a" * 1025, "a" * 10_000, "nul\0", "\ud800"])
def test_what_cannot_name_a_user_is_refused_everywhere(store, user):
    for ask in (
        lambda: store.publish(user, adapter(), BETTER),
        lambda: store.publish_many([(user, adapter(), BETTER)]),
        lambda: store.served(user),
        lambda: store.user(user),
        lambda: store.revoke(user, "why"),
        lambda: store.erase(user),
    ):
        with pytest.raises(InvalidUserId):
            ask()
    assert list(store.users()) == []


def test_an_unknown_user_is_an_error_everywhere(store):
    store.publish("alice", adapter(), BETTER)
    for ask in (
        lambda: store.served("Alice"),
        lambda: store.release("Alice", 1),
        lambda: store.releases("Alice"),
        lambda: store.events("Alice"),
        lambda: store.user("Alice"),
        lambda: store.rollback("Alice"),
        lambda: store.revoke("Alice", "why"),
        lambda: store.restore("Alice"),
        lambda: store.erase("Alice"),
    ):
        with pytest.raises(UnknownUser, match="'Alice'"):
            ask()


# Looking


def test_users_are_listed_in_the_order_they_arrived(store):
    for user in ("zoe", "alice", "mia", "alice"):
        store.publish(user, adapter(), BETTER)
    assert [each.user for each in store.users()] == ["zoe", "alice", "mia"]


@pytest.mark.slow
def test_more_users_than_a_page_are_all_listed_once(store):
    everybody = [f"user {number}" for number in range(1201)]
    store.publish_many((user, adapter(), BETTER) for user in everybody)
    assert [each.user for each in store.users()] == everybody


def test_a_user_can_be_changed_while_users_are_listed(store):
    for user in ("alice", "bob"):
        store.publish(user, adapter(), BETTER)
    for each in store.users():
        store.erase(each.user)
    assert list(store.users()) == []


def ids(people):
    return [person.summary.user for person in people.page]


def pages(store, **asked):
    """All pages of people that a search gives."""
    found, after = [], 0
    while after is not None:
        people = store.people(after=after, **asked)
        found.append(ids(people))
        after = people.next
    return found


def test_people_come_in_pages_in_the_order_they_arrived(store):
    store.publish_many((user, adapter(), BETTER) for user in "edcba")
    assert pages(store, limit=2) == [["e", "d"], ["c", "b"], ["a"]]
    assert pages(store, limit=5) == [["e", "d", "c", "b", "a"]]
    assert [page.next for page in (store.people(limit=5), store.people(after=10**9))] == [None, None]


def test_nobody_is_told_twice_or_left_out_while_others_come_and_go(store):
    store.publish_many((user, adapter(), BETTER) for user in "abcd")
    first = store.people(limit=2)
    store.erase("b")
    store.publish("e", adapter(), BETTER)
    store.publish("a", adapter(), BETTER)
    assert [*ids(first), *ids(store.people(after=first.next))] == ["a", "b", "c", "d", "e"]


def test_people_come_with_their_newest_release_and_the_one_that_answers(store):
    store.publish("alice", adapter(0.5, 1), BETTER)
    store.publish("alice", adapter(), WORSE)
    store.publish("bob", adapter(0.5, 1, 2), WORSE)
    alice, bob = store.people().page
    assert alice.summary == store.user("alice")
    assert [alice.served, alice.newest] == store.releases("alice")
    assert (bob.served, bob.newest) == (None, store.releases("bob")[0])
    assert bob.newest.parameters == 3


@pytest.mark.parametrize(
    ("state", "expected"),
    [(None, "abcde"), ("active", "abde"), ("revoked", "c"), ("not_served", "be")],
)
def test_people_are_found_by_how_they_stand_and_counted_so(store, state, expected):
    store.publish_many((user, adapter(), WORSE if user == "b" else BETTER) for user in "abcde")
    store.revoke("c", "left")
    store.reset("e")
    assert pages(store, state=state, limit=2) == [list(expected[at : at + 2]) for at in range(0, len(expected), 2)]
    assert store.headcount() == Headcount(people=5, revoked=1, not_served=2)


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("AL", ["Alice", "al_%"]),
        ("_%", ["al_%"]),
        ("i", ["Alice", "İ i"]),
        ("é", ["é"]),
        ("É", []),
        ("'; --", []),
        ("nobody", []),
    ],
)
def test_people_are_found_by_a_part_of_their_id(store, search, expected):
    store.publish_many((user, adapter(), BETTER) for user in ("Alice", "al_%", "İ i", "é", "e\u0301", "ss", "ß"))
    assert [user for page in pages(store, search=search, limit=2) for user in page] == expected


@pytest.mark.slow
@one_store
@given(users=st.lists(IDS, min_size=1, max_size=4, unique=True), search=IDS)
def test_a_search_finds_the_same_people_in_every_store(store, users, search):
    for user in users:
        store.publish(user, adapter(), BETTER)
    try:
        found = [user for page in pages(store, search=search, limit=3) for user in page]
        assert found == [user for user in users if is_found(user, search)]
    finally:
        for user in users:
            store.erase(user)


def test_there_is_nobody_in_an_empty_store(store):
    assert store.people() == People([], None)
    assert store.headcount() == Headcount(people=0, revoked=0, not_served=0)


def test_a_page_of_nobody_is_refused(store):
    with pytest.raises(InvalidInput, match="page of 0 people"):
        store.people(limit=0)
    with pytest.raises(InvalidUserId):
        store.people(search="a\0")


def test_a_user_summary_tells_where_they_stand(store):
    first = store.publish("alice", adapter(), BETTER)
    store.publish("alice", adapter(), WORSE)
    store.revoke("alice", "contract ended")
    summary = store.user("alice")
    assert (summary.user, summary.state, summary.reason) == ("alice", "revoked", "contract ended")
    assert (summary.served, summary.releases) == (1, 2)
    assert summary.created_at == first.created_at
    assert summary.updated_at == store.events("alice")[-1].at
    assert summary == next(store.users())


@pytest.mark.parametrize("number", [0, -1, 2, 10**30])
def test_an_unknown_release_is_an_error_that_says_which_exist(store, number):
    store.publish("alice", adapter(), BETTER)
    for ask in (store.release, store.rollback):
        with pytest.raises(UnknownName, match=f"no release {number}. Their releases are numbered 1 to 1"):
            ask("alice", number)


# Keeping


def numbers(store, user, **page):
    return [release.number for release in store.releases(user, **page)]


def test_only_the_newest_releases_are_kept(store):
    for _ in range(KEPT_RELEASES + 5):
        store.publish("alice", adapter(), WORSE)
    assert numbers(store, "alice") == list(range(6, KEPT_RELEASES + 6))
    assert kinds(store, "alice") == [("held_back", number) for number in range(6, KEPT_RELEASES + 6)]
    assert store.user("alice").releases == KEPT_RELEASES + 5
    assert store.publish("alice", adapter(), WORSE).number == KEPT_RELEASES + 6


def test_many_published_together_are_kept_as_if_one_by_one(store):
    store.publish_many([("bob", adapter(), BETTER), *(("alice", adapter(), WORSE) for _ in range(3 * KEPT_RELEASES))])
    assert numbers(store, "alice") == list(range(2 * KEPT_RELEASES + 1, 3 * KEPT_RELEASES + 1))
    assert numbers(store, "bob") == [1]


def test_the_served_release_is_kept_whatever_its_age_and_so_is_the_one_to_go_back_to(store):
    for gate in (BETTER, WORSE, BETTER, *([WORSE] * 2 * KEPT_RELEASES)):
        store.publish("alice", adapter(), gate)
    newest = list(range(KEPT_RELEASES + 4, 2 * KEPT_RELEASES + 4))
    assert numbers(store, "alice") == [1, 3, *newest]
    assert store.served("alice").number == 3
    assert store.rollback("alice").number == 1
    store.publish("alice", adapter(), BETTER)
    assert numbers(store, "alice") == [3, *newest[1:], newest[-1] + 1]


def test_a_release_that_is_not_kept_is_an_error_that_says_so(store):
    for _ in range(KEPT_RELEASES + 1):
        store.publish("alice", adapter(), BETTER)
    for ask in (store.release, store.rollback):
        with pytest.raises(UnknownName, match="Release 1 of 'alice' is not kept any more"):
            ask("alice", 1)
    assert store.served("alice").number == KEPT_RELEASES + 1


def test_what_was_done_on_purpose_stays_in_the_history_when_its_release_goes(store):
    store.publish("alice", adapter(), WORSE)
    store.rollback("alice", 1, override_reason="she asked for it")
    for _ in range(KEPT_RELEASES + 1):
        store.publish("alice", adapter(), BETTER)
    assert kinds(store, "alice")[0] == ("overridden", 1)
    assert len(store.events("alice")) == KEPT_RELEASES + 1


def test_what_goes_is_in_nobodys_log_of_changes(store):
    store.publish("alice", adapter(), BETTER)
    began = store.position()
    for _ in range(KEPT_RELEASES + 1):
        store.publish("alice", adapter(), WORSE)
    assert store.position() == began


def test_releases_are_listed_in_pages_from_the_newest_back(store):
    store.publish_many(("alice", adapter(), BETTER) for _ in range(7))
    assert numbers(store, "alice", limit=3) == [5, 6, 7]
    assert numbers(store, "alice", before=5, limit=3) == [2, 3, 4]
    assert numbers(store, "alice", before=2, limit=3) == [1]
    assert numbers(store, "alice", before=1) == []
    assert numbers(store, "alice", before=10**30) == [1, 2, 3, 4, 5, 6, 7]
    assert [release.number for release in store.every_release("alice")] == [7, 6, 5, 4, 3, 2, 1]
    with pytest.raises(InvalidInput, match="page of 0 releases"):
        store.releases("alice", limit=0)


# Rolling back


def test_rollback_goes_to_the_newest_earlier_release_that_passed(store):
    for gate in (BETTER, BETTER, WORSE, BETTER):
        store.publish("alice", adapter(), gate)
    assert store.rollback("alice").number == 2
    assert store.served("alice").number == 2
    assert store.rollback("alice").number == 1
    assert kinds(store, "alice")[-2:] == [("rolled_back", 2), ("rolled_back", 1)]
    with pytest.raises(NotServed, match="no earlier release that passed its gate: release 1 is served"):
        store.rollback("alice")
    assert store.served("alice").number == 1


def test_rollback_to_a_number_and_forward_again(store):
    for _ in range(3):
        store.publish("alice", adapter(), BETTER)
    store.rollback("alice", 1)
    assert store.rollback("alice", 3) == store.releases("alice")[2]
    assert store.served("alice").number == 3


def test_a_new_release_that_passes_ends_a_rollback(store):
    for _ in range(2):
        store.publish("alice", adapter(), BETTER)
    store.rollback("alice")
    store.publish("alice", adapter(), BETTER)
    assert store.served("alice").number == 3


def test_a_release_that_failed_its_gate_is_served_only_for_a_recorded_reason(store):
    store.publish("alice", adapter(), WORSE)
    with pytest.raises(NotServed, match="did not pass its gate: no better than the base"):
        store.rollback("alice", 1)
    assert store.user("alice").served is None
    assert len(store.events("alice")) == 1

    store.rollback("alice", 1, override_reason="she asked for it")
    assert store.served("alice").number == 1
    event = store.events("alice")[-1]
    assert (event.kind, event.number, event.reason) == ("overridden", 1, "she asked for it")


def test_without_a_number_an_override_still_skips_what_failed(store):
    store.publish("alice", adapter(), WORSE)
    with pytest.raises(NotServed, match="none is served"):
        store.rollback("alice", override_reason="anything will do")


@pytest.mark.parametrize("reason", ["", "  \n", "nul\0", "\ud800"])
def test_a_reason_must_say_something(store, reason):
    store.publish("alice", adapter(), WORSE)
    with pytest.raises(InvalidInput):
        store.rollback("alice", 1, override_reason=reason)
    with pytest.raises(InvalidInput):
        store.revoke("alice", reason)
    assert store.user("alice").state == "active"
    assert len(store.events("alice")) == 1


# Revoking


def test_a_user_is_put_back_to_the_base_and_keeps_their_releases(store):
    for seed, gate in enumerate((BETTER, BETTER, WORSE)):
        store.publish("alice", adapter(0.5 + seed), gate)
    position = store.position().number
    assert store.reset("alice") == 2
    with pytest.raises(ResetToBase, match="'alice' was put back to the base"):
        store.served("alice")
    standing = store.user("alice")
    assert (standing.state, standing.served, standing.releases) == ("active", None, 3)
    assert [release.number for release in store.releases("alice")] == [1, 2, 3]
    assert list(store.answers()) == []
    assert [change.kind for change in store.changes(position)] == ["reset"]
    event = store.events("alice")[-1]
    assert (event.kind, event.number, event.reason) == ("reset", 2, "the base answers instead of release 2")
    assert store.reset("alice") is None
    assert store.events("alice")[-1] == event


def test_a_rollback_undoes_a_reset_and_so_does_a_release_that_passes(store):
    store.publish("alice", adapter(0.5), BETTER)
    store.publish("alice", adapter(0.25), WORSE)
    store.reset("alice")
    assert store.rollback("alice").number == 1
    assert store.served("alice").number == 1
    store.reset("alice")
    store.publish("alice", adapter(0.125), WORSE)
    with pytest.raises(ResetToBase):
        store.served("alice")
    store.publish("alice", adapter(0.75), BETTER)
    assert store.served("alice").number == 4


def test_a_reset_neither_ends_a_revocation_nor_needs_a_release_that_answers(store):
    store.publish("alice", adapter(0.5), WORSE)
    assert store.reset("alice") is None
    store.revoke("alice", "contract ended")
    with pytest.raises(NotServed, match="contract ended"):
        store.served("alice")
    store.restore("alice")
    with pytest.raises(ResetToBase):
        store.served("alice")
    with pytest.raises(UnknownUser):
        store.reset("bob")


def test_what_a_rollback_needs_is_kept_while_the_base_answers(store):
    store.publish("alice", adapter(0.5), BETTER)
    store.reset("alice")
    for _ in range(KEPT_RELEASES + 3):
        store.publish("alice", adapter(0.25), WORSE)
    assert store.rollback("alice").number == 1


def test_a_revoked_user_is_not_served_until_restored(store):
    store.publish("alice", adapter(), BETTER)
    store.revoke("alice", "contract ended")
    with pytest.raises(NotServed, match="revoked: contract ended"):
        store.served("alice")
    store.restore("alice")
    assert store.served("alice").number == 1
    assert kinds(store, "alice") == [("published", 1), ("revoked", None), ("restored", None)]


def test_publishing_or_rolling_back_does_not_restore(store):
    store.publish("alice", adapter(), BETTER)
    store.revoke("alice", "contract ended")
    store.publish("alice", adapter(), BETTER)
    store.rollback("alice")
    with pytest.raises(NotServed, match="contract ended"):
        store.served("alice")
    store.restore("alice")
    assert store.served("alice").number == 1


def test_restoring_an_active_user_does_nothing(store):
    store.publish("alice", adapter(), BETTER)
    store.restore("alice")
    assert kinds(store, "alice") == [("published", 1)]


# Erasing


def test_an_erased_user_was_never_there(store):
    store.publish("bob", adapter(0.1), BETTER)
    old = store.publish("alice", adapter(0.2), BETTER)
    store.publish("alice", adapter(0.3), WORSE)
    erased = store.erase("alice")
    assert (erased.user, erased.releases, erased.events) == ("alice", 2, 2)
    with pytest.raises(UnknownUser):
        store.served("alice")
    assert [each.user for each in store.users()] == ["bob"]
    assert store.served("bob").adapter.values.tolist() == [np.float32(np.float16(0.1))]

    again = store.publish("alice", adapter(), BETTER)
    assert again.number == 1
    assert again.id != old.id
    assert kinds(store, "alice") == [("published", 1)]


# Accounts of erasures


def checkpoints(count):
    return Removed("checkpoints", "data folder", count)


def counts(account):
    return {each.what: each.count for each in account.removed}


def test_an_erasure_is_accounted_for_until_its_receipt_is_kept_and_that_is_found_again(store):
    store.publish("alice", adapter(), BETTER)
    store.publish("alice", adapter(), WORSE)
    noted = store.note_erasure("alice", [checkpoints(3)])
    assert (noted.removed[0], noted.receipt) == (checkpoints(3), None)
    assert store.served("alice").number == 1
    store.erase("alice")
    # As after an interruption: what had been counted is gone, and what was not is there.
    dropped = Derived("readings", "data folder", "dropped")
    noted = store.note_erasure("alice", [checkpoints(1), Removed("trainings", "server", 2), dropped])
    assert {name: counts(noted)[name] for name in ("releases", "events", "checkpoints", "trainings")} == {
        "releases": 2,
        "events": 2,
        "checkpoints": 3,
        "trainings": 2,
    }
    assert noted.derived == (dropped,)
    erased = store.erase("alice")
    assert (erased.releases, erased.events, erased.keys) == (0, 0, 0)
    receipt = {"id": "1", "removed": [{"what": "releases", "count": 2}]}
    assert store.keep_receipt("alice", receipt) == receipt
    assert store.keep_receipt("alice", {"id": "2"}) == receipt
    assert store.note_erasure("alice", [checkpoints(0)]).receipt == receipt
    with pytest.raises(UnknownUser):
        store.erase("alice")
    assert list(store.users()) == []


def test_nobody_of_whom_there_is_nothing_has_an_account(store):
    with pytest.raises(UnknownUser):
        store.note_erasure("alice", [checkpoints(0)])
    assert counts(store.note_erasure("alice", [checkpoints(1)]))["checkpoints"] == 1
    assert store.erase("alice").releases == 0
    assert counts(store.note_erasure("alice", []))["checkpoints"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("back", ["published", "begun"])
def test_somebody_who_is_back_has_a_new_account(store, back):
    store.publish("alice", adapter(), BETTER)
    store.note_erasure("alice", [checkpoints(3)])
    store.erase("alice")
    store.keep_receipt("alice", {"id": "1"})
    stay = store.begin(["alice"])["alice"]
    if back == "published":
        store.publish("alice", adapter(), BETTER, stay)
    noted = store.note_erasure("alice", [])
    assert (counts(noted).get("checkpoints", 0), noted.receipt) == (0, None)
    store.erase("alice")
    assert counts(store.note_erasure("alice", [])).get("releases", 0) == (back == "published")
    assert store.keep_receipt("alice", {"id": "2"}) == {"id": "2"}


@pytest.mark.slow
def test_each_has_an_account_of_their_own(store):
    for user in ("alice", "Alice"):
        store.publish(user, adapter(), BETTER)
        store.note_erasure(user, [checkpoints(len(user) + (user == "alice"))])
        store.erase(user)
        store.keep_receipt(user, {"id": user})
    assert [store.note_erasure(user, []).receipt for user in ("alice", "Alice")] == [{"id": "alice"}, {"id": "Alice"}]


@pytest.mark.slow
def test_several_who_erase_somebody_at_once_have_one_receipt(store):
    def erase(turn):
        store.note_erasure("alice", [])
        with suppress(UnknownUser, StoreBusy):
            store.erase("alice")
        return store.keep_receipt("alice", {"id": turn})

    for turn in range(0, 12, 4):
        store.publish("alice", adapter(), BETTER)
        with ThreadPoolExecutor(4) as threads:
            receipts = list(threads.map(erase, range(turn, turn + 4)))
        assert len({receipt["id"] for receipt in receipts}) == 1
        assert store.note_erasure("alice", []).receipt == receipts[0]


# Coming back


def test_what_began_before_an_erasure_is_not_stored_after_it(store):
    stays = store.begin(["alice", "bob"])
    store.publish("alice", adapter(), BETTER, stay=stays["alice"])
    store.erase("alice")
    with pytest.raises(ErasedMeanwhile, match="'alice' was erased"):
        store.publish("alice", adapter(), BETTER, stay=stays["alice"])
    with pytest.raises(ErasedMeanwhile):
        store.publish_many([("bob", adapter(), BETTER), ("alice", adapter(), BETTER)], stays=stays)
    assert list(store.users()) == []
    assert store.publish("bob", adapter(), BETTER, stay=stays["bob"]).number == 1


def test_nor_where_they_have_come_back_since(store):
    stay = store.begin(["alice"])["alice"]
    store.publish("alice", adapter(0.5), BETTER)
    store.erase("alice")
    store.publish("alice", adapter(0.25), BETTER)
    again = store.begin(["alice"])["alice"]
    assert again != stay
    with pytest.raises(ErasedMeanwhile):
        store.publish("alice", adapter(0.5), BETTER, stay=stay)
    assert store.publish("alice", adapter(), BETTER, stay=again).number == 2


def test_somebody_for_whom_something_was_only_begun_can_be_erased_and_is_not_in_the_store(store):
    stay = store.begin(["alice"])["alice"]
    with pytest.raises(UnknownUser):
        store.user("alice")
    assert list(store.users()) == []
    erased = store.erase("alice")
    assert (erased.releases, erased.events, erased.keys) == (0, 0, 0)
    with pytest.raises(ErasedMeanwhile):
        store.publish("alice", adapter(), BETTER, stay=stay)
    with pytest.raises(UnknownUser):
        store.erase("alice")


def test_a_stay_is_the_same_for_all_that_is_begun_for_somebody(store):
    first = store.begin(["alice", "bob", "alice"])
    store.publish("alice", adapter(), BETTER)
    assert store.begin(iter(["alice", "bob"])) == first
    assert len(set(first.values())) == 2
    assert store.begin([]) == {}


def test_anothers_stay_lets_nobody_in(store):
    stays = store.begin(["alice", "bob"])
    elsewhere = dataclasses.replace(stays["alice"], log=stays["alice"].log + 1)
    for stay in (stays["bob"], elsewhere):
        with pytest.raises(ErasedMeanwhile):
            store.publish("alice", adapter(), BETTER, stay=stay)


def test_which_stays_are_over_is_told_without_anybodys_name(store):
    users = [f"user {number}" for number in range(1200)]
    stays = store.begin(users)
    assert store.erased_since(stays.values()) == set()
    store.erase("user 7")
    elsewhere = dataclasses.replace(stays["user 8"], log=stays["user 8"].log + 1)
    assert store.erased_since([*stays.values(), elsewhere]) == {stays["user 7"], elsewhere}
    assert store.erased_since([]) == set()


def test_nobody_publishes_after_an_erasure_that_threads_ask_for_at_the_same_time(store):
    def late(turn):
        stay = store.begin(["alice"])["alice"]
        try:
            for _ in range(6):
                store.publish("alice", adapter(turn), BETTER, stay=stay)
        except ErasedMeanwhile:
            return

    def erase():
        for _ in range(6):
            with suppress(UnknownUser):
                store.erase("alice")

    with ThreadPoolExecutor(4) as threads:
        done = [*(threads.submit(late, turn) for turn in range(3)), threads.submit(erase)]
    for each in done:
        error = each.exception()
        assert error is None or isinstance(error, StoreBusy)
    stay = store.begin(["alice"])["alice"]
    store.erase("alice")
    with pytest.raises(ErasedMeanwhile):
        store.publish("alice", adapter(), BETTER, stay=stay)
    assert list(store.users()) == []


# The log of changes


def since(store, position):
    return [(change.who, change.kind) for change in store.changes(position.number)]


def test_the_log_says_whose_answer_changed_in_order(store):
    for user in ("alice", "bob"):
        store.publish(user, adapter(), BETTER)
        store.publish(user, adapter(), WORSE)
    alice, bob = (who for who, _ in store.answers())
    began = store.position()
    store.publish("bob", adapter(), BETTER)
    store.rollback("alice", 2, override_reason="she asked for it")
    store.rollback("bob")
    store.revoke("alice", "contract ended")
    store.restore("alice")
    store.erase("bob")
    assert since(store, began) == [
        (bob, "published"),
        (alice, "overridden"),
        (bob, "rolled_back"),
        (alice, "revoked"),
        (alice, "restored"),
        (bob, "erased"),
    ]
    numbers = [change.number for change in store.changes(began.number)]
    assert numbers == sorted(set(numbers))
    assert store.position() == dataclasses.replace(began, number=numbers[-1])
    assert list(store.changes(numbers[2])) == list(store.changes(began.number))[3:]


def test_what_changes_nobodys_answer_is_not_in_the_log(store):
    began = store.position()
    store.publish("alice", adapter(), BETTER)
    store.publish("alice", adapter(), WORSE)
    store.publish_many([("bob", adapter(), WORSE), ("carol", adapter(), BETTER)])
    store.restore("alice")
    with pytest.raises(NotServed):
        store.rollback("alice", 2)
    with pytest.raises(InvalidInput):
        store.publish("alice", adapter(np.nan), BETTER)
    assert store.position() == began
    assert since(store, began) == []


def test_a_release_that_is_the_first_to_pass_is_in_the_log(store):
    store.publish("alice", adapter(), WORSE)
    began = store.position()
    store.publish_many([("alice", adapter(), BETTER)])
    assert [kind for _, kind in since(store, began)] == ["published"]


def test_somebody_who_comes_back_after_an_erasure_has_another_number(store):
    store.publish("alice", adapter(), BETTER)
    ((before, _),) = store.answers()
    store.erase("alice")
    store.publish("alice", adapter(), BETTER)
    ((after, _),) = store.answers()
    assert before != after


def test_answers_are_what_is_served(store):
    for user in ("alice", "bob", "carol", "dave"):
        store.publish(user, adapter(0.25, seed=user), BETTER)
    store.publish("bob", adapter(0.5), BETTER)
    store.rollback("bob")
    store.publish("erin", adapter(), WORSE)
    store.revoke("carol", "left")
    answers = [release for _, release in store.answers()]
    assert [(release.user, release.number) for release in answers] == [("alice", 1), ("bob", 1), ("dave", 1)]
    for release in answers:
        served = store.served(release.user)
        assert (release.id, release.created_at, release.gate) == (served.id, served.created_at, served.gate)
        assert release.adapter.values.tolist() == served.adapter.values.tolist()
        assert release.adapter.provenance == served.adapter.provenance


def test_whoever_follows_the_log_misses_nothing_that_threads_do_at_once(store):
    users = [f"user {number}" for number in range(3)]
    store.publish_many((user, adapter(), BETTER) for user in users)
    began = seen = store.position().number
    followed = []

    def change(user):
        for _ in range(5):
            store.revoke(user, "for a while")
            store.restore(user)

    with ThreadPoolExecutor(3) as threads:
        changing = [threads.submit(change, user) for user in users]
        done = False
        while not done:
            done = all(each.done() for each in changing)
            for each in store.changes(seen):
                followed.append(each)
                seen = each.number
    for each in changing:
        each.result()
    assert len(followed) == 3 * 5 * 2
    assert followed == list(store.changes(began))


# Threads


def test_threads_publishing_at_once_lose_nothing(store):
    def publish(turn):
        return store.publish("alice", adapter(turn), BETTER).number, store.served("alice").user

    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(publish, range(KEPT_RELEASES)))
    numbers = list(range(1, KEPT_RELEASES + 1))
    assert sorted(number for number, _ in results) == numbers
    assert {user for _, user in results} == {"alice"}
    assert sorted(store.release("alice", number).adapter.values[0] for number in numbers) == list(range(KEPT_RELEASES))


def test_closing_twice_is_safe(store):
    store.close()
    store.close()


def test_who_has_a_number_arrived_when_their_first_release_was_stored(store):
    for user in ("alice", "bob", "alice"):
        store.publish(user, adapter(), BETTER)
    numbers = {release.user: who for who, release in store.answers()}
    assert {user: store.arrival(who) for user, who in numbers.items()} == {
        user: store.user(user).created_at for user in ("alice", "bob")
    }
    store.erase("bob")
    assert store.arrival(numbers["bob"]) is None
