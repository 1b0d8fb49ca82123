"""Chats with a model that were copied or are as models are given them, told from one person's words by who speaks.

At the heads of lines the owner is called by a word for that, like *You*, or by a name, and the model by its own. How
much such a head tells differs: *You said* is written by nobody, *User:* and *ChatGPT:* may stand in anybody's notes,
and a line of *You* alone in a poem.
"""

import re
import unicodedata
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from sharedllm.text.conversations.gathering import shown_name

_HEAD = 120
_FEWEST_BARE, _FEWEST_STRETCHES = 3, 2
_OFTEN, _LEAST_SHARE = 0.5, 0.3
_OF_CHATS_ALONE = {"you", "human"}
"""What nobody calls themselves in notes, so that whoever answers is somebody else."""

_ANSWERED = {"instruction", "prompt", "human"}
"""What has a *response*."""

_BEFORE = r"(?P<before>[\W_]{0,12})"
_AFTER = r"[\])>*_]{0,3}(?:(?P<colon>\s?:(?=[\s*_]|$)|：)|$)"
_VERB = (
    r"(?P<verb> said| hast gesagt| sagten| haben gesagt| hat gesagt| sagte| avez dit| as dit| a dit| dijiste| dijo"
    r"| disse| ha detto| zei| сказали| сказал| powiedział|说|說|の発言|의 말)"
)
_OWN = re.compile(
    rf"{_BEFORE}(?:(?P<name>you|user|human|me|du|sie|vous|tu|tú|você|je|jij|вы|你|您|나|用户|用戶|あなた|ユーザー|사용자)"
    rf"{_VERB}?|(?P<said>dijiste|hai detto|powiedział[ae]ś(?:\(-[aąe]ś\))?)|(?P<marked>prompt|instruction)){_AFTER}",
    re.IGNORECASE,
)
_MODEL = re.compile(
    rf"{_BEFORE}(?:o )?(?P<name>(?P<sure>chatgpt|gpt|copilot|deepseek|grok|assistant|perplexity|(?:meta|my) ai"
    r"|ai assistant|chatbot|qwen|le chat|bard|bing chat|asistente|ассистент|助手|アシスタント)"
    r"|(?P<person>claude|gemini|llama|mistral)|(?P<weak>ai|bot|model|ki|ia)|(?P<marked>response))"
    r"(?P<version>(?:[ \-]?(?:v?\d[\w.]*|o\d|sonnet|opus|haiku|pro|flash|mini|large|chat|turbo|plus|instruct)){0,4}"
    rf"(?: \([^()]{{1,30}}\))?){_VERB}?{_AFTER}",
    re.IGNORECASE,
)
_HEADING = re.compile(rf"{_BEFORE}(?P<name>[^\W\d_][\w.' \-()]{{0,40}}){_AFTER}")
_CODE = re.compile(r"[ \t]+\w+\s?:\s*[\w.\[\]| ]{0,30}[,=)]?$")
_TEMPLATE = re.compile(
    r"\s{0,12}(?:<s>|<\|begin_of_text\|>|<BOS_TOKEN>)?\s{0,3}(?:"
    r"<[|｜](?:\w{1,20}[|｜]>)?(?:<\|)?(?:system|user|assistant)(?:_TOKEN)?(?:[|｜]>|<[|｜]|\s|$)"
    r"|<start_of_turn>(?:user|model)(?:\s|$)|\[INST\])",
    re.IGNORECASE,
)
"""A chat as models are given it, at the head of a line; within one it may be of a program."""


class _Head(NamedTuple):
    """Who speaks from a line on, as they are called there.

    Attributes:
        is_model: whether it is the model rather than the owner.
        is_said: whether it says that they said something.
        is_bare: whether nothing but a name is on the line.
        tells: how surely the name is a model's: "sure", "person" where people bear it, "weak" where things do.
    """

    line: int
    name: str
    is_model: bool
    is_said: bool
    is_bare: bool
    tells: str


def speakers_in(lines: Sequence[str]) -> list[str]:
    """The owner and the model, as a chat of them calls them; nobody in a text that is none.

    Args:
        lines: of the text, those that are not empty.
    """
    if _is_template(lines):
        return ["user", "assistant"]
    plain = [shown_name(unicodedata.normalize("NFC", line[:_HEAD])) for line in lines]
    heads = [head for at, line in enumerate(lines) if not _CODE.match(line) and (head := _head(at, plain[at]))]
    if not any(head.name.casefold() in _ANSWERED for head in heads):
        heads = [head for head in heads if head.name.casefold() != "response"]
    if _is_chat(heads, len(lines)):
        return list(dict.fromkeys(head.name for head in heads))
    return _beside_one(plain, [head for head in heads if not head.is_bare])


