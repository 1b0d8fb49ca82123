import os

from llama_index.llms.openai_like import OpenAILike

llm = OpenAILike(
    api_base=os.environ["SHAREDLLM_URL"],
    api_key=os.environ["SHAREDLLM_KEY"],
    model=os.environ["SHAREDLLM_MODEL"],
    is_chat_model=True,
    is_function_calling_model=True,
    max_tokens=200,
)

# Examples
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool


def ring(loud: bool) -> str:
    """Ring the bell."""
    return "Ding."


turns = [ChatMessage(role="user", content="Who came to the door?")]
assert llm.chat(turns).message.role == "assistant"
print("chat")

assert sum(1 for _ in llm.stream_chat(turns)) > 1
print("stream")

assert llm.complete("Who came to the door?").raw.usage.completion_tokens > 0
print("complete")

called = llm.chat_with_tools(
    [FunctionTool.from_defaults(ring)], user_msg="Ring.", tool_required=True, allow_parallel_tool_calls=False
)
assert llm.get_tool_calls_from_response(called)[0].tool_name == "ring"
print("tools")
