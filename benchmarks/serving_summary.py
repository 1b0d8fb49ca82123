"""The figures of `benchmarks.serving`, for README and for the page on speed."""

from typing import Any


def serving_figures(serving: dict[str, Any]) -> str:
    """Markdown of how many times as fast as its peers the engine is."""
    summary = serving["summary"]
    rows = {
        "32 distinct users against 32 requests of the base alone, same engine": summary["users_against_base_alone"],
        "against batched `generate` of the base, with transformers' attention": summary["against_generate"]["sdpa"],
        "against batched `generate` of the base, with our attention": summary["against_generate"]["stacked"],
        "against PEFT LoRA-r4, a mixed batch by `adapter_names`": summary["against_peft_lora"],
        "against PEFT `LNTuningConfig`, `set_adapter` for one user after the other": summary["against_peft_norm"],
        "one stream against `generate` of one prompt, tokens a second": summary["one_stream_against_generate"],
        "one stream against `generate` of one prompt, time to the first token": summary["first_token_against_generate"],
    }
    table = "\n".join(f"| {name} | {ratio:.2f} |" for name, ratio in rows.items())
    low, high = summary["users_against_base_alone_interval"]
    return f"""| {summary["tokens_per_second"]:,.0f} tokens a second | times as fast |
|---|---|
{table}

The first is the median of {len(serving["runs"]["pairs"])} pairs, with a 95 % interval from {low:.2f} to {high:.2f}.
Decoding reads the weights at {summary["bandwidth_one_stream"]:.0%} of the rate at which the machine copies memory for
one stream, and at {summary["bandwidth_users"]:.0%} for 32. A user who is not on the device yet is admitted from SQLite
in {summary["admission_p50_ms"]:.1f} ms (p99 {summary["admission_p99_ms"]:.1f} ms)."""
