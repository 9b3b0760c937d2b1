"""What a client sees when the provider fails; one target, so the truth is told."""

import json

import pytest

from harness import check

pytestmark = pytest.mark.usefixtures("metered")
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
FAILED = "The provider failed to process the request."
REJECTED = "The provider rejected the stored credential."
MESSAGE = {"message": "Words of the provider.", "type": "invalid_request_error", "param": "x", "code": "some_code"}


def error(**members):
    return {"error": {**MESSAGE, **members}}


# (id, step, status, code, calls at most): codes in a tuple are alternatives.
ONCE, SOME = 1, 3
STATUSES = [
    ("U1 400", {"status": 400, "body": error()}, 400, "some_code", ONCE),
    ("U1 422", {"status": 422, "body": error()}, 400, None, ONCE),
    ("U2 401", {"status": 401}, 502, "upstream_auth_failed", ONCE),
    ("U2 403", {"status": 403}, 502, "upstream_auth_failed", ONCE),
    ("402", {"status": 402, "body": error()}, None, None, ONCE),
    ("U3 404", {"status": 404}, 404, "model_not_found", ONCE),
    ("U4 408", {"status": 408}, 502, "upstream_error", SOME),
    ("U4 409", {"status": 409}, 502, "upstream_error", SOME),
    ("U4 425", {"status": 425}, 502, "upstream_error", SOME),
    ("U5 413", {"status": 413}, 400, "context_length_exceeded", ONCE),
    ("U5 context", {"status": 400, "body": error(code="context_length_exceeded", param="messages")}, 400, "context_length_exceeded", ONCE),
    ("U6 429 short", {"status": 429, "retry_after": 1}, 429, None, SOME),
    ("U7 429 long", {"status": 429, "retry_after": 3600}, 429, None, ONCE),
    ("U7 429 without", {"status": 429}, 429, None, SOME),
    ("U7 429 negative", {"status": 429, "retry_after": -5}, 429, None, SOME),
    ("U7 429 absurd", {"status": 429, "retry_after": "1000000000"}, 429, None, ONCE),
    ("U7 429 words", {"status": 429, "retry_after": "soon"}, 429, None, SOME),
    ("U8 500", {"status": 500}, 502, "upstream_error", SOME),
    ("U8 502", {"status": 502}, 502, "upstream_error", SOME),
    ("U8 503", {"status": 503}, 502, "upstream_error", SOME),
    ("U8 599", {"status": 599}, 502, "upstream_error", SOME),
    ("U9 529", {"status": 529}, 503, "upstream_overloaded", SOME),
    ("U10 504", {"status": 504}, 504, "upstream_timeout", SOME),
    ("U12 204", {"status": 204}, 502, "upstream_protocol", SOME),
    ("U12 206", {"status": 206}, 502, "upstream_protocol", SOME),
    ("U12 201", {"status": 201}, (200, 502), None, SOME),
    ("U12 304", {"status": 304}, 502, ("upstream_protocol", "upstream_redirect"), SOME),
    ("U12 418", {"status": 418}, 502, "upstream_protocol", SOME),
    ("U12 451", {"status": 451}, 502, ("upstream_protocol", "upstream_error"), SOME),
    ("U12 999", {"raw_response": "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n"}, 502, None, SOME),
]

BROKEN = [
    ("U14 closed", {"close_without_answer": True}, "upstream_unreachable"),
    ("U14 reset", {"close_without_answer": True, "rst": True}, "upstream_unreachable"),
    ("not HTTP", {"raw_response": "hello\r\n\r\n"}, ("upstream_protocol", "upstream_unreachable")),
    ("HTTP/0.9", {"raw_response": "<html></html>"}, ("upstream_protocol", "upstream_unreachable")),
    ("half a head", {"raw_response": "HTTP/1.1 200 OK\r\ncontent-ty"}, ("upstream_protocol", "upstream_unreachable", "upstream_disconnected")),
    ("two lengths", {"raw_response": "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"}, None),
    ("bad chunk", {"raw_response": "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n"}, None),
    ("U27 HTML", {"body": "<html><script>alert(1)</script></html>", "content_type": "text/html"}, "upstream_protocol"),
    ("U27 a portal that calls itself JSON", {"body": "<html>", "content_type": "application/json"}, "upstream_protocol"),
    ("U28 cut", {"cut_at": 60}, None),
    ("U28 reset", {"cut_at": 60, "rst": True}, None),
    ("U28 cut, clean", {"clean_end_at": 60}, "upstream_protocol"),
    ("U28 no JSON", {"raw_body": "{not json}"}, "upstream_protocol"),
    ("U28 empty", {"raw_body": ""}, "upstream_protocol"),
    ("U28 bad UTF-8", {"raw_body": "eyJpZCI6Iv/+In0="}, "upstream_protocol"),
    ("U29 no choices", {"body": {"id": "x", "object": "chat.completion"}}, "upstream_protocol"),
    ("U29 choices is no list", {"body": {"id": "x", "choices": "none"}}, "upstream_protocol"),
    ("U29 a list", {"body": [1]}, "upstream_protocol"),
    ("U29 null", {"raw_body": "bnVsbA=="}, "upstream_protocol"),
    ("U33 over 16 MiB", {"oversize": {"bytes": 17 * 1024 * 1024}}, "upstream_too_large"),
    ("U34 longer than it says", {"content_length": "-10"}, None),
    ("U34 shorter than it says", {"content_length": "+10"}, None),
    ("U35 gzip", {"content_encoding": "gzip"}, "upstream_protocol"),
    ("an error with status 200", {"body": {"error": {"message": "x", "type": "server_error", "param": None, "code": None}}}, None),
]


