"""Keys of a tenant: scopes, expiry, allowed models, revocation."""

import base64
import json
import time

import pytest

from harness import check
from harness.gateway import unique, unused_id, watch_key


class TestCreate:
    def test_a_key_is_shown_once(self, tenant):
        fields = {"name": "ci", "scopes": ["inference"]}
        made = check.ok(tenant.admin.post("/keys", fields), 201)
        watch_key(tenant.gateway, made["api_key"], "a key made in a test")
        assert made["name"] == "ci" and made["scopes"] == ["inference"] and made["id"]
        assert made["api_key"].startswith(f"mg.{tenant.api_key.split('.')[1]}.")
        listed = check.ok(tenant.admin.get("/keys"))
        assert listed["object"] == "list"
        (entry,) = [key for key in listed["data"] if key["id"] == made["id"]]
        assert entry == {member: value for member, value in made.items() if member != "api_key"}
        assert all("api_key" not in key for key in listed["data"])
        # The first key is listed too.
        assert len(listed["data"]) == 2

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("scopes", []), ("scopes", ["root"]), ("scopes", ["admin", "*"]), ("scopes", "admin"), ("scopes", [1]), ("scopes", {"admin": True}),
            ("scopes", ["Admin"]),
            ("name", ""), ("name", "n" * 129), ("name", 1), ("name", "a\nb"), ("name", "kéy"), ("name", None),
            ("expires_at", "soon"), ("expires_at", 0), ("expires_at", -1), ("expires_at", 1), ("expires_at", []), ("expires_at", True),
            ("expires_at", 1e300),
            ("models", "chat"), ("models", [1]), ("models", [""]), ("models", {}), ("models", ["m"] * 101), ("models", ["a\u200bb"]),
        ],
        ids=lambda v: str(v)[:20],
    )  # fmt: skip
    def test_wrong_values_make_no_key(self, tenant, field, value):
        body = {"name": "ci", "scopes": ["inference"], field: value}
        found = check.error(tenant.admin.post("/keys", body), 400, "invalid_request")
        assert found["param"] and found["param"].startswith(field), found
        assert len(check.ok(tenant.admin.get("/keys"))["data"]) == 1

    @pytest.mark.parametrize("extra", ["id", "api_key", "tenant", "hash", "is_admin", "allowed_routes"])
    def test_unknown_fields_make_no_key(self, tenant, extra):
        check.error(tenant.admin.post("/keys", {"name": "ci", "scopes": ["inference"], extra: "x"}), 400, "unknown_field")
        assert len(check.ok(tenant.admin.get("/keys"))["data"]) == 1


# (method, path below the mount, body) of everything that changes or shows a tenant's configuration.
ADMIN_CALLS = [
    ("GET", "/tenant", None), ("PUT", "/tenant", {"name": "x"}), ("PATCH", "/tenant", {"name": "x"}), ("DELETE", "/tenant", None),
    ("POST", "/tenant/export", {}),
    ("POST", "/providers/openai", {"name": "p", "data": {"apikey": "k"}}), ("GET", "/providers", None),
    ("GET", "/providers/{provider}", None), ("PUT", "/providers/{provider}/openai", {"name": "p", "data": {"apikey": "k"}}),
    ("DELETE", "/providers/{provider}", None), ("GET", "/providers/{provider}/models/available", None),
    ("POST", "/providers/{provider}/models", {"id": "m"}),
    ("PUT", "/providers/{provider}/models/{model}", {"id": "m"}), ("PATCH", "/providers/{provider}/models/{model}", {"id": "m"}),
    ("DELETE", "/providers/{provider}/models/{model}", None), ("DELETE", "/models/{model}", None),
    ("POST", "/keys", {"name": "k", "scopes": ["admin"]}), ("GET", "/keys", None), ("DELETE", "/keys/{key}", None),
]  # fmt: skip


class TestScopes:
    def test_an_inference_key_manages_nothing(self, served):
        key = served.key(scopes=["inference"])
        caller = served.gateway.api(key["api_key"])
        (provider,), (model,) = served.providers(), served.models()
        for method, path, body in ADMIN_CALLS:
            path = path.format(provider=provider["uuid"], model=model["uuid"], key=key["id"])
            answer = caller.request(method, path, body) if body is not None else caller.request(method, path)
            check.error(answer, 403, "permission_denied")
        assert served.providers() == [provider] and served.models() == [model]
        assert check.ok(served.admin.get("/tenant"))["name"] == served.name
        check.ok(caller.chat("chat"))

    def test_an_admin_key_calls_no_model(self, served, account):
        caller = served.gateway.api(served.key(scopes=["admin"])["api_key"])
        assert len(check.ok(caller.get("/providers"))) == 1
        check.error(caller.chat("chat"), 403, "permission_denied")
        check.error(caller.post("/completions", {"model": "chat", "prompt": "x"}), 403, "permission_denied")
        check.error(caller.post("/embeddings", {"model": "chat", "input": "x"}), 403, "permission_denied")
        assert account.calls() == []

    def test_an_admin_key_makes_keys(self, tenant):
        caller = tenant.gateway.api(tenant.key(scopes=["admin"])["api_key"])
        made = check.ok(caller.post("/keys", {"name": "second", "scopes": ["admin", "inference"]}), 201)
        check.ok(tenant.gateway.api(made["api_key"]).get("/tenant"))


