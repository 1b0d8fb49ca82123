"""The engine over HTTP, the way OpenAI's clients speak: ``create_app(service)`` in `app`, a process in `server`."""
