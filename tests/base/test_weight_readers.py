"""A weight's readers are told apart by what they do, and watching changes nothing."""

from threading import Event, Thread

import pytest
import torch

from sharedllm.base.weight_readers import WeightReaders

PATIENCE = 60


class Module(torch.nn.Module):
    """Calls a layer, reads weights of others in several ways, and leaves one alone."""

    def __init__(self):
        super().__init__()
        self.called, self.multiplied, self.joined, self.both = (torch.nn.Linear(4, 4) for _ in range(4))
        self.asked, self.left = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

    def forward(self, states):
        states = self.asked(states.to(self.asked.weight.device).to(self.asked.weight.dtype))
        states = self.both(self.called(states)) @ self.multiplied.weight.T
        weights = torch.cat([self.joined.weight, self.both.weight])
        return torch.nn.functional.linear(states, weight=weights)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Module()


def watched(module):
    layers = dict(module.named_children())
    states = torch.randn(3, 4)
    with torch.no_grad():
        plain = module(states)
        with WeightReaders(layers.values()) as readers:
            assert torch.equal(module(states), plain)
    names = {each: name for name, each in layers.items()}
    return {names[each] for each in readers.called}, {names[each] for each in readers.read}


def test_who_is_called_and_whose_weight_is_read_by_others(module):
    assert watched(module) == ({"called", "both", "asked"}, {"multiplied", "joined", "both"})


def test_layers_that_share_a_weight_read_one_anothers(module):
    module.called.weight = module.asked.weight
    assert watched(module)[1] == {"multiplied", "joined", "both", "called", "asked"}


def test_a_weight_that_a_layer_shares_which_is_not_called_yet_may_be_read(module):
    module.left.weight = module.called.weight
    assert "called" in watched(module)[1]


def test_what_another_thread_does_meanwhile_is_not_taken_for_the_pass(module):
    begun, ended = Event(), Event()

    def wait(*_):
        begun.set()
        ended.wait(PATIENCE)

    other = Thread(target=module.called, args=(torch.zeros(3, 4),))
    with torch.no_grad(), WeightReaders(module.children()) as readers:
        handle = module.called.register_forward_pre_hook(wait)
        other.start()
        assert begun.wait(PATIENCE)
        torch.zeros(3, 4) @ module.called.weight.T
        ended.set()
        other.join(PATIENCE)
        handle.remove()
    assert module.called not in readers.called and module.called in readers.read


def test_a_weight_is_read_by_who_goes_on_without_its_layer(module):
    with torch.no_grad(), WeightReaders([module.called]) as readers:
        with pytest.raises(RuntimeError):
            module.called(torch.zeros(3, 5))
        torch.zeros(3, 4) @ module.called.weight.T
    assert module.called in readers.read


def test_a_pass_that_breaks_off_leaves_no_hooks(module):
    with pytest.raises(RuntimeError), WeightReaders(module.children()):
        module(torch.zeros(3, 5))
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


def test_nothing_is_seen_once_it_is_left(module):
    readers = WeightReaders(module.children())
    with readers:
        pass
    module(torch.zeros(3, 4))
    assert not readers.called | readers.read