class TestModels:
    def test_a_key_calls_the_models_it_names(self, tenant, account):
        provider = tenant.provider(account)
        for id, alias in (("gpt-4o", "chat"), ("gpt-4.1", "other"), ("gpt-5", None)):
            tenant.model(provider, id, alias)
        caller = tenant.inference(models=["chat", "gpt-5"])
        check.ok(caller.chat("chat"))
        check.ok(caller.chat("gpt-5"))
        calls = len(account.calls())
        # The same target by a name that the key does not have.
        for name in ("other", "gpt-4.1", "gpt-4o"):
            answer = caller.chat(name)
            assert answer.status_code in (403, 404), check.describe(answer)
            check.error(answer, answer.status_code)
        assert len(account.calls()) == calls
        assert {m["id"] for m in check.ok(caller.get("/models"))["data"]} == {"chat", "gpt-5"}
        assert caller.get("/models/other").status_code in (403, 404)

    def test_a_forbidden_model_looks_like_an_absent_one(self, tenant, account):
        tenant.serves(account, alias="secret-project")
        caller = tenant.inference(models=["something"])
        forbidden, absent = caller.chat("secret-project"), caller.chat("secret-projecu")
        assert forbidden.status_code == absent.status_code and len(forbidden.text) == len(absent.text)


class TestEnd:
    def test_revoked_by_id(self, served):
        key = served.key()
        caller = served.gateway.api(key["api_key"])
        check.ok(caller.chat("chat"))
        check.ok(served.admin.delete(f"/keys/{key['id']}"), 204)
        assert key["id"] not in [k["id"] for k in check.ok(served.admin.get("/keys"))["data"]]
        check.error(served.admin.delete(f"/keys/{key['id']}"), 404)
        check.within(served.gateway.entry.bound, lambda: check.error(caller.chat("chat"), 401))

    def test_unknown_ids(self, tenant):
        for id in (unused_id(), "x", tenant.api_key.split(".")[2][:10]):
            check.error(tenant.admin.delete(f"/keys/{id}"), 404)

    def test_an_expired_key_ends(self, served):
        key = served.key(expires_at=int(time.time()) + 3)
        caller = served.gateway.api(key["api_key"])
        check.ok(caller.chat("chat"))
        check.within(5, lambda: check.error(caller.chat("chat"), 401))
        assert key["expires_at"] <= time.time() + 1

    def test_a_new_key_works_at_once(self, served):
        for _ in range(10):
            check.ok(served.inference(name=unique("new")).chat("chat"))

    @pytest.mark.entries("local")
    def test_a_revoked_key_ends_at_once(self, served):
        for _ in range(10):
            key = served.key()
            caller = served.gateway.api(key["api_key"])
            check.ok(caller.chat("chat"))
            check.ok(served.admin.delete(f"/keys/{key['id']}"), 204)
            check.error(caller.chat("chat"), 401)


class TestTokens:
    """POST /identity/token: a short-lived bearer for IBM's SDKs."""

    GRANT = "urn:ibm:params:oauth:grant-type:apikey"

    def exchange(self, gateway, content, **headers):
        headers = {"content-type": "application/x-www-form-urlencoded", **headers}
        return gateway.http.post(f"{gateway.origin}/identity/token", content=content, headers=headers)

    @pytest.mark.parametrize("mangle", [lambda key: key, lambda key: key.replace(".", "%2E").replace("-", "%2d")], ids=["raw", "encoded"])
    def test_a_key_is_exchanged_for_a_token(self, served, mangle):
        gateway = served.gateway
        key = served.key()["api_key"]
        form = f"apikey={mangle(key)}&grant_type={self.GRANT.replace(':', '%3A')}"
        answer = gateway.watch(self.exchange(gateway, form, authorization="Basic Yng6Yng="))
        token = check.ok(answer)
        assert token["token_type"] == "Bearer" and token["expires_in"] > 900
        assert abs(token["expiration"] - time.time() - token["expires_in"]) < 120
        claims = claims_of(token["access_token"])
        assert claims["exp"] > claims["iat"]
        caller = gateway.api(token["access_token"])
        check.ok(caller.chat("chat"))
        # It has the scopes of its key, no more.
        check.error(caller.get("/providers"), 403, "permission_denied")

    def test_without_a_good_key_there_is_no_token(self, gateway, tenant):
        for form in ("", "apikey=", f"apikey={tenant.api_key}x", "apikey=nonsense", f"apikey={tenant.api_key}&apikey={tenant.api_key}", "grant_type=apikey", "\xff\xfe"):
            answer = gateway.watch(self.exchange(gateway, form.encode("latin-1")))
            assert answer.status_code == 400, check.describe(answer)
            assert answer.json()["errorCode"].startswith("BXNIM"), check.describe(answer)
            assert answer.json()["errorMessage"]

    def test_a_token_that_was_tampered_with_is_nobody(self, served):
        gateway = served.gateway
        token = self.exchange(gateway, f"apikey={served.api_key}&grant_type={self.GRANT}").json()["access_token"]
        check.ok(gateway.api(token).chat("chat"))
        head, payload, tag = token.split(".")
        for wrong in (
            f"{head}.{payload}.", f"{head}.{payload}", f"{payload}.{head}.{tag}", f"{head}.{payload}.{tag[:-2]}", f"{head}.{payload}A.{tag}",
            f"eyJhbGciOiJub25lIn0.{payload}.", f"eyJhbGciOiJub25lIn0.{payload}.{tag}",
        ):  # fmt: skip
            check.error(gateway.api(wrong).chat("chat"), 401)

    def test_a_token_ends_with_its_key(self, served):
        gateway = served.gateway
        key = served.key()
        token = self.exchange(gateway, f"apikey={key['api_key']}&grant_type={self.GRANT}").json()["access_token"]
        check.ok(gateway.api(token).chat("chat"))
        check.ok(served.admin.delete(f"/keys/{key['id']}"), 204)
        check.within(gateway.entry.bound, lambda: check.error(gateway.api(token).chat("chat"), 401))


def claims_of(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
