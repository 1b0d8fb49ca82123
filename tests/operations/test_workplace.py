"""What jobs share, made when it is first needed."""

import numpy as np
import pytest
from tests.cli.conftest import writing

from sharedllm.adapters.adapter import Adapter
from sharedllm.errors import FormatMissing, TooLittleText, WrongBase
from sharedllm.operations.workplace import Workplace
from sharedllm.training.checkpoints import checkpoint_folder


@pytest.fixture
def loading(base_of):
    """A workplace on a name, and how often its base was loaded."""
    loaded = []

    def load(name):
        loaded.append(name)
        return base_of("llama")

    def loading(name, **given):
        return Workplace(name, load=load, **given), loaded

    return loading


def test_nothing_is_loaded_to_know_which_base_it_is_and_to_count_tokens(
    loading, folder_of, base_of, monkeypatch, tmp_path
):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path))
    workplace, loaded = loading(str(folder_of("llama")))
    assert workplace.fingerprint == base_of("llama").fingerprint
    assert workplace.tokens.encode("hello") == base_of("llama").encode("hello")
    assert not loaded


def test_the_base_is_loaded_once_and_a_format_attached_once(loading, base_of):
    workplace, loaded = loading("small")
    with workplace:
        assert workplace.base is workplace.base is base_of("llama")
        assert workplace.injection("norm") is workplace.injection("norm")
        assert workplace.injection("ia3").layout.format == "ia3"
    assert loaded == ["small"]


def test_one_that_is_loaded_is_not_loaded_again(base_of):
    workplace = Workplace(base_of("llama"))
    assert workplace.base is base_of("llama")
    assert (workplace.fingerprint, workplace.tokens) == (workplace.base.fingerprint, workplace.base.tokens)
    assert workplace.name == workplace.base.name


def hooks(base):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in base.model.modules())


def test_closing_leaves_the_base_as_it_was(base_of):
    base = base_of("llama")
    before = hooks(base)
    with Workplace(base) as workplace:
        workplace.injection("norm")
        assert hooks(base) > before
    assert hooks(base) == before
    workplace.close()


def test_an_adapter_of_another_base_or_format_is_refused(base_of):
    values = np.zeros(3, np.float32)
    with Workplace(base_of("llama")) as workplace:
        with pytest.raises(WrongBase):
            workplace.injection_of(Adapter("norm", "another", values))
        with pytest.raises(FormatMissing, match="'nothing'"):
            workplace.injection_of(Adapter("nothing", workplace.fingerprint, values))


def test_general_text_is_cut_once_into_blocks_that_do_not_overlap(base_of):
    text = writing("general")
    workplace = Workplace(base_of("llama"), general=text)
    validation, heldout = workplace.general_text("validation"), workplace.general_text("heldout")
    assert 0 < text.index(validation) < text.index(heldout)
    windows = workplace.general("validation", 16)
    assert windows is workplace.general("validation", 16)
    assert windows.shape[1] == 16
    assert not np.array_equal(windows, workplace.general("heldout", 16))


def test_general_text_that_is_too_short_is_refused(base_of):
    with pytest.raises(TooLittleText):
        Workplace(base_of("llama"), general="short").general("validation", 16)


def test_unfinished_training_lies_in_the_users_data_folder_unless_said_otherwise(base_of, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert Workplace(base_of("llama")).folder == checkpoint_folder()
    assert Workplace(base_of("llama"), folder=tmp_path).folder == tmp_path
