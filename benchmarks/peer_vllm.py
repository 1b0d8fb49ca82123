"""vLLM as a contender, run in an environment of its own: ``python -m benchmarks.peer_vllm MODEL [ADAPTERS]``.

``ADAPTERS`` is a folder of PEFT's LoRA folders ``0``, ``1`` …, one a person; without it the base answers alone. The
engine is stepped in this process: a second one would wait for messages in a loop and look as if it computed.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.loads import Answers, Submit, answer_loads, answers_alone

CONTEXT, RUNNING, CACHE_GIB = 2048, 64, 1


def main() -> None:
    told_to = answers_alone()
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": f"{CACHE_GIB}",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    from vllm import EngineArgs, LLMEngine, SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.sampling_params import RequestOutputKind

    model, *rest = sys.argv[1:]
    adapters = sorted(Path(rest[0]).iterdir(), key=lambda each: int(each.name)) if rest else []
    options = {"enable_lora": True, "max_loras": len(adapters), "max_lora_rank": 8} if adapters else {}
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=model,
            dtype="bfloat16",
            max_model_len=CONTEXT,
            max_num_seqs=RUNNING,
            # Prompts are new in every turn, and other contenders keep none of the base's.
            enable_prefix_caching=False,
            disable_log_stats=True,
            **options,
        )
    )

    def make(answers: Answers) -> tuple[Submit, Callable[[], None]]:
        def submit(place: int, prompt: list[int], new: int, own: bool) -> None:
            sampling = SamplingParams(
                temperature=0, max_tokens=new, ignore_eos=True, output_kind=RequestOutputKind.DELTA
            )
            # Of more requests than people some are the same person's.
            number = place % len(adapters) if own else 0
            lora = LoRARequest(f"{number}", number + 1, f"{adapters[number]}") if own else None
            engine.add_request(f"{place}", {"prompt_token_ids": prompt}, sampling, lora_request=lora)

        def step() -> None:
            for output in engine.step():
                for _ in output.outputs[0].token_ids:
                    answers.token(int(output.request_id.split("-")[0]))
                if output.finished:
                    answers.end()

        return submit, step

    answer_loads(told_to, make)


if __name__ == "__main__":
    main()
