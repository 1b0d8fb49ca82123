"""Schema changes, in order, one file each under ``versions/``.

To add one: write ``versions/NNNN_what.py`` with the previous revision as its ``down_revision``, change `schema.py` to
match, and set `schema.HEAD` to it. Files are never edited once released.
"""
