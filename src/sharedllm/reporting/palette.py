"""The colours of every page and chart."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Palette:
    """A theme: blue for better and orange for worse, which every kind of colour vision tells apart.

    Attributes:
        page: what lies below everything.
        text: what is written, with a contrast of 4.5 or more on every shade.
        muted: what is written beside it.
        line: rules and grids.
        panel: a box.
        better, worse: marks, and what is written in their colours.
        fourth: beside these and the text, what marks a chart's last series.
        same: a cell of a heat map that reads as the base does.
        most, least: the strongest blue and the strongest orange of a heat map.
    """

    page: str
    text: str
    muted: str
    line: str
    panel: str
    better: str
    worse: str
    fourth: str
    same: str
    most: str
    least: str

    def shade(self, strength: float) -> str:
        """The colour, in hex, of a strength from -1 (worse) to 1 (better)."""
        part = min(abs(strength), 1.0)
        ends = zip(_channels(self.same), _channels(self.most if strength > 0 else self.least), strict=True)
        return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in ends)

    @property
    def css(self) -> str:
        """Every colour as a custom property of its name."""
        return " ".join(f"--{each.name}: {getattr(self, each.name)};" for each in fields(self))


LIGHT = Palette(
    page="#fbfbf9",
    text="#161a1f",
    muted="#59616b",
    line="#dcdcd6",
    panel="#f3f3f0",
    better="#1f6db0",
    worse="#a8540c",
    fourth="#7a4fa3",
    same="#f3f3f0",
    most="#74b0e2",
    least="#f2a45c",
)
DARK = Palette(
    page="#16191d",
    text="#f2f4f6",
    muted="#a3acb7",
    line="#363c44",
    panel="#20242a",
    better="#77b7ee",
    worse="#f0a35e",
    fourth="#c9a3ea",
    same="#2a2e34",
    most="#1e609a",
    least="#8c4c12",
)
PICTURE = Palette(
    page="transparent",
    text="#777777",
    muted="#777777",
    line="#77777755",
    panel="transparent",
    better="#3b86c6",
    worse="#d0701c",
    fourth="#9a6fc3",
    same="#777777",
    most="#3b86c6",
    least="#d0701c",
)
"""Of a picture with no page around it, which has to read on white and on black."""


def _channels(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
