"""What the ledger must say: all that was asked of the providers and nothing else."""

import json
import time

from . import check


def agrees(tenant, *accounts, strangers=0):
    """The sums of GET /v1/usage are what the providers were asked and what the log says of each request: nothing is left
    out, nothing counted twice. `accounts`: all that the tenant has; `strangers`: calls to what is no account of the simulator."""

    def look():
        lines = [json.loads(line[line.index("{") :]) for line in tenant.gateway.entry.output().splitlines() if is_call(line, tenant)]
        calls = sum(line.get("attempts", 0) for line in lines)
        assert calls == sum(len(account.calls()) for account in accounts) + strangers, lines
        ends = [line.get("error.type") for line in lines if line.get("attempts")]
        left = ends.count("client_closed")
        told = [line for line in lines if "gen_ai.usage.input_tokens" in line]
        wanted = {
            "num_upstream_calls": calls,
            "num_model_requests": calls,
            "num_requests": len(ends),
            "num_cancelled": left,
            "num_errors": calls - ends.count(None) - left,
        }
        if not any(line["http.response.status_code"] == 499 for line in lines):
            # Of one whose client left before the answer only the ledger has an estimate.
            wanted["input_tokens"] = sum(line["gen_ai.usage.input_tokens"] for line in told)
            wanted["output_tokens"] = sum(line["gen_ai.usage.output_tokens"] for line in told)
        page = check.ok(tenant.admin.get("/usage", params={"start_time": int(time.time()) - 600}))
        results = [result for bucket in page["data"] for result in bucket["results"]]
        assert {name: sum(result[name] for result in results) for name in wanted} == wanted

    check.within(8, look)


def is_call(line, tenant):
    return tenant.id in line and '"gen_ai.operation.name"' in line and '"attempts"' in line
