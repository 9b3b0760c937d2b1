"""A credential entered once is never seen again: not in answers, logs, or anything at rest.

The fixtures search the log and state of every entry of a run at its end too; this shows that the search can find.
"""

import base64
import json
import secrets

import pytest

from harness import check
from harness.canary import Canaries, assert_nothing_leaked, forms

# A value of each field of each type that is a secret.
SECRETS = [
    ("openai", "apikey", {}),
    ("anthropic", "apikey", {}),
    ("cerebras", "apikey", {}),
    ("nim", "apikey", {}),
    ("azure-openai", "apikey", {"resource_name": "r"}),
    ("watsonxai", "apikey", {"project_id": "p"}),
    ("bedrock", "secret_access_key", {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "region": "us-east-1"}),
    ("bedrock", "session_token", {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": secrets.token_urlsafe(30), "region": "us-east-1"}),
]


@pytest.mark.parametrize("manager", ["builtin", None])
def test_credentials_stay_where_they_belong(gateway, sim, manager):
    tenant = gateway.tenant(**({"secrets_manager": manager} if manager else {}))
    for number, (kind, field, rest) in enumerate(SECRETS):
        # Characters that every encoding writes in another way.
        value = f"{secrets.token_urlsafe(24)}+/={secrets.token_urlsafe(24)}"
        gateway.canaries.add(value, f"{field} of {kind}")
        made = tenant.provider(type=kind, name=f"p{number}", **rest, **{field: value})
        check.ok(tenant.admin.get(f"/providers/{made['uuid']}"))
        # Conflicts and refusals that carry it once more.
        body = {"name": f"p{number}", "data": {**rest, field: value}}
        check.error(tenant.admin.post(f"/providers/{kind}", body), 409)
        check.error(tenant.admin.post(f"/providers/{kind}", {**body, "name": "q", "extra": value}), 400)
        check.error(tenant.admin.post(f"/providers/{kind}", {**body, "name": value * 3}), 400)
        check.error(tenant.admin.put(f"/providers/{made['uuid']}/gemini", body), 404)
        check.ok(tenant.admin.put(f"/providers/{made['uuid']}/{kind}", body))
    check.ok(tenant.admin.get("/providers"))
    account = sim.account()
    tenant.serves(account)
    for _ in range(2):
        check.ok(tenant.admin.chat("chat"))
    assert_nothing_leaked(gateway)


def test_a_prompt_is_not_logged(served, account):
    mark = secrets.token_urlsafe(24)
    account.script({"text": f"answer {mark[::-1]}"}, repeat=True)
    check.ok(served.admin.chat("chat", messages=[{"role": "user", "content": mark}]))
    served.admin.chat_stream("chat", messages=[{"role": "user", "content": mark}]).finished()
    served.admin.post("/chat/completions", content=f'{{"model": "{mark}", '.encode())
    output = served.gateway.entry.output()
    assert mark not in output and mark[::-1] not in output


def test_the_aws_account_of_a_lambda_keeps_the_credential(gateway, tenant):
    """Only there: a secret of its own for each provider, named for tenant and provider, gone with it."""
    if gateway.entry.kind != "lambda":
        return
    value = secrets.token_urlsafe(30)
    provider = tenant.provider(apikey=value)
    manager = gateway.entry.aws.client("secretsmanager")
    name = f"model-gateway/{tenant.id}/{provider['uuid']}"
    stored = manager.get_secret_value(SecretId=name)
    assert value in (stored.get("SecretString") or stored["SecretBinary"].decode())
    check.ok(tenant.admin.delete(f"/providers/{provider['uuid']}"), 204)

    def scheduled_for_deletion():
        assert "DeletedDate" in manager.describe_secret(SecretId=name)

    check.within(3, scheduled_for_deletion)


@pytest.mark.parametrize("form", [name for name, _ in forms("x")])
def test_the_search_finds(form):
    value = "sk-0Zq8WmYx7VtRb3LkDf5H/+=abc"
    canaries = Canaries()
    canaries.add(value, "canary")
    text = dict(forms(value))[form]
    assert canaries.find(b"before " + text + b" after")
    assert canaries.find(text[3:15]) and not canaries.find(text[3:14])
    assert canaries.find(json.dumps({"body": base64.b64encode(f"xy{value}z".encode()).decode()}).encode())
    assert canaries.find(b"nothing to see here, sk-0Zq8WmYx") is None
