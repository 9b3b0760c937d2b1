"""Providers: all types with every spelling, lists in both shapes, replacing, deleting, what they offer."""

import uuid

import pytest

from harness import check
from harness.gateway import unique, unused_id

KEY = "sk-0123456789abcdefghijklmn"
AWS = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "region": "us-east-1"}

# (type in the path, data, type in the answer)
MINIMAL = [
    ("openai", {"apikey": KEY}, "openai"),
    ("watsonxai", {"apikey": KEY, "project_id": "5f0c8a1e-0d0e-4a53-8a7b-3d7b1c1a2f44"}, "watsonxai"),
    ("watsonxai", {"apikey": KEY, "space_id": "5f0c8a1e-0d0e-4a53-8a7b-3d7b1c1a2f44"}, "watsonxai"),
    ("watsonx-ai", {"apikey": KEY, "project_id": "p"}, "watsonxai"),
    ("azure-openai", {"apikey": KEY, "resource_name": "my-resource"}, "azure-openai"),
    ("anthropic", {"apikey": KEY}, "anthropic"),
    ("bedrock", AWS, "bedrock"),
    ("cerebras", {"apikey": KEY}, "cerebras"),
    ("cerebas", {"apikey": KEY}, "cerebras"),
    ("nim", {"apikey": KEY}, "nim"),
]
TYPES = ["openai", "watsonxai", "azure-openai", "anthropic", "bedrock", "cerebras", "nim"]
MINIMAL_DATA = {kind: data for kind, data, answered in reversed(MINIMAL) if kind == answered}

COMPLETE = [
    ("openai", {"apikey": KEY, "base_url": "https://models.example.com/v1"}),
    ("watsonxai", {"apikey": KEY, "project_id": "p", "space_id": "s", "base_url": "https://eu-de.ml.cloud.ibm.com", "auth_url": "https://iam.cloud.ibm.com", "api_version": "2024-10-21"}),
    ("watsonxai", {"apikey": KEY, "space_id": "s", "auth_url": "https://iam.cloud.ibm.com/identity/token"}),
    ("azure-openai", {"apikey": KEY, "resource_name": "r", "api_version": "2024-10-21", "subscription_id": "11111111-2222-4333-8444-555555555555", "resource_group_name": "my-group", "account_name": "my-account", "base_url": "https://x.openai.azure.com"}),
    ("azure-openai", {"apikey": KEY, "resource_name": "r", "api_version": "2025-04-01-preview"}),
    ("anthropic", {"apikey": KEY, "base_url": "https://claude.example.com"}),
    ("bedrock", {**AWS, "session_token": "FwoGZXIvYXdzEXAMPLE", "base_url": "https://bedrock-runtime.us-east-1.amazonaws.com"}),
    ("cerebras", {"apikey": KEY, "base_url": "https://fast.example.com/v1"}),
    ("nim", {"apikey": KEY, "base_url": "https://nim.example.com/v1"}),
]  # fmt: skip

# The spelling of the prose of the documentation, beside the snake_case of its examples.
CAMEL = {
    "apikey": "apiKey", "base_url": "baseURL", "project_id": "projectID", "space_id": "spaceID", "auth_url": "authURL",
    "api_version": "apiVersion", "resource_name": "resourceName", "subscription_id": "subscriptionID",
    "resource_group_name": "resourceGroupName", "account_name": "accountName", "access_key_id": "accessKeyId",
    "secret_access_key": "secretAccessKey", "region": "Region", "session_token": "sessionToken",
}  # fmt: skip
SPELLINGS = {
    "snake": lambda field: "api_key" if field == "apikey" else field,
    "camel": lambda field: CAMEL[field],
    "joined": lambda field: field.replace("_", ""),
    "kebab": lambda field: "api-key" if field == "apikey" else field.replace("_", "-"),
    "shout": lambda field: "API_KEY" if field == "apikey" else field.upper(),
}


