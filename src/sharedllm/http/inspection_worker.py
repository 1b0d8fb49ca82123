"""The process that looks at somebody's files for the server: they come in on standard input, what was found goes out.

Anybody may have sent them. So they are read beside the server and not in it, within bounds of time and memory, and are
written nowhere.
"""

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict
from io import BytesIO
from typing import Any

from sharedllm.errors import SharedLLMError, TextError
from sharedllm.http.public_errors import without_places
from sharedllm.http.worker_allowance import give_way, worker_environment
from sharedllm.operations.inspect import as_dict, inspect
from sharedllm.text.choices import Choices, choices_from

SECONDS = 180.0
_MEMORY_BYTES = 2 * 2**30


def looked_at(user: str, data: bytes, choices: Choices, *, seconds: float = SECONDS) -> dict[str, Any]:
    """What `inspect` finds in one file, or in a ZIP archive of several, as plain JSON values. Blocks.

    Args:
        user: whose it is, for errors.
        data: the file's bytes.
        choices: how it is read.
        seconds: how long that may take.

    Raises:
        TextError: it cannot be read, or not in that time or memory.
    """
    order = json.dumps({"user": user, "choices": asdict(choices)}).encode() + b"\n"
    command = [sys.executable, "-m", "sharedllm.http.inspection_worker"]
    try:
        done = subprocess.run(
            command,
            input=order + data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=worker_environment(store=False),
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TextError(
            f"Reading the files took longer than {seconds:g} s", remedy="Send fewer or smaller ones."
        ) from None
    if done.returncode:
        raise TextError("The files could not be read", remedy="Send fewer or smaller ones, or plain text.")
    told = json.loads(done.stdout)
    if "refused" in told:
        message, remedy = told["refused"]
        raise TextError(message, remedy=remedy)
    found: dict[str, Any] = told["found"]
    return found


def main() -> None:
    """Read an order, then the file to its end; write one line: what was found, or why it was refused."""
    give_way()
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever a library prints must not end up in our line.
    os.dup2(2, 1)
    order = json.loads(sys.stdin.buffer.readline())
    try:
        file = BytesIO(sys.stdin.buffer.read())
        told: dict[str, Any] = {
            "found": as_dict(inspect(order["user"], ["-"], choices_from(order["choices"]), stdin=file))
        }
    except SharedLLMError as error:
        told = {"refused": [without_places(error.message), error.remedy]}
    json.dump(told, out, default=str)
    out.close()


if __name__ == "__main__":
    main()
