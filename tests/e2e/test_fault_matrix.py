"""Faults of a provider, one by one: what the client sees, who was called how often, what was logged and counted, and what stays behind.

The other files look at one side of a fault each; here every side of each is judged, with one target and with two.
"""

import concurrent.futures
import contextlib
import socket
import threading
import time

import pytest

from harness import check, faults, ledger
from harness.process import free_port

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
GZIP = {"content_encoding": "gzip"}
HTML = {"body": "<html>hello</html>", "content_type": "text/html"}
RESET = {"close_without_answer": True, "rst": True}
# What the next request meets, once the provider is well again.
SERVED, COOLED = "served", "cooled"


def error(**members):
    return {"error": {"message": "Words of the provider.", "type": "invalid_request_error", "param": "x", "code": "some_code", **members}}


# (id, step, status, code, calls if there is no other target, whether another target is asked, the next request)
BEFORE_CONTENT = [
    ("U1: 400", {"status": 400, "body": error()}, 400, "some_code", 1, False, SERVED),
    ("U1: 422", {"status": 422, "body": error()}, 400, None, 1, False, SERVED),
    ("U2: 401", {"status": 401}, 502, "upstream_auth_failed", 1, True, SERVED),
    ("U2: 403", {"status": 403}, 502, "upstream_auth_failed", 1, True, SERVED),
    ("U3: 404", {"status": 404}, 404, "model_not_found", 1, True, SERVED),
    ("U4: 408", {"status": 408}, 502, "upstream_error", 2, True, SERVED),
    ("U4: 409", {"status": 409}, 502, "upstream_error", 2, True, SERVED),
    ("U4: 425", {"status": 425}, 502, "upstream_error", 2, True, SERVED),
    ("U5: 413", {"status": 413}, 400, "context_length_exceeded", 1, False, SERVED),
    ("U5: a prompt", {"status": 400, "body": error(code="context_length_exceeded")}, 400, "context_length_exceeded", 1, False, SERVED),
    ("U7: for an hour", {"status": 429, "retry_after": 3600}, 429, None, 1, True, COOLED),
    ("U7: for 10^9 s", {"status": 429, "retry_after": "1000000000"}, 429, None, 1, True, COOLED),
    ("U7: to a date", {"status": 429, "retry_after": "Wed, 21 Oct 2065 07:28:00 GMT"}, 429, None, 1, True, COOLED),
    ("U8: 500", {"status": 500}, 502, "upstream_error", 2, True, SERVED),
    ("U8: 502", {"status": 502}, 502, "upstream_error", 2, True, SERVED),
    ("U8: 503", {"status": 503}, 502, "upstream_error", 2, True, SERVED),
    ("U9: 529", {"status": 529}, 503, "upstream_overloaded", 1, True, COOLED),
    ("U10: 504", {"status": 504}, 504, "upstream_timeout", 1, True, SERVED),
    ("U11: 302", {"redirect": {"status": 302, "location": "http://169.254.169.254/"}}, 502, "upstream_redirect", 1, False, SERVED),
    ("U11: 307", {"redirect": {"status": 307, "location": "/v1/elsewhere"}}, 502, "upstream_redirect", 1, False, SERVED),
    ("U12: 204", {"status": 204}, 502, "upstream_protocol", 1, False, SERVED),
    ("U12: 206", {"status": 206}, 502, "upstream_protocol", 1, False, SERVED),
    ("U12: 418", {"status": 418}, 502, "upstream_protocol", 1, False, SERVED),
    ("U14: closed", {"close_without_answer": True}, 502, "upstream_unreachable", 2, True, SERVED),
    ("U14: reset", RESET, 502, "upstream_unreachable", 2, True, SERVED),
    ("U27: HTML", HTML, 502, "upstream_protocol", 1, True, SERVED),
    ("U35: gzip", GZIP, 502, "upstream_protocol", 1, False, SERVED),
]  # fmt: skip

