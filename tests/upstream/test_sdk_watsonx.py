"""IBM's SDK for watsonx.ai against the simulator. It knows IBM's hosts only, so its calls are led elsewhere below it."""

import httpx
import pytest
from ibm_watsonx_ai import APIClient, Credentials
from ibm_watsonx_ai.foundation_models import Embeddings, ModelInference
from ibm_watsonx_ai.wml_client_error import ApiRequestFailure, WMLClientError

HI = [{"role": "user", "content": "one two"}]
SAID = "Hello from the simulated provider. You said: one two"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
MODEL = "meta-llama/llama-3-3-70b-instruct"
PROJECT = "11111111-aaaa-4bbb-8ccc-222222222222"


@pytest.fixture
def account(sim):
    return sim.account(provider="watsonxai", lenient_headers=True)


@pytest.fixture
def connect(account, monkeypatch):
    real = httpx.HTTPTransport.handle_request
    origin = account.base_url.removesuffix("/v1")

    def led(self, request):
        if request.url.host != "127.0.0.1":
            assert request.url.host.endswith(".cloud.ibm.com"), request.url
            request.url = httpx.URL(origin + request.url.raw_path.decode())
        return real(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", led)
    return lambda key=account.key: APIClient(
        Credentials(url="https://us-south.ml.cloud.ibm.com", api_key=key), project_id=PROJECT, scope_validation=False)


@pytest.fixture
def model(connect):
    return ModelInference(model_id=MODEL, api_client=connect(), project_id=PROJECT, max_retries=0)


def test_chat(model, account):
    answer = model.chat(messages=HI, params={"max_tokens": 50, "stop": ["END"], "seed": 1})
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": SAID}
    assert answer["model_id"] == MODEL and answer["usage"]["completion_tokens"] == 9
    assert [call["path"].split("?")[0].split("/", 2)[2] for call in account.calls()][0] == "identity/token"


def test_streamed_chat(model):
    *events, usage = model.chat_stream(messages=HI)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == SAID
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 9


def test_tools(model):
    messages = [{"role": "user", "content": 'call:weather {"city":"Oslo"}'}]
    choice = model.chat(messages=messages, tools=[WEATHER], tool_choice_option="auto")["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], call["function"]["arguments"]) == ("tool_calls", '{"city":"Oslo"}')
    messages += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"], "content": "4C"}]
    assert model.chat(messages=messages, tools=[WEATHER])["choices"][0]["message"]["content"].endswith("The tool said: 4C")

    named = {"type": "function", "function": {"name": "weather"}}
    deltas = [event["choices"][0]["delta"] for event in model.chat_stream(messages=HI, tools=[WEATHER], tool_choice=named) if event["choices"]]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city":"sample"}'
    assert sum("id" in call for call in calls) > 1, "ids are repeated"


def test_generation(model):
    answer = model.generate("one two", params={"max_new_tokens": 3, "decoding_method": "greedy"})
    assert answer["results"][0]["stop_reason"] == "max_tokens" and answer["results"][0]["generated_token_count"] == 3
    assert "".join(model.generate_text_stream("one two")) == f" {SAID}"


def test_embeddings(connect):
    vectors = Embeddings(model_id="ibm/slate-125m-english-rtrvr-v2", api_client=connect()).embed_documents(["a", "b"])
    assert [len(vector) for vector in vectors] == [768, 768] and vectors[0] != vectors[1]


def test_deployment(connect, account):
    model = ModelInference(deployment_id="my-deployment", api_client=connect(), validate=False)
    assert model.chat(messages=HI)["choices"][0]["message"]["content"] == SAID
    assert "/deployments/my-deployment/text/chat" in account.last()["path"]


def test_unknown_key(connect):
    with pytest.raises(WMLClientError, match="BXNIM0415E"):
        connect("wrong")


@pytest.mark.parametrize("status", [400, 403, 404])
def test_errors(model, account, status):
    account.script({"status": status})
    with pytest.raises(ApiRequestFailure) as raised:
        model.chat(messages=HI)
    assert raised.value.response.status_code == status and raised.value.response.json()["errors"][0]["code"]


def test_a_short_lived_token_is_renewed(connect, account):
    account.configure(token_seconds=1)
    model = ModelInference(model_id=MODEL, api_client=connect(), project_id=PROJECT, validate=False)
    assert model.chat(messages=HI)["choices"]
    assert model.chat(messages=HI)["choices"]
    assert sum("identity/token" in call["path"] for call in account.calls()) > 1


def test_an_error_in_a_stream(model, account):
    account.script({"error_event": {"after": 3}})
    with pytest.raises(Exception, match="downstream_request_failed"):
        list(model.chat_stream(messages=HI))
