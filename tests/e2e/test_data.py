"""Chat, completions and embeddings in one piece: what reaches the provider and what comes back."""

import base64
import json
import struct

import pytest

from harness import check

MESSAGES = [{"role": "user", "content": "Say hello."}]
CALLS = [
    ("/chat/completions", {"messages": MESSAGES}, "chat.completion"),
    ("/completions", {"prompt": "Say hello."}, "text_completion"),
    ("/embeddings", {"input": "Say hello.", "encoding_format": "float"}, "list"),
]


class TestAnswers:
    @pytest.mark.parametrize(("path", "body", "object"), CALLS, ids=[c[0] for c in CALLS])
    @pytest.mark.parametrize("mount", ["/v1", "/ml/gateway/v1"])
    @pytest.mark.fault("U40")
    def test_the_providers_answer_comes_back_as_it_is(self, served, account, sim, mount, path, body, object):
        answer = check.ok(served.admin.on(mount).post(path, {"model": "chat", **body}))
        assert answer["object"] == object
        # Asked directly, the simulator gives the same but for ids.
        direct = sim.http.post(f"{account.base_url}{path}", json={"model": "gpt-4o-mini", **body}, headers={"authorization": f"Bearer {account.key}", "accept-encoding": "identity"}).json()
        assert answer["model"] == direct["model"] and answer["model"] != "chat"
        assert answer["usage"] == direct["usage"]
        assert {m for m in direct} <= {m for m in answer}
        volatile = ("id", "created", "system_fingerprint")
        for member in direct:
            if member not in volatile and path != "/chat/completions":
                assert answer[member] == direct[member], member

    def test_chat_members(self, served):
        answer = check.ok(served.admin.chat("chat"))
        (choice,) = answer["choices"]
        assert choice["message"]["role"] == "assistant" and choice["message"]["content"]
        assert choice["finish_reason"] == "stop" and answer["created"] == 1760000000

    def test_members_of_the_answer_that_nobody_knows(self, served, account):
        body = {
            "id": "chatcmpl-x", "object": "chat.completion", "created": 1, "model": "m", "x_top": {"a": [1.50, 1e2, None]}, "provider_extra": "é\u2028",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi", "x_in": 1, "reasoning_content": "because"}, "finish_reason": "stop", "x_choice": True}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "x_tokens": 3},
        }  # fmt: skip
        account.script({"body": body})
        answer = check.ok(served.admin.chat("chat"))
        assert {member: answer[member] for member in body} == body
        assert set(answer) - set(body) <= {"cached"}

    def test_embeddings_in_base64(self, served):
        floats = check.ok(served.admin.post("/embeddings", {"model": "chat", "input": ["a", "b"], "encoding_format": "float"}))["data"]
        coded = check.ok(served.admin.post("/embeddings", {"model": "chat", "input": ["a", "b"], "encoding_format": "base64"}))["data"]
        for one, other in zip(floats, coded):
            raw = base64.b64decode(other["embedding"])
            assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(one["embedding"], rel=1e-5)

    @pytest.mark.parametrize("input", ["text", ["a", "b"], [1, 2, 3], [[1, 2], [3]]], ids=str)
    def test_every_form_of_input(self, served, input):
        check.ok(served.admin.post("/embeddings", {"model": "chat", "input": input}))

    @pytest.mark.parametrize("prompt", ["text", ["a", "b"], [1, 2, 3], [[1, 2], [3]]], ids=str)
    def test_every_form_of_prompt(self, served, prompt):
        check.ok(served.admin.post("/completions", {"model": "chat", "prompt": prompt}))

    def test_response_headers_are_ours(self, served, account):
        account.script({
            "set_cookie": "session=1; Path=/",
            "headers": [
                ["strict-transport-security", "max-age=1"], ["access-control-allow-origin", "*"], ["location", "/x"], ["www-authenticate", "Basic"],
                ["proxy-authenticate", "Basic"], ["x-powered-by", "x"], ["server", "provider"], ["openai-organization", "org-secret"], ["x-request-id", "req_provider"],
                ["cf-ray", "1"], ["link", "<x>"], ["refresh", "0"], ["x-frame-options", "x"], ["cache-control", "public, max-age=3600"], ["etag", '"x"'], ["x-upstream-anything", "1"],
            ],
        })  # fmt: skip
        answer = served.admin.chat("chat")
        check.ok(answer)
        for name in (
            "set-cookie", "strict-transport-security", "access-control-allow-origin", "location", "www-authenticate", "proxy-authenticate", "x-powered-by", "openai-organization",
            "cf-ray", "link", "refresh", "x-frame-options", "etag", "x-upstream-anything",
        ):  # fmt: skip
            assert name not in answer.headers, name
        assert answer.headers["x-request-id"] != "req_provider"
        assert answer.headers.get("server") != "provider"
        assert "public" not in answer.headers["cache-control"]


