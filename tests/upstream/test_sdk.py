"""The official OpenAI SDK against the simulator itself: what the simulator says is what the SDK's types expect.

Run with `python -m pytest tests/upstream/test_sdk.py -c tests/pytest.ini`.
"""

import json

import openai
import pytest
from pydantic import BaseModel

HI = [{"role": "user", "content": "one two"}]
SAID = "Hello from the simulated provider. You said: one two"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
        "strict": True,
    },
}


@pytest.fixture
def account(sim):
    # The SDK itself is no gateway: it sends headers of its own and accepts compressed answers.
    return sim.account(lenient_headers=True)


@pytest.fixture
def client(account, request):
    # The strict mode of the SDK refuses what its own types leave out: base64 vectors, and a finish reason of null in streamed completions.
    strict = request.node.originalname not in ("test_completions", "test_embeddings")
    with openai.OpenAI(base_url=account.base_url, api_key=account.key, max_retries=0, timeout=10, _strict_response_validation=strict) as client:
        yield client


def test_chat(client):
    answer = client.chat.completions.create(model="gpt-4.1-mini", messages=HI, n=2, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason, choice.message.refusal) == (SAID, "stop", None)
    assert len(choice.logprobs.content[0].top_logprobs) == 2
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id.startswith("req_")


def test_streamed_chat(client):
    with client.chat.completions.stream(model="gpt-4.1-mini", messages=HI, stream_options={"include_usage": True}) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == SAID
    assert final.usage.completion_tokens == 9


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_tools(client, stream):
    messages = [{"role": "user", "content": 'call:weather {"city":"Oslo"}\ncall:weather'}]
    if stream:
        with client.chat.completions.stream(model="gpt-4.1-mini", messages=messages, tools=[WEATHER]) as events:
            choice = events.until_done().get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(model="gpt-4.1-mini", messages=messages, tools=[WEATHER]).choices[0]
    calls = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Oslo"}, {"city": "sample"}]

    messages.append(choice.message.to_dict() if not stream else {
        "role": "assistant", "tool_calls": [{"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}} for c in calls]})
    # An answer carries members that a request does not take.
    messages[-1].pop("annotations", None)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "4C"} for call in calls]
    answer = client.chat.completions.create(model="gpt-4.1-mini", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content.endswith("The tool said: 4C")


def test_named_tool(client):
    named = {"type": "function", "function": {"name": "weather"}}
    choice = client.chat.completions.create(model="gpt-4.1-mini", messages=HI, tools=[WEATHER], tool_choice=named).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("stop", None)
    assert choice.message.tool_calls[0].function.name == "weather"


def test_parsed_reply(client):
    class Weather(BaseModel):
        city: str
        degrees: int

    choice = client.chat.completions.parse(model="gpt-4.1-mini", messages=HI, response_format=Weather).choices[0]
    assert choice.message.parsed == Weather(city=SAID, degrees=1)
    refused = [{"role": "user", "content": "refuse:"}]
    choice = client.chat.completions.parse(model="gpt-4.1-mini", messages=refused, response_format=Weather).choices[0]
    assert choice.message.refusal and choice.message.parsed is None


@pytest.mark.parametrize("stream", [False, True])
def test_completions(client, stream):
    answer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["a", "b"], stream=stream, logprobs=1)
    texts = ["", ""]
    for part in answer if stream else [answer]:
        assert part.object == "text_completion"
        for choice in part.choices:
            texts[choice.index] += choice.text
    assert texts == [f" Hello from the simulated provider. You said: {prompt}" for prompt in "ab"]


def test_embeddings(client, account):
    asked = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=16)
    assert json.loads(account.last()["body"])["encoding_format"] == "base64"
    floats = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=16, encoding_format="float")
    for one, other in zip(asked.data, floats.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-7) and len(one.embedding) == 16


def test_models(client):
    assert "gpt-4.1-mini" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-4.1-mini").owned_by == "system"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_errors(client, account, status, error):
    account.script({"status": status, "retry_after": 1})
    with pytest.raises(error) as raised:
        client.chat.completions.create(model="m", messages=HI)
    assert raised.value.status_code == status and raised.value.type and raised.value.message
    assert raised.value.response.headers["retry-after"] == "1"


def test_wrong_key_and_unknown_model(client, account):
    account.configure(models=["m"])
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="n", messages=HI)
    assert raised.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as raised:
        client.with_options(api_key="sk-wrong").chat.completions.create(model="m", messages=HI)
    assert raised.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ({"error_event": {"after": 3}}, openai.APIError),
        ({"cut_at": 700}, Exception),
        ({"cut_at": 700, "rst": True}, Exception),
        ({"close_without_answer": True}, openai.APIConnectionError),
    ],
)
def test_faults_of_a_stream(client, account, step, error):
    account.script(step)
    with pytest.raises(error):
        list(client.chat.completions.create(model="m", messages=HI, stream=True))


def test_time_out(client, account):
    account.script({"hang": "headers"})
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model="m", messages=HI)


def test_nothing_the_sdk_sends_is_unknown(client, account):
    client.chat.completions.create(
        model="gpt-5",
        messages=[{"role": "developer", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]}],
        max_completion_tokens=10,
        reasoning_effort="low",
        verbosity="low",
        metadata={"a": "b"},
        prompt_cache_key="k",
        safety_identifier="s",
        service_tier="flex",
        store=False,
        stop=None,
        seed=1,
        temperature=1,
        logit_bias={"1": 1},
        extra_body={"x_more": 1},
    )
    assert account.last()["refused"] is None
