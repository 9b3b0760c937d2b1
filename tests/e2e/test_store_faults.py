"""What happens when DynamoDB or Secrets Manager throttle, fail, lose an answer or do not answer at all.

The other entries' stores: tests/worker breaks Durable Objects and KV; local's is a file in the process, of which core's tests speak.
"""

import concurrent.futures
import json
import os
import time

import pytest

from harness import check
from harness.gateway import unique

pytestmark = pytest.mark.entries("lambda")

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
TEXT = "words of aws"
WRITE_USAGE = "PutItem"
# How long the store is down under load; an operator's outage is 30 s.
DOWN_SECONDS = float(os.environ.get("STORE_DOWN_SECONDS", "3"))


class Cloud:
    """A gateway of one process behind a cloud that can be broken."""

    def __init__(self, gateway, aws, sim):
        self.gateway, self.aws, self.sim = gateway, aws, sim

    def tenant(self):
        tenant, account = self.gateway.tenant(), self.sim.account()
        tenant.account = account
        tenant.made, _ = tenant.serves(account)
        return tenant

    def forget(self):
        """A new process, that remembers nothing."""
        self.aws.clear()
        self.gateway.entry.restart()
        # Its first request is not one of the test's.
        check.ok(self.gateway.nobody.on("").get("/healthz"))
        self.aws.clear()

    def log(self, answer, level, error=None, cause=None):
        line = self.gateway.log_line(answer)
        assert line["level"] == level and line.get("error.type") == error, line
        assert cause is None or cause in line.get("cause", ""), line
        assert TEXT not in self.gateway.entry.output() and TEXT not in answer.text
        return line

    def secrets(self, tenant):
        found = self.aws.client("secretsmanager").get_paginator("list_secrets").paginate()
        return sorted(secret["Name"] for page in found for secret in page["SecretList"] if tenant.id in secret["Name"])


@pytest.fixture(scope="module")
def cloud(make_gateway, make_faulty_aws, sim):
    aws = make_faulty_aws()
    yield Cloud(make_gateway(cloud=aws, LAMBDA_ENVIRONMENTS="1"), aws, sim)
    aws.clear()


@pytest.fixture(autouse=True)
def well_again(request):
    yield
    if "cloud" in request.fixturenames:
        request.getfixturevalue("cloud").aws.clear()


# (fault, calls of DynamoDB, the code in the log)
STORE_FAULTS = [("throttle", 2, "ProvisionedThroughput"), ("500", 2, "InternalServerError"), ("reset", 2, "network"), ("denied", 1, "AccessDenied"), ("refuse", 0, "network")]
SECRET_FAULTS = [("throttle", 2, "Throttling"), ("500", 2, "InternalServiceError"), ("reset", 2, "network"), ("denied", 1, "AccessDenied")]


