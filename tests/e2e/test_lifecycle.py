"""Starting, restarting and being killed: entries of their own, with a state that must survive."""

import base64
import concurrent.futures
import contextlib
import json
import secrets
import threading
import time

import httpx
import pytest

from harness import check
from harness.gateway import unique

# What the gateway needs goes through whole before this many seconds; nothing half-made is visible afterwards.
KEY = "sk-0123456789abcdefghijklmn"


@pytest.fixture(scope="module")
def own(make_gateway):
    """A gateway that nobody else uses, still empty."""
    return make_gateway(CORS_ALLOW_ORIGINS="https://app.example.com https://other.example.com:8443")


class TestFirstSteps:
    """An empty deployment, its default tenant, a restart."""

    def test_in_order(self, own, sim):
        """One test, because the workers of a run share tests out one by one."""
        self.before_a_tenant_exists(own)
        tenants, account = self.the_default_tenant_is_the_first(own, sim)
        self.a_restart_keeps_everything(own, *tenants, account)
        self.the_next_tenant_becomes_the_default(own, *tenants)

    def before_a_tenant_exists(self, own):
        assert check.ok(own.operator.get("/tenants"))["data"] == []
        for method, path, body in (
            ("GET", "/providers", None), ("GET", "/tenant", None), ("GET", "/models", None), ("POST", "/providers/openai", {"name": "p", "data": {"apikey": KEY}}),
            ("GET", "/keys", None),
        ):  # fmt: skip
            answer = own.operator.request(method, path, body) if body else own.operator.request(method, path)
            found = check.error(answer, 409, "tenant_required", type="invalid_request_error")
            assert "/v1/tenant" in found["message"] and "curl" in found["message"], found

    def the_default_tenant_is_the_first(self, own, sim):
        first, second = own.tenant(name="First"), own.tenant(name="Second")
        assert check.ok(own.operator.get("/tenant"))["id"] == first.id
        account = sim.account()
        own.canaries.add(account.key, "apikey of the default tenant")
        provider = check.ok(own.operator.post("/providers/openai", {"name": "p", "data": {"apikey": account.key, "base_url": account.base_url}}), 201)
        check.ok(own.operator.post(f"/providers/{provider['uuid']}/models", {"id": "gpt-4o", "alias": "chat"}), 201)
        check.ok(own.operator.chat("chat"))
        assert [p["uuid"] for p in first.providers()] == [provider["uuid"]] and second.providers() == []
        return (first, second), account

    def a_restart_keeps_everything(self, own, first, second, account):
        key = first.key(name="kept")
        look = lambda: (  # noqa: E731
            check.ok(own.operator.get("/tenants")), first.providers(), first.models(), check.ok(first.admin.get("/keys")), check.ok(second.admin.get("/tenant")),
        )  # fmt: skip
        before = look()
        own.entry.restart()
        assert look() == before
        for caller in (first.admin, own.operator, own.api(key["api_key"])):
            check.ok(caller.chat("chat"))
        assert account.last()["key"] == account.key

    def the_next_tenant_becomes_the_default(self, own, first, second):
        check.ok(first.admin.delete("/tenant"), 204)
        check.within(own.entry.bound, lambda: same(check.ok(own.operator.get("/tenant"))["id"], second.id))
        check.ok(second.admin.delete("/tenant"), 204)
        check.within(own.entry.bound, lambda: check.error(own.operator.get("/providers"), 409, "tenant_required", type="invalid_request_error"))
        third = own.tenant(name="First")
        check.within(own.entry.bound, lambda: same(check.ok(own.operator.get("/tenant"))["id"], third.id))

    def test_origins_that_the_operator_allows(self, own):
        preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, content-type"}
        url = f"{own.origin}/v1/chat/completions"
        for origin in ("https://app.example.com", "https://other.example.com:8443"):
            answer = own.http.request("OPTIONS", url, headers={"origin": origin, **preflight})
            assert answer.is_success, answer.text
            assert answer.headers["access-control-allow-origin"] == origin
            assert "authorization" in answer.headers["access-control-allow-headers"].lower()
            assert "POST" in answer.headers["access-control-allow-methods"]
            assert "access-control-allow-credentials" not in answer.headers
            assert "origin" in answer.headers["vary"].lower()
            real = own.http.get(f"{own.origin}/v1/models", headers={"origin": origin})
            assert real.status_code == 401 and real.headers["access-control-allow-origin"] == origin
        for origin in ("https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "https://app.example.com:444", "null", "https://sub.app.example.com"):
            answer = own.http.request("OPTIONS", url, headers={"origin": origin, **preflight})
            assert "access-control-allow-origin" not in answer.headers, origin
            assert "access-control-allow-origin" not in own.http.get(f"{own.origin}/v1/models", headers={"origin": origin}).headers


def same(one, other):
    assert one == other


@pytest.fixture(scope="module")
def doomed(make_gateway):
    """A gateway that may be stopped at any time, and that logs all it can."""
    return make_gateway(RUST_LOG="trace")


def test_extremes_survive_a_restart(doomed, sim):
    """Whatever was taken at a limit can be read again by a process that did not write it."""
    tenant, account = doomed.tenant(name=unique("n").ljust(128, "~")), sim.account()
    provider = tenant.provider(account, name="p" * 128)
    path = f"/providers/{provider['uuid']}/models"
    nested = lambda levels: "[" * levels + "]" * levels  # noqa: E731
    bodies = [
        json.dumps({"id": "gpt-4o", "alias": "chat"}),
        json.dumps({"id": "x" * 2048, "alias": "ü" * 200}),
        json.dumps({"id": "m", "alias": "wide", "metadata": {f"k{n}": n for n in range(500)}}),
        json.dumps({"id": "m", "alias": "long", "metadata": {"x": "\u0001é" * 800}}),
        *['{"id": "m", "alias": "deep%d", "metadata": {"x": %s}}' % (levels, nested(levels)) for levels in (1, 30, 31, 32, 100, 126)],
        '{"id": "m", "alias": "numbers", "metadata": {"cost": 1e308, "small": 5e-324, "big": 12345678901234567890, "negative": -0.0}}',
    ]
    taken = [answer.json() for body in bodies if (answer := tenant.admin.post(path, content=body.encode())).status_code == 201]
    assert len(taken) >= 6
    check.ok(tenant.admin.post("/keys", {"name": "k" * 128, "scopes": ["inference"], "models": ["ü" * 200] * 100}), 201)
    doomed.entry.restart()
    assert tenant.models() == taken
    assert len(check.ok(tenant.admin.get("/keys"))["data"]) == 2
    check.ok(tenant.admin.chat("chat"))
    key = base64.b64encode(bytes(32)).decode()
    operator = doomed.operator.having(**{"X-Gateway-Tenant": tenant.id})
    document = check.ok(operator.post("/tenant/export", {"sealing_key": key}))
    check.ok(tenant.admin.delete("/tenant"), 204)
    imported = check.ok(doomed.operator.post("/tenants/import", {"document": document, "sealing_key": key}), 201)
    assert check.ok(doomed.api(imported["api_key"]).on("/ml/gateway/v1").get("/models"))["data"] == taken


def test_keys_of_the_deployment_are_rotated(doomed, sim):
    """A second operator key is taken beside the first; credentials and keys made under the old sealing key live on."""
    old_admin, old_sealing = doomed.entry.admin_key, doomed.entry.sealing_key
    new_admin, new_sealing = secrets.token_urlsafe(32), base64.b64encode(secrets.token_bytes(32)).decode()
    for value in (new_admin, new_sealing):
        doomed.canaries.add(value, "a new key of the deployment")
    before, account = doomed.tenant(), sim.account()
    before.serves(account)

    doomed.entry.restart(GATEWAY_ADMIN_KEY_NEXT=new_admin, GATEWAY_SEALING_KEY=new_sealing, GATEWAY_SEALING_KEY_PREVIOUS=old_sealing)
    for operator in (old_admin, new_admin):
        check.ok(doomed.api(operator).get("/tenants"))
    check.ok(before.admin.chat("chat"))
    after = doomed.tenant()
    after.serves(account)
    check.ok(after.admin.chat("chat"))
    key = before.key()

    doomed.entry.restart(GATEWAY_ADMIN_KEY=new_admin, GATEWAY_ADMIN_KEY_NEXT="", GATEWAY_SEALING_KEY_PREVIOUS="")
    doomed.entry.admin_key, doomed.entry.sealing_key = new_admin, new_sealing
    check.ok(doomed.operator.get("/tenants"))
    check.error(doomed.api(old_admin).get("/tenants"), 401)
    # What was made since the change works; keys whose tag is of the old secret do not.
    check.ok(after.admin.chat("chat"))
    assert doomed.api(key["api_key"]).get("/models").status_code == 200
    check.error(before.admin.get("/tenant"), 401)


class TestKilled:
    """SIGKILL for the whole entry while tenants are being provisioned, several times over one state."""

    ROUNDS = 3

    def provision(self, gateway, account, done, stop):
        """Makes tenants with all that belongs to one until the gateway is gone; records what was confirmed."""
        operator = gateway.operator
        while not stop.is_set():
            with contextlib.suppress(httpx.HTTPError, AssertionError, KeyError, ValueError):
                name = unique("doomed")
                made = {"name": name}
                done.append(made)
                tenant = operator.post("/tenant", {"name": name})
                made["key"] = check.ok(tenant, 201)["api_key"]
                api = gateway.api(made["key"])
                data = {"apikey": account.key, "base_url": account.base_url}
                made["provider"] = check.ok(api.post("/providers/openai", {"name": "p", "data": data}), 201)["uuid"]
                made["model"] = check.ok(api.post(f"/providers/{made['provider']}/models", {"id": "gpt-4o", "alias": "chat"}), 201)["uuid"]
                made["second key"] = check.ok(api.post("/keys", {"name": "k", "scopes": ["inference"]}), 201)["api_key"]

    @pytest.mark.parametrize("round", range(ROUNDS))
    @pytest.mark.fault("P3", "R2")
    def test_nothing_is_half_visible(self, doomed, sim, round):
        account = sim.account()
        doomed.canaries.add(account.key, "apikey of a provider whose gateway was killed")
        done, stop = [], threading.Event()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(self.provision, doomed, account, done, stop) for _ in range(4)]
            time.sleep(0.7 + 0.13 * round)
            doomed.entry.kill()
            stop.set()
            for worker in workers:
                worker.result()
        doomed.entry.start()
        assert any("second key" in made for made in done), "nothing was provisioned before the kill"
        listed = {t["name"]: t for t in check.ok(doomed.operator.get("/tenants"))["data"]}
        for made in done:
            if "key" in made:
                self.confirmed_is_there(doomed, account, made)
            elif made["name"] in listed:
                # Made without the client hearing of it: whole, and the operator can remove it.
                caller = doomed.operator.having(**{"X-Gateway-Tenant": listed[made["name"]]["id"]})
                assert check.ok(caller.get("/tenant"))["name"] == made["name"]
                check.ok(caller.delete("/tenant"), 204)
        # And it goes on as if nothing had been.
        tenant = doomed.tenant()
        tenant.serves(account)
        check.ok(tenant.admin.chat("chat"))

    def confirmed_is_there(self, gateway, account, made):
        api = gateway.api(made["key"])
        assert check.ok(api.get("/tenant"))["name"] == made["name"]
        providers = check.ok(api.get("/providers"))
        models = check.ok(api.on("/ml/gateway/v1").get("/models"))["data"]
        if "provider" in made:
            assert [p["uuid"] for p in providers] == [made["provider"]]
        if "model" in made:
            assert [m["uuid"] for m in models] == [made["model"]]
        # What is listed works, whether or not the client heard of it: its credential is there.
        assert len(providers) <= 1 and len(models) <= 1
        if models:
            check.ok(api.chat("chat"))
        if "second key" in made:
            check.ok(gateway.api(made["second key"]).chat("chat"))
        # A name whose making was cut short is free.
        if not providers:
            data = {"apikey": account.key, "base_url": account.base_url}
            check.ok(api.post("/providers/openai", {"name": "p", "data": data}), 201)


