"""Bad bodies on every route that takes one: the right status, one error that says what to change, nothing done."""

import gzip
import json
import socket
import time

import pytest

from harness import check
from harness.gateway import unique
from harness.routes import WITH_BODY

KEY = "sk-0123456789abcdefghijklmn"

# (name, bytes, code): none is a JSON document that a route could act on.
NOT_JSON = [
    ("empty", b"", "invalid_json"),
    ("blank", b" \n\t ", "invalid_json"),
    ("text", b"hello", "invalid_json"),
    ("cut", b'{"name": "x"', "invalid_json"),
    ("cut in a string", b'{"name": "x', "invalid_json"),
    ("cut in an escape", b'{"name": "x\\', "invalid_json"),
    ("single quotes", b"{'name': 'x'}", "invalid_json"),
    ("trailing comma", b'{"name": "x",}', "invalid_json"),
    ("comment", b'{"name": "x" /* y */}', "invalid_json"),
    ("trailing data", b'{"name": "x"} {"name": "y"}', "invalid_json"),
    ("trailing brace", b'{"name": "x"}}', "invalid_json"),
    ("form", b"name=x&model=chat", "invalid_json"),
    ("NaN", b'{"name": NaN}', "invalid_json"),
    ("Infinity", b'{"name": -Infinity}', "invalid_json"),
    ("plus", b'{"name": +1}', "invalid_json"),
    ("leading zero", b'{"name": 01}', "invalid_json"),
    ("hex", b'{"name": 0x10}', "invalid_json"),
    ("upper-case literal", b'{"name": TRUE}', "invalid_json"),
    ("duplicate", b'{"model": "a", "name": "x", "model": "b", "name": "y"}', "invalid_json"),
    ("duplicate through an escape", b'{"name": "x", "n\\u0061me": "y", "model": "a", "mod\\u0065l": "b"}', "invalid_json"),
    ("raw newline in a string", b'{"name": "a\nb"}', "invalid_json"),
    ("raw tab in a string", b'{"name": "a\tb"}', "invalid_json"),
    ("raw NUL", b'{"name": "a\0b"}', "invalid_json"),
    ("bad escape", b'{"name": "\\x41"}', "invalid_json"),
    ("short escape", b'{"name": "\\u12"}', "invalid_json"),
    ("lone surrogate", b'{"name": "\\ud800"}', "invalid_json"),
    ("surrogates reversed", b'{"name": "\\udc00\\ud800"}', "invalid_json"),
    ("invalid UTF-8", b'{"name": "\xff\xfe"}', "invalid_json"),
    ("cut UTF-8", b'{"name": "\xe2\x82"}', "invalid_json"),
    ("overlong UTF-8", b'{"name": "\xc0\xaf"}', "invalid_json"),
    ("surrogate in UTF-8", b'{"name": "\xed\xa0\x80"}', "invalid_json"),
    ("UTF-8 beyond Unicode", b'{"name": "\xf4\x90\x80\x80"}', "invalid_json"),
    ("latin-1", '{"name": "é"}'.encode("latin-1"), "invalid_json"),
    ("UTF-16", '{"name": "x"}'.encode("utf-16"), "invalid_json"),
    ("byte order mark", b'\xef\xbb\xbf{"name": "x"}', "invalid_json"),
    ("gzip without saying so", gzip.compress(b'{"name": "x"}'), "invalid_json"),
    ("129 deep", b'{"name":' + b"[" * 128 + b"]" * 128 + b"}", "json_too_deep"),
    ("200,000 brackets", b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "json_too_deep"),
    ("200,000 open brackets", b"[" * 200_000, "json_too_deep"),
    ("50,000 objects deep", b'{"x_a":' * 30_000 + b"1" + b"}" * 30_000, "json_too_deep"),
]
NOT_AN_OBJECT = [b"null", b"[]", b"[{}]", b'"name"', b"1", b"true", b"1e400", b"18446744073709551616"]

MEDIA_TYPES = [
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "application/json-patch+json", "text/json",
    "application/jsonp", "application", "json", "*/*", "application/json; charset=utf-16", "application/json; charset=iso-8859-1", "application/json, text/plain",
    "text/event-stream",
]  # fmt: skip
GOOD_MEDIA_TYPES = ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON", 'application/json; charset="utf-8"']
ENCODINGS = ["gzip", "br", "deflate", "zstd", "identity, gzip", "x-unknown", "gzip, identity"]


