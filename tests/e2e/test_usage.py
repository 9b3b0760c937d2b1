"""Usage: what the ledger says afterwards is what the simulator says it served."""

import concurrent.futures
import contextlib
import time

import httpx
import pytest

from harness import check

FIRST = """data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}]}

"""
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}


def total(tenant, **query):
    """The sums of the last day, all groups in one."""
    results = [r for bucket in page(tenant, **query)["data"] for r in bucket["results"]]
    assert len(results) <= 1, results
    return results[0] if results else dict.fromkeys(("num_model_requests", "num_requests", "num_errors", "num_cancelled", "input_tokens"), 0)


def page(tenant, path="/usage", **query):
    query.setdefault("start_time", int(time.time()) - 60)
    answer = tenant.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(tenant, count, seconds=8, **query):
    """The sums, once they count so many attempts; usage is to be seen within seconds."""
    end = time.monotonic() + seconds
    while (sums := total(tenant, **query))["num_model_requests"] < count and time.monotonic() < end:
        time.sleep(0.1)
    assert sums["num_model_requests"] == count, sums
    return sums


class TestSums:
    def test_every_answer_is_counted_with_what_its_provider_reported(self, served, account):
        reported = []
        for _ in range(3):
            reported.append(served.admin.post("/chat/completions", CHAT).json()["usage"])
        stream = served.admin.chat_stream("chat", stream_options={"include_usage": True}).finished()
        reported += [c["usage"] for c in stream.chunks if c.get("usage")]
        sums = until(served.admin, 4)
        assert sums["input_tokens"] == sum(usage["prompt_tokens"] for usage in reported)
        assert sums["output_tokens"] == sum(usage["completion_tokens"] for usage in reported)
        assert (sums["num_requests"], sums["num_errors"], sums["num_upstream_calls"]) == (4, 0, len(account.calls()))
        assert sums["mean_latency_ms"] >= 0 and sums["mean_first_content_ms"] >= 0

    def test_streams_count_though_the_client_did_not_ask_for_usage(self, served):
        served.admin.chat_stream("chat").finished()
        assert until(served.admin, 1)["input_tokens"] > 0

    def test_groups(self, served):
        app = served.inference()
        served.admin.post("/chat/completions", CHAT)
        app.post("/chat/completions", CHAT)
        app.post("/embeddings", {"model": "chat", "input": "Hi"})
        until(served.admin, 3)
        groups = [r for b in page(served.admin, group_by="load_balancer_alias,user_uuid,usage_type")["data"] for r in b["results"]]
        assert len(groups) == 3 and {r["load_balancer_alias"] for r in groups} == {"chat"}
        assert len({r["user_uuid"] for r in groups}) == 2 and {r["usage_type"] for r in groups} == {"completion", "embedding"}
        names = {"model", "alias", "provider", "service_provider", "key"}
        one = [r for b in page(served.admin, **{"group_by[]": sorted(names)})["data"] for r in b["results"]]
        assert one and all(names <= set(r) and None not in (r[n] for n in names) for r in one)
        assert {r["service_provider"] for r in one} == {"openai"}
        assert total(app, path="/usage/user")["num_requests"] == 2
        assert total(served.admin, usage_types="embedding")["num_requests"] == 1

    def test_widths_agree(self, served):
        for _ in range(3):
            served.admin.post("/chat/completions", CHAT)
        until(served.admin, 3)
        for width in ("1m", "1h", "1d"):
            buckets = page(served.admin, bucket_width=width, limit=100)["data"]
            assert sum(r["num_requests"] for b in buckets for r in b["results"]) == 3
            assert all(b["object"] == "bucket" and b["start_time"] < b["end_time"] for b in buckets)

    @pytest.mark.parametrize("origin", ["/v1", "/ml/gateway/v1", "/ml/v1"])
    def test_all_paths(self, served, origin):
        assert served.admin.on(origin).get("/usage").json()["object"] == "page"
        assert served.inference().on(origin).get("/usage/user").json()["object"] == "page"
        check.error(served.inference().on(origin).get("/usage"), 403, "permission_denied")

    def test_other_tenants_see_nothing(self, served, other):
        served.admin.post("/chat/completions", CHAT)
        until(served.admin, 1)
        assert total(other.admin)["num_requests"] == 0

    def test_wrong_queries_are_named(self, served):
        for name, value in [("bucket_width", "1w"), ("limit", "101"), ("group_by", "user"), ("start_time", "yesterday")]:
            answer = served.admin.get("/usage", params={name: value})
            check.error(answer, 400, "invalid_request")
            assert answer.json()["error"]["param"] == name


class TestFaults:
    def test_failover_shows_what_it_cost(self, served, account):
        account.script({"status": 500}, {})
        assert served.admin.post("/chat/completions", CHAT).status_code == 200
        sums = until(served.admin, 2)
        assert (sums["num_requests"], sums["num_errors"], sums["num_upstream_calls"]) == (1, 1, len(account.calls()))

    def test_clients_that_leave_a_stream_are_counted_once(self, served, account):
        account.script({"raw_sse": FIRST * 2, "hang": {"after_bytes": len(FIRST)}}, repeat=True)
        count = 5
        for _ in range(count):
            with contextlib.suppress(httpx.HTTPError), served.admin.open("/chat/completions", {**CHAT, "stream": True}) as answer:
                next(answer.iter_raw())
        sums = until(served.admin, count, seconds=20)
        assert sums["num_cancelled"] + sums["num_errors"] == count
        assert sums["num_upstream_calls"] == len(account.calls()) == count
        assert sums["num_estimated"] == count

    def test_many_at_once_are_all_counted(self, served, account):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: served.admin.post("/chat/completions", CHAT), range(40)))
        assert all(answer.status_code == 200 for answer in answers)
        sums = until(served.admin, len(account.calls()))
        assert sums["num_requests"] == 40
        assert sums["input_tokens"] == sum(answer.json()["usage"]["prompt_tokens"] for answer in answers)

    def test_a_killed_gateway_loses_no_more_than_was_under_way(self, make_gateway, sim):
        gateway = make_gateway()
        tenant, account = gateway.tenant(), sim.account()
        tenant.serves(account)
        for _ in range(10):
            assert tenant.admin.post("/chat/completions", CHAT).status_code == 200
        until(tenant.admin, 10)
        account.script({"raw_sse": FIRST * 2, "hang": {"after_bytes": len(FIRST)}}, repeat=True)
        with contextlib.suppress(httpx.HTTPError), tenant.admin.open("/chat/completions", {**CHAT, "stream": True}) as answer:
            next(answer.iter_raw())
            gateway.entry.kill()
        gateway.entry.start()
        sums = total(tenant.admin)
        assert sums["num_requests"] in (10, 11) and sums["input_tokens"] >= 10

    def test_a_gateway_that_is_stopped_writes_all_down(self, make_gateway, sim):
        gateway = make_gateway()
        tenant, account = gateway.tenant(), sim.account()
        tenant.serves(account)
        for _ in range(20):
            assert tenant.admin.post("/chat/completions", CHAT).status_code == 200
        gateway.entry.restart()
        assert total(tenant.admin)["num_requests"] == 20

