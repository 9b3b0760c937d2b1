"""Where translations are known to break: histories of other providers, odd names and schemas, ends that are rare."""

import concurrent.futures
import json
import time

import pytest

from harness import check
from harness.chat import AS_SCHEMA, CLOCK, PIXEL, SCHEMA, WEATHER, ask, file_part, image_part, says, text_part, user
from harness.providers import ANTHROPIC, AZURE, AZURE_STRICT, BEDROCK, CEREBRAS, CLAUDE, NIM, OPENAI, SEED_CLAUDE, TYPES, WATSONX, Upstream

SAID = "Hello from the simulated provider. You said: one two"
PASSED_ON = [OPENAI, AZURE]
TRANSLATED = [kind for kind in TYPES if kind not in PASSED_ON]

both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def on(*kinds):
    return pytest.mark.parametrize("up", kinds, indirect=True, ids=str)


def called(id="call_1", name="clock", arguments="{}"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id="call_1", content="12:00"):
    return {"role": "tool", "tool_call_id": id, "content": content}


def says_calls(*calls, content=None):
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


class TestHistories:
    @pytest.mark.parametrize("id", ["functions.clock:0", "call_" + "x" * 90, "a b/ü", "toolu_01A", "tooluse_abc", "chatcmpl-tool-1", "1"], ids=lambda id: id[:12])
    @on(*TYPES)
    def test_ids_of_other_providers(self, up, id):
        """A conversation that began elsewhere goes on."""
        messages = [user("x"), says_calls(called(id), called(f"{id}2", "get_weather", '{"city":"Oslo"}')), result(id, "r1"), result(f"{id}2", "r2")]
        assert ask(up.api, messages=messages, tools=[CLOCK, WEATHER]).said.content.endswith("The tool said: r2")

    @pytest.mark.parametrize("name", ["$READ FILE", "a.b", "ü" * 10, "x" * 64])
    @on(*TRANSLATED)
    def test_names_that_a_model_made_up(self, up, name):
        messages = [user("x"), says_calls(called(name=name)), result(), user("one two")]
        for tools in ({}, {"tools": [CLOCK]}):
            assert ask(up.api, messages=messages, **tools).said.content == SAID

    @on(*TYPES)
    def test_empty_texts(self, up):
        messages = [
            user("x"), says_calls(called(), content=""), result(content=""), {"role": "assistant", "content": "ok"},
            {"role": "user", "content": [text_part("one two")]},
        ]  # fmt: skip
        assert ask(up.api, messages=messages, tools=[CLOCK]).said.content == SAID
        if up.kind not in PASSED_ON:
            messages = [{"role": "system", "content": ""}, user("x"), {"role": "assistant", "content": [text_part("ok"), text_part("")]}, says(text_part(""), text_part("one two"))[0]]
            assert ask(up.api, messages=messages).said.content.endswith("one two")

    @on(*CLAUDE)
    def test_a_message_of_nothing(self, up):
        for content in ("", [], [text_part("")], None):
            with up.nothing_sent():
                answer = up.api.chat("chat", messages=[user("a"), {"role": "assistant", "content": "b"}, {"role": "user", "content": content}])
                check.error(answer, 400)

    @on(*TYPES)
    def test_an_assistant_that_said_nothing(self, up):
        """Some models end without a word, and clients send it back."""
        if up.kind in PASSED_ON:
            return
        for content in ("", None):
            assert ask(up.api, messages=[user("a"), {"role": "assistant", "content": content}, user("one two")]).said.content.endswith("one two")

    @pytest.mark.parametrize(("up", "model"), [(ANTHROPIC, "claude-haiku-4-5"), (BEDROCK, SEED_CLAUDE), (WATSONX, "chat"), (CEREBRAS, "chat"), (NIM, "chat")], indirect=["up"], ids=str)
    def test_the_beginning_of_an_answer(self, up, model):
        """Claude does not take white space at its end; newer Claude takes no beginning at all."""
        answer = ask(up.api, model, messages=[user("one two"), {"role": "assistant", "content": "Say: "}])
        assert answer.said.finish == "stop"

    @on(*TYPES)
    def test_instructions_in_the_middle(self, up):
        messages = [{"role": "system", "content": "S1"}, user("a"), {"role": "assistant", "content": "b"}, {"role": "system", "content": "S2"}, user("one two")]
        assert ask(up.api, messages=messages).said.content == SAID
        assert "S1" in up.calls()[-1]["body"] and "S2" in up.calls()[-1]["body"]

    @on(*TRANSLATED)
    def test_only_instructions(self, up):
        answer = up.api.chat("chat", messages=[{"role": "system", "content": "S1"}])
        assert answer.status_code in (200, 400), check.describe(answer)
        up.may_refuse = answer.status_code == 400

    @on(*TRANSLATED)
    def test_the_assistant_begins(self, up):
        answer = up.api.chat("chat", messages=[{"role": "assistant", "content": "Hi, what can I do?"}, user("one two")])
        assert answer.status_code in (200, 400), check.describe(answer)
        up.may_refuse = answer.status_code == 400

    @on(*CLAUDE)
    def test_two_results_of_one_call(self, up):
        messages = [user("x"), says_calls(called()), result(content="r1"), result(content="r2")]
        assert ask(up.api, messages=messages, tools=[CLOCK]).said.content.endswith("The tool said: r2")

    @on(*CLAUDE)
    def test_calls_without_their_results(self, up):
        """The client was stopped in between."""
        messages = [user("x"), says_calls(called()), user("never mind")]
        answer = up.api.chat("chat", messages=messages, tools=[CLOCK])
        assert answer.status_code in (200, 400), check.describe(answer)
        up.may_refuse = answer.status_code == 400

    @on(*CLAUDE)
    def test_arguments_that_are_cut(self, up):
        with up.nothing_sent():
            check.error(up.api.chat("chat", messages=[user("x"), says_calls(called(arguments='{"a": ')), result()], tools=[CLOCK]), 400)
        for arguments in ("", " ", "null"):
            answer = up.api.chat("chat", messages=[user("x"), says_calls(called(arguments=arguments)), result()], tools=[CLOCK])
            assert answer.status_code in (200, 400), check.describe(answer)

    @on(*TRANSLATED)
    def test_a_refusal_in_the_history(self, up):
        messages = [user("x"), {"role": "assistant", "content": None, "refusal": "I can't help with that."}, user("one two")]
        assert ask(up.api, messages=messages).said.content == SAID

    @on(*TYPES)
    def test_the_answer_of_every_provider_goes_to_every_other(self, up, upstreams):
        """Text, calls and thinking of one are the history of the next."""
        asks = [user('think:step by step\nsay:Looking.\ncall:get_weather {"city":"Oslo"}\ncall:clock')]
        said = ask(up.api, messages=asks, tools=[WEATHER, CLOCK], reasoning_effort="low").said
        message = said.message
        messages = [*asks, message, *[result(call["id"]) for call in said.calls], user("one two")]
        for kind in TRANSLATED:
            if kind != up.kind:
                next = upstreams(kind)
                next.begin()
                assert ask(next.api, messages=messages, tools=[WEATHER, CLOCK], reasoning_effort="low").said.content == SAID, kind
                next.judge()

    @on(*CLAUDE)
    def test_thinking_of_odd_shapes(self, up):
        up.may_refuse = True
        for blocks in ([], [{"type": "thinking"}], [{"type": "thinking", "thinking": "x"}], [{"type": "other"}], [{}], "x", [1], None):
            answer = up.api.chat("chat", messages=[user("x"), {"role": "assistant", "content": "a", "thinking_blocks": blocks}, user("one two")])
            assert answer.status_code in (200, 400), check.describe(answer)


