"""The engine over HTTP, the way OpenAI's clients speak: ``create_app(service)`` in `app`, a process in `server`.

Every module in here may import what the extra brings: none is imported where it is missing.
"""

from sharedllm.extras import need

need("serve")
