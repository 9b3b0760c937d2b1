"""The AWS SDK for Python against the simulator: signatures, conversations, event streams, embeddings."""

import json

import boto3
import botocore.exceptions
import httpx
import pytest
from botocore.config import Config

HI = [{"role": "user", "content": [{"text": "one two"}]}]
SAID = "Hello from the simulated provider. You said: one two"
MODEL = "anthropic.claude-3-7-sonnet-20250219-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123xyz789"
WEATHER = {
    "toolSpec": {
        "name": "weather",
        "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    }
}
KEYS = {"access_key_id": "AKIATEST", "secret_access_key": "se/cr+et", "region": "eu-central-1"}


@pytest.fixture
def account(sim):
    # The SDK itself is no gateway: it sends headers of its own.
    return sim.account(provider="bedrock", lenient_headers=True, **KEYS)


@pytest.fixture
def client(account):
    return connect(account)


def connect(account, region="eu-central-1", **keys):
    keys = {"aws_access_key_id": KEYS["access_key_id"], "aws_secret_access_key": KEYS["secret_access_key"], **keys}
    config = Config(retries={"total_max_attempts": 1}, read_timeout=10)
    url = account.base_url.removesuffix("/v1")
    return boto3.client("bedrock-runtime", region_name=region, endpoint_url=url, config=config, **keys)


def ask(client, messages=HI, model=MODEL, **more):
    answer = client.converse(modelId=model, messages=messages, **more)
    return answer["output"]["message"]["content"], answer["stopReason"], answer["usage"]


def ask_streamed(client, messages=HI, model=MODEL, **more):
    blocks, reason, usage = {}, None, None
    for event in client.converse_stream(modelId=model, messages=messages, **more)["stream"]:
        ((kind, payload),) = event.items()
        if kind == "contentBlockStart":
            blocks[payload["contentBlockIndex"]] = {"toolUse": {**payload["start"]["toolUse"], "input": ""}}
        elif kind == "contentBlockDelta":
            ((name, delta),) = payload["delta"].items()
            block = blocks.setdefault(payload["contentBlockIndex"], {})
            if name == "text":
                block["text"] = block.get("text", "") + delta
            elif name == "toolUse":
                block["toolUse"]["input"] += delta["input"]
            elif "redactedContent" in delta:
                block["reasoningContent"] = delta
            else:
                told = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]
                told["text"] += delta.get("text", "")
                told |= {"signature": delta["signature"]} if "signature" in delta else {}
        elif kind == "messageStop":
            reason = payload["stopReason"]
        elif kind == "metadata":
            usage = payload["usage"]
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return [blocks[index] for index in sorted(blocks)], reason, usage


both = pytest.mark.parametrize("asks", [ask, ask_streamed])


@both
@pytest.mark.parametrize("model", [MODEL, PROFILE, "us.anthropic.claude-sonnet-4-6"])
def test_converse(client, asks, model):
    content, reason, usage = asks(client, model=model)
    assert (content, reason) == ([{"text": SAID}], "end_turn")
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]


@both
def test_tools(client, asks):
    messages = [{"role": "user", "content": [{"text": 'say:Looking.\ncall:weather {"city":"Oslo"}\ncall:weather {}'}]}]
    tools = {"tools": [WEATHER]}
    content, reason, _ = asks(client, messages, toolConfig=tools)
    text, *calls = content
    assert (text, reason) == ({"text": "Looking."}, "tool_use")
    assert [call["toolUse"]["input"] for call in calls] == [{"city": "Oslo"}, {}]

    results = [{"toolResult": {"toolUseId": call["toolUse"]["toolUseId"], "content": [{"text": "4C"}]}} for call in calls]
    messages += [{"role": "assistant", "content": content}, {"role": "user", "content": results}]
    assert asks(client, messages, toolConfig=tools)[0][0]["text"].endswith("The tool said: 4C")
    with pytest.raises(client.exceptions.ValidationException, match="toolConfig field must be defined"):
        asks(client, messages)
    forced = {"tools": [WEATHER], "toolChoice": {"tool": {"name": "weather"}}}
    assert asks(client, toolConfig=forced)[0][0]["toolUse"]["input"] == {"city": "sample"}


@both
def test_thinking_and_ends(client, asks):
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    messages = [{"role": "user", "content": [{"text": "think:step by step\nredact:secret"}]}]
    content, _, _ = asks(client, messages, additionalModelRequestFields=thinking)
    assert content[0]["reasoningContent"]["redactedContent"] == b"secret"
    assert content[1]["reasoningContent"]["reasoningText"]["text"] == "step by step"
    again = [*messages, {"role": "assistant", "content": content}, *HI]
    assert asks(client, again)[1] == "end_turn"
    assert asks(client, inferenceConfig={"maxTokens": 2})[1] == "max_tokens"
    assert asks(client, inferenceConfig={"stopSequences": ["You"]})[1] == "stop_sequence"
    assert asks(client, [{"role": "user", "content": [{"text": "refuse:"}]}])[1] == "content_filtered"


def test_cache(client):
    system = [{"text": "long " * 50}, {"cachePoint": {"type": "default"}}]
    first, second = ask(client, system=system)[2], ask(client, system=system)[2]
    assert first["cacheWriteInputTokens"] == second["cacheReadInputTokens"] > 50


