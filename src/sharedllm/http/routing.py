"""Which adapter answers a request, and how the response says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharedllm.http.error_responses import code_of
from sharedllm.http.public_errors import without_places
from sharedllm.http.service import Service
from sharedllm.operations.route import Route, route

FINGERPRINT_CHARACTERS = 12


@dataclass(frozen=True)
class Routed:
    """A decision, and the fingerprint of the base it was made for."""

    decision: Route
    base: str

    @property
    def reason(self) -> str:
        """Why, in a word that names nobody: ``own_release``, ``as_asked``, or the error that the base stands in for."""
        if self.decision.refusal is not None:
            return code_of(self.decision.refusal)
        return "own_release" if self.decision.release is not None else "as_asked"

    @property
    def headers(self) -> dict[str, str]:
        """For every response, an error among them. Proxies log headers, so nothing here names a user."""
        headers = {
            "X-SharedLLM-Route": self.decision.kind,
            "X-SharedLLM-Base": self.base[:FINGERPRINT_CHARACTERS],
            "X-SharedLLM-Reason": self.reason,
        }
        if self.decision.release is not None:
            headers["X-SharedLLM-Release"] = str(self.decision.release.number)
        return headers

    def told(self, seed: int) -> Mapping[str, Any]:
        """For the body: the ``sharedllm`` object."""
        release = self.decision.release
        return {
            "route": self.decision.kind,
            "release": None if release is None else release.number,
            "base": self.base[:FINGERPRINT_CHARACTERS],
            "reason": without_places(self.decision.reason),
            "seed": seed,
        }


def routed(service: Service, user: str, *, base_only: bool = False) -> Routed:
    """Decide who answers ``user``; see `route` for the base alone. Reads the store, and so blocks.

    Raises:
        UnknownUser, NotServed, CorruptAdapter, WrongBase, FormatMissing: their release cannot answer, and the policy
            has no fallback.
        InvalidUserId, StoreError: nothing could be decided.
    """
    layout = service.engine.layout
    decision = route(
        service.store,
        user,
        base=layout.base,
        prior=service.engine.base.has_prior,
        layout=layout,
        fallback=service.policy.fallback,
        base_only=base_only,
    )
    return Routed(decision, layout.base)