class TestSchemas:
    SCHEMAS = {
        "nothing": None,
        "empty": {},
        "no type": {"properties": {"a": {"type": "string"}}},
        "union at the root": {"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "object", "properties": {"b": {"type": "string"}}}]},
        "references": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}},
        "deep": {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {"b": {"enum": ["x", 1, None]}}}}}},
        "odd keys": {"type": "object", "properties": {"$a.b": {"type": "string", "description": 'é "\\ \u2028'}, "": {"type": "string"}}, "$schema": "http://json-schema.org/draft-07/schema#"},
    }

    @pytest.mark.parametrize("name", SCHEMAS)
    @on(*TYPES)
    def test_of_tools(self, up, name):
        function = {"name": "clock", **({"parameters": self.SCHEMAS[name]} if self.SCHEMAS[name] is not None else {})}
        for more in ({}, {"description": ""}, {"description": "d"}, {"strict": False}):
            said = ask(up.api, messages=[user('call:clock {"x": [1.50, null, "é"]}')], tools=[{"type": "function", "function": {**function, **more}}]).said
            assert said.called == [("clock", {"x": [1.5, None, "é"]})]

    @both
    @on(*TYPES)
    def test_of_answers_that_are_open(self, up, streamed):
        """`additionalProperties` need not be said where `strict` is not."""
        inner = {"type": "object", "properties": {"n": {"type": "integer"}}}
        schema = {"type": "object", "properties": {"a": inner, "b": {"type": "array", "items": inner}}}
        answer = ask(up.api, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, streamed=streamed)
        assert json.loads(answer.said.content)["a"] == {"n": 1}

    @on(*TYPES)
    def test_that_bring_a_description(self, up):
        form = {"type": "json_schema", "json_schema": {"name": "x-y_z", "description": 'A "number"', "schema": SCHEMA, "strict": True}}
        assert json.loads(ask(up.api, response_format=form).said.content) == {"n": 1}

    @both
    @on(*TYPES)
    def test_arguments_keep_their_digits(self, up, streamed):
        arguments = '{"big":12345678901234567890,"small":1e-7,"text":"\\u00e9\\n"}'
        said = ask(up.api, messages=[user(f"call:clock {arguments}")], tools=[CLOCK], streamed=streamed).said
        assert said.called == [("clock", json.loads(arguments))]

    @on(*TRANSLATED)
    def test_tools_without_a_name(self, up):
        for function in ({"name": ""}, {}, {"name": None}, {"name": 5}):
            with up.nothing_sent():
                check.error(up.api.chat("chat", tools=[{"type": "function", "function": function}]), 400)


