"""Streams: when the gateway commits, how it ends, and that a cut one is never passed off as finished."""

import concurrent.futures
import json
import time

import httpx
import pytest

from harness import check
from harness.process import TIMEOUTS_MS

pytestmark = pytest.mark.usefixtures("metered")
SECOND = 1000
FAULTS = ("upstream_disconnected", "upstream_incomplete", "upstream_error", "upstream_protocol", "upstream_unreachable")


def chunk(content=None, *, role=None, finish=None, **more):
    delta = {**({"role": role} if role else {}), **({"content": content} if content is not None else {})}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def data(*payloads, done=True):
    text = "".join(f"data: {p if isinstance(p, str) else json.dumps(p)}\n\n" for p in payloads)
    return text + ("data: [DONE]\n\n" if done else "")


ROLE, ONE, TWO, STOP = chunk("", role="assistant"), chunk("one "), chunk("two"), chunk(finish="stop")
PROPER = (ROLE, ONE, TWO, STOP)


class TestWhole:
    def test_events_come_through_as_they_are(self, served, account):
        account.script({"raw_sse": data(*PROPER)})
        stream = served.admin.chat_stream("chat").finished()
        assert stream.chunks == list(PROPER)

    def test_headers(self, served):
        answer = served.admin.post("/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": True})
        assert answer.headers["content-type"].split(";")[0] == "text/event-stream"
        assert "content-length" not in answer.headers or served.gateway.entry.kind == "lambda"
        check.Sse(answer.content).finished()

    @pytest.mark.parametrize("mount", ["/v1", "/ml/gateway/v1"])
    def test_text_completions_stream_too(self, served, mount):
        stream = served.admin.on(mount).sse("/completions", {"model": "chat", "prompt": "Say hello."}).finished()
        assert stream.text and stream.finish_reasons and stream.chunks[0]["object"] == "text_completion"

    def test_usage_only_when_asked_for(self, served, account):
        plain = served.admin.chat_stream("chat").finished()
        assert all(c["choices"] for c in plain.chunks) and not [c for c in plain.chunks if c.get("usage")]
        asked = served.admin.chat_stream("chat", stream_options={"include_usage": True}).finished()
        usages = [c["usage"] for c in asked.chunks if c.get("usage")]
        assert len(usages) == 1 and usages[0]["total_tokens"] > 0
        assert asked.chunks[-1]["choices"] == []
        off = served.admin.chat_stream("chat", stream_options={"include_usage": False}).finished()
        assert not [c for c in off.chunks if c.get("usage")]
        assert all(call["violations"] == [] and call["refused"] is None for call in account.calls())

    def test_unknown_members_of_events_survive(self, served, account):
        events = [ROLE, chunk("hi", x_top=1.50, obfuscation="zzz"), {**STOP, "x_end": {"a": [None]}}]
        account.script({"raw_sse": data(*events)})
        assert served.admin.chat_stream("chat").finished().chunks == events

    def test_tool_calls_are_content(self, served, account):
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
        events = [chunk(role="assistant"), chunk(), chunk(), chunk(finish="tool_calls")]
        events[1]["choices"][0]["delta"] = {"tool_calls": [call]}
        events[2]["choices"][0]["delta"] = {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
        account.script({"raw_sse": data(*events)}, {"raw_sse": data(*events[:3], done=False)})
        assert served.admin.chat_stream("chat").finished().chunks == events
        served.admin.chat_stream("chat").cut(FAULTS)

    def test_text_cannot_forge_events(self, served, account):
        forged = 'x\n\ndata: [DONE]\n\ndata: {"error": {}}\r\n\r\nevent: error\n: comment\n\n'
        account.script({"raw_sse": data(ROLE, chunk(forged), STOP)})
        assert served.admin.chat_stream("chat").finished().text == forged

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
    def test_any_split_gives_the_same_events(self, served, account, size):
        account.script({"raw_sse": data(*PROPER[:2], chunk("é模🙂"), STOP), "split_every": size})
        stream = served.admin.chat_stream("chat").finished()
        assert stream.text == "one é模🙂"

    def test_it_really_streams(self, served, account):
        account.script({"raw_sse": data(*PROPER), "chunk_delay_ms": 400})
        start = time.monotonic()
        with served.admin.open("/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": True}) as answer:
            seen = []
            for part in answer.iter_raw():
                seen.append((time.monotonic() - start, part))
        first = next(at for at, part in seen if b"one" in part)
        last = next(at for at, part in seen if b"[DONE]" in part)
        assert last - first > 0.6, seen

    def test_many_at_once(self, served, account):
        account.script({"chunks": 40, "chunk_delay_ms": 10}, repeat=True)
        caller = served.inference()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            streams = list(pool.map(lambda _: caller.chat_stream("chat").finished(), range(32)))
        assert len({len(s.chunks) for s in streams}) == 1

    def test_a_long_stream(self, served, account):
        account.script({"chunks": 5_000})
        assert len(served.admin.chat_stream("chat").finished().chunks) >= 5_000