# The same, where the answer is no stream.
WHOLE = [
    ("U28: cut", {"cut_at": 60}, 502, None, 2, True, SERVED),
    ("U28: reset", {"cut_at": 60, "rst": True}, 502, None, 2, True, SERVED),
    ("U28: ended early", {"clean_end_at": 60}, 502, "upstream_protocol", 2, True, SERVED),
    ("U28: no JSON", {"raw_body": "{not json}"}, 502, "upstream_protocol", 2, True, SERVED),
    ("U29: no choices", {"body": {"id": "x"}}, 502, "upstream_protocol", 1, False, SERVED),
    ("U29: choices of another type", {"body": {"id": "x", "choices": "none"}}, 502, "upstream_protocol", 1, False, SERVED),
    ("U29: a list", {"raw_body": "[]"}, 502, "upstream_protocol", 1, False, SERVED),
    ("U29: a member twice", {"raw_body": '{"id": "x", "id": "y"}'}, 502, "upstream_protocol", 1, False, SERVED),
    ("U33: 17 MiB", {"oversize": {"bytes": 17 * 1024 * 1024}}, 502, "upstream_too_large", 1, False, SERVED),
    ("U34: longer than it says", {"content_length": "-10"}, 502, None, 2, True, SERVED),
    ("U34: shorter than it says", {"content_length": "+10"}, 502, None, 2, True, SERVED),
]  # fmt: skip

# And where it is one.
STREAMED = [
    ("U25: an error", {"error_event": {"after": 0}}, 502, "upstream_error", 2, True, SERVED),
    ("U32: a line of 1.2 MB", {"oversize": {"bytes": 1_200_000}}, 502, "upstream_too_large", 1, False, SERVED),
    ("U21: nothing", {"raw_sse": ""}, 502, "upstream_incomplete", 2, True, SERVED),
    ("U31: no JSON", {"raw_sse": "data: hello\n\n"}, 502, "upstream_protocol", 2, True, SERVED),
]  # fmt: skip

NAMES = ("id", "step", "status", "code", "calls", "elsewhere", "next")


def both(table, *streams):
    """Each row, streamed or not."""
    return [
        pytest.param(*row.values, stream, id=f"{row.id}, {'stream' if stream else 'JSON'}", marks=row.marks)
        for row in faults.rows(table)
        for stream in streams
    ]


ROWS = [*both(BEFORE_CONTENT, False, True), *both(WHOLE, False), *both(STREAMED, True)]


CLOSED = f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def no_tls():
    """The origin of a server that greets everybody in plain words."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with contextlib.suppress(OSError), client:
                    client.sendall(b"220 no TLS here\r\n")

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


@pytest.fixture(scope="module")
def silence():
    """The origin of a server that takes no connection and refuses none: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def alone(make_gateway, sim, no_tls, silence):
    """A gateway of one process: what it has learnt of a target, the next request meets."""
    return make_gateway(LAMBDA_ENVIRONMENTS="1", EGRESS_ALLOW_ORIGINS=" ".join([sim.origin, CLOSED, no_tls, silence]))


@pytest.fixture
def one(alone, sim):
    tenant, account = alone.tenant(), sim.account()
    tenant.serves(account)
    yield tenant, account
    ledger.agrees(tenant, account)


@pytest.fixture
def two(alone, sim):
    """The first of two targets is asked first; the other one is well."""
    tenant, accounts = alone.tenant(), [sim.account(), sim.account()]
    for priority, account in enumerate(accounts):
        tenant.model(tenant.provider(account), "gpt-4o-mini", "chat", priority=priority)
    tenant.renew()
    yield tenant, accounts
    ledger.agrees(tenant, *accounts)


def level_of(status, code):
    """As the README has it."""
    return "error" if status >= 500 or (status == 200 and code) else "warn" if status == 429 else "info"


def judge_log(gateway, answer, *, status, calls, code=None, usage=False):
    """One line, that tells as much as the client knows, and what it cannot know."""
    line = gateway.log_line(answer)
    assert (line["http.response.status_code"], line.get("attempts", 0)) == (status, calls), line
    assert line["level"] == level_of(status, code), line
    if status != 200:
        # A provider's own code may stand in the answer; the log has the gateway's.
        assert line["error.type"], line
        if status >= 500:
            assert line["error.type"] == answer.json()["error"]["code"], line
    assert ("gen_ai.usage.output_tokens" in line) == usage, line
    assert "Words of the provider" not in str(line) and "169.254" not in str(line), line
    return line


def settled(*accounts):
    """Every exchange with the provider is over."""
    end = time.monotonic() + 3
    while any(account.open() for account in accounts) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(account.open() for account in accounts), "an upstream call is still open"


