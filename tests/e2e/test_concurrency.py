"""Many at once: exactly one winner where there can be one, nobody lost where all can win."""

import collections
import concurrent.futures

import pytest

from harness import check
from harness.gateway import unique

N = 50
KEY = "sk-0123456789abcdefghijklmn"


def at_once(call, count=N):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def statuses(answers):
    return collections.Counter(answer.status_code for answer in answers)


@pytest.mark.fault("P4")
def test_one_provider_name_has_one_winner(gateway, tenant):
    answers = at_once(lambda n: tenant.admin.post("/providers/openai", {"name": "wanted" if n % 2 else "WANTED", "data": {"apikey": KEY}}))
    assert statuses(answers) == {201: 1, 409: N - 1}
    for answer in answers:
        if answer.status_code == 409:
            check.error(answer, 409, "conflict")
    (winner,) = [answer.json()["uuid"] for answer in answers if answer.status_code == 201]
    assert [p["uuid"] for p in tenant.providers()] == [winner]
    orphans(gateway, tenant, {winner})


def test_different_providers_are_all_there(gateway, tenant):
    answers = at_once(lambda n: tenant.admin.post("/providers/openai", {"name": f"p{n}", "data": {"apikey": KEY}}))
    assert statuses(answers) == {201: N}
    made = {answer.json()["uuid"] for answer in answers}
    assert {p["uuid"] for p in tenant.providers()} == made and len(made) == N
    orphans(gateway, tenant, made)


@pytest.mark.fault("P5")
def test_different_aliases_are_all_there(tenant, account):
    provider = tenant.provider(account)
    answers = at_once(lambda n: tenant.admin.post(f"/providers/{provider['uuid']}/models", {"id": "gpt-4o", "alias": f"a{n}"}))
    assert statuses(answers) == {201: N}
    assert {m["alias"] for m in tenant.models()} == {f"a{n}" for n in range(N)}
    for answer in at_once(lambda n: tenant.admin.chat(f"a{n}"), 10):
        check.ok(answer)


@pytest.mark.fault("P6")
def test_one_model_is_enabled_once(tenant):
    provider = tenant.provider(apikey=KEY)
    answers = at_once(lambda n: tenant.admin.post(f"/providers/{provider['uuid']}/models", {"id": "gpt-4o", "alias": "a"}))
    assert statuses(answers) == {201: 1, 200: N - 1}
    assert len({answer.json()["uuid"] for answer in answers}) == 1 and len(tenant.models()) == 1


@pytest.mark.fault("P4")
def test_one_tenant_name_has_one_winner(gateway):
    name = unique("wanted")
    answers = at_once(lambda n: gateway.operator.post("/tenant", {"name": name if n % 2 else name.upper()}))
    assert statuses(answers) == {201: 1, 409: N - 1}
    (winner,) = [answer for answer in answers if answer.status_code == 201]
    check.ok(gateway.api(winner.json()["api_key"]).get("/tenant"))
    assert [t["name"].lower() for t in check.ok(gateway.operator.get("/tenants"))["data"]].count(name.lower()) == 1


def test_different_tenants_are_all_there(gateway):
    stem = unique("many")
    answers = at_once(lambda n: gateway.operator.post("/tenant", {"name": f"{stem}-{n}"}), 20)
    assert statuses(answers) == {201: 20}
    names = [t["name"] for t in check.ok(gateway.operator.get("/tenants"))["data"]]
    assert sum(name.startswith(stem) for name in names) == 20


def test_renames_to_one_name_have_one_winner(gateway):
    tenants = [gateway.tenant() for _ in range(10)]
    name = unique("throne")
    answers = at_once(lambda n: tenants[n].admin.put("/tenant", {"name": name}), 10)
    assert statuses(answers) == {200: 1, 409: 9}
    for one, answer in zip(tenants, answers):
        assert check.ok(one.admin.get("/tenant"))["name"] == (name if answer.status_code == 200 else one.name)


