import pytest
from tests import models

from sharedllm.adapters.formats.registry import format_names
from sharedllm.adapters.layouts import layout_of
from sharedllm.errors import UnknownName, UnsupportedBase

SIZES = {
    "llama": {"norm": 5 * 32, "steering": 32, "ia3": 2 * (16 + 16 + 48)},
    "qwen3": {"norm": 5 * 32 + 4 * 8, "steering": 32, "ia3": 2 * (16 + 16 + 48)},
    "gemma3": {"norm": 9 * 32 + 4 * 8, "steering": 32, "ia3": 2 * (16 + 16 + 48)},
    "gpt2": {"norm": 5 * 32, "steering": 32},
    "adapted": {
        "norm": 5 * 32,
        "steering": 32,
        "ia3": 2 * (16 + 16 + 48),
        "bank": 2 * 7 * 4,
        "norm+bank": 5 * 32 + 2 * 7 * 4,
    },
}


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
@pytest.mark.parametrize("format", format_names())
def test_a_layout_is_its_sites_in_a_row(base_of, architecture, format):
    base = base_of(architecture)
    if format not in SIZES[architecture]:
        with pytest.raises(UnsupportedBase):
            layout_of(base, format)
        return
    layout = layout_of(base, format)
    assert (layout.format, layout.base) == (format, base.fingerprint)
    assert layout.size == sum(layout.widths) == SIZES[architecture][format]
    assert layout.widths == [site.size for site in layout.sites]
    assert layout == layout_of(base, format)


def test_norm_is_the_default(base_of):
    assert layout_of(base_of()).format == "norm"


def test_an_unknown_format_is_named_with_those_there_are(base_of):
    with pytest.raises(UnknownName, match=r"'prompt'.*norm, steering, ia3"):
        layout_of(base_of(), "prompt")
