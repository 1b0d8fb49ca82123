"""Attention of many requests in one pass is that of each alone, and takes no longer for others because one is long."""

from itertools import accumulate
from types import SimpleNamespace

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from sharedllm.base.compiled_kernels import kernels
from sharedllm.serving.attention.cpu import CpuAttention
from sharedllm.serving.attention.interface import Paged, paged_attention
from sharedllm.serving.attention.metadata import metadata

HEADS, KEY_HEADS, WIDTH = 4, 2, 8
LAYER = 1


@st.composite
def requests(draw):
    """For each request how many tokens it reads, and how many keys it has then."""
    new = st.one_of(st.just(1), st.integers(2, 20))
    before = st.one_of(st.integers(0, 40), st.sampled_from([255, 256, 300, 511, 512, 1100]))
    lengths = draw(st.lists(new, min_size=1, max_size=7))
    before = st.just(0) if draw(st.booleans()) else before
    return lengths, [length + draw(before) for length in lengths]


def pages(lengths, totals, generator):
    """Places all over a cache: of those that this pass writes, and of everybody's keys."""
    held = torch.randperm(sum(totals) + 5, generator=generator)[: sum(totals)].split(totals)
    written = torch.cat([own[-length:] for own, length in zip(held, lengths, strict=True)])
    return written, held


@given(requests(), st.sampled_from([None, 1, 8, 300]), st.sampled_from([None, kernels()]))
def test_whatever_the_lengths_each_attends_as_if_it_were_alone(asked, window, compiled):
    lengths, totals = asked
    generator = torch.Generator().manual_seed(sum(totals))

    def numbers(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    written, held = pages(lengths, totals, generator)
    cached = numbers(2, sum(totals) + 5, KEY_HEADS, WIDTH)
    query = numbers(1, HEADS, sum(lengths), WIDTH)
    key, value = numbers(2, 1, KEY_HEADS, sum(lengths), WIDTH)
    steps = metadata(lengths, held)
    layer = SimpleNamespace(layer_idx=LAYER)
    together, _ = paged_attention(
        layer,
        query,
        key,
        value,
        None,
        sliding_window=window,
        paged=Paged(steps, lambda number, *_: {LAYER: cached}[number], CpuAttention(compiled)),
    )
    first = 0
    for length, total, own in zip(lengths, totals, held, strict=True):
        # The cache has the new keys by now.
        keys, values = cached[:, own].transpose(1, 2)[:, None]
        seen = torch.ones(length, total, dtype=torch.bool).tril(total - length)
        seen = seen if window is None else seen.triu(total - length - window + 1)
        here = slice(first, first + length)
        alone = scaled_dot_product_attention(query[:, :, here], keys, values, attn_mask=seen, enable_gqa=True)
        torch.testing.assert_close(together[:, here], alone.transpose(1, 2), rtol=1e-12, atol=1e-12)
        first += length
    torch.testing.assert_close(cached[0, written], key[0].transpose(0, 1))
    torch.testing.assert_close(cached[1, written], value[0].transpose(0, 1))


@given(requests())
def test_nobody_who_reads_one_token_is_padded_to_more_than_twice_their_keys_unless_these_are_few(asked):
    lengths, totals = asked
    _, held = pages(lengths, totals, torch.Generator())
    steps = metadata(lengths, held)
    padded = {token: group.keys.shape[-1] for group in steps.singles for token in group.tokens.tolist()}
    firsts = accumulate(lengths, initial=0)
    held = {first: total for first, length, total in zip(firsts, lengths, totals, strict=False) if length == 1}
    assert padded.keys() == held.keys()
    assert all(held[token] <= keys <= max(2 * held[token], 256) for token, keys in padded.items())
