"""IBM's Python SDK, unmodified: every method of its model gateway. It insists on https, so its transport takes that back."""

import asyncio

import httpx
import pytest
from ibm_watsonx_ai import APIClient, Credentials
from ibm_watsonx_ai.gateway import Gateway, GatewayInference
from ibm_watsonx_ai.wml_client_error import WMLClientError

from harness.gateway import unique

MESSAGES = [{"role": "user", "content": "Say hello."}]
RESOURCE = "model:9a6c5c0d-6a5c-4c58-8d6e-7f9b3a6f2f10"
GROUP = "AccessGroupId-56c5e703-6a5c-4c58-8d6e-7f9b3a6f2f10"
BUCKET = {"capacity": 60, "amount": 10, "duration": "1m"}


class Plain(httpx.HTTPTransport):
    def handle_request(self, request):
        request.url = request.url.copy_with(scheme="http")
        return super().handle_request(request)


class AsyncPlain(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request):
        request.url = request.url.copy_with(scheme="http")
        return await super().handle_async_request(request)


def client(tenant, **credentials):
    origin = tenant.gateway.origin.replace("http:", "https:")
    credentials = Credentials(url=origin, platform_url=origin, **(credentials or {"token": tenant.api_key}))
    return APIClient(credentials, httpx_client=httpx.Client(transport=Plain(), timeout=20), async_httpx_client=httpx.AsyncClient(transport=AsyncPlain(), timeout=20))


def connect(tenant, **credentials):
    return Gateway(api_client=client(tenant, **credentials), max_retries=0)


@pytest.fixture
def ibm(tenant):
    return connect(tenant)


@pytest.fixture
def provided(ibm, account):
    """A provider and its models, made by the SDK."""
    provider = ibm.providers.create("openai", unique("ibm"), data={"apikey": account.key, "base_url": account.base_url})
    uuid = ibm.providers.get_id(provider)
    metadata = {"functions": ["text_chat"], "context_window": 128_000}
    models = {alias: ibm.models.create(uuid, id, alias=alias, metadata=metadata) for alias, id in (("ibm/chat", "gpt-4o-mini"), ("instruct", "gpt-3.5-turbo-instruct"), ("embed", "text-embedding-3-small"))}
    return provider, models


def test_providers(ibm, provided):
    provider, models = provided
    uuid = provider["uuid"]
    assert provider["type"] == "openai"
    assert ibm.providers.get_details(uuid)["name"] == provider["name"]
    assert [item["uuid"] for item in ibm.providers.get_details()["data"]] == [uuid]
    assert list(ibm.providers.list()["ID"]) == [uuid]
    available = ibm.providers.get_available_models_details(uuid)["data"]
    assert len(ibm.providers.list_available_models(uuid)) == len(available) > 0
    assert ibm.providers.delete(uuid) == "SUCCESS"
    assert ibm.providers.get_details()["data"] == []
    with pytest.raises(WMLClientError):
        ibm.providers.get_details(uuid)


def test_models(ibm, provided):
    provider, models = provided
    ids = {ibm.models.get_id(model) for model in models.values()}
    assert set(ibm.models.list()["ID"]) == set(ibm.models.list(provider["uuid"])["ID"]) == ids
    assert all(functions == ["text_chat"] for functions in ibm.models.list()["FUNCTIONS"])
    chat = models["ibm/chat"]
    assert ibm.models.get_details(model_id=chat["uuid"]) == chat
    assert len(ibm.models.get_details(provider_id=provider["uuid"])["data"]) == len(ibm.models.get_details()["data"]) == 3
    assert ibm.models.delete(chat["uuid"]) == "SUCCESS"
    assert chat["uuid"] not in set(ibm.models.list()["ID"])


def test_policies(ibm):
    assert len(ibm.policies.list()) == 0
    made = ibm.policies.create("read", RESOURCE, GROUP)
    denied = ibm.policies.create("write", "*", "*", effect="deny")
    assert (made["effect"], denied["effect"]) == ("allow", "deny")
    assert set(ibm.policies.list()["ID"]) == {made["uuid"], denied["uuid"]}
    assert [policy["uuid"] for policy in ibm.policies.get_details()["data"]] == [made["uuid"], denied["uuid"]]
    for policy in (made, denied):
        assert ibm.policies.delete(ibm.policies.get_id(policy)) == "SUCCESS"
    assert ibm.policies.get_details()["data"] == []