class TestEnds:
    REASONS = [
        (ANTHROPIC, "pause_turn", "stop", False), (ANTHROPIC, "model_context_window_exceeded", "length", False), (ANTHROPIC, "refusal", "content_filter", False),
        (ANTHROPIC, "something_new", "stop", True), (BEDROCK, "guardrail_intervened", "content_filter", False), (BEDROCK, "model_context_window_exceeded", "length", False),
        (BEDROCK, "something_new", "stop", True), (WATSONX, "time_limit", "length", False), (WATSONX, "cancelled", "stop", False), (WATSONX, "something_new", "stop", True),
        (CEREBRAS, "something_new", "stop", True), (NIM, "something_new", "stop", True),
    ]  # fmt: skip

    @both
    @pytest.mark.parametrize(("up", "reason", "finish", "odd"), REASONS, indirect=["up"], ids=str)
    def test_reasons(self, up, reason, finish, odd, streamed):
        up.account.script({"finish_reason": reason})
        answer = ask(up.api, streamed=streamed)
        assert answer.said.finish == finish and answer.said.content == SAID
        if odd and not streamed:
            assert answer.headers.get("x-gateway-native-finish-reason") == reason

    @pytest.mark.parametrize("usage", [{}, {"input_tokens": -5, "output_tokens": -1}, {"inputTokens": 10**12}, {"prompt_tokens": "many"}, None], ids=str)
    @on(*TRANSLATED)
    def test_usage_of_odd_shapes(self, up, usage):
        """What is paid for is not lost over a number."""
        for streamed in (False, True):
            up.account.script({"usage": usage})
            answer = up.api.post("/chat/completions", {"model": "chat", "messages": [user("one two")], "stream": streamed, **({"stream_options": {"include_usage": True}} if streamed else {})})
            assert answer.status_code == 200, check.describe(answer)
            told = check.Sse(answer.content).finished().chunks[-1].get("usage") if streamed else answer.json().get("usage")
            for count in (told or {}).values():
                assert count is None or isinstance(count, dict) or (isinstance(count, int) and count >= 0), told

    @on(*TRANSLATED)
    def test_an_answer_of_nothing(self, up):
        for streamed in (False, True):
            up.account.script({"text": ""})
            said = ask(up.api, streamed=streamed).said
            assert not said.content and said.finish in ("stop", "length")

    @on(*TRANSLATED)
    def test_json_where_a_stream_was_asked_for_and_the_reverse(self, up):
        for asked, given in ((True, False), (False, True)):
            up.account.script({"stream": given})
            answer = up.api.chat("chat", stream=asked)
            assert answer.status_code in (200, 502), check.describe(answer)
            if answer.status_code == 200:
                assert (check.Sse(answer.content).finished().text if asked else answer.json()["choices"][0]["message"]["content"]).startswith("Hello")

    @on(OPENAI, AZURE, WATSONX, CEREBRAS, NIM)
    def test_logprobs(self, up):
        whole = ask(up.api, logprobs=True, top_logprobs=2).raw
        tokens = whole["choices"][0]["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens) == SAID and len(tokens[0]["top_logprobs"]) == 2
        streamed = ask(up.api, logprobs=True, top_logprobs=2, streamed=True).raw
        pieces = [token["token"] for chunk in streamed for choice in chunk["choices"] for token in ((choice.get("logprobs") or {}).get("content") or [])]
        assert "".join(pieces) == SAID


class TestParameters:
    @on(*TRANSLATED)
    def test_users_that_are_addresses(self, up):
        """Anthropic refuses what looks like an e-mail address or a phone number."""
        for name in ("ann@example.com", "+49 170 1234567", "x" * 300, "ü"):
            assert ask(up.api, user=name).said.content == SAID

    @on(*TRANSLATED)
    def test_metadata_that_does_not_fit(self, up):
        for metadata in ({f"key {number}": "v" * 500 for number in range(16)}, {"": ""}, {"ü": "<&>"}):
            assert ask(up.api, metadata=metadata).said.content == SAID

    @pytest.mark.parametrize("tier", ["auto", "default", "flex", "priority", "scale"])
    @on(*TRANSLATED)
    def test_service_tiers(self, up, tier):
        assert ask(up.api, service_tier=tier).said.content == SAID

    @pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
    @on(*TRANSLATED)
    def test_efforts(self, up, effort):
        for streamed in (False, True):
            answer = up.api.post("/chat/completions", {"model": "chat", "messages": [user("one two")], "reasoning_effort": effort, "stream": streamed})
            if answer.status_code == 400:
                check.error(answer, 400, param="reasoning_effort")
            else:
                assert answer.status_code == 200, check.describe(answer)

    @both
    @pytest.mark.parametrize(("effort", "most"), [("low", 1024), ("high", 1025), ("high", 500), ("high", None)])
    @on(ANTHROPIC)
    def test_budgets_at_their_edges(self, up, streamed, effort, most):
        members = {"max_tokens": most} if most else {}
        assert ask(up.api, "claude-haiku-4-5", reasoning_effort=effort, streamed=streamed, **members).said.finish == "stop"

    @on(*TRANSLATED)
    def test_obfuscation_is_not_passed_on(self, up):
        answer = ask(up.api, streamed=True, stream_options={"include_usage": True, "include_obfuscation": False})
        assert answer.said.content == SAID and "obfuscation" not in up.calls()[-1]["body"]

    @on(*CLAUDE)
    def test_marks_for_a_cache_everywhere(self, up):
        """More than a provider takes, on everything that can be marked."""
        mark = {"cache_control": {"type": "ephemeral"}}
        messages = [
            {"role": "system", "content": [{**text_part(f"S{number}"), **mark} for number in range(4)]},
            {"role": "user", "content": [{**text_part("a"), **mark}, {**image_part(), **mark}, {**file_part(), **mark}], **mark},
            {**says_calls(called()), **mark}, {**result(), **mark}, {"role": "user", "content": [{**text_part("one two"), **mark}], **mark},
        ]  # fmt: skip
        assert ask(up.api, messages=messages, tools=[{**CLOCK, **mark}, {**WEATHER, **mark}]).said.content.endswith("one two")

    @on(BEDROCK)
    def test_marks_for_a_cache_where_there_is_none(self, up):
        mark = {"cache_control": {"type": "ephemeral"}}
        messages = [{"role": "system", "content": [{**text_part("S"), **mark}]}, {"role": "user", "content": [{**text_part("one two"), **mark}]}]
        for model in ("openai.gpt-oss-120b-1:0", "amazon.nova-lite-v1:0"):
            assert ask(up.api, model, messages=messages).said.content == SAID

    @on(*TYPES)
    def test_hostile_bodies_are_nobodys_fault(self, up):
        """Whatever a client sends, the gateway does not fail over it."""
        up.may_refuse = True
        bodies = [
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            {"messages": [{"role": "user", "content": [{"type": "nope"}]}]}, {"messages": [{"role": "user", "content": [None]}]}, {"messages": [{"role": "king", "content": "x"}]},
            {"messages": [{"content": "x"}]}, {"messages": [None]}, {"messages": "x"}, {"messages": [user("x")], "tools": {}}, {"messages": [user("x")], "tools": [None]},
            {"messages": [user("x")], "tool_choice": "sometimes", "tools": [CLOCK]}, {"messages": [user("x")], "tool_choice": {"type": "function"}, "tools": [CLOCK]},
            {"messages": [user("x")], "tool_choice": {"type": "function", "function": {"name": "other"}}, "tools": [CLOCK]}, {"messages": [user("x")], "tool_choice": "required"},
            {"messages": [user("x")], "response_format": {"type": "xml"}}, {"messages": [user("x")], "response_format": {"type": "json_schema"}},
            {"messages": [user("x")], "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": "x"}}}, {"messages": [user("x")], "stop": [None]},
            {"messages": [user("x")], "logit_bias": []}, {"messages": [user("x")], "reasoning_effort": 5}, {"messages": [user("x")], "user": {}}, {"messages": [user("x")], "stream_options": 1},
            {"messages": [user("x")], "temperature": 1e308}, {"messages": [user("x")], "max_tokens": 10**30}, {"messages": [user("x")], "max_tokens": 1.5}, {"messages": [user("x")], "n": 10**9},
            {"messages": [user("x\ud83d")]}, {"messages": [says_calls(called()), result()]}, {"messages": [user("x"), {"role": "assistant", "tool_calls": "x"}]},
            {"messages": [user("x"), {"role": "assistant", "tool_calls": [{"id": 1}]}, result("1")]}, {"messages": [user("x"), {"role": "function", "content": "x"}]},
            {"messages": [user("x")], "functions": [CLOCK], "function_call": 1}, {"messages": [user("x")], "parallel_tool_calls": "no", "tools": [CLOCK]},
            {"messages": [{"role": "user", "content": [file_part(file_data="x")]}]}, {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
            {"messages": [{"role": "user", "content": [image_part("")]}]}, {"messages": [{"role": "user", "content": [image_part("data:;base64,")]}]},
            {"messages": [{"role": "user", "content": [image_part(f"data:text/html;base64,{PIXEL}")]}]}, {"messages": [{"role": "tool", "tool_call_id": [], "content": "x"}]},
        ]  # fmt: skip
        wrong = []
        for body in bodies:
            for stream in (False, True):
                answer = up.api.post("/chat/completions", {"model": "chat", **body, "stream": stream})
                if answer.status_code not in (200, 400):
                    wrong.append(f"{json.dumps(body)[:200]}: {answer.status_code} {answer.text[:200]}")
        assert not wrong, "\n".join(wrong)
        up.seen = max(call["number"] for call in up.account.calls()) if up.kind in PASSED_ON else up.seen


