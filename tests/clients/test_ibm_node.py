"""IBM's Node SDK: ibm_node.test.mjs in a tenant of its own."""

import os
import pathlib
import subprocess

from clients.test_openai_node import node

HERE = pathlib.Path(__file__).parent


def test_ibm_for_node(gateway, tenant, account):
    environment = {**os.environ, "ORIGIN": gateway.origin, "API_KEY": tenant.api_key, "UPSTREAM": account.base_url, "UPSTREAM_KEY": account.key}
    run = subprocess.run([node(), "--test", str(HERE / "ibm_node.test.mjs")], env=environment, capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stdout + run.stderr
