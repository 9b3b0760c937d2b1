"""How soon a change holds everywhere, and how little a warm call needs from the store."""

import concurrent.futures
import time

import pytest

from harness import check

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}


def spread(gateway, caller, account, width=4):
    """The same call several times at once, so that every environment of a Lambda has the tenant in its cache."""
    account.configure(chunk_delay_ms=30, chunks=10)
    with concurrent.futures.ThreadPoolExecutor(width) as pool:
        return list(pool.map(lambda _: caller.chat_stream("chat"), range(width)))


@pytest.mark.slow
@pytest.mark.fault("S4", "P8")
def test_changes_hold_everywhere_within_the_bound(gateway, sim):
    """A revoked key, a deleted provider, a deleted model, a deleted tenant: refused within 30 s (local: at once)."""
    cases = []
    for what in ("key", "provider", "model", "tenant", "alias"):
        tenant, account = gateway.tenant(), sim.account()
        provider, model = tenant.serves(account)
        key = tenant.key()
        caller = gateway.api(key["api_key"])
        cases.append((what, tenant, account, provider, model, key, caller))
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        warm = pool.map(lambda case: spread(gateway, case[6], case[2]), cases)
        for streams in warm:
            for stream in streams:
                stream.finished()

    def change_and_wait(case):
        what, tenant, account, provider, model, key, caller = case
        path = f"/providers/{provider['uuid']}"
        if what == "key":
            check.ok(tenant.admin.delete(f"/keys/{key['id']}"), 204)
        elif what == "provider":
            check.ok(tenant.admin.delete(path), 204)
        elif what == "model":
            check.ok(tenant.admin.delete(f"/models/{model['uuid']}"), 204)
        elif what == "tenant":
            check.ok(tenant.admin.delete("/tenant"), 204)
        else:
            check.ok(tenant.admin.patch(f"{path}/models/{model['uuid']}", {"alias": "renamed"}))
        changed = time.monotonic()
        status = 401 if what in ("key", "tenant") else 404
        last_served = changed
        streak = 0
        # Every environment must have refused: ask several at once, until none serves any more.
        while time.monotonic() < changed + gateway.entry.bound + 4:
            answers = spread(gateway, caller, account)
            served = [a for a in answers if isinstance(a, check.Sse)]
            for refused in (a for a in answers if not isinstance(a, check.Sse)):
                check.error(refused, status)
            if served:
                last_served, streak = time.monotonic(), 0
                time.sleep(0.5)
                continue
            streak += 1
            if streak >= 5 or gateway.entry.bound == 0:
                break
            time.sleep(0.3)
        late = last_served - changed
        # A stream that began before the bound may end after it.
        return f"{what}: still served after {late:.1f} s" if late > gateway.entry.bound + 1.5 else None

    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        wrong = [failure for failure in pool.map(change_and_wait, cases) if failure]
    assert not wrong, wrong


@pytest.mark.fault("S5")
def test_what_is_new_works_at_once_everywhere(served, account, sim):
    """New keys, models and providers, right after a miss was cached."""
    gateway = served.gateway
    for number in range(5):
        alias = f"new{number}"
        check.error(served.admin.chat(alias), 404)
        provider = served.provider(account, name=alias)
        served.model(provider, "gpt-4o", alias)
        check.ok(served.admin.chat(alias))
        key = served.key(name=alias)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for answer in pool.map(lambda _: gateway.api(key["api_key"]).chat("chat"), range(4)):
                check.ok(answer)


def store_reads(gateway, answer):
    return gateway.log_line(answer)["store_reads"]


class TestStoreReads:
    def test_a_warm_call_makes_none(self, make_gateway, gateway, sim, aws):
        if aws:
            # One environment, or the next call might warm up another.
            gateway = make_gateway(LAMBDA_ENVIRONMENTS="1")
        tenant = gateway.tenant()
        tenant.serves(sim.account())
        caller = tenant.inference()
        for _ in range(2):
            check.ok(caller.chat("chat"))
        before = aws.requests() if aws else 0
        answers = [caller.chat("chat") for _ in range(5)]
        if aws:
            # Of each call the row of its usage is written, after its answer; nothing else.
            assert aws.requests() <= before + len(answers), "calls to DynamoDB or Secrets Manager"
        for answer in answers:
            check.ok(answer)
            assert store_reads(gateway, answer) == 0, gateway.log_line(answer)

    @pytest.mark.fault("R9")
    def test_a_cold_call_makes_few(self, served):
        answer = served.inference().chat("chat")
        check.ok(answer)
        assert store_reads(served.gateway, answer) <= 2

    def test_a_made_up_key_makes_none(self, gateway, tenant):
        head, id, random, tag = tenant.api_key.split(".")
        for forged in ("nonsense", f"{head}.{id}.{'A' * len(random)}.{tag}", f"{head}.{id}.{random}.{'A' * len(tag)}", f"{head}.00000000-0000-4000-8000-000000000000.{random}.{tag}"):
            answer = gateway.api(forged).get("/tenant")
            check.error(answer, 401)
            assert store_reads(gateway, answer) == 0

    def test_liveness_makes_none(self, gateway):
        answer = gateway.nobody.on("").get("/healthz")
        lines = gateway.log_lines(answer.headers["x-request-id"], wait=0.3)
        assert all(line.get("store_reads", 0) == 0 for line in lines)
