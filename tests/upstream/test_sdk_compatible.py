"""The SDKs of those who speak OpenAI's dialect with a twist: Azure OpenAI, Cerebras, NIM."""

import cerebras.cloud.sdk as cerebras
import openai
import pytest

HI = [{"role": "user", "content": "one two"}]
SAID = "Hello from the simulated provider. You said: one two"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
CALL = [{"role": "user", "content": 'call:weather {"city":"Oslo"}'}]


@pytest.fixture
def make(sim):
    return lambda provider, **settings: sim.account(provider=provider, lenient_headers=True, **settings)


def connect(kind, account, **more):
    return kind(api_key=account.key, max_retries=0, timeout=10, **more)


def azure(account, **more):
    return connect(openai.AzureOpenAI, account, azure_endpoint=account.base_url.removesuffix("/v1"), api_version="2024-10-21", **more)


def test_azure_chat(make):
    account = make("azure-openai")
    with azure(account) as client:
        answer = client.chat.completions.create(model="my deployment", messages=HI)
        assert (answer.choices[0].message.content, answer.model) == (SAID, "gpt-4o-2024-11-20")
        assert answer.prompt_filter_results[0]["content_filter_results"]["hate"]["filtered"] is False
        assert answer.choices[0].content_filter_results["violence"]["severity"] == "safe"
        assert "/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21" in account.last()["path"]
        assert client.embeddings.create(model="e", input="a").data[0].embedding
        assert client.models.list().data


def test_azure_stream(make):
    with azure(make("azure-openai")) as client:
        events = list(client.chat.completions.create(model="d", messages=HI, stream=True, stream_options={"include_usage": True}))
        assert (events[0].choices, events[0].id) == ([], "") and events[0].prompt_filter_results
        assert [choice.delta for event in events for choice in event.choices].count(None) == 1, "one event has no delta"
        assert "".join(c.delta.content or "" for event in events for c in event.choices if c.delta) == SAID
        assert events[-1].usage.completion_tokens == 9
        calls = client.chat.completions.create(model="d", messages=CALL, tools=[WEATHER]).choices[0]
        assert calls.finish_reason == "tool_calls"


def test_azure_v1_and_tokens(make):
    account = make("azure-openai")
    with connect(openai.OpenAI, account, base_url=account.base_url.removesuffix("/v1") + "/openai/v1/") as client:
        assert client.chat.completions.create(model="d", messages=HI).choices[0].message.content == SAID
    with openai.AzureOpenAI(azure_ad_token=account.key, azure_endpoint=account.base_url.removesuffix("/v1"), api_version="2024-10-21") as client:
        assert client.chat.completions.create(model="d", messages=HI).choices[0].message.content == SAID


def test_azure_errors(make):
    account = make("azure-openai", reasoning=True, models=["d"])
    with azure(account) as client:
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(model="d", messages=HI, max_tokens=5)
        assert raised.value.code == "unsupported_parameter"
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(model="d", messages=[{"role": "user", "content": "blocked:"}])
        assert raised.value.code == "content_filter"
        with pytest.raises(openai.NotFoundError) as raised:
            client.chat.completions.create(model="other", messages=HI)
        assert raised.value.code == "DeploymentNotFound"
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="wrong").chat.completions.create(model="d", messages=HI)
        account.script({"status": 429, "retry_after": 1})
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model="d", messages=HI)
        assert raised.value.code == "429"


@pytest.fixture
def fast(make):
    account = make("cerebras")
    base_url = account.base_url.removesuffix("/v1")
    with connect(cerebras.Cerebras, account, base_url=base_url, warm_tcp_connection=False, _strict_response_validation=True) as client:
        yield client, account


def test_cerebras_chat(fast):
    client, account = fast
    answer = client.chat.completions.create(model="gpt-oss-120b", messages=HI, reasoning_effort="low", max_completion_tokens=50)
    message = answer.choices[0].message
    assert message.content == SAID and message.reasoning and answer.time_info.total_time
    events = list(client.chat.completions.create(model="gpt-oss-120b", messages=[{"role": "user", "content": "think:hm\none two"}], stream=True))
    assert "".join(event.choices[0].delta.reasoning or "" for event in events) == "hm"
    assert events[-1].choices[0].finish_reason == "stop" and events[-1].usage.completion_tokens and events[-1].time_info
    calls = client.chat.completions.create(model="gpt-oss-120b", messages=CALL, tools=[WEATHER]).choices[0]
    assert calls.finish_reason == "tool_calls" and calls.message.tool_calls[0].function.name == "weather"
    again = [*HI, {"role": "assistant", "content": "a", "reasoning": "r"}, *HI]
    assert client.chat.completions.create(model="gpt-oss-120b", messages=again).choices
    assert client.completions.create(model="gpt-oss-120b", prompt="a").choices[0].text
    assert client.models.list().data


def test_cerebras_errors(fast):
    client, account = fast
    with pytest.raises(cerebras.BadRequestError) as raised:
        client.chat.completions.create(model="m", messages=[*HI, {"role": "assistant", "content": "a", "reasoning_content": "r"}, *HI])
    assert raised.value.body["code"] == "wrong_api_format"
    with pytest.raises(cerebras.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model="m", messages=HI)
    account.script({"status": 429, "retry_after": 6}, {"error_event": {"after": 2}})
    with pytest.raises(cerebras.RateLimitError) as raised:
        client.chat.completions.create(model="m", messages=HI)
    assert raised.value.body["code"] == "request_quota_exceeded"
    with pytest.raises(cerebras.APIError):
        list(client.chat.completions.create(model="m", messages=HI, stream=True))


def test_nim(make):
    account = make("nim")
    with connect(openai.OpenAI, account, base_url=account.base_url) as client:
        answer = client.chat.completions.create(model="meta/llama-3.3-70b-instruct", messages=HI, max_tokens=50)
        assert answer.choices[0].message.content == SAID and answer.choices[0].stop_reason is None
        called = client.chat.completions.create(model="m", messages=CALL, tools=[WEATHER]).choices[0]
        assert called.finish_reason == "stop" and called.message.tool_calls[0].id.startswith("chatcmpl-tool-")
        events = list(client.chat.completions.create(model="m", messages=HI, stream=True, stream_options={"include_usage": True}))
        assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == SAID
        assert events[-1].usage.total_tokens
        query = {"input_type": "query"}
        vectors = client.embeddings.create(model="nvidia/nv-embedqa-e5-v5", input=["a"], extra_body=query)
        assert len(vectors.data[0].embedding) == 1024
        with pytest.raises(openai.BadRequestError, match="input_type"):
            client.embeddings.create(model="nvidia/nv-embedqa-e5-v5", input=["a"])
        with pytest.raises(openai.UnprocessableEntityError) as raised:
            client.chat.completions.create(model="m", messages=HI, store=True)
        assert "extra" in raised.value.body["detail"].lower()
        account.script({"status": 404})
        with pytest.raises(openai.NotFoundError) as raised:
            client.chat.completions.create(model="m", messages=HI)
        assert raised.value.response.text == "404 page not found\n"