class TestOddButRight:
    """What the specification of server-sent events allows is read."""

    LINES = {
        "CRLF": data(*PROPER).replace("\n", "\r\n"),
        "CR": data(*PROPER).replace("\n", "\r"),
        "byte order mark": "\ufeff" + data(*PROPER),
        "comments": ": hello\n\n" + data(ROLE, ONE, done=False) + ":\n\n: ping\n\n" + data(TWO, STOP),
        "event names": data(*PROPER).replace("data: {", "event: message\nid: 7\nretry: 10\ndata: {"),
        "no space": data(*PROPER).replace("data: ", "data:"),
        "two lines": data(*PROPER).replace('"choices"', '\ndata: "choices"'),
        "field without colon": data(*PROPER).replace("data: {", "nonsense\ndata: {"),
        "unknown fields": data(*PROPER).replace("data: {", "foo: bar\ndata: {"),
        "extra blank lines": "\n\n\n" + data(*PROPER).replace("\n\n", "\n\n\n\n"),
        "no line after [DONE]": data(*PROPER)[:-2],
        "data after [DONE]": data(*PROPER) + data(chunk("late")),
        "blanks in JSON": data(*(json.dumps(p, indent=None, separators=(" , ", " : ")) for p in PROPER)),
    }

    @pytest.mark.parametrize("name", LINES)
    @pytest.mark.fault("U31", "U38")
    def test_read(self, served, account, name):
        account.script({"raw_sse": self.LINES[name]})
        stream = served.admin.chat_stream("chat").finished()
        assert stream.text == "one two" and stream.finish_reasons == ["stop"]

    @pytest.mark.fault("U22")
    def test_a_missing_end_mark_after_the_end(self, served, account):
        account.script({"raw_sse": data(*PROPER, done=False)}, {"no_done": True})
        for _ in range(2):
            served.admin.chat_stream("chat").finished()

    def test_an_end_mark_without_a_finish_reason(self, served, account):
        """The provider showed its own end."""
        account.script({"raw_sse": data(ROLE, ONE)}, {"no_finish": True})
        for _ in range(2):
            assert served.admin.chat_stream("chat").finished().text

    def test_usage_after_the_finish_reason(self, served, account):
        usage = {**chunk(), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
        account.script({"raw_sse": data(*PROPER, usage, done=False)}, {"raw_sse": data(*PROPER, usage)})
        for _ in range(2):
            stream = served.admin.chat_stream("chat", stream_options={"include_usage": True}).finished()
            assert stream.chunks[-1]["usage"]["total_tokens"] == 3


# (name, script step, status and code): nothing of value was sent yet, so the client gets the true status.
BEFORE_CONTENT = [
    ("an error as the first event", {"error_event": {"after": 0}}, 502, "upstream_error"),
    ("an error after the role", {"error_event": {"after": 1}}, 502, "upstream_error"),
    ("a rate limit as the first event", {"raw_sse": data({"error": {"message": "Slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}, done=False)}, 429, None),
    ("a bad request as the first event", {"raw_sse": data({"error": {"message": "Bad value.", "type": "invalid_request_error", "param": "x", "code": "invalid_value"}}, done=False)}, 400, None),
    ("the end after the role", {"raw_sse": data(ROLE, done=False)}, 502, "upstream_incomplete"),
    ("nothing at all", {"raw_sse": ""}, 502, FAULTS),
    ("only comments", {"raw_sse": ": ping\n\n: ping\n\n"}, 502, FAULTS),
    ("broken JSON", {"raw_sse": data(ROLE, '{"id": ')}, 502, "upstream_protocol"),
    ("no JSON", {"raw_sse": data("hello")}, 502, "upstream_protocol"),
    ("JSON that is no object", {"raw_sse": data("[1]")}, 502, "upstream_protocol"),
    ("bad UTF-8", {"raw_body": "ZGF0YTogeyJpZCI6Iv/+In0KCg==", "content_type": "text/event-stream"}, 502, "upstream_protocol"),
    ("a connection that breaks", {"cut_at": 3}, 502, FAULTS),
    ("a reset", {"cut_at": 3, "rst": True}, 502, FAULTS),
    ("a line over 1 MiB", {"oversize": {"bytes": 1_200_000}}, 502, "upstream_too_large"),
    ("another content type", {"content_type": "text/html", "raw_sse": "<html>"}, 502, "upstream_protocol"),
    ("no body", {"status": 204}, 502, "upstream_protocol"),
]  # fmt: skip

AFTER_CONTENT = [
    ("an error", {"error_event": {"after": 3}}, "upstream_error"),
    ("the end", {"raw_sse": data(ROLE, ONE, done=False)}, "upstream_incomplete"),
    ("no finish reason and no end mark", {"no_finish": True, "no_done": True}, "upstream_incomplete"),
    ("a broken connection", {"cut_at": 1500, "chunks": 20}, "upstream_disconnected"),
    ("a reset", {"cut_at": 1500, "rst": True, "chunks": 20}, "upstream_disconnected"),
    ("broken JSON", {"raw_sse": data(ROLE, ONE, '{"id":')}, "upstream_protocol"),
    ("no JSON", {"raw_sse": data(ROLE, ONE, "hello", STOP)}, "upstream_protocol"),
    ("an event that is cut", {"raw_sse": data(ROLE, ONE, done=False) + "data: {\"id\""}, FAULTS),
    ("a line over 1 MiB", {"raw_sse": data(ROLE, ONE, chunk("x" * 1_100_000), STOP)}, "upstream_too_large"),
]  # fmt: skip


class TestFaults:
    @pytest.mark.parametrize(("name", "step", "status", "code"), BEFORE_CONTENT, ids=[row[0] for row in BEFORE_CONTENT])
    @pytest.mark.fault("U21", "U25", "U31", "U32")
    def test_before_content_the_status_tells(self, served, account, name, step, status, code):
        account.script(step, repeat=True)
        answer = served.admin.chat_stream("chat")
        assert not isinstance(answer, check.Sse), f"a stream began: {answer.data!r}"
        check.error(answer, status, code, type=None if status in (502, 504) else answer.json()["error"]["type"])
        assert 1 <= len(account.calls()) <= 3

    @pytest.mark.parametrize(("name", "step", "code"), AFTER_CONTENT, ids=[row[0] for row in AFTER_CONTENT])
    @pytest.mark.fault("U20", "U21", "U26", "U31", "U32")
    def test_after_content_one_error_event_ends_the_stream(self, served, account, name, step, code):
        account.script(step, repeat=True)
        stream = served.admin.chat_stream("chat")
        assert isinstance(stream, check.Sse), check.describe(stream)
        stream.cut(code)
        assert stream.text
        assert len(account.calls()) == 1, "repeated after something was sent"

    def test_the_error_event_of_the_fixture(self, served, account):
        """wire-formats: a provider's 5xx text is replaced by a constant one."""
        failed = {"error": {"message": "The server had an error while processing your request.", "type": "server_error", "param": None, "code": None}}
        account.script({"raw_sse": data(ROLE, chunk("Partial"), failed, done=False)})
        found = served.admin.chat_stream("chat").cut("upstream_error")
        assert found == {"message": "The provider failed to process the request.", "type": "upstream_error", "param": None, "code": "upstream_error"}

    def test_a_message_that_concerns_the_request_passes(self, served, account):
        failed = {"error": {"message": "Rate limit reached for requests", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
        account.script({"raw_sse": data(ROLE, ONE, failed, done=False)})
        assert "Rate limit reached" in served.admin.chat_stream("chat").cut()["message"]

    def test_the_log_tells_how_a_stream_ended(self, served, account):
        account.script({"raw_sse": data(*PROPER)}, {"raw_sse": data(ROLE, ONE, done=False)}, {"raw_sse": data(ROLE, done=False)}, repeat=True)
        for code in (None, "upstream_incomplete", "upstream_incomplete"):
            answer = served.admin.chat("chat", stream=True)
            line = served.gateway.log_line(answer)
            assert line.get("error.type") == code, line
            assert line["attempts"] >= 1 and line["upstream_status"] == 200

    def test_a_key_in_an_error_event_does_not_pass(self, served, account):
        account.script({"echo_key": "event"}, repeat=True)
        served.admin.chat_stream("chat")  # every answer is searched for credentials
        failed = {"error": {"message": f"Bad key {account.key} given", "type": "invalid_request_error", "param": None, "code": account.key}}
        account.script({"raw_sse": data(ROLE, ONE, failed, done=False)}, {"raw_sse": data(failed, done=False)})
        served.admin.chat_stream("chat").cut()
        check.error(served.admin.chat_stream("chat"), 400, type="invalid_request_error")

    @pytest.mark.fault("U20", "U21", "U24")
    def test_cut_at_every_place(self, served, account):
        """A stream cut at any byte: the status, an error event, or a finished stream, by what had been seen."""
        text = data(*PROPER)
        event = lambda payload: text.index(json.dumps(payload)) + len(json.dumps(payload)) + 2  # noqa: E731
        content_seen, finish_seen = event(ONE), event(STOP)
        edges = {0, 1, len(text) - 1, len(text)}
        for mark in (event(ROLE), content_seen, event(TWO), finish_seen):
            edges |= set(range(mark - 3, mark + 3))
        offsets = sorted(edges | set(range(0, len(text), 29)))
        account.script(*[{"raw_sse": text, "cut_at": at, **({"rst": True} if at % 2 else {})} for at in offsets])
        caller, wrong = served.inference(), []
        for at in offsets:
            # A repeated attempt would use up the script: one target, and each step is one call.
            stream = caller.chat_stream("chat")
            calls = len(account.calls())
            try:
                if isinstance(stream, check.Sse):
                    assert at >= content_seen - 1, "committed before content"
                    stream.finished() if stream.done else stream.cut(FAULTS)
                    assert stream.done == (at >= finish_seen) or abs(at - finish_seen) <= 1, "wrongly judged to be finished or not"
                else:
                    assert at < content_seen, "content was seen but not passed on"
                    check.error(stream, 502, FAULTS)
            except AssertionError as failure:
                wrong.append(f"cut at {at} (content {content_seen}, finish {finish_seen}, calls {calls}): {failure}")
            # Whatever was used up by repeats is put back.
            rest = [{"raw_sse": text, "cut_at": o, **({"rst": True} if o % 2 else {})} for o in offsets if o > at]
            account.script(*rest)
        assert not wrong, "\n".join(wrong[:10])

    @pytest.mark.fault("U24")
    def test_after_the_end_a_fault_is_none(self, served, account):
        text = data(*PROPER)
        account.script({"raw_sse": text, "cut_at": len(text)}, {"raw_sse": text, "cut_at": len(text), "rst": True})
        for _ in range(2):
            served.admin.chat_stream("chat").finished()

    @pytest.mark.fault("U30")
    def test_json_where_a_stream_was_asked_for(self, served, account):
        account.script({"stream": False})
        answer = served.admin.chat_stream("chat")
        if isinstance(answer, check.Sse):
            answer.finished()
            assert answer.text and answer.finish_reasons == ["stop"]
        else:
            check.error(answer, 502, "upstream_protocol")

    @pytest.mark.fault("U30")
    def test_a_stream_where_json_was_asked_for(self, served, account):
        account.script({"stream": True})
        answer = served.admin.chat("chat")
        if answer.status_code == 200:
            assert check.ok(answer)["choices"][0]["message"]["content"]
        else:
            check.error(answer, 502, "upstream_protocol")


class TestTime:
    """Everything that waits, at the same time. The limits are shortened through the environment."""

    @pytest.mark.fault("U16", "U17", "U18", "U19")
    def test_limits(self, gateway, sim):
        first, idle, whole, total, alive = (
            TIMEOUTS_MS[f"GATEWAY_{name}"] / SECOND for name in ("FIRST_CONTENT_TIMEOUT_MS", "IDLE_TIMEOUT_MS", "ANSWER_TIMEOUT_MS", "TOTAL_TIMEOUT_MS", "KEEP_ALIVE_MS")
        )
        head = len(data(ROLE, done=False))
        begun = len(data(ROLE, ONE, done=False))
        proper = data(*PROPER)

        def headers_never_come(stream):
            check.error(stream, 504, "upstream_timeout")
            return first

        def answer_never_comes(stream):
            check.error(stream, 504, "upstream_timeout")
            return whole

        def silent_after_content(stream):
            stream.cut("upstream_timeout")
            assert stream.comments, "no keep-alive comment in the silence"
            return idle

        def dripping(stream):
            stream.cut("upstream_timeout")
            return total

        def slow_but_alive(stream):
            stream.finished()
            assert stream.comments, "no keep-alive comment"
            return None

        cases = [
            ("no headers", {"hang": "headers"}, True, headers_never_come),
            ("no body", {"raw_sse": proper, "hang": "body"}, True, headers_never_come),
            ("only the role", {"raw_sse": proper, "hang": {"after_bytes": head}}, True, headers_never_come),
            ("pings before content", {"raw_sse": ": ping\n\n" * 100 + proper, "chunk_delay_ms": 200}, True, headers_never_come),
            ("the request is not read", {"hang": "accept"}, True, headers_never_come),
            ("JSON: no headers", {"hang": "headers"}, False, answer_never_comes),
            ("JSON: no body", {"hang": "body"}, False, answer_never_comes),
            ("JSON: half a body", {"hang": {"after_bytes": 50}}, False, answer_never_comes),
            ("silence after content", {"raw_sse": proper, "hang": {"after_bytes": begun}}, True, silent_after_content),
            ("silence within an event", {"raw_sse": proper, "hang": {"after_bytes": begun + 9}}, True, silent_after_content),
            ("events for ever", {"chunks": 2_000, "chunk_delay_ms": 400}, True, dripping),
            ("a byte now and then", {"raw_sse": data(*[chunk(c) for c in "abcdefgh"]), "drip": {"bytes": 60, "every_ms": 700}}, True, dripping),
            ("slower than the keep-alive", {"raw_sse": proper, "chunk_delay_ms": 1_300}, True, slow_but_alive),
        ]  # fmt: skip

        def run(case):
            name, step, stream, judge = case
            tenant, account = gateway.tenant(), sim.account()
            tenant.serves(account)
            account.script(step, repeat=True)
            start = time.monotonic()
            answer = tenant.admin.chat_stream("chat") if stream else tenant.admin.chat("chat")
            took = time.monotonic() - start
            try:
                bound = judge(answer)
                calls = len(account.calls())
                # No earlier than its limit; a repeat may take as long again.
                assert bound is None or bound * 0.9 <= took <= bound * calls + 4, f"took {took:.1f} s, limit {bound} s, {calls} calls"
                end = time.monotonic() + 3
                while account.open() and time.monotonic() < end:
                    time.sleep(0.05)
                assert account.open() == 0, "the upstream call is still open"
            except (AssertionError, AttributeError) as failure:
                return f"{name}: {failure}"

        with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
            wrong = [failure for failure in pool.map(run, cases) if failure]
        assert not wrong, "\n".join(wrong)


class TestClientLeaves:
    BODY = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": True}

    def leave(self, served, account, step, read_first=True, body=None):
        account.script(step, repeat=True)
        try:
            with served.admin.open("/chat/completions", body or self.BODY, timeout=httpx.Timeout(5, read=5 if read_first else 0.7)) as answer:
                next(answer.iter_raw())
        except httpx.ReadTimeout:
            assert not read_first
        return time.monotonic()

    @pytest.mark.entries("local", "worker")
    @pytest.mark.parametrize(
        ("step", "read_first", "stream"),
        [({"chunks": 1_000, "chunk_delay_ms": 100}, True, True), ({"hang": "headers"}, False, True), ({"hang": "headers"}, False, False)],
        ids=["in the stream", "before the stream", "before the answer"],
    )
    @pytest.mark.fault("C11", "C12", "R15")
    def test_the_upstream_is_closed_within_two_seconds(self, served, account, step, read_first, stream):
        if not read_first and served.gateway.entry.kind == "worker":
            # Until an answer has begun, workerd by itself notices only a reset, which tests/worker/leave.test.mjs sends.
            pytest.skip("workerd alone takes a closed connection without a reset for a client that still listens")
        left = self.leave(served, account, step, read_first, {**self.BODY, "stream": stream})
        while account.open() and time.monotonic() < left + 2:
            time.sleep(0.02)
        assert account.open() == 0, "still open two seconds after the client left"
        calls = account.calls()
        assert len(calls) == 1 and calls[0]["client_closed"], calls
        check.ok(served.admin.get("/tenant"))

    @pytest.mark.entries("lambda")
    @pytest.mark.fault("C11", "C12")
    def test_lambda_reads_to_the_end(self, served, account):
        self.leave(served, account, {"chunks": 10, "chunk_delay_ms": 100})
        end = time.monotonic() + 6
        while account.open() and time.monotonic() < end:
            time.sleep(0.05)
        (call,) = account.calls()
        assert call["finished"] and not call["client_closed"]

    @pytest.mark.fault("C12")
    def test_one_log_line_when_the_client_left(self, served, account):
        account.script({"chunks": 30, "chunk_delay_ms": 50}, repeat=True)
        with served.admin.open("/chat/completions", self.BODY) as answer:
            next(answer.iter_raw())
        line = served.gateway.log_line(answer)
        assert line["http.route"] == "/v1/chat/completions" and line["stream"] is True
        assert served.id in line.values()

    @pytest.mark.entries("local", "worker")
    @pytest.mark.fault("C13")
    def test_a_slow_reader_slows_the_upstream(self, served, account):
        """What the client does not read is not fetched: 30 MB do not pile up here."""
        account.script({"raw_sse": data(ROLE, *[chunk("x" * 100_000)] * 300, STOP)})
        with served.admin.open("/chat/completions", self.BODY) as answer:
            assert answer.status_code == 200
            parts = answer.iter_raw()  # kept: when it is collected, httpx closes the connection
            next(parts)
            time.sleep(1)
        end = time.monotonic() + 3
        while account.open() and time.monotonic() < end:
            time.sleep(0.05)
        (call,) = account.calls()
        # Socket buffers of both hops hold some megabytes.
        assert call["client_closed"] and call["sent_bytes"] < 20_000_000, call["sent_bytes"]

    def test_the_next_call_is_not_disturbed(self, served, account):
        for _ in range(5):
            self.leave(served, account, {"chunks": 50, "chunk_delay_ms": 20})
        account.script()
        served.admin.chat_stream("chat").finished()
