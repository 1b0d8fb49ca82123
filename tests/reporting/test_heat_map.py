"""The confusion matrix as a picture that needs no page around it."""

from xml.etree import ElementTree

import numpy as np

from sharedllm.evaluation.confusion import BASE, Confusion
from sharedllm.evaluation.perplexity import Losses
from sharedllm.reporting.heat_map import heat_map
from sharedllm.reporting.palette import LIGHT

SVG = "{http://www.w3.org/2000/svg}"


def table(**rows):
    """Perplexities by text; the base's first, then everybody's in the order of the rows."""
    readers = [BASE, *rows]
    return Confusion(
        {
            text: {
                reader: Losses(np.full(4, np.log(value) * 10), 10) for reader, value in zip(readers, row, strict=True)
            }
            for text, row in rows.items()
        }
    )


def drawn(confusion):
    root = ElementTree.fromstring(heat_map(confusion))
    return root, [each.text for each in root.iter(f"{SVG}text")], list(root.iter(f"{SVG}rect"))


def test_every_cell_has_its_perplexity_and_how_much_lower_than_the_bases_it_is():
    _, words, cells = drawn(table(alice=[20, 15, 22], bob=[30, 33, 24]))
    assert len(cells) == 6
    assert words[2:5] == ["base", "alice", "bob"]
    assert words[5:11] == ["alice", "20.00", "15.00", "+25.0%", "22.00", "−10.0%"]
    assert words[11:] == ["bob", "30.00", "33.00", "−10.0%", "24.00", "+20.0%"]


def test_what_is_better_is_blue_what_is_worse_orange_and_ones_own_is_framed():
    _, _, (base, own, other) = drawn(Confusion({"alice": table(alice=[20, 8, 40], bob=[1, 1, 1]).losses["alice"]}))
    assert [each.get("fill") for each in (base, own, other)] == [LIGHT.same, LIGHT.most, LIGHT.least]
    assert [each.get("stroke") == LIGHT.text for each in (base, own, other)] == [False, True, False]


def test_a_name_is_text_whatever_is_in_it():
    _, words, _ = drawn(table(**{"<b>&": [2, 1]}))
    assert "<b>&" in words


def test_a_perplexity_that_is_no_number_is_said_and_has_no_colour():
    _, words, (_, own) = drawn(table(alice=[20, np.inf]))
    assert words[-1] == "no data"
    assert own.get("fill") == LIGHT.same
