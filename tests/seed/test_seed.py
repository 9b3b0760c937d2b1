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

HERE = pathlib.Path(__file__).parent

# GATEWAY_URL as the document and its readers write it. Without a scheme curl takes http.
FORMS = {
    "origin": "{origin}",
    "mount": "{origin}/ml/gateway",
    "no scheme": "{host}/ml/gateway",
    "trailing slash": "{origin}/ml/gateway/",
    "origin with slash": "{origin}/",
}
TYPES = ["openai", "watsonxai", "azure-openai", "anthropic", "bedrock", "cerebras", "nim"]


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


def provision(own, shell):
    uuids = {}
    for kind in TYPES:
        made = shell.json(f"create_{kind.replace('-', '_')}")
        assert made == {"uuid": made["uuid"], "name": f"my-{kind}-provider", "type": kind}
        uuids[kind] = made["uuid"]

    assert shell.run("find_openai_provider", "echo $OPENAI_PROVIDER_UUID").strip() == uuids["openai"]
    listed = shell.json("list_providers")
    assert [(p["name"], p["type"], p["uuid"]) for p in listed] == [(f"my-{kind}-provider", kind, uuids[kind]) for kind in TYPES]

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
    # Only type `openai` is served by now: the alias on Azure is refused with advice, not by chance.
    check_error(shell.json("chat"), "unsupported_endpoint")
    check_error(shell.json("complete"), "model_not_found")

    account = sim.account()
    own.canaries.add(account.key, "key of the simulated provider")
    body = {"name": "simulated", "data": {"apikey": account.key, "base_url": account.base_url}}
    provider = check.ok(own.operator.post("/providers/openai", body), 201)
    for model in check.ok(own.operator.on("/ml/gateway/v1").get("/models"))["data"]:
        check.ok(own.operator.delete(f"/models/{model['uuid']}"), 204)
    for alias, id in (("azure/gpt-4o", "gpt-4o"), ("ibm/llama-3.3-70b", "gpt-3.5-turbo-instruct"), ("openai/gpt-4o", "gpt-4o"), (None, "text-embedding-3-large")):
        check.ok(own.operator.post(f"/providers/{provider['uuid']}/models", {"id": id, **({"alias": alias} if alias else {})}), 201)

    def answers():
        assert shell.json("chat")["choices"][0]["message"]["content"]
        assert shell.json("complete")["choices"][0]["text"]
        embedding = shell.json("embed")["data"][0]["embedding"]
        assert all(isinstance(number, float) for number in embedding)

    check.within(own.entry.bound, answers)
    assert "5th grader could understand—simple" in account.calls()[-3]["body"]

    if shell.variables["GATEWAY_URL"].endswith("/") and shell.variables["GATEWAY_URL"].startswith("http"):
        run = subprocess.run([sys.executable, str(HERE / "sdk_sample.py")], env={**os.environ, **shell.variables}, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0 and "ChatCompletionMessage(" in run.stdout, run.stdout + run.stderr


def check_error(body, code):
    assert check.error_object(body, str(body))["code"] == code


def test_commands_are_the_documents():
    """A guard against well-meant edits: the shape of each command as the document has it."""
    text = (HERE / "commands.sh").read_text()
    assert text.count("curl ") == 17 and text.count("Bearer $") == 17
    assert "python" not in text and "--fail" not in text
