"""A person's model as GGUF: a copy of the base's GGUF file in which only what differs from it is replaced.

That is the norms' gains, and on a base with a prior, whose file is that of the base without, the projections. These are
no longer the few bits a number that they were made of, and are kept in float16.
"""

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import Adapter
from sharedllm.adapters.exchange.card import CARD, ExportKind, Origin, loading, write_card
from sharedllm.adapters.exchange.folding import Stored, check_gains, over_all_frames, stored_weights
from sharedllm.adapters.layouts import Layout
from sharedllm.base.fingerprint import fingerprint
from sharedllm.base.frames import read_prior
from sharedllm.base.loading import Base
from sharedllm.base.resolve import (
    BUILT_IN,
    SHIPPED_PRIORS,
    built_in_bases,
    built_in_gguf,
    is_pulled,
    resolve_base,
)
from sharedllm.base.sites import text_config
from sharedllm.errors import BaseError, UnsupportedBase, WrongBase
from sharedllm.files import new_file

_HEADS = (None, "num_attention_heads", "num_key_value_heads")
"""By how many heads rows may be in another order in a file, by their names in a configuration."""


def gguf_source(base: Base) -> Path:
    """The GGUF file that a base was loaded from; of a base with a prior, the one of the base that it was trained on.

    Raises:
        BaseError: see `read_prior`.
        UnsupportedBase: it was loaded from something else.
        DownloadError: a built-in one has to be fetched again and cannot be.
    """
    prior = read_prior(base.folder)
    if base.name in built_in_bases():
        return built_in_gguf(SHIPPED_PRIORS[base.name].bare if base.name in SHIPPED_PRIORS else base.name)
    if prior is not None:
        for name in filter(is_pulled, BUILT_IN):
            if fingerprint(resolve_base(name)) == prior.get("bare"):
                return built_in_gguf(name)
    path = Path(base.name)
    if path.suffix == ".gguf" and path.is_file():
        return path
    raise UnsupportedBase(
        f"{base.name} was not loaded from a GGUF file, so there is none to start from",
        remedy=f"Use {', '.join(built_in_bases())} or a .gguf file as the base, or export --to merged and convert"
        " that.",
    )


def card_beside(path: Path) -> Path:
    """Where the page of a GGUF file lies."""
    return path.with_name(f"{path.stem}.{CARD}")


def export_gguf(
    source: Path, base: Base, layout: Layout, adapter: Adapter, path: Path, *, origin: Origin | None = None
) -> None:
    """Copy ``source`` to ``path`` and multiply its norms by ``1 + s``; every other byte stays.

    On a base with a prior every projection that lacks it in ``source``, or that the adapter has coordinates for, is
    replaced, too, by its weights with both in them, in float16.

    A page is written beside it (`card_beside`). It is no metadata of the file: that would move every tensor in it.

    GGUF files hold norms in float32 and as gains, also of models that elsewhere store gain - 1, so nothing is rounded
    but the product itself. Each norm is compared with the base's before it is replaced.

    Args:
        source: a GGUF file of this very base, or of the one that its prior was trained on; see `gguf_source`.
        base: the base.
        layout: of a format that acts on gains and within frames, on it.
        adapter: of that layout.
        path: a file that does not exist yet.
        origin: what the page beside it says of whose it is.

    Raises:
        AdapterError: a format that does not act on gains and within frames alone.
        WrongBase: see `check_fits`; or ``source`` is of another model.
        BaseError: ``source`` cannot be read as GGUF.
        UnsupportedBase: ``source`` does not hold the norms in float32, or its architecture is unknown.
        InvalidInput, DiskFull: see `new_file`.
    """
    check_gains(base, adapter, layout, "A GGUF file")
    whole, row = over_all_frames(base, layout, adapter.values)
    opened = _Opened(source)
    changes = (opened.changed(base, stored, row) for stored in stored_weights(base, whole))
    changed = dict(change for change in changes if change is not None)
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
        opened.write(changed, partial)


