"""OpenAI's own client against a real server process: what people will run, over a real socket, killed and all."""

import json
import math
import re
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Literal

import httpx
import numpy as np
import openai
import pydantic
import pytest
from click.testing import CliRunner
from tests import models
from tests.http.conftest import PASSED

from sharedllm.adapters.adapter import Adapter
from sharedllm.adapters.adapter_file import save_adapter
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.fingerprint import fingerprint
from sharedllm.cli.keys import command as keys_command
from sharedllm.store import open_store

USERS = [f"user {number}" for number in range(32)]
PATIENCE = 60
"""Seconds that anything here may take, so that a server that hangs is a test that fails."""

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
TURNS = [{"role": "user", "content": "Who came to the door?"}]
PROMPT = "Who came to the door?"

NEAR = 0.1
"""How far apart one release's log-probabilities may lie in two batches, where the server computes in bfloat16."""


class Site:
    """A base, a store and the server process over them, which can be ended and started again."""

    def __init__(self, folder, base):
        self.folder, self.store = folder, folder / "store.db"
        # What is told of tools takes a thousand bytes.
        chatty = models.llama(folder / "chatty", max_position_embeddings=2048)
        (chatty / "chat_template.jinja").write_text(TEMPLATE)
        self.model, self.size, self.fingerprint = chatty.name, layout_of(base).size, fingerprint(chatty)
        with open_store(self.store) as store:
            store.publish_many((user, self.adapter(number), PASSED) for number, user in enumerate(USERS))
        self.secrets = {user: self.key("--user", user) for user in USERS} | {"service": self.key("--service")}
        self.process = self.client = None

    def adapter(self, seed):
        return Adapter("norm", self.fingerprint, np.random.default_rng(seed).normal(0, 0.6, self.size).astype("f4"))

    def key(self, *whose):
        made = CliRunner().invoke(keys_command, ["create", *whose, "--store", str(self.store)])
        assert made.exit_code == 0, made.output
        return made.stdout.strip()

    def start(self):
        """Start the server, and wait until it says that it is ready."""
        command = [sys.executable, "-m", "sharedllm", "serve", "--port", "0", "--base", str(self.folder / "chatty")]
        limits = ["--running", "32", "--waiting", "40", "--cache-tokens", "16384", "--notice-seconds", "0"]
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [*command, *limits, "--store", str(self.store)], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], self.log
        address = re.search(r"http://\S+/v1", self.process.stdout.readline())
        assert address, self.log
        self.client = openai.OpenAI(base_url=address[0], api_key="none", timeout=PATIENCE, max_retries=0)

    def kill(self):
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    @property
    def log(self):
        return (self.folder / "log").read_text()

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def counts(self, what):
        """One of the engine's gauges, such as ``running``."""
        metrics = httpx.get(str(self.client.base_url.join("/metrics")), timeout=PATIENCE).text
        return float(re.search(rf"^sharedllm_{what} (\S+)$", metrics, re.MULTILINE).group(1))

    def of(self, holder):
        """The client of a user, or of the service."""
        return self.client.with_options(api_key=self.secrets[holder])

    def complete(self, holder, **asked):
        """A completion for whoever holds the key; greedy, unless something else is asked."""
        asked = {"model": self.model, "prompt": PROMPT, "max_tokens": 12, "temperature": 0, "logprobs": 2, **asked}
        return self.of(holder).completions.create(**asked)

    def chat(self, holder, **asked):
        asked = {"model": self.model, "messages": TURNS, "max_completion_tokens": 12, "temperature": 0, **asked}
        return self.of(holder).chat.completions.create(**asked)


