"""A chat template is somebody else's program: whatever it does, it ends soon, with a text or an error that says so."""

import sys
import time

import pytest
from tests import models

from sharedllm.base import templates
from sharedllm.base.templates import rendered
from sharedllm.errors import InvalidInput

SAID = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "you"}]


@pytest.fixture
def write():
    """Render a template."""

    def write(template, messages=SAID, asking=True):
        tokenizer = models.tokenizer()
        tokenizer.chat_template = template
        return rendered(tokenizer, messages, asking=asking), tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=asking
        )

    return write


@pytest.mark.parametrize(
    "template",
    [
        "{{ bos_token }}{% for m in messages %}\n    {{ m.role }}: {{ m['content'] | trim }}\n{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m | tojson(indent=2) }}{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "{% macro say(m) %}{{ m.content * 3 }}{% endmacro %}{{ say(messages[0]) }}",
        "{{ '%05d' % 7 }}{{ '{:>4}'.format('a') }}{{ eos_token }}",
        "{{ strftime_now('%Y') }}{{ messages[0].content.replace('h', 'j').upper() ~ messages | length }}",
        "{{ messages[-1]['content'].split('o')[0] }}{{ dict(a=1) }}{{ '-' * 40 }}{{ 2 ** 10 }}",
        "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}",
        "{%- for m in messages %}\n  {%- if m.role -%} {{ m.content | indent(4) }} {%- endif %}\n{%- endfor %}\n",
    ],
)
@pytest.mark.parametrize("asking", [True, False])
def test_what_templates_do_is_what_transformers_makes_of_them(write, template, asking):
    ours, theirs = write(template, asking=asking)
    assert ours == theirs


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no system') }}",
        "{{ messages[0].content.nothere() }}",
        "{{ 1 // 0 }}",
        "{{ messages[9].content }}",
        "{{ nothing.at.all }}",
        "{{ messages | nosuchfilter }}",
        "{% if %}",
        "{{ messages[0] + 1 }}",
        "{{ ''.__class__.__mro__ }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% include 'x' %}",
        "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
    ],
)
def test_whatever_a_template_raises_is_one_error_that_says_so(write, template):
    with pytest.raises(InvalidInput, match=r"chat template refuses these messages: ['\w]"):
        write(template)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ 'a' * 1000 }}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ f(n - 1) if n else '' }}{{ f(n - 1) if n else '' }}{% endmacro %}{{ f(60) }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ 'a' * 10**10 }}",
        "{{ [0] * 10**10 }}",
        "{{ ('a' * 10**6) * 10**6 }}",
        "{% set ns = namespace(x=7) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
        "{{ 'a'.center(10**10) }}",
        "{{ 'a' | center(10**10) }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '%*d' % (10**10, 1) }}",
        "{{ '{:>9999999999}'.format(1) }}",
        "{{ '%9999999999d' | format(1) }}",
        "{{ messages | tojson(indent=10**10) }}",
        "{{ 'a' | indent(10**10) }}",
    ],
)
def test_a_template_takes_bounded_time_and_makes_nothing_huge(write, template, monkeypatch):
    monkeypatch.setattr(templates, "_SECONDS", 0.2)
    begun = time.thread_time()
    with pytest.raises(InvalidInput, match="chat template"):
        write(template)
    assert time.thread_time() - begun < 2


def test_a_long_conversation_is_far_from_the_bounds(write):
    template = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content | trim }}</s>\n{% endfor %}"
    begun = time.thread_time()
    ours, theirs = write(template, SAID * 1024)
    assert ours == theirs
    assert time.thread_time() - begun < 1


def test_whoever_traced_before_traces_on(write):
    def trace(*_):
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        write("{{ messages[0].content }}")
        found = sys.gettrace()
    finally:
        sys.settrace(before)
    assert found is trace
