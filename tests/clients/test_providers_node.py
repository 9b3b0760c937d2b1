"""The SDKs of providers_node.test.mjs: one run of Node for all provider types."""

import json
import os
import pathlib
import subprocess

from clients.test_openai_node import node
from harness.providers import TYPES

HERE = pathlib.Path(__file__).parent


def test_sdks_for_node(gateway, upstreams):
    made = [upstreams(kind) for kind in TYPES]
    for up in made:
        up.begin()
    providers = [{"name": up.kind.name, "apiKey": up.tenant.api_key, "complete": bool(up.kind.complete), "embeds": bool(up.kind.embed)} for up in made]
    environment = {**os.environ, "BASE_URL": f"{gateway.origin}/v1", "PROVIDERS": json.dumps(providers)}
    run = subprocess.run([node(), "--test", str(HERE / "providers_node.test.mjs")], env=environment, capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stdout + run.stderr
    for up in made:
        up.judge()
