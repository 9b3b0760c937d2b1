"""Chats with every provider type: what the provider receives is right by its own rules, what comes back is OpenAI's."""

import base64
import json
import secrets

import pytest

from harness import chat, check
from harness.chat import AS_SCHEMA, CLOCK, PDF, PIXEL, WEATHER, ask, file_part, image_part, says, text_part, user
from harness.providers import ALL, ANTHROPIC, AZURE, BEDROCK, CEREBRAS, CLAUDE, NIM, OPENAI, PROFILE, SEED_CLAUDE, TYPES, WATSONX

SAID = "Hello from the simulated provider. You said: one two"
CALLS = 'say:Looking.\ncall:get_weather {"city":"Oslo"}\ncall:clock'
CALLED = [("get_weather", {"city": "Oslo"}), ("clock", {})]
PASSED_ON = [OPENAI, AZURE]
TRANSLATED = [kind for kind in TYPES if kind not in PASSED_ON]

both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def on(*kinds):
    return pytest.mark.parametrize("up", kinds, indirect=True, ids=str)


def but(*kinds):
    return on(*[kind for kind in TYPES if kind not in kinds])


def dropped(answer):
    header = answer.headers.get("x-gateway-dropped-params", "")
    return {name.strip() for name in header.split(",")} - {""}


def refused(up, code, param=check.ANY, model="chat", **members):
    """A 400 for which the provider is not asked, streamed or not."""
    for stream in (False, True):
        with up.nothing_sent():
            answer = up.api.post("/chat/completions", {"model": model, "messages": [user("one two")], **members, "stream": stream})
            check.error(answer, 400, code, param=param)


