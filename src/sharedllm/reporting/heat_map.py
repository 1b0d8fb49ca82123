"""The confusion matrix as a picture: an SVG that needs no page around it and reads on white and on black."""

import math

from markupsafe import Markup

from sharedllm.evaluation.confusion import BASE, Confusion
from sharedllm.reporting.findings import BASE_LABEL, change, labels, perplexity_text
from sharedllm.reporting.palette import LIGHT, PICTURE

_LEFT, _TOP, _WIDE, _HIGH = 120, 44, 84, 40
_LONGEST = 12
# A change of this much has the strongest colour.
_STRONGEST = 0.30


def heat_map(table: Confusion) -> str:
    """Perplexity of every text, a row each, under every reader, a column each; beneath, how much lower than the base's.

    Blue is better than the base and orange worse, and the number says so too. A user's own adapter is framed.

    Args:
        table: what was measured.
    """
    users = dict.fromkeys([*table.texts, *(reader for reader in table.readers if reader is not BASE)])
    names = labels(users, _LONGEST)
    width, height = _LEFT + _WIDE * len(table.readers), _TOP + _HIGH * len(table.texts)
    parts = [_words(0, 14, "Held-out text of", "start"), _words(_LEFT, 14, "read with the adapter of", "start")]
    for column, reader in enumerate(table.readers):
        parts.append(_words(_LEFT + _WIDE * (column + 0.5), 34, BASE_LABEL if reader is BASE else names[reader]))
    for row, text in enumerate(table.texts):
        top = _TOP + _HIGH * row
        parts.append(_words(0, top + 25, names[text], "start"))
        for column, reader in enumerate(table.readers):
            left, lower = _LEFT + _WIDE * column, change(table, text, reader)
            shade = LIGHT.shade(lower / _STRONGEST if math.isfinite(lower) else 0)
            frame = LIGHT.text if reader == text else LIGHT.page
            cell = '<rect x="{}" y="{}" width="{}" height="{}" rx="3" fill="{}" stroke="{}" stroke-width="1.5"/>'
            parts.append(Markup(cell).format(left + 2, top + 2, _WIDE - 4, _HIGH - 4, shade, frame))
            middle = left + _WIDE / 2
            parts.append(_words(middle, top + 18, perplexity_text(table.perplexity(text, reader)), fill=LIGHT.text))
            if reader is not BASE and math.isfinite(lower):
                parts.append(_words(middle, top + 32, f"{lower:+.1%}".replace("-", "−"), fill=LIGHT.text))
    head = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{0}" height="{1}" viewBox="0 0 {0} {1}"'
        ' font-family="system-ui, sans-serif" font-size="12"><title>{2}</title>'
    )
    title = "Perplexity of held-out text by who reads it, and how much lower than the base's it is"
    return head.format(width, height, title) + Markup("").join(parts) + Markup("</svg>\n")


def _words(x: float, y: float, text: str, anchor: str = "middle", fill: str = PICTURE.text) -> Markup:
    return Markup('<text x="{:.0f}" y="{:.0f}" text-anchor="{}" fill="{}">{}</text>').format(x, y, anchor, fill, text)