@pytest.mark.fault("P5", "S8")
def test_mixed_changes_lose_nothing(tenant, account):
    """Providers, models and keys made and removed at the same time: what remains is what was answered."""
    provider = tenant.provider(account)
    doomed = [tenant.model(provider, "gpt-4o", f"old{n}") for n in range(10)]

    def change(n):
        kind, number = n % 4, n // 4
        if kind == 0:
            return tenant.admin.post(f"/providers/{provider['uuid']}/models", {"id": "gpt-4o", "alias": f"new{number}"})
        if kind == 1:
            return tenant.admin.post("/providers/anthropic", {"name": f"n{number}", "data": {"apikey": KEY}})
        if kind == 2:
            return tenant.admin.delete(f"/models/{doomed[number]['uuid']}")
        return tenant.admin.post("/keys", {"name": f"k{number}", "scopes": ["inference"]})

    assert statuses(at_once(change, 40)) == {201: 30, 204: 10}
    assert {m["alias"] for m in tenant.models()} == {f"new{n}" for n in range(10)}
    assert len(tenant.providers()) == 11
    assert len(check.ok(tenant.admin.get("/keys"))["data"]) == 11


@pytest.mark.fault("P10")
def test_one_provider_is_deleted_once(tenant):
    provider = tenant.provider(apikey=KEY)
    answers = at_once(lambda _: tenant.admin.delete(f"/providers/{provider['uuid']}"), 20)
    assert statuses(answers) == {204: 1, 404: 19}


@pytest.mark.fault("P8")
def test_calls_go_on_while_the_configuration_changes(served, account):
    """Deleting and adding other things never disturbs an alias that stays; deleting its provider ends it cleanly."""
    (provider,) = served.providers()

    def work(n):
        if n % 3 == 0:
            return served.admin.post(f"/providers/{provider['uuid']}/models", {"id": "gpt-4o", "alias": f"x{n}"})
        return served.admin.chat("chat") if n % 3 == 1 else served.admin.chat("chat", stream=True)

    answers = at_once(work, 45)
    assert set(statuses(answers)) == {200, 201}

    def until_gone(n):
        if n == 10:
            return served.admin.delete(f"/providers/{provider['uuid']}")
        return served.admin.chat("chat")

    assert set(statuses(at_once(until_gone, 40))) <= {200, 204, 404}


def orphans(gateway, tenant, uuids):
    """No credential is left behind for a provider that lost: AWS Secrets Manager holds exactly the winners'."""
    if gateway.entry.kind != "lambda":
        return

    def only_the_winners():
        found = gateway.entry.aws.client("secretsmanager").get_paginator("list_secrets").paginate()
        names = [secret["Name"] for page in found for secret in page["SecretList"] if tenant.id in secret["Name"]]
        assert {name.rsplit("/", 1)[1] for name in names} == uuids and len(names) == len(uuids), (names, uuids)

    check.within(3, only_the_winners)


@pytest.mark.fault("C15")
def test_one_idempotency_key_makes_one_object(gateway, tenant, sim):
    """However often and however fast it is sent: one provider, one key, and the same answer for all."""
    account, repeated = sim.account(), tenant.admin.having(**{"Idempotency-Key": unique("repeat")})
    body = {"name": "once", "data": {"apikey": account.key, "base_url": account.base_url}}
    answers = at_once(lambda _: repeated.post("/providers/openai", body), 20)
    assert statuses(answers) == {201: 20} and len({answer.text for answer in answers}) == 1
    made = answers[0].json()
    assert [p["uuid"] for p in tenant.providers()] == [made["uuid"]]
    tenant.model(made, "gpt-4o-mini", "chat")
    check.ok(tenant.admin.chat("chat"))
    check.error(repeated.post("/providers/openai", {**body, "name": "other"}), 409, "conflict", param="Idempotency-Key")

    make = lambda _: repeated.post("/keys", {"name": "k", "scopes": ["inference"]})  # noqa: E731
    # Environments of a function do not see each other's creations that are under way: there one after the other.
    answers = [make(0) for _ in range(4)] if gateway.entry.kind == "lambda" else at_once(make, 8)
    # Who was too quick is told to come again, as an SDK does.
    assert set(statuses(answers)) <= {201, 503}, statuses(answers)
    answers = [answer for answer in [*answers, repeated.post("/keys", {"name": "k", "scopes": ["inference"]})] if answer.status_code == 201]
    assert len({answer.json()["api_key"] for answer in answers}) == 1
    assert len(check.ok(tenant.admin.get("/keys"))["data"]) == 2
    check.ok(gateway.api(answers[0].json()["api_key"]).chat("chat"))
