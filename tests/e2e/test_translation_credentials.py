"""What a provider is shown and what nobody is: keys, signatures and tokens of every type, also when they change."""

import concurrent.futures
import re
import secrets

import pytest

from harness import check
from harness.chat import ask, user
from harness.providers import ALL, AZURE_STRICT, AZURE_TOKEN, AZURE_V1, BEDROCK, BEDROCK_KEY, BEDROCK_SESSION, TYPES, VARIANTS, WATSONX, WATSONX_SPACE, Upstream


def on(*kinds):
    return pytest.mark.parametrize("up", kinds, indirect=True, ids=str)


def own(*kinds):
    return pytest.mark.parametrize("own_up", kinds, indirect=True, ids=str)


@on(*ALL)
def test_headers_are_an_allow_list(up):
    hostile = {
        "cookie": "session=secret", "x-forwarded-for": "10.0.0.1", "via": "1.1 x", "x-amz-date": "20200101T000000Z", "x-amz-security-token": "t", "x-amz-content-sha256": "0",
        "x-stainless-lang": "python", "openai-organization": "org", "anthropic-version": "2020-01-01", "anthropic-beta": "x", "x-api-key": "k", "api-key": "k", "x-custom": "1",
        "x-gateway-debug": "1", "accept-encoding": "gzip, br", "user-agent": "client/1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "idempotency-key": "i",
    }  # fmt: skip
    known = {
        "host", "content-type", "content-length", "authorization", "accept", "accept-encoding", "user-agent", "connection",
        "x-api-key", "api-key", "anthropic-version", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "cf-worker", "traceparent",
    }  # fmt: skip
    for stream in (False, True):
        assert up.api.having(**hostile).chat("chat", stream=stream).status_code == 200
        call = up.calls()[-1]
        headers = dict(call["headers"])
        assert set(headers) <= known, set(headers) - known
        assert not {value for name, value in hostile.items() if name not in ("accept-encoding",)} & set(headers.values()), headers
        assert up.tenant.api_key not in str(call)


@on(*VARIANTS)
def test_variants(up):
    for streamed in (False, True):
        ask(up.api, streamed=streamed)
    call = up.calls()[-1]
    headers = dict(call["headers"])
    if up.kind == AZURE_V1:
        assert call["path"].endswith("/openai/v1/chat/completions") and up.sent()["model"] == up.kind.chat
    elif up.kind in (AZURE_TOKEN, BEDROCK_KEY):
        assert headers["authorization"] == f"Bearer {up.account.key}" and "api-key" not in headers and "x-amz-date" not in headers
    elif up.kind == BEDROCK_SESSION:
        signed = re.search("SignedHeaders=([^,]+)", headers["authorization"])[1].split(";")
        assert "x-amz-security-token" in signed and headers["x-amz-security-token"] == up.account.settings["session_token"]
    elif up.kind == WATSONX_SPACE:
        assert "space_id" in up.sent() and "project_id" not in up.sent()
    else:
        assert up.kind == AZURE_STRICT and headers["api-key"] == up.account.key


@on(*ALL)
def test_a_provider_that_repeats_the_key(up):
    """The token and the id of an AWS key as well."""
    for step in ({"echo_key": "body"}, {"echo_key": "body", "status": 401}, {"echo_key": "body", "status": 500}, {"echo_key": "header"}, {"echo_key": "event"}):
        for stream in (False, True):
            up.account.script(step, repeat=True)
            answer = up.api.chat("chat", stream=stream)
            shown = up.calls()[-1]["key"]
            assert shown and shown not in answer.text and shown not in str(answer.headers), check.describe(answer)
    assert shown.encode() not in up.tenant.gateway.entry.log.read_bytes(), "in the log"


@on(*TYPES)
def test_what_is_said_is_not_logged(up):
    secret = f"mysecret{secrets.token_hex(8)}"
    for messages in ([user(secret)], [user(f"refuse: {secret}")], [user("x"), {"role": "tool", "tool_call_id": secret, "content": secret}]):
        for stream in (False, True):
            up.may_refuse = True
            up.api.chat("chat", messages=messages, stream=stream, user=secret, metadata={"a": secret}, stop=[secret + "x"])
    up.account.script({"status": 400, "body": {"error": {"message": secret}, "message": secret}}, {"text": secret, "error_event": {"after": 4}})
    up.api.chat("chat")
    up.api.chat("chat", stream=True)
    assert secret.encode() not in up.tenant.gateway.entry.log.read_bytes()


