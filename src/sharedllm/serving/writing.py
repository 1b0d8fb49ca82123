"""Tokens to text as they come, up to a stop string."""

from collections.abc import Sequence

from sharedllm.base.loading import Base


class Writer:
    """One answer's text.

    Attributes:
        stopped: whether a stop string has ended it.
    """

    def __init__(self, base: Base, stop: Sequence[str]) -> None:
        from tokenizers.decoders import DecodeStream

        self._base, self._stop = base, stop
        self._stream = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._told = 0
        self._decoded = ""
        self._held = ""
        self.stopped = False

    def write(self, token: int) -> str:
        """Add a token; the text that is certain now, which is none while a character or a stop string may be open."""
        self._ids.append(token)
        try:
            new = self._stream.step(self._base.tokenizer.backend_tokenizer, token) or ""
        except Exception:
            # Bytes may undo a character that those before them made. That was told, so the text goes on after it.
            new = self._begin_again()
        if new:
            self._told = len(self._ids)
            self._decoded += new
        return self._pass_on(new)

    def end(self) -> str:
        """The text that was held back and turned out to belong to the answer."""
        if self.stopped:
            return ""
        # Bytes that never became a character are shown as the tokenizer shows them.
        whole = self._base.decode(self._ids)
        tail = whole[len(self._decoded) :] if whole.startswith(self._decoded) else self._begin_again()
        text = self._pass_on(tail) + self._held
        self._held = ""
        return text

    def _begin_again(self) -> str:
        """The text of the tokens that were not told yet, as if they were the first."""
        from tokenizers.decoders import DecodeStream

        self._ids, self._told, self._decoded = self._ids[self._told :], 0, ""
        self._stream = DecodeStream(ids=self._ids, skip_special_tokens=True)
        return self._base.decode(self._ids)

    def _pass_on(self, new: str) -> str:
        text = self._held + new
        found = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text that a stop string begins with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
