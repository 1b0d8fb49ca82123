"""A person's model as GGUF: a copy of the base's GGUF file in which only the norms' gains are replaced."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import Adapter
from sharedllm.adapters.exchange.card import CARD, ExportKind, Origin, loading, write_card
from sharedllm.adapters.exchange.folding import Stored, check_gains, stored_weights
from sharedllm.adapters.layouts import Layout
from sharedllm.base.loading import Base
from sharedllm.base.resolve import BUILT_IN, built_in_gguf
from sharedllm.errors import BaseError, UnsupportedBase, WrongBase
from sharedllm.files import new_file


def gguf_source(base: Base) -> Path:
    """The GGUF file that a base was loaded from.

    Raises:
        UnsupportedBase: it was loaded from something else.
        DownloadError: a built-in one has to be fetched again and cannot be.
    """
    if base.name in BUILT_IN:
        return built_in_gguf(base.name)
    path = Path(base.name)
    if path.suffix == ".gguf" and path.is_file():
        return path
    raise UnsupportedBase(
        f"{base.name} was not loaded from a GGUF file, so there is none to start from",
        remedy=f"Use {', '.join(BUILT_IN)} or a .gguf file as the base, or export --to merged and convert that.",
    )


def card_beside(path: Path) -> Path:
    """Where the page of a GGUF file lies."""
    return path.with_name(f"{path.stem}.{CARD}")


def export_gguf(
    source: Path, base: Base, layout: Layout, adapter: Adapter, path: Path, *, origin: Origin | None = None
) -> None:
    """Copy ``source`` to ``path`` and multiply its norms by ``1 + s``; every other byte stays.

    A page is written beside it (`card_beside`). It is no metadata of the file: that would move every tensor in it.

    GGUF files hold norms in float32 and as gains, also of models that elsewhere store gain - 1, so nothing is rounded
    but the product itself. Each norm is compared with the base's before it is replaced.

    Args:
        source: a GGUF file of this very base; see `gguf_source`.
        base: the base.
        layout: of a format that acts on gains, on it.
        adapter: of that layout.
        path: a file that does not exist yet.
        origin: what the page beside it says of whose it is.

    Raises:
        AdapterError: a format that does not act on gains alone.
        WrongBase: see `check_fits`; or ``source`` is of another model.
        BaseError: ``source`` cannot be read as GGUF.
        UnsupportedBase: ``source`` does not hold the norms in float32, or its architecture is unknown.
        InvalidInput, DiskFull: see `new_file`.
    """
    check_gains(adapter, layout, "A GGUF file")
    weights = stored_weights(base, layout)
    patches = _patches(source, weights, adapter)
    kind = ExportKind(
        title="A person's model, for llama.cpp",
        library="gguf",
        loading=loading(
            "transformers.AutoModelForCausalLM",
            f'".", gguf_file={path.name!r}',
            f'".", gguf_file={path.name!r}',
        ),
        notes=f"Or without Python: `llama-cli -m {shlex.quote(path.name)}`.",
    )
    with new_file(path) as partial, new_file(card_beside(path)) as page:
        write_card(page, kind, base, adapter, origin)
        shutil.copyfile(source, partial)
        with partial.open("r+b") as stream:
            for offset, gains in patches:
                stream.seek(offset)
                stream.write(gains.tobytes())


def _patches(source: Path, weights: list[Stored], adapter: Adapter) -> list[tuple[int, npt.NDArray[np.floating[Any]]]]:
    from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFReader, get_tensor_name_map

    try:
        reader = GGUFReader(source)
        architecture = reader.fields["general.architecture"].contents()
        blocks = reader.fields[f"{architecture}.block_count"].contents()
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise BaseError(
            f"{source} cannot be read as a GGUF model: {error}", remedy="Check that the file is whole."
        ) from error
    by_name = {name: number for number, name in MODEL_ARCH_NAMES.items()}
    if architecture not in by_name:
        raise UnsupportedBase(f"{source} has the unknown architecture {architecture!r}", remedy="Export --to merged.")
    names = get_tensor_name_map(by_name[architecture], blocks)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    patches = []
    for stored in weights:
        parameter = f"{stored.site.name}.{stored.part}"
        tensor = tensors.get(names.get_name(parameter, (".weight", ".bias")))
        if tensor is None or tensor.tensor_type != GGMLQuantizationType.F32:
            raise UnsupportedBase(
                f"{source} does not hold {parameter} as float32 numbers",
                remedy="Export --to merged and convert that.",
            )
        expected = stored.effective.numpy()
        if tensor.data.shape != expected.shape or not np.allclose(tensor.data, expected, rtol=1e-5, atol=1e-6):
            raise WrongBase(
                f"{tensor.name} in {source} is not {parameter} of this base",
                remedy="Give the GGUF file that the base was loaded from.",
            )
        scale = 1 + adapter.values[stored.values].astype(np.float64)
        patches.append((tensor.data_offset, (tensor.data * scale).astype(tensor.data.dtype)))
    return patches
