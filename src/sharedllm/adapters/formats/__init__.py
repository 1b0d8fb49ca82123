"""Vector formats, one a file, and the door that all of them come through: see docs/formats.md."""