class TestReading:
    @pytest.mark.fault("S1", "S7")
    def test_a_cold_tenant(self, cloud):
        tenants = [(cloud.tenant(), *fault) for fault in STORE_FAULTS]
        cloud.forget()
        for tenant, fault, calls, cause in tenants:
            cloud.aws.clear()
            cloud.aws.refuse() if fault == "refuse" else cloud.aws.rule(fault, "DynamoDB")
            start = time.monotonic()
            for path, body in (("/chat/completions", CHAT), ("/chat/completions", {**CHAT, "stream": True})):
                answer = tenant.admin.post(path, body)
                check.error(answer, 503, "store_unavailable")
                assert answer.headers["retry-after"] == "1", fault
                cloud.log(answer, "error", "store_unavailable", cause)
            assert time.monotonic() - start < 3
            assert cloud.aws.calls("BatchGetItem") == 2 * calls, (fault, cloud.aws.counts())
            assert tenant.account.calls() == []
            cloud.aws.clear()
            check.ok(tenant.admin.post("/chat/completions", CHAT))

    @pytest.mark.fault("S1")
    def test_no_answer_at_all(self, cloud):
        tenant = cloud.tenant()
        cloud.forget()
        cloud.aws.rule("hang", "DynamoDB")
        start = time.monotonic()
        answer = tenant.admin.post("/chat/completions", CHAT)
        check.error(answer, 503, "store_unavailable")
        # Who waited that long is not made to wait as long again.
        assert 4 < time.monotonic() - start < 7 and cloud.aws.calls("BatchGetItem") == 1
        cloud.log(answer, "error", "store_unavailable", "timeout")

    @pytest.mark.fault("S1", "S7", "S17")
    def test_once_is_not_noticed(self, cloud):
        tenant = cloud.tenant()
        cloud.forget()
        cloud.aws.rules({"operation": "BatchGetItem", "fault": "throttle", "times": 1}, {"operation": "GetSecretValue", "fault": "throttle", "times": 1})
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        assert (cloud.aws.calls("BatchGetItem"), cloud.aws.calls("GetSecretValue")) == (2, 2)

    @pytest.mark.fault("S2", "S14")
    def test_a_warm_tenant_is_served(self, cloud):
        tenant = cloud.tenant()
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        cloud.aws.rule("500")
        for _ in range(5):
            check.ok(tenant.admin.post("/chat/completions", CHAT))
        # But nothing is changed on what may be old.
        answer = tenant.admin.post("/providers/openai", {"name": "second", "data": {"apikey": "k"}})
        check.error(answer, 503, "store_unavailable")

    @pytest.mark.fault("S15", "S16", "S17")
    def test_a_secret_that_cannot_be_read(self, cloud):
        tenants = [(cloud.tenant(), *fault) for fault in SECRET_FAULTS]
        cloud.forget()
        texts = set()
        for tenant, fault, calls, cause in tenants:
            cloud.aws.clear()
            cloud.aws.rule(fault, "SecretsManager")
            answer = tenant.admin.post("/chat/completions", CHAT)
            check.error(answer, 503, "secrets_unavailable")
            assert answer.headers["retry-after"] == "5"
            texts.add(answer.text)
            assert cloud.aws.calls("GetSecretValue") == calls, (fault, cloud.aws.counts())
            cloud.log(answer, "error", "secrets_unavailable", cause)
            assert tenant.account.calls() == []
            cloud.aws.clear()
            # All requests share such a failure for a second.
            check.within(2, lambda: check.ok(tenant.admin.post("/chat/completions", CHAT)))  # noqa: B023
        assert len(texts) == 1, "the client can tell an outage from a missing right"

    @pytest.mark.fault("S18", "S20")
    @pytest.mark.parametrize("rule", [
        {"fault": "missing"}, {"fault": "deleted"},
        {"fault": "answer", "body": '{"SecretString": "sk-not-json", "VersionId": "v"}'},
        {"fault": "answer", "body": '{"SecretString": "[]", "VersionId": "v"}'},
    ], ids=["gone", "scheduled for deletion", "no JSON", "another JSON"])  # fmt: skip
    def test_a_secret_that_is_not_there(self, cloud, rule):
        tenant = cloud.tenant()
        cloud.forget()
        cloud.aws.rules({"operation": "GetSecretValue", **rule})
        answer = tenant.admin.post("/chat/completions", CHAT)
        check.error(answer, 502, "upstream_auth_failed")
        assert "sk-not-json" not in answer.text + cloud.gateway.entry.output()
        cloud.log(answer, "error", "upstream_auth_failed", "secret")
        assert tenant.account.calls() == []

    @pytest.mark.fault("S19")
    def test_a_secret_that_was_rotated(self, cloud):
        tenant = cloud.tenant()
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        key = "sk-rotated-0123456789abcdefghijkl"
        cloud.gateway.canaries.add(key, "a key that was rotated outside")
        (name,) = cloud.secrets(tenant)
        cloud.aws.client("secretsmanager").put_secret_value(SecretId=name, SecretString=f'{{"apikey": "{key}"}}')
        tenant.account.configure(keys=[key])
        # Refused at most once; then the new one is read.
        answers = [tenant.admin.post("/chat/completions", CHAT).status_code for _ in range(3)]
        assert answers in ([200, 200, 200], [502, 200, 200]), answers
        assert tenant.account.last()["key"] == key


