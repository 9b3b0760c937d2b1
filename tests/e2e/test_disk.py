"""The local entry's disk takes nothing more for a while."""

import os
import resource
import time

import pytest

from harness import check

pytestmark = [pytest.mark.entries("local"), pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits other processes")]

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
# How long; an operator's outage is 30 s.
FULL_SECONDS = float(os.environ.get("DISK_FULL_SECONDS", "3"))


@pytest.fixture
def tight(make_gateway):
    """A gateway whose files can be kept from being written."""
    gateway = make_gateway()
    gateway.entry.stop()
    # Else the first write beyond the limit ends the process, which a full disk does not.
    gateway.entry.prefix = ["env", "--ignore-signal=XFSZ"]
    gateway.entry.start()
    return gateway


def limit(gateway, size):
    leader = gateway.entry.process.child.pid
    members = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]
    for pid in members:
        try:
            if os.getpgid(pid) == leader:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        except ProcessLookupError:
            continue


def counted(tenant, account):
    page = check.ok(tenant.admin.get("/usage", params={"start_time": int(time.time()) - 600}))
    results = [result for bucket in page["data"] for result in bucket["results"]]
    calls = len(account.calls())
    for name in ("num_upstream_calls", "num_model_requests", "num_requests"):
        assert sum(result[name] for result in results) == calls, (name, calls, results)


@pytest.mark.fault("S1", "S2", "S9")
def test_a_disk_that_is_full_for_a_while(tight, sim):
    """Warm tenants are served all the time, changes are refused, and afterwards all is as if it had not been: no restart,
    nothing lost, not even the usage of that time."""
    warm, account = tight.tenant(), sim.account()
    warm.serves(account)
    check.ok(warm.admin.post("/chat/completions", CHAT))
    before = warm.providers()
    limit(tight, 0)
    end = time.monotonic() + FULL_SECONDS
    number = 0
    while time.monotonic() < end:
        for stream in (False, True):
            answer = warm.admin.post("/chat/completions", {**CHAT, "stream": stream})
            assert answer.status_code == 200, check.describe(answer)
        number += 1
        answer = warm.admin.post("/providers/openai", {"name": f"p{number}", "data": {"apikey": "sk-0123456789abcdef"}})
        check.error(answer, 503, "store_unavailable")
        assert answer.headers["retry-after"]
        time.sleep(0.02)
    assert number > 5
    limit(tight, resource.RLIM_INFINITY)
    check.within(2, lambda: check.ok(warm.admin.post("/providers/openai", {"name": "afterwards", "data": {"apikey": "sk-0123456789abcdef"}}), 201))
    assert [provider["name"] for provider in warm.providers()] == [*(provider["name"] for provider in before), "afterwards"]
    check.ok(tight.tenant().admin.get("/providers"))
    check.within(40, lambda: counted(warm, account))
    tight.entry.restart()
    counted(warm, account)
