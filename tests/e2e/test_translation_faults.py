"""Providers that fail, each in its own words and frames; and the sizes at which a translation might break."""

import json

import pytest

from harness import chat, check
from harness.chat import ask, image_part, says, text_part, user
from harness.providers import ALL, ANTHROPIC, AZURE, BEDROCK, BEDROCK_KEY, NIM, OPENAI, TYPES, WATSONX

WORDS = " ".join(f"w{number}" for number in range(40))


def on(*kinds):
    return pytest.mark.parametrize("up", kinds, indirect=True, ids=str)


def own(*kinds):
    return pytest.mark.parametrize("own_up", kinds, indirect=True, ids=str)


both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


class TestBeforeContent:
    """The status tells, streamed or not."""

    @both
    @own(*TYPES)
    def test_statuses(self, own_up, streamed):
        for status, wanted, code in (
            (400, 400, None), (404, 404, "model_not_found"), (413, 400, "context_length_exceeded"), (500, 502, "upstream_error"), (503, 502, "upstream_error"),
            (302, 502, "upstream_redirect"), (204, 502, "upstream_protocol"),
        ):  # fmt: skip
            if status == 413 and own_up.kind == BEDROCK:
                continue  # It says so with 400.
            step = {"redirect": {"status": 302, "location": own_up.account.base_url}} if status == 302 else {"status": status}
            own_up.account.script(step, repeat=True)
            answer = own_up.api.chat("chat", stream=streamed)
            check.error(answer, wanted, code)
            assert own_up.account.key not in answer.text and "127.0.0.1" not in answer.text

    @both
    @own(*TYPES)
    @pytest.mark.fault("U7")
    def test_a_rate_limit(self, own_up, streamed):
        own_up.account.script({"status": 429, "retry_after": 30}, repeat=True)
        answer = own_up.api.chat("chat", stream=streamed)
        if own_up.kind in (OPENAI, AZURE):
            # In its own words.
            check.error(answer, 429, type=answer.json()["error"]["type"])
        else:
            check.error(answer, 429, "upstream_rate_limited")
        assert answer.headers["retry-after"] == "30"
        assert len(own_up.calls()) == 1

    @own(ANTHROPIC)
    @pytest.mark.fault("U9")
    def test_an_overloaded_provider(self, own_up):
        own_up.account.script({"status": 529}, repeat=True)
        answer = own_up.api.chat("chat")
        check.error(answer, 503, "upstream_overloaded", type="upstream_error")
        assert answer.headers.get("retry-after")

    @both
    @own(*TYPES, BEDROCK_KEY)
    @pytest.mark.fault("U2", "U44")
    def test_credentials_that_it_does_not_take(self, own_up, streamed):
        own_up.may_refuse = True
        wrong = {"secret_access_key": "another", "keys": ["another"]} if own_up.kind.type == "bedrock" else {"keys": ["another"]}
        own_up.account.configure(**wrong)
        answer = own_up.api.chat("chat", stream=streamed)
        check.error(answer, 502, "upstream_auth_failed")
        assert answer.headers["x-should-retry"] == "false"
        assert len(own_up.calls()) <= 1

    @own(WATSONX)
    @pytest.mark.fault("U43")
    def test_a_service_of_tokens_that_fails(self, own_up):
        own_up.account.configure(token_script=[{"status": 500, "repeat": True}])
        check.error(own_up.api.chat("chat"), 502, "upstream_auth_unavailable")
        assert own_up.calls() == []
        own_up.account.configure(token_script=[])
        check.within(10, lambda: check.ok(own_up.api.chat("chat")))

    @own(WATSONX)
    @pytest.mark.fault("U45")
    def test_a_token_serves_many_calls_and_is_renewed(self, own_up):
        for _ in range(3):
            ask(own_up.api)
        tokens = [call for call in own_up.account.calls() if "/identity/token" in call["path"]]
        assert len(tokens) <= (3 if own_up.tenant.gateway.entry.kind == "lambda" else 1), "a token for each call"
        own_up.account.script({"status": 401})
        assert ask(own_up.api).said.finish == "stop"

    @own(*TYPES)
    def test_an_error_as_the_first_event(self, own_up):
        own_up.account.script({"error_event": {"after": 0}}, repeat=True)
        answer = own_up.api.chat("chat", stream=True)
        status, code = (503, "upstream_overloaded") if own_up.kind == ANTHROPIC else (502, "upstream_error")
        check.error(answer, status, code, type="upstream_error")

    @pytest.mark.parametrize(
        ("own_up", "error", "status", "code"),
        [
            (ANTHROPIC, {"type": "rate_limit_error", "message": "Slow down"}, 429, "upstream_rate_limited"),
            (ANTHROPIC, {"type": "invalid_request_error", "message": "No"}, 400, "upstream_rejected"),
            (BEDROCK, {"type": "throttlingException", "message": "Slow down"}, 429, "upstream_rate_limited"),
            (BEDROCK, {"type": "validationException", "message": "No"}, 400, "upstream_rejected"),
            (BEDROCK, {"type": "serviceUnavailableException", "message": "No"}, 502, "upstream_error"),
        ],
        indirect=["own_up"], ids=str,
    )  # fmt: skip
    @pytest.mark.fault("U25", "U37")
    def test_kinds_of_errors_as_the_first_event(self, own_up, error, status, code):
        own_up.account.script({"error_event": {"after": 0, "error": error}}, repeat=True)
        check.error(own_up.api.chat("chat", stream=True), status, code)

    @both
    @own(*TYPES)
    def test_broken_answers(self, own_up, streamed):
        for step in ({"raw_body": "e30="}, {"raw_body": "W10="}, {"raw_body": "PGh0bWw+", "content_type": "text/html"}, {"content_encoding": "gzip"}, {"raw_body": ""}):
            own_up.account.script(step, repeat=True)
            check.error(own_up.api.chat("chat", stream=streamed), 502)

    @both
    @own(*TYPES)
    @pytest.mark.fault("U14", "U20")
    def test_broken_connections(self, own_up, streamed):
        for step in ({"close_without_answer": True, "rst": True}, {"cut_at": 3, "rst": True}, {"cut_at": 3}):
            own_up.account.script(step, repeat=True)
            check.error(own_up.api.chat("chat", stream=streamed), 502)

    @own(BEDROCK)
    @pytest.mark.fault("U36")
    def test_a_frame_that_is_damaged(self, own_up):
        for prelude in (False, True):
            own_up.account.script({"bad_crc": {"frame": 0, "prelude": prelude}}, repeat=True)
            check.error(own_up.api.chat("chat", stream=True), 502, "upstream_protocol")


