"""Rate limits and policies over the wire: never one call too many, none too few."""

import asyncio
import collections
import json
import os

import pytest

from harness import check

CALLS = 10_000
# How many of them are under way at a time. Each needs an open file here and in the gateway (two in workerd).
CLIENTS = int(os.environ.get("LIMITS_CLIENTS", "400"))
ADMITTED = 45


def limit(tenant, **fields):
    made = check.ok(tenant.admin.post("/rate-limits", fields), 201)
    tenant.renew()
    return made


def bucket(capacity, amount=1, duration="24h"):
    return {"capacity": capacity, "amount": amount, "duration": duration}


async def connections(gateway, count):
    """So many open ones, made a few at a time, as no queue of a listener holds them all."""
    room = asyncio.Semaphore(500)

    async def one():
        async with room:
            return await asyncio.open_connection("127.0.0.1", gateway.entry.port)

    return await asyncio.gather(*(one() for _ in range(count)))


async def call(connection, request):
    """One call on a connection of its own: status, headers, body."""
    reader, writer = connection
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(first.split(" ")[1]), headers, body


@pytest.mark.fault("C16")
def test_of_ten_thousand_calls_at_once_as_many_pass_as_may(make_gateway, gateway, sim):
    if gateway.entry.kind == "local":
        gateway = make_gateway(GATEWAY_MAX_CONCURRENT=str(CALLS))
    tenant, account = gateway.tenant(), sim.account()
    tenant.serves(account)
    limit(tenant, type="tenant", request=bucket(ADMITTED))
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "Say hello."}]})
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {tenant.api_key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}"
    ).encode()

    async def load():
        answers = []
        for _ in range(CALLS // CLIENTS):
            ready = await connections(gateway, CLIENTS)
            answers += await asyncio.gather(*(call(connection, request) for connection in ready))
        return answers

    answers = asyncio.run(load())
    assert collections.Counter(status for status, _, _ in answers) == {200: ADMITTED, 429: CALLS - ADMITTED}
    assert len(account.calls()) == ADMITTED
    _, headers, refusal = next(answer for answer in answers if answer[0] == 429)
    assert b'"rate_limited"' in refusal
    assert int(headers["retry-after"]) > 0 and headers["x-ratelimit-remaining-requests"] == "0"


def test_tokens_are_settled_before_the_next_call(served):
    limit(served, type="tenant", token=bucket(5))
    assert check.ok(served.admin.chat("chat"))["usage"]["total_tokens"] > 5
    check.error(served.admin.chat("chat"), 429, "rate_limited")


def test_a_stream_settles_its_tokens(served):
    limit(served, type="tenant", token=bucket(5))
    assert served.admin.chat_stream("chat").done
    check.error(served.admin.chat("chat"), 429, "rate_limited")


def test_a_key_has_a_limit_of_its_own(served):
    key = served.key()
    limit(served, type="key", key_id=key["id"], request=bucket(1))
    api = served.gateway.api(key["api_key"])
    answer = api.chat("chat")
    check.ok(answer)
    assert answer.headers["x-ratelimit-limit-requests"] == "1"
    check.error(api.chat("chat"), 429, "rate_limited")
    check.ok(served.admin.chat("chat"))


def test_a_policy_keeps_a_key_from_a_model(served):
    key, other = served.key(), served.inference()
    (model,) = served.models()
    policy = {"action": "read", "effect": "deny", "resource": f"model:{model['uuid']}", "subject": f"key:{key['id']}"}
    made = check.ok(served.admin.post("/policies", policy), 201)
    api = served.gateway.api(key["api_key"])
    check.error(api.chat("chat"), 403, "permission_denied")
    assert check.ok(api.get("/models"))["data"] == []
    check.ok(other.chat("chat"))
    assert served.admin.delete(f"/policies/{made['uuid']}").status_code == 204