class TestText:
    @both
    @on(*ALL)
    def test_a_chat(self, up, streamed):
        answer = ask(up.api, streamed=streamed)
        assert (answer.said.content, answer.said.finish, answer.said.refusal, answer.said.calls) == (SAID, "stop", None, [])
        assert answer.usage["completion_tokens"] == 9
        assert answer.id.startswith(up.kind.ids)
        if up.kind.translated:
            assert answer.model == "chat"
            assert answer.headers["x-gateway-upstream-model"] == up.kind.chat
        assert dropped(answer) == set()
        assert len(up.calls()) == 1

    @both
    @on(*TYPES)
    def test_roles_in_their_order(self, up, streamed):
        messages = [
            {"role": "system", "content": "S1"},
            {"role": "developer", "content": [text_part("S2"), text_part("S3")]},
            user("U1"),
            {"role": "assistant", "content": "A1"},
            {"role": "user", "content": [text_part("U2"), text_part("U3")], "name": "ann"},
            {"role": "assistant", "content": [text_part("A2")]},
            user("U4"),
        ]
        answer = ask(up.api, messages=messages, streamed=streamed)
        assert answer.said.content.endswith("You said: U4")
        sent = up.sent()
        order = ["S1", "S2", "S3", "U1", "A1", "U2", "U3", "A2", "U4"]
        flat = json.dumps([sent.get("system"), sent["messages"]])
        places = [flat.find(text) for text in order]
        assert -1 not in places and places == sorted(places), flat

    @on(*TYPES)
    def test_turns_of_one_role_in_a_row(self, up):
        messages = [user("U1"), user("U2"), {"role": "assistant", "content": "A1"}, {"role": "assistant", "content": "A2"}, user("U3")]
        ask(up.api, messages=messages)
        flat = json.dumps(up.sent()["messages"])
        assert all(text in flat for text in ("U1", "U2", "A1", "A2", "U3"))

    @both
    @on(*TYPES)
    def test_stop(self, up, streamed):
        answer = ask(up.api, stop=["You", "never"], streamed=streamed)
        assert (answer.said.content.strip(), answer.said.finish) == ("Hello from the simulated provider.", "stop")
        assert ask(up.api, stop="You", streamed=streamed).said.content.strip() == "Hello from the simulated provider."

    @on(*CLAUDE)
    def test_stops_that_claude_does_not_take(self, up):
        assert ask(up.api, stop=["\n", "You"]).said.content.strip() == "Hello from the simulated provider."
        assert ask(up.api, stop="\n").said.content == SAID

    @both
    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
    @on(*TYPES)
    def test_a_limit_on_tokens(self, up, streamed, name):
        answer = ask(up.api, streamed=streamed, **{name: 2})
        assert (answer.said.content.strip(), answer.said.finish, answer.usage["completion_tokens"]) == ("Hello from", "length", 2)

    @both
    @on(*TYPES)
    def test_a_refusal(self, up, streamed):
        said = ask(up.api, messages=[user("refuse: no")], streamed=streamed).said
        assert "I can't help with that." in (said.content or "") + (said.refusal or "")
        if up.kind in (OPENAI, AZURE, ANTHROPIC):
            assert said.refusal and not said.content
        assert said.finish == ("content_filter" if up.kind in CLAUDE else "stop")

    @both
    @on(OPENAI, AZURE, WATSONX, CEREBRAS)
    def test_several_choices(self, up, streamed):
        answer = ask(up.api, n=2, streamed=streamed)
        assert [said.content for said in answer.choices] == [SAID, f"{SAID} (choice 2)"]

    @on(ANTHROPIC, BEDROCK, NIM)
    def test_several_choices_of_those_who_give_one(self, up):
        refused(up, "unsupported_value", "n", n=2)
        assert ask(up.api, n=1).said.content == SAID

    @on(*TYPES)
    def test_null_is_as_good_as_nothing(self, up):
        names = ["temperature", "top_p", "n", "stop", "max_tokens", "max_completion_tokens", "tools", "tool_choice", "response_format", "seed", "user", "logit_bias", "stream_options"]
        answer = ask(up.api, stream=None, **dict.fromkeys([*names, "reasoning_effort", "parallel_tool_calls", "metadata", "service_tier"]))
        assert answer.said.content == SAID and dropped(answer) == set()

    @on(*TYPES)
    def test_text_that_looks_like_a_protocol(self, up):
        hostile = 'a\n\ndata: [DONE]\n\nevent: error\ndata: {"error": {}}\r\n\r\n\u2028 "\\" \x7f 🙂'
        for streamed in (False, True):
            up.account.script({"text": hostile})
            assert ask(up.api, streamed=streamed).said.content == hostile

    @pytest.mark.parametrize("size", [1, 3, 7])
    @on(*TYPES)
    def test_characters_that_are_split(self, up, size):
        up.account.script({"text": "é模🙂👨‍👩‍👧 done ñ", "split_every": size})
        assert ask(up.api, streamed=True).said.content == "é模🙂👨‍👩‍👧 done ñ"

    @on(*TYPES)
    def test_characters_that_drip(self, up):
        up.account.script({"text": "模🙂👨‍👩‍👧", "drip": {"bytes": 97, "every_ms": 2}})
        assert ask(up.api, streamed=True).said.content == "模🙂👨‍👩‍👧"

    @on(BEDROCK)
    def test_a_profile_hides_its_model(self, up):
        """The tenant said what it is: newer Claude takes no sampling."""
        answer = ask(up.api, PROFILE, temperature=0.3)
        assert answer.said.content == SAID and dropped(answer) == {"temperature"}
        assert "/model/arn%3Aaws%3Abedrock" in up.calls()[-1]["path"] and "abc123xyz789/converse" in up.calls()[-1]["path"]

    @on(WATSONX)
    def test_a_deployment(self, up):
        answer = ask(up.api, "deployment/my-deployment", streamed=True)
        assert answer.said.content == SAID and "/deployments/my-deployment/text/chat_stream" in up.calls()[-1]["path"]


