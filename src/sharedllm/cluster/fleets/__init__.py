"""A fleet of users trained in shards, on this machine or on a Ray cluster."""
