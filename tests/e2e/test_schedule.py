"""What Lambda's schedules start: events that do not come in through the function URL."""

import os
import time

import pytest

from harness import check

pytestmark = pytest.mark.entries("lambda")

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
# Rows are summed up once no more can come for their minute. By hand: SETTLED_SECONDS=220
SETTLED_SECONDS = float(os.environ.get("SETTLED_SECONDS", "0"))


@pytest.fixture(scope="module")
def own(make_gateway):
    """A schedule works for all tenants, so that these have a gateway to themselves."""
    return make_gateway()


def invoke(gateway, event):
    answer = gateway.http.post(f"{gateway.origin}/2015-03-31/functions/function/invocations", json=event)
    assert answer.status_code == 200 and "x-amz-function-error" not in answer.headers, answer.text
    return answer.json()


def requests(tenant):
    page = check.ok(tenant.admin.get("/usage", params={"start_time": int(time.time()) - 3600}))
    return sum(result["num_requests"] for bucket in page["data"] for result in bucket["results"])


def sums(tenant):
    """The sums of a tenant in the table."""
    entry = tenant.gateway.entry
    pages = entry.aws.client("dynamodb").get_paginator("scan").paginate(TableName=entry.table)
    places = [(item["pk"]["S"], item["sk"]["S"]) for page in pages for item in page["Items"]]
    return {place for place in places if place[0].startswith(f"USAGE#{tenant.id}#SUMS") and place[1] != "MARK"}


@pytest.mark.parametrize("event", [{"gateway": "sweep"}, {"gateway": "roll_up"}, {"source": "aws.events", "gateway": "roll_up"}])
def test_a_schedule_is_answered(own, event):
    assert invoke(own, event) is None


@pytest.mark.parametrize("event", [{}, {"gateway": "other"}, [], "roll_up", {"Records": []}])
def test_another_event_is_refused(own, event):
    answer = own.http.post(f"{own.origin}/2015-03-31/functions/function/invocations", json=event)
    assert answer.headers["x-amz-function-error"], answer.text


@pytest.mark.timeout(600)
def test_rolling_up_changes_no_sum(own, account):
    served = own.tenant()
    served.serves(account)
    for _ in range(5):
        check.ok(served.admin.post("/chat/completions", CHAT))
    check.within(5, lambda: counted(served, 5))
    time.sleep(SETTLED_SECONDS)
    for _ in range(2):
        assert invoke(own, {"gateway": "roll_up"}) is None
        counted(served, 5)
    assert bool(sums(served)) == (SETTLED_SECONDS > 0)


def counted(tenant, count):
    assert requests(tenant) == count
