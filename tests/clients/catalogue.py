"""Which clients are tried, what each needs, and what it does: a file of `examples/` each."""

import re
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).parent / "examples"
CUT = re.compile("^(#|//) Examples$", re.MULTILINE)
"""What stands above this line of a file is what somebody has to type."""


@dataclass(frozen=True)
class Client:
    """A client, or a shape of requests.

    Attributes:
        name: as its makers write it.
        file: of `examples/`.
        packages: pinned, from the registry of its language.
        light: whether installing it is quick enough for every run of CI.
        note: what whoever uses it has to know.
    """

    name: str
    file: str
    packages: tuple[str, ...] = ()
    light: bool = True
    note: str = ""

    @property
    def path(self) -> Path:
        return EXAMPLES / self.file

    @property
    def typed(self) -> str:
        """What somebody has to type."""
        return CUT.split(self.path.read_text())[0].strip()


CLIENTS = (
    Client("openai (Python)", "openai_python.py", ("openai==3.57.0",)),
    Client("openai (Node)", "openai_node.mjs", ("openai@6.49.0",)),
    Client(
        "AI SDK",
        "ai_sdk.mjs",
        ("ai@6.0.326", "@ai-sdk/openai-compatible@2.0.92", "@ai-sdk/openai@3.0.141"),
        note="With `@ai-sdk/openai`, say `providerOptions: { openai: { store: false } }` in conversations: by default"
        " it refers to earlier items by their ids, which are not kept.",
    ),
    Client("LangChain", "langchain_chat.py", ("langchain-openai==1.7.4",)),
    Client("LlamaIndex", "llamaindex.py", ("llama-index-llms-openai-like==0.8.1",), light=False),
    Client("llm", "llm_cli.sh", ("llm==0.36",)),
    Client("litellm", "litellm_sdk.py", ("litellm==1.110.2",), light=False),
    Client("inspect-ai", "inspect_task.py", ("inspect-ai==0.3.285", "openai==3.57.0"), light=False),
    Client(
        "lm-eval",
        "lm_eval.sh",
        ("lm-eval[api]==0.4.13", "transformers==5.23.0"),
        light=False,
        note="Choices are scored by prompts of token ids, so it needs the base's tokenizer: `SHAREDLLM_TOKENIZER` is a"
        " folder or hub id of the same base.",
    ),
    Client("promptfoo", "promptfoo.sh", ("promptfoo@0.121.20",), light=False),
    Client("GuideLLM", "guidellm.sh", ("guidellm==0.8.1",), light=False),
    Client(
        "Open WebUI",
        "open_webui.py",
        note="Its shapes of requests are sent, not the program itself. Under *Connections* give the address and the"
        " key; everybody who uses that connection is answered by the key's one user.",
    ),
    Client(
        "LibreChat",
        "librechat.py",
        note="Its shapes of requests are sent, not the program itself. It says its own user ids in `user`, which a key"
        " of one user may not: `dropParams` leaves them out.",
    ),
)