@pytest.mark.parametrize(("path", "data", "answered"), MINIMAL, ids=lambda v: v if isinstance(v, str) else "")
def test_every_type_with_what_it_requires(tenant, path, data, answered):
    name = unique("my provider")
    made = check.ok(tenant.admin.post(f"/providers/{path}", {"name": name, "data": data}), 201)
    assert made == {"uuid": made["uuid"], "name": name, "type": answered}
    assert uuid.UUID(made["uuid"]).version in (4, 7)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_field_in_every_spelling(tenant, spelling):
    for kind, data in COMPLETE:
        spelled = {SPELLINGS[spelling](field): value for field, value in data.items()}
        check.ok(tenant.admin.post(f"/providers/{kind}", {"name": unique(kind), "data": spelled}), 201)
    assert len(tenant.providers()) == len(COMPLETE)


def test_a_field_given_in_two_spellings_is_refused(tenant):
    for data in ({"apikey": KEY, "apiKey": "other-key-0123456789"}, {"apikey": KEY, "base_url": "https://a.example.com", "baseURL": "https://b.example.com"}):
        check.error(tenant.admin.post("/providers/openai", {"name": "p", "data": data}), 400)
    assert tenant.providers() == []


@pytest.mark.parametrize("kind", TYPES)
def test_each_required_field_is_required(tenant, kind):
    minimal = MINIMAL_DATA[kind]
    for missing in minimal:
        data = {field: value for field, value in minimal.items() if field != missing}
        found = check.error(tenant.admin.post(f"/providers/{kind}", {"name": "p", "data": data}), 400, "invalid_request")
        assert found["param"].startswith("data"), found
        assert missing in found["message"], found
    assert tenant.providers() == []


@pytest.mark.parametrize("kind", TYPES)
def test_no_field_takes_a_wrong_value(tenant, kind):
    """Wrong types and characters in each credential; none of it may be repeated in the answer."""
    minimal = MINIMAL_DATA[kind]
    values = ["", 1, True, [], {}, ["k"], "two words", "tab\tbed", "line\r\nX-Evil: 1", "nul\x00", "kéy", "x" * 16_385]
    for field in minimal:
        for value in values:
            if field in ("project_id", "space_id") and value == "x" * 16_385:
                continue
            answer = tenant.admin.post(f"/providers/{kind}", {"name": "p", "data": {**minimal, field: value}})
            found = check.error(answer, 400, "invalid_request")
            assert found["param"] == f"data.{field}", (field, value, found)
    assert tenant.providers() == []


@pytest.mark.fault("P13")
def test_a_credential_at_its_limit(tenant):
    check.ok(tenant.admin.post("/providers/openai", {"name": "long", "data": {"apikey": "x" * 16_384}}), 201)
    check.ok(tenant.admin.post("/providers/openai", {"name": "short", "data": {"apikey": "k"}}), 201)


@pytest.mark.parametrize("kind", TYPES)
def test_unknown_fields_are_refused_and_not_repeated(tenant, kind):
    secret = "sk-mistyped-0123456789abcdef"
    for data in ({**MINIMAL_DATA[kind], secret: "x"}, {**MINIMAL_DATA[kind], "password": secret}, {**MINIMAL_DATA[kind], "headers": {"a": secret}}):
        answer = tenant.admin.post(f"/providers/{kind}", {"name": "p", "data": data})
        check.error(answer, 400, "unknown_field")
        assert secret not in answer.text
    assert tenant.providers() == []


@pytest.mark.parametrize("kind", ["gemini", "ollama", "OpenAI", "openai2", "azure", "aws", "models", "..", "a b", "open%61i", "x" * 300])
def test_an_unknown_type_is_absent(tenant, kind):
    check.error(tenant.admin.post(f"/providers/{kind}", {"name": "p", "data": {"apikey": KEY}}), 404)
    assert tenant.providers() == []


