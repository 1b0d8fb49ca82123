"""Everybody's rows inside vLLM: its engine computes, and each token is scaled by its own request's row.

`plugin` is what vLLM calls in each of its processes, and `rows` what stands in its workers from then on; `passes` has
vLLM read and go on with texts, and `vllm_engine` lets requests in and tells of them, as `serving.engine` does.
"""
