"""Credentials in secrets managers that the operator configured: IBM Cloud's and AWS's, on every entry alike."""

import concurrent.futures
import json
import os
import secrets
import time

import pytest

from harness import check
from harness.canary import assert_nothing_leaked
from harness.gateway import unique
from harness.managers import ACCOUNT, REGION, Managers

KINDS = ["ibm", "aws"]
# How long a manager is down. By hand: MANAGER_DOWN_SECONDS=600
DOWN_SECONDS = float(os.environ.get("MANAGER_DOWN_SECONDS", "0"))
# A value of each field of each type that is a secret.
TYPES = [
    ("openai", {}, ["apikey"]),
    ("azure-openai", {"resource_name": "r"}, ["apikey"]),
    ("anthropic", {}, ["apikey"]),
    ("bedrock", {"region": "us-east-1"}, ["access_key_id", "secret_access_key", "session_token"]),
    ("watsonxai", {"project_id": "p"}, ["apikey"]),
    ("cerebras", {}, ["apikey"]),
    ("nim", {}, ["apikey"]),
]


@pytest.fixture(scope="module")
def managers(sim, tmp_path_factory):
    made = Managers(sim, tmp_path_factory.mktemp("managers"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def own(make_gateway, managers, canaries):
    for value in managers.secrets:
        canaries.add(value, "the operator's identity at a manager")
    return make_gateway(**managers.env)


@pytest.fixture(autouse=True)
def healed(managers):
    managers.heal()
    yield
    managers.heal()


@pytest.mark.parametrize("kind", KINDS)
def test_credentials_are_there_and_nowhere_else(own, managers, kind):
    before = managers.names(kind)
    tenant = own.tenant(secrets_manager=managers.address(kind))
    assert check.ok(tenant.admin.get("/tenant"))["secrets_manager"] == managers.address(kind)
    for type, rest, fields in TYPES:
        data = {field: f"{secrets.token_urlsafe(24)}+/={secrets.token_urlsafe(24)}" for field in fields}
        for field, value in data.items():
            own.canaries.add(value, f"{field} of {type}")
        made = check.ok(tenant.admin.post(f"/providers/{type}", {"name": type, "data": {**rest, **data}}), 201)
        name, value = managers.of(kind, made)
        assert json.loads(value) == data and tenant.id in name
    assert_nothing_leaked(own)
    # With the tenant its secrets go; AWS keeps them for its recovery window.
    check.ok(tenant.admin.delete("/tenant"), 204)
    check.within(5, lambda: same(managers.names(kind), before))


@pytest.mark.parametrize("kind", KINDS)
def test_a_life(own, managers, account, kind):
    tenant = own.tenant(secrets_manager=managers.address(kind))
    provider, _ = tenant.serves(account)
    managers.forget_calls()
    for _ in range(3):
        check.ok(tenant.admin.chat("chat"))
    if own.entry.kind != "lambda":
        assert managers.reads(kind) == 0, "whoever wrote it knows it"

    # Rotated outside: the provider refuses the old key, so the secret is read again.
    name, _ = managers.of(kind, provider)
    second = f"sk-{secrets.token_urlsafe(30)}"
    own.canaries.add(second, "a rotated key")
    managers.rotate(kind, name, {"apikey": second})
    account.configure(keys=[second])
    check.ok(tenant.admin.chat("chat"))

    # Replaced: another secret, and the old one goes.
    third = f"sk-{secrets.token_urlsafe(30)}"
    own.canaries.add(third, "a replaced key")
    account.configure(keys=[third])
    body = {"name": provider["name"], "data": {"apikey": third, "base_url": account.base_url}}
    check.ok(tenant.admin.put(f"/providers/{provider['uuid']}/openai", body))
    check.within(own.entry.bound + 5, lambda: check.ok(tenant.admin.chat("chat")))
    replaced, value = managers.of(kind, provider)
    assert replaced != name and json.loads(value) == {"apikey": third}

    check.ok(tenant.admin.delete(f"/providers/{provider['uuid']}"), 204)
    assert not [name for name in managers.names(kind) if provider["uuid"] in name]
    # The name is free although AWS still keeps the old secret.
    tenant.provider(account, name=provider["name"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_cold_gateway_says_of_its_manager(own, managers, sim, kind):
    tenant = own.tenant(secrets_manager=managers.address(kind))
    for fault in ("denied", "throttle", "500", "gone"):
        account = sim.account()
        provider, _ = tenant.serves(account, alias=fault)
        if fault == "gone":
            managers.forget(kind, managers.of(kind, provider)[0])
    own.entry.restart()
    texts = []
    for fault in ("denied", "throttle", "500"):
        managers.break_reads(kind, fault)
        answer = tenant.admin.chat(fault)
        texts.append(check.error(answer, 503, "secrets_unavailable")["message"])
        assert "manager.read" in own.log_line(answer)["cause"]
    assert len(set(texts)) == 1, "nobody can tell them apart but the log"
    # Once is not enough to fail.
    managers.heal()
    managers.break_reads(kind, "throttle", times=1)
    check.within(5, lambda: check.ok(tenant.admin.chat("throttle")))
    managers.heal()
    for fault in ("denied", "500"):
        check.within(5, lambda fault=fault: check.ok(tenant.admin.chat(fault)))
    check.error(tenant.admin.chat("gone"), 502, "upstream_auth_failed")


@pytest.mark.timeout(DOWN_SECONDS + 60)
@pytest.mark.parametrize("kind", KINDS)
def test_the_warm_go_on_while_the_manager_is_down(own, managers, account, kind):
    tenant = own.tenant(secrets_manager=managers.address(kind))
    tenant.serves(account)
    if own.entry.kind == "lambda":
        # Until every environment has read it.
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            [check.ok(answer) for answer in pool.map(lambda _: tenant.admin.chat("chat"), range(64))]
    managers.break_reads(kind, "500")
    end = time.monotonic() + DOWN_SECONDS
    for _ in range(10):
        check.ok(tenant.admin.chat("chat"))
    while time.monotonic() < end:
        time.sleep(1)
        check.ok(tenant.admin.chat("chat"))
    body = {"name": unique("p"), "data": {"apikey": secrets.token_urlsafe(20)}}
    if kind == "ibm":
        check.error(tenant.admin.post("/providers/openai", body), 503, "secrets_unavailable")
    managers.aws.rule("500", "SecretsManager") if kind == "aws" else None
    if kind == "aws":
        check.error(tenant.admin.post("/providers/openai", body), 503, "secrets_unavailable")
    assert len(tenant.providers()) == 1, "nothing half-made is seen"
    managers.heal()
    check.ok(tenant.admin.post("/providers/openai", body), 201)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_cold_requests_read_once(own, managers, account, kind):
    tenant = own.tenant(secrets_manager=managers.address(kind))
    tenant.serves(account)
    own.entry.restart()
    check.ok(tenant.admin.get("/models"))
    managers.forget_calls()
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: tenant.admin.chat("chat"), range(100)))
    for answer in answers:
        check.ok(answer)
    most = {"local": 1, "worker": 1, "lambda": 100}[own.entry.kind]
    assert 1 <= managers.reads(kind) <= most


@pytest.mark.parametrize("kind", KINDS)
def test_a_tenants_own_secret(own, managers, account, other_tenant, kind):
    tenant = own.tenant()
    separator = "-" if kind == "ibm" else "/"
    prefix = f"model-gateway{separator}{tenant.id}{separator}"
    resource = managers.add(kind, f"{prefix}mine", {"apiKey": account.key, "base_url": account.base_url})
    body = {"name": unique("p"), "data_reference": {"resource": resource}}
    made = check.ok(tenant.admin.post("/providers/openai", body), 201)
    assert made["data_reference"] == {"resource": resource}
    tenant.model(made, alias="chat")
    check.ok(tenant.admin.chat("chat"))
    assert_nothing_leaked(own)

    # Another tenant's, and what no manager covers.
    message = check.error(other_tenant.admin.post("/providers/openai", body), 400)["message"]
    assert account.key not in message
    for wrong in (
        resource.replace(REGION, "eu-west-1").replace("us-south", "eu-de"),
        resource.replace(ACCOUNT, "999999999999").replace("e415e570", "e415e571"),
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:model-gateway/{tenant.id}/../x",
        f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:model-gateway-deployment",
    ):
        error = check.error(tenant.admin.post("/providers/openai", {**body, "data_reference": {"resource": wrong}}), 400)
        assert error["param"] == "data_reference", wrong

    # Deleting the provider leaves the secret alone.
    check.ok(tenant.admin.delete(f"/providers/{made['uuid']}"), 204)
    assert f"{prefix}mine" in managers.names(kind)


@pytest.fixture
def other_tenant(own):
    return own.tenant()


def test_addresses_that_nobody_configured(own, managers, sim):
    trap = sim.account()
    managers.forget_calls()
    for asked in (
        f"{sim.origin}/{trap.name}",
        "http://127.0.0.1:1",
        "http://169.254.169.254/latest",
        "http://[::1]:80",
        "https://secretsmanager.us-east-1.amazonaws.com",
        f"{managers.ibm_address}/../{trap.name}",
        f"{managers.ibm_address}?x=1",
        managers.ibm_address.replace("http://", "http://user@"),
        f"arn:aws:secretsmanager:{REGION}:999999999999:secret:x",
        "..",
        "",
    ):
        answer = own.operator.post("/tenant", {"name": unique("t"), "secrets_manager": asked})
        error = check.error(answer, 400)
        assert error["param"] == "secrets_manager" and "SECRETS_MANAGERS" in error["message"], asked
    assert trap.calls() == [] and managers.reads("ibm") == managers.aws.calls() == 0


def same(one, other):
    assert one == other


@pytest.mark.entries("lambda")
def test_the_functions_own_role(make_gateway, account):
    """An address that tenants name, reached with the role that the function has anyway."""
    address = f"https://secretsmanager.{REGION}.amazonaws.com"
    entry = {"address": address, "kind": "aws", "account": ACCOUNT}
    gateway = make_gateway(SECRETS_MANAGERS=json.dumps([entry]), AWS_REGION=REGION)
    aws = gateway.entry.aws.client("secretsmanager")
    tenant = gateway.tenant(secrets_manager=address)
    made, _ = tenant.serves(account)
    (secret,) = [one for page in aws.get_paginator("list_secrets").paginate() for one in page["SecretList"] if made["uuid"] in one["Name"]]
    assert secret["Name"].startswith(f"model-gateway/{tenant.id}/")
    assert json.loads(aws.get_secret_value(SecretId=secret["ARN"])["SecretString"])["apikey"] == account.key
    check.ok(tenant.admin.chat("chat"))
    value = json.dumps({"apikey": account.key, "base_url": account.base_url})
    arn = aws.create_secret(Name=f"model-gateway/{tenant.id}/mine", SecretString=value)["ARN"]
    own = check.ok(tenant.admin.post("/providers/openai", {"name": unique("p"), "data_reference": {"resource": arn}}), 201)
    tenant.model(own, alias="own")
    check.ok(tenant.admin.chat("own"))
    check.ok(tenant.admin.delete("/tenant"), 204)
    gone = aws.describe_secret(SecretId=secret["ARN"]), aws.describe_secret(SecretId=arn)
    assert "DeletedDate" in gone[0] and "DeletedDate" not in gone[1]
