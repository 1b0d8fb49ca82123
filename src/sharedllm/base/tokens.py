"""Text to token ids and back, by the rules of one base's tokenizer.

Three of them are easily missed. Many tokenizers begin every text with a token of their own, without which the base is
lost; some end it with one, which would end every answer before it began. What somebody wrote is never read as a control
token, also where that is not marked as special: it is encoded by a copy of the tokenizer in which control tokens have
names that nobody can know. And a token has a text only among others: decoders drop the space before the first one.
"""

import json
import re
import secrets
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

from sharedllm.base.templates import Message, literals_of, rendered, template_of
from sharedllm.errors import InvalidInput, UnsupportedBase

_NAMED = re.compile(r"[<＜].+[>＞]|\[.+\]|\{.+\}|[|｜].+[|｜]", re.DOTALL)
"""What looks like the name of a control token: ``<think>``, ``[INST]``, ``<|im_start|>``."""
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_WORDY = re.compile(r"\w.*\w", re.DOTALL)
_UNKNOWN = re.compile("(?=([0-9a-f]{32}))")
"""Wherever what nobody can have written may begin, also within another."""
_PROBE = "The man said 1 and 2."
_OPEN = "\ufffd"
"""What decoders write for a character of which bytes are missing."""
_CONTEXT_TOKENS = 8
_OTHERS, _LEARNED = b"\1", b"\2"
"""Whose a character of a conversation is, where it is not the template's."""