@pytest.fixture
def place(tenant, account):
    """Real ids, so that only the body is at fault."""
    provider, model = tenant.serves(account)
    return {"provider": provider["uuid"], "model": model["uuid"]}


@pytest.fixture
def unchanged(gateway, tenant, place, account):
    """Checks afterwards that nothing was stored and nothing sent."""
    look = lambda: (tenant.providers(), tenant.models(), check.ok(tenant.admin.get("/tenant")), check.ok(tenant.admin.get("/keys")))  # noqa: E731
    before = look()
    yield
    assert look() == before
    assert account.calls() == []


def caller_of(gateway, tenant, route):
    return gateway.operator if route.scope == "operator" else tenant.admin


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
class TestEveryRoute:
    @pytest.mark.fault("C2", "C3", "C5")
    def test_bodies_that_are_no_json(self, gateway, tenant, place, unchanged, route):
        caller, path = caller_of(gateway, tenant, route), route.fill(**place)
        wrong = []
        for name, content, code in NOT_JSON:
            answer = caller.request(route.method, path, content=content)
            try:
                check.error(answer, 400, code)
            except AssertionError as failure:
                wrong.append(f"{name}: {failure}")
        assert not wrong, "\n".join(wrong)

    @pytest.mark.fault("C2")
    def test_json_that_is_no_object(self, gateway, tenant, place, unchanged, route):
        caller, path = caller_of(gateway, tenant, route), route.fill(**place)
        for content in NOT_AN_OBJECT:
            check.error(caller.request(route.method, path, content=content), 400, ("invalid_request", "invalid_json"))

    @pytest.mark.fault("C7")
    def test_media_types(self, gateway, tenant, place, unchanged, route):
        caller, path = caller_of(gateway, tenant, route), route.fill(**place)
        content = json.dumps(route.body).encode()
        for media_type in MEDIA_TYPES:
            answer = caller.request(route.method, path, content=content, headers={"content-type": media_type})
            check.error(answer, 415, "unsupported_media_type")
        for encoding in ENCODINGS:
            body = gzip.compress(content) if "gzip" in encoding else content
            answer = caller.request(route.method, path, content=body, headers={"content-encoding": encoding})
            check.error(answer, 415, "unsupported_media_type")

    def test_a_good_media_type_is_not_the_fault(self, gateway, tenant, place, unchanged, route):
        caller, path = caller_of(gateway, tenant, route), route.fill(**place)
        for media_type in GOOD_MEDIA_TYPES:
            check.error(caller.request(route.method, path, content=b"{", headers={"content-type": media_type}), 400, "invalid_json")

    @pytest.mark.fault("C1")
    def test_bodies_over_the_limit(self, gateway, tenant, place, unchanged, route):
        caller, path = caller_of(gateway, tenant, route), route.fill(**place)
        limit = route.limit
        check.error(caller.request(route.method, path, content=b" " * (limit + 1)), 413, "request_too_large")
        # At the limit the body is judged by what it says.
        check.error(caller.request(route.method, path, content=b" " * limit), 400, "invalid_json")
        # Without a length it is counted.
        pieces = iter([b" " * 65_536] * (limit // 65_536) + [b" "])
        check.error(caller.request(route.method, path, content=pieces), 413, "request_too_large")

    @pytest.mark.fault("C8")
    def test_unknown_members_of_admin_bodies(self, gateway, tenant, place, unchanged, route):
        if route.data:
            return
        caller, path = caller_of(gateway, tenant, route), route.fill(**place)
        for extra in ("sk-secret-in-a-name-0123", "", "Name", "na me", "__proto__", "name ", "\u0000"):
            answer = caller.request(route.method, path, {**route.body, extra: "x"})
            check.error(answer, 400, "unknown_field")
            assert not extra.strip() or len(extra) < 5 or extra not in answer.text

    def test_required_members_are_required(self, gateway, tenant, place, unchanged, route):
        caller, path = caller_of(gateway, tenant, route), route.fill(**place)
        for missing in route.required:
            body = {member: value for member, value in route.body.items() if member != missing}
            found = check.error(caller.request(route.method, path, body), 400, "invalid_request")
            assert found["param"] == missing or (missing == "data" and found["param"] in ("data", None)), found


@pytest.mark.fault("C4")
def test_depth_at_the_limit(tenant, place):
    def deep(levels):
        """An object in an object in lists: `levels` in all."""
        return b'{"id":"m","metadata":{"x":' + b"[" * (levels - 2) + b"]" * (levels - 2) + b"}}"

    path = f"/providers/{place['provider']}/models"
    # Metadata has a limit of its own, 32 levels: it is read back from deeper inside.
    check.ok(tenant.admin.post(path, content=deep(33)), 201)
    check.error(tenant.admin.post(path, content=deep(34)), 400, "invalid_request", param="metadata")
    check.error(tenant.admin.post(path, content=deep(128)), 400, "invalid_request", param="metadata")
    check.error(tenant.admin.post(path, content=deep(129)), 400, "json_too_deep")


@pytest.mark.fault("C4")
def test_deep_data_bodies(tenant, place, account):
    def deep(levels):
        return b'{"model":"chat","messages":[{"role":"user","content":"x"}],"x_deep":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    check.error(tenant.admin.post("/chat/completions", content=deep(129)), 400, "json_too_deep")
    assert account.calls() == []
    # The simulator, like most servers, stops at 128 by itself: what matters is that ours lets it through.
    tenant.admin.post("/chat/completions", content=deep(100))
    assert len(account.calls()) == 1


@pytest.mark.fault("C4")
def test_wide_bodies_are_quick(tenant, place, account):
    """700,000 elements, a long number, a huge string: judged within a moment, and the next call works."""
    for content in (
        b'{"model":"nobody","messages":[' + b"1," * 700_000 + b"1]}",
        b'{"model":"nobody","messages":[],"x_n":' + b"9" * 1_000_000 + b"}",
        b'{"model":"nobody","messages":[],"x_s":"' + b"\\u0041" * 500_000 + b'"}',
        b'{"model":"nobody","messages":[],' + b",".join(b'"x_%d":1' % n for n in range(100_000)) + b"}",
    ):
        answer = tenant.admin.post("/chat/completions", content=content)
        assert answer.status_code in (400, 404), check.describe(answer)
        assert answer.elapsed.total_seconds() < 3
    assert account.calls() == []
    check.ok(tenant.admin.chat("chat"))


# (route path, member, wrong values): judged by the gateway itself, before anything is sent.
DATA_MEMBERS = [
    ("/chat/completions", "model", [None, 1, True, [], {}, "", " ", "a\nb", "x" * 3000, "a\u0000b"]),
    ("/chat/completions", "messages", [None, 1, "Hi", {}, []]),
    ("/chat/completions", "stream", ["true", 1, [], {}]),
    ("/completions", "model", [None, 1, [], ""]),
    ("/completions", "prompt", [{}, True]),
    ("/completions", "stream", ["yes", 0]),
    ("/embeddings", "model", [None, 1, [], ""]),
    ("/embeddings", "input", [None, "", [], {}, True]),
]


@pytest.mark.parametrize(("path", "member", "values"), DATA_MEMBERS, ids=lambda v: str(v)[:20])
@pytest.mark.fault("C6")
def test_members_of_data_bodies(tenant, unchanged, path, member, values):
    bodies = {
        "/chat/completions": {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]},
        "/completions": {"model": "chat", "prompt": "Hi"},
        "/embeddings": {"model": "chat", "input": "Hi"},
    }
    for value in values:
        answer = tenant.admin.post(path, {**bodies[path], member: value})
        assert answer.status_code in ((400, 404) if member == "model" else (400,)), (value, check.describe(answer))
        found = check.error(answer, answer.status_code)
        assert found["param"] == member, (value, found)


def test_stream_options_without_stream(tenant, place, account):
    """Only legal with a stream: OpenAI says so, and so do we or it."""
    check.error(tenant.admin.chat("chat", stream_options={"include_usage": True}), 400)


@pytest.mark.fault("C6")
def test_numbers_out_of_range(tenant, unchanged):
    for number in (b"1e400", b"-1e400", b"1e999999999"):
        content = b'{"model":"chat","messages":[{"role":"user","content":"x"}],"temperature":' + number + b"}"
        check.error(tenant.admin.post("/chat/completions", content=content), 400)
        content = b'{"id":"m","metadata":{"cost":' + number + b"}}"
        provider = tenant.providers()[0]["uuid"]
        check.error(tenant.admin.post(f"/providers/{provider}/models", content=content), 400)


def test_a_credential_in_a_wrong_place_is_not_repeated(tenant, unchanged):
    """A key as a wrong type, in an unknown field's name, in broken JSON: in no answer (and in no log, see the fixture)."""
    secret = "sk-canary-0Zq8WmYx7VtRb3LkDf5H"
    tenant.gateway.canaries.add(secret, "a misplaced credential")
    bodies = [
        f'{{"name": "p", "data": "{secret}"}}', f'{{"name": "p", "data": ["{secret}"]}}', f'{{"name": "p", "data": {{"apikey": ["{secret}"]}}}}',
        f'{{"name": "p", "data": {{"apikey": {{"v": "{secret}"}}}}}}', f'{{"name": "p", "data": {{"{secret}": 1}}}}', f'{{"name": "p", "{secret}": 1}}',
        f'{{"name": "p", "data": {{"apikey": "{secret}"', f'{{"name": "p", "data": {{"apikey": "{secret}\\x"}}}}', f'"{secret}"', f"{secret}",
        f'{{"name": {{"{secret}": 1}}, "data": {{"apikey": "{secret}"}}}}', f'{{"name": "p", "data": {{"apikey": "{secret}", "base_url": "{secret}"}}}}',
        f'{{"name": "p", "data": {{"apikey": "{secret} "}}}}', f'{{"name": "p", "data": {{"apikey": "{secret}", "base_url": "https://{secret}@x.example"}}}}',
        f'{{"name": "p", "data": {{"apikey": "{secret}"}}, "data_reference": {{"resource": "{secret}"}}}}',
    ]  # fmt: skip
    for body in bodies:
        check.error(tenant.admin.post("/providers/openai", content=body.encode()), 400)
    check.error(tenant.admin.post(f"/providers/{secret}", {"name": "p", "data": {}}), 404)
    check.error(tenant.admin.get(f"/providers/{secret}"), 404)
    check.error(tenant.gateway.api(secret).get("/tenant"), 401)


def test_control_characters_reach_no_header_and_no_log(gateway, tenant, place):
    for text in ("a\r\nX-Evil: 1", "a\nb", "a\x00b", "a\x1b[31m"):
        check.error(tenant.admin.post("/providers/openai", {"name": text, "data": {"apikey": "k"}}), 400)
        check.error(tenant.admin.post("/providers/openai", {"name": "p", "data": {"apikey": f"k{text}"}}), 400)
        check.error(tenant.admin.post(f"/providers/{place['provider']}/models", {"id": text}), 400)
        check.error(tenant.admin.post(f"/providers/{place['provider']}/models", {"id": "m", "alias": text}), 400)
        check.error(tenant.admin.post("/keys", {"name": text, "scopes": ["inference"]}), 400)
        answer = tenant.admin.chat(text)
        assert answer.status_code in (400, 404)
        assert "x-evil" not in answer.headers
    line = gateway.log_line(tenant.admin.chat(f"{unique('a')}\nX-Evil: 1"))
    assert isinstance(line, dict)


def test_query_strings_are_ignored_where_they_mean_nothing(tenant, place):
    check.ok(tenant.admin.get("/tenant?version=2025-01-01&x=%ff&&=&a[]=1"))
    check.ok(tenant.admin.post(f"/providers/{place['provider']}/models?version=2025-01-01", {"id": "q"}), 201)
    check.ok(tenant.admin.post("/chat/completions?version=2025-01-01&stream=true", {"model": "chat", "messages": [{"role": "user", "content": "x"}]}))


@pytest.mark.parametrize("value", ["", "tree", "ARRAY", "list,array"])
def test_a_wrong_format_is_refused_or_ignored(tenant, value):
    answer = tenant.admin.get("/providers", params={"format": value})
    assert answer.status_code in (200, 400), check.describe(answer)


@pytest.mark.entries("local")
def test_an_early_answer_waits_for_no_body(gateway):
    """A client that announces a body and does not send it is told at once that its key is wrong; others buffer bodies themselves."""
    with socket.create_connection(("127.0.0.1", int(gateway.origin.rsplit(":", 1)[1])), timeout=5) as client:
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong\r\n"
        client.sendall((head + "content-type: application/json\r\ncontent-length: 1000\r\n\r\n").encode())
        began = time.monotonic()
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 401"), answer[:100]
        assert time.monotonic() - began < 0.4