@pytest.mark.entries("lambda")
@pytest.mark.fault("R4", "R8")
def test_a_stream_ends_before_the_platform_ends_it(make_gateway, sim):
    """The function's own time is nearly up: five seconds before that the client gets an error event, not a broken connection."""
    gateway = make_gateway(LAMBDA_TIMEOUT_S="8")
    tenant, account = gateway.tenant(), sim.account()
    tenant.serves(account)
    account.script({"chunks": 100, "chunk_delay_ms": 300}, {"hang": "headers"})
    start = time.monotonic()
    tenant.admin.chat_stream("chat").cut("upstream_timeout")
    assert 2 < time.monotonic() - start < 6
    check.error(tenant.admin.chat("chat"), 504, "upstream_timeout")
    check.ok(tenant.admin.get("/tenant"))


@pytest.mark.fault("R7")
@pytest.mark.entries("lambda")
def test_what_is_to_be_written_is_written_before_the_freeze(make_gateway, sim):
    """The only process is frozen as soon as it has answered, and nothing wakes it up: the line of the log is there all the same."""
    gateway = make_gateway(LAMBDA_ENVIRONMENTS="1")
    tenant, account = gateway.tenant(), sim.account()
    tenant.serves(account)
    for body in ({"stream": True}, {}):
        answer = tenant.admin.chat("chat", **body)
        assert answer.status_code == 200
        line = gateway.log_line(answer)
        assert line["gen_ai.usage.output_tokens"] > 0 and line["duration_ms"] >= 0


@pytest.mark.entries("local")
def test_a_stop_lets_calls_finish(make_gateway, sim):
    """SIGTERM while a stream runs: it ends properly. Elsewhere the platforms see to this."""
    gateway = make_gateway()
    tenant, account = gateway.tenant(), sim.account()
    tenant.serves(account)
    account.script({"chunks": 10, "chunk_delay_ms": 100})
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(tenant.admin.chat_stream, "chat")
        time.sleep(0.4)
        gateway.entry.process.child.terminate()
        call.result().finished()
    assert gateway.entry.process.child.wait(10) == 0
    gateway.entry.start()
    check.ok(tenant.admin.chat("chat"))
