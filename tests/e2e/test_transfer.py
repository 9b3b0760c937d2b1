"""Export and import of a tenant: backup, and the way from one deployment to another."""

import base64
import copy
import json
import secrets

import pytest

from harness import check
from harness.gateway import unique, unused_id, watch_key

KEY = "sk-0123456789abcdefghijklmn"


def sealing_key():
    return base64.b64encode(secrets.token_bytes(32)).decode()


def export(tenant, key=None):
    """With a key it takes the operator: whoever chooses the key can open what it seals."""
    if key is None:
        return check.ok(tenant.admin.post("/tenant/export", {}))
    operator = tenant.gateway.operator.having(**{"X-Gateway-Tenant": tenant.id})
    return check.ok(operator.post("/tenant/export", {"sealing_key": key}))


def take_in(gateway, document, key=None):
    answer = gateway.operator.post("/tenants/import", {"document": document, **({"sealing_key": key} if key else {})})
    if answer.status_code == 201:
        watch_key(gateway, answer.json()["api_key"], "the first key of an imported tenant")
    return answer


@pytest.fixture
def full(tenant, account):
    """A tenant with providers of two types, models, and a key."""
    tenant.serves(account)
    tenant.provider(type="anthropic", name="claude", apikey=secrets.token_urlsafe(30))
    tenant.inference_key = tenant.key()
    return tenant


def remove(tenant):
    check.ok(tenant.admin.delete("/tenant"), 204)


def test_a_tenant_comes_back_as_it_was(gateway, full):
    key = sealing_key()
    document = export(full, key)
    before = (full.providers(), full.models())
    remove(full)
    imported = check.ok(take_in(gateway, document, key), 201)
    assert imported["id"] == full.id and imported["name"] == full.name
    admin = gateway.api(imported["api_key"])
    assert check.ok(admin.get("/providers")) == before[0]
    assert check.ok(admin.on("/ml/gateway/v1").get("/models"))["data"] == before[1]
    check.ok(admin.chat("chat"))
    # Its keys live on where the deployment's own secret is the same.
    check.within(gateway.entry.bound, lambda: check.ok(gateway.api(full.inference_key["api_key"]).chat("chat")))


def test_to_another_deployment(make_gateway, full, account):
    """The other one has keys of its own: the tenant and its credentials arrive, old bearer keys do not."""
    there = make_gateway()
    key = sealing_key()
    imported = check.ok(take_in(there, export(full, key), key), 201)
    admin = there.api(imported["api_key"])
    check.ok(admin.chat("chat"))
    assert account.last()["key"] == account.key
    check.error(there.api(full.api_key).get("/tenant"), 401)
    # A second time it is there already.
    check.error(take_in(there, export(full, key), key), 409, "conflict")


def test_without_a_key_no_credential_leaves(gateway, full, account):
    document = export(full)
    assert document["credentials"] == []
    remove(full)
    imported = check.ok(take_in(gateway, document), 201)
    admin = gateway.api(imported["api_key"])
    providers = {p["name"]: p for p in check.ok(admin.get("/providers"))}
    answer = admin.chat("chat")
    assert answer.status_code in (502, 503), check.describe(answer)
    # Given again, it works.
    (mine,) = [p for p in providers.values() if p["type"] == "openai"]
    body = {"name": mine["name"], "data": {"apikey": account.key, "base_url": account.base_url}}
    check.ok(admin.put(f"/providers/{mine['uuid']}/openai", body))
    check.within(gateway.entry.bound, lambda: check.ok(admin.chat("chat")))


def test_a_document_holds_no_secret_in_the_clear(gateway, full, account):
    """Every answer is searched for credentials, so this is only about what stands beside them."""
    text = json.dumps(export(full, sealing_key()))
    assert account.key not in text and full.api_key not in text and full.inference_key["api_key"] not in text


def test_wrong_keys_and_tampered_documents(gateway, full):
    key = sealing_key()
    document = export(full, key)
    check.error(take_in(gateway, document, key), 409, "conflict")
    remove(full)

    def changed(edit):
        other = copy.deepcopy(document)
        edit(other)
        return other

    flip = lambda text: text[:-6] + ("A" if text[-6] != "A" else "B") + text[-5:]  # noqa: E731
    wrong = [
        (document, sealing_key(), "sealing_key"),
        (document, None, "sealing_key"),
        (document, "short", "sealing_key"),
        (changed(lambda d: d["credentials"][0].update(sealed=flip(d["credentials"][0]["sealed"]))), key, "sealing_key"),
        (changed(lambda d: d["credentials"][0].update(provider=d["credentials"][1]["provider"])), key, "sealing_key"),
        (changed(lambda d: d["head"]["tenant"].update(id=unused_id())), key, "sealing_key"),
        (changed(lambda d: d["head"]["tenant"].update(name="a/b")), key, "document"),
        (changed(lambda d: d["head"]["providers"][0]["settings"].update(base_url="http://169.254.169.254/")), key, "document"),
        (changed(lambda d: d["head"]["providers"][0].update(type="unknown")), key, "document"),
        (changed(lambda d: d["head"]["providers"][0].update(uuid="../x")), key, None),
        (changed(lambda d: d["head"]["models"][0].update(provider=unused_id())), key, "document"),
        (changed(lambda d: d["head"]["models"][0].update(alias="a\u200bb")), key, "document"),
        (changed(lambda d: d["keys"][0].update(hash="zz")), key, "document"),
        (changed(lambda d: d.pop("head")), key, "document"),
        (changed(lambda d: d.update(head=[])), key, "document"),
        ({}, key, "document"),
        ([], key, "document"),
        ("text", key, "document"),
    ]
    for number, (given, with_key, param) in enumerate(wrong):
        answer = take_in(gateway, given, with_key)
        found = check.error(answer, 400)
        assert param is None or found["param"] == param, (number, found)
    assert full.id not in [t["id"] for t in check.ok(gateway.operator.get("/tenants"))["data"]]
    # The untouched one is still good.
    check.ok(take_in(gateway, document, key), 201)


def test_a_name_that_is_taken_meanwhile(gateway, full):
    key = sealing_key()
    document = export(full, key)
    remove(full)
    usurper = gateway.tenant(name=full.name)
    check.error(take_in(gateway, document, key), 409, "conflict")
    assert usurper.providers() == []
    check.ok(usurper.admin.put("/tenant", {"name": unique("moved")}))
    check.ok(take_in(gateway, document, key), 201)


def test_two_providers_of_one_name_do_not_come_in(gateway, tenant):
    for name in ("one", "two"):
        tenant.provider(name=name, apikey=KEY)
    document = export(tenant)
    document["head"]["providers"][1]["name"] = "ONE"
    remove(tenant)
    check.error(take_in(gateway, document), 400, param="document")


def test_who_may(gateway, tenant):
    check.error(tenant.admin.post("/tenant/export", {"sealing_key": sealing_key()}), 403, "permission_denied")
    check.error(tenant.inference().post("/tenant/export", {}), 403, "permission_denied")
    check.error(tenant.admin.post("/tenants/import", {"document": {}}), 403, "permission_denied")
    check.error(gateway.nobody.post("/tenant/export", {}), 401)
    check.error(gateway.nobody.post("/tenants/import", {"document": {}}), 401)
