import copy
import errno
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests import models

from sharedllm import Format, Site, register_format
from sharedllm.adapters.formats import registry
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.sites import gain_offset
from sharedllm.errors import DiskFull, Diverged, InvalidInput, TooLittleText, UnsupportedBase
from sharedllm.evaluation import likelihood
from sharedllm.evaluation.likelihood import token_losses
from sharedllm.evaluation.perplexity import base_losses, row_losses
from sharedllm.training import vectors
from sharedllm.training.checkpoints import Checkpoints
from sharedllm.training.recipes import Recipe, recipe_named
from sharedllm.training.step_windows import step_windows
from sharedllm.training.vectors import train_vectors

RECIPE = Recipe("r", learning_rate=2e-2, steps=8, window=16, check_every=3)
USERS = ["alice", "bob", "carol"]

BEYOND = 10**6
"""What makes of any token one that no base has."""

# Norms are computed in float32 even in a float64 model, and another batch size may round them otherwise.
CLOSE = {"rtol": 1e-3, "atol": 1e-5}


@pytest.fixture
def train(base_of, inject, text_of):
    """Train some users on the small float64 base; returns what became of each."""
    base = base_of("llama", torch.float64)
    injection = inject(base)

    def train(users, recipe=RECIPE, spoil=(), **options):
        texts = [text_of(user) for user in users]
        texts = [replace(text, train=text.train + BEYOND) if text.user in spoil else text for text in texts]
        results = train_vectors(base, injection, texts, recipe, **options)
        return {result.user: result for result in results}

    return train


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "training", "base-1")


@pytest.fixture
def slots(monkeypatch):
    """Make the batch as small as the test asks."""

    def slots(count, recipe=RECIPE):
        monkeypatch.setattr(vectors, "_TOKENS_AT_ONCE", {"cpu": count * recipe.windows_per_step * recipe.window})

    return slots


def kept(checkpoints):
    return list(checkpoints._folder.rglob("*.safetensors"))


def same_bits(first, second):
    return np.array_equal(first.adapter.values, second.adapter.values) and first.losses == second.losses


def interrupt_at(user, step):
    def on_step(who, taken):
        if (who, taken) == (user, step):
            raise KeyboardInterrupt

    return on_step


# What training does


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "format"),
    [(architecture, "norm") for architecture in models.ARCHITECTURES]
    + [("llama", "steering"), ("llama", "ia3"), ("adapted", "bank"), ("adapted", "norm+bank")],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_everyone_gets_better_on_text_never_seen_and_the_base_is_untouched(
    base_of, inject, text_of, weights_hash, architecture, format, dtype
):
    base = base_of(architecture, dtype)
    before = weights_hash(base.model)
    injection = inject(base, format)
    recipe = replace(RECIPE, method=format, learning_rate=5e-2, steps=20)
    for result in train_vectors(base, injection, map(text_of, USERS), recipe):
        assert result.error is None
        assert (result.adapter.format, result.adapter.base) == (format, base.fingerprint)
        assert result.adapter.values.dtype == np.float32
        heldout = text_of(result.user).heldout
        (adapted,) = row_losses(base, injection, result.adapter.values[None], heldout)
        assert adapted.nats_per_token < base_losses(base, heldout).nats_per_token - 0.02
    assert weights_hash(base.model) == before


def test_an_adapter_says_where_it_came_from(train, text_of):
    provenance = train(["alice"])["alice"].adapter.provenance
    assert provenance["recipe"] == RECIPE.as_dict()
    assert provenance["text_sha256"] == text_of("alice").sha256
    assert (provenance["steps"], provenance["repeated_lines"]) == (8, 0)
    assert provenance["version"]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3"])
def test_documented_moves_the_gains_as_adamw_on_the_real_weights(base_of, inject, text_of, architecture):
    base, text = base_of(architecture, torch.float64), text_of("alice")
    recipe = replace(recipe_named("documented"), steps=5, window=16)
    injection = inject(base)
    model = copy.deepcopy(base.model)
    norms = [model.get_submodule(site.name) for site in injection.layout.sites]
    weights = [norm.weight.requires_grad_() for norm in norms]
    before = torch.cat(weights).detach()
    optimiser = torch.optim.AdamW(weights, lr=5e-5, weight_decay=0.0)
    for step in range(5):
        ids = torch.from_numpy(step_windows(text, recipe, step))
        optimiser.zero_grad()
        logits = model(input_ids=ids).logits
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimiser.step()
    expected = torch.cat(weights).detach() - before
    (result,) = train_vectors(base, injection, [text], recipe)
    moved = (before + gain_offset(norms[0])) * torch.from_numpy(result.adapter.values)
    assert moved.abs().max() <= 5 * 5e-5 * 1.01
    # Five steps of 5e-5; what is left is float32 inside the norms, in gradients close to nothing.
    difference = (moved - expected).abs()
    assert difference.max() < 1e-6
    assert difference.median() < 1e-9


