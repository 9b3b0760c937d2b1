"""The official Anthropic SDK against the simulator."""

import anthropic
import pytest

HI = [{"role": "user", "content": "one two"}]
SAID = "Hello from the simulated provider. You said: one two"
WEATHER = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
MODEL = "claude-sonnet-4-6"


@pytest.fixture
def account(sim):
    # The SDK itself is no gateway: it sends headers of its own and accepts compressed answers.
    return sim.account(provider="anthropic", lenient_headers=True)


@pytest.fixture
def client(account):
    base_url = account.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=base_url, api_key=account.key, max_retries=0, timeout=10, _strict_response_validation=True) as client:
        yield client


def ask(client, messages=HI, **more):
    return client.messages.create(**{"model": MODEL, "max_tokens": 4000, "messages": messages, **more})


def ask_streamed(client, messages=HI, **more):
    with client.messages.stream(**{"model": MODEL, "max_tokens": 4000, "messages": messages, **more}) as stream:
        kinds = [event.type for event in stream]
        return stream.get_final_message(), kinds


def test_message(client):
    answer = ask(client)
    assert (answer.content[0].text, answer.stop_reason) == (SAID, "end_turn")
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens == 9
    assert answer._request_id.startswith("req_")


def test_streamed_message(client):
    answer, kinds = ask_streamed(client)
    assert (answer.content[0].text, answer.stop_reason, answer.usage.output_tokens) == (SAID, "end_turn", 9)
    assert {"message_start", "content_block_start", "text", "content_block_stop", "message_delta", "message_stop"} <= set(kinds)


@pytest.mark.parametrize("asks", [ask, lambda *a, **k: ask_streamed(*a, **k)[0]])
def test_parallel_tools(client, asks):
    messages = [{"role": "user", "content": 'say:Looking.\ncall:weather {"city":"Oslo"}\ncall:weather {}'}]
    answer = asks(client, messages, tools=[WEATHER])
    text, *calls = answer.content
    assert (text.text, answer.stop_reason) == ("Looking.", "tool_use")
    assert [call.input for call in calls] == [{"city": "Oslo"}, {}]

    messages.append({"role": "assistant", "content": [block.to_dict() for block in answer.content]})
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "4C"} for call in calls]
    messages.append({"role": "user", "content": results})
    assert asks(client, messages, tools=[WEATHER]).content[0].text.endswith("The tool said: 4C")
    messages[-1] = {"role": "user", "content": results[1:]}
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result` blocks immediately after"):
        asks(client, messages, tools=[WEATHER])


def test_forced_tools(client):
    assert ask(client, tools=[WEATHER], tool_choice={"type": "any"}).content[0].input == {"city": "sample"}
    assert ask(client, tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"}).stop_reason == "tool_use"
    calls = [{"role": "user", "content": "call:weather\ncall:weather"}]
    one = {"type": "auto", "disable_parallel_tool_use": True}
    assert len(ask(client, calls, tools=[WEATHER], tool_choice=one).content) == 1
    assert ask(client, calls, tools=[WEATHER], tool_choice={"type": "none"}).stop_reason == "end_turn"


@pytest.mark.parametrize("asks", [ask, lambda *a, **k: ask_streamed(*a, **k)[0]])
def test_thinking(client, asks):
    messages = [{"role": "user", "content": "think:step by step\nredact:secret"}]
    answer = asks(client, messages, thinking={"type": "adaptive"}, output_config={"effort": "low"})
    redacted, thinking, text = answer.content
    assert (redacted.data, thinking.thinking) == ("secret", "step by step") and thinking.signature and text.text
    assert answer.usage.output_tokens_details.thinking_tokens == 3

    block = thinking.to_dict()
    messages += [{"role": "assistant", "content": [block, {"type": "text", "text": "a"}]}, *HI]
    assert asks(client, messages).content[0].text == SAID
    messages[1]["content"][0] = {**block, "thinking": "another step"}
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        asks(client, messages)

    hidden = asks(client, thinking={"type": "adaptive", "display": "omitted"}).content[0]
    assert hidden.thinking == "" and hidden.signature


@pytest.mark.parametrize("asks", [ask, lambda *a, **k: ask_streamed(*a, **k)[0]])
def test_ends(client, asks):
    assert asks(client, max_tokens=2).stop_reason == "max_tokens"
    stopped = asks(client, stop_sequences=["You"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "You")
    refused = asks(client, [{"role": "user", "content": "refuse: no"}])
    assert (refused.stop_reason, refused.content) == ("refusal", [])
    assert refused.stop_details.explanation


def test_cache(client):
    system = [{"type": "text", "text": "long " * 50, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first, second = ask(client, system=system).usage, ask(client, system=system).usage
    assert first.cache_creation_input_tokens == first.cache_creation.ephemeral_1h_input_tokens == second.cache_read_input_tokens > 50
    assert first.input_tokens == second.input_tokens


def test_structured_output(client):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    answer = ask(client, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert answer.content[0].text == '{"n":1}'


def test_models(client):
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).lifecycle == "active"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (402, anthropic.APIStatusError, "billing_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.APIStatusError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.APIStatusError, "overloaded_error"),
    ],
)
def test_errors(client, account, status, error, kind):
    account.script({"status": status, "retry_after": 1})
    with pytest.raises(error) as raised:
        ask(client)
    assert raised.value.status_code == status and raised.value.body["error"]["type"] == kind
    assert raised.value.response.headers["retry-after"] == "1" and raised.value.request_id


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ({"error_event": {"after": 5}}, anthropic.APIStatusError),
        ({"cut_at": 700, "rst": True}, Exception),
        ({"close_without_answer": True}, anthropic.APIConnectionError),
    ],
)
def test_faults_of_a_stream(client, account, step, error):
    account.script(step)
    with pytest.raises(error):
        ask_streamed(client)


def test_wrong_key_and_unknown_model(client, account):
    account.configure(models=["m"])
    with pytest.raises(anthropic.NotFoundError):
        ask(client)
    with pytest.raises(anthropic.AuthenticationError):
        ask(client.with_options(api_key="wrong"))


def test_nothing_the_sdk_sends_is_unknown(client, account):
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    content = [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "b"}, "title": "t"},
    ]
    ask(client, [{"role": "user", "content": content}], system="s", metadata={"user_id": "u-1"}, service_tier="auto", stop_sequences=["x"])
    assert account.last()["refused"] is None