def test_structured_output(client):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    form = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(schema), "name": "n"}}}}
    assert ask(client, outputConfig=form)[0] == [{"text": '{"n":1}'}]


def test_files(client, account):
    document = {"format": "pdf", "name": "a b", "source": {"bytes": b"%PDF-"}}
    content = [{"image": {"format": "png", "source": {"bytes": b"x"}}}, {"document": document}, {"text": "look"}]
    assert ask(client, [{"role": "user", "content": content}])[1] == "end_turn"
    with pytest.raises(client.exceptions.ValidationException, match="text block"):
        ask(client, [{"role": "user", "content": content[:2]}])


def test_signatures(account):
    refused = botocore.exceptions.ClientError

    def code(client):
        with pytest.raises(refused) as raised:
            ask(client)
        return raised.value.response["Error"]["Code"]

    assert code(connect(account, aws_secret_access_key="wrong")) == "InvalidSignatureException"
    assert code(connect(account, aws_access_key_id="AKIAOTHER")) == "UnrecognizedClientException"
    assert code(connect(account, region="us-east-1")) == "InvalidSignatureException"
    assert code(connect(account, aws_session_token="more")) == "UnrecognizedClientException"
    account.configure(session_token="more")
    assert ask(connect(account, aws_session_token="more"))[1] == "end_turn"
    assert code(connect(account)) == "UnrecognizedClientException"


def test_api_key(account):
    # The SDK sends API keys over TLS only, so this is what it would send.
    url = f"{account.base_url.removesuffix('/v1')}/model/{MODEL.replace(':', '%3A')}/converse"
    answer = httpx.post(url, headers={"authorization": f"Bearer {account.key}"}, json={"messages": HI})
    assert answer.json()["stopReason"] == "end_turn" and account.last()["key"] == account.key
    answer = httpx.post(url, headers={"authorization": "Bearer wrong"}, json={"messages": HI})
    assert answer.status_code == 403 and answer.headers["x-amzn-errortype"].startswith("AccessDeniedException:")


def invoke(client, model, **body):
    answer = client.invoke_model(modelId=model, body=json.dumps(body), contentType="application/json", accept="application/json")
    return json.loads(answer["body"].read()), answer["ResponseMetadata"]["HTTPHeaders"]


def test_embeddings(client):
    titan, _ = invoke(client, "amazon.titan-embed-text-v2:0", inputText="a", dimensions=256, normalize=True, embeddingTypes=["float"])
    assert len(titan["embedding"]) == 256 and titan["inputTextTokenCount"] == 1 and titan["embeddingsByType"]["float"] == titan["embedding"]
    v3, headers = invoke(client, "cohere.embed-english-v3", texts=["a", "b"], input_type="search_query")
    assert [len(vector) for vector in v3["embeddings"]] == [1024, 1024] and headers["x-amzn-bedrock-input-token-count"] == "2"
    v4, _ = invoke(client, "cohere.embed-v4:0", texts=["a"], input_type="search_query", embedding_types=["float"], output_dimension=512)
    assert len(v4["embeddings"]["float"][0]) == 512
    for model, body in [
        ("amazon.titan-embed-text-v1", {"inputText": "a", "dimensions": 256}),
        ("cohere.embed-english-v3", {"texts": ["a"]}),
        ("cohere.embed-v4:0", {"texts": ["a"] * 97, "input_type": "search_query"}),
        (MODEL, {"messages": []}),
    ]:
        with pytest.raises(client.exceptions.ValidationException):
            invoke(client, model, **body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (408, "ModelTimeoutException"),
        (424, "ModelErrorException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
    ],
)
@both
def test_errors(client, account, asks, status, kind):
    account.script({"status": status})
    with pytest.raises(getattr(client.exceptions, kind)) as raised:
        asks(client)
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize(
    ("step", "error", "match"),
    [
        ({"error_event": {"after": 3, "error": {"type": "throttlingException", "message": "slow"}}}, botocore.exceptions.EventStreamError, "slow"),
        ({"error_event": {"after": 3}}, botocore.exceptions.EventStreamError, "internalServerException"),
        ({"error_event": {"after": 3, "error": {"code": "InternalError", "message": "m"}}}, botocore.exceptions.EventStreamError, "InternalError"),
        ({"bad_crc": {"frame": 2}}, Exception, "[Cc]hecksum"),
        ({"bad_crc": {"frame": 2, "prelude": True}}, Exception, "[Cc]hecksum"),
    ],
)
def test_faults_of_a_stream(client, account, step, error, match):
    account.script(step)
    with pytest.raises(error, match=match):
        ask_streamed(client)


def test_frames_come_in_any_pieces(client, account):
    for size in [1, 7, 100]:
        account.script({"split_every": size})
        assert ask_streamed(client)[0] == [{"text": SAID}]
    account.script({"oversize": {"bytes": 20000}})
    assert ask_streamed(client)[0] == [{"text": SAID}]


def test_models(account):
    url = account.base_url.removesuffix("/v1")
    keys = {"aws_access_key_id": KEYS["access_key_id"], "aws_secret_access_key": KEYS["secret_access_key"]}
    client = boto3.client("bedrock", region_name="eu-central-1", endpoint_url=url, **keys)
    assert MODEL in [model["modelId"] for model in client.list_foundation_models()["modelSummaries"]]
