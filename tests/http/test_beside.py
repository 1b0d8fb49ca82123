"""What clients ask beside answers: tokens, versions, whether it lives, heads alone, and from pages of other sites."""

import pytest

import sharedllm

TEMPLATE = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"
SITE = "https://example.com"


def test_a_prompt_becomes_the_ids_that_a_completion_of_it_reads_and_back(serving, published):
    server = serving()
    found = server.alice.post("/tokenize", json={"model": server.model, "prompt": "hi you"}).json()
    ids = published.base.encode("hi you")
    assert found == {"count": len(ids), "max_model_len": server.engine.context, "tokens": ids}
    text = server.alice.post("/detokenize", json={"model": server.model, "tokens": ids}).json()
    assert text == {"prompt": "hi you"}


def test_so_does_a_conversation(serving, published, monkeypatch):
    monkeypatch.setattr(published.base.tokenizer, "chat_template", TEMPLATE)
    server = serving()
    asked = {"model": server.model, "messages": [{"role": "user", "content": "hi"}]}
    server.alice.post("/v1/chat/completions", json=asked)
    assert server.alice.post("/tokenize", json=asked).json()["tokens"] == server.engine.requests[0].prompt
    ended = server.alice.post("/tokenize", json={**asked, "add_generation_prompt": False}).json()
    assert ended["tokens"] == server.engine.requests[0].prompt[:-1]


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("tokenize", {}, 400),
        ("tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, 400),
        ("tokenize", {"prompt": "a", "add_special_tokens": False}, 400),
        ("tokenize", {"prompt": "a" * 10_000}, 400),
        ("tokenize", {"prompt": "a", "model": "another"}, 404),
        ("detokenize", {"tokens": [99_999]}, 400),
        ("detokenize", {"tokens": []}, 400),
    ],
)
def test_what_cannot_be_tokenized_is_refused(serving, path, asked, status):
    server = serving()
    assert server.alice.post(f"/{path}", json={"model": server.model, **asked}).status_code == status
    assert server.nobody.post(f"/{path}", json={"model": server.model, **asked}).status_code == 401


def test_embeddings_are_a_clear_no(serving):
    response = serving().alice.post("/v1/embeddings", json={"model": "m", "input": "a"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "no_embeddings")


def test_it_says_its_version_and_whether_it_is_alive_under_every_usual_name(serving):
    server = serving()
    assert server.nobody.get("/version").json() == {"version": sharedllm.__version__}
    assert {server.nobody.get(path).status_code for path in ("/health", "/ping", "/healthz")} == {200}
    server.engine.healthy = False
    assert {server.nobody.get(path).status_code for path in ("/health", "/ping", "/healthz")} == {503}


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/metrics", "/openapi.json", "/v1/users/alice"])
def test_a_head_is_what_a_get_says_without_its_body(serving, path):
    server = serving()
    head, get = server.alice.head(path), server.alice.get(path)
    assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])
    assert (head.content, get.status_code) == (b"", 200)
    assert server.alice.head("/v1/completions").status_code == 405


def test_pages_of_sites_that_are_named_may_use_it_and_no_others(serving):
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    server = serving(origins=(SITE,))
    for origin, allowed in ((SITE, SITE), ("https://elsewhere.com", None)):
        asked = server.nobody.options("/v1/completions", headers={"Origin": origin, **preflight})
        assert asked.headers.get("access-control-allow-origin") == allowed
    told = server.alice.get("/v1/models", headers={"Origin": SITE}).headers
    assert "X-SharedLLM-Route" in told["access-control-expose-headers"]
    closed = serving().nobody.options("/v1/completions", headers={"Origin": SITE, **preflight})
    assert "access-control-allow-origin" not in closed.headers
