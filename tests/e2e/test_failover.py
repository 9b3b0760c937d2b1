"""Several providers under one alias: one of them dead, and nobody notices."""

import asyncio
import os
import time

import openai
import pytest

from harness import check
from harness.process import free_port

REQUESTS = int(os.environ.get("FAILOVER_REQUESTS", "160"))
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}

DEAD = {
    "resets": {"close_without_answer": True, "rst": True},
    "hangs": {"hang": "headers"},
    "answers 500": {"status": 500},
    "is cut": {"cut_at": 60},
    "limits": {"status": 429, "retry_after": 30},
    "is overloaded": {"status": 529},
    "refuses the key": {"status": 401},
}


@pytest.fixture
def pair(gateway, sim):
    """A tenant whose alias `chat` has two targets, and their accounts."""
    tenant, accounts = gateway.tenant(), [sim.account(), sim.account()]
    models = [tenant.serves(account)[1] for account in accounts]
    tenant.renew()
    return tenant, accounts, models


async def load(gateway, tenant, requests, stream, at_once=16):
    """Chats by OpenAI's SDK without retries of its own; when each ended, and the errors."""
    ends, errors = [], []
    left = iter(range(requests))
    async with openai.AsyncOpenAI(base_url=f"{gateway.origin}/v1", api_key=tenant.api_key, max_retries=0, timeout=30) as client:

        async def work():
            for number in left:
                try:
                    answer = await client.chat.completions.create(model="chat", messages=CHAT["messages"], stream=stream)
                    if stream:
                        text = [chunk async for chunk in answer]
                        assert text
                    ends.append(time.time())
                except (openai.OpenAIError, AssertionError) as error:
                    errors.append((number, repr(error)))

        await asyncio.gather(*(work() for _ in range(at_once)))
    return ends, errors


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("fault", DEAD.values(), ids=DEAD.keys())
def test_one_of_two_is_dead(pair, gateway, entry_kind, fault, stream):
    tenant, (dead, well), _ = pair
    dead.script(fault, repeat=True)
    ends, errors = asyncio.run(load(gateway, tenant, REQUESTS, stream))
    assert errors == [] and len(ends) == REQUESTS
    calls = len(dead.calls()) + len(well.calls())
    if entry_kind != "lambda":
        # Each call that was under way when the fault began may have met it, and each probe meets it again.
        assert calls <= REQUESTS * 1.1 + 16 + 5, f"{calls} calls for {REQUESTS} requests"


def test_one_of_two_refuses_connections(make_gateway, sim):
    closed = f"http://127.0.0.1:{free_port()}"
    gateway = make_gateway(EGRESS_ALLOW_ORIGINS=f"{sim.origin} {closed}")
    tenant, well = gateway.tenant(), sim.account()
    tenant.serves(well)
    tenant.model(tenant.provider(apikey=well.key, base_url=f"{closed}/v1"), "gpt-4o-mini", "chat")
    tenant.renew()
    for stream in (False, True):
        ends, errors = asyncio.run(load(gateway, tenant, REQUESTS, stream))
        assert errors == [] and len(ends) == REQUESTS
    assert len(well.calls()) == 2 * REQUESTS


def test_the_route_is_told(pair, gateway):
    tenant, (one, other), models = pair
    answer = tenant.admin.post("/chat/completions", CHAT)
    check.ok(answer)
    by = {len(one.calls()): models[0], len(other.calls()): models[1]}[1]
    uuid, attempt, reason = answer.headers["x-gateway-route"].split("; ")
    assert (uuid, attempt) == (by["uuid"], "attempt=1") and reason.startswith("reason=")
    # The one that answers next time fails: the other one takes over, and both are named in the log.
    failing = {"status": 500}
    one.script(failing)
    other.script(failing)
    answer = tenant.admin.post("/chat/completions", CHAT)
    line = gateway.log_line(answer)
    assert line["attempts"] == len(one.calls()) + len(other.calls()) - 1
    assert line["failed_attempts"].count(":failed") >= 1


def test_explain(pair):
    tenant, accounts, models = pair
    told = check.ok(tenant.inference().post("/route/explain", CHAT))
    assert [target["model_uuid"] for target in told["targets"]] == [model["uuid"] for model in models]
    assert all(target["eligible"] for target in told["targets"])
    assert told["pick"]["model_uuid"] in {model["uuid"] for model in models}
    assert not any(account.calls() for account in accounts)


def test_a_drained_model_gets_nothing_and_a_lower_priority_waits(gateway, sim):
    tenant, accounts = gateway.tenant(), [sim.account() for _ in range(3)]
    for account, fields in zip(accounts, ({"weight": 0}, {"priority": 1}, {}), strict=True):
        tenant.model(tenant.provider(account), "gpt-4o-mini", "chat", **fields)
    tenant.renew()
    for _ in range(8):
        check.ok(tenant.admin.post("/chat/completions", CHAT))
    assert [len(account.calls()) for account in accounts] == [0, 0, 8]
    accounts[2].script({"status": 503}, repeat=True)
    check.ok(tenant.admin.post("/chat/completions", CHAT))
    assert [len(account.calls()) for account in accounts] == [0, 1, 9]