def test_nobody_is_nothing(train):
    assert train([]) == {}


# Nobody else matters


@pytest.mark.slow
def test_a_user_gets_the_same_alone_and_with_others(train):
    together = train(USERS)
    for user in USERS:
        alone = train([user])[user]
        np.testing.assert_allclose(together[user].adapter.values, alone.adapter.values, **CLOSE)
        np.testing.assert_allclose(together[user].losses, alone.losses, **CLOSE)


def test_who_the_others_are_does_not_change_a_bit(train):
    first, second = train(["alice", "bob", "carol"]), train(["alice", "dave", "erin"])
    assert same_bits(first["alice"], second["alice"])


@pytest.mark.slow
def test_many_users_pass_through_few_slots_and_are_read_when_there_is_room(train, text_of, base_of, inject, slots):
    slots(3)
    users = [f"user {number}" for number in range(20)]
    read = []

    def texts():
        for user in users:
            read.append(user)
            yield text_of(user)

    base = base_of("llama", torch.float64)
    results = []
    for result in train_vectors(base, inject(base), texts(), RECIPE):
        results.append(result)
        assert len(read) <= len(results) + 2
    assert sorted(result.user for result in results) == sorted(users)
    for result in results[::7]:
        np.testing.assert_allclose(result.adapter.values, train([result.user])[result.user].adapter.values, **CLOSE)


@pytest.mark.slow
def test_users_on_different_clocks_share_a_batch(train, slots, checkpoints):
    """One slot freed early is used at once: the newcomer's first step goes with the others' later ones."""
    with pytest.raises(KeyboardInterrupt):
        train(["alice"], checkpoints=checkpoints, on_step=interrupt_at("alice", 5))
    slots(2)
    order = []
    together = train(["alice", "bob", "carol"], checkpoints=checkpoints, on_step=lambda *step: order.append(step))
    assert order[:2] == [("alice", 6), ("bob", 1)]
    assert order.index(("carol", 1)) < order.index(("bob", 8))
    for user in ("alice", "bob", "carol"):
        np.testing.assert_allclose(together[user].adapter.values, train([user])[user].adapter.values, **CLOSE)


# Stopping


def test_the_best_step_is_kept_and_patience_stops(train, monkeypatch):
    script = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    monkeypatch.setattr(vectors._Batch, "_validate", lambda self, text, values: next(script))
    recipe = replace(RECIPE, steps=50, check_every=2, patience=2, schedule="constant")
    result = train(["alice"], recipe)["alice"]
    assert result.losses == [(2, 3.0), (4, 2.0), (6, 2.5), (8, 2.0)]
    assert result.adapter.provenance["steps"] == 8
    four_steps = train(["alice"], replace(recipe, steps=4, check_every=0))["alice"]
    assert np.array_equal(result.adapter.values, four_steps.adapter.values)


def test_patience_is_each_users_own(train, monkeypatch, text_of):
    rising = text_of("bob").sha256
    counts = iter(range(1, 100))
    monkeypatch.setattr(
        vectors._Batch,
        "_validate",
        lambda self, text, values: next(counts) if text.sha256 == rising else 1 / next(counts),
    )
    results = train(["alice", "bob"], replace(RECIPE, steps=12, check_every=2, patience=2))
    assert results["alice"].adapter.provenance["steps"] == 12
    assert results["bob"].adapter.provenance["steps"] == 6


def test_without_checks_the_last_step_counts(train):
    result = train(["alice"], replace(RECIPE, check_every=0))["alice"]
    assert result.losses == []
    assert result.adapter.values.any()