def fresh(gateway, sim):
    """A tenant and account of its own: a cool-down or breaker of one case must not answer for the next."""
    tenant, account = gateway.tenant(), sim.account()
    tenant.serves(account)
    return tenant, account


@pytest.mark.parametrize(("id", "step", "status", "code", "most"), STATUSES, ids=[row[0] for row in STATUSES])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_statuses(served, account, id, step, status, code, most, stream):
    account.script(step, repeat=True)
    answer = served.admin.post("/chat/completions", {**CHAT, "stream": stream})
    if status is None:
        # Passed on by its class; only that it is a proper error and came from one call.
        assert 400 <= answer.status_code < 600
        status = answer.status_code
    if isinstance(status, tuple):
        assert answer.status_code in status, check.describe(answer)
        if answer.status_code == 200:
            return
        status = answer.status_code
    # Kinds of a provider's own error may pass.
    passed = status in (400, 404, 413, 429, 402) or status == 503
    check.error(answer, status, code, type=answer.json()["error"]["type"] if passed else None)
    calls = account.calls()
    assert 1 <= len(calls) <= most, f"{len(calls)} calls"
    assert "location" not in answer.headers


@pytest.mark.parametrize(("id", "step", "code"), BROKEN, ids=[row[0] for row in BROKEN])
def test_broken_answers(served, account, id, step, code):
    account.script(step, repeat=True)
    answer = served.admin.post("/chat/completions", CHAT)
    if id == "U34 longer than it says" and answer.status_code == 200:
        pytest.fail("a body cut by a wrong length was taken for whole")
    check.error(answer, 502, code)
    assert 1 <= len(account.calls()) <= SOME
    account.script()
    # The connection that broke is not used again, and nothing of it is left behind.
    check.ok(served.admin.post("/chat/completions", CHAT))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.fault("U11")
def test_redirects_are_never_followed(served, account, sim, status):
    canary = sim.account()
    for location in (f"{canary.base_url}/chat/completions", "http://169.254.169.254/latest/meta-data/", "/v1/models", "//evil.example/"):
        account.script({"redirect": {"status": status, "location": location}}, repeat=True)
        for stream in (False, True):
            answer = served.admin.post("/chat/completions", {**CHAT, "stream": stream})
            check.error(answer, 502, "upstream_redirect", param=None)
            assert location not in answer.text and "location" not in answer.headers
    assert canary.calls() == []


def test_huge_headers_of_an_answer(served, account):
    """A fault, or passed over where the runtime takes them; never passed on."""
    account.script({"big_headers": 300_000}, {"big_headers": 20_000})
    for _ in range(2):
        answer = served.admin.post("/chat/completions", CHAT)
        assert answer.status_code in (200, 502), check.describe(answer)
        assert len(str(answer.headers)) < 2_000


