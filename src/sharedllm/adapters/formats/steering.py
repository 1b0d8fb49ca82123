"""A shift of the last block's output: one hidden size of numbers."""

from typing import Any

from sharedllm.adapters.formats.registry import Format
from sharedllm.base.sites import Site, blocks, text_config


def steering_sites(model: Any) -> tuple[Site, ...]:
    """The last block's output.

    Raises:
        UnsupportedBase: see `blocks`.
    """
    *_, last = blocks(model)
    return (Site(last, int(text_config(model).hidden_size), kind="shift"),)


# A value does not scale one of the base's but is added to it, which takes larger steps.
FORMAT = Format("steering", steering_sites, about="a shift of the last block's output; smallest", learning_rate=3e-2)