def test_a_user_whose_loss_is_no_number_stops_alone(train, text_of, monkeypatch, slots):
    healthy = train(["alice", "bob", "carol", "dave"])
    assert healthy["bob"].error is None
    sequence = torch.from_numpy(step_windows(text_of("bob"), RECIPE, 2))[0, 1:]

    def poisoned(hidden, head, targets):
        losses = token_losses(hidden, head, targets)
        bad = (targets == sequence).all(dim=1, keepdim=True)
        return losses * torch.where(bad, torch.nan, 1.0)

    monkeypatch.setattr(likelihood, "token_losses", poisoned)
    slots(3)
    results = train(["alice", "bob", "carol", "dave"])
    assert results["bob"].adapter is None
    assert isinstance(results["bob"].error, Diverged)
    assert "'bob'" in str(results["bob"].error)
    assert "step 2" in str(results["bob"].error)
    for user in ("alice", "carol", "dave"):
        assert results[user].error is None
        np.testing.assert_allclose(results[user].adapter.values, healthy[user].adapter.values, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_user_whose_tokens_the_base_does_not_have_stops_alone(train, slots, at_once):
    slots(at_once)
    healthy = train(["alice", "carol", "dave"])
    results = train(["alice", "bob", "carol", "dave"], spoil=["bob"])
    assert results["bob"].adapter is None
    assert "Training failed for 'bob': IndexError" in str(results["bob"].error)
    for user in ("alice", "carol", "dave"):
        np.testing.assert_allclose(results[user].adapter.values, healthy[user].adapter.values, **CLOSE)


def test_a_validation_that_fails_stops_its_user(train, monkeypatch, text_of):
    bob = text_of("bob").sha256
    monkeypatch.setattr(vectors._Batch, "_validate", lambda self, text, values: 1 / (text.sha256 != bob))
    results = train(["alice", "bob"])
    assert "ZeroDivisionError" in str(results["bob"].error)
    assert results["alice"].adapter


def test_a_validation_loss_that_is_no_number_stops_its_user(train, monkeypatch, text_of):
    bob = text_of("bob").sha256
    monkeypatch.setattr(
        vectors._Batch, "_validate", lambda self, text, values: float("nan") if text.sha256 == bob else 1.0
    )
    results = train(["alice", "bob"])
    assert isinstance(results["bob"].error, Diverged)
    assert results["alice"].adapter


def test_a_rate_beyond_all_reason_is_reported_not_stored(train):
    result = train(["alice"], replace(RECIPE, learning_rate=1e300, schedule="constant"))["alice"]
    assert result.adapter is None
    assert isinstance(result.error, Diverged)


@pytest.mark.parametrize("method", ["ia3", "steering", "lora-r4", "full"])
def test_a_recipe_for_another_method_is_refused(train, method):
    with pytest.raises(InvalidInput, match=f"{method} cannot train the norm format"):
        train(["alice"], replace(RECIPE, method=method))


def test_a_window_longer_than_the_text_is_refused(base_of, inject, text_of):
    base, text = base_of("llama", torch.float64), text_of("alice")
    short = replace(text, train=text.train[:300])
    with pytest.raises(TooLittleText):
        list(train_vectors(base, inject(base), [short], replace(RECIPE, window=400)))


def test_a_window_longer_than_the_context_is_refused(train):
    with pytest.raises(UnsupportedBase, match="do not fit the context"):
        train(["alice"], replace(RECIPE, window=2_000))


# Resuming


@pytest.mark.parametrize("step", range(1, 9))
def test_an_interrupted_run_ends_with_the_same_bits(train, checkpoints, step):
    expected = train(USERS)
    with pytest.raises(KeyboardInterrupt):
        train(USERS, checkpoints=checkpoints, on_step=interrupt_at(USERS[-1], step))
    assert len(kept(checkpoints)) == 3
    taken = []
    resumed = train(USERS, checkpoints=checkpoints, on_step=lambda user, step: taken.append(step))
    assert all(same_bits(resumed[user], expected[user]) for user in USERS)
    assert min(taken, default=9) == step + 1
    assert not kept(checkpoints)


@pytest.mark.parametrize("user", USERS)
def test_an_interruption_amid_the_users_of_a_step_repeats_no_ones_step(train, checkpoints, user):
    expected = train(USERS)
    with pytest.raises(KeyboardInterrupt):
        train(USERS, checkpoints=checkpoints, on_step=interrupt_at(user, 4))
    resumed = train(USERS, checkpoints=checkpoints)
    for each in USERS:
        np.testing.assert_allclose(resumed[each].adapter.values, expected[each].adapter.values, **CLOSE)
        assert [step for step, _ in resumed[each].losses] == [3, 6, 8]


@pytest.mark.parametrize("check", [1, 2, 3])
def test_an_interrupted_validation_is_done_again(train, checkpoints, monkeypatch, check):
    expected = train(["alice"])
    validate, calls = vectors._Batch._validate, []

    def interrupted(self, text, values):
        calls.append(text)
        if len(calls) == check:
            raise KeyboardInterrupt
        return validate(self, text, values)

    monkeypatch.setattr(vectors._Batch, "_validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(["alice"], checkpoints=checkpoints)
    assert same_bits(train(["alice"], checkpoints=checkpoints)["alice"], expected["alice"])


@pytest.mark.parametrize("name", ["values", "mean", "square"])
def test_an_interruption_inside_the_update_leaves_the_step_before(train, checkpoints, monkeypatch, name):
    """Whichever of the three rows is being written when Ctrl-C comes."""
    expected = train(["alice"])
    update = vectors.RowState.update

    def torn(self, rows, gradient, steps, *how):
        before = getattr(self, name).clone()
        update(self, rows, gradient, steps, *how)
        if steps == [4]:
            getattr(self, name).copy_(before)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(vectors.RowState, "update", torn)
        train(["alice"], checkpoints=checkpoints)
    assert same_bits(train(["alice"], checkpoints=checkpoints)["alice"], expected["alice"])


@pytest.mark.parametrize("paths", [["model.norm"], ["model.norm", "model.layers.0.mlp"]])
def test_a_run_begins_anew_where_its_format_has_come_to_act_elsewhere(
    base_of, text_of, checkpoints, monkeypatch, paths
):
    monkeypatch.setattr(registry, "_registered", {})
    base = base_of("llama", torch.float64)
    began = []
    for sites in (["model.layers.1.mlp"], paths):
        register_format(Format("own", lambda model, sites=sites: [Site(each, 32) for each in sites]), replace=True)
        recipe = replace(RECIPE, method="own")
        injection = Injection(base, layout_of(base, "own"))
        steps = []
        training = train_vectors(
            base,
            injection,
            [text_of("alice")],
            recipe,
            checkpoints=checkpoints,
            on_step=lambda _, step, steps=steps: steps.append(step),
        )
        next(training)
        # Closed before its result was taken, it leaves its checkpoint.
        training.close()
        injection.remove()
        began.append(steps[0])
    assert began == [1, 1]


def test_a_killed_run_resumes_from_its_last_checkpoint(train, checkpoints, tmp_path, monkeypatch):
    """What lies on the disk while the run goes on is enough: nothing has to be written at the end."""
    monkeypatch.setattr(vectors, "_CHECKPOINT_SECONDS", 0.0)
    copied = tmp_path / "as it was at step 5"

    def on_step(user, step):
        if step == 5:
            shutil.copytree(checkpoints._folder, copied)

    expected = train(["alice"], checkpoints=checkpoints, on_step=on_step)
    taken = []
    survivor = Checkpoints(copied, "base-1")
    resumed = train(["alice"], checkpoints=survivor, on_step=lambda user, step: taken.append(step))
    assert same_bits(resumed["alice"], expected["alice"])
    assert taken == [5, 6, 7, 8]


def test_a_result_that_the_consumer_could_not_keep_is_there_again(base_of, inject, text_of, train, checkpoints):
    expected = train(USERS)
    base = base_of("llama", torch.float64)
    results = train_vectors(base, inject(base), map(text_of, USERS), RECIPE, checkpoints=checkpoints)
    first, second = next(results), next(results)
    assert [first.user, second.user] == ["alice", "bob"]
    results.close()
    assert len(kept(checkpoints)) == 2
    taken = []
    resumed = train(["bob", "carol"], checkpoints=checkpoints, on_step=lambda *step: taken.append(step))
    assert taken == []
    assert all(same_bits(resumed[user], expected[user]) for user in ("bob", "carol"))
    assert not kept(checkpoints)


def test_someone_who_ran_out_of_patience_is_not_trained_on_after_a_resume(train, checkpoints, monkeypatch, text_of):
    alice = text_of("alice").sha256
    losses = {True: iter([1.0, 2.0, 3.0]), False: iter([9.0, 8.0, 7.0, 6.0, 5.0, 4.0])}
    monkeypatch.setattr(vectors._Batch, "_validate", lambda self, text, values: next(losses[text.sha256 == alice]))
    recipe = replace(RECIPE, steps=12, check_every=2, patience=2)
    with pytest.raises(KeyboardInterrupt):
        train(["alice", "bob"], recipe, checkpoints=checkpoints, on_step=interrupt_at("bob", 6))
    resumed = train(["alice", "bob"], recipe, checkpoints=checkpoints)
    assert resumed["alice"].adapter.provenance["steps"] == 6
    assert resumed["bob"].adapter.provenance["steps"] == 12


def test_a_corrupt_checkpoint_is_trained_over(train, checkpoints):
    expected = train(["alice"])
    with pytest.raises(KeyboardInterrupt):
        train(["alice"], checkpoints=checkpoints, on_step=interrupt_at("alice", 4))
    (path,) = kept(checkpoints)
    path.write_bytes(path.read_bytes()[:-7])
    assert same_bits(train(["alice"], checkpoints=checkpoints)["alice"], expected["alice"])


def test_who_diverged_leaves_no_checkpoint_behind(train, checkpoints, monkeypatch):
    monkeypatch.setattr(vectors._Batch, "_validate", lambda self, text, values: float("nan"))
    assert isinstance(train(["alice"], checkpoints=checkpoints)["alice"].error, Diverged)
    assert not kept(checkpoints)


def test_a_full_disk_is_named_as_such(train, checkpoints, monkeypatch):
    monkeypatch.setattr(vectors, "_CHECKPOINT_SECONDS", 0.0)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull, match="No space left"):
        train(["alice"], checkpoints=checkpoints)
    assert not kept(checkpoints)
