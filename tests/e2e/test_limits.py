"""Rate limits and policies over the wire: never one call too many, none too few."""

import collections
import concurrent.futures
import contextlib
import http.client
import json

import pytest

from harness import check

CALLS = 10_000
CLIENTS = 100
ADMITTED = 45


def limit(tenant, **fields):
    made = check.ok(tenant.admin.post("/rate-limits", fields), 201)
    tenant.renew()
    return made


def bucket(capacity, amount=1, duration="24h"):
    return {"capacity": capacity, "amount": amount, "duration": duration}


@pytest.mark.fault("C16")
def test_of_ten_thousand_calls_at_once_as_many_pass_as_may(gateway, served):
    limit(served, type="tenant", request=bucket(ADMITTED))
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "Say hello."}]})
    headers = {"authorization": f"Bearer {served.api_key}", "content-type": "application/json"}

    def client(_):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.entry.port, timeout=100)
        with contextlib.closing(connection):
            for _ in range(CALLS // CLIENTS):
                connection.request("POST", "/v1/chat/completions", body, headers)
                answer = connection.getresponse()
                yield answer.status, answer.headers, answer.read()

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for some in pool.map(lambda n: list(client(n)), range(CLIENTS)) for answer in some]
    seen = collections.Counter(status for status, _, _ in answers)
    assert seen == {200: ADMITTED, 429: CALLS - ADMITTED}
    _, headers, refusal = next(answer for answer in answers if answer[0] == 429)
    assert json.loads(refusal)["error"]["code"] == "rate_limited"
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
