import base64
import json

import numpy as np
import pytest

from sharedllm.text.prose import why_not_prose
from sharedllm.text.samples import SAMPLES, sample_text

NOISE = np.random.default_rng(0).bytes(20_000)
RECORDS = [{"id": number, "name": "Alice", "note": "the cat sat"} for number in range(200)]
CHAT = [{"role": "user", "content": "I went to the sea and it was cold and grey and very beautiful."}] * 50
MACHINES = {
    "base64 in one line": (base64.b64encode(NOISE).decode(), "spaces and line breaks"),
    "base64 in lines": (base64.encodebytes(NOISE).decode(), "spaces and line breaks"),
    "hexadecimal": (NOISE.hex(" "), "digits and signs"),
    "JSON": (json.dumps(RECORDS), "JSON"),
    "JSON in lines": ("\n".join(map(json.dumps, RECORDS)), "JSON"),
    "JSON of a person's messages": (json.dumps(CHAT, indent=2), "JSON"),
    "tags": ("<div class='row'><p>Hello there</p><br/></div>\n" * 100, "<tags>"),
    "minified program": ("function f(a,b){return a?b:f(b,a)};var x=f(window,document);" * 50, "spaces and line breaks"),
    "numbers": ("".join(f"{number * 0.37:.3f},{number},{number % 7}\n" for number in range(500)), "digits and signs"),
    "binary": ("PNG\x01\x02 some words between them \x0e" * 100, "control characters"),
    "brackets without end": ("[" * 100_000, "digits and signs"),
}
PEOPLE = {
    "Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。" * 20,
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ" * 20,
    "Arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. " * 20,
    "Malayalam": "എല്ലാ മനുഷ്യരും സ്വതന്ത്രരായി ജനിക്കുന്നു. " * 20,
    "German": "Der Donaudampfschifffahrtsgesellschaftskapitän hat heute keine Zeit für Versicherungen. " * 20,
    "emoji": "👩‍👩‍👧‍👦 👍🏽 lol 😂😂 ok!!! " * 40,
    "a list": "".join(f"{number}. Buy milk, eggs and bread.\n" for number in range(60)),
    "a few lines": '{"a": 1}',
    "nothing": " \n" * 500,
}


@pytest.mark.parametrize(("text", "why"), MACHINES.values(), ids=MACHINES)
def test_what_no_person_wrote_is_doubted_and_says_why(text, why):
    assert why in why_not_prose(text)


@pytest.mark.parametrize("text", PEOPLE.values(), ids=PEOPLE)
def test_people_of_any_script_are_not_doubted(text):
    assert why_not_prose(text) is None


@pytest.mark.parametrize("name", SAMPLES)
def test_real_people_are_not_doubted_nor_programmers(name):
    text = sample_text(name)
    for begin in range(0, len(text), 100_000):
        assert why_not_prose(text[begin : begin + 100_000]) is None
