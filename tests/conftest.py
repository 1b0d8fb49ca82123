"""Small random bases, made once a session and shared by every test that never writes to them."""

import hashlib
import signal

import pytest
import torch
from tests import models

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import load_base

# A runner started in the background ignores interrupts; the commands that tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """The folder of a small base of an architecture. Nothing may write to it."""
    folders = {}

    def folder_of(architecture="llama"):
        if architecture not in folders:
            folders[architecture] = models.ARCHITECTURES[architecture](tmp_path_factory.mktemp(architecture))
        return folders[architecture]

    return folder_of


@pytest.fixture(scope="session")
def base_of(folder_of, tmp_path_factory):
    """A small base of an architecture in a dtype, on the CPU."""
    cache = tmp_path_factory.mktemp("cache")
    loaded = {}

    def base_of(architecture="llama", dtype=torch.float32):
        if (architecture, dtype) not in loaded:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SHAREDLLM_CACHE", str(cache))
                loaded[architecture, dtype] = load_base(str(folder_of(architecture)), dtype=dtype, device="cpu")
        return loaded[architecture, dtype]

    return base_of


@pytest.fixture
def inject():
    """Attach a format to a base for one test."""
    attached = []

    def inject(base, format="norm"):
        attached.append(Injection(base, layout_of(base, format)))
        return attached[-1]

    yield inject
    for injection in attached:
        injection.remove()


@pytest.fixture(scope="session")
def weights_hash():
    """A hash over every parameter and buffer of a model, bit for bit."""

    def weights_hash(model):
        digest = hashlib.sha256()
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    return weights_hash