@pytest.mark.parametrize("name", ["x", "n" * 128, "my-openai-provider", "Team [1] (eu)", "a/b_c.d", "a: b | c"])
def test_provider_names_within_the_rules(tenant, name):
    made = check.ok(tenant.admin.post("/providers/openai", {"name": name, "data": {"apikey": KEY}}), 201)
    assert made["name"] == name


def test_a_name_is_unique_in_its_tenant_only(tenant, other):
    first = tenant.provider(name="Shared", apikey=KEY)
    for kind, name in (("openai", "Shared"), ("openai", "SHARED"), ("anthropic", "shared")):
        check.error(tenant.admin.post(f"/providers/{kind}", {"name": name, "data": {"apikey": KEY}}), 409, "conflict")
    assert [p["uuid"] for p in tenant.providers()] == [first["uuid"]]
    other.provider(name="Shared", apikey=KEY)


class TestLists:
    def test_the_mount_decides_the_shape(self, tenant):
        made = [tenant.provider(apikey=KEY), tenant.provider(type="anthropic", apikey=KEY)]
        array = check.ok(tenant.admin.get("/providers"))
        assert isinstance(array, list)
        assert {p["uuid"] for p in array} == {p["uuid"] for p in made}
        answer = tenant.ibm.get("/providers")
        listed = check.ok(answer)
        assert listed["object"] == "list" and listed["data"] == array
        assert "user-agent" in answer.headers.get("vary", "").lower()

    @pytest.mark.parametrize(
        ("mount", "agent", "query", "shape"),
        [
            ("/v1", "python-httpx/0.28", "", list),
            ("/v1", "curl/8.5.0", "", list),
            ("/v1", "curl/8.5.0", "?format=list", dict),
            ("/v1", "OpenAI/Python 3.54.0", "?format=array", list),
            ("/ml/gateway/v1", "ibm-watsonx-ai/1.8.1 (lang=python; arch=x86_64)", "", dict),
            ("/ml/gateway/v1", "ibm-cloud-watsonx-ai/1.7.16", "?version=2025-01-01", dict),
            ("/ml/gateway/v1", "curl/7.88.1", "", list),
            ("/ml/gateway/v1", "curl/7.88.1", "?version=2025-01-01", list),
            ("/ml/gateway/v1", "mycurl/1", "", dict),
            ("/ml/gateway/v1", "curl", "", dict),
            ("/ml/gateway/v1", "curl/7.88.1", "?format=list", dict),
            ("/ml/gateway/v1", "x", "?format=array", list),
        ],
    )
    def test_mount_agent_and_format(self, tenant, mount, agent, query, shape):
        tenant.provider(apikey=KEY)
        answer = tenant.admin.on(mount).get(f"/providers{query}", headers={"user-agent": agent})
        assert isinstance(check.ok(answer), shape), check.describe(answer)

    def test_an_empty_tenant_has_empty_lists(self, tenant):
        assert check.ok(tenant.admin.get("/providers")) == []
        assert check.ok(tenant.ibm.get("/providers")) == {"object": "list", "data": []}
        assert check.ok(tenant.admin.get("/models")) == {"object": "list", "data": []}
        assert check.ok(tenant.ibm.get("/models")) == {"object": "list", "data": []}

    def test_by_name(self, tenant):
        made = tenant.provider(name="my one & only", apikey=KEY)
        tenant.provider(name="another", apikey=KEY)
        found = check.ok(tenant.admin.get("/providers", params={"name": "my one & only"}))
        assert [p["uuid"] for p in found] == [made["uuid"]]
        assert check.ok(tenant.ibm.get("/providers?name=my+one+%26+only"))["data"] == found
        assert check.ok(tenant.admin.get("/providers?name=nobody")) == []
        assert check.ok(tenant.admin.get("/providers?name=my")) == []

    def test_one_provider_as_in_the_list(self, tenant):
        made = tenant.provider(apikey=KEY, base_url="https://models.example.com/v1")
        tenant.model(made, "gpt-4o", "chat")
        (listed,) = check.ok(tenant.admin.get("/providers"))
        read = check.ok(tenant.admin.get(f"/providers/{made['uuid']}"))
        assert read == listed
        assert {member: read[member] for member in ("uuid", "name", "type")} == made
        assert None not in read.values()
        assert KEY not in str(read)

    @pytest.mark.fault("P10")
    def test_an_unknown_provider_is_absent(self, tenant):
        for id in (unused_id(), "x", "openai", "4cag", "%00", "a" * 2000):
            check.error(tenant.admin.get(f"/providers/{id}"), 404)
        # An unset variable in a path of the documentation.
        check.error(tenant.admin.get("/providers//models"), 404, "not_found")


