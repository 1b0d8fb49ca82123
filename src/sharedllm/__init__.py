"""One shared language model, one tiny adapter per user."""

__version__ = "0.1.0"