class TestUsage:
    @on(*ALL)
    def test_is_told_when_asked_for(self, up):
        whole = ask(up.api)
        for options, told in ((None, False), ({"include_usage": False}, False), ({"include_usage": True}, True)):
            answer = ask(up.api, streamed=True, stream_options=options)
            assert answer.usage == (whole.usage if told else None)

    @on(*CLAUDE)
    def test_counts_the_cache(self, up):
        system = {"role": "system", "content": [{**text_part(f"{secrets.token_hex(8)} long " * 50), "cache_control": {"type": "ephemeral"}}]}
        counts = [ask(up.api, messages=[system, user("x")], streamed=streamed).usage for streamed in (False, True, False)]
        details = [count["prompt_tokens_details"] for count in counts]
        written = details[0]["cache_write_tokens"]
        assert written > 50 and details[0]["cached_tokens"] == 0
        for later in details[1:]:
            assert (later["cached_tokens"], later["cache_write_tokens"]) == (written, 0)
        assert len({count["prompt_tokens"] for count in counts}) == 1, "the cache is part of the prompt"

    @on(OPENAI, AZURE, WATSONX, CEREBRAS, NIM)
    def test_marks_for_a_cache_stay_here(self, up):
        messages = [{"role": "system", "content": [{**text_part("S"), "cache_control": {"type": "ephemeral"}}], "cache_control": {"type": "ephemeral"}}, user("x")]
        ask(up.api, messages=messages, tools=[{**CLOCK, "cache_control": {"type": "ephemeral"}}])
        assert "cache_control" not in up.calls()[-1]["body"]

    @both
    @on(*CLAUDE)
    def test_counts_thinking(self, up, streamed):
        answer = ask(up.api, messages=[user("think:step by step\none two")], reasoning_effort="low", streamed=streamed)
        if up.kind == ANTHROPIC:
            assert answer.usage["completion_tokens_details"]["reasoning_tokens"] == 3
        assert answer.usage["completion_tokens"] > 9

    @on(*TYPES)
    def test_a_provider_that_tells_none(self, up):
        for streamed in (False, True):
            up.account.script({"usage": "absent"})
            body = {"model": "chat", "messages": [user("one two")], "stream": streamed}
            answer = up.api.post("/chat/completions", body)
            assert answer.status_code == 200, check.describe(answer)
            if streamed:
                assert check.Sse(answer.content).finished().text == SAID