@pytest.mark.parametrize((*NAMES, "stream"), ROWS)
def test_the_only_target_fails(alone, one, id, step, status, code, calls, elsewhere, next, stream):
    tenant, account = one
    account.script(step, repeat=True)
    answer = tenant.admin.post("/chat/completions", {**CHAT, "stream": stream})
    passed = status in (400, 404, 429)
    found = check.error(answer, status, code, type=answer.json()["error"]["type"] if passed or status == 503 else None)
    assert "location" not in answer.headers and "169.254" not in answer.text
    if status == 429:
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    if status == 503:
        assert int(answer.headers["retry-after"]) >= 1
    assert len(account.calls()) == calls, f"{len(account.calls())} calls; {found}"
    line = judge_log(alone, answer, status=status, calls=calls, code=found["code"])
    if code or alone.entry.kind != "worker":
        # workerd may see that a body breaks off before it tells that there was an answer.
        assert (line.get("upstream_status") or 0) == (account.calls()[-1]["status"] or 0), line
    settled(account)

    account.script()
    again = tenant.admin.post("/chat/completions", {**CHAT, "stream": stream})
    if next == SERVED:
        assert again.status_code == 200, check.describe(again)
        assert len(account.calls()) == calls + 1
        judge_log(alone, again, status=200, calls=1, usage=True)
    else:
        # It asked to be left alone, and is.
        check.error(again, status, type=again.json()["error"]["type"])
        assert len(account.calls()) == calls
        judge_log(alone, again, status=status, calls=0, code=again.json()["error"]["code"])


@pytest.mark.parametrize((*NAMES, "stream"), ROWS)
def test_another_target_is_well(alone, two, id, step, status, code, calls, elsewhere, next, stream):
    tenant, (bad, well) = two
    bad.script(step, repeat=True)
    answer = tenant.admin.post("/chat/completions", {**CHAT, "stream": stream})
    if not elsewhere:
        assert answer.status_code == status, check.describe(answer)
        assert (len(bad.calls()), len(well.calls())) == (1, 0)
        judge_log(alone, answer, status=status, calls=1, code=answer.json()["error"]["code"])
    else:
        assert answer.status_code == 200, check.describe(answer)
        assert (len(bad.calls()), len(well.calls())) == (1, 1)
        line = judge_log(alone, answer, status=200, calls=2, usage=True)
        assert line["route_reason"] == "failover" and ":" in line["failed_attempts"], line
    settled(bad, well)


@pytest.mark.fault("U6")
@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_a_short_wait_is_waited(alone, one, stream):
    tenant, account = one
    account.script({"status": 429, "retry_after": 1})
    start = time.monotonic()
    answer = tenant.admin.post("/chat/completions", {**CHAT, "stream": stream})
    assert answer.status_code == 200, check.describe(answer)
    assert 0.9 < time.monotonic() - start < 3 and len(account.calls()) == 2
    line = judge_log(alone, answer, status=200, calls=2, usage=True)
    assert line["route_reason"] == "waited" and line["failed_attempts"].endswith(":rate_limited")


@pytest.mark.fault("U4", "U8", "U14", "U28")
@pytest.mark.parametrize("step", [{"status": 503}, {"status": 425}, RESET, {"cut_at": 60, "rst": True}], ids=["503", "425", "reset", "cut"])
def test_what_passes_is_tried_once_more(alone, one, step):
    tenant, account = one
    account.script(step)
    answer = tenant.admin.post("/chat/completions", CHAT)
    check.ok(answer)
    line = judge_log(alone, answer, status=200, calls=2, usage=True)
    assert line["route_reason"] == "again" and len(account.calls()) == 2


@pytest.mark.fault("U13")
@pytest.mark.parametrize("where", ["refused", "no TLS"])
def test_no_connection(alone, sim, no_tls, where):
    tenant, account = alone.tenant(), sim.account()
    origin = {"refused": CLOSED, "no TLS": no_tls}[where]
    tenant.model(tenant.provider(apikey=account.key, base_url=f"{origin}/v1"), "gpt-4o-mini", "chat")
    for stream in (False, True):
        answer = tenant.admin.post("/chat/completions", {**CHAT, "stream": stream})
        check.error(answer, 502, "upstream_unreachable")
        judge_log(alone, answer, status=502, calls=2, code="upstream_unreachable")
    # Another target takes over; the one that cannot be reached is not waited for.
    tenant.model(tenant.provider(account), "gpt-4o-mini", "chat", priority=1)
    tenant.renew()
    check.ok(tenant.admin.post("/chat/completions", CHAT))
    assert len(account.calls()) == 1
    ledger.agrees(tenant, account, strangers=5)


