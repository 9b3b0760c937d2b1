"""Rate limits and policies over the wire: never one call too many, none too few."""

import asyncio
import collections

import httpx
import pytest

from harness import check

CALLS = 10_000
ADMITTED = 45


def limit(tenant, **fields):
    return check.ok(tenant.admin.post("/rate-limits", fields), 201)


def bucket(capacity, amount=1, duration="24h"):
    return {"capacity": capacity, "amount": amount, "duration": duration}


@pytest.mark.fault("C16")
def test_of_ten_thousand_calls_at_once_as_many_pass_as_may(gateway, served):
    limit(served, type="tenant", request=bucket(ADMITTED))
    body = {"model": "chat", "messages": [{"role": "user", "content": "Say hello."}]}

    async def run():
        limits = httpx.Limits(max_connections=100)
        headers = {"authorization": f"Bearer {served.api_key}"}
        async with httpx.AsyncClient(limits=limits, timeout=120, headers=headers, trust_env=False) as client:
            url = f"{gateway.origin}/v1/chat/completions"
            return await asyncio.gather(*[client.post(url, json=body) for _ in range(CALLS)])

    answers = asyncio.run(run())
    seen = collections.Counter(answer.status_code for answer in answers)
    assert seen == {200: ADMITTED, 429: CALLS - ADMITTED}
    refused = next(answer for answer in answers if answer.status_code == 429)
    check.error(refused, 429, "rate_limited")
    assert int(refused.headers["retry-after"]) > 0 and refused.headers["x-ratelimit-remaining-requests"] == "0"


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
