"""Small adapters and gate outcomes for the store's tests."""

import numpy as np

from sharedllm.adapters.adapter import Adapter, GateOutcome

BETTER = GateOutcome(True, "improves by 1.2 to 1.5", {"improvement": [1.2, 1.5]})
WORSE = GateOutcome(False, "no better than the base", {"improvement": [-0.1, 0.3]})


def adapter(*values, **provenance):
    """An adapter of a made-up base; (0.5, -0.25) unless values are given."""
    return Adapter("norm", "base-1", np.array(values or (0.5, -0.25), np.float32), provenance)


def downgrade(connection, version):
    """Give a store the schema that an earlier version made, on its connection."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "sharedllm.store.sql:migrations")
    config.attributes["connection"] = connection
    command.downgrade(config, version)