class TestReplace:
    def test_name_address_and_credential_change_while_uuid_and_models_stay(self, sim, tenant, account):
        provider, model = tenant.serves(account)
        after = sim.account()
        tenant.gateway.canaries.add(after.key, "replaced apikey")
        body = {"name": unique("replaced"), "data": {"apikey": after.key, "base_url": after.base_url}}
        replaced = check.ok(tenant.admin.put(f"/providers/{provider['uuid']}/openai", body))
        assert replaced == {"uuid": provider["uuid"], "name": body["name"], "type": "openai"}
        (left,) = tenant.models()
        assert left["uuid"] == model["uuid"] and left["owned_by"] == f"openai:{body['name']}"

        def served_by_the_new():
            before = len(account.calls())
            check.ok(tenant.admin.chat("chat"))
            assert len(account.calls()) == before
            assert after.last()["key"] == after.key

        check.within(tenant.gateway.entry.bound, served_by_the_new)

    def test_what_cannot_be_replaced(self, tenant):
        provider = tenant.provider(name="first", apikey=KEY)
        tenant.provider(name="second", apikey=KEY)
        body = {"name": "first", "data": {"apikey": KEY}}
        path = f"/providers/{provider['uuid']}"
        check.error(tenant.admin.put(f"{path}/anthropic", body), 400)
        check.error(tenant.admin.put(f"{path}/gemini", body), 404)
        check.error(tenant.admin.put(f"/providers/{unused_id()}/openai", body), 404, "provider_not_found")
        check.error(tenant.admin.put(f"{path}/openai", {**body, "name": "SECOND"}), 409, "conflict")
        check.error(tenant.admin.put(f"{path}/openai", {"name": "first"}), 400)
        check.error(tenant.admin.put(f"{path}/openai", {"name": "first", "data": {}}), 400)
        check.error(tenant.admin.put(f"{path}/openai", {**body, "uuid": unused_id()}), 400, "unknown_field")
        assert check.ok(tenant.admin.get(path))["name"] == "first"
        # Its own name in other letters.
        assert check.ok(tenant.admin.put(f"{path}/openai", {**body, "name": "First"}))["name"] == "First"


class TestDelete:
    def test_its_models_go_and_its_name_is_free(self, tenant, account):
        provider, model = tenant.serves(account)
        check.ok(tenant.admin.chat("chat"))
        check.ok(tenant.admin.delete(f"/providers/{provider['uuid']}"), 204)
        assert tenant.providers() == [] and tenant.models() == []
        check.error(tenant.admin.get(f"/providers/{provider['uuid']}"), 404)
        check.error(tenant.admin.get(f"/models/{model['uuid']}"), 404)
        check.error(tenant.admin.delete(f"/providers/{provider['uuid']}"), 404)
        check.within(tenant.gateway.entry.bound, lambda: check.error(tenant.admin.chat("chat"), 404, "model_not_found"))
        again = tenant.provider(account, name=provider["name"])
        assert again["uuid"] != provider["uuid"]

    def test_a_body_on_delete_is_no_obstacle(self, tenant):
        """The SDKs send a JSON content type with an empty body."""
        provider = tenant.provider(apikey=KEY)
        answer = tenant.admin.delete(f"/providers/{provider['uuid']}", headers={"content-type": "application/json"})
        check.ok(answer, 204)

    def test_the_method_override_deletes_nothing(self, tenant):
        provider = tenant.provider(apikey=KEY)
        for header in ("x-http-method-override", "x-http-method", "x-method-override"):
            tenant.admin.get(f"/providers/{provider['uuid']}", headers={header: "DELETE"})
            tenant.admin.post(f"/providers/{provider['uuid']}", {}, headers={header: "DELETE"})
        tenant.admin.get(f"/providers/{provider['uuid']}?_method=DELETE")
        check.ok(tenant.admin.get(f"/providers/{provider['uuid']}"))


