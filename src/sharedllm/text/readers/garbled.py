"""Text that was read in a wrong encoding once and saved so: found by signs that no language writes side by side."""

import re

_PAIRS = re.compile(
    "[ÂÃÐÑØÙ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â[€‚„†‡ˆ‰][\u0080-\u00bf‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ€]|ðŸ"
)
_FEWEST = 3
_SHARE = 1 / 2_000


def looks_garbled(text: str) -> bool:
    """Whether much of a text is pairs like ``Ã¼`` for ``ü``; a few, as somebody gives for examples, are none."""
    if text.isascii():
        return False
    return len(_PAIRS.findall(text)) >= max(_FEWEST, len(text) * _SHARE)