class TestAzure:
    @pytest.mark.parametrize("own_up", [AZURE], indirect=True, ids=str)
    def test_deployments(self, own_up):
        for number, name in enumerate(("gpt 4", "a/b", "ü%2F", "x.y-z_1")):
            own_up.tenant.model(own_up.provider, name, f"d{number}")
            assert ask(own_up.api, f"d{number}").said.content == SAID
        own_up.account.configure(reasoning=True)
        said = {"max_tokens_parameter": "max_completion_tokens", "unsupported_parameters": ["temperature", "top_p"]}
        own_up.tenant.model(own_up.provider, "o-series", "thinker", capabilities=said)
        answer = ask(own_up.api, "thinker", max_tokens=2, temperature=0.3, top_p=0.5)
        assert answer.said.finish == "length"
        assert set(answer.headers["x-gateway-dropped-params"].split(", ")) == {"temperature", "top_p"}

    @both
    def test_what_it_adds(self, upstreams, streamed):
        """Who wants OpenAI's shapes only gets nothing else, in any kind of answer."""
        for members in ({}, {"n": 2}, {"logprobs": True, "top_logprobs": 1}, {"tools": [CLOCK], "tool_choice": "required"}, {"response_format": AS_SCHEMA}, {"messages": [user("refuse:")]}):
            answers = []
            for kind in (AZURE, AZURE_STRICT):
                up = upstreams(kind)
                up.begin()
                answers.append(ask(up.api, streamed=streamed, **members))
                up.judge()
            free, strict = answers
            assert "content_filter_results" in json.dumps(free.raw)
            assert "filter" not in json.dumps(strict.raw), strict.raw
            for one, other in zip(free.choices, strict.choices, strict=True):
                assert (one.content, one.refusal, one.called, one.finish) == (other.content, other.refusal, other.called, other.finish)
            assert free.usage["total_tokens"] == strict.usage["total_tokens"] and free.model == strict.model

    @both
    @on(AZURE)
    def test_the_filter(self, up, streamed):
        up.may_refuse = True
        answer = up.api.chat("chat", messages=[user("blocked:")], stream=streamed)
        found = answer.json()["error"]
        assert (answer.status_code, found["code"], found["innererror"]["code"]) == (400, "content_filter", "ResponsibleAIPolicyViolation")
        up.account.script({"finish_reason": "content_filter"})
        assert ask(up.api, streamed=streamed).said.finish == "content_filter"