class TestData:
    @pytest.mark.parametrize("data", [None, "k", 1, [], [{"apikey": KEY}], {}, True])
    def test_data_of_a_wrong_kind(self, tenant, data):
        check.error(tenant.admin.post("/providers/openai", {"name": "p", "data": data}), 400)
        assert tenant.providers() == []

    def test_a_reference_without_a_manager_for_it(self, tenant):
        reference = {"resource": "crn:v1:bluemix:public:secrets-manager:us-south:a/1:2:secret:3"}
        check.error(tenant.admin.post("/providers/openai", {"name": "p", "data_reference": reference}), 400, param="data_reference")
        check.error(tenant.admin.post("/providers/openai", {"name": "p", "data": {"apikey": KEY}, "data_reference": reference}), 400)
        check.error(tenant.admin.post("/providers/openai", {"name": "p"}), 400)
        for wrong in ("x", 1, [], {}, {"resource": 1}, {"resource": ""}, {"resource": "https://127.0.0.1/"}, {"resource": "arn:aws:secretsmanager:us-east-1:999999999999:secret:other"}):
            check.error(tenant.admin.post("/providers/openai", {"name": "p", "data_reference": wrong}), 400)
        assert tenant.providers() == []


class TestAvailable:
    def test_what_the_upstream_offers(self, tenant, account):
        account.configure(models=["gpt-4o", "text-embedding-3-large"])
        provider = tenant.provider(account, name="my openai")
        for api in (tenant.admin, tenant.ibm):
            listed = check.ok(api.get(f"/providers/{provider['uuid']}/models/available"))
            assert listed["object"] == "list"
            assert [m["id"] for m in listed["data"]] == ["gpt-4o", "text-embedding-3-large"]
            for model in listed["data"]:
                assert model["object"] == "model" and isinstance(model["created"], int)
                assert model["owned_by"] == "openai:my openai"
        assert account.last()["violations"] == []

    @pytest.mark.parametrize(
        ("step", "status", "code"),
        [
            ({"status": 500}, 502, "upstream_error"),
            ({"status": 401}, 502, "upstream_auth_failed"),
            ({"status": 404}, 502, None),
            ({"body": "<html>sign in</html>", "content_type": "text/html"}, 502, "upstream_protocol"),
            ({"body": {"data": "none"}}, 502, "upstream_protocol"),
            ({"redirect": {"status": 302, "location": "http://127.0.0.1:1/"}}, 502, "upstream_redirect"),
            ({"close_without_answer": True}, 502, "upstream_unreachable"),
        ],
        ids=lambda v: "",
    )
    def test_a_failing_upstream_is_502(self, tenant, account, step, status, code):
        provider = tenant.provider(account)
        account.script(step, repeat=True)
        check.error(tenant.admin.get(f"/providers/{provider['uuid']}/models/available"), status, code)

    def test_an_unknown_provider_offers_nothing(self, tenant):
        check.error(tenant.admin.get(f"/providers/{unused_id()}/models/available"), 404)


@pytest.mark.entries("local")
def test_a_tenant_has_at_most_200_providers(tenant):
    for number in range(200):
        tenant.provider(name=f"p{number}", apikey="k")
    answer = tenant.admin.post("/providers/openai", {"name": "one more", "data": {"apikey": "k"}})
    assert answer.status_code in (400, 409, 429), check.describe(answer)
    check.error(answer, answer.status_code, "quota_exceeded", type="invalid_request_error")
    assert len(tenant.providers()) == 200
