"""Embeddings, legacy completions and lists of models of every provider type, and what a type does not have."""

import base64
import struct

import pytest

from harness import chat, check
from harness.chat import user
from harness.providers import ALL, ANTHROPIC, AZURE, BEDROCK, BEDROCK_KEY, CEREBRAS, COMPLETES, EMBEDS, NIM, OPENAI, TYPES, WATSONX

both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def on(*kinds):
    return pytest.mark.parametrize("up", kinds, indirect=True, ids=str)


def unpacked(text):
    raw = base64.b64decode(text)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


class TestEmbeddings:
    MODELS = [
        (OPENAI, "embed"), (AZURE, "embed"), (BEDROCK, "embed"), (BEDROCK, "amazon.titan-embed-text-v1"), (BEDROCK, "cohere.embed-english-v3"), (BEDROCK, "cohere.embed-v4:0"),
        (BEDROCK_KEY, "embed"), (WATSONX, "embed"), (NIM, "embed"), (NIM, "baai/bge-m3"),
    ]  # fmt: skip
    all_models = pytest.mark.parametrize(("up", "model"), MODELS, indirect=["up"], ids=str)

    def embed(self, up, model, input, **members):
        return chat.embeddings(up.api.post("/embeddings", {"model": model, "input": input, **members}))

    def refused(self, up, code, param, model="embed", **members):
        with up.nothing_sent():
            answer = up.api.post("/embeddings", {"model": model, "input": "a", **members})
            check.error(answer, 400, code, param=param)

    @all_models
    def test_vectors_in_the_order_of_their_texts(self, up, model):
        texts = [f"text {number}" for number in range(5)]
        together = self.embed(up, model, texts)
        assert up.kind in (OPENAI, AZURE) or together["model"] == model
        alone = [self.embed(up, model, text)["data"][0]["embedding"] for text in texts]
        assert [item["embedding"] for item in together["data"]] == alone
        assert len({tuple(vector) for vector in alone}) == 5 and all(isinstance(part, float) for vector in alone for part in vector)

    @all_models
    def test_base64(self, up, model):
        plain = self.embed(up, model, ["a", "b"], encoding_format="float")
        coded = self.embed(up, model, ["a", "b"], encoding_format="base64")
        for one, other in zip(plain["data"], coded["data"]):
            assert unpacked(other["embedding"]) == pytest.approx(one["embedding"], rel=1e-5)
        assert plain["usage"] == coded["usage"]
        assert self.embed(up, model, "a", encoding_format=None)["data"][0]["embedding"] == plain["data"][0]["embedding"]

    @pytest.mark.parametrize(
        ("up", "model", "size"),
        [
            (OPENAI, "embed", 256), (AZURE, "embed", 256), (BEDROCK, "embed", 512), (BEDROCK, "cohere.embed-v4:0", 256),
            # The only length that there is.
            (NIM, "embed", 1024),
        ],
        indirect=["up"], ids=str,
    )  # fmt: skip
    def test_dimensions(self, up, model, size):
        for format in ("float", "base64"):
            vector = self.embed(up, model, "a", dimensions=size, encoding_format=format)["data"][0]["embedding"]
            assert len(unpacked(vector) if format == "base64" else vector) == size

    @pytest.mark.parametrize(
        ("up", "model"),
        [(BEDROCK, "embed"), (BEDROCK, "amazon.titan-embed-text-v1"), (BEDROCK, "cohere.embed-english-v3"), (BEDROCK, "cohere.embed-v4:0"), (WATSONX, "embed"), (NIM, "embed")],
        indirect=["up"], ids=str,
    )  # fmt: skip
    def test_dimensions_that_it_has_not(self, up, model):
        self.refused(up, ("unsupported_parameter", "unsupported_value"), "dimensions", model=model, dimensions=77)

    @pytest.mark.parametrize(("up", "most"), [(BEDROCK, 1)], indirect=["up"], ids=str)
    def test_one_call_for_each_text(self, up, most):
        together = self.embed(up, "embed", [f"t{number}" for number in range(7)])
        assert len(together["data"]) == len(up.calls()) == 7
        assert together["usage"]["prompt_tokens"] == 7

    @on(BEDROCK)
    def test_more_than_one_call_takes(self, up):
        texts = [f"t{number}" for number in range(200)]
        together = self.embed(up, "cohere.embed-english-v3", texts)
        assert len(up.calls()) == 3 and len(together["data"]) == 200
        for place in (0, 95, 96, 199):
            assert together["data"][place]["embedding"] == self.embed(up, "cohere.embed-english-v3", texts[place])["data"][0]["embedding"]

    @on(WATSONX, NIM)
    def test_batches_of_a_size_that_the_tenant_said(self, up):
        up.tenant.model(up.provider, up.kind.embed, "small", capabilities={"batch_size": 2})
        together = check.within(up.tenant.gateway.entry.bound, lambda: self.embed(up, "small", [f"t{number}" for number in range(5)]))
        assert len(up.calls()) == 3
        assert together["data"][4]["embedding"] == self.embed(up, "embed", "t4")["data"][0]["embedding"]

    @on(BEDROCK, WATSONX, NIM)
    def test_token_ids_mean_nothing_elsewhere(self, up):
        for input in ([1, 2, 3], [[1, 2], [3]]):
            self.refused(up, "unsupported_value", "input", input=input)

    @on(OPENAI, AZURE)
    def test_token_ids(self, up):
        assert len(self.embed(up, "embed", [[1, 2], [3]])["data"]) == 2

    @on(*EMBEDS)
    def test_what_is_no_input(self, up):
        if up.kind not in (OPENAI, AZURE):
            for input in ("", [], [""], ["a", ""], {}, 1, None):
                self.refused(up, None, check.ANY, input=input)

    @pytest.mark.parametrize(
        ("up", "model", "said", "sent"),
        [
            (BEDROCK, "cohere.embed-english-v3", None, "search_document"), (BEDROCK, "cohere.embed-v4:0", "search_query", "search_query"),
            (NIM, "embed", None, "query"), (NIM, "embed", "passage", "passage"),
            (OPENAI, "embed", "query", None), (AZURE, "embed", "query", None), (WATSONX, "embed", "query", None), (BEDROCK, "embed", "query", None),
        ],
        indirect=["up"], ids=str,
    )  # fmt: skip
    def test_input_type(self, up, model, said, sent):
        self.embed(up, model, "a", **({"input_type": said} if said else {}))
        assert up.sent().get("input_type") == sent

    @on(BEDROCK, WATSONX, NIM)
    def test_a_user_is_dropped_and_named(self, up):
        answer = up.api.post("/embeddings", {"model": "embed", "input": "a", "user": "u-1"})
        chat.embeddings(answer)
        assert answer.headers["x-gateway-dropped-params"] == "user"

    @pytest.mark.parametrize("own_up", EMBEDS, indirect=True, ids=str)
    def test_faults(self, own_up):
        own_up.account.script({"status": 500}, repeat=True)
        check.error(own_up.api.post("/embeddings", {"model": "embed", "input": ["a", "b"]}), 502, "upstream_error")


