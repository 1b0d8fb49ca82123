"""What four additions of 4 KB reach of what the same 16 KB reach at once, and what is known of the text before.

    python -m benchmarks.growing                    # twelve people, some four minutes of one core each
    python -m benchmarks.growing --base NAME        # on another base, beside what is there already

Each person's weeks are four pieces of their training block, a quarter of it apart, and what is read of them is never
trained on: five windows behind each piece, and the held-out block. `added` goes on from the week before, which is all
that is left of it; `at once` trains on all four together, for as many steps; `alone` knows the last week only; `mean`
averages the rows of the four weeks, each trained from the base; `halfway` is the last addition, moved back half of the
way. After the weeks, a stranger's piece is added. For every addition there is, on the windows behind the pieces before:
how much lower perplexity got (`actual`), what the gate foretells of that from the new windows (`foretold`), and by how
many nats a token the curvature says that losses rise, half of the mean squared gradients times the squared moves
(Kirkpatrick et al. 2017, equation 3), measured on the pieces before (`curvature_old`) and on the new one
(`curvature_new`). Nothing is chosen by any of it.

A person is written down when they are done, and the same command goes on with the next.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import Adapter
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import Base, load_base
from sharedllm.base.resolve import BARE_BASE
from sharedllm.evaluation.intervals import foretold
from sharedllm.evaluation.likelihood import token_losses
from sharedllm.evaluation.perplexity import Losses, Windows, row_losses, spread
from sharedllm.reporting.environment import describe
from sharedllm.text.people import Person, people
from sharedllm.text.repeats import Repeats
from sharedllm.text.splits import split_text
from sharedllm.text.windows import TokenizedText, text_windows, windows
from sharedllm.training.recipes import Recipe
from sharedllm.training.vectors import train_vectors

RESULT = Path(__file__).parent / "results" / "growing.json"
WEEKS, CHARACTERS, GAP = 4, 4_096, 200
BEHIND, HELDOUT = 5, 10
OF_A_KIND = 3
WEEK = Recipe("week", learning_rate=5e-3, schedule="constant", steps=8, windows_per_step=1, check_every=0)
TOGETHER = Recipe("together", learning_rate=5e-3, schedule="constant", steps=32, windows_per_step=1, check_every=0)

Row = npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=BARE_BASE)
    name: str = parser.parse_args().base
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    done = result.setdefault(name, {"recipes": [WEEK.as_dict(), TOGETHER.as_dict()], "people": {}})["people"]
    everybody = chosen(list(people()))
    base = load_base(name)
    injection = Injection(base, layout_of(base))
    for place, person in enumerate(everybody):
        if person.user in done:
            continue
        stranger = everybody[(place + len(everybody) // 2) % len(everybody)]
        done[person.user] = measured(base, injection, person, stranger)
        result[name]["environment"] = describe()
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        print(person.user, {way: f"{share:.0%}" for way, share in reached(done[person.user]).items()}, flush=True)


def chosen(everybody: Sequence[Person]) -> list[Person]:
    """The first few of each kind, one kind after the other, so that half a round away is somebody of another kind."""
    kinds = dict.fromkeys(person.kind for person in everybody)
    return [person for kind in kinds for person in islice((p for p in everybody if p.kind == kind), OF_A_KIND)]


def reached(person: dict[str, Any]) -> dict[str, float]:
    """The share that each way has of what `at once` gains over the base on held-out text, in perplexity."""
    base, once = (np.mean(person["heldout"][name]) for name in ("base", "at once"))
    ways = ("added", "alone", "mean", "halfway")
    return {
        way: float((1 - np.exp(np.mean(person["heldout"][way]) - base)) / (1 - np.exp(once - base))) for way in ways
    }


def measured(base: Base, injection: Injection, person: Person, stranger: Person) -> dict[str, Any]:
    """All of one person: losses of every row on every window, nats per token, and each addition's figures."""
    split = split_text(person.text)
    pieces, behind = weeks(base, split.train)
    heldout = spread(text_windows(split.heldout, base.encode, WEEK.window), HELDOUT)
    strange, behind_strange = weeks(base, split_text(stranger.text).train)
    rows: dict[str, Row] = {"base": np.zeros(injection.layout.size, np.float32)}
    apart = [_trained(base, injection, piece, WEEK) for piece in pieces]
    grown = apart[:1]
    for piece in pieces[1:]:
        grown.append(_trained(base, injection, piece, WEEK, grown[-1]))
    rows |= {f"week {week + 1}": row for week, row in enumerate(grown)}
    rows["added"] = grown[-1]
    rows["at once"] = _trained(base, injection, np.concatenate(pieces), TOGETHER)
    rows["alone"] = apart[-1]
    rows["mean"] = np.stack(apart).mean(axis=0)
    rows["halfway"] = ((grown[-1] + grown[-2]) / 2).astype(np.float32)
    rows["stranger"] = _trained(base, injection, strange[0], WEEK, grown[-1])
    read = {f"behind {week + 1}": cut for week, cut in enumerate(behind)}
    read |= {"behind stranger": behind_strange[0], "heldout": heldout}
    losses = {
        text: dict(zip(rows, row_losses(base, injection, np.stack([*rows.values()]), cut), strict=True))
        for text, cut in read.items()
    }
    additions = []
    for week in range(1, WEEKS + 1):
        start, model = f"week {week}", f"week {week + 1}" if week < WEEKS else "stranger"
        new = f"behind {week + 1}" if week < WEEKS else "behind stranger"
        text = pieces[week] if week < WEEKS else strange[0]
        old = [losses[f"behind {each + 1}"] for each in range(week)]
        gain, actual = _mean(old, start, "base"), 1 - np.exp(-_mean(old, model, start))
        told = foretold(losses[new]["base"], losses[new][start], losses[new][model], gain)
        move = (rows[model] - rows[start]) ** 2
        curvatures = [curvature(base, injection, rows[start], each) for each in (*pieces[:week], text)]
        additions.append(
            {
                "of": "stranger" if week == WEEKS else "own",
                "old_gain": gain,
                "actual": float(actual),
                "foretold": told and told.as_dict(),
                "curvature_old": float(np.mean(curvatures[:-1], axis=0) @ move / 2),
                "curvature_new": float(curvatures[-1] @ move / 2),
            }
        )
    per_token = {text: {name: _per_token(each).tolist() for name, each in of.items()} for text, of in losses.items()}
    return {"stranger": stranger.user, **per_token, "additions": additions}


