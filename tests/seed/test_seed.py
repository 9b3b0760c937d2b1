"""The user's own commands, run with bash, curl and jq as they stand in commands.sh, then the SDK sample."""

import json
import os
import pathlib
import secrets
import subprocess
import sys
import uuid

import pytest

from harness import check
from harness.canary import assert_nothing_leaked
from harness.managers import Managers
from harness.providers import TYPES, Upstream

HERE = pathlib.Path(__file__).parent

# GATEWAY_URL as the document and its readers write it. Without a scheme curl takes http.
FORMS = {
    "origin": "{origin}",
    "mount": "{origin}/ml/gateway",
    "no scheme": "{host}/ml/gateway",
    "trailing slash": "{origin}/ml/gateway/",
    "origin with slash": "{origin}/",
}
NAMES = ["openai", "watsonxai", "azure-openai", "anthropic", "bedrock", "cerebras", "nim"]
# What the document calls and does not enable.
MODELS = {
    **{name: [] for name in NAMES},
    "openai": [("openai/gpt-4o", "gpt-4o"), (None, "text-embedding-3-large")],
    "watsonxai": [("ibm/llama-3.3-70b", "meta-llama/llama-3-3-70b-instruct")],
}


@pytest.fixture(scope="module")
def own(make_gateway):
    """Nobody else's: the commands name their tenant `test` and rely on it being the first."""
    return make_gateway()