def test_rate_limits(ibm, provided):
    provider, models = provided
    model = models["ibm/chat"]["uuid"]
    limits = ibm.rate_limits
    made = [limits.create_for_tenant(request=BUCKET), limits.create_for_provider(provider["uuid"], token=BUCKET), limits.create_for_model(model, request=BUCKET, token=BUCKET)]
    assert [limit["type"] for limit in made] == ["tenant", "provider", "model"]
    assert made[1]["provider_uuid"] == provider["uuid"] and made[2]["model_uuid"] == model
    ids = [limits.get_id(limit) for limit in made]
    assert limits.get_details(rate_limit_id=ids[2]) == made[2]
    assert limits.get_details()["data"] == made and len(limits.list()) == 3
    other = {**BUCKET, "capacity": 7}
    assert limits.update_for_tenant(ids[0], token=other)["token"] == other
    assert "request" not in limits.get_details(rate_limit_id=ids[0])
    assert limits.update_for_provider(ids[1], provider["uuid"], request=other)["request"] == other
    assert limits.update_for_model(ids[2], model, request=other)["uuid"] == ids[2]
    assert [limits.delete(id) for id in ids] == ["SUCCESS"] * 3
    assert limits.get_details()["data"] == []


def test_a_limit_is_met(ibm, provided):
    ibm.rate_limits.create_for_tenant(request={"capacity": 1, "amount": 1, "duration": "1h"})
    assert ibm.chat.completions.create("ibm/chat", MESSAGES)["choices"]
    with pytest.raises(Exception, match="rate_limited"):
        ibm.chat.completions.create("ibm/chat", MESSAGES)


def test_calls(ibm, provided):
    whole = ibm.chat.completions.create("ibm/chat", MESSAGES, max_tokens=50)
    text = whole["choices"][0]["message"]["content"]
    chunks = list(ibm.chat.completions.create("ibm/chat", MESSAGES, stream=True))
    assert text == "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    whole = ibm.completions.create("instruct", "Say hello.")
    chunks = list(ibm.completions.create("instruct", "Say hello.", stream=True))
    assert whole["choices"][0]["text"] == "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    answer = ibm.embeddings.create("embed", ["a", "b"])
    assert len(answer["data"]) == 2 and len(answer["data"][0]["embedding"]) > 1


def test_async_calls(ibm, provided):
    async def run():
        whole = await ibm.chat.completions.acreate("ibm/chat", MESSAGES)
        stream = await ibm.chat.completions.acreate("ibm/chat", MESSAGES, stream=True)
        text = "".join([choice["delta"].get("content") or "" async for chunk in stream for choice in chunk["choices"]])
        assert whole["choices"][0]["message"]["content"] == text
        assert (await ibm.completions.acreate("instruct", "Say hello."))["choices"][0]["text"]
        assert (await ibm.embeddings.acreate("embed", "a"))["data"][0]["embedding"]

    asyncio.run(run())


def text(answer):
    choice = answer["choices"][0]
    return choice["text"] if "text" in choice else choice["message"]["content"]


def joined(chunks):
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join((choice["text"] if "text" in choice else choice["delta"].get("content")) or "" for choice in choices)


def test_inference_by_model(tenant, provided):
    api = client(tenant)
    chat = GatewayInference(model="ibm/chat", api_client=api, max_retries=0, temperature=0.5, max_tokens=64)
    instruct = GatewayInference(model="instruct", api_client=api, max_retries=0, max_tokens=64)
    assert chat.get_details()["alias"] == "ibm/chat"
    assert text(chat.chat(MESSAGES, top_p=0.9)) == joined(chat.chat_stream(MESSAGES))
    assert text(instruct.generate("Say hello.")) == joined(instruct.generate_stream("Say hello."))

    async def run():
        assert text(await chat.achat(MESSAGES)) == joined([chunk async for chunk in await chat.achat_stream(MESSAGES)])
        stream = await instruct.agenerate_stream("Say hello.")
        assert text(await instruct.agenerate("Say hello.")) == joined([chunk async for chunk in stream])

    asyncio.run(run())


def test_an_api_key_is_exchanged_for_a_token(tenant, served, monkeypatch):
    origin = tenant.gateway.origin
    # The exchange has a client of its own.
    real = httpx.Client.send

    def send(self, request, **kw):
        request.url = request.url.copy_with(scheme="http")
        return real(self, request, **kw)

    monkeypatch.setattr(httpx.Client, "send", send)
    ibm = connect(tenant, api_key=tenant.api_key, auth_url=origin.replace("http:", "https:") + "/identity/token")
    assert ibm.chat.completions.create("chat", MESSAGES)["choices"]
