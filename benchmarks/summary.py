"""The README's figures, made from the result files: nothing there is typed by hand.

    python -m benchmarks.summary          # rewrites the part of README.md between its two marks

A test fails where README.md and the result files disagree.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.exports_summary import exports_figures
from benchmarks.prior_summary import curve, prior_figures
from benchmarks.serving_summary import serving_figures
from benchmarks.short_turns_summary import short_turns_figures
from benchmarks.speed_summary import speed_figures
from benchmarks.worth_summary import worth_figures, worth_line

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
PRIOR_PAGE = README.parent / "docs" / "prior.md"
WORTH_PAGE = README.parent / "docs" / "worth.md"
SPEED_PAGE = README.parent / "docs" / "speed.md"
TEXT_PAGE = README.parent / "docs" / "text.md"
FEW = 10
"""Kinds with fewer people are too few to correlate."""
BEGIN, END = "<!-- figures: python -m benchmarks.summary -->\n", "<!-- end of figures -->\n"

PRIOR_BEGIN, PRIOR_END = "<!-- prior: python -m benchmarks.summary -->\n", "<!-- end of prior -->\n"
EXPORTS_BEGIN, EXPORTS_END = "<!-- exports: python -m benchmarks.summary -->\n", "<!-- end of exports -->\n"
SPEED_BEGIN, SPEED_END = "<!-- speed: python -m benchmarks.summary -->\n", "<!-- end of speed -->\n"
TURNS_BEGIN, TURNS_END = "<!-- short turns: python -m benchmarks.summary -->\n", "<!-- end of short turns -->\n"
WORTH_BEGIN, WORTH_END = "<!-- worth: python -m benchmarks.summary -->\n", "<!-- end of worth -->\n"


def main() -> None:
    README.write_text(with_figures(README.read_text()))
    PRIOR_PAGE.write_text(with_prior(PRIOR_PAGE.read_text()))
    SPEED_PAGE.write_text(with_speed(SPEED_PAGE.read_text()))
    WORTH_PAGE.write_text(with_worth(WORTH_PAGE.read_text()))
    TEXT_PAGE.write_text(with_exports(TEXT_PAGE.read_text()))


def with_figures(readme: str) -> str:
    """A README with its figures as the result files have them."""
    return _between(readme, BEGIN, figures(), END)


def with_prior(page: str) -> str:
    """The page on the prior with its figures as the result files have them."""
    return _between(page, PRIOR_BEGIN, prior_figures(), PRIOR_END)


def with_worth(page: str) -> str:
    """The page on worth with its figures as the result file has them."""
    return _between(page, WORTH_BEGIN, worth_figures(), WORTH_END)


def with_speed(page: str) -> str:
    """The page on speed with its figures as the result files have them."""
    return _between(page, SPEED_BEGIN, speed_figures(), SPEED_END)


def with_exports(page: str) -> str:
    """The page on text with its figures as the result file has them."""
    page = _between(page, EXPORTS_BEGIN, exports_figures(), EXPORTS_END)
    return _between(page, TURNS_BEGIN, short_turns_figures(), TURNS_END)


def _between(page: str, begin: str, figures: str, end: str) -> str:
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return before + begin + figures + end + after


def figures() -> str:
    """Markdown of every headline figure."""
    training, quality = (_load(name) for name in ("training", "quality"))
    serving, http = (_load(name) for name in ("serving", "serving_http"))
    soak, store, postgres = (_load(name) for name in ("soak", "store", "postgres"))
    packed, startup, fleet, people = (_load(name) for name in ("packed", "startup", "fleet", "people"))
    return f"""
**Quality.** {curve()}

{_quality(quality)}
{worth_line()}
**Training.** SmolLM2-135M, 100 steps of 512 tokens, {training["environment"]["cores"]} cores
({training["environment"]["cpu"]}): {_training(training)}

{_fleet(fleet)}

**A fleet of real people.** {_people(people)}

**Serving.** SmolLM2-135M on the same cores, 32 users, prompts of 64 tokens, 64 new ones, greedy:

{serving_figures(serving)}
{_http(http)}
{_soak(soak)}

![Tokens a second by users in the batch](benchmarks/results/serving.svg)

**Store.** {_store(store)}

{_postgres(postgres)}{_packed(packed)}

**On a GPU.** {_gpu(_load("gpu/serving"), _load("gpu/training"))}

**Start.** `sharedllm --help` takes {startup["median_seconds"]["sharedllm --help"]:.2f} s; an interpreter that does
nothing takes {startup["median_seconds"]["python -c pass"]:.2f} s.