class TestUsage:
    @pytest.mark.fault("S10")
    @pytest.mark.parametrize(("fault", "times"), [("throttle", 2), ("500", 2), ("reset", 2), ("lost", 1), ("lost", 2)])
    def test_a_row_that_is_not_written_at_once(self, cloud, fault, times):
        """It is counted once, and the client's answer does not fail with it."""
        tenant = cloud.tenant()
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        cloud.aws.rule(fault, WRITE_USAGE, times=times, only="USAGE#")
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        check.within(5, lambda: self.counted(tenant, 3))

    def test_rows_of_an_outage_are_written_after_it(self, cloud):
        tenant = cloud.tenant()
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        cloud.aws.rule("throttle", WRITE_USAGE)
        for _ in range(2):
            check.ok(tenant.admin.post("/chat/completions", CHAT))
        tenant.admin.chat_stream("chat").finished()
        cloud.aws.clear()
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        check.within(5, lambda: self.counted(tenant, 5))

    @pytest.mark.parametrize("fault", ["throttle", "500", "reset", "lost"])
    def test_all_rows_of_a_long_outage_are_written_after_it(self, cloud, fault):
        tenant = cloud.tenant()
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        cloud.aws.rule(fault, WRITE_USAGE)
        end, calls = time.monotonic() + DOWN_SECONDS, 1
        while time.monotonic() < end or calls < 5:
            began = time.monotonic()
            check.ok(tenant.admin.post("/chat/completions", CHAT))
            tenant.admin.chat_stream("chat").finished()
            calls += 2
            # The one process is not kept from its next request for long.
            assert time.monotonic() - began < 8
        cloud.aws.clear()
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        check.within(5, lambda: self.counted(tenant, calls + 1))
        told = [line for line in cloud.gateway.entry.output().splitlines() if '"ledger_row_waits"' in line and tenant.id in line]
        requests = {json.loads(line)["row"]["request"] for line in told}
        assert len(requests) == len(told) > 0, "each is told once"

    def counted(self, tenant, count):
        page = check.ok(tenant.admin.get("/usage", params={"start_time": int(time.time()) - 600}))
        results = [result for bucket in page["data"] for result in bucket["results"]]
        calls = tenant.account.calls()
        assert [result["num_requests"] for result in results] == [count] and len(calls) == count
        assert results[0]["num_upstream_calls"] == count


class TestLimits:
    @pytest.mark.fault("S11")
    @pytest.mark.parametrize("fault", ["throttle", "500", "reset", "denied"])
    @pytest.mark.parametrize("operation", ["GetItem", "PutItem"])
    def test_limits_that_cannot_be_checked(self, cloud, operation, fault):
        tenant = cloud.tenant()
        check.ok(tenant.admin.post("/rate-limits", {"type": "tenant", "request": {"capacity": 3, "amount": 1, "duration": "24h"}}), 201)
        check.ok(tenant.admin.post("/chat/completions", CHAT))
        cloud.aws.rule(fault, operation)
        for body in (CHAT, {**CHAT, "stream": True}):
            answer = tenant.admin.post("/chat/completions", body)
            check.error(answer, 503, "store_unavailable")
            assert answer.headers["retry-after"] == "1"
            cloud.log(answer, "error", "store_unavailable")
        assert len(tenant.account.calls()) == 1
        cloud.aws.clear()
        answers = [tenant.admin.post("/chat/completions", CHAT) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]

    @pytest.mark.fault("S10")
    def test_a_leave_whose_answer_is_lost(self, cloud):
        """Taken twice at most, never given twice."""
        tenant = cloud.tenant()
        check.ok(tenant.admin.post("/rate-limits", {"type": "tenant", "request": {"capacity": 4, "amount": 1, "duration": "24h"}}), 201)
        cloud.aws.rule("lost", "PutItem", times=1)
        answers = [tenant.admin.post("/chat/completions", CHAT).status_code for _ in range(6)]
        assert answers in ([200] * 3 + [429] * 3, [200] * 4 + [429] * 2), answers
        assert len(tenant.account.calls()) == answers.count(200)


