"""Who gets in, by which path and method; what is public; what is not there."""

import contextlib
import hashlib
import socket

import pytest

from harness import check
from harness.gateway import unused_id
from harness.routes import MOUNTS, ROUTES, methods_of

ALL_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class TestPublic:
    def test_healthz(self, gateway):
        body = check.ok(gateway.nobody.on("").get("/healthz"))
        assert body["status"] == "ok" and body["version"]

    def test_readyz(self, gateway):
        check.ok(gateway.nobody.on("").get("/readyz"))

    @pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/favicon.ico", "/metrics", "/admin", "/ml/gateway", "/healthz/x", "/readyzz", "/identity", "/debug", "/.env"])
    def test_nothing_else(self, gateway, tenant, path):
        check.error(gateway.nobody.on("").get(path), 401)
        check.error(tenant.admin.on("").get(path), 404, "not_found")


class TestKeyRequired:
    @pytest.mark.parametrize("mount", MOUNTS)
    def test_every_route_without_a_key(self, gateway, mount):
        for route in ROUTES:
            for caller in (gateway.nobody, gateway.api("nonsense"), gateway.api("mg.a.b.c")):
                api = caller.on(mount)
                answer = api.request(route.method, route.fill(), route.body) if route.body else api.request(route.method, route.fill())
                check.error(answer, 401, "invalid_api_key")

    @pytest.mark.parametrize("path", ["/nothing", "/chat", "/chat/completions/x", "/responses", "/images/generations", "/tenant/x", "/providers/a/b/c/d"])
    @pytest.mark.fault("C10")
    def test_an_unknown_route_needs_a_key_too(self, gateway, tenant, path):
        for method in ALL_METHODS:
            body = {} if method in ("POST", "PUT", "PATCH") else None
            call = lambda api: api.request(method, path, body) if body is not None else api.request(method, path)  # noqa: E731
            check.error(call(gateway.nobody), 401)
            check.error(call(tenant.admin), 404, "not_found")

    def test_no_body_is_read_for_nobody(self, gateway):
        """A wrong body of an unknown caller is never judged, however large it says it is."""
        check.error(gateway.nobody.post("/chat/completions", content=b"{"), 401)
        check.error(gateway.nobody.post("/chat/completions", content=b"x" * 5_000_000), 401)


