"""What stands in vLLM's workers, without vLLM: norms that scale, slots and their names."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sharedllm.errors import InvalidInput, RequestFailed, UnsupportedBase
from sharedllm.serving.vllm.rows import RowManager, WorkerRows, row_bytes

WIDTHS = {"first": 4, "body.second": 6}


class Fused(torch.nn.Module):
    """A norm as vLLM has them: with a residual it adds that first, and gives both back."""

    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(width))

    def forward(self, x, residual=None):
        total = x if residual is None else x + residual
        scaled = total * self.weight
        return scaled if residual is None else (scaled, total)


def model_of(widths=WIDTHS):
    model = torch.nn.Module()
    model.body = torch.nn.Module()
    model.first, model.body.second = Fused(widths["first"]), Fused(widths["body.second"])
    return model


def config_of(sites=WIDTHS, slots=3, **parallel):
    return SimpleNamespace(
        additional_config={"sharedllm": {"sites": [list(each) for each in sites.items()]}},
        lora_config=SimpleNamespace(max_loras=slots - 1),
        parallel_config=SimpleNamespace(**parallel),
        scheduler_config=SimpleNamespace(max_num_batched_tokens=16),
        compilation_config=SimpleNamespace(max_cudagraph_capture_size=None),
    )


def request_for(slot, name):
    return SimpleNamespace(lora_int_id=slot, lora_name=name)


def mapping_of(*slots):
    return SimpleNamespace(index_mapping=slots, type=SimpleNamespace(name="LANGUAGE"))


@pytest.fixture
def model():
    return model_of()


@pytest.fixture
def rows(model):
    rows = RowManager(config_of(), torch.device("cpu"))
    assert rows.create_lora_manager(model, None) is model
    return rows


@pytest.fixture
def row():
    return np.linspace(-0.5, 0.5, 10).astype(np.float16)


@torch.no_grad()
def test_each_token_is_scaled_by_the_row_of_its_slot_and_the_residual_by_none(rows, model, row):
    plain = model_of()
    plain.load_state_dict(model.state_dict())
    rows.write(2, "ann-1", row_bytes(row))
    rows.set_active_adapters([request_for(2, "ann-1")], mapping_of(0, 2, 2))
    x, residual = torch.rand(3, 6), torch.rand(3, 6)
    scaled, total = model.body.second(x, residual)
    own, own_total = plain.body.second(x, residual)
    assert torch.equal(total, own_total)
    assert torch.equal(scaled[0], own[0])
    assert torch.allclose(scaled[1:], own[1:] * (1 + torch.from_numpy(row[4:].astype(np.float32))))
    first = model.first(x[:, :4])
    assert torch.allclose(first[2], plain.first(x[:, :4])[2] * (1 + torch.from_numpy(row[:4].astype(np.float32))))


@torch.no_grad()
def test_heads_of_a_token_share_its_row(rows, model, row):
    rows.write(1, "ann-1", row_bytes(row))
    rows.set_active_adapters([request_for(1, "ann-1")], mapping_of(1, 0))
    heads = torch.rand(2, 3, 4)
    factor = 1 + torch.from_numpy(row[:4].astype(np.float32))
    scaled = model.first(heads)
    assert torch.allclose(scaled[0], heads[0] * model.first.weight * factor)
    assert torch.equal(scaled[1], heads[1] * model.first.weight)


def test_weights_keep_their_names_and_rows_are_not_among_them(rows, model):
    assert set(model.state_dict()) == {"first.weight", "body.second.weight"}
    assert isinstance(model.first, Fused)


def test_a_pass_is_refused_in_which_a_slot_holds_somebody_else(rows, row):
    rows.write(1, "ann-1", row_bytes(row))
    with pytest.raises(RequestFailed, match="Slot 1 does not hold 'ben-1'"):
        rows.set_active_adapters([request_for(1, "ben-1")], mapping_of(1))
    with pytest.raises(RequestFailed, match="Slot 2"):
        rows.set_active_adapters([request_for(2, "ann-1")], mapping_of(2))
    with pytest.raises(RequestFailed, match="does not say which slot"):
        rows.set_active_adapters([request_for(1, "ann-1")], None)


@torch.no_grad()
def test_a_slot_that_was_cleared_holds_nothing(rows, model, row):
    rows.write(1, "ann-1", row_bytes(row))
    assert rows.list_adapters() == {1}
    assert rows.remove_adapter(1)
    assert not rows.remove_adapter(1)
    assert not rows.add_adapter(request_for(1, "ann-1"))
    assert not model.first.site_rows.any()
    rows.write(1, "ann-1", row_bytes(row))
    rows.remove_all_adapters()
    assert rows.list_adapters() == set()


@pytest.mark.parametrize("slot", [0, 3, -1])
def test_the_slot_of_the_base_is_never_written_nor_one_beyond_the_table(rows, row, slot):
    with pytest.raises(InvalidInput, match=f"for slot {slot} does not fit 2 rows of 10"):
        rows.write(slot, "ann-1", row_bytes(row))


@pytest.mark.parametrize("values", [np.zeros(9, np.float16), np.full(10, np.inf, np.float16)])
def test_what_is_no_row_of_these_sites_is_refused(rows, values):
    with pytest.raises(InvalidInput, match="does not fit"):
        rows.write(1, "ann-1", row_bytes(values))
    assert rows.list_adapters() == set()


@pytest.mark.parametrize("sites", [{"first": 5}, {"third": 4}, {"body": 4}])
def test_a_model_without_these_norms_is_refused_and_left_as_it_was(model, sites):
    rows = RowManager(config_of(sites), torch.device("cpu"))
    with pytest.raises(UnsupportedBase, match="has no norm"):
        rows.create_lora_manager(model, None)
    assert type(model.first) is Fused


def test_workers_that_have_some_of_the_norms_or_tokens_are_refused():
    with pytest.raises(InvalidInput, match="pipeline_parallel_size"):
        RowManager(config_of(pipeline_parallel_size=2), torch.device("cpu"))
    with pytest.raises(InvalidInput, match="half of the tokens"):
        RowManager(config_of(enable_dbo=True), torch.device("cpu"))


def test_a_worker_without_the_plug_in_refuses_rows():
    worker = WorkerRows()
    worker.model_runner = SimpleNamespace()
    with pytest.raises(InvalidInput, match="the plug-in was not loaded"):
        worker.sharedllm_write(1, "ann-1", b"")


def test_a_worker_overwrites_all_keys_and_values(rows, row):
    worker = WorkerRows()
    caches = [torch.ones(2, 3), [torch.ones(2), torch.ones(2)]]
    worker.model_runner = SimpleNamespace(lora_manager=rows, kv_caches=caches)
    worker.sharedllm_write(1, "ann-1", row_bytes(row))
    assert rows.list_adapters() == {1}
    worker.sharedllm_clear(1)
    worker.sharedllm_wipe()
    assert rows.list_adapters() == set()
    assert not any(each.any() for each in (caches[0], *caches[1]))


def test_warming_up_takes_slots_and_lets_go_of_them(rows, model):
    with rows.dummy_lora_cache():
        for slot in (1, 2):
            rows.add_dummy_lora(request_for(slot, f"warmup_{slot}"), rank=rows.get_dummy_lora_warmup_rank(8))
        rows.set_active_adapters([request_for(1, "warmup_1")], mapping_of(1, 2))
    rows.remove_all_adapters()
    assert not rows.list_adapters()
    assert not model.first.site_rows.any()