class TestAfterContent:
    """One error event, the last one, and no [DONE]."""

    def cut(self, up, step, code, **members):
        up.account.script({"text": WORDS, **step})
        stream = up.api.chat_stream("chat", **members)
        assert isinstance(stream, check.Sse), check.describe(stream)
        found = stream.cut(code)
        assert stream.text and stream.finish_reasons == [], stream.data
        assert len(up.calls()) == 1, "repeated after something was sent"
        return found

    @on(*ALL)
    def test_an_error(self, up):
        self.cut(up, {"error_event": {"after": 6}}, "upstream_overloaded" if up.kind == ANTHROPIC else "upstream_error")

    @pytest.mark.parametrize(
        ("up", "error", "code"),
        [
            (ANTHROPIC, {"type": "rate_limit_error", "message": "Slow down"}, "upstream_rate_limited"),
            (BEDROCK, {"type": "throttlingException", "message": "Slow down"}, "upstream_rate_limited"),
            (BEDROCK, {"type": "modelStreamErrorException", "message": "m", "originalStatusCode": 500}, "upstream_error"),
            (BEDROCK, {"code": "InternalError", "message": "m"}, "upstream_error"),
        ],
        indirect=["up"], ids=str,
    )  # fmt: skip
    @pytest.mark.fault("U26", "U37")
    def test_kinds_of_errors(self, up, error, code):
        self.cut(up, {"error_event": {"after": 6, "error": error}}, code)

    @on(*TYPES)
    @pytest.mark.fault("U21")
    def test_an_end_without_a_reason(self, up):
        self.cut(up, {"no_finish": True, "no_done": True}, "upstream_incomplete")

    @on(*TYPES)
    def test_a_clean_end_in_the_middle(self, up):
        self.cut(up, {"clean_end_at": 2_000}, ("upstream_incomplete", "upstream_protocol", "upstream_disconnected"))

    @on(*TYPES)
    @pytest.mark.fault("U20")
    def test_a_reset(self, up):
        self.cut(up, {"cut_at": 2_000, "rst": True}, "upstream_disconnected")

    @on(*TYPES)
    def test_the_key_is_not_repeated(self, up):
        up.account.script({"echo_key": "event", "text": WORDS, "error_event": {"after": 6}})
        stream = up.api.chat_stream("chat")
        stream.cut()
        assert up.account.key.encode() not in stream.data

    @on(BEDROCK)
    @pytest.mark.fault("U36")
    def test_a_frame_that_is_damaged(self, up):
        for prelude in (False, True):
            up.begin()
            self.cut(up, {"bad_crc": {"frame": 5, "prelude": prelude}}, "upstream_protocol")

    @on(*TYPES)
    def test_a_call_that_is_cut_is_not_complete(self, up):
        arguments = {f"argument{number}": "x" * 20 for number in range(30)}
        step = {"no_finish": True, "no_done": True}
        up.account.script(step)
        body = {"messages": [user(f"call:get_weather {json.dumps(arguments)}")], "tools": [chat.WEATHER]}
        stream = up.api.chat_stream("chat", **body)
        stream.cut("upstream_incomplete")
        assert stream.finish_reasons == []

    @on(*TYPES)
    @pytest.mark.fault("U22")
    def test_only_the_end_mark_is_missing(self, up):
        """Why it ended was said."""
        up.account.script({"no_done": True})
        stream = up.api.chat_stream("chat").finished()
        assert stream.finish_reasons == ["stop"] and stream.text

    @own(OPENAI, ANTHROPIC, BEDROCK, WATSONX)
    @pytest.mark.fault("U18")
    def test_silence(self, own_up):
        own_up.account.script({"text": WORDS, "hang": {"after_bytes": 2_000}})
        stream = own_up.api.chat_stream("chat")
        stream.cut("upstream_timeout")
        assert stream.text and stream.comments, "no keep-alive in the silence"