def schemes(key):
    half = len(key) // 2
    return [
        ("no header", []),
        ("empty", [("Authorization", "")]),
        ("bare", [("Authorization", key)]),
        ("scheme only", [("Authorization", "Bearer")]),
        ("scheme and space", [("Authorization", "Bearer ")]),
        ("basic", [("Authorization", f"Basic {key}")]),
        ("token", [("Authorization", f"Token {key}")]),
        ("api-key scheme", [("Authorization", f"ApiKey {key}")]),
        ("no space", [("Authorization", f"Bearer{key}")]),
        ("colon", [("Authorization", f"Bearer: {key}")]),
        ("tab", [("Authorization", f"Bearer\t{key}")]),
        ("two spaces", [("Authorization", f"Bearer  {key}")]),
        ("inner space", [("Authorization", f"Bearer {key[:half]} {key[half:]}")]),
        ("two tokens", [("Authorization", f"Bearer {key} {key}")]),
        ("comma", [("Authorization", f"Bearer {key},Bearer {key}")]),
        ("comma and space", [("Authorization", f"Bearer {key}, Bearer {key}")]),
        ("quoted", [("Authorization", f'Bearer "{key}"')]),
        ("parameter", [("Authorization", f"Bearer token={key}")]),
        ("two headers", [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {key}")]),
        ("two headers, one wrong", [("Authorization", f"Bearer {key}"), ("Authorization", "Bearer x")]),
        ("two headers, one basic", [("Authorization", "Basic eDp4"), ("Authorization", f"Bearer {key}")]),
        ("other header", [("X-Api-Key", key)]),
        ("azure header", [("api-key", key)]),
        ("proxy header", [("Proxy-Authorization", f"Bearer {key}")]),
        ("cookie", [("Cookie", f"authorization=Bearer {key}; api_key={key}")]),
        ("no algorithm", [("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.")]),
    ]


def near(key):
    head, tenant, random, tag = key.split(".")
    flip = lambda text, at: text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]  # noqa: E731
    return {
        "one more": key + "A",
        "one less": key[:-1],
        "swapped case": key.swapcase(),
        "first changed": f"{head}.{tenant}.{flip(random, 0)}.{tag}",
        "last changed": f"{head}.{tenant}.{flip(random, len(random) - 1)}.{tag}",
        "tag changed": f"{head}.{tenant}.{random}.{flip(tag, 0)}",
        "no tag": f"{head}.{tenant}.{random}",
        "tenant changed": f"{head}.{flip(tenant, 0)}.{random}.{tag}",
        "no prefix": key[3:],
        "other prefix": "gm" + key[2:],
        "hash": hashlib.sha256(key.encode()).hexdigest(),
        "hash as key": f"{head}.{tenant}.{hashlib.sha256(key.encode()).hexdigest()}.{tag}",
        "twice": key + key,
        "encoded": key.replace(".", "%2E"),
        "trailing dot": key + ".",
    }


class TestBearer:
    def test_wrong_schemes(self, gateway, tenant):
        wrong = {}
        for name, headers in schemes(tenant.api_key):
            answer = gateway.raw("GET", "/v1/tenant", headers)
            if name in ("two spaces", "tab"):
                # Optional white space: some fronts fold it. Either way it is one identity or none.
                assert answer.status in (200, 401), (name, answer)
            elif not (answer.status == 401 and b"invalid_api_key" in answer.body):
                wrong[name] = answer
        assert not wrong

    def test_the_key_in_the_query(self, gateway, tenant):
        for query in (f"api_key={tenant.api_key}", f"key={tenant.api_key}", f"access_token={tenant.api_key}", f"authorization=Bearer%20{tenant.api_key}"):
            check.error(gateway.nobody.get(f"/tenant?{query}"), 401)

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
    def test_the_scheme_in_any_case(self, gateway, tenant, scheme):
        assert gateway.raw("GET", "/v1/tenant", [("authorization", f"{scheme} {tenant.api_key}")]).status == 200

    def test_near_keys_right_after_the_real_one(self, gateway, tenant):
        for key in (tenant.api_key, gateway.entry.admin_key):
            if key.startswith("mg."):
                candidates = near(key)
            else:
                candidates = {"more": key + "A", "less": key[:-1], "case": key.swapcase(), "hash": hashlib.sha256(key.encode()).hexdigest()}
            for name, candidate in candidates.items():
                assert gateway.api(key).having(**{"X-Gateway-Tenant": tenant.id}).get("/tenant").status_code == 200
                answer = gateway.api(candidate).get("/tenant")
                check.error(answer, 401, "invalid_api_key")
                assert candidate[:12] not in answer.text, name

    HOSTILE = ["'", "' OR '1'='1", '"; DROP TABLE keys; --', "..", "../../etc/passwd", "*", "%00", "${jndi:ldap://x}", "mg.*.*.*", "mg." + "a" * 36 + ".x.y", "{}", "[]", "null", "undefined", "~", "=", "mg....", "mg"]

    @pytest.mark.parametrize("key", HOSTILE)
    def test_hostile_keys_are_just_wrong(self, gateway, key):
        answer = gateway.raw("GET", "/v1/tenant", [("authorization", f"Bearer {key}")])
        assert answer.status == 401, answer

    @pytest.mark.parametrize("key", [b"k" * 4_097, b"k" * 60_000, b"mg." + b"a" * 8_000, b"\xff\xfe\xfd", b"k\xc3\xa9y", b"a\x7fb"], ids=len)
    def test_impossible_keys_are_wrong_or_refused(self, gateway, key):
        answer = gateway.raw("GET", "/v1/tenant", [("authorization", b"Bearer " + key)])
        assert answer is None or answer.status in (400, 401, 431), answer


class TestPaths:
    def test_both_mounts_and_a_doubled_slash(self, served):
        for mount in ("/v1", "//v1", "/ml/gateway/v1", "/ml/gateway//v1"):
            api = served.admin.on(mount)
            check.ok(api.get("/tenant"))
            check.ok(api.get("/models?version=2025-01-01"))
            check.ok(api.chat("chat"))

    def test_the_doubled_slash_keeps_the_mount(self, tenant):
        assert isinstance(check.ok(tenant.admin.on("//v1").get("/providers")), list)
        assert isinstance(check.ok(tenant.admin.on("/ml/gateway//v1").get("/providers")), dict)

    def test_a_trailing_slash_is_served(self, served):
        for path in ("/models/", "/providers/", "/tenant/"):
            check.ok(served.admin.get(path))
        check.ok(served.admin.post("/chat/completions/", {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}))

    SPELLINGS = [
        "///v1/tenant", "/v1//tenant", "/v1/./tenant", "/v1/../v1/tenant", "/V1/tenant", "/v1/Tenant", "/v1/%74enant", "/%76%31/tenant", "/v1%2ftenant",
        "/v1%2Ftenant", "/v1/tenant%00", "/v1/tenant%20", "/v1/tenant;x=1", "/v1;/tenant", "/v1/tenant/..;/tenant", "/v1\\tenant", "/ml/gateway///v1/tenant",
        "//ml/gateway/v1/tenant", "/ml//gateway/v1/tenant", "/ml/gateway/v1/../../../v1/tenant", "/ml/gateway%2fv1/tenant", "/v1/tenant/.", "/./v1/tenant",
        "/healthz/../v1/tenant", "/healthz/..%2fv1/tenant", "/healthz;/v1/tenant", "/identity/token/../../v1/tenant", "/v1/v1/tenant", "/ml/gateway/tenant",
    ]  # fmt: skip

    @pytest.mark.parametrize("target", SPELLINGS)
    def test_other_spellings_open_nothing(self, gateway, tenant, target):
        nobody = gateway.raw("GET", target)
        assert nobody is None or nobody.status in (400, 401, 404), nobody
        # With a key: not there. workerd and Node resolve dot segments before any code of ours sees them.
        mine = gateway.raw("GET", target, [("authorization", f"Bearer {tenant.api_key}")])
        if mine is not None and mine.status == 200:
            assert gateway.entry.kind == "worker" and ("." in target or "\\" in target), mine
            assert tenant.id.encode() in mine.body
        else:
            assert mine is None or mine.status in (400, 404), mine

    @pytest.mark.parametrize("header", ["x-original-url", "x-rewrite-url", "x-forwarded-path", "x-forwarded-prefix", "x-forwarded-uri", "forwarded"])
    def test_headers_do_not_rewrite_the_path(self, gateway, header):
        check.error(gateway.nobody.get("/tenant", headers={header: "/healthz"}), 401)
        assert "version" in check.ok(gateway.nobody.on("").get("/healthz", headers={header: "/v1/tenant"}))

    @pytest.mark.entries("local")
    def test_the_host_does_not_matter(self, gateway, tenant):
        for host in ("evil.example", "localhost", "127.0.0.1", "healthz", "x/healthz"):
            answer = gateway.raw("GET", "/v1/tenant", [("authorization", f"Bearer {tenant.api_key}"), ("x-forwarded-host", host)])
            assert answer.status == 200

    def test_an_overlong_path(self, gateway, tenant):
        answer = gateway.raw("GET", "/v1/models/" + "a" * 12_000, [("authorization", f"Bearer {tenant.api_key}")])
        assert answer is None or answer.status in (400, 404, 414, 431), answer


class TestMethods:
    @pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
    @pytest.mark.fault("C10")
    def test_a_wrong_method_is_405_after_the_key(self, gateway, tenant, path):
        filled = path.format(provider=unused_id(), model=unused_id(), key=unused_id())
        # POST creates at /providers/{type}, which has the shape of /providers/{provider}.
        also = {"/providers/{provider}": {"POST"}, "/providers/openai": {"GET", "DELETE"}, "/providers/{provider}/openai": set()}.get(path, set())
        allowed = methods_of(path) | also
        for method in (*ALL_METHODS, "OPTIONS", "TRACE", "HEAD"):
            if method in allowed or (method == "HEAD" and "GET" in allowed):
                continue
            anonymous = gateway.raw(method, f"/v1{filled}", body=b"{}" if method in ("POST", "PUT", "PATCH") else None)
            assert anonymous is None or anonymous.status in (401, 405, 501), (method, anonymous)
            if method == "TRACE":
                if anonymous is not None:
                    assert b"TRACE /v1" not in anonymous.body
                continue
            headers = [("authorization", f"Bearer {tenant.api_key}"), ("content-type", "application/json")]
            answer = gateway.raw(method, f"/v1{filled}", headers, b"{}" if method in ("POST", "PUT", "PATCH") else None)
            assert answer.status == 405, (method, path, answer)
            listed = {name.strip() for name in answer.headers["allow"].split(",")}
            assert allowed <= listed and method not in listed, (path, listed)

    def test_options_shows_nothing_without_cors(self, gateway):
        headers = {"origin": "https://evil.example", "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        for path in ("/v1/chat/completions", "/ml/gateway/v1/providers", "/healthz", "/identity/token"):
            answer = gateway.nobody.on("").request("OPTIONS", path, headers=headers)
            assert answer.status_code in (401, 405), check.describe(answer)
            assert not [name for name in answer.headers if name.startswith("access-control-")]

    def test_an_origin_is_never_echoed(self, gateway, tenant):
        for api in (tenant.admin, gateway.nobody):
            answer = api.get("/tenant", headers={"origin": "https://evil.example"})
            assert "evil.example" not in str(answer.headers)

    def test_head_has_no_body(self, gateway, tenant):
        answer = gateway.http.head(f"{gateway.origin}/healthz")
        assert answer.status_code in (200, 405) and answer.content == b""

    @pytest.mark.parametrize("method", ["CONNECT", "PROPFIND", "FOO"])
    def test_unknown_methods_do_nothing(self, gateway, method):
        answer = gateway.raw(method, "/v1/tenant")
        # workerd answers CONNECT by itself, with 500; in front of it Cloudflare's edge refuses it.
        assert answer is None or answer.status in (400, 401, 404, 405, 501) or method == "CONNECT", answer
        assert answer is None or answer.status >= 400


@pytest.mark.entries("local")
class TestFraming:
    """The local listener reads HTTP strictly; elsewhere the platform does."""

    SMUGGLING = {
        "length and chunked": "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "chunked and length": "transfer-encoding: chunked\r\ncontent-length: 60\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "two lengths": "content-length: 0\r\ncontent-length: 44\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "two lengths in one": "content-length: 0, 44\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "signed length": "content-length: +0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "unknown coding": "transfer-encoding: xchunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "coding after chunked": "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "space before the colon": "content-length : 44\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "folded header": "x-a: b\r\n transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n",
        "bare line feed": "x-a: b\ntransfer-encoding: chunked\r\ncontent-length: 60\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "bad chunk size": "transfer-encoding: chunked\r\n\r\n-1\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    }

    @pytest.mark.parametrize("name", SMUGGLING)
    def test_a_second_request_does_not_hide_in_the_first(self, gateway, name):
        answers = self.talk(gateway, f"POST /v1/tenant HTTP/1.1\r\nhost: x\r\n{self.SMUGGLING[name]}")
        assert b'"status":"ok"' not in answers, answers
        assert answers.count(b"HTTP/1.1 ") <= 1, answers
        assert answers == b"" or answers.split(b" ")[1] in (b"400", b"401", b"411", b"501"), answers

    def test_garbage_is_no_request(self, gateway):
        for bytes_ in ("\r\n\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\x00\x01", "GET /healthz HTTP/1.1\r\nno colon\r\n\r\n", "x" * 200_000):
            answers = self.talk(gateway, bytes_)
            assert b" 200 " not in answers
        check.ok(gateway.nobody.on("").get("/healthz"))

    @pytest.mark.fault("C14")
    def test_slow_senders_are_in_nobodys_way(self, gateway):
        slow = []
        try:
            for _ in range(60):
                connection = socket.create_connection(("127.0.0.1", gateway.entry.port))
                connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-le")
                slow.append(connection)
            answer = gateway.nobody.on("").get("/healthz")
            assert answer.elapsed.total_seconds() < 1
        finally:
            for connection in slow:
                connection.close()

    def talk(self, gateway, text):
        """All that comes back within a moment."""
        with socket.create_connection(("127.0.0.1", gateway.entry.port), timeout=0.4) as connection:
            answers = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                connection.sendall(text.encode("latin-1"))
                while part := connection.recv(65_536):
                    answers += part
            return answers


class TestHeaders:
    def test_request_ids_are_ours_and_different(self, gateway, tenant):
        seen = {tenant.admin.get("/tenant", headers={"x-request-id": "mine"}).headers["x-request-id"] for _ in range(20)}
        assert len(seen) == 20 and "mine" not in seen

    def test_nothing_of_the_caller_is_repeated(self, gateway, tenant):
        mark = "zq9-reflect-me"
        answers = [
            tenant.admin.get(f"/models/{mark}"),
            tenant.admin.get(f"/{mark}"),
            tenant.admin.get(f"/providers/{mark}"),
            tenant.admin.post(f"/providers/{mark}", {"name": mark, "data": {}}),
            tenant.admin.post("/providers/openai", {"name": mark, mark: mark}),
            tenant.admin.post("/providers/openai", {"name": mark, "data": {mark: mark}}),
            tenant.admin.post("/providers/openai", content=f'{{"name": {mark}'.encode()),
            tenant.admin.chat(mark),
            tenant.admin.post("/chat/completions", content=f'"{mark}"'.encode()),
            gateway.api(mark).get("/tenant"),
            gateway.operator.having(**{"X-Gateway-Tenant": mark}).get("/tenant"),
        ]
        for answer in answers:
            assert answer.status_code >= 400, check.describe(answer)
            # A model's name is the one thing OpenAI's own error repeats.
            assert mark not in answer.text or answer.json()["error"]["code"] == "model_not_found", check.describe(answer)
            assert mark not in str(answer.headers)

    def test_a_content_length_and_nothing_odd(self, tenant):
        answer = tenant.admin.get("/tenant")
        assert answer.headers["content-type"] in ("application/json", "application/json; charset=utf-8")
        for name in ("server", "x-powered-by", "via", "etag"):
            assert "gateway" not in answer.headers.get(name, "").lower() or name == "server"
