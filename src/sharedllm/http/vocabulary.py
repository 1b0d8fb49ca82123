"""Single tokens as text and as bytes. A token can be part of a character, and then only its bytes are certain."""

import re

from transformers.convert_slow_tokenizer import bytes_to_unicode

from sharedllm.base.loading import Base

_BYTE_OF = {character: byte for byte, character in bytes_to_unicode().items()}
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class Vocabulary:
    """The tokens of one base."""

    def __init__(self, base: Base) -> None:
        self._tokenizer = base.tokenizer
        self._added = base.tokenizer.added_tokens_decoder
        self._bytewise = "ByteLevel" in repr(base.tokenizer.backend_tokenizer.decoder)
        self._known: dict[int, bytes] = {}

    def raw(self, id: int) -> bytes:
        """The bytes that a token adds to a text; of a control token, its name; of an id without a token, none."""
        known = self._known.get(id)
        if known is None:
            known = self._known[id] = self._raw(id)
        return known

    def text(self, id: int) -> str:
        """The token as text, or as ``bytes:\\xe2\\x80`` where it is part of a character."""
        raw = self.raw(id)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def _raw(self, id: int) -> bytes:
        if id in self._added:
            return str(self._added[id].content).encode()
        piece = self._tokenizer.convert_ids_to_tokens(id)
        if piece is None:
            return b""
        if self._bytewise and _BYTE_OF.keys() >= set(piece):
            return bytes(_BYTE_OF[character] for character in piece)
        if found := _BYTE_PIECE.fullmatch(piece):
            return bytes([int(found[1], 16)])
        return str(piece).replace("▁", " ").encode()
