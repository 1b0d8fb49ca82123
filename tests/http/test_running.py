"""What becomes of an engine's events on their way to a response."""

import asyncio
import json

import pytest

from sharedllm.http.logs import JSONLines
from sharedllm.http.refusals import Refused
from sharedllm.http.running import Running
from sharedllm.serving.request import Finished, Request


class Failing:
    """An engine in which every request fails."""

    def submit(self, request, deliver):
        deliver(Finished("failed", "", 1, 0, error=RuntimeError("Actual string: 'a private thought'")))
        return 1


def test_a_failure_is_logged_by_its_class_since_its_message_may_quote_an_answer(caplog):
    async def run():
        running = Running(Failing(), lambda seconds: None)
        running.submit([Request([5], "alice")])
        async for _ in running.events():
            pass

    with pytest.raises(Refused):
        asyncio.run(run())
    (line,) = [json.loads(JSONLines().format(record)) for record in caplog.records if record.name == "sharedllm.http"]
    assert (line["event"], line["error"]) == ("failed", "RuntimeError")
    assert "private" not in str(line)