def weeks(base: Base, text: str) -> tuple[list[npt.NDArray[np.int32]], list[Windows]]:
    """The ids of each week's piece, and the windows that are read behind it."""
    opened = len(base.encode(""))
    begins = [week * len(text) // WEEKS for week in range(WEEKS)]
    pieces = [np.asarray(base.encode(text[at : at + CHARACTERS])[opened:], np.int32) for at in begins]
    ends = [*begins[1:], len(text)]
    behind = [text[at + CHARACTERS + GAP : end] for at, end in zip(begins, ends, strict=True)]
    return pieces, [text_windows(each[: 20 * CHARACTERS], base.encode, WEEK.window)[:BEHIND] for each in behind]


def curvature(base: Base, injection: Injection, row: Row, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """The diagonal of the empirical Fisher information of one token at a row, float64 ``[P]``.

    A window's mean gradient has the variance of a token's over the number of its tokens, if tokens are independent.
    """
    import torch

    first, squares = base.tokens.unpredicted, np.zeros(len(row))
    cut = windows_of(base, ids)
    for window in torch.from_numpy(cut).to(base.device):
        values = torch.tensor(row[None], device=base.device).requires_grad_()
        with torch.enable_grad(), injection.rows(values, torch.zeros(1, dtype=torch.int64, device=base.device)):
            hidden = base.hidden(window[None])
            loss = token_losses(hidden[:, first - 1 : -1], base.head, window[None, first:]).mean()
            (gradient,) = torch.autograd.grad(loss, values)
        squares += gradient[0].double().cpu().numpy() ** 2
    found: npt.NDArray[np.float64] = squares / len(cut) * (cut.shape[1] - first)
    return found


def windows_of(base: Base, ids: npt.NDArray[np.int32]) -> Windows:
    """The whole windows of some ids."""
    return windows(ids, WEEK.window, tuple(base.encode("")))


def _trained(
    base: Base, injection: Injection, ids: npt.NDArray[np.int32], recipe: Recipe, start: Row | None = None
) -> Row:
    nothing = np.empty((0, recipe.window), np.int64)
    sha256 = hashlib.sha256(ids.tobytes()).hexdigest()
    text = TokenizedText("one", ids, nothing, nothing, sha256, Repeats(0, 0.0, ()), tuple(base.encode("")))
    starts = {} if start is None else {"one": Adapter(injection.layout.format, base.fingerprint, start)}
    (trained,) = train_vectors(base, injection, [text], recipe, starts=starts)
    if trained.adapter is None:
        raise SystemExit(f"training failed: {trained.error}")
    return trained.adapter.values


def _per_token(losses: Losses) -> npt.NDArray[np.float64]:
    return losses.nats / losses.tokens


def _mean(texts: Sequence[dict[str, Losses]], model: str, reference: str) -> float:
    """How much lower a model's loss is than a reference's over the windows of some texts, in nats per token."""
    return float(np.mean([_per_token(each[reference]) - _per_token(each[model]) for each in texts]))


if __name__ == "__main__":
    main()
