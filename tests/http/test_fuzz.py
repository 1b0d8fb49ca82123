"""Anything the description allows, and much that it does not, gets an answer that is not the server's fault."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sharedllm.http.operator import TAG

pytestmark = pytest.mark.slow

EXAMPLES = 15


def test_no_request_makes_the_server_fail(serving, published, monkeypatch):
    monkeypatch.setattr(published.base.tokenizer, "chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}")
    server = serving()
    schema = schemathesis.openapi.from_asgi("/openapi.json", server.app)
    keys = {who: {"Authorization": getattr(server, who).headers["Authorization"]} for who in ("alice", "service")}
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    tried = []

    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/train"):
            continue
        strategy = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))

        @seed(0)
        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def answered(case):
            if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
                # Nobody guesses these two, and behind them is where something could fail.
                case.body = {**case.body, "model": server.model, "user": "alice"}
            # What is an operator's would only be refused to anybody else.
            who = "service" if TAG in (case.operation.tags or ()) else "alice"
            response = case.call(headers=keys[who])
            tried.append(response.status_code)
            assert response.status_code < 500, (case.as_curl_command(), response.text)

        answered()
    assert {200, 400, 403, 404} <= set(tried)
