"""llama.cpp as a contender, run in an environment of its own: ``python -m benchmarks.peer_llamacpp FILE.gguf THREADS``.

It is its server, within this process and with continuous batching, as ``llama-server`` has it.
"""

import sys
import threading
from typing import Any

from benchmarks.loads import Answers, Submit, answer_loads, answers_alone

SLOTS, CONTEXT = 32, 1280


def main() -> None:
    told_to = answers_alone()
    from xllamacpp import CommonParams, Server

    params = CommonParams()
    params.model.path = sys.argv[1]
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[2])
    params.verbosity = -1
    server = Server(params)

    def make(answers: Answers) -> tuple[Submit, None]:
        def submit(place: int, prompt: list[int], new: int, own: bool) -> None:
            def told(piece: dict[str, Any]) -> bool:
                # A token whose character is incomplete comes with the next one.
                if piece["choices"][0]["finish_reason"] is None:
                    answers.token(place)
                return False

            def ask() -> None:
                server.handle_completions(
                    {
                        "prompt": prompt,
                        "n_predict": new,
                        "temperature": 0,
                        "ignore_eos": True,
                        "cache_prompt": False,
                        "stream": True,
                    },
                    told,
                )
                answers.end()

            threading.Thread(target=ask).start()

        return submit, None

    answer_loads(told_to, make)


if __name__ == "__main__":
    main()
