"""Tenants: created by the operator, ruled by themselves."""

import re
import uuid

import pytest

from harness import check
from harness.gateway import unique

KEY = re.compile(r"mg\.(?P<tenant>[A-Za-z0-9_-]+)\.(?P<random>[A-Za-z0-9_-]{43,})\.(?P<tag>[A-Za-z0-9_-]+)")


def test_a_tenant_is_created_with_its_first_key(gateway):
    name = unique("Team A")
    made = check.ok(gateway.operator.post("/tenant", {"name": name, "secrets_manager": "builtin"}), 201)
    assert made["name"] == name and made["id"] == made["uuid"]
    assert uuid.UUID(made["id"])
    assert KEY.fullmatch(made["api_key"]), made["api_key"]
    assert len(made["api_key"]) < 200

    read = check.ok(gateway.api(made["api_key"]).get("/tenant"))
    assert "api_key" not in read
    assert read == {member: value for member, value in made.items() if member != "api_key"}
    assert check.ok(gateway.api(made["api_key"]).on("/ml/gateway/v1").get("/tenant")) == read


def test_the_first_key_has_both_scopes(served):
    assert served.admin.get("/providers").status_code == 200
    check.ok(served.admin.chat("chat"))


def test_the_operator_lists_tenants_without_keys(gateway, tenant, other):
    listed = check.ok(gateway.operator.get("/tenants"))
    assert listed["object"] == "list"
    by_id = {t["id"]: t for t in listed["data"]}
    assert len(by_id) == len(listed["data"])
    for one in (tenant, other):
        assert by_id[one.id]["name"] == one.name
    assert all("api_key" not in t for t in listed["data"])


@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_tenant_renames_itself(gateway, tenant, method):
    old, new = tenant.name, unique("renamed")
    renamed = check.ok(getattr(tenant.admin, method)("/tenant", {"name": new}))
    assert renamed["name"] == new and renamed["id"] == tenant.id
    assert check.ok(tenant.admin.get("/tenant"))["name"] == new
    # Its own name again, in other letters, is no conflict.
    check.ok(getattr(tenant.admin, method)("/tenant", {"name": new.upper()}))
    # The old name is free, the new one taken.
    gateway.tenant(name=old)
    check.error(gateway.operator.post("/tenant", {"name": new}), 409, "conflict")


def test_a_taken_name_is_refused_and_changes_nothing(gateway, tenant):
    for name in (tenant.name, tenant.name.upper(), tenant.name.title()):
        check.error(gateway.operator.post("/tenant", {"name": name}), 409, "conflict")
    other = gateway.tenant()
    check.error(other.admin.put("/tenant", {"name": tenant.name.upper()}), 409, "conflict")
    assert check.ok(tenant.admin.get("/tenant"))["name"] == tenant.name
    assert check.ok(other.admin.get("/tenant"))["name"] == other.name