class TestWriting:
    @pytest.mark.fault("S8", "S9")
    @pytest.mark.parametrize(("fault", "most"), [("throttle", 4), ("500", 4), ("reset", 4), ("denied", 1)])
    def test_a_change_that_is_refused(self, cloud, fault, most):
        tenant = cloud.tenant()
        models = f"/providers/{tenant.made['uuid']}/models"
        cloud.aws.clear()
        cloud.aws.rule(fault, "PutItem")
        answer = tenant.admin.post(models, {"id": "m", "alias": "new"})
        check.error(answer, 503, "store_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert cloud.aws.calls("PutItem") == most, cloud.aws.counts()
        cloud.log(answer, "error", "store_unavailable")
        cloud.aws.clear()
        assert [model["alias"] for model in tenant.models()] == ["chat"]
        # For a moment only: nobody hears of it.
        cloud.aws.rule(fault, "PutItem", times=2)
        answer = tenant.admin.post(models, {"id": "m", "alias": "new"})
        assert answer.status_code == (503 if fault == "denied" else 201), check.describe(answer)

    @pytest.mark.fault("S8")
    def test_a_change_that_lost(self, cloud):
        """Somebody else's change came first: made again on top of it."""
        tenant = cloud.tenant()
        cloud.aws.clear()
        cloud.aws.rule("conflict", "PutItem", times=1)
        check.ok(tenant.admin.post(f"/providers/{tenant.made['uuid']}/models", {"id": "m", "alias": "new"}), 201)
        assert cloud.aws.calls("PutItem") == 2

    @pytest.mark.fault("S10")
    def test_an_answer_that_is_lost(self, cloud):
        """The write happened, its answer did not arrive: told as what is true, and done once."""
        tenant = cloud.tenant()
        for number, skip in enumerate((0, 1)):
            cloud.aws.clear()
            cloud.aws.rule("lost", "PutItem", times=1, skip=skip)
            answer = tenant.admin.post("/providers/openai", {"name": f"p{number}", "data": {"apikey": "sk-0123456789abcdef"}})
            assert answer.status_code == 201, check.describe(answer)
        cloud.aws.clear()
        cloud.aws.rule("lost", "PutItem", times=1)
        made = check.ok(tenant.admin.post("/keys", {"name": "k", "scopes": ["inference"]}), 201)
        cloud.aws.clear()
        assert sorted(p["name"] for p in tenant.providers()) == sorted([tenant.made["name"], "p0", "p1"])
        check.ok(cloud.gateway.api(made["api_key"]).post("/chat/completions", CHAT))
        cloud.aws.rule("lost", "DeleteItem", times=1)
        check.ok(tenant.admin.delete(f"/keys/{made['id']}"), 204)
        cloud.aws.clear()
        check.error(cloud.gateway.api(made["api_key"]).get("/models"), 401)
        name = unique("lost")
        cloud.aws.rule("lost", "PutItem", times=1)
        check.ok(cloud.gateway.operator.post("/tenant", {"name": name}), 201)

    @pytest.mark.fault("P1", "P2")
    def test_a_provider_whose_record_is_not_written(self, cloud):
        tenant = cloud.tenant()
        before = cloud.secrets(tenant)
        # The marker of the secret is written, the head is not.
        cloud.aws.clear()
        cloud.aws.rules({"operation": "PutItem", "fault": "throttle", "skip": 1})
        answer = tenant.admin.post("/providers/openai", {"name": "second", "data": {"apikey": "sk-0123456789abcdef"}})
        check.error(answer, 503, "store_unavailable")
        cloud.log(answer, "error", "store_unavailable")
        assert cloud.aws.calls("CreateSecret") == 1 and cloud.aws.calls("DeleteSecret") == 1, cloud.aws.counts()
        cloud.aws.clear()
        assert len(tenant.providers()) == 1 and self.live(cloud, tenant) == before
        check.ok(tenant.admin.post("/providers/openai", {"name": "second", "data": {"apikey": "sk-0123456789abcdef"}}), 201)

    @pytest.mark.fault("P1", "P2")
    @pytest.mark.parametrize("fault", ["throttle", "denied", "500"])
    def test_a_provider_whose_secret_is_not_written(self, cloud, fault):
        tenant = cloud.tenant()
        before = cloud.secrets(tenant)
        cloud.aws.clear()
        cloud.aws.rule(fault, "CreateSecret")
        answer = tenant.admin.post("/providers/openai", {"name": "second", "data": {"apikey": "sk-0123456789abcdef"}})
        check.error(answer, 503, "secrets_unavailable")
        cloud.log(answer, "error", "secrets_unavailable")
        cloud.aws.clear()
        assert len(tenant.providers()) == 1 and self.live(cloud, tenant) == before

    @pytest.mark.fault("P11")
    def test_a_secret_that_is_not_deleted(self, cloud):
        tenant = cloud.tenant()
        cloud.aws.clear()
        cloud.aws.rule("throttle", "DeleteSecret")
        answer = tenant.admin.delete(f"/providers/{tenant.made['uuid']}")
        check.ok(answer, 204)
        line = cloud.log(answer, "info")
        assert "secret left to the sweep" in line["cause"], line
        cloud.aws.clear()
        assert tenant.providers() == [] and len(self.live(cloud, tenant)) == 1

    @pytest.mark.fault("P7")
    def test_a_name_whose_secret_waits_for_its_deletion(self, cloud):
        tenant = cloud.tenant()
        check.ok(tenant.admin.delete(f"/providers/{tenant.made['uuid']}"), 204)
        # moto, like AWS, keeps the name of a secret until its recovery window is over.
        check.ok(tenant.admin.post("/providers/openai", {"name": tenant.made["name"], "data": {"apikey": "sk-0123456789abcdef"}}), 201)

    def live(self, cloud, tenant):
        """Secrets that are not scheduled for deletion."""
        manager = cloud.aws.client("secretsmanager")
        return [name for name in cloud.secrets(tenant) if not manager.describe_secret(SecretId=name).get("DeletedDate")]


@pytest.mark.fault("S1", "S2")
def test_the_store_is_down_under_load(make_gateway, make_faulty_aws, sim):
    """Warm tenants are served, cold ones get 503, never 401; when it is back everything works at once, without a restart."""
    aws = make_faulty_aws()
    gateway = make_gateway(cloud=aws, LAMBDA_ENVIRONMENTS="4")
    warm, cold, account = gateway.tenant(), gateway.tenant(), sim.account()
    warm.serves(account)
    cold.serves(account)
    gateway.entry.restart()

    def burst(caller, count=4):
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: caller.post("/chat/completions", CHAT), range(count)))

    end = time.monotonic() + 20
    while time.monotonic() < end:
        # Until every process knows the tenant: streams at once keep them all busy.
        account.configure(chunk_delay_ms=30, chunks=10)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            streams = list(pool.map(lambda _: warm.admin.chat_stream("chat"), range(4)))
        if all(isinstance(stream, check.Sse) for stream in streams):
            break
    aws.refuse()
    began, served, refused = time.monotonic(), 0, 0
    while time.monotonic() < began + DOWN_SECONDS:
        for answer in burst(warm.admin):
            # A process that was started now knows nobody.
            assert answer.status_code in (200, 503), check.describe(answer)
            served += answer.status_code == 200
        for answer in burst(cold.admin, 2):
            check.error(answer, 503, "store_unavailable")
            assert answer.headers["retry-after"]
            refused += 1
    assert served > 2 and refused > 0, (served, refused)
    aws.clear()
    for answer in [*burst(warm.admin), *burst(cold.admin)]:
        check.ok(answer)