class TestWhatTheProviderGets:
    def sent(self, account):
        call = account.last()
        assert call["violations"] == [] and call["refused"] is None, call
        return json.loads(call["body"])

    @pytest.mark.fault("C9")
    def test_the_body_with_only_the_model_changed(self, served, account):
        body = {
            "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi é 模型 🙂"}]}], "model": "chat", "temperature": 0.25,
            "max_completion_tokens": 16, "user": "u-1", "seed": -5, "stop": ["a", "b"], "metadata": {"job": "demo"}, "logit_bias": {"50256": -100}, "x_unknown": {"deep": [1, {"a": None}]},
            "x_list": [], "x_empty": {}, "x_null": None, "x_false": False,
        }  # fmt: skip
        check.ok(served.admin.post("/chat/completions", body))
        assert self.sent(account) == {**body, "model": "gpt-4o-mini"}

    def test_not_a_byte_of_the_rest_is_touched(self, served, account):
        """Order, white space inside values, escapes and the digits of numbers survive."""
        content = (
            '{"x_first":1.10,"messages":[{"role":"user","content":"a\\u00e9\\/\\ud83d\\ude42 é"}],"x_big":12345678901234567890123,"x_exp":1E+2,"x_neg":-0.0,'
            '"model":"chat","x_last":"model: \\"chat\\", {","x_obj":{"model":"chat","b":1,"a":2}}'
        )
        check.ok(served.admin.post("/chat/completions", content=content.encode()))
        got = account.last()["body"]
        assert got == content.replace('"model":"chat","x_last"', '"model":"gpt-4o-mini","x_last"'), got

    @pytest.mark.fault("C9")
    def test_the_gateways_own_members_stay_here(self, served, account):
        for path, body, _ in CALLS:
            given = {"model": "chat", **body, "cache": {"enabled": False}, "router": {"models": ["x"], "optimization": "cost"}, "x_kept": 1}
            if path == "/embeddings":
                del given["cache"], given["router"]
            check.ok(served.admin.post(path, given))
            sent = self.sent(account)
            assert "cache" not in sent and "router" not in sent and sent["x_kept"] == 1

    def test_headers_are_an_allow_list(self, served, account):
        hostile = {
            "cookie": "session=secret", "x-forwarded-for": "10.0.0.1", "x-real-ip": "10.0.0.1", "forwarded": "for=10.0.0.1", "via": "1.1 x", "x-amz-date": "x", "x-amzn-trace-id": "x",
            "x-stainless-lang": "python", "x-stainless-retry-count": "0", "openai-organization": "org", "openai-project": "p", "openai-beta": "x=1", "x-api-key": "k", "api-key": "k",
            "anthropic-version": "x", "proxy-authorization": "Basic x", "te": "trailers", "x-custom": "1", "referer": "https://x", "origin": "https://x", "user-agent": "client/1",
            "accept-encoding": "gzip, br", "accept-language": "de", "x-gateway-debug": "1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-request-id": "r",
            "x-ibm-project-id": "p", "x-ibm-space-id": "s", "cf-connecting-ip": "10.0.0.1", "x-http-method-override": "DELETE", "expect-ct": "x", "idempotency-key": "i",
        }  # fmt: skip
        for stream in (False, True):
            answer = served.admin.having(**hostile).chat("chat", stream=stream)
            assert answer.status_code == 200, check.describe(answer)
            call = account.last()
            assert call["violations"] == [], call["violations"]
            headers = dict(call["headers"])
            assert headers.pop("authorization") == f"Bearer {account.key}"
            assert headers.pop("content-type").startswith("application/json")
            assert headers.pop("host") == served.gateway.entry.env["EGRESS_ALLOW_ORIGINS"].split("//")[1]
            assert int(headers.pop("content-length")) == len(call["body"].encode())
            assert headers.pop("user-agent", "") != "client/1"
            assert headers.pop("accept-encoding", "identity") == "identity"
            assert headers.pop("accept", "*/*") in ("*/*", "application/json", "text/event-stream", "application/json, text/event-stream")
            assert headers.pop("connection", "keep-alive").lower() == "keep-alive"
            if served.gateway.entry.kind == "worker":
                headers.pop("cf-worker", None)  # Cloudflare's own mark on every call of a Worker
            # The client's trace goes on, under a span of ours.
            version, trace, span, flags = headers.pop("traceparent").split("-")
            assert (version, trace, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01") and span != "b7ad6b7169203331"
            assert headers == {}, f"not on the list: {headers}"
            assert served.api_key not in str(call)

    def test_the_address_is_the_base_url_and_the_path(self, tenant, account):
        for number, base in enumerate((account.base_url, account.base_url + "/")):
            tenant.model(tenant.provider(account, base_url=base), "gpt-4o", f"m{number}")
            for path, body, _ in CALLS:
                check.ok(tenant.admin.post(path, {"model": f"m{number}", **body}))
                call = account.last()
                assert (call["method"], call["path"]) == ("POST", f"/{account.name}/v1{path}")

    def test_a_large_body_passes(self, served, account):
        text = "x" * (4 * 1024 * 1024 - 200)
        check.ok(served.admin.chat("chat", messages=[{"role": "user", "content": text}]))
        assert len(account.last()["body"]) > len(text)


class TestNames:
    def test_alias_and_id_are_callable_as_they_are(self, tenant, account):
        provider = tenant.provider(account)
        tenant.model(provider, "gpt-4o", "azure/gpt-4o é")
        tenant.model(provider, "gpt-5")
        for name, id in (("azure/gpt-4o é", "gpt-4o"), ("gpt-4o", "gpt-4o"), ("gpt-5", "gpt-5")):
            check.ok(tenant.admin.chat(name))
            assert json.loads(account.last()["body"])["model"] == id

    def test_an_alias_wins_over_an_id(self, tenant, account):
        provider = tenant.provider(account)
        tenant.model(provider, "gpt-4o")
        tenant.model(provider, "gpt-5", "gpt-4o")
        # The name meant the id before: an environment that knows that may say so for a while.
        check.within(tenant.gateway.entry.bound, lambda: self.reaches(tenant, account, "gpt-5"))

    def reaches(self, tenant, account, model):
        check.ok(tenant.admin.chat("gpt-4o"))
        assert json.loads(account.last()["body"])["model"] == model

    @pytest.mark.parametrize("name", ["nobody", "Chat", "chat ", " chat", "chat\u200b", "ｃｈａｔ", "chat/", "openai/chat", "chat:latest", "*", "cha", "chatt", "GPT-4O-MINI"])
    def test_any_other_name_is_not_found(self, served, account, name):
        for path, body, _ in CALLS:
            answer = served.admin.post(path, {"model": name, **body})
            assert answer.status_code in (400, 404), check.describe(answer)
            check.error(answer, answer.status_code, ("model_not_found", "invalid_request"), param="model")
        assert account.calls() == []

    def test_the_uuid_is_no_name(self, served, account):
        (model,) = served.models()
        check.error(served.admin.chat(model["uuid"]), 404, "model_not_found", param="model")
        assert account.calls() == []

    def test_a_shared_alias_reaches_a_model_of_it(self, tenant, sim):
        accounts = [sim.account(), sim.account()]
        for account in accounts:
            tenant.model(tenant.provider(account), "gpt-4o", "both")
        for _ in range(20):
            check.ok(tenant.admin.chat("both"))
        assert sum(len(account.calls()) for account in accounts) == 20


def test_a_management_key_of_the_provider_stays_with_its_provider(tenant, sim):
    """Two providers of one tenant: each gets its own credential only."""
    accounts = {name: sim.account() for name in ("first", "second")}
    for name, account in accounts.items():
        tenant.model(tenant.provider(account), "gpt-4o", name)
    for name, account in accounts.items():
        check.ok(tenant.admin.chat(name))
        assert [call["key"] for call in account.calls()] == [account.key]


def test_one_log_line_for_each_call(served, account):
    answer = served.admin.chat("chat")
    line = served.gateway.log_line(answer)
    flat = json.dumps(line)
    assert answer.headers["x-request-id"] in flat and served.id in flat
    assert "Say hello" not in flat and account.base_url not in flat and "chat/completions?" not in flat
    assert 200 in line.values(), line
    failed = served.admin.chat("nobody")
    line = served.gateway.log_line(failed)
    assert 404 in line.values() and "model_not_found" in line.values(), line
