import hashlib
import importlib
import json
from dataclasses import replace

import pytest
from experiments.catalogue import results, running
from experiments.catalogue.bet import Decision, all_bets
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase
from experiments.catalogue.protocols import FULL, QUICK
from experiments.catalogue.readings import Readings
from experiments.catalogue.results import RESULTS, load_result, save_result
from experiments.catalogue.verdict import Measured, criteria_hash, judge

from sharedllm.base.resolve import BARE_BASE
from sharedllm.errors import InvalidInput, SharedLLMError

rollup = importlib.import_module("experiments.bets.00_rollup")
RECORDED = [
    (bet, protocol)
    for bet in all_bets().values()
    if (RESULTS / f"{bet.name}.json").exists()
    for protocol in load_result(RESULTS / f"{bet.name}.json")["protocols"]
]
SMALL = replace(FULL, window=32, windows=4, max_steps=2)


@pytest.mark.parametrize(("bet", "protocol"), RECORDED, ids=lambda value: getattr(value, "name", value))
def test_a_recorded_verdict_is_of_the_criteria_in_the_code(bet, protocol):
    recorded = load_result(RESULTS / f"{bet.name}.json")["protocols"][protocol]
    assert recorded["criteria_sha256"] == bet.criteria_sha256
    assert recorded["status"] == "official"


@pytest.mark.parametrize(("bet", "protocol"), RECORDED, ids=lambda value: getattr(value, "name", value))
def test_a_recorded_verdict_follows_from_the_recorded_losses(bet, protocol):
    recorded = load_result(RESULTS / f"{bet.name}.json")["protocols"][protocol]
    readings = Readings.from_dict(recorded["readings"])
    measured = Measured(readings.users, bet.measure(readings))
    assert sorted(measured.values) == sorted(recorded["measurements"])
    for name, found in recorded["measurements"].items():
        if found["value"] is not None:
            assert measured[name] == pytest.approx(found["value"], rel=1e-9)
    for tier, found in judge(bet.criteria, measured).items():
        assert found["holds"] == recorded["verdict"][tier]["holds"]


@pytest.mark.slow
def test_a_result_of_other_criteria_would_be_noticed(bets, small_run, tmp_path):
    _, result = small_run("54")
    moved = replace(bets["54"].criteria[0], bound=0.1)
    changed = replace(bets["54"], criteria=(moved, *bets["54"].criteria[1:]))
    assert result["criteria_sha256"] == bets["54"].criteria_sha256 != changed.criteria_sha256


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"decision": Decision("it is done", "it is not done")},
        {"figures": (AgainstBase("Another title"),)},
        {"figures": ()},
    ],
    ids=str,
)
def test_the_criteria_s_hash_covers_the_decision_and_the_figures(bets, change, small_run, monkeypatch):
    monkeypatch.setattr(results, "_is_committed", lambda path: True)
    folder, _ = small_run("54", base_name=BARE_BASE)
    assert replace(bets["54"], **change).criteria_sha256 != bets["54"].criteria_sha256
    monkeypatch.setattr(rollup, "all_bets", lambda: {"54": replace(bets["54"], **change)})
    (row,) = [row for row in rollup.summary(folder) if row["protocol"] == "tuned"]
    assert (row["state"], set(row["flags"].values())) == ("stale", {None})


def test_a_run_from_when_the_hash_covered_the_criteria_alone_counts_while_the_bet_states_what_it_did_then(bets):
    widened = json.loads((RESULTS / "WIDENED.json").read_text())
    # What was registered since has one hash from the beginning.
    before = [bet for number, bet in bets.items() if number not in ("70", "71")]
    assert widened["hashes"] == {criteria_hash(bet.criteria): bet.criteria_sha256 for bet in before}
    bet = bets["54"]
    found = load_result(RESULTS / f"{bet.name}.json")["protocols"]["documented"]
    assert (found["run_under"], found["widened"]) == (criteria_hash(bet.criteria), "2026-11-26")
    assert replace(bet, decision=Decision("another", "one")).criteria_sha256 != found["criteria_sha256"]


def test_the_list_of_hashes_that_were_widened_is_closed():
    digest = hashlib.sha256((RESULTS / "WIDENED.json").read_bytes()).hexdigest()
    assert digest == "9e160d04c05147f11a8258bc61e582e4f97c05e2db66ba42e89557c04b77d647"


@pytest.mark.slow
def test_what_a_run_was_made_under_stays_in_its_file_when_another_protocol_is_recorded(
    bets, small_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(results, "_is_committed", lambda path: True)
    name = f"{bets['54'].name}.json"
    before = json.loads((RESULTS / name).read_text())["protocols"]["documented"]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / name).write_text((RESULTS / name).read_text())
    folder, result = small_run("54", base_name=BARE_BASE)
    after = json.loads((folder / name).read_text())["protocols"]
    assert after["documented"] == before
    assert after["tuned"]["criteria_sha256"] == result["criteria_sha256"] == bets["54"].criteria_sha256