class TestWords:
    """Which words of a provider reach a client (design section 5, fixtures of openai)."""

    @pytest.mark.fault("U1", "U5", "U7")
    def test_errors_about_the_request_keep_theirs(self, gateway, sim):
        cases = [
            (400, error(message="Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", param="max_tokens", code="unsupported_parameter"), 400),
            (400, error(message="This model's maximum context length is 8192 tokens.", param="messages", code="context_length_exceeded"), 400),
            (404, error(message="The model `gpt-nope` does not exist or you do not have access to it.", param=None, code="model_not_found"), 404),
            (404, error(message="This is a chat model and not supported in the v1/completions endpoint.", param="model", code=None), 404),
            (429, error(message="You exceeded your current quota.", type="insufficient_quota", param=None, code="insufficient_quota"), 429),
            (429, error(message="Rate limit reached for requests", type="requests", param=None, code="rate_limit_exceeded"), 429),
        ]  # fmt: skip
        for status, body, seen in cases:
            tenant, account = fresh(gateway, sim)
            account.script({"status": status, "body": body}, repeat=True)
            answer = tenant.admin.post("/chat/completions", CHAT)
            assert answer.status_code == seen, check.describe(answer)
            assert answer.json() == body, check.describe(answer)

    def test_others_get_constant_words(self, served, account):
        for status in (401, 403, 500, 502, 503):
            account.script({"status": status, "body": error(message="Internal details sk-abc at 10.0.0.1")}, repeat=True)
            found = check.error(served.admin.post("/chat/completions", CHAT), 502)
            assert found["message"] == (REJECTED if status in (401, 403) else FAILED)
            assert found["param"] is None

    def test_advice_on_repeating(self, served, account):
        for status, advice in ((401, "false"), (403, "false")):
            account.script({"status": status}, repeat=True)
            assert served.admin.post("/chat/completions", CHAT).headers["x-should-retry"] == advice
        account.script({"status": 429, "body": error(type="insufficient_quota", code="insufficient_quota"), "headers": [["x-should-retry", "false"]]}, repeat=True)
        assert served.admin.post("/chat/completions", CHAT).headers["x-should-retry"] == "false"

    @pytest.mark.fault("U7")
    def test_retry_after_is_capped(self, gateway, sim):
        for given, low, high in ((2, 1, 3), ("7", 6, 8), (3600, 1, 60), ("1000000000", 1, 60), (-1, 1, 60), ("nonsense", 1, 60), ("Wed, 21 Oct 2065 07:28:00 GMT", 1, 60)):
            tenant, account = fresh(gateway, sim)
            account.script({"status": 429, "retry_after": given}, repeat=True)
            answer = tenant.admin.post("/chat/completions", CHAT)
            assert answer.status_code == 429
            if "retry-after" in answer.headers:
                assert low <= int(answer.headers["retry-after"]) <= high, (given, answer.headers["retry-after"])
            else:
                assert given in (-1, "nonsense"), f"retry-after {given} was dropped"

    def test_rate_headers_of_a_429_pass(self, served, account):
        account.script({"status": 429, "headers": [["x-ratelimit-remaining-requests", "0"], ["retry-after-ms", "1500"], ["retry-after", "2"]]}, repeat=True)
        answer = served.admin.post("/chat/completions", CHAT)
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert answer.headers["retry-after-ms"] == "1500" and answer.headers["retry-after"] == "2"

    @pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500])
    def test_the_stored_key_never_comes_back(self, gateway, sim, status):
        """Every answer is searched for credentials: here the provider repeats the key in all the places it can."""
        bodies = (
            lambda key: error(message=f"Incorrect API key provided: {key}."),
            lambda key: error(param=key, code=key, type=key),
            lambda key: error(message=f"key={key[:20]}… and {key[8:]}"),
            lambda key: f"plain {key}",
            lambda key: {"detail": key},
            lambda key: error(message=f"Bearer {key}"),
            lambda key: {key: {"error": key}},
        )
        for body in bodies:
            tenant, account = fresh(gateway, sim)
            key = account.key
            headers = [["x-request-id", key], ["retry-after", key], ["x-ratelimit-reset-requests", key]]
            account.script({"status": status, "body": body(key), "headers": headers}, repeat=True)
            answer = tenant.admin.post("/chat/completions", CHAT)
            assert answer.status_code >= 400
            check.error(answer, answer.status_code, type=answer.json()["error"]["type"])
        for echo in ("body", "header"):
            account.script({"echo_key": echo}, repeat=True)
            tenant.admin.post("/chat/completions", CHAT)

    def test_a_passed_message_is_cleaned(self, served, account):
        dirty = "a\r\nb\x00c\x1b[31md\u202ee\u2028f " + "x" * 5000
        account.script({"status": 400, "body": error(message=dirty)}, repeat=True)
        found = check.error(served.admin.post("/chat/completions", CHAT), 400)
        assert len(found["message"].encode()) <= 520
        # Some providers say what is wrong in lines.
        assert not [c for c in found["message"] if (ord(c) < 32 and c != "\n") or c == "\x7f"], found["message"][:40]

    @pytest.mark.parametrize("body", ["<html><body>Bad Gateway</body></html>", "", "x" * 200_000, {"error": "flat text"}, {"message": "flat"}, {"error": {"message": 5}}, {"errors": []}, [1, 2]], ids=lambda b: str(b)[:15])
    def test_error_bodies_of_any_shape(self, served, account, body):
        for status, seen in ((400, 400), (500, 502)):
            account.script({"status": status, "body": body}, repeat=True)
            found = check.error(served.admin.post("/chat/completions", CHAT), seen)
            assert "<html" not in found["message"]


@pytest.mark.fault("U2")
def test_a_credential_that_is_refused_is_tried_once(served, account):
    account.script({"status": 401}, repeat=True)
    for _ in range(3):
        served.admin.post("/chat/completions", CHAT)
    assert len(account.calls()) <= 3


@pytest.mark.fault("U2", "U8", "U29")
def test_faults_of_embeddings_and_completions(served, account):
    for path, body in (("/embeddings", {"model": "chat", "input": "x"}), ("/completions", {"model": "chat", "prompt": "x"})):
        for step, status, code in (({"status": 500}, 502, "upstream_error"), ({"body": {"object": "list"}}, 502, "upstream_protocol"), ({"status": 401}, 502, "upstream_auth_failed")):
            account.script(step, repeat=True)
            check.error(served.admin.post(path, body), status, code)


def test_a_fault_of_one_tenant_is_no_other_tenants(served, other, account, sim):
    healthy = sim.account()
    other.serves(healthy)
    account.script({"status": 500}, repeat=True)
    for _ in range(6):
        served.admin.post("/chat/completions", CHAT)
        check.ok(other.admin.chat("chat"))
    assert json.loads(healthy.last()["body"])["model"] == "gpt-4o-mini"
