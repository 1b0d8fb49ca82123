"""`docs/clients.md`, from what the tests have run: python -m tests.clients.table"""

import json
from pathlib import Path

from tests.clients.catalogue import CLIENTS

RESULTS = Path(__file__).parent / "ran.json"
DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"

_HEAD = """# Clients

Written by `make test-clients` from what ran: each client, installed by itself in the versions below, passed these
examples of its own against `sharedllm serve` with a small base. `make test-rare` runs those that install quickly, the
others only `make test-clients`. Everywhere three things are said:

    export SHAREDLLM_URL=http://127.0.0.1:8000/v1   # what `sharedllm serve` prints
    export SHAREDLLM_KEY=…                          # what `sharedllm keys create --user alice` prints
    export SHAREDLLM_MODEL=smollm2-135m-people      # what `GET /v1/models` lists

The key decides whose adapter answers, not the model.
"""
_LANGUAGES = {".py": "python", ".mjs": "js", ".sh": "sh"}


def recorded():
    """What ran, by client."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def record(client, passed):
    """Keep what ran, and write the table again."""
    known = {**recorded(), client.name: {"packages": list(client.packages), "examples": passed}}
    kept = {each.name: known[each.name] for each in CLIENTS if each.name in known}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    DOCUMENT.write_text(document())


def document():
    """The whole page."""
    ran = recorded()
    lines = ["| client | versions | passed |", "|---|---|---|"]
    for client in CLIENTS:
        versions = ", ".join(f"`{each}`" for each in client.packages) or "requests as it sends them"
        passed = " · ".join(ran[client.name]["examples"]) if client.name in ran else "NOT TESTED"
        lines.append(f"| {client.name} | {versions} | {passed} |")
    parts = [_HEAD, "\n".join(lines) + "\n"]
    for client in CLIENTS:
        note = f"{client.note}\n\n" if client.note else ""
        parts.append(f"## {client.name}\n\n{note}```{_LANGUAGES[client.path.suffix]}\n{client.typed}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(document())
