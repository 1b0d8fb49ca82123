"""The page: what a browser is given at ``/``, which then is a client of the API as any other. See docs/console.md."""
