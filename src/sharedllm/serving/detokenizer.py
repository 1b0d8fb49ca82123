"""Tokens to text as they come, up to a stop string."""

from collections.abc import Sequence

from sharedllm.base.loading import Base


class Detokenizer:
    """One answer's text.

    Attributes:
        stopped: whether a stop string has ended it.
    """

    def __init__(self, base: Base, stop: Sequence[str], prompt: Sequence[int] = ()) -> None:
        """Nothing is written yet.

        Args:
            base: whose tokens they are.
            stop: strings that end the text and are not part of it.
            prompt: what comes before it, which decides whether it begins with a space.
        """
        self._stop, self._stream = stop, base.tokens.stream(prompt)
        self._held = ""
        self.stopped = False

    def write(self, token: int) -> str:
        """Add a token; the text that is certain now, which is none while a character or a stop string may be open."""
        return self._pass_on(self._stream.step(token))

    def end(self) -> str:
        """The text that was held back and turned out to belong to the answer."""
        if self.stopped:
            return ""
        text = self._pass_on(self._stream.rest()) + self._held
        self._held = ""
        return text

    def _pass_on(self, new: str) -> str:
        if not self._stop:
            return new
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