@pytest.mark.fault("U15")
def test_connecting_takes_too_long(alone, sim, silence):
    """The request's own limit is shorter here than that for connecting, so this is a timeout for it, too."""
    tenant, account = alone.tenant(), sim.account()
    tenant.model(tenant.provider(apikey=account.key, base_url=f"{silence}/v1"), "gpt-4o-mini", "chat")
    answer = tenant.admin.post("/chat/completions", {**CHAT, "stream": True})
    check.error(answer, 504, "upstream_timeout")
    judge_log(alone, answer, status=504, calls=1, code="upstream_timeout")
    ledger.agrees(tenant, account, strangers=1)


@pytest.mark.fault("U42", "U8")
def test_a_target_that_keeps_failing_is_left_alone(alone, two):
    tenant, (bad, well) = two
    bad.script({"status": 500}, repeat=True)
    for _ in range(12):
        check.ok(tenant.admin.post("/chat/completions", CHAT))
    assert len(bad.calls()) <= 6 and len(well.calls()) == 12
    told = check.ok(tenant.admin.post("/route/explain", CHAT))
    assert [target["eligible"] for target in told["targets"]] == [False, True], told
    # Told once, not with each request.
    turns = [line for line in alone.entry.output().splitlines() if "ejected" in line and tenant.id in line]
    assert len(turns) == 1, turns


@pytest.mark.fault("U41")
def test_when_all_fail_one_is_tried_all_the_same(alone, sim):
    tenant, accounts = alone.tenant(), [sim.account(), sim.account()]
    for account in accounts:
        tenant.serves(account)
        account.script({"status": 500}, repeat=True)
    tenant.renew()
    for _ in range(8):
        assert tenant.admin.post("/chat/completions", CHAT).status_code in (502, 503)
    before = sum(len(account.calls()) for account in accounts)
    answer = tenant.admin.post("/chat/completions", CHAT)
    check.error(answer, 503, "no_healthy_provider")
    assert int(answer.headers["retry-after"]) >= 1
    assert sum(len(account.calls()) for account in accounts) == before + 1, "one try"
    judge_log(alone, answer, status=503, calls=1, code="no_healthy_provider")
    for account in accounts:
        account.script()
    check.ok(tenant.admin.post("/chat/completions", CHAT))
    ledger.agrees(tenant, *accounts)


# (id, step, stream, status or None for a stream that began, code): all wait for a limit of the gateway, so all at once.
SLOW = [
    ("U16: no head", {"hang": "headers"}, True, 504, "upstream_timeout"),
    ("U16: no head, JSON", {"hang": "headers"}, False, 504, "upstream_timeout"),
    ("U16: nothing is read", {"hang": "accept"}, True, 504, "upstream_timeout"),
    ("U17: no body", {"hang": "body"}, True, 504, "upstream_timeout"),
    ("U17: no body, JSON", {"hang": "body"}, False, 504, "upstream_timeout"),
    ("U17: half a body, JSON", {"hang": {"after_bytes": 50}}, False, 504, "upstream_timeout"),
    ("U18: silence after content", {"chunks": 20, "hang": {"after_bytes": 2_000}}, True, None, "upstream_timeout"),
    ("U19: a drip", {"chunks": 2_000, "chunk_delay_ms": 400}, True, None, "upstream_timeout"),
]  # fmt: skip


@pytest.mark.fault("U16", "U17", "U18", "U19")
def test_what_takes_too_long(gateway, sim):
    def run(row):
        id, step, stream, status, code = row
        tenant, account = gateway.tenant(), sim.account()
        tenant.serves(account)
        account.script(step, repeat=True)
        answer = tenant.admin.post("/chat/completions", {**CHAT, "stream": stream})
        try:
            if status:
                check.error(answer, status, code)
                judge_log(gateway, answer, status=status, calls=1, code=code)
            else:
                assert check.Sse(answer.content).cut(code)
                line = gateway.log_line(answer)
                assert (line["level"], line["error.type"], line["attempts"]) == ("error", code, 1), line
            assert len(account.calls()) == 1, "called again"
            settled(account)
            ledger.agrees(tenant, account)
        except AssertionError as failure:
            return f"{id}: {failure}"

    with concurrent.futures.ThreadPoolExecutor(len(SLOW)) as pool:
        wrong = [failure for failure in pool.map(run, SLOW) if failure]
    assert not wrong, "\n".join(wrong)