@contextmanager
def site_in(folder, base):
    """A site that keeps everything in a folder, and ends with the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHAREDLLM_CACHE", str(folder / "cache"))
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        site = Site(folder, base)
        yield site
        site.kill()


@pytest.fixture(scope="module")
def site(tmp_path_factory, base_of):
    """One site for all tests of this file."""
    with site_in(tmp_path_factory.mktemp("site"), base_of("llama")) as site:
        yield site


@pytest.fixture
def server(site):
    """The site with its server running; whichever test ended it, the next one finds it started again."""
    if not site.running:
        site.start()
    return site


def tokens(completion):
    return completion.choices[0].logprobs.tokens


def agree(alone, together):
    """Whether two answers are the same, token for token, up to where rounding decides between the likeliest two."""
    for one, other, top in zip(tokens(alone), tokens(together), alone.choices[0].logprobs.top_logprobs, strict=True):
        if one != other:
            first, second = top.values()
            return abs(first - second) < NEAR
    return True


def at_once(calls):
    """What each call returns or raises, all of them under way at the same time."""

    def outcome(call):
        try:
            return call()
        except openai.OpenAIError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(outcome, calls, timeout=PATIENCE))


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.mark.slow
def test_the_model_is_listed(server):
    assert [model.id for model in server.of(USERS[0]).models.list()] == [server.model]


def test_a_completion_counts_its_tokens_and_says_who_answered(server):
    raw = server.of(USERS[0]).completions.with_raw_response.create(
        model=server.model, prompt=PROMPT, max_tokens=12, temperature=0, logprobs=2
    )
    answer = raw.parse()
    (choice,) = answer.choices
    assert (raw.headers["x-sharedllm-route"], raw.headers["x-sharedllm-release"]) == ("own", "1")
    assert answer.model_extra["sharedllm"]["route"] == "own"
    assert choice.finish_reason in ("stop", "length")
    assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) == answer.usage.completion_tokens
    # One token a byte.
    assert answer.usage.prompt_tokens == len(PROMPT)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_chat_answers_through_the_bases_template(server):
    answer = server.chat(USERS[0], logprobs=True, top_logprobs=3)
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert answer.usage.prompt_tokens == len(f"user: {PROMPT}\nassistant:")
    assert len(choice.logprobs.content) == answer.usage.completion_tokens
    for token in choice.logprobs.content:
        assert token.logprob == token.top_logprobs[0].logprob == max(top.logprob for top in token.top_logprobs)


def test_a_streamed_completion_is_the_whole_one_in_pieces(server):
    whole = server.complete(USERS[0])
    *chunks, last = server.complete(USERS[0], stream=True, stream_options={"include_usage": True})
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert (last.choices, last.usage) == ([], whole.usage)


def test_a_stream_tells_the_counts_so_far_where_they_are_asked_for(server):
    options = {"include_usage": True, "continuous_usage_stats": True}
    *chunks, last = server.complete(USERS[0], stream=True, stream_options=options)
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == last.usage.completion_tokens


def test_a_streamed_chat_is_the_whole_one_in_pieces(server):
    whole = server.chat(USERS[0])
    *chunks, last = server.chat(USERS[0], stream=True, stream_options={"include_usage": True})
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert told(last.usage) == told(whole.usage)


def told(usage):
    """What does not depend on what was asked before."""
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


def test_a_stream_that_is_closed_early_leaves_the_server_free(server):
    with server.complete(USERS[0], max_tokens=450, stream=True) as stream:
        next(iter(stream))
    until(lambda: server.counts("running") == 0)


def test_several_answers_and_a_stop_string(server):
    many = server.complete(USERS[0], n=2, temperature=1.5, seed=5)
    assert [choice.index for choice in many.choices] == [0, 1]
    assert many.choices[0].logprobs.tokens != many.choices[1].logprobs.tokens
    text = server.complete(USERS[0], max_tokens=64).choices[0].text
    stop = next(character for character in text[2:] if character.isascii() and character not in text[:2])
    (choice,) = server.complete(USERS[0], max_tokens=64, stop=stop).choices
    assert (choice.text, choice.finish_reason) == (text[: text.index(stop)], "stop")


def test_a_seed_gives_the_same_answer_again_and_another_seed_another(server):
    first, second, other = (tokens(server.complete(USERS[0], temperature=1.5, seed=seed)) for seed in (7, 7, 8))
    assert first == second != other


def test_the_glass_box_tells_what_the_adapter_changed(server):
    answer = server.complete(USERS[0], extra_body={"sharedllm": {"glass_box": True}})
    (box,) = answer.model_extra["sharedllm"]["glass_box"]
    assert [token["token"] for token in box["tokens"]] == tokens(answer)
    for name in ("logprob_base", "logprob_adapter"):
        assert math.isclose(box[name], math.fsum(token[name] for token in box["tokens"]), abs_tol=1e-5)
    assert box["logprob_base"] < box["logprob_adapter"]


def test_an_answer_follows_the_schema_that_is_asked_for(server):
    class Person(pydantic.BaseModel):
        kind: Literal["old", "young"]
        twice: bool

    answer = server.of(USERS[0]).chat.completions.parse(
        model=server.model, messages=TURNS, response_format=Person, max_completion_tokens=60
    )
    (choice,) = answer.choices
    assert isinstance(choice.message.parsed, Person)
    assert choice.finish_reason == "stop"


def test_a_tool_that_has_to_be_called_is_called_whole_or_streamed(server):
    name = {"type": "function", "function": {"name": "ring"}}
    times = {"type": "object", "properties": {"times": {"enum": [1, 2]}}, "required": ["times"]}
    tools = [{"type": "function", "function": {"name": "ring", "parameters": times | {"additionalProperties": False}}}]
    asked = {"tools": tools, "tool_choice": name, "parallel_tool_calls": False, "max_completion_tokens": 120}
    (choice,) = server.chat(USERS[0], **asked).choices
    (call,) = choice.message.tool_calls
    assert (call.function.name, choice.finish_reason, choice.message.content) == ("ring", "tool_calls", None)
    assert json.loads(call.function.arguments)["times"] in (1, 2)
    deltas = [chunk.choices[0].delta for chunk in server.chat(USERS[0], **asked, stream=True)]
    told = [call for delta in deltas for call in delta.tool_calls or ()]
    assert (told[0].function.name, told[0].index) == ("ring", 0)
    assert "".join(each.function.arguments for each in told) == call.function.arguments
    assert not "".join(delta.content or "" for delta in deltas)


def test_errors_arrive_as_the_clients_own_classes(server):
    with pytest.raises(openai.AuthenticationError) as refused:
        server.client.completions.create(model=server.model, prompt=PROMPT)
    assert refused.value.code == "unknown_key"
    with pytest.raises(openai.PermissionDeniedError):
        server.complete(USERS[0], user=USERS[1])
    with pytest.raises(openai.NotFoundError) as refused:
        server.complete(USERS[0], model="gpt-4o")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError) as refused:
        server.complete("service", user="nobody we know")
    assert refused.value.code == "unknown_user"
    with pytest.raises(openai.BadRequestError) as refused:
        server.chat(USERS[0], functions=[{"name": "call"}])
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "functions")


def test_too_many_at_once_is_a_rate_limit_that_says_when_to_come_back(server):
    # Half of the batch and all of the queue are 56.
    with pytest.raises(openai.RateLimitError) as refused:
        server.complete(USERS[0], prompt=[PROMPT] * 64, max_tokens=100)
    assert int(refused.value.response.headers["Retry-After"]) > 0
    # Those of them that had been queued leave it between two passes.
    until(lambda: server.counts("waiting") == 0)


def test_a_service_key_gets_the_answer_of_the_user_it_names(server):
    assert tokens(server.complete("service", user=USERS[3])) == tokens(server.complete(USERS[3]))


@pytest.mark.slow
def test_users_at_once_get_what_each_gets_alone(server):
    alone = [server.complete(user) for user in USERS]
    assert len({str(tokens(each)) for each in alone}) == len(USERS)
    together = at_once([lambda user=user: server.complete(user) for user in USERS])
    assert [user for user, one, other in zip(USERS, alone, together, strict=True) if not agree(one, other)] == []


@pytest.mark.slow
def test_a_server_that_is_killed_leaves_clean_errors_and_a_whole_store(server, tmp_path):
    before = [tokens(server.complete(user)) for user in USERS[:4]]
    begun, stored = threading.Semaphore(0), []

    def stream(user):
        for chunk in server.complete(user, prompt="Once", max_tokens=500, n=2, stream=True):
            if chunk.choices[0].text:
                begun.release()

    def whole(user):
        server.complete(user, prompt="Once", max_tokens=500, n=2)

    def publish():
        save_adapter(server.adapter(99), tmp_path / "adapter")
        content, key = (tmp_path / "adapter").read_bytes(), server.secrets["service"]
        address = str(server.client.base_url.join("/v1/users/writer/adapter"))
        with suppress(httpx.TransportError), httpx.Client(headers={"Authorization": f"Bearer {key}"}) as client:
            while True:
                answer = client.put(address, content=content, timeout=PATIENCE)
                stored.append(answer.raise_for_status().json()["release"])

    def kill():
        for _ in range(8):
            assert begun.acquire(timeout=PATIENCE)
        until(lambda: len(stored) > 2)
        server.kill()

    asked = [lambda ask=ask, user=user: ask(user) for user in USERS[:8] for ask in (stream, whole)]
    *told, _, _ = at_once([*asked, publish, kill])
    assert [type(error) for error in told] == [openai.APIConnectionError] * 16

    with open_store(server.store) as store:
        assert [user.user for user in store.users()] == [*USERS, "writer"]
        releases = [store.release("writer", each.number) for each in store.releases("writer")]
        # One that was stored when the server died may not have been told.
        assert stored == [release.number for release in releases][: len(stored)]
        assert len(releases) - len(stored) in (0, 1)
        for number, user in enumerate(USERS):
            expected = as_stored(server.adapter(number))
            np.testing.assert_array_equal(store.served(user).adapter.values, expected)
    server.start()
    assert [tokens(server.complete(user)) for user in USERS[:4]] == before


def as_stored(adapter):
    return adapter.values.astype("f2").astype("f4")


@pytest.mark.slow
def test_a_server_that_is_told_to_end_finishes_its_answers_and_takes_no_more(server):
    begun = threading.Semaphore(0)

    def stream(user):
        chunks = []
        for chunk in server.complete(user, max_tokens=200, stream=True):
            chunks.append(chunk)
            if len(chunks) == 2:
                begun.release()
        return chunks

    def end():
        for _ in range(4):
            assert begun.acquire(timeout=PATIENCE)
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate(timeout=PATIENCE)
        return server.process.returncode

    *answers, code = at_once([*(lambda user=user: stream(user) for user in USERS[:4]), end])
    assert code == 0
    for chunks in answers:
        assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    assert "Traceback" not in server.log
    with pytest.raises(openai.APIConnectionError):
        server.complete(USERS[0])
