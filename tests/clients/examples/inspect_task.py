import os

from inspect_ai.model import get_model

model = get_model(
    "openai-api/sharedllm/" + os.environ["SHAREDLLM_MODEL"],
    base_url=os.environ["SHAREDLLM_URL"],
    api_key=os.environ["SHAREDLLM_KEY"],
)

# Examples
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message

task = Task(
    dataset=[Sample(input="Who came to the door?", target="a"), Sample(input="And why?", target="e")],
    solver=[system_message("Be brief."), generate()],
    scorer=includes(),
    config=GenerateConfig(max_tokens=16, temperature=0.5, seed=1),
)
(log,) = eval(task, model=model, display="none", log_dir=os.environ["TMPDIR"])
assert log.status == "success", log.error
assert log.results.total_samples == 2
print("evaluation")
