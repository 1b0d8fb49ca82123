"""Who answers a user's request: their own adapter, or the base, said openly."""

from sharedllm.routing.route import Decision, route

__all__ = ["Decision", "route"]