class TestSizes:
    @on(*TYPES)
    def test_a_long_prompt(self, up):
        prompt = "long é " * 25_000
        for streamed in (False, True):
            up.account.script({"text": "short"})
            assert ask(up.api, messages=[user(prompt)], streamed=streamed).said.content == "short"
            call = up.calls()[-1]
            assert prompt in json.loads(call["body"])["messages"][-1]["content"] or prompt in json.dumps(json.loads(call["body"]), ensure_ascii=False)
            assert len(call["body"].encode()) > 200_000

    @on(*TYPES)
    def test_a_long_history(self, up):
        messages = [turn for number in range(300) for turn in (user(f"question {number}"), {"role": "assistant", "content": f"answer {number}"})]
        assert ask(up.api, messages=[*messages, user("one two")]).said.content.endswith("one two")

    @on(*TYPES)
    def test_an_image_that_is_too_large(self, up):
        # What is larger than 6 MB does not reach a function of AWS at all.
        mebibytes = 5 if up.tenant.gateway.entry.kind == "lambda" else 10
        image = image_part("data:image/png;base64," + chat.PIXEL[:32] + "A" * (mebibytes * 1024 * 1024))
        with up.nothing_sent():
            answer = up.api.post("/chat/completions", {"model": "chat", "messages": says(text_part("Look."), image)})
            check.error(answer, 413, "request_too_large")

    @on(OPENAI, AZURE, ANTHROPIC, BEDROCK, WATSONX, NIM)
    def test_a_large_image(self, up):
        image = chat.PIXEL[:32] + "A" * (2 * 1024 * 1024)
        ask(up.api, messages=says(text_part("Look."), image_part(f"data:image/png;base64,{image}")))
        assert image in up.calls()[-1]["body"]

    @on(*TYPES)
    def test_a_stream_of_2000_events(self, up):
        up.account.script({"text": "tick " * 2_000, "chunks": 2_000})
        stream = up.api.chat_stream("chat", stream_options={"include_usage": True}).finished()
        assert stream.text.split() == ["tick"] * 2_000 and len(stream.chunks) > 2_000

    @on(*TYPES)
    def test_an_answer_of_a_megabyte(self, up):
        text = "é" * 500_000
        up.account.script({"text": text})
        assert ask(up.api).said.content == text

    @on(*TYPES)
    def test_many_tools(self, up):
        tools = [{"type": "function", "function": {"name": f"tool_{number}", "parameters": chat.SCHEMA}} for number in range(100)]
        calls = "\n".join(f"call:tool_{number}" for number in range(0, 100, 5))
        for streamed in (False, True):
            said = ask(up.api, messages=[user(calls)], tools=tools, streamed=streamed).said
            assert said.called == [(f"tool_{number}", {"n": 1}) for number in range(0, 100, 5)]

    @pytest.mark.parametrize("size", [1, 2, 5, 11, 100])
    @on(*TYPES)
    def test_calls_in_pieces(self, up, size):
        text = 'think:ü\nsay:Lé.\ncall:get_weather {"city":"Ål 🙂"}\ncall:clock'
        up.account.script({"split_every": size})
        said = ask(up.api, messages=[user(text)], tools=[chat.WEATHER, chat.CLOCK], streamed=True).said
        assert said.content == "Lé." and said.called == [("get_weather", {"city": "Ål 🙂"}), ("clock", {})]
