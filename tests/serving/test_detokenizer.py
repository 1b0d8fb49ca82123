"""Tokens to text, one at a time: what was told is never taken back, and no tokens bring the engine down."""

from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from sharedllm.serving.detokenizer import Detokenizer

BYTES = {f"<0x{value:02X}>": 1 + value for value in range(256)}
WORDS = {"a": 257, "▁b": 258}


@pytest.fixture(scope="module")
def base(base_of):
    """A base whose tokenizer writes what it has no word for as bytes, as those of Llama 2, Gemma and Mistral do."""
    tokenizer = Tokenizer(BPE({"<unk>": 0} | BYTES | WORDS, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return replace(base_of(), tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer))


def ids(*pieces):
    """Ids of words and of bytes."""
    return [WORDS[piece] if isinstance(piece, str) else 1 + piece for piece in pieces]


@pytest.mark.parametrize(
    ("tokens", "told", "end"),
    [
        (ids("▁b", "a", "▁b"), ["b", "a", " b"], ""),
        (ids(0xC3, 0xA9, "a"), ["", "é", "a"], ""),
        (ids("a", 0xC3), ["a", ""], "�"),
        # A byte that spoils the character before it, which was told already.
        (ids(0xC3, 0xA9, 0xFF, "a", "▁b", 0xC3, 0xA9), ["", "é", "", "�a", " b", "", "é"], ""),
        (ids(0x41, 0xC3, 0x41, "a", 0xC3, 0xA9, 0xFF, "▁b"), ["A", "", "", "��a", "", "é", "", "� b"], ""),
        (ids("a", 0xC3, 0xA9, 0xFF), ["a", "", "é", ""], "�"),
    ],
)
def test_every_token_is_told_once_whatever_bytes_come_after_one_another(base, tokens, told, end):
    detokenizer = Detokenizer(base, [])
    assert [detokenizer.write(token) for token in tokens] == told
    assert detokenizer.end() == end


def test_a_stop_string_ends_the_text_also_where_it_had_to_be_read_again(base):
    detokenizer = Detokenizer(base, ["a b"])
    assert [detokenizer.write(token) for token in ids(0xC3, 0xA9, 0xFF, "a", "▁b")] == ["", "é", "", "�", ""]
    assert detokenizer.stopped
    assert detokenizer.end() == ""
