"""What tests of computing share."""

import pytest
import torch


@pytest.fixture
def numbers():
    """Random numbers of a shape and a dtype, others each time."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape, dtype):
        return torch.randn(*shape, generator=generator).to(dtype)

    return numbers
