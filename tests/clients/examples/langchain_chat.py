import os

from langchain_openai import ChatOpenAI

llm = ChatOpenAI(
    base_url=os.environ["SHAREDLLM_URL"],
    api_key=os.environ["SHAREDLLM_KEY"],
    model=os.environ["SHAREDLLM_MODEL"],
    max_tokens=200,
)

# Examples
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, ConfigDict


class Bell(BaseModel):
    """A bell."""

    model_config = ConfigDict(extra="forbid")
    loud: bool


@tool
def ring(loud: bool) -> str:
    """Ring the bell."""
    return "Ding."


assert llm.invoke("Who came to the door?").usage_metadata["output_tokens"] > 0
print("chat")

assert sum(1 for _ in llm.stream("Who came to the door?")) > 1
print("stream")

assert len(llm.batch(["Who?", "Why?"])) == 2
print("batch")

assert isinstance(llm.with_structured_output(Bell, method="json_schema").invoke("A bell."), Bell)
print("structured output")

asked = HumanMessage("Ring.")
called = llm.bind_tools([ring], tool_choice="required", parallel_tool_calls=False).invoke([asked])
(call,) = called.tool_calls
llm.bind_tools([ring]).invoke([asked, called, ToolMessage(ring.invoke(call["args"]), tool_call_id=call["id"])])
print("tools")

responses = llm.model_copy(update={"use_responses_api": True})
assert responses.invoke("Who came to the door?").usage_metadata["output_tokens"] > 0
assert sum(1 for _ in responses.stream("Who came to the door?")) > 1
print("responses")