@pytest.mark.slow
def test_a_quick_run_is_written_nowhere_whatever_it_is_called(bets, quick, base_of, tmp_path, made_up_text):
    result = quick(bets["54"])
    assert not (tmp_path / "results").exists()
    bet = bets["54"]
    context = Context(base_of(), bet.users, bet.seeds, "tuned", out=tmp_path, size=QUICK, read_text=made_up_text)
    assert result["status"] == "quick"
    for status in ("quick", "official", "trial", "abandoned"):
        with pytest.raises(InvalidInput, match="quick"):
            save_result(bet, context, {**result, "status": status}, tmp_path / "results")


@pytest.fixture
def small_run(bets, base_of, made_up_text, tmp_path, monkeypatch):
    """Run a bet that may be recorded, at a size that a test has time for; as another base it is a trial."""

    def small_run(number, *, base_name=None, **options):
        monkeypatch.setattr(results, "FULL", SMALL)
        monkeypatch.setattr(running, "FULL", SMALL)
        base = replace(base_of(), name=base_name) if base_name else base_of()
        folders = {"out": tmp_path / "out", "results": tmp_path / "results"}
        result = running.run_bet(bets[number], base, "tuned", read_text=made_up_text, **folders, **options)
        return tmp_path / "results", result

    return small_run


@pytest.mark.slow
def test_another_base_is_a_trial_and_lies_apart(small_run):
    folder, result = small_run("54")
    assert result["status"] == "trial"
    (path,) = folder.rglob("*.json")
    assert path.parent == folder / "trial"
    assert load_result(path)["protocols"]["tuned"]["world"]["base"]["fingerprint"]


@pytest.mark.slow
def test_other_users_or_seeds_are_a_trial(small_run, monkeypatch):
    monkeypatch.setattr(results, "_is_committed", lambda path: True)
    for options in ({"users": ("ann", "bob")}, {"seeds": (7,)}):
        _, result = small_run("54", base_name=BARE_BASE, **options)
        assert result["status"] == "trial"


@pytest.mark.slow
def test_criteria_that_are_not_committed_are_a_trial(small_run, monkeypatch):
    monkeypatch.setattr(results, "_is_committed", lambda path: False)
    _, result = small_run("54", base_name=BARE_BASE)
    assert result["status"] == "trial"


@pytest.mark.slow
def test_the_bets_own_set_up_is_official_and_carries_its_world(small_run, bets, monkeypatch):
    monkeypatch.setattr(results, "_is_committed", lambda path: True)
    folder, result = small_run("54", base_name=BARE_BASE)
    assert result["status"] == "official"
    stored = load_result(folder / "54_adapter_averaging.json")
    assert stored["protocols"]["tuned"] == json.loads(json.dumps(result))
    world = result["world"]
    assert {"commit", "uncommitted_changes", "packages", "cpu", "seconds", "seeds", "code_sha256"} <= world.keys()
    assert set(world["texts"]) == set(world["evaluation_windows"]) == set(bets["54"].users)
    assert len(world["adapters"]) == 3
    (row,) = [row for row in rollup.summary(folder) if (row["bet"], row["protocol"]) == (bets["54"].name, "tuned")]
    assert row["state"] == "measured"
    assert row["flags"] == {tier: found["holds"] for tier, found in result["verdict"].items()}


def test_a_run_that_fails_is_kept_as_abandoned(small_run, tmp_path):
    def lost(name):
        raise SharedLLMError("the text is gone", remedy="Find it.")

    with pytest.raises(SharedLLMError):
        small_run("54", users=("nobody",), say=lambda line: lost(line) if line.startswith("reading") else None)
    (path,) = (tmp_path / "results").rglob("*.json")
    assert path.parent.name == "abandoned"
    assert "the text is gone" in load_result(path)["protocols"]["tuned"]["reason"]


def test_the_summary_has_every_bet_and_no_data_where_there_is_no_result(bets, tmp_path):
    rollup.write(tmp_path)
    rows = json.loads((tmp_path / "SUMMARY.json").read_text())
    assert {row["bet"] for row in rows} == {bet.name for bet in bets.values()}
    assert all(set(row["flags"].values()) == {None} and row["state"] == "not run" for row in rows)
    table = (tmp_path / "SUMMARY.md").read_text()
    assert table.count("| no data | no data | no data | not run |") == len(rows)


@pytest.mark.slow
def test_a_result_of_other_criteria_is_stale_in_the_summary(small_run, monkeypatch):
    monkeypatch.setattr(results, "_is_committed", lambda path: True)
    folder, _ = small_run("54", base_name=BARE_BASE)
    path = folder / "54_adapter_averaging.json"
    stored = json.loads(path.read_text())
    stored["protocols"]["tuned"]["criteria_sha256"] = "0" * 64
    path.write_text(json.dumps(stored))
    (row,) = [row for row in rollup.summary(folder) if row["state"] != "not run"]
    assert row["state"] == "stale"
    assert set(row["flags"].values()) == {None}


def test_a_file_of_another_schema_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"schema": 99}')
    with pytest.raises(InvalidInput, match="schema 99"):
        load_result(path)
