"""The store in an SQL database, whichever it is."""
