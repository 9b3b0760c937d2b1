"""OpenAI's own Python SDK, unmodified, against the gateway."""

import asyncio
import base64
import struct

import httpx
import openai
import pytest

TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
MESSAGES = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def account(sim):
    return sim.account()


@pytest.fixture(scope="module")
def served(gateway, account):
    tenant = gateway.tenant()
    provider = tenant.provider(account)
    for id, alias in (("gpt-4o", "openai/gpt-4o"), ("gpt-3.5-turbo-instruct", "instruct"), ("text-embedding-3-small", None)):
        tenant.model(provider, id, alias)
    return tenant


@pytest.fixture(scope="module", params=["/v1", "/ml/gateway/v1"])
def settings(request, served):
    return {"base_url": served.gateway.origin + request.param, "api_key": served.key()["api_key"], "max_retries": 0, "timeout": 20}


@pytest.fixture
def client(settings):
    with openai.OpenAI(**settings) as client:
        yield client


def test_chat(client):
    completion = client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES)
    assert completion.choices[0].message.content
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert completion._request_id


def test_chat_streamed(client):
    chunks = list(client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.total_tokens > 0 and chunks[-1].choices == []
    assert len({c.id for c in chunks}) == 1


def test_chat_accumulated(client):
    with client.chat.completions.stream(model="openai/gpt-4o", messages=MESSAGES) as stream:
        for _ in stream:
            pass
        completion = stream.get_final_completion()
    assert completion.choices[0].message.content and completion.choices[0].finish_reason == "stop"


def test_tools(client):
    completion = client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES, tools=TOOLS, tool_choice="required")
    (call, *_) = completion.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and completion.choices[0].finish_reason == "tool_calls"
    answered = [
        *MESSAGES,
        {"role": "assistant", "tool_calls": [c.model_dump() for c in completion.choices[0].message.tool_calls]},
        *[{"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in completion.choices[0].message.tool_calls],
    ]
    assert client.chat.completions.create(model="openai/gpt-4o", messages=answered, tools=TOOLS).choices[0].message.content


def test_tools_streamed(client):
    with client.chat.completions.stream(model="openai/gpt-4o", messages=MESSAGES, tools=TOOLS, tool_choice="required") as stream:
        for _ in stream:
            pass
        completion = stream.get_final_completion()
    assert completion.choices[0].message.tool_calls[0].function.name == "get_weather"


def test_completions(client):
    completion = client.completions.create(model="instruct", prompt="Say this is a test", max_tokens=7, temperature=0)
    assert completion.object == "text_completion" and completion.choices[0].text
    assert "".join(c.choices[0].text for c in client.completions.create(model="instruct", prompt="Say", stream=True) if c.choices)


def test_embeddings_by_default_in_base64(client, account):
    given = client.embeddings.create(model="text-embedding-3-small", input=["The food was delicious", "and the waiter"])
    assert '"base64"' in account.last()["body"]
    assert len(given.data) == 2 and all(isinstance(x, float) for x in given.data[0].embedding)
    plain = client.embeddings.create(model="text-embedding-3-small", input=["The food was delicious", "and the waiter"], encoding_format="float")
    assert given.data[1].embedding == pytest.approx(plain.data[1].embedding, rel=1e-5)
    raw = client.embeddings.create(model="text-embedding-3-small", input="x", encoding_format="base64").data[0].embedding
    assert len(struct.unpack(f"<{len(base64.b64decode(raw)) // 4}f", base64.b64decode(raw))) == len(plain.data[0].embedding)


def test_models(client, settings):
    listed = {model.id: model for model in client.models.list()}
    if "/ml/" in settings["base_url"]:
        assert set(listed) == {"gpt-4o", "gpt-3.5-turbo-instruct", "text-embedding-3-small"}
    else:
        assert set(listed) == {"openai/gpt-4o", "instruct", "text-embedding-3-small"}
        # What the list names can be called.
        assert client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES)
    for name in ("openai/gpt-4o", "instruct", "text-embedding-3-small"):
        model = client.models.retrieve(name)
        assert model.object == "model" and model.owned_by.startswith("openai:") and model.created > 1_700_000_000


class TestErrors:
    def test_a_wrong_key(self, settings):
        with openai.OpenAI(**{**settings, "api_key": "sk-wrong"}) as client, pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.code == "invalid_api_key" and caught.value.request_id

    def test_an_unknown_model(self, client):
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="nobody", messages=MESSAGES)
        assert (caught.value.code, caught.value.param, caught.value.type) == ("model_not_found", "model", "invalid_request_error")
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nobody")

    def test_a_bad_request_of_the_providers_words(self, client):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES, temperature=7)
        assert caught.value.param == "temperature"

    def test_a_key_without_the_scope(self, served, settings):
        with openai.OpenAI(**{**settings, "api_key": served.key(scopes=["admin"])["api_key"]}) as client, pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES)

    def test_what_the_provider_does_wrong(self, client, gateway, sim, settings):
        for step, error, code in (
            ({"status": 429, "retry_after": 30}, openai.RateLimitError, "rate_limit_exceeded"),
            ({"status": 500}, openai.InternalServerError, "upstream_error"),
            ({"status": 401}, openai.InternalServerError, "upstream_auth_failed"),
        ):
            tenant, account = gateway.tenant(), sim.account()
            tenant.serves(account)
            account.script(step, repeat=True)
            with openai.OpenAI(**{**settings, "api_key": tenant.api_key}) as own, pytest.raises(error) as caught:
                own.chat.completions.create(model="chat", messages=MESSAGES)
            assert caught.value.code == code

    def test_a_cut_stream_is_an_error(self, gateway, sim, settings):
        tenant, account = gateway.tenant(), sim.account()
        tenant.serves(account)
        account.script({"chunks": 20, "cut_at": 1200})
        with openai.OpenAI(**{**settings, "api_key": tenant.api_key}) as client:
            stream = client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
            with pytest.raises((openai.APIError, httpx.HTTPError)):
                for _ in stream:
                    pass

    def test_the_sdk_repeats_what_it_may(self, gateway, sim, settings):
        """One layer repeats: a fault that passes is not seen, and one that stays is not multiplied."""
        tenant, account = gateway.tenant(), sim.account()
        tenant.serves(account)
        with openai.OpenAI(**{**settings, "api_key": tenant.api_key, "max_retries": 3}) as client:
            account.script({"status": 500})
            assert client.chat.completions.create(model="chat", messages=MESSAGES).choices
            assert len(account.calls()) == 2
            account.script({"status": 500}, repeat=True)
            with pytest.raises(openai.InternalServerError):
                client.chat.completions.create(model="chat", messages=MESSAGES)
            assert len(account.calls()) == 4
            # A limit says when it is over, so the SDK may wait for that.
            account.script({"status": 429, "retry_after": 3})
            assert client.chat.completions.create(model="chat", messages=MESSAGES).choices

    def test_an_embedding_of_nothing(self, client):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="text-embedding-3-small", input="")


class TestAsync:
    def test_everything(self, settings):
        async def run():
            async with openai.AsyncOpenAI(**settings) as client:
                completions = await asyncio.gather(*[client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES) for _ in range(8)])
                assert all(c.choices[0].message.content for c in completions)
                text = ""
                async for chunk in await client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES, stream=True):
                    text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                assert text
                assert (await client.embeddings.create(model="text-embedding-3-small", input="x")).data[0].embedding
                assert [model.id async for model in client.models.list()]
                with pytest.raises(openai.NotFoundError):
                    await client.chat.completions.create(model="nobody", messages=MESSAGES)

        asyncio.run(run())

    def test_leaving_a_stream(self, settings):
        async def run():
            async with openai.AsyncOpenAI(**settings) as client:
                stream = await client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES, stream=True)
                async for _ in stream:
                    break
                await stream.close()
                assert (await client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES)).choices

        asyncio.run(run())