class Tokens:
    """The tokens of one base. Safe to use from several threads.

    Raises:
        UnsupportedBase: the tokenizer has no Rust half, or its own tokens cannot be told from those of a text.

    Attributes:
        rows: ids that the base has embeddings for: 0 to one less.
        backend: the Rust half of the tokenizer.
        opening: what the tokenizer begins every text with; often nothing, or a token that means so.
    """

    def __init__(self, tokenizer: Any, rows: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer, self.rows = tokenizer, rows
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise UnsupportedBase(
                f"The tokenizer {type(tokenizer).__name__} has no Rust half",
                remedy="Use a base whose folder has a tokenizer.json, or convert its tokenizer to one.",
            )
        self.backend = backend
        # Reading control tokens sets switches on the tokenizer itself, which another thread may be using.
        self._reading = threading.Lock()
        self._making = threading.Lock()
        self._guarded: dict[str | None, _Guarded] = {}
        self.opening = self._opening()

    @cached_property
    def longest(self) -> int:
        """Characters of the longest token: a text has at least a token for every so many characters."""
        return max(map(len, self._tokenizer.get_vocab()))

    @property
    def unpredicted(self) -> int:
        """Tokens at the beginning of a text that nothing predicts: its opening, or else its first."""
        return max(1, len(self.opening))

    @property
    def end(self) -> int | None:
        """The tokenizer's own end token."""
        end: int | None = self._tokenizer.eos_token_id
        return end

    @property
    def controls(self) -> Mapping[str, int]:
        """Ids of the control tokens by their names."""
        return self._guard().controls

    @property
    def end_of_turn(self) -> int | None:
        """The control token that the chat template puts right behind what an assistant said."""
        said = [{"role": "user", "content": _unknown()}, {"role": "assistant", "content": _unknown()}]
        try:
            text = rendered(self._tokenizer, said, asking=False)
        except InvalidInput:
            return None
        _, found_it, behind = text.rpartition(said[-1]["content"])
        found = self._guard().either.match(behind.lstrip()) if found_it else None
        return self.controls[found.group()] if found else None

    def encode(self, text: str, *, controls: bool = False) -> list[int]:
        """The ids of a text, from the tokenizer's opening on, and without the end that some tokenizers add.

        Args:
            text: what to encode.
            controls: whether control tokens that ``text`` spells are read as such; never for what somebody wrote.

        Raises:
            InvalidInput: the base has no embedding for one of them, or the text is not valid Unicode.
        """
        return self._opened(self._read(text) if controls else self._guard().encode(text))

    def encode_framed(self, text: str, frame: str, written: Mapping[str, str]) -> list[int]:
        """The ids of what a template wrote around what somebody wrote.

        Where that spells no control token they are exactly the tokenizer's.

        Args:
            text: what the template wrote.
            frame: the same with a stand-in for everything that somebody wrote.
            written: what was written, by its stand-in, which is 32 hexadecimal digits.

        Raises:
            InvalidInput: see `encode`.
        """
        guarded = self._guard()
        # What no token spells is the unknown one, whoever wrote it.
        controls = set(guarded.controls.values()) - {self._tokenizer.unk_token_id}
        own = [guarded.controls[name] for name in guarded.either.findall(frame)]
        ids = self._read(text)
        if [id for id in ids if id in controls] != [id for id in own if id in controls]:
            named = guarded.either.sub(lambda found: guarded.names[found.group()], frame)
            ids = guarded.encode(_filled(named, written)[0])
        return self._opened(ids)

    def encode_learned(self, frame: str, written: Mapping[str, str], learned: Collection[str]) -> list[int]:
        """The ids of a conversation, without the opening; the complement of each but what is learned of it.

        That is some of what was written, and right behind it the control token that ends it, or else the line break.

        Args:
            frame: what a template wrote, with a stand-in for everything that somebody wrote.
            written: what was written, by its stand-in, which is 32 hexadecimal digits.
            learned: stand-ins of what is learned.

        Raises:
            InvalidInput: see `encode`.
        """
        guarded = self._guard()
        text, places = _filled(guarded.either.sub(lambda found: guarded.names[found.group()], frame), written)
        ids, offsets = guarded.encode_where(text)
        if ids[: len(self.opening)] == list(self.opening):
            ids, offsets = ids[len(self.opening) :], offsets[len(self.opening) :]
        self.check(ids)
        kind = bytearray(len(text))
        for stand_in, begin, end in places:
            kind[begin:end] = (_LEARNED if stand_in in learned else _OTHERS) * (end - begin)
            behind = guarded.ending.match(text, end) if stand_in in learned else None
            if behind is not None:
                kind[slice(*behind.span(behind.lastindex or 0))] = _LEARNED * len(behind[behind.lastindex or 0])
        spelled = (set(kind[begin:end]) for begin, end in offsets)
        return [id if _LEARNED[0] in of and _OTHERS[0] not in of else ~id for id, of in zip(ids, spelled, strict=True)]

    def written(self, messages: Sequence[Message]) -> str | None:
        """A conversation as the chat template writes it; None where there is no template.

        Raises:
            InvalidInput: it refuses these messages, or fails on them or takes too much for them.
        """
        return None if template_of(self._tokenizer) is None else rendered(self._tokenizer, messages, asking=False)

    def _read(self, text: str) -> list[int]:
        """The ids of a text whose control tokens are read as such."""
        with self._reading:
            # A text is longer than any context window on purpose; the tokenizer's warning about it is no news.
            ids: list[int] = self._tokenizer(text, add_special_tokens=False, split_special_tokens=False, verbose=False)[
                "input_ids"
            ]
        return ids

    def check(self, ids: Sequence[int]) -> None:
        """Refuse ids that the base has no embedding for, at which its whole pass would fail.

        Raises:
            InvalidInput: there is one; it is named.
        """
        if not len(ids) or (max(ids) < self.rows and min(ids) >= 0):
            return
        id = next(id for id in ids if not 0 <= id < self.rows)
        name = self.backend.id_to_token(id) if 0 <= id < 2**32 else None
        raise InvalidInput(
            f"The base has no embedding for token {id}" + (f", which is {name!a}" if name else ""),
            remedy=f"Leave it out; the ids of this base are 0 to {self.rows - 1}.",
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def stream(self, context: Sequence[int] = ()) -> "Stream":
        """What decodes the tokens that come after ``context``, one at a time."""
        return Stream(self, context)

    def _opening(self) -> tuple[int, ...]:
        whole, bare = (
            self._tokenizer(_PROBE, add_special_tokens=special, verbose=False)["input_ids"] for special in (True, False)
        )
        for begin in range(len(whole) - len(bare) + 1):
            if whole[begin : begin + len(bare)] == bare:
                return tuple(whole[:begin])
        raise UnsupportedBase(
            f"The tokenizer {type(self._tokenizer).__name__} does not only put tokens around a text",
            remedy="Use a base whose tokenizer encodes a text alike with and without special tokens.",
        )

    def _opened(self, ids: list[int]) -> list[int]:
        opening = list(self.opening)
        opened = ids if ids[: len(opening)] == opening else opening + ids
        self.check(opened)
        return opened

    def _guard(self) -> "_Guarded":
        template = template_of(self._tokenizer)
        with self._making:
            if template not in self._guarded:
                self._guarded[template] = _Guarded(self.backend, dict(self._find_controls(template or "")))
            return self._guarded[template]

    def _find_controls(self, template: str) -> Iterator[tuple[str, int]]:
        literals = literals_of(template)
        for id, token in self.backend.get_added_tokens_decoder().items():
            name = token.content
            # Tokens of punctuation or white space alone are text, whatever the template does with them.
            used = name in literals and _WORDY.search(name)
            looks = _NAMED.fullmatch(name.strip()) and not _BYTE.fullmatch(name)
            if token.special or used or looks:
                yield name, id


class Stream:
    """Decodes the tokens of a text one at a time. What it told is never taken back."""

    def __init__(self, tokens: Tokens, context: Sequence[int]) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokens = tokens
        self._ids = _tail(tokens, context)
        self._told, self._text = len(self._ids), tokens.decode(self._ids)
        self._decoder = DecodeStream(ids=self._ids, skip_special_tokens=True)

    def step(self, id: int) -> str:
        """Add a token; the text that is certain now, which is none while a character may be open."""
        self._ids.append(id)
        try:
            new: str = self._decoder.step(self._tokens.backend, id) or ""
        except Exception:
            # Bytes may undo a character that those before them made. That was told, so the text goes on after it.
            new = self._begin_again()
        if new:
            self._told = len(self._ids)
            self._text += new
        return new

    def rest(self) -> str:
        """The text that was held back: bytes that never became a character, as the tokenizer shows them."""
        whole = self._tokens.decode(self._ids)
        return whole[len(self._text) :] if whole.startswith(self._text) else self._begin_again()

    def _begin_again(self) -> str:
        """The text of the tokens that were not told yet, as if they were the first."""
        from tokenizers.decoders import DecodeStream

        self._ids, self._told, self._text = self._ids[self._told :], 0, ""
        self._decoder = DecodeStream(ids=self._ids, skip_special_tokens=True)
        return self._tokens.decode(self._ids)


class _Guarded:
    """A copy of a tokenizer in which control tokens have names that nobody can know.

    Attributes:
        controls: ids by name.
        names: the secret names, by name.
        either: finds a control token's name.
        ending: finds what ends something said, behind it: a control token's secret name, else a line break.
    """

    def __init__(self, backend: Any, controls: dict[str, int]) -> None:
        from tokenizers import Tokenizer

        self.controls = controls
        self.names = {name: _unknown() for name in controls}
        # The longest first, as one control token may begin like another.
        self.either = re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or "(?!)")
        secret = "|".join(self.names.values()) or "(?!)"
        self.ending = re.compile(rf"(?=\s*({secret}))|(?=(\n))")
        about = json.loads(backend.to_str())
        # The last would take white space out of where a token is said to be; what it adds is not asked for.
        about["truncation"] = about["padding"] = about["post_processor"] = None
        for token in about["added_tokens"]:
            token["content"] = self.names.get(token["content"], token["content"])
        _rename(about["model"], self.names)
        self._copy = Tokenizer.from_str(json.dumps(about))
        moved = [name for name, id in controls.items() if self._copy.token_to_id(self.names[name]) != id]
        if moved:
            raise UnsupportedBase(
                f"The tokenizer's control token {moved[0]!a} cannot be told from text",
                remedy="Save its tokenizer again with transformers, and use that.",
            )

    def encode(self, text: str) -> list[int]:
        """The ids of a text that spells no control token by its known name."""
        try:
            # Unlike that for one text, the call for many lets other threads run meanwhile.
            ids: list[int] = self._copy.encode_batch_fast([text], add_special_tokens=False)[0].ids
        except (TypeError, UnicodeEncodeError):
            raise InvalidInput("The text is not valid Unicode", remedy="Give it in UTF-8.") from None
        return ids

    def encode_where(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """`encode`, and from which character of the text to which each token is."""
        try:
            encoding = self._copy.encode_batch([text], add_special_tokens=False)[0]
        except (TypeError, UnicodeEncodeError):
            raise InvalidInput("The text is not valid Unicode", remedy="Give it in UTF-8.") from None
        return encoding.ids, encoding.offsets


@cache
def _byte_of() -> dict[str, int]:
    """The byte that each character stands for in the pieces of a tokenizer that works on bytes."""
    # Whoever asks a store who is in it need not wait for this library.
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {character: byte for byte, character in bytes_to_unicode().items()}


def _filled(frame: str, written: Mapping[str, str]) -> tuple[str, list[tuple[str, int, int]]]:
    """The frame with what was written for its stand-ins, and of each of those from where to where that stands.

    One pattern of thousands of them would take seconds.
    """
    parts, places, end, size = [], [], 0, 0
    for found in _UNKNOWN.finditer(frame):
        if found.start() >= end and found[1] in written:
            text = written[found[1]]
            begin = size + found.start() - end
            size = begin + len(text)
            parts += [frame[end : found.start()], text]
            places.append((found[1], begin, size))
            end = found.end(1)
    return "".join([*parts, frame[end:]]), places


def _rename(model: dict[str, Any], names: Mapping[str, str]) -> None:
    """Rename tokens in a tokenizer's model, which might find them in a text on its own."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(token, token): id for token, id in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(token, token), score] for token, score in vocabulary]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if names.keys().isdisjoint([*pair, "".join(pair)])]


def _tail(tokens: Tokens, context: Sequence[int]) -> list[int]:
    """As much of the end of a context as decides how the next token is written."""
    size = _CONTEXT_TOKENS
    while True:
        tail = list(context[-size:])
        text = tokens.decode(tail)
        if text.strip() or size >= len(context):
            # A character that the context leaves open belongs to what comes next.
            return [] if text.endswith(_OPEN) else tail
        size *= 8


def _unknown() -> str:
    """What nobody can have written."""
    return secrets.token_hex(16)


class Vocabulary:
    """Single tokens as text and as bytes. A token can be part of a character, and then only its bytes are certain."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added = tokenizer.added_tokens_decoder
        self._bytewise = "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder)
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
        if self._bytewise and _byte_of().keys() >= set(piece):
            return bytes(_byte_of()[character] for character in piece)
        if found := _BYTE_PIECE.fullmatch(piece):
            return bytes([int(found[1], 16)])
        return str(piece).replace("▁", " ").encode()
