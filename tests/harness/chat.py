"""Chats judged as OpenAI's: every member with OpenAI's own types, every stream as a sequence that accumulates."""

import json
from dataclasses import dataclass, field

from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from . import check

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKMSAwIG9iajw8Pj5lbmRvYmoKdHJhaWxlcjw8Pj4KJSVFT0YK"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "number", "strict": True, "schema": SCHEMA}}


def user(text):
    return {"role": "user", "content": text}


def says(*parts):
    return [{"role": "user", "content": list(parts)}]


def text_part(text):
    return {"type": "text", "text": text}


def image_part(url=f"data:image/png;base64,{PIXEL}", **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file_part(**file):
    return {"type": "file", "file": {"filename": "a b.pdf", "file_data": f"data:application/pdf;base64,{PDF}", **file}}


@dataclass
class Said:
    """What one choice of an answer says, streamed or not."""

    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    thinking: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    finish: str | None = None

    @property
    def called(self):
        """Names and arguments."""
        return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in self.calls]

    @property
    def message(self):
        """To be sent back as part of the conversation."""
        message = {"role": "assistant", "content": self.content}
        if self.calls:
            message["tool_calls"] = self.calls
        if self.thinking:
            message["thinking_blocks"] = self.thinking
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        return message


@dataclass
class Answer:
    """A chat that was answered: its choices, its usage, and what came over the wire."""

    choices: list
    usage: dict | None
    model: str
    id: str
    headers: object
    raw: object

    @property
    def said(self):
        assert len(self.choices) == 1, self.choices
        return self.choices[0]


def ask(api, model="chat", messages=None, *, streamed=False, **members):
    """A chat that must succeed, whole or streamed."""
    body = {"model": model, "messages": messages or [user("one two")], **members}
    if not streamed:
        return whole(api.post("/chat/completions", body))
    # Usage is asked for unless the test says how.
    body = {"stream_options": {"include_usage": True}, **body, "stream": True}
    if body["stream_options"] is None:
        del body["stream_options"]
    return flowing(api.post("/chat/completions", body), (body.get("stream_options") or {}).get("include_usage", False))


def whole(answer):
    body = check.ok(answer)
    ChatCompletion.model_validate(body)
    where = check.describe(answer)
    assert body["object"] == "chat.completion" and body["id"] and isinstance(body["created"], int), where
    assert [choice["index"] for choice in body["choices"]] == list(range(len(body["choices"]))), where
    choices = []
    for choice in body["choices"]:
        message = choice["message"]
        assert message["role"] == "assistant" and "content" in message and choice["finish_reason"], where
        assert message.get("tool_calls") != [], f"empty tool_calls: {where}"
        calls = message.get("tool_calls") or []
        check_calls(calls, where)
        choices.append(Said(message["content"], message.get("refusal"), message.get("reasoning_content"), message.get("thinking_blocks") or [], calls, choice["finish_reason"]))
    usage = body["usage"]
    check_usage(usage, where)
    return Answer(choices, usage, body["model"], body["id"], answer.headers, body)


def flowing(answer, with_usage=True):
    assert answer.status_code == 200, check.describe(answer)
    assert answer.headers["content-type"].split(";")[0] == "text/event-stream", check.describe(answer)
    stream = check.Sse(answer.content).finished()
    return joined(stream.chunks, answer.headers, with_usage)