def _is_template(lines: Sequence[str]) -> bool:
    """Whether much of a text is one that models are given: who writes about them shows one, too."""
    found = [at for at, line in enumerate(lines) if _TEMPLATE.match(line)]
    return bool(found) and (found[0] == 0 or (len(found) > 1 and _is_much(found, len(lines))))


def _head(at: int, line: str) -> _Head | None:
    own, model = _OWN.match(line), _MODEL.match(line)
    found = own or model
    if found is None:
        return None
    told = found.groupdict()
    is_marked = "#" in told["before"] or "**" in told["before"]
    is_said = bool(told["verb"] or told.get("said"))
    is_bare = not (told["colon"] or is_said or is_marked)
    # In a list a bare one is anybody's, and a thing without a sign is none that speaks.
    if (told["marked"] and not is_marked) or (is_bare and (told["before"] or told.get("weak"))):
        return None
    person = told.get("person") and not (told["version"] or is_said)
    tells = "weak" if told.get("weak") or told["marked"] else "person" if person else "sure"
    name = told["name"] or told["marked"] or told["said"]
    return _Head(at, name, own is None, is_said, is_bare, tells)


def _is_chat(heads: Sequence[_Head], lines: int) -> bool:
    """Whether an owner's heads and a model's come by turns, as often and over as much of a text as these have to."""
    pairs = [(one, two) for one, two in pairwise(heads) if two.is_model and not one.is_model]
    if any(one.is_said and two.is_said for one, two in pairs):
        return True
    spoken = [pair for pair in pairs if not (pair[0].is_bare or pair[1].is_bare)]
    # Of one question and its long answer the first line is the question's.
    if spoken and spoken[0][0].line == 0:
        return True
    enough = bool(spoken) or len(pairs) >= _FEWEST_BARE
    return enough and _is_much([head.line for pair in spoken or pairs for head in pair], lines)


def _beside_one(plain: Sequence[str], heads: Sequence[_Head]) -> list[str]:
    """A chat of a model with somebody who goes by a name, or of the owner with a model that is not known here."""
    found = ((at, _HEADING.match(line)) for at, line in enumerate(plain))
    named = [(at, each["name"].strip()) for at, each in found if each and each["colon"]]
    models = [head for head in heads if head.is_model]
    owners = [head for head in heads if not head.is_model]
    # Beside several models there are opinions of them.
    if not owners and len({_family(head.name) for head in models}) == 1:
        # A model's name that people bear, too, is one's of two who speak by turns.
        by_turns = len({name for _, name in named}) == 2 and all(
            one != other for (_, one), (_, other) in pairwise(named)
        )
        surely = [head for head in models if head.tells == "sure" or (head.tells == "person" and by_turns)]
        asked = _between(named, [-1, *(head.line for head in surely)], len(plain))
        return [*asked, models[0].name] if asked else []
    if not models:
        clear = [head.line for head in owners if head.name.casefold() in _OF_CHATS_ALONE]
        answered = _between(named, [*clear, len(plain)], len(plain))
        return [owners[0].name, *answered] if answered else []
    return []


def _between(named: Sequence[tuple[int, str]], edges: Sequence[int], lines: int) -> list[str]:
    """Whoever speaks in most of the stretches between lines, over much of a text; nobody if these are too few."""
    known = set(edges)
    others = [(at, name) for at, name in named if at not in known]
    within = {(bisect(edges, at), name): None for at, name in others if edges[0] < at < edges[-1]}
    counts = Counter(name for _, name in within)
    if len(edges) <= _FEWEST_STRETCHES or not counts:
        return []
    other, count = counts.most_common(1)[0]
    spoken = sorted([at for at, name in others if name == other] + [at for at in edges if 0 <= at < lines])
    return [other] if count >= max(_FEWEST_STRETCHES, _OFTEN * (len(edges) - 1)) and _is_much(spoken, lines) else []


def _family(model: str) -> str:
    return re.split(r"[\s\-\d]", model.casefold().removeprefix("chat"))[0]


def _is_much(found: Sequence[int], lines: int) -> bool:
    """Whether what lies between the first and the last of these lines is much of a text."""
    return found[-1] - found[0] + 1 >= _LEAST_SHARE * lines
