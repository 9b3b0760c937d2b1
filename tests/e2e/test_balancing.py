"""Calls over several providers, counted at the providers."""

import concurrent.futures

import pytest

from harness import check

REQUESTS = 400
# Chi-square with one degree of freedom: once in a million (and a bit) by chance.
ONCE_IN_A_MILLION = 23.93


@pytest.fixture
def pair(gateway, sim):
    """A tenant whose alias `chat` has two healthy targets of equal weight, and their accounts."""
    tenant, accounts = gateway.tenant(), [sim.account(), sim.account()]
    models = [tenant.serves(account)[1] for account in accounts]
    tenant.renew()
    return tenant, accounts, models


def shares(tenant, accounts, model):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: tenant.admin.chat(model), range(REQUESTS)):
            check.ok(answer)
    counts = [len(account.calls()) for account in accounts]
    assert sum(counts) == REQUESTS
    return counts


def balancer(tenant, models, algorithm, weights):
    backends = [{"model_uuid": model["uuid"], "weight": weight} for model, weight in zip(models, weights, strict=True)]
    made = tenant.admin.post("/load-balancers", {"name": "b", "alias": "balanced", "algorithm": algorithm, "backends": backends})
    check.ok(made, 201)
    tenant.renew()
    return made.json()


def chi_square(counts, weights):
    expected = [REQUESTS * weight / sum(weights) for weight in weights]
    return sum((count - e) ** 2 / e for count, e in zip(counts, expected, strict=True))


def test_two_healthy_targets_of_equal_weight_both_get_calls(pair):
    tenant, accounts, _ = pair
    counts = shares(tenant, accounts, "chat")
    assert min(counts) >= 0.15 * REQUESTS, counts


def test_weighted_random_keeps_to_its_weights(pair):
    tenant, accounts, models = pair
    balancer(tenant, models, "weighted_random", [3, 1])
    counts = shares(tenant, accounts, "balanced")
    assert chi_square(counts, [3, 1]) < ONCE_IN_A_MILLION, counts


def test_turns_are_taken_where_they_can_be_counted(pair, entry_kind):
    tenant, accounts, models = pair
    made = balancer(tenant, models, "weighted_round_robin", [3, 1])
    counts = shares(tenant, accounts, "balanced")
    assert chi_square(counts, [3, 1]) < ONCE_IN_A_MILLION, counts
    alone = made["algorithm_in_effect"] != "weighted_round_robin"
    assert alone == (entry_kind == "lambda"), made
    if entry_kind == "local":
        # One process: exactly in turn.
        assert counts == [300, 100]