"""


def _quality(quality: dict[str, Any]) -> str:
    summary = quality["summary"]
    users = list(summary)
    rows = []
    for name, first in quality["users"][users[0]].items():
        found = [summary[user].get(name) for user in users]
        cells = [_gained(each["heldout"]) if each else "not run" for each in found]
        others = [
            f"{-each['general']['improvement']['estimate'] or 0:+.1%}" for each in found if each and "general" in each
        ]
        rows.append(f"| {name} | {first.get('bytes', 0):,} | {' | '.join(cells)} | {', '.join(others)} |")
    lines = "\n".join(rows)
    return f"""With all of somebody's text, perplexity of the held-out text of {len(users)} sample users, in windows of
{quality["window"]} tokens, and how much lower than the bare base's it is, with a 95 % interval. Context is 500 tokens
of their own text before every window; LoRA-r4 has the best of the rates 2e-4, 5e-4 and 1e-3 by validation
text{_at_the_edge(quality)}.

| | bytes a user | {" | ".join(users)} | general text |
|---|---|{"---|" * len(users)}---|
{lines}
"""


def _gained(read: dict[str, Any]) -> str:
    gain = read["improvement"]
    if not gain["estimate"]:
        return f"{read['perplexity']:.2f}"
    return f"{read['perplexity']:.2f} ({gain['estimate']:.1%}, {gain['low']:.1%} to {gain['high']:.1%})"


def _at_the_edge(quality: dict[str, Any]) -> str:
    edge = [
        f"{user} {name.removeprefix('lora-r4 ')}"
        for user, contenders in quality["users"].items()
        for name, contender in contenders.items()
        if contender.get("rate") == 1e-3
    ]
    return f" (the highest for {', '.join(edge)}, so that a higher one may be better still)" if edge else ""


def _training(training: dict[str, Any]) -> str:
    summary, runs = training["summary"], training["runs"]
    perplexity = summary["heldout_perplexity"]
    return f"""{runs["ours"]["median_step_seconds"]:.2f} s a step.
PEFT's `LNTuningConfig` takes {summary["speed_against_peft"]:.1f} times as long in its plain float32 loop, and
{summary["speed_against_peft_bf16"]:.2f} times with our precision settings. Held-out perplexity is
{perplexity["ours"]:.2f} for ours, {perplexity["peft"]:.2f} and {perplexity["peft-bf16"]:.2f} for PEFT's. A step reaches
{summary["share_of_product_rate"]:.0%} of the machine's own bfloat16 matrix-product rate, in
{summary["peak_memory_gb"]:.1f} GB of memory."""


def _fleet(fleet: dict[str, Any]) -> str:
    summary, rates = fleet["summary"], fleet["summary"]["users_per_hour"]
    peaks = [f"{peak / 1e9:.1f} GB" for peak in summary["peak_bytes"].values()]
    *fewer, most = (name.removeprefix("memory-") for name in summary["peak_bytes"])
    return f"""{fleet["people"]} people with the same steps and tokens: {rates["loop"]:.0f} users an hour,
{summary["loop_against_peft"]:.1f} times PEFT's plain loop and {summary["loop_against_peft_bf16"]:.1f} times it with our
precision settings; with the start of a worker, the gate and the store, which so few people share,
{rates["fleet"]:.0f} users an hour and {summary["fleet_against_peft"]:.1f} times. Two workers on Ray take
{summary["ray_overhead"]:.0%} longer than two local ones. Peak memory with {", ".join(fewer)} and {most} people:
{", ".join(peaks[:-1])} and {peaks[-1]}; four fill a pass."""


def _people(people: dict[str, Any]) -> str:
    report, training = people["report"], people["training"][-1]
    everyone, gated = report["everyone"], report["gated"]
    kinds = ", ".join(f"{group['people']} of {kind}" for kind, group in report["kinds"].items())
    other, for_all = (_interval(everyone[name], ".0%") for name in ("over_other", "over_everyone"))
    general = sum("general text" in each["gate"]["reason"] for each in report["people"] if not each["gate"]["passed"])
    within = [
        f"{_interval(group['growth'], '.2f')} ({kind})"
        for kind, group in report["kinds"].items()
        if group["people"] >= FEW
    ]
    return f"""{everyone["people"]} people
({kinds}), each with a norm adapter of
{report["bytes_per_user"]:,} bytes on {report["base"]}, {training["users_per_hour"]:.0f} an hour in the last run of the
training. Perplexity on held-out text of their own falls by {everyone["median"]:.1%} in the median (tenth percentile
{everyone["p10"]:.1%}, ninetieth {everyone["p90"]:.1%}, worst {everyone["worst"]:.1%}), and for {everyone["improved"]}
of them the whole 95 % interval is above zero; for {everyone["general_worse"]} that of general text is below it. The
gate held back {everyone["held_back"]}, {general}
because general text might get too much worse; on held-out text of their own {gated["over_cautious"]} of these
improve, and {gated["spared"]} would have been harmed. Of the gain, {other}
is what another person's adapter, or the base where that is better, does not bring, and
{for_all} what one adapter trained on everybody's text does not. Its rank correlation with the amount of text is
{_interval(everyone["growth"], ".2f")}, but within a kind
{", ".join(within)}."""


def _interval(number: dict[str, float], form: str) -> str:
    return f"{number['value']:{form}} ({number['low']:{form}} to {number['high']:{form}})"


def _http(http: dict[str, Any]) -> str:
    def share(kind: str) -> str:
        rounds = [1 - each[kind] / each["engine"] for each in http["rounds"]]
        return f"{statistics.median(rounds):.0%} (rounds: {min(rounds):.0%} to {max(rounds):.0%})"

    return f"""HTTP takes {share("http")} of what an engine within the same bounds on memory
