"""Workers, here or on a Ray cluster, and what they are handed: one that is gone or hangs takes nobody along."""