class TestCompletions:
    def complete(self, up, prompt="one two", streamed=False, **members):
        body = {"model": "complete", "prompt": prompt, **members}
        if not streamed:
            return chat.completion(up.api.post("/completions", body))
        return up.api.sse("/completions", {"stream_options": {"include_usage": True}, **body})

    @on(*COMPLETES)
    def test_text(self, up):
        body = self.complete(up, max_tokens=50, temperature=0)
        (choice,) = body["choices"]
        assert choice["text"].strip().startswith("Hello from the simulated provider") and "one two" in choice["text"]
        assert (choice["index"], choice["finish_reason"]) == (0, "stop") and "logprobs" in choice
        assert up.kind in (OPENAI, AZURE) or body["model"] == "complete"
        assert body["id"].startswith("cmpl-")

    @on(*COMPLETES)
    def test_streamed_as_well(self, up):
        whole = self.complete(up, max_tokens=50)
        stream = self.complete(up, max_tokens=50, streamed=True).finished()
        assert stream.text == whole["choices"][0]["text"] and stream.finish_reasons == ["stop"]
        assert {chunk["object"] for chunk in stream.chunks} == {"text_completion"} and len({chunk["id"] for chunk in stream.chunks}) == 1
        assert stream.chunks[-1]["choices"] == [] and stream.chunks[-1]["usage"] == whole["usage"]
        for chunk in stream.chunks:
            assert all(set(choice) >= {"index", "text", "finish_reason", "logprobs"} for choice in chunk["choices"]), chunk
        plain = up.api.sse("/completions", {"model": "complete", "prompt": "one two"}).finished()
        assert not [chunk for chunk in plain.chunks if chunk.get("usage")] and all(chunk["choices"] for chunk in plain.chunks)

    @both
    @on(*COMPLETES)
    def test_a_limit(self, up, streamed):
        answer = self.complete(up, max_tokens=3, streamed=streamed)
        assert (answer.finish_reasons if streamed else [answer["choices"][0]["finish_reason"]]) == ["length"]

    @on(*COMPLETES)
    def test_stop(self, up):
        (choice,) = self.complete(up, stop=["You"], max_tokens=50)["choices"]
        assert choice["finish_reason"] == "stop" and choice["text"].strip() == "Hello from the simulated provider."

    @on(OPENAI, AZURE, WATSONX, CEREBRAS, NIM)
    def test_several_prompts(self, up):
        choices = self.complete(up, ["one", "two"], max_tokens=50)["choices"]
        assert [choice["index"] for choice in choices] == [0, 1]
        assert "one" in choices[0]["text"] and "two" in choices[1]["text"]
        assert len(up.calls()) == (2 if up.kind == WATSONX else 1)

    @on(WATSONX, NIM)
    def test_token_ids_mean_nothing_elsewhere(self, up):
        with up.nothing_sent():
            for prompt in ([1, 2, 3], [[1, 2], [3]]):
                check.error(up.api.post("/completions", {"model": "complete", "prompt": prompt}), 400, "unsupported_value", param="prompt")

    @on(WATSONX, CEREBRAS, NIM)
    def test_a_suffix_is_refused(self, up):
        with up.nothing_sent():
            check.error(up.api.post("/completions", {"model": "complete", "prompt": "a", "suffix": "z"}), 400, param="suffix")

    @on(OPENAI, WATSONX, CEREBRAS, NIM)
    def test_echo(self, up):
        assert self.complete(up, echo=True, max_tokens=50)["choices"][0]["text"].startswith("one two")

    @pytest.mark.parametrize("own_up", COMPLETES, indirect=True, ids=str)
    @pytest.mark.fault("C17")
    def test_faults(self, own_up):
        own_up.account.script({"status": 500}, repeat=True)
        check.error(own_up.api.post("/completions", {"model": "complete", "prompt": "a"}), 502, "upstream_error")
        own_up.account.script({"error_event": {"after": 3}, "chunks": 8, "text": "a b c d e f g h"})
        stream = own_up.api.sse("/completions", {"model": "complete", "prompt": "a"})
        stream.cut("upstream_error")
        assert stream.text