class _Opened:
    """A GGUF file of a model.

    Raises:
        BaseError: it cannot be read.
        UnsupportedBase: nothing is known of its architecture.
    """

    def __init__(self, source: Path) -> None:
        from gguf import MODEL_ARCH_NAMES, GGUFReader, get_tensor_name_map

        self._source = source
        try:
            self._reader = GGUFReader(source)
            self._architecture = self._reader.fields["general.architecture"].contents()
            blocks = self._reader.fields[f"{self._architecture}.block_count"].contents()
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise BaseError(
                f"{source} cannot be read as a GGUF model: {error}", remedy="Check that the file is whole."
            ) from error
        by_name = {name: number for number, name in MODEL_ARCH_NAMES.items()}
        if self._architecture not in by_name:
            raise UnsupportedBase(
                f"{source} has the unknown architecture {self._architecture!r}", remedy="Export --to merged."
            )
        self._names = get_tensor_name_map(by_name[self._architecture], blocks)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def changed(
        self, base: Base, stored: Stored, row: npt.NDArray[np.float32]
    ) -> tuple[str, npt.NDArray[np.floating[Any]]] | None:
        """The name of a tensor, and what takes its place: float32 of a norm, float16 of a projection; or None.

        Raises:
            UnsupportedBase: it is not there, or in a form in which it cannot be changed.
            WrongBase: it is not the base's.
        """
        from gguf import GGMLQuantizationType, dequantize

        parameter = f"{stored.site.name}.{stored.part}"
        tensor = self._tensors.get(self._names.get_name(parameter, (".weight", ".bias")))
        if tensor is None or (stored.frame is None and tensor.tensor_type != GGMLQuantizationType.F32):
            raise UnsupportedBase(
                f"{self._source} does not hold {parameter} as float32 numbers",
                remedy="Export --to merged and convert that.",
            )
        if stored.frame is None:
            expected = stored.effective.numpy()
            if _near(tensor.data, expected):
                scale = 1 + row[stored.values].astype(np.float64)
                return tensor.name, (tensor.data * scale).astype(tensor.data.dtype)
        else:
            held = dequantize(tensor.data, tensor.tensor_type)
            own, folded = stored.tensor.float(), stored.fold(row).numpy()
            for heads in _HEADS:
                count = getattr(text_config(base.model), heads) if heads else None
                has_prior = _near(held, _arranged(own.numpy(), count))
                if has_prior and not row[stored.values].any():
                    return None
                if has_prior or _near(held, _arranged((own - stored.frame.product).numpy(), count)):
                    return tensor.name, _arranged(folded, count).astype(np.float16)
        raise WrongBase(
            f"{tensor.name} in {self._source} is not {parameter} of this base",
            remedy="Give the GGUF file that the base was loaded from.",
        )

    def write(self, changed: dict[str, npt.NDArray[np.floating[Any]]], path: Path) -> None:
        """Write a copy in which these tensors are others."""
        if all(changed[name].dtype == self._tensors[name].data.dtype for name in changed):
            shutil.copyfile(self._source, path)
            with path.open("r+b") as stream:
                for name, data in changed.items():
                    stream.seek(self._tensors[name].data_offset)
                    stream.write(data.tobytes())
            return
        write_gguf(path, self._reader, {name: (data, None) for name, data in changed.items()})


def write_gguf(path: Path, reader: Any, changed: Mapping[str, tuple[npt.NDArray[Any], Any]]) -> None:
    """Write a copy of a GGUF file with other tensors in the place of some.

    Args:
        path: of the copy.
        reader: `gguf.GGUFReader` of the file.
        changed: by name, what takes a tensor's place, and the `gguf.GGMLQuantizationType` that it is in, as bytes; None
            where it is plain numbers.
    """
    from gguf import GGUFValueType, GGUFWriter

    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(path, architecture, endianess=reader.endianess)
    for field in reader.fields.values():
        # Both are written by themselves.
        if field.name != "general.architecture" and not field.name.startswith("GGUF."):
            within = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], within)
    tensors = {each.name: changed.get(each.name, (each.data, each.tensor_type)) for each in reader.tensors}
    for name, (data, kind) in tensors.items():
        writer.add_tensor_info(name, data.shape, data.dtype, data.nbytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for data, _ in tensors.values():
        writer.write_tensor_data(data)
    writer.close()


def _arranged(weight: npt.NDArray[np.float32], heads: int | None) -> npt.NDArray[np.float32]:
    """Rows in the order in which converters write those of queries and keys: each head's pairs beside one another."""
    if heads is None or len(weight) % (2 * heads):
        return weight
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def _near(held: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> bool:
    return held.shape == expected.shape and np.allclose(held, expected, rtol=1e-5, atol=1e-6)