GOOD_NAMES = ["n" * 128, "a b", "a.b_c-d (1) [2]", "~!@#$%^&*'\"<>,;:|?", "0"]
BAD_NAMES = [
    "", " ", " a", "a ", "n" * 129, "a/b", "a\\b", "a\tb", "a\nb", "a\r\nX-Y: 1", "a\x00b", "a\x7fb", "tenänt", "ｔｅａｍ", "a\u200bb",
    "a\u202eb", "\ufeffa", "🙂", None, 1, True, [], {}, ["a"], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_within_the_rules(gateway, name):
    room = 128 - len(name)
    name += unique("")[:room]
    assert check.ok(gateway.operator.post("/tenant", {"name": name}), 201)["name"] == name


def test_names_against_the_rules_store_nothing(gateway, tenant):
    for name in BAD_NAMES:
        check.error(gateway.operator.post("/tenant", {"name": name}), 400, "invalid_request", param="name")
        check.error(tenant.admin.put("/tenant", {"name": name}), 400, "invalid_request", param="name")
    assert check.ok(tenant.admin.get("/tenant"))["name"] == tenant.name
    names = [t["name"] for t in check.ok(gateway.operator.get("/tenants"))["data"]]
    assert not any(name in names for name in BAD_NAMES if isinstance(name, str))


def test_only_the_name_of_a_tenant_can_be_changed(tenant):
    for body in ({"secrets_manager": "builtin"}, {"id": tenant.id}, {"name": unique("x"), "id": tenant.id}, {"api_key": "k"}):
        check.error(tenant.admin.put("/tenant", body), 400)
        check.error(tenant.admin.patch("/tenant", body), 400)
    assert check.ok(tenant.admin.get("/tenant"))["name"] == tenant.name


SECRETS_MANAGERS = [
    "https://xxxx.us-south.secrets-manager.appdomain.cloud", "http://127.0.0.1:8200", "https://169.254.169.254/", "https://localhost",
    "arn:aws:secretsmanager:us-east-1:999999999999:secret:other", "../builtin", "builtin/../x", "Builtin ", "vault", "", " ",
    None, 1, True, [], {},
]  # fmt: skip


@pytest.mark.parametrize("value", SECRETS_MANAGERS, ids=repr)
def test_only_a_configured_secrets_manager_is_taken(gateway, value):
    if value is None:
        return  # unset
    name = unique("manager")
    check.error(gateway.operator.post("/tenant", {"name": name, "secrets_manager": value}), 400, "invalid_request", param="secrets_manager")
    assert name not in [t["name"] for t in check.ok(gateway.operator.get("/tenants"))["data"]]


def test_the_accounts_own_manager_is_taken_where_there_is_one(gateway, account):
    answer = gateway.operator.post("/tenant", {"name": unique("aws"), "secrets_manager": "aws"})
    if gateway.entry.kind != "lambda":
        check.error(answer, 400, "invalid_request", param="secrets_manager")
        return
    made = check.ok(answer, 201)
    assert made["secrets_manager"] == "aws"


def test_builtin_credentials_work_on_every_entry(gateway, account):
    tenant = gateway.tenant(secrets_manager="builtin")
    tenant.serves(account)
    check.ok(tenant.admin.chat("chat"))


def test_creating_and_listing_tenants_is_the_operators(gateway, tenant):
    for caller in (tenant.admin, tenant.inference()):
        check.error(caller.post("/tenant", {"name": unique("mine")}), 403, "permission_denied")
        check.error(caller.get("/tenants"), 403, "permission_denied")
    check.error(gateway.nobody.post("/tenant", {"name": unique("mine")}), 401)
    check.error(gateway.nobody.get("/tenants"), 401)


@pytest.mark.parametrize(
    "extra",
    [{"id": "0"}, {"uuid": "0"}, {"tenant_id": "0"}, {"role": "admin"}, {"is_admin": True}, {"allowed_routes": ["*"]}, {"api_key": "mg.x.y.z"}],
    ids=lambda extra: next(iter(extra)),
)
def test_a_body_gives_no_privilege(gateway, extra):
    name = unique("greedy")
    check.error(gateway.operator.post("/tenant", {"name": name, **extra}), 400, "unknown_field")
    assert name not in [t["name"] for t in check.ok(gateway.operator.get("/tenants"))["data"]]


def test_a_deleted_tenant_is_gone_with_everything(gateway, tenant, account):
    tenant.serves(account)
    inference = tenant.inference()
    check.ok(inference.chat("chat"))
    check.ok(tenant.admin.delete("/tenant"), 204)
    bound = gateway.entry.bound
    check.within(bound, lambda: check.error(tenant.admin.get("/tenant"), 401))
    check.within(bound, lambda: check.error(inference.chat("chat"), 401))
    assert tenant.id not in [t["id"] for t in check.ok(gateway.operator.get("/tenants"))["data"]]
    # Its name is free; nothing of the old one comes back.
    again = gateway.tenant(name=tenant.name)
    assert again.id != tenant.id and again.providers() == []


def test_deleting_a_tenant_needs_its_admin_scope(gateway, tenant):
    check.error(tenant.inference().delete("/tenant"), 403, "permission_denied")
    check.error(gateway.nobody.delete("/tenant"), 401)
    check.ok(tenant.admin.get("/tenant"))


class TestOperatorForATenant:
    """The operator key acts for the tenant that X-Gateway-Tenant names."""

    def test_by_id_and_by_name(self, gateway, tenant, other):
        made = tenant.provider(apikey="k" * 24)
        other.provider(apikey="o" * 24)
        for name in (tenant.id, tenant.name, tenant.name.upper()):
            caller = gateway.operator.having(**{"X-Gateway-Tenant": name})
            assert check.ok(caller.get("/tenant"))["id"] == tenant.id
            assert [p["uuid"] for p in check.ok(caller.get("/providers"))] == [made["uuid"]]

    def test_an_unknown_tenant_is_absent(self, gateway, tenant):
        for name in (unique("nobody"), "00000000-0000-4000-8000-000000000000", tenant.name + "x", "*", "../" + tenant.id):
            caller = gateway.operator.having(**{"X-Gateway-Tenant": name})
            check.error(caller.get("/tenant"), 404)
            check.error(caller.get("/providers"), 404)
            check.error(caller.post("/providers/openai", {"name": "p", "data": {"apikey": "k" * 20}}), 404)

    def test_it_may_do_all_that_the_tenant_may(self, gateway, tenant, account):
        caller = gateway.operator.having(**{"X-Gateway-Tenant": tenant.id})
        body = {"name": "by operator", "data": {"apikey": account.key, "base_url": account.base_url}}
        gateway.canaries.add(account.key, "apikey given by the operator")
        provider = check.ok(caller.post("/providers/openai", body), 201)
        check.ok(caller.post(f"/providers/{provider['uuid']}/models", {"id": "gpt-4o", "alias": "chat"}), 201)
        check.ok(caller.chat("chat"))
        assert check.ok(tenant.admin.chat("chat"))["choices"]

    def test_a_tenants_key_names_no_other(self, tenant, other):
        caller = tenant.admin.having(**{"X-Gateway-Tenant": other.id})
        answer = caller.get("/tenant")
        # Ignored or refused, never followed.
        if answer.status_code == 200:
            assert answer.json()["id"] == tenant.id
        else:
            assert answer.status_code in (400, 403, 404), check.describe(answer)