@on(*TYPES)
def test_the_log_tells_the_tokens(up):
    for stream in (False, True):
        answer = up.api.chat("chat", messages=[user("one two")], stream=stream)
        line = up.tenant.gateway.log_line(answer)
        assert 9 in line.values(), line


@own(*TYPES)
def test_credentials_that_are_replaced(own_up):
    ask(own_up.api)
    new = f"sk-{secrets.token_urlsafe(30)}"
    own_up.account.configure(keys=[new])
    own_up.account.key = new
    data = own_up.kind.data(own_up.account)
    path = f"/providers/{own_up.provider['uuid']}/{own_up.kind.type}"
    check.ok(own_up.api.put(path, {"name": own_up.provider["name"], "data": data}))
    own_up.may_refuse = True
    check.within(own_up.tenant.gateway.entry.bound, lambda: ask(own_up.api))
    if own_up.kind == WATSONX:
        # The token of the old key is not shown any more.
        tokens = [call for call in own_up.account.calls() if "/identity/token" in call["path"]]
        assert new in tokens[-1]["body"]
        assert len({call["key"] for call in own_up.calls()}) == 2


class TestTokens:
    """IBM's tokens stand for a key: of one tenant, for a while."""

    def tokens(self, up):
        return [call for call in up.account.calls() if "/identity/token" in call["path"]]

    def test_each_key_has_its_own(self, gateway, sim):
        first = Upstream.make(WATSONX, gateway, sim)
        key = f"sk-{secrets.token_urlsafe(30)}"
        first.account.configure(keys=[first.account.key, key])
        data = WATSONX.data(first.account)
        other = gateway.tenant()
        other.model(other.provider(type="watsonxai", **{**data, "apikey": key}), WATSONX.chat, "chat")
        shown = []
        for caller in (first.api, other.admin):
            before = len(first.calls())
            for _ in range(2):
                ask(caller)
            shown.append({call["key"] for call in first.calls()[before:]})
        assert not shown[0] & shown[1], "keys share a token"

    def test_each_service_of_tokens_has_its_own(self, gateway, sim):
        """Somebody's own service cannot give out tokens for the key of another."""
        first = Upstream.make(WATSONX, gateway, sim)
        ask(first.api)
        second, data = WATSONX.account(sim)
        other = gateway.tenant()
        other.model(other.provider(type="watsonxai", **{**WATSONX.data(first.account), "auth_url": data["auth_url"]}), WATSONX.chat, "chat")
        second.configure(keys=[first.account.key])
        first.may_refuse = True
        answer = other.admin.chat("chat")
        check.error(answer, 502, "upstream_auth_failed")
        assert any("/identity/token" in call["path"] for call in second.calls())
        ask(first.api)
        first.judge()

    @pytest.mark.entries("local")
    @own(WATSONX)
    def test_many_calls_at_once_fetch_one(self, own_up):
        own_up.account.configure(token_script=[{"delay_ms": 300}])
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda _: ask(own_up.api), range(12)))
        assert len(self.tokens(own_up)) == 1

    @own(WATSONX)
    @pytest.mark.fault("U45", "R13")
    def test_that_live_a_moment_only(self, own_up):
        own_up.account.configure(token_seconds=1)
        for _ in range(3):
            ask(own_up.api)
        assert len(self.tokens(own_up)) >= 1

    @own(WATSONX)
    def test_answers_that_are_none(self, own_up):
        for step in ({"body": {}}, {"body": "<html>"}, {"body": {"access_token": 5}}, {"body": {"access_token": "a\r\nb: c", "expires_in": 3600}}, {"close_without_answer": True}):
            own_up.account.configure(token_script=[{**step, "repeat": True}])
            check.error(own_up.api.chat("chat"), 502)
        assert own_up.calls() == []


@own(BEDROCK)
def test_signatures_hold_for_every_form_of_name(own_up):
    ids = ["anthropic.claude-3-7-sonnet-20250219-v1:0", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6", "amazon.nova-pro-v1:0:300k", "a.b_c-d"]
    for number, id in enumerate(ids):
        own_up.tenant.model(own_up.provider, id, f"m{number}")
        for streamed in (False, True):
            ask(own_up.api, f"m{number}", messages=[user("é 🙂 one two")], streamed=streamed)