class TestTools:
    TOOLS = [WEATHER, CLOCK]

    @both
    @on(*ALL)
    def test_several_calls_and_their_results(self, up, streamed):
        messages = [user(CALLS)]
        answer = ask(up.api, messages=messages, tools=self.TOOLS, streamed=streamed)
        said = answer.said
        assert (said.content, said.called, said.finish) == ("Looking.", CALLED, "tool_calls")

        messages += [said.message, *[{"role": "tool", "tool_call_id": call["id"], "content": f"result {at}"} for at, call in enumerate(said.calls)]]
        answer = ask(up.api, messages=messages, tools=self.TOOLS, streamed=streamed)
        assert answer.said.content.endswith("The tool said: result 1") and answer.said.finish == "stop"
        assert "result 0" in up.calls()[-1]["body"]

        # The conversation goes on, later without tools.
        messages += [answer.said.message, user("and now?")]
        assert ask(up.api, messages=messages, tools=self.TOOLS, streamed=streamed).said.content.endswith("and now?")
        answer = ask(up.api, messages=messages, streamed=streamed)
        assert answer.said.content.endswith("and now?") and answer.said.calls == []

    @on(*TYPES)
    def test_user_text_right_after_results(self, up):
        call = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": ""}}
        messages = [user("x"), {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1", "content": [text_part("12:00")]}, user("and?")]
        if up.kind in PASSED_ON:
            messages[1]["tool_calls"][0]["function"]["arguments"] = "{}"
        assert ask(up.api, messages=messages, tools=[CLOCK]).said.content.endswith("and?")
        assert "12:00" in up.calls()[-1]["body"]

    @both
    @on(*TYPES)
    def test_required(self, up, streamed):
        said = ask(up.api, tools=self.TOOLS, tool_choice="required", streamed=streamed).said
        assert said.called == [("get_weather", {"city": "sample"})] and said.finish == "tool_calls"

    @both
    @on(*TYPES)
    def test_named(self, up, streamed):
        choice = {"type": "function", "function": {"name": "clock"}}
        said = ask(up.api, tools=self.TOOLS, tool_choice=choice, streamed=streamed).said
        assert said.called == [("clock", {})]
        # OpenAI itself says stop where a tool was named.
        assert said.finish in ("stop", "tool_calls")

    @both
    @on(*TYPES)
    def test_allowed(self, up, streamed):
        choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "clock"}}]}}
        said = ask(up.api, tools=self.TOOLS, tool_choice=choice, streamed=streamed).said
        assert said.called == [("clock", {})]

    @both
    @on(*TYPES)
    def test_none(self, up, streamed):
        said = ask(up.api, messages=[user(CALLS)], tools=self.TOOLS, tool_choice="none", streamed=streamed).said
        assert said.calls == [] and said.content and said.finish == "stop"

    @both
    @on(*TYPES)
    def test_none_with_calls_in_the_history(self, up, streamed):
        call = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
        messages = [user("x"), {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1", "content": "12:00"}, user("call:clock")]
        said = ask(up.api, messages=messages, tools=self.TOOLS, tool_choice="none", streamed=streamed).said
        assert said.calls == [] and said.finish == "stop"

    @both
    @on(*TYPES)
    def test_one_at_a_time(self, up, streamed):
        answer = ask(up.api, messages=[user(CALLS)], tools=self.TOOLS, parallel_tool_calls=False, streamed=streamed)
        if up.kind in (BEDROCK, WATSONX, NIM):
            assert dropped(answer) == {"parallel_tool_calls"}
        else:
            assert len(answer.said.calls) == 1 and dropped(answer) == set()

    @both
    @on(*TYPES)
    def test_legacy_functions(self, up, streamed):
        body = {"model": "chat", "messages": [user("one two")], "functions": [WEATHER["function"]], "function_call": {"name": "get_weather"}, "stream": streamed}
        answer = up.api.post("/chat/completions", body)
        if not streamed:
            (choice,) = check.ok(answer)["choices"]
            call = choice["message"]["function_call"]
        else:
            assert answer.status_code == 200, check.describe(answer)
            chunks = check.Sse(answer.content).finished().chunks
            deltas = [c["delta"]["function_call"] for chunk in chunks for c in chunk["choices"] if c["delta"].get("function_call")]
            call = {name: "".join(delta.get(name) or "" for delta in deltas) for name in ("name", "arguments")}
        assert call["name"] == "get_weather" and json.loads(call["arguments"]) == {"city": "sample"}

        messages = [user("x"), {"role": "assistant", "content": None, "function_call": call}, {"role": "function", "name": "get_weather", "content": "4C"}]
        assert ask(up.api, messages=messages, functions=[WEATHER["function"]]).said.content.endswith("The tool said: 4C")

    @on(*TRANSLATED)
    def test_a_result_without_its_call(self, up):
        refused(up, "invalid_tool_message", "messages[1]", messages=[user("x"), {"role": "tool", "tool_call_id": "call_1", "content": "y"}])

    @on(*TRANSLATED)
    def test_tools_that_are_no_functions(self, up):
        refused(up, None, tools=[{"type": "custom", "custom": {"name": "x"}}])

    @on(BEDROCK)
    def test_a_model_that_cannot_be_forced(self, up):
        """A client relies on it, so it is not ignored."""
        for choice in ("required", {"type": "function", "function": {"name": "clock"}}):
            refused(up, None, model="openai.gpt-oss-120b-1:0", tools=self.TOOLS, tool_choice=choice)
        assert ask(up.api, "openai.gpt-oss-120b-1:0", messages=[user(CALLS)], tools=self.TOOLS).said.called == CALLED

    @both
    @on(*CLAUDE)
    def test_every_generation_of_claude(self, up, streamed):
        for model in ["claude-haiku-4-5", "claude-opus-5", "claude-3-7-sonnet-20250219"] if up.kind == ANTHROPIC else [SEED_CLAUDE, PROFILE]:
            assert ask(up.api, model, temperature=0.5, top_p=0.9, streamed=streamed).said.content == SAID
            said = ask(up.api, model, tools=self.TOOLS, tool_choice="required", reasoning_effort="high", max_tokens=3000, streamed=streamed).said
            assert said.finish == "tool_calls"

    @both
    @on(BEDROCK)
    def test_nova(self, up, streamed):
        assert ask(up.api, "amazon.nova-lite-v1:0", temperature=0.5, top_p=0.9, streamed=streamed).said.content == SAID
        assert ask(up.api, "amazon.nova-lite-v1:0", messages=[user(CALLS)], tools=self.TOOLS, streamed=streamed).said.called == CALLED


class TestMedia:
    @on(*TYPES)
    def test_an_image_in_the_request(self, up):
        messages = says(text_part("Look."), image_part(detail="low"))
        if up.kind == CEREBRAS:
            refused(up, None, messages=messages)
            return
        answer = ask(up.api, messages=messages)
        assert PIXEL in up.calls()[-1]["body"] and answer.said.content.endswith("Look.")

    @on(*CLAUDE, WATSONX)
    def test_an_image_with_a_wrong_label(self, up):
        """The bytes say what it is."""
        ask(up.api, messages=says(text_part("Look."), image_part(f"data:image/jpeg;base64,{PIXEL}")))
        if up.kind in CLAUDE:
            assert "jpeg" not in up.calls()[-1]["body"]

    @on(OPENAI, AZURE, ANTHROPIC, NIM)
    def test_an_image_by_address_is_passed_on(self, up):
        ask(up.api, messages=says(text_part("Look."), image_part("https://img.example.com/cat.webp")))
        assert "https://img.example.com/cat.webp" in up.calls()[-1]["body"]

    @on(BEDROCK, WATSONX)
    def test_an_image_by_address_is_fetched(self, up, images):
        ask(up.api, messages=says(text_part("Look."), image_part(images.url), image_part(images.url)))
        body = up.calls()[-1]["body"]
        assert body.count(PIXEL) == 2 and images.url not in body
        (call,) = images.calls()
        names = {name for name, _ in call["headers"]}
        assert not names & {"authorization", "x-api-key", "cookie"}, call["headers"]

    @on(BEDROCK, WATSONX)
    def test_addresses_that_are_not_fetched(self, up, images):
        for url in ("http://169.254.169.254/latest/meta-data", "http://127.0.0.1:1/x.png", "https://localhost/x.png", "file:///etc/passwd", "ftp://example.com/x.png"):
            refused(up, ("invalid_image_url", "invalid_request"), messages=says(text_part("Look."), image_part(url)))
        too_large = PIXEL[:32] + "A" * 5_300_000
        for step in ({"status": 404}, {"raw_body": base64.b64encode(b"<html>").decode(), "content_type": "image/png"}, {"raw_body": too_large}, {"redirect": {"status": 302, "location": images.url}}):
            images.account.script(step, repeat=True)
            refused(up, "invalid_image_url", messages=says(text_part("Look."), image_part(images.url)))

    @on(*TYPES)
    def test_an_image_that_is_none(self, up):
        if up.kind in PASSED_ON:
            return
        for url in ("data:image/png;base64,####", "data:image/png,abc"):
            refused(up, None, messages=says(text_part("Look."), image_part(url)))

    @on(*TYPES)
    def test_a_file(self, up):
        messages = says(text_part("Read."), file_part())
        if up.kind in (WATSONX, CEREBRAS, NIM):
            refused(up, None, messages=messages)
            return
        assert ask(up.api, messages=messages).said.content.endswith("Read.")
        assert PDF in up.calls()[-1]["body"]

    @on(*CLAUDE)
    def test_files_with_odd_names_and_without_text(self, up):
        parts = [file_part(), file_part(filename=None), file_part(filename="John's  report v1.pdf")]
        del parts[1]["file"]["filename"]
        ask(up.api, messages=says(*parts))
        assert up.calls()[-1]["body"].count(PDF) == 3

    @on(*TRANSLATED)
    def test_sound_is_refused(self, up):
        if up.kind == WATSONX:
            return
        refused(up, None, messages=says(text_part("Listen."), {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}))
        refused(up, None, modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"})


class TestForm:
    @both
    @on(*TYPES)
    def test_a_schema(self, up, streamed):
        answer = ask(up.api, response_format=AS_SCHEMA, streamed=streamed)
        assert json.loads(answer.said.content) == {"n": 1} and answer.said.finish == "stop" and answer.said.calls == []

    @both
    @pytest.mark.parametrize(("up", "model"), [(ANTHROPIC, "claude-3-7-sonnet-20250219"), (BEDROCK, SEED_CLAUDE), (BEDROCK, "amazon.nova-lite-v1:0")], indirect=["up"], ids=str)
    def test_a_schema_where_a_tool_stands_for_it(self, up, model, streamed):
        said = ask(up.api, model, response_format=AS_SCHEMA, streamed=streamed).said
        assert (json.loads(said.content), said.finish, said.calls) == ({"n": 1}, "stop", [])
        said = ask(up.api, model, messages=[user("call:clock")], response_format=AS_SCHEMA, tools=[CLOCK], streamed=streamed).said
        assert said.called == [("clock", {})] and said.finish == "tool_calls"

    @both
    @on(*TYPES)
    def test_an_object(self, up, streamed):
        said = ask(up.api, messages=[user("Give JSON.")], response_format={"type": "json_object"}, streamed=streamed).said
        if up.kind in CLAUDE:
            assert "JSON" in json.dumps(up.sent()["system"])
        else:
            assert json.loads(said.content)

    @on(*TYPES)
    def test_plain_text(self, up):
        answer = ask(up.api, response_format={"type": "text"})
        assert answer.said.content == SAID and dropped(answer) == set()


class TestReasoning:
    ASKS = [user('think:step by step\nsay:Looking.\ncall:get_weather {"city":"Oslo"}')]

    @both
    @pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high"])
    @on(ANTHROPIC, BEDROCK, WATSONX, CEREBRAS)
    def test_is_asked_for_and_shown(self, up, streamed, effort):
        said = ask(up.api, reasoning_effort=effort, streamed=streamed).said
        assert said.content == SAID
        if effort in ("low", "medium", "high"):
            assert said.reasoning

    @on(*PASSED_ON)
    def test_is_passed_on(self, up):
        ask(up.api, reasoning_effort="low")
        assert up.sent()["reasoning_effort"] == "low"

    @pytest.mark.parametrize(("up", "model"), [(NIM, "openai/gpt-oss-120b"), (BEDROCK, "openai.gpt-oss-120b-1:0")], indirect=["up"], ids=str)
    def test_of_open_models(self, up, model):
        answer = ask(up.api, model, reasoning_effort="high")
        assert answer.said.content == SAID and dropped(answer) == set()
        assert '"reasoning_effort":"high"' in up.calls()[-1]["body"].replace(" ", "")

    @on(NIM)
    def test_of_a_model_that_does_not(self, up):
        assert dropped(ask(up.api, reasoning_effort="high")) == {"reasoning_effort"}

    @both
    @on(*CLAUDE)
    def test_thinking_is_replayed(self, up, streamed):
        """The blocks are signed: their provider wants them back as they were."""
        messages = [user('think:step by step\nredact:hidden\ncall:get_weather {"city":"Oslo"}')]
        said = ask(up.api, messages=messages, tools=[WEATHER], reasoning_effort="low", streamed=streamed).said
        kinds = sorted(block["type"] for block in said.thinking)
        assert kinds == ["redacted_thinking", "thinking"] and said.reasoning == "step by step"
        (thinking,) = [block for block in said.thinking if block["type"] == "thinking"]
        assert thinking["thinking"] == "step by step" and thinking["signature"]

        messages += [said.message, {"role": "tool", "tool_call_id": said.calls[0]["id"], "content": "4C"}]
        answer = ask(up.api, messages=messages, tools=[WEATHER], reasoning_effort="low", streamed=streamed)
        assert answer.said.content.endswith("The tool said: 4C")
        body = up.calls()[-1]["body"]
        assert thinking["signature"] in body and body.count("step by step") == 2

    @both
    @on(ANTHROPIC)
    def test_a_budget(self, up, streamed):
        said = ask(up.api, "claude-haiku-4-5", messages=self.ASKS, tools=[WEATHER], reasoning_effort="high", max_completion_tokens=2000, temperature=0.3, streamed=streamed).said
        assert said.reasoning and up.sent()["thinking"] == {"type": "enabled", "budget_tokens": 1999}
        # Without the blocks the next turn cannot think.
        bare = {"role": "assistant", "content": said.content, "tool_calls": said.calls}
        messages = [*self.ASKS, bare, {"role": "tool", "tool_call_id": said.calls[0]["id"], "content": "4C"}]
        answer = ask(up.api, "claude-haiku-4-5", messages=messages, tools=[WEATHER], reasoning_effort="high", max_completion_tokens=2000, streamed=streamed)
        assert answer.said.content.endswith("The tool said: 4C")

    @both
    @on(WATSONX, CEREBRAS, NIM)
    def test_text_of_others(self, up, streamed):
        said = ask(up.api, messages=[user("think:step by step\none two")], streamed=streamed).said
        assert said.reasoning == "step by step"
        ask(up.api, messages=[user("x"), said.message, user("y")], streamed=streamed)

    @on(*TYPES)
    def test_thinking_of_somebody_else_in_the_history(self, up):
        """A conversation that moved from one provider to another."""
        blocks = [{"type": "thinking", "thinking": "hm", "signature": "EqQBSIG"}]
        messages = [user("x"), {"role": "assistant", "content": "a", "reasoning_content": "hm", "thinking_blocks": blocks}, user("one two")]
        assert ask(up.api, messages=messages).said.content == SAID


TUNING = {
    "temperature": 0.5, "frequency_penalty": 0.5, "presence_penalty": 0.5, "seed": 7, "logit_bias": {"1": 1}, "logprobs": True, "top_logprobs": 2, "user": "u-1",
    "metadata": {"a": "b"}, "store": True, "service_tier": "default", "verbosity": "low", "prompt_cache_key": "k", "prediction": {"type": "content", "content": "x"}, "x_new": 1,
}  # fmt: skip
ALWAYS = {"store", "verbosity", "x_new"}
DROPPED = {
    OPENAI: set(),
    AZURE: set(),
    ANTHROPIC: ALWAYS | {"frequency_penalty", "presence_penalty", "seed", "logit_bias", "logprobs", "top_logprobs", "metadata", "prompt_cache_key", "prediction"},
    BEDROCK: ALWAYS | {"frequency_penalty", "presence_penalty", "seed", "logit_bias", "logprobs", "top_logprobs", "user", "prompt_cache_key", "prediction"},
    WATSONX: ALWAYS | {"user", "metadata", "service_tier", "prompt_cache_key", "prediction"},
    CEREBRAS: ALWAYS | {"metadata"},
    NIM: ALWAYS | {"logit_bias", "user", "metadata", "service_tier", "prompt_cache_key", "prediction"},
}


class TestParameters:
    @both
    @on(*TYPES)
    @pytest.mark.fault("C9")
    def test_what_cannot_be_expressed_is_dropped_and_named(self, up, streamed):
        answer = ask(up.api, streamed=streamed, **TUNING)
        assert answer.said.content == SAID
        assert dropped(answer) == DROPPED[up.kind]

    @on(*TYPES)
    def test_a_tenant_that_wants_no_drops(self, up, gateway, sim):
        strict = type(up).make(up.kind, gateway, sim)
        check.ok(strict.api.patch("/tenant", {"strict_parameters": True}))

        def is_strict():
            before = len(strict.calls())
            answer = strict.api.chat("chat", verbosity="low")
            if up.kind in PASSED_ON:
                check.ok(answer)
            else:
                check.error(answer, 400, "unsupported_parameter", param="verbosity")
            assert len(strict.calls()) == before + (up.kind in PASSED_ON)

        # Each environment of a function hears of it in its own time.
        check.within(gateway.entry.bound, is_strict)
        assert ask(strict.api, temperature=0.5, max_tokens=100).said.content == SAID
        strict.judge()

    @on(*CLAUDE)
    def test_a_temperature_above_one(self, up):
        answer = ask(up.api, temperature=1.7)
        assert answer.said.content == SAID
        flat = up.calls()[-1]["body"].replace(" ", "")
        assert '"temperature":1' in flat and "1.7" not in flat

    @on(ANTHROPIC)
    def test_sampling_that_the_model_does_not_take(self, up):
        assert dropped(ask(up.api, "claude-opus-5", temperature=0.5)) == {"temperature"}
        assert dropped(ask(up.api, "claude-haiku-4-5", temperature=0.5, top_p=0.9)) == {"top_p"}

    @on(*TYPES)
    def test_the_gateways_own_members_stay_here(self, up):
        ask(up.api, cache={"enabled": False}, router={"models": ["x"]})
        body = up.calls()[-1]["body"]
        assert '"cache"' not in body and '"router"' not in body

    @on(*TRANSLATED)
    def test_bounds(self, up):
        for name, value in (("temperature", 3), ("top_p", -1), ("max_tokens", -1), ("n", 0), ("stop", 1), ("temperature", "hot"), ("messages", [])):
            refused(up, None, name, **{name: value})
