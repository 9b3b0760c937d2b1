"""OpenAI's own Node SDK: provisions what openai_node.test.mjs calls, and runs it."""

import os
import pathlib
import shutil
import subprocess

import pytest

from harness.process import ROOT

HERE = pathlib.Path(__file__).parent


def node():
    mine = pathlib.Path(os.environ.get("GATEWAY_TOOLS", ROOT / ".tools")) / "bin/node"
    return str(mine) if mine.exists() else shutil.which("node")


@pytest.mark.parametrize("mount", ["/v1", "/ml/gateway/v1"])
def test_openai_for_node(gateway, sim, mount):
    tenant = gateway.tenant()
    provider = tenant.provider(sim.account())
    for id, alias in (("gpt-4o", "openai/gpt-4o"), ("gpt-3.5-turbo-instruct", "instruct"), ("text-embedding-3-small", None)):
        tenant.model(provider, id, alias)
    keys = {}
    for name, step in (("CUT_KEY", {"chunks": 20, "cut_at": 1200}), ("FAILING_KEY", {"status": 500})):
        other, account = gateway.tenant(), sim.account()
        other.serves(account)
        account.script(step, repeat=True)
        keys[name] = other.api_key
    environment = {**os.environ, "BASE_URL": gateway.origin + mount, "API_KEY": tenant.key()["api_key"], **keys}
    run = subprocess.run([node(), "--test", str(HERE / "openai_node.test.mjs")], env=environment, capture_output=True, text=True, timeout=90)
    assert run.returncode == 0, run.stdout + run.stderr