class Shell:
    """Runs one command of the document with what its `export` lines set."""

    def __init__(self, gateway, url):
        key = lambda: secrets.token_urlsafe(24)  # noqa: E731
        self.variables = {
            "GATEWAY_URL": url,
            "IBM_CLOUD_APIKEY": gateway.entry.admin_key,
            "SECRETS_MANAGER": "builtin",
            "OPENAI_APIKEY": key(),
            "WATSONX_AI_APIKEY": key(),
            "WATSONX_AI_PROJECT_ID": str(uuid.uuid4()),
            "AZURE_OPENAI_APIKEY": key(),
            "AZURE_OPENAI_RESOURCE_NAME": "my-resource",
            "ANTHROPIC_APIKEY": key(),
            "AWS_BEDROCK_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_BEDROCK_ACCESS_KEY": key(),
            "AWS_BEDROCK_REGION": "us-east-1",
            "CEREBRAS_APIKEY": key(),
            "NIM_APIKEY": key(),
        }
        for name, value in self.variables.items():
            if "KEY" in name and name not in ("IBM_CLOUD_APIKEY", "AWS_BEDROCK_KEY_ID"):
                gateway.canaries.add(value, name)

    def run(self, command, then=""):
        script = f"set -eo pipefail; source {HERE / 'commands.sh'}; {command}; {then}"
        run = subprocess.run(["bash", "-c", script], env={**os.environ, **self.variables}, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, f"{command}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run.stdout

    def json(self, command):
        return json.loads(self.run(command))


@pytest.mark.parametrize("form", FORMS)
def test_the_commands_as_they_stand(own, sim, form):
    url = FORMS[form].format(origin=own.origin, host=own.origin.removeprefix("http://"))
    shell = Shell(own, url)

    tenant = shell.json("create_tenant")
    assert tenant["name"] == "test" and tenant["id"] and tenant["api_key"]
    try:
        provision(own, shell)
        infer(own, shell, sim)
    finally:
        check.ok(own.operator.delete("/tenant"), 204)
        check.within(own.entry.bound, lambda: check.error(own.operator.get("/tenant"), 409))


def test_the_commands_with_a_secrets_manager_of_ibm(make_gateway, sim, tmp_path, canaries):
    """`"secrets_manager": "https://…"` as it stands: the credentials are then found there and nowhere else."""
    managers = Managers(sim, tmp_path)
    try:
        for value in managers.secrets:
            canaries.add(value, "the operator's identity at a manager")
        own = make_gateway(**managers.env)
        shell = Shell(own, own.origin)
        shell.variables["SECRETS_MANAGER"] = managers.ibm_address
        tenant = shell.json("create_tenant")
        assert (tenant["name"], tenant["secrets_manager"]) == ("test", managers.ibm_address)
        for kind in NAMES:
            made = shell.json(f"create_{kind.replace('-', '_')}")
            name, value = managers.of("ibm", made)
            data = json.loads(value)
            assert tenant["id"] in name and data and set(data.values()) <= set(shell.variables.values())
        assert_nothing_leaked(own)
    finally:
        managers.stop()


def provision(own, shell):
    uuids = {}
    for kind in NAMES:
        made = shell.json(f"create_{kind.replace('-', '_')}")
        assert made == {"uuid": made["uuid"], "name": f"my-{kind}-provider", "type": kind}
        uuids[kind] = made["uuid"]

    assert shell.run("find_openai_provider", "echo $OPENAI_PROVIDER_UUID").strip() == uuids["openai"]
    listed = shell.json("list_providers")
    assert [(p["name"], p["type"], p["uuid"]) for p in listed] == [(f"my-{kind}-provider", kind, uuids[kind]) for kind in NAMES]

    shell.variables |= {"AZURE_OPENAI_PROVIDER_UUID": uuids["azure-openai"], "AWS_BEDROCK_PROVIDER_UUID": uuids["bedrock"]}
    azure, bedrock = shell.json("enable_on_azure"), shell.json("enable_on_bedrock")
    assert (azure["id"], azure["alias"], azure["owned_by"]) == ("scribeflowgpt4o", "azure/gpt-4o", "azure-openai:my-azure-openai-provider")
    assert bedrock["id"] == "anthropic.claude-3-7-sonnet-20250219-v1:0" and bedrock["alias"] == "aws/claude-3-sonnet"

    # The document lists with a variable that it never sets: an empty id is not found.
    check_error(shell.json("list_models_of_azure"), "not_found")
    shell.variables["AZURE_OPENAI_DALLE_PROVIDER_UUID"] = uuids["azure-openai"]
    assert [m["uuid"] for m in shell.json("list_models_of_azure")["data"]] == [azure["uuid"]]
    models = shell.json("list_models")
    assert models["object"] == "list" and {m["uuid"] for m in models["data"]} == {azure["uuid"], bedrock["uuid"]}


def infer(own, shell, sim):
    """The document's providers have no address in it: each is led to its simulated self, with the key that the command gave it."""
    accounts = {}
    for provider in check.ok(own.operator.get("/providers?format=array")):
        kind = next(kind for kind in TYPES if kind.type == provider["type"])
        accounts[kind.type], data = kind.account(sim)
        account = accounts[kind.type]
        for name, value in data.items():
            if name in ("apikey", "secret_access_key"):
                own.canaries.add(value, f"{name} of {kind}")
        body = {"name": provider["name"], "data": data}
        check.ok(own.operator.put(f"/providers/{provider['uuid']}/{kind.type}", body))
        for alias, id in MODELS[kind.type]:
            check.ok(own.operator.post(f"/providers/{provider['uuid']}/models", {"id": id, **({"alias": alias} if alias else {})}), 201)

    def answers():
        assert shell.json("chat")["choices"][0]["message"]["content"]
        assert shell.json("complete")["choices"][0]["text"]
        embedding = shell.json("embed")["data"][0]["embedding"]
        assert all(isinstance(number, float) for number in embedding)

    check.within(own.entry.bound, answers)
    call = accounts["azure-openai"].last()
    assert "5th grader could understand—simple" in call["body"] and "/openai/deployments/scribeflowgpt4o/chat/completions?" in call["path"]
    call = accounts["watsonxai"].last()
    assert call["path"].split("?")[0].endswith("/ml/v1/text/generation") and '"max_new_tokens":7' in call["body"].replace(" ", "")
    assert accounts["openai"].last()["path"].endswith("/v1/embeddings")

    # The model that the document enables on Bedrock.
    answer = own.operator.chat("aws/claude-3-sonnet", messages=[{"role": "user", "content": "Hello!"}])
    assert check.ok(answer)["choices"][0]["message"]["content"]
    assert "anthropic.claude-3-7-sonnet-20250219-v1%3A0/converse" in accounts["bedrock"].last()["path"]
    run_sample(shell)
    for account in accounts.values():
        assert all(call["violations"] == [] and call["refused"] is None for call in account.calls())


def run_sample(shell):
    """It wants an address with a scheme and a slash at its end."""
    if shell.variables["GATEWAY_URL"].endswith("/") and shell.variables["GATEWAY_URL"].startswith("http"):
        run = subprocess.run([sys.executable, str(HERE / "sdk_sample.py")], env={**os.environ, **shell.variables}, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0 and "ChatCompletionMessage(" in run.stdout, run.stdout + run.stderr


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_inference_with_every_provider(gateway, sim, kind):
    """The same commands and the sample, word for word, whichever provider stands behind the names in them."""
    up = Upstream.make(kind, gateway, sim)
    aliases = [("azure/gpt-4o", kind.chat), ("openai/gpt-4o", kind.chat), ("ibm/llama-3.3-70b", kind.complete or kind.chat), ("text-embedding-3-large", kind.embed or kind.chat)]
    for alias, id in aliases:
        up.tenant.model(up.provider, id, alias)
    shell = Shell(gateway, f"{gateway.origin}/ml/gateway/")
    shell.variables["IBM_CLOUD_APIKEY"] = up.tenant.api_key

    assert "Can you explain what TLS is" in shell.json("chat")["choices"][0]["message"]["content"]
    assert "5th grader could understand—simple" in up.calls()[-1]["body"]
    run_sample(shell)
    if kind.complete:
        (choice,) = shell.json("complete")["choices"]
        assert choice["text"] and choice["finish_reason"] == "length"
    else:
        check_error(shell.json("complete"), "unsupported_endpoint")
    if kind.embed:
        assert all(isinstance(number, float) for number in shell.json("embed")["data"][0]["embedding"])
    else:
        check_error(shell.json("embed"), "unsupported_endpoint")
    up.judge()


def check_error(body, code):
    assert check.error_object(body, str(body))["code"] == code


def test_commands_are_the_documents():
    """A guard against well-meant edits: the shape of each command as the document has it."""
    text = (HERE / "commands.sh").read_text()
    assert text.count("curl ") == 17 and text.count("Bearer $") == 17
    assert "python" not in text and "--fail" not in text