@on(ANTHROPIC, BEDROCK, CEREBRAS)
def test_endpoints_that_a_type_has_not(up):
    calls = [("/completions", {"prompt": "a"}), ("/completions", {"prompt": "a", "stream": True}), ("/embeddings", {"input": "a"})]
    with up.nothing_sent():
        for path, body in calls:
            if getattr(up.kind, "complete" if path == "/completions" else "embed"):
                continue
            found = check.error(up.api.post(path, {"model": "chat", **body}), 400, "unsupported_endpoint", param="model")
            assert f"'{up.kind.type}'" in found["message"] and f"/v1{path}" in found["message"]


@on(BEDROCK)
def test_chat_models_make_no_vectors(up):
    with up.nothing_sent():
        check.error(up.api.post("/embeddings", {"model": "chat", "input": "a"}), 400, "unsupported_endpoint", param="model")


OFFERED = {
    "openai": "gpt-4o", "azure-openai": "", "anthropic": "claude-sonnet-4-6", "bedrock": "anthropic.claude-3-7-sonnet-20250219-v1:0",
    "watsonxai": "meta-llama/llama-3-3-70b-instruct", "cerebras": "gpt-oss-120b", "nim": "meta/llama-3.3-70b-instruct",
}  # fmt: skip


@on(*ALL)
def test_models_that_a_provider_offers(up):
    body = check.ok(up.api.get(f"/providers/{up.provider['uuid']}/models/available"))
    assert body["object"] == "list" and body["data"]
    for model in body["data"]:
        assert model["object"] == "model" and isinstance(model["created"], int) and isinstance(model["owned_by"], str), model
    ids = [model["id"] for model in body["data"]]
    assert len(set(ids)) == len(ids) and (OFFERED[up.kind.type] in ids or not OFFERED[up.kind.type])


@pytest.mark.parametrize("own_up", TYPES, indirect=True, ids=str)
def test_lists_that_fail(own_up):
    own_up.account.script({"status": 500}, repeat=True)
    check.error(own_up.api.get(f"/providers/{own_up.provider['uuid']}/models/available"), 502)


@on(*TYPES)
def test_every_model_is_listed_with_its_type(up):
    for model in check.ok(up.tenant.ibm.get("/models"))["data"]:
        assert model["owned_by"].startswith(f"{up.kind.type}:")
    assert up.api.chat("chat", messages=[user("x")]).status_code == 200
