"""Two tenants: what belongs to one does not exist for the other."""

import concurrent.futures
import json

import pytest

from harness import check
from harness.gateway import unused_id
from harness.routes import MOUNTS, ROUTES


@pytest.fixture
def owned(tenant, account):
    """A tenant with one of everything, and the ids of it all."""
    provider, model = tenant.serves(account, alias="own-alias", id="own-model")
    key = tenant.key()
    return {"provider": provider["uuid"], "model": model["uuid"], "key": key["id"]}


ID_ROUTES = [route for route in ROUTES if "{" in route.path]


HOPS = {"connection", "keep-alive", "transfer-encoding", "content-length", "date"}


def shape(answer):
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["type"], error["param"], len(answer.content), sorted(set(answer.headers) - HOPS)


@pytest.mark.parametrize("mount", MOUNTS)
def test_ids_of_others_behave_as_absent(tenant, other, owned, mount):
    before = (tenant.providers(), tenant.models(), check.ok(tenant.admin.get("/keys")))
    mine = other.provider(apikey="x" * 24)
    api = other.admin.on(mount)
    call = lambda route, ids: api.request(route.method, route.fill(**ids), *([route.body] if route.body else []))  # noqa: E731
    for route in ID_ROUTES:
        absent = {"provider": unused_id(), "model": unused_id(), "key": unused_id()}
        foreign, unused = call(route, owned), call(route, absent)
        assert foreign.status_code == 404 and shape(foreign) == shape(unused), f"{route}: {shape(foreign)} {shape(unused)}"
        if "{provider}" in route.path and "{model}" in route.path:
            foreign, unused = (call(route, {"provider": mine["uuid"], "model": ids["model"]}) for ids in (owned, absent))
            assert shape(foreign) == shape(unused), route
    assert (tenant.providers(), tenant.models(), check.ok(tenant.admin.get("/keys"))) == before


def test_models_of_others_are_not_callable(tenant, other, owned, account, sim):
    mine = sim.account()
    provider, _ = other.serves(mine, alias="mine")
    names = [
        "own-alias", "own-model", owned["model"], owned["provider"], f"{owned['provider']}/own-model", f"{owned['model']}/own-alias",
        f"{tenant.id}/own-alias", f"{tenant.id}:own-alias", f"{tenant.name}/own-alias", f"id:{owned['model']}", "openai/own-model", f"{provider['uuid']}/own-model",
        "../own-alias", "*",
    ]  # fmt: skip
    for name in names:
        check.error(other.admin.chat(name), 404, "model_not_found", param="model")
        check.error(other.admin.chat_stream(name), 404, "model_not_found", param="model")
        check.error(other.admin.post("/embeddings", {"model": name, "input": "x"}), 404, "model_not_found", param="model")
    assert account.calls() == [] and mine.calls() == []
    check.ok(tenant.admin.chat("own-alias"))


CLAIMS = ["x-tenant-id", "x-tenant", "x-gateway-tenant", "x-gateway-tenant-id", "x-user-id", "x-org-id", "openai-organization", "x-forwarded-user"]


def test_no_header_or_member_claims_another_identity(tenant, other, owned, account, sim):
    mine = sim.account()
    other.serves(mine, alias="mine")
    for header in CLAIMS:
        for value in (tenant.id, tenant.name):
            caller = other.admin.having(**{header: value})
            answer = caller.get("/tenant")
            # Ignored, or refused outright; never followed.
            if answer.status_code == 200:
                assert answer.json()["id"] == other.id
            check.error(caller.chat("own-alias"), 404 if answer.status_code == 200 else answer.status_code)
    for member in ("tenant", "tenant_id", "user", "organization"):
        check.ok(other.admin.chat("mine", **({member: tenant.id} if member == "user" else {f"x_{member}": tenant.id})))
        check.error(other.admin.get(f"/models/own-alias?{member}={tenant.id}"), 404)
        check.error(other.admin.post("/providers/openai", {"name": "p", "data": {"apikey": "k"}, member: tenant.id}), 400, "unknown_field")
    assert account.calls() == []
    assert all(call["key"] == mine.key for call in mine.calls())


@pytest.mark.parametrize("extra", ["uuid", "id", "tenant_id", "tenant", "owner", "created", "models", "type"])
def test_created_ids_are_the_servers(tenant, other, owned, extra):
    provider, value = other.provider(apikey="x" * 24), owned["provider"]
    body = {"name": "n", "data": {"apikey": "k"}, extra: value}
    check.error(other.admin.post("/providers/openai", body), 400, "unknown_field")
    if extra != "id":
        check.error(other.admin.post(f"/providers/{provider['uuid']}/models", {"id": "m", extra: owned["model"]}), 400, "unknown_field")
    assert len(other.providers()) == 1 and other.models() == []


def test_same_names_in_both_tenants(tenant, other, sim):
    accounts = [sim.account(), sim.account()]
    for one, account in zip((tenant, other), accounts):
        provider = one.provider(account, name="same")
        one.model(provider, "same-id", "same-alias")
    for one, account in zip((tenant, other), accounts):
        check.ok(one.admin.chat("same-alias"))
        check.ok(one.admin.chat("same-id"))
        assert [call["key"] for call in account.calls()] == [account.key, account.key]
    # Deleting one leaves the other.
    check.ok(tenant.admin.delete(f"/providers/{tenant.providers()[0]['uuid']}"), 204)
    check.ok(other.admin.chat("same-alias"))


def test_interleaved_calls_keep_their_own_credentials(tenant, other, sim):
    """Same alias, same prompt, at the same time: each answer carries its own account's mark."""
    marked = []
    for one, mark in ((tenant, "ping"), (other, "pong")):
        account = sim.account()
        account.script({"text": f"answer {mark}", "set_cookie": f"session={mark}; Path=/"}, repeat=True)
        one.serves(account, alias="shared")
        marked.append((one.inference(), account, f"answer {mark}"))

    def call(number):
        caller, _, mark = marked[number % 2]
        if number % 4 < 2:
            return check.ok(caller.chat("shared"))["choices"][0]["message"]["content"] == mark
        return caller.chat_stream("shared").finished().text == mark

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(call, range(100)))
    for _, account, _ in marked:
        calls = account.calls()
        assert len(calls) == 50
        assert {call["key"] for call in calls} == {account.key}
        assert [call["violations"] for call in calls] == [[]] * 50
        assert not [name for call in calls for name, _ in call["headers"] if name == "cookie"]


def test_deleting_one_tenant_leaves_the_other(tenant, other, sim):
    account = sim.account()
    other.serves(account)
    check.ok(tenant.admin.delete("/tenant"), 204)
    check.ok(other.admin.chat("chat"))
    assert json.loads(account.last()["body"])["model"] == "gpt-4o-mini"
