"""What becomes of an engine's events on their way to a response."""

import asyncio
import json

import pytest

from sharedllm.http.error_responses import Refused
from sharedllm.http.logs import JSONLines
from sharedllm.http.submission import Submission
from sharedllm.serving.request import Finished, Request, Scored, Token


class Failing:
    """An engine in which every request fails."""

    def submit(self, request, deliver):
        deliver(Finished("failed", "", 1, 0, error=RuntimeError("Actual string: 'a private thought'")))
        return 1


class Counting:
    """An engine that answers at once, in three tokens."""

    def submit(self, request, deliver):
        for number in range(3):
            deliver(Token(Scored(number, -1.0), f"{number} "))
        deliver(Finished("length", "end", 1, 3))
        return 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_is_told_every_token_and_whoever_waits_for_the_whole_answer_its_end_alone(stream):
    async def run():
        firsts = []
        running = Submission(Counting(), firsts.append, stream=stream)
        running.submit([Request([5], "alice"), Request([5], "alice")])
        told = [(index, type(event)) async for index, event in running.events()]
        return told, firsts, running.answers

    told, firsts, answers = asyncio.run(run())
    of_one = ([Token] * 3 if stream else []) + [Finished]
    assert told == [(index, kind) for index in (0, 1) for kind in of_one]
    assert len(firsts) == 2
    for answer in answers:
        assert answer.text == "0 1 2 end"
        assert [token.id for token in answer.tokens] == [0, 1, 2]
        assert answer.end.reason == "length"


def test_a_failure_is_logged_by_its_class_since_its_message_may_quote_an_answer(caplog):
    async def run():
        running = Submission(Failing(), lambda seconds: None, stream=False)
        running.submit([Request([5], "alice")])
        async for _ in running.events():
            pass

    with pytest.raises(Refused):
        asyncio.run(run())
    (line,) = [json.loads(JSONLines().format(record)) for record in caplog.records if record.name == "sharedllm.http"]
    assert (line["event"], line["error"]) == ("failed", "RuntimeError")
    assert "private" not in str(line)