def joined(chunks, headers=None, with_usage=True):
    """Chunks put together as strictly as the strictest client does."""
    assert chunks, "no chunks"
    said, usages, ended = {}, [], set()
    for at, chunk in enumerate(chunks):
        where = f"chunk {at}: {json.dumps(chunk)}"
        ChatCompletionChunk.model_validate(chunk)
        assert chunk["object"] == "chat.completion.chunk", where
        for member in ("id", "created", "model"):
            assert chunk[member] == chunks[0][member], f"{member} changes in {where}"
        assert chunk["id"] and isinstance(chunk["created"], int), where
        if chunk.get("usage") is not None:
            usages.append(chunk["usage"])
            assert at == len(chunks) - 1 and chunk["choices"] == [], f"usage before the end: {where}"
        else:
            assert chunk["choices"], f"no choices: {where}"
            assert not with_usage or "usage" in chunk, f"no 'usage': null beside include_usage: {where}"
        for choice in chunk["choices"]:
            index, delta = choice["index"], choice["delta"]
            assert index not in ended, f"after the finish reason: {where}"
            if index not in said:
                assert delta.get("role") == "assistant", f"the first delta has no role: {where}"
                said[index] = Said()
            one = said[index]
            one.content = added(one.content, delta.get("content"))
            one.refusal = added(one.refusal, delta.get("refusal"))
            one.reasoning = added(one.reasoning, delta.get("reasoning_content"))
            for block in delta.get("thinking_blocks") or []:
                assert block.get("index") == len(one.thinking), f"index of a block: {where}"
                one.thinking.append({name: value for name, value in block.items() if name != "index"})
            assert delta.get("tool_calls") != [], f"empty tool_calls: {where}"
            for piece in delta.get("tool_calls") or []:
                grow(one.calls, piece, where)
            if choice.get("finish_reason"):
                one.finish = choice["finish_reason"]
                ended.add(index)
    assert ended == set(said) and sorted(said) == list(range(len(said))), f"choices without an end: {chunks}"
    for one in said.values():
        check_calls(one.calls, f"the stream {chunks}")
        one.content = None if one.content == "" and (one.calls or one.refusal is not None) else one.content
    assert len(usages) == (1 if with_usage else 0), f"{len(usages)} usages: {chunks[-3:]}"
    for usage in usages:
        check_usage(usage, f"{usage}")
    first = chunks[0]
    return Answer([said[index] for index in sorted(said)], usages[0] if usages else None, first["model"], first["id"], headers, chunks)


def added(before, more):
    return before if more is None else (before or "") + more


def grow(calls, piece, where):
    """The first piece of a call has all but the arguments, the others have arguments only."""
    at = piece["index"]
    assert at <= len(calls), f"call {at} after {len(calls)} calls: {where}"
    function = piece.get("function") or {}
    if at == len(calls):
        assert piece.get("id") and function.get("name"), f"a call begins without id or name: {where}"
        calls.append({"id": piece["id"], "type": piece.get("type", "function"), "function": {"name": function["name"], "arguments": function.get("arguments") or ""}})
        return
    call = calls[at]
    # Accumulators join strings: a name or an id that comes twice would be doubled.
    assert not piece.get("id") and not function.get("name") and not piece.get("type"), f"a call begins twice: {where}"
    call["function"]["arguments"] += function.get("arguments") or ""


def check_calls(calls, where):
    assert len({call["id"] for call in calls}) == len(calls), f"ids of calls are not unique: {where}"
    for call in calls:
        assert set(call) == {"id", "type", "function"} and call["id"] and call["type"] == "function", f"{call}: {where}"
        assert isinstance(json.loads(call["function"]["arguments"]), dict), f"arguments {call}: {where}"


def check_usage(usage, where):
    assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] >= 0, where
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], where
    for total, details in (("prompt_tokens", "prompt_tokens_details"), ("completion_tokens", "completion_tokens_details")):
        for name, count in (usage.get(details) or {}).items():
            assert count is None or 0 <= count <= usage[total], f"{name}: {where}"


def completion(answer):
    body = check.ok(answer)
    Completion.model_validate(body)
    assert body["object"] == "text_completion" and body["id"], check.describe(answer)
    check_usage(body["usage"], check.describe(answer))
    return body


def embeddings(answer):
    body = check.ok(answer)
    if all(isinstance(item["embedding"], list) for item in body["data"]):
        CreateEmbeddingResponse.model_validate(body)
    assert body["object"] == "list" and [item["index"] for item in body["data"]] == list(range(len(body["data"]))), check.describe(answer)
    assert all(item["object"] == "embedding" for item in body["data"]), check.describe(answer)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0, check.describe(answer)
    return body