@pytest.mark.entries("local", "worker")
@pytest.mark.parametrize("own_up", [ANTHROPIC, BEDROCK, WATSONX], indirect=True, ids=str)
def test_a_client_that_leaves_ends_the_call(own_up):
    own_up.account.script({"text": "tick " * 200, "chunks": 200, "chunk_delay_ms": 50})
    body = {"model": "chat", "messages": [user("x")], "stream": True}
    with own_up.api.open("/chat/completions", body) as answer:
        for part in answer.iter_raw():
            if b"tick" in part:
                break
    check.within(5, lambda: open_is_none(own_up))


def open_is_none(up):
    assert up.account.open() == 0, "the provider is still at work"


def test_all_at_once(gateway, upstreams):
    """Nothing of one exchange gets into another."""
    made = [upstreams(kind) for kind in TYPES]
    for up in made:
        up.begin()

    def one(number):
        up = made[number % len(made)]
        text = f"{up.kind} number {number} {'é🙂' * (number % 5)}"
        said = ask(up.api, messages=[user(text)], streamed=number % 2 == 0).said
        assert said.content.endswith(f"You said: {text}")

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(84)))
    for up in made:
        up.judge()


def test_one_name_for_two_types_of_provider(gateway, sim):
    """An alias that several providers share: whichever answers, the client sees the same."""
    up = Upstream.make(ANTHROPIC, gateway, sim)
    account, data = CEREBRAS.account(sim)
    provider = up.tenant.provider(type="cerebras", **data)
    up.tenant.model(up.provider, ANTHROPIC.chat, "both")
    up.tenant.model(provider, CEREBRAS.chat, "both")
    start = time.monotonic()
    while not account.calls() or not up.calls():
        for streamed in (False, True):
            assert ask(up.api, "both", streamed=streamed).said.content == SAID
        assert time.monotonic() - start < 20, "only one of two is used"
    up.judge()
