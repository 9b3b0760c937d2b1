"""OpenAI's Python SDK and LangChain, unmodified, with every provider type behind the gateway."""

import asyncio
import json

import openai
import pydantic
import pytest

from harness.chat import PIXEL
from harness.providers import ALL, ANTHROPIC, AZURE, BEDROCK, CEREBRAS, OPENAI, TYPES, WATSONX

SAID = "Hello from the simulated provider. You said: one two"
MESSAGES = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "one two"}]
CALLS = [{"role": "user", "content": 'say:Looking.\ncall:get_weather {"city":"Oslo"}\ncall:clock'}]


class Weather(pydantic.BaseModel):
    city: str


class Report(pydantic.BaseModel):
    city: str
    degrees: int


TOOLS = [
    openai.pydantic_function_tool(Weather, name="get_weather"),
    {"type": "function", "function": {"name": "clock", "strict": True, "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}},
]


@pytest.fixture
def settings(up):
    # Every answer and every event has to fit the SDK's own types.
    return {"base_url": up.tenant.gateway.origin + "/v1", "api_key": up.tenant.api_key, "max_retries": 0, "timeout": 20, "_strict_response_validation": True}


@pytest.fixture
def client(settings):
    with openai.OpenAI(**settings) as client:
        yield client


def on(*kinds):
    return pytest.mark.parametrize("up", kinds, indirect=True, ids=str)


@on(*ALL)
class TestSync:
    def test_chat(self, up, client):
        completion = client.chat.completions.create(model="chat", messages=MESSAGES, max_completion_tokens=100, temperature=0.2)
        (choice,) = completion.choices
        assert (choice.message.content, choice.message.refusal, choice.message.tool_calls, choice.finish_reason) == (SAID, None, None, "stop")
        assert completion.usage.completion_tokens == 9 and completion._request_id

    def test_stream(self, up, client):
        stream = client.chat.completions.create(model="chat", messages=MESSAGES, stream=True, stream_options={"include_usage": True})
        chunks = list(stream)
        assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == SAID
        assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 9

    def test_accumulated(self, up, client):
        with client.chat.completions.stream(model="chat", messages=MESSAGES) as stream:
            kinds = [event.type for event in stream]
            completion = stream.get_final_completion()
        assert completion.choices[0].message.content == SAID and completion.choices[0].finish_reason == "stop"
        assert kinds.count("content.done") == 1 and "content.delta" in kinds

    def test_tools(self, up, client):
        whole = client.chat.completions.create(model="chat", messages=CALLS, tools=TOOLS)
        with client.chat.completions.stream(model="chat", messages=CALLS, tools=TOOLS) as stream:
            done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
            streamed = stream.get_final_completion()
        assert [event.name for event in done] == ["get_weather", "clock"]
        for completion in (whole, streamed):
            (choice,) = completion.choices
            assert choice.message.content == "Looking." and choice.finish_reason == "tool_calls"
            assert [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls] == [("get_weather", {"city": "Oslo"}), ("clock", {})]
            # As in OpenAI's guide: the message goes back as it came. What the accumulator parsed is for its user alone.
            message = choice.message if completion is whole else {"role": "assistant", "tool_calls": [call.model_dump(include={"id": 1, "type": 1, "function": {"name", "arguments"}}) for call in choice.message.tool_calls]}
            messages = [*CALLS, message, *[{"role": "tool", "tool_call_id": call.id, "content": "4C"} for call in choice.message.tool_calls]]
            answer = client.chat.completions.create(model="chat", messages=messages, tools=TOOLS)
            assert answer.choices[0].message.content.endswith("The tool said: 4C")

    def test_parsed(self, up, client):
        completion = client.chat.completions.parse(model="chat", messages=MESSAGES, response_format=Report)
        assert isinstance(completion.choices[0].message.parsed, Report)
        with client.chat.completions.stream(model="chat", messages=MESSAGES, response_format=Report) as stream:
            for _ in stream:
                pass
            assert isinstance(stream.get_final_completion().choices[0].message.parsed, Report)
        completion = client.chat.completions.parse(model="chat", messages=CALLS, tools=TOOLS)
        assert completion.choices[0].message.tool_calls[0].function.parsed_arguments == Weather(city="Oslo")

    def test_length(self, up, client):
        completion = client.chat.completions.create(model="chat", messages=MESSAGES, max_tokens=2)
        assert completion.choices[0].finish_reason == "length"
        with pytest.raises(openai.LengthFinishReasonError):
            client.chat.completions.parse(model="chat", messages=MESSAGES, max_tokens=2, response_format=Report)

    def test_models(self, up, client):
        assert "chat" in [model.id for model in client.models.list()]
        assert client.models.retrieve("chat").owned_by.startswith(f"{up.kind.type}:")


@on(OPENAI, AZURE, ANTHROPIC, BEDROCK, WATSONX)
def test_pictures(up, client):
    content = [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]
    assert client.chat.completions.create(model="chat", messages=[{"role": "user", "content": content}]).choices[0].message.content


@pytest.fixture
def lenient(settings):
    """The SDK's own types hold neither embeddings in base64 nor the null that ends no completion yet."""
    with openai.OpenAI(**{**settings, "_strict_response_validation": False}) as client:
        yield client


@on(*[kind for kind in ALL if kind.embed])
def test_embeddings_by_default_in_base64(up, lenient):
    given = lenient.embeddings.create(model="embed", input=["a", "b"])
    plain = lenient.embeddings.create(model="embed", input=["a", "b"], encoding_format="float")
    assert given.data[1].embedding == pytest.approx(plain.data[1].embedding, rel=1e-5)
    assert given.usage.total_tokens > 0 and given.data[0].embedding != given.data[1].embedding


@on(*[kind for kind in TYPES if kind.complete])
def test_completions(up, client, lenient):
    completion = client.completions.create(model="complete", prompt="one two", max_tokens=30)
    assert completion.choices[0].text.strip() == SAID and completion.choices[0].finish_reason == "stop"
    chunks = list(lenient.completions.create(model="complete", prompt="one two", max_tokens=30, stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == completion.choices[0].text


@on(ANTHROPIC, CEREBRAS)
def test_what_a_type_has_not_is_a_bad_request(up, client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.embeddings.create(model="chat", input="a")
    assert (raised.value.code, raised.value.param) == ("unsupported_endpoint", "model")


@pytest.mark.parametrize("own_up", TYPES, indirect=True, ids=str)
def test_faults(own_up):
    # What fails before content is asked for twice; what is limited is left alone, so it comes last.
    own_up.account.script(
        {"status": 500}, {"status": 500}, {"error_event": {"after": 6}, "text": "a b c d e f g h i j"}, {"text": "a b c", "no_finish": True, "no_done": True}, {"status": 429, "retry_after": 7}
    )  # fmt: skip
    with openai.OpenAI(base_url=own_up.tenant.gateway.origin + "/v1", api_key=own_up.tenant.api_key, max_retries=0, timeout=20) as client:
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
        for _ in range(2):
            with pytest.raises(openai.APIError):
                list(client.chat.completions.create(model="chat", messages=MESSAGES, stream=True))
        # Another environment of a function has not heard of the limit.
        for _ in range(1 if own_up.tenant.gateway.entry.kind == "lambda" else 2):
            with pytest.raises(openai.RateLimitError) as raised:
                client.chat.completions.create(model="chat", messages=MESSAGES)
            assert 6 <= int(raised.value.response.headers["retry-after"]) <= 8
    assert len(own_up.calls()) == 5


@on(*TYPES)
def test_async(up, settings):
    async def run():
        async with openai.AsyncOpenAI(**settings) as client:
            completions = await asyncio.gather(*[client.chat.completions.create(model="chat", messages=MESSAGES) for _ in range(4)])
            assert {completion.choices[0].message.content for completion in completions} == {SAID}
            async with client.chat.completions.stream(model="chat", messages=CALLS, tools=TOOLS) as stream:
                async for _ in stream:
                    pass
                completion = await stream.get_final_completion()
            assert len(completion.choices[0].message.tool_calls) == 2
            stream = await client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
            async for _ in stream:
                break
            await stream.close()
        async with openai.AsyncOpenAI(**{**settings, "_strict_response_validation": False}) as client:
            if up.kind.embed:
                assert (await client.embeddings.create(model="embed", input="a")).data[0].embedding

    asyncio.run(run())


@on(*TYPES)
class TestLangChain:
    @pytest.fixture
    def model(self, up):
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model="chat", base_url=up.tenant.gateway.origin + "/v1", api_key=up.tenant.api_key, max_retries=0, timeout=20)

    def test_invoke_and_stream(self, up, model):
        answer = model.invoke([("system", "Be brief."), ("human", "one two")])
        assert answer.content == SAID and answer.usage_metadata["output_tokens"] == 9 and answer.response_metadata["finish_reason"] == "stop"
        chunks = list(model.stream("one two", stream_usage=True))
        total = sum(chunks[1:], chunks[0])
        assert total.content == SAID and total.usage_metadata["output_tokens"] == 9

    def test_tools(self, up, model):
        from langchain_core.messages import HumanMessage, ToolMessage

        def get_weather(city: str) -> str:
            """The weather in a city"""
            return f"4C in {city}"

        bound = model.bind_tools([get_weather])
        messages = [HumanMessage('call:get_weather {"city":"Oslo"}\ncall:get_weather {"city":"Rome"}')]
        chunks = list(bound.stream(messages))
        for answer in (bound.invoke(messages), sum(chunks[1:], chunks[0])):
            assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"})]
            results = [ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls]
            assert bound.invoke([*messages, answer, *results]).content.endswith("The tool said: 4C in Rome")
        forced = model.bind_tools([get_weather], tool_choice="any").invoke("one two")
        assert forced.tool_calls[0]["args"] == {"city": "sample"}

    @pytest.mark.parametrize("method", ["json_schema", "function_calling"])
    def test_structured_output(self, up, model, method):
        assert isinstance(model.with_structured_output(Report, method=method).invoke("one two"), Report)

    def test_embeddings(self, up):
        if not up.kind.embed:
            return
        from langchain_openai import OpenAIEmbeddings

        # Tokens of OpenAI's own tokenizer are no input of other models, so the texts are sent.
        model = OpenAIEmbeddings(model="embed", base_url=up.tenant.gateway.origin + "/v1", api_key=up.tenant.api_key, check_embedding_ctx_length=False)
        vectors = model.embed_documents(["a", "b"])
        assert len(vectors) == 2 and vectors[0] != vectors[1] and model.embed_query("a") == pytest.approx(vectors[0], rel=1e-5)
