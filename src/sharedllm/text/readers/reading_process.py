"""A process of its own for whatever a library parses: what hangs, bursts or dies there costs one file.

Requests and replies are lines of JSON over a socket, with an open file beside them where one goes along; nothing is
ever unpickled. One process reads one file after the other, so that a thousand small files do not pay a thousand starts.
It is a command of its own and no fork, which holds whatever threads and locks the caller does.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import sharedllm
from sharedllm.errors import TextError
from sharedllm.text.readers.found import InnerFile, ReadResult, Taken, TooMuchText, Unread, Unreadable, document_from

SECONDS = 20.0
"""Of a processor for any file, and as much again for every `_BYTES` of it."""

_BYTES = 20_000_000
_PATIENCE = 10
"""Times as long may pass where a machine has other things to do."""

_LONGEST_REPLY = 8 * 64_000_000
_ENDS = {"end": TextError, "refused": TextError, "unreadable": Unreadable, "too much": TooMuchText}
_KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME")
_LEAVE_OUT = "Leave it out, or give its text as plain text."


class ReadingProcess:
    """A process that reads files, started when it is first needed and again whenever it was lost."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._has_read = False

    def __enter__(self) -> "ReadingProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def read(self, reader: str, file: BinaryIO, source: str, room: int) -> Generator[ReadResult, None, None]:
        """What a reader finds in a file, as it finds it.

        Args:
            reader: a module of this folder.
            file: open, with a file descriptor.
            source: the file's path as it is shown.
            room: bytes of text that there may be in it at most.

        Raises:
            Unreadable: it cannot be read, or not to its end: what was found until then stands.
        """
        size = os.fstat(file.fileno()).st_size
        seconds = SECONDS * (1 + size / _BYTES)
        request = {"reader": reader, "source": source, "room": room, "seconds": seconds, "size": size}
        again = self._has_read
        found = False
        try:
            while True:
                try:
                    for each in self._ask(request, file, seconds):
                        found = True
                        yield each
                    return
                except _Lost as lost:
                    # Whatever was read before it may have left little memory; a file is judged by itself.
                    if found or not again:
                        raise Unreadable(f"could not be read: {lost}", remedy=_LEAVE_OUT) from lost
                    again = False
        except GeneratorExit:
            self._end()
            raise

    def _ask(self, request: dict[str, Any], file: BinaryIO, seconds: float) -> Iterator[ReadResult]:
        channel = self._started()
        left = seconds * _PATIENCE
        received = b""
        try:
            socket.send_fds(channel, [json.dumps(request).encode() + b"\n"], [file.fileno()])
            while True:
                began = time.monotonic()
                reply, received, passed = _line(channel, received, began + left)
                left -= time.monotonic() - began
                what = json.loads(reply)
                if what["what"] in _ENDS:
                    self._has_read = True
                    if what["what"] != "end":
                        raise _ENDS[what["what"]](what["message"], remedy=what["remedy"])
                    return
                yield from _as_found(what, passed)
                channel.sendall(b"\n")
        except TimeoutError:
            self._end()
            raise Unreadable(
                f"took longer than {seconds * _PATIENCE:.0f} seconds to read, and was given up", remedy=_LEAVE_OUT
            ) from None
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            raise _Lost(self._end()) from None

    def _started(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair()
            above = str(Path(sharedllm.__file__).parents[1])
            # No more of the environment than Python needs: there are keys in it, and these are strangers' files.
            environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [above, os.environ.get("PYTHONPATH")]))
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "sharedllm.text.readers.reading_worker", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=environment,
                )
            self._socket = ours
            self._has_read = False
        return self._socket

    def _end(self) -> str:
        """End the process, and say how it had ended."""
        if self._process is None or self._socket is None:
            return "its process was gone"
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            # One that is dying says why; one that hangs is not waited for.
            self._process.wait(0.2)
        ended = self._process.poll()
        self._process.kill()
        self._process.wait()
        self._process = self._socket = None
        if ended is None or ended == 0:
            return "the process that read it broke off"
        if -ended == signal.SIGXCPU:
            return "it took too long"
        return f"the process that read it died of {signal.Signals(-ended).name}" if ended < 0 else "it took too much"


class _Lost(Exception):
    """The process ended before the file did; the message says how."""


def _line(channel: socket.socket, received: bytes, deadline: float) -> tuple[bytes, bytes, int | None]:
    """The next line that comes, what came after it, and the file that came with it."""
    parts = [received]
    length = len(received)
    passed: int | None = None
    while b"\n" not in parts[-1]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        data, files, _, _ = socket.recv_fds(channel, 1 << 20, 1)
        passed = files[0] if files else passed
        if not data:
            raise EOFError
        parts.append(data)
        length += len(data)
        if length > _LONGEST_REPLY:
            raise ValueError("too long a reply")
    line, _, rest = b"".join(parts).partition(b"\n")
    return line, rest, passed


def _as_found(reply: dict[str, Any], passed: int | None) -> Iterator[ReadResult]:
    if reply["what"] == "document":
        yield document_from(reply)
    elif reply["what"] == "member" and passed is not None:
        with open(passed, "rb") as content:  # noqa: PTH123 (a descriptor, no path)
            content.seek(0)
            yield InnerFile(reply["name"], content)
    elif reply["what"] == "unread":
        yield Unread(reply["source"], TextError(reply["message"], remedy=reply["remedy"]))
    elif reply["what"] == "taken":
        yield Taken(frozenset(reply["paths"]))
    else:
        raise ValueError("no such reply")


def memory_file(data: bytes = b"") -> BinaryIO:
    """A file without a name that is in no folder: what is in it is nowhere written."""
    file = os.fdopen(os.memfd_create("sharedllm"), "w+b")
    file.write(data)
    file.seek(0)
    return file
