"""Answers that are held to a JSON Schema: three libraries beside one another, and what it costs the engine.

    pip install xgrammar outlines-core
    python -m benchmarks.grammars

*Libraries*: each in a process of its own makes its tokenizer from the base's, compiles schemas and tells which tokens
may come next along a text that follows the schema. *Engine*: the same requests with and without a schema in turns, in
new tokens for a second of processor time, which a machine that others share tells better than the clock does. What an
answer says differs between the two; how long prompts and answers are does not. A library that is not installed is left
out and said so.
"""

import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from sharedllm.base.loading import load_base
from sharedllm.base.resolve import DEFAULT_BASE, resolve_base
from sharedllm.reporting.environment import describe
from sharedllm.serving.engine import Engine
from sharedllm.serving.grammar import Grammars
from sharedllm.serving.request import Finished, Request, RequestEvent, Sampling

RESULT = Path(__file__).parent / "results" / "grammars.json"
USERS, NEW, PAIRS = 16, 32, 5
PATIENCE = 300
"""Seconds that one library may take."""
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
TEXT = '{"name": "Ann Lee", "age": 41, "tags": ["likes long walks", "reads"]}'
SCHEMAS: dict[str, dict[str, Any]] = {
    "person": PERSON,
    "many values": {"enum": [f"value {number}" for number in range(1000)]},
    "many properties": {
        "type": "object",
        "properties": {f"k{number}": {"type": "string"} for number in range(200)},
        "required": [f"k{number}" for number in range(200)],
        "additionalProperties": False,
    },
    "a thousand characters": {"type": "string", "maxLength": 1000},
}
ENDLESS = {"type": "array", "items": PERSON, "minItems": 1000}
Compile = Callable[[dict[str, Any]], Any]
Follow = Callable[[Any, list[int]], list[float]]


def main() -> None:
    if sys.argv[1:]:
        print(json.dumps(library(sys.argv[1])))
        return
    libraries = {}
    for name in ("llguidance", "xgrammar", "outlines-core"):
        print(name, "…", file=sys.stderr)
        command = [sys.executable, "-m", "benchmarks.grammars", name]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            libraries[name] = {"not measured": f"it was not done within {PATIENCE} s"}
            continue
        error = {"not measured": (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]}
        libraries[name] = json.loads(ran.stdout) if not ran.returncode else error
    print("engine …", file=sys.stderr)
    runs = engine()
    ratio = statistics.median(held / free for free, held in runs)
    summary = {"throughput with a schema beside without": ratio, "users": USERS, "new tokens each": NEW}
    result = {"environment": describe(), "summary": summary, "libraries": libraries, "tokens a CPU second": runs}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary, indent=2))


def library(name: str) -> dict[str, Any]:
    """What one library takes, in seconds of processor time."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve_base(DEFAULT_BASE))
    begun = time.process_time()
    compile, follow = {"llguidance": _llguidance, "xgrammar": _xgrammar, "outlines-core": _outlines}[name](tokenizer)
    ready = time.process_time() - begun
    compiled: dict[str, Any] = {}
    seconds: dict[str, float | str] = {}
    for said, schema in SCHEMAS.items():
        begun = time.process_time()
        try:
            compiled[said] = compile(schema)
        except Exception as error:
            seconds[said] = f"{type(error).__name__}"
            continue
        seconds[said] = time.process_time() - begun
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    return {
        "version": version(name),
        "tokenizer": ready,
        "compiled": seconds,
        "masks": [follow(compiled["person"], ids) for _ in range(5)],
    }


def _llguidance(tokenizer: Any) -> tuple[Compile, Follow]:
    library = importlib.import_module("llguidance")
    made = library.LLTokenizer(tokenizer.backend_tokenizer.to_str(), eos_token=tokenizer.eos_token_id)

    def compile(schema: dict[str, Any]) -> Any:
        matcher = library.LLMatcher(made, library.LLMatcher.grammar_from_json_schema(schema), log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def follow(compiled: Any, ids: list[int]) -> list[float]:
        matcher = compiled.deep_copy()
        return _timed(ids, matcher.compute_bitmask, matcher.consume_token)

    return compile, follow


def _xgrammar(tokenizer: Any) -> tuple[Compile, Follow]:
    library = importlib.import_module("xgrammar")
    about = library.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    compiler = library.GrammarCompiler(about, max_threads=1)
    mask = library.allocate_token_bitmask(1, about.vocab_size)

    def follow(compiled: Any, ids: list[int]) -> list[float]:
        matcher = library.GrammarMatcher(compiled)
        return _timed(ids, lambda: matcher.fill_next_token_bitmask(mask), matcher.accept_token)

    return lambda schema: compiler.compile_json_schema(json.dumps(schema), any_whitespace=False), follow


def _outlines(tokenizer: Any) -> tuple[Compile, Follow]:
    library, schemas = importlib.import_module("outlines_core"), importlib.import_module("outlines_core.json_schema")
    ids: dict[str, list[int]] = {}
    for id in range(len(tokenizer)):
        if id != tokenizer.eos_token_id and id not in tokenizer.all_special_ids and (text := tokenizer.decode([id])):
            ids.setdefault(text, []).append(id)
    vocabulary = library.Vocabulary(tokenizer.eos_token_id, ids)

    def follow(compiled: Any, ids: list[int]) -> list[float]:
        guide = library.Guide(compiled)
        return _timed(ids, guide.get_tokens, guide.advance)

    return lambda schema: library.Index(schemas.build_regex_from_schema(json.dumps(schema)), vocabulary), follow


def _timed(ids: list[int], mask: Callable[[], Any], accept: Callable[[int], Any]) -> list[float]:
    seconds = []
    for id in ids:
        begun = time.process_time()
        mask()
        seconds.append(time.process_time() - begun)
        accept(id)
    return seconds


def engine() -> list[tuple[float, float]]:
    """New tokens for a second of processor time without and with a schema, in turns; a first pair warms up."""
    base = load_base(DEFAULT_BASE)
    grammar = Grammars(base).of_schema("everybody", ENDLESS)
    prompt = base.encode("People of our town, as a list in JSON, with names, ages and what is said of them:\n")
    served = Engine(base)
    served.start()

    def run(held: bool) -> float:
        news: SimpleQueue[RequestEvent] = SimpleQueue()
        begun = time.process_time()
        for user in range(USERS):
            sampling = Sampling(temperature=1, min_p=0.05, seed=user)
            options: dict[str, Any] = {"grammar": grammar} if held else {"ignore_end": True}
            served.submit(
                Request(prompt, f"{user}", max_tokens=NEW, sampling=sampling, top_logprobs=None, **options), news.put
            )
        left = tokens = 0
        while left < USERS:
            event = news.get()
            if isinstance(event, Finished):
                left, tokens = left + 1, tokens + event.new_tokens
        if tokens != USERS * NEW:
            raise SystemExit(f"{tokens} tokens came where {USERS * NEW} were to")
        return tokens / (time.process_time() - begun)

    pairs = []
    for number in range(PAIRS + 1):
        first, second = (run(held) for held in ((False, True) if number % 2 else (True, False)))
        pairs.append((first, second) if number % 2 else (second, first))
    served.close()
    return pairs[1:]


if __name__ == "__main__":
    main()