does, with 64 clients on the same cores, twice as many as run at once, and
{share("stream")} where every token is streamed."""


def _soak(soak: dict[str, Any]) -> str:
    summary = soak["summary"]
    first, last = summary["rss_mib_first_quarter"], summary["rss_mib_last_quarter"]
    return f"""Ten minutes at saturation: {summary["requests_done"]:,} requests, {summary["server_errors"]:.0f} server
errors, and {last:,.0f} MiB of memory in the last quarter of the time against {first:,.0f} MiB in the first."""


def _packed(packed: dict[str, Any]) -> str:
    find, served = packed["get"]["find"]["warm"], packed["get"]["served"]["warm"]
    starts = [each["total"] for each in packed["node_start"]["cold"]]
    return f"""

**Snapshot.** {packed["adapters"]:,} adapters of {packed["parameters"]:,} values,
{packed["pack"]["bytes_per_adapter"]:,.0f} bytes each: a node answers {statistics.median(starts):.1f} s after it was
started, the base not counted; a look-up takes {find["p50_us"]:.1f} µs (p99 {find["p99_us"]:.1f} µs), an adapter with
its checksum {served["p50_us"]:.0f} µs (p99 {served["p99_us"]:.0f} µs)."""


def _store(store: dict[str, Any]) -> str:
    ours, files = store["store"], store["files"]
    warm, cold, file = ours["get"]["warm"], ours["get"]["cold"], files["get"]["warm"]
    return f"""{store["adapters"]:,} releases of {store["parameters"]:,} values in SQLite:
{ours["put_per_second"]:,.0f} puts a second in batches, a get in {warm["p50_us"]:,.0f} µs (p99 {warm["p99_us"]:,.0f} µs,
cold {cold["p50_us"]:,.0f} µs), checksum verified. One safetensors file per user: {files["put_per_second"]:,.0f} puts a
second without fsync, {file["p50_us"]:,.0f} µs a get (p99 {file["p99_us"]:,.0f} µs), nothing verified."""


def _postgres(postgres: dict[str, Any]) -> str:
    largest, many = postgres["sizes"][-1], postgres["summary"]["ten_million"]
    warm, cold = largest["get"]["warm"], largest["get"]["cold"]
    return f"""{largest["users"]:,} releases of {postgres["parameters"]:,} values in PostgreSQL
{postgres["postgresql"]}: {largest["put_per_second"]:,.0f} puts a second in batches, a get in {warm["p50_us"]:,.0f} µs
(p99 {warm["p99_us"]:,.0f} µs, cold {cold["p50_us"]:,.0f} µs and {cold["p99_us"]:,.0f} µs), and
{largest["get_by_eight_per_second"]:,.0f} gets a second by eight clients. {many["users"]:,} users would take
{many["table_bytes"] / 1e9:,.0f} GB and {many["index_bytes"] / 1e9:,.1f} GB of indexes."""


def _gpu(serving: dict[str, Any], training: dict[str, Any]) -> str:
    summary, trained = serving["summary"], training["summary"]
    bandwidth = f"{summary['one_stream_bandwidth']:.0%} for one stream, {summary['32']['bandwidth']:.1%} for 32"

    def against_base(users: str) -> str:
        low, high = summary[users]["against_base_alone_interval"]
        return f"{summary[users]['against_base_alone']:.2f} times the base's ({low:.2f} to {high:.2f})"

    return f"""One {serving["environment"]["gpu"]}, PyTorch {serving["environment"]["packages"]["torch"]}: 32 distinct
users get {summary["32"]["tokens_a_second"]:,.0f} tokens a second, {against_base("32")} and
{summary["32"]["against_generate"]:.1f} times those of batched `generate`; 256 get
{summary["256"]["tokens_a_second"]:,.0f}, {against_base("256")} and
{summary["256"]["against_generate"]:.1f} times those of `generate`. One stream of the base has
{summary["one_stream"]:,.0f}, {summary["one_stream_against_generate"]:.1f} times those of `generate`.
Decoding reads the weights at {bandwidth} of the memory's
rate: so small a model waits for what happens between its passes. {trained["people"]} real people in one batch
train at {trained["users_an_hour"]:,.0f} an hour, {trained["against_peft"]:.0f} times PEFT's plain loop for
one after the other and {trained["against_peft_bf16"]:.0f} times it with our precision settings, and reach
{trained["share_of_product_rate"]:.0%} of the device's own bfloat16 rate."""


def _load(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


if __name__ == "__main__":
    main()
