"""Where the gateway may be sent: judged when a provider is registered, and nothing is called."""

import pytest

from harness import check
from harness.gateway import unused_id

KEY = "sk-0123456789abcdefghijklmn"

# Addresses and names that are not on the public internet, in every spelling a URL parser may fold.
PRIVATE = """
127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7f.0.0.1 0x7F.1 017700000001 0177.0.0.1 0177.0x0.0.1 127.0.0.1. 127.255.255.254 0 0.0.0.0 0x0 0.0.0.1
10.0.0.1 10.1 10.255.255.255 100.64.0.1 100.127.255.255 169.254.169.254 169.254.170.2 169.254.170.23 2852039166 0xa9fea9fe 0251.0376.0251.0376
169.254.43518 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 192.168.1 3232235521 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1
224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
[::] [::1] [0:0:0:0:0:0:0:1] [::0001] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:169.254.169.254] [::127.0.0.1] [::ffff:0:127.0.0.1]
[64:ff9b::7f00:1] [64:ff9b::169.254.169.254] [64:ff9b:1::1] [100::1] [2001::1] [2001:db8::1] [2002:7f00:1::] [2002:a9fe:a9fe::] [3fff::1] [5f00::1] [fc00::1]
[fd00:ec2::254] [fe80::1] [fe80::1%25eth0] [fec0::1] [ff02::1]
localhost LOCALHOST localhost. foo.localhost intranet metadata metadata.google.internal metadata.google.internal. foo.internal
printer.local host.home.arpa hidden.onion a.test b.invalid c.lan d.corp
１２７.０.０.１ 127。0。0。1 127．0．0．1 ①②⑦.⓪.⓪.① ⑯⑨。②⑤④。⑯⑨｡②⑤④ ⓛocalhost ｌｏｃａｌｈｏｓｔ localhoſt %6c%6f%63alhost 127%2e0%2e0%2e1 127.0.0.%31
""".split()

# Whole URLs that are wrong in another way.
TRICKS = [
    "http://api.example.com/v1", "ftp://api.example.com/", "file:///etc/passwd", "gopher://api.example.com/", "data:text/plain,x", "javascript:alert(1)",
    "ws://api.example.com", "wss://api.example.com", "unix:/run/x.sock", "blob:https://api.example.com/x",
    "https://user@api.example.com/v1", "https://user:pass@api.example.com/v1", "https://:pass@api.example.com/", "https://api.example.com@127.0.0.1/",
    "https://127.0.0.1@api.example.com/", "https://127.0.0.1#@api.example.com/", "https://api.example.com:80@127.0.0.1/", "https:\\\\127.0.0.1\\",
    "https://api.example.com\\@127.0.0.1/",
    "https://api.example.com/v1?x=1", "https://api.example.com/v1?", "https://api.example.com/v1#x", "https://api.example.com/v1#",
    "https://api.example.com/../v1", "https://api.example.com/v1/..", "https://api.example.com/%2e%2e/v1", "https://api.example.com/a/%2E%2E/b", "https://api.example.com/./v1",
    "https://api.example.com/v1\\..\\x",
    "https://api.exa\tmple.com/v1", "https://api.example.com/v1\n", "\nhttps://api.example.com/v1", " https://api.example.com/v1", "https://api.example.com/v1 ",
    "https://api.example.com/v1\r\nX-Evil: 1", "https://api.example.com/\x00", "https://api.example.com/\x7f",
    "", " ", "api.example.com", "//api.example.com", "/v1", "https:", "https://", "https:///v1", "https://?", "https://#", "https://.",
    "https://..", "https://-", "https://api.example.com:99999/", "https://api.example.com:x/", "https://api.example.com:-1/",
    "https://[::1", "https://::1/", "https://[v1.x]/", "https://[]/", "https://%00.example.com/", "https://exa mple.com/", "https://exa%20mple.com", "https://example", "https://a_b",
    "https://api.example.com/" + "x" * 2048,
    1, True, [], {}, ["https://api.example.com"],
]  # fmt: skip

PUBLIC = [
    "https://api.openai.com/v1", "https://api.example.com", "https://api.example.com/", "https://api.example.com/v1/", "https://api.example.com:8443/v1",
    "HTTPS://API.EXAMPLE.COM/v1", "https://eu.api.openai.com/v1", "https://xn--bcher-kva.example.com/v1", "https://models.example.co.uk/a/b-c_d/v1",
]  # fmt: skip


def register(tenant, url, name="p"):
    return tenant.admin.post("/providers/openai", {"name": name, "data": {"apikey": KEY, "base_url": url}})


def refused(tenant, urls):
    wrong = []
    for url in urls:
        try:
            check.error(register(tenant, url), 400, "invalid_request", param="data.base_url")
        except AssertionError as failure:
            wrong.append(f"{url!r}: {str(failure)[:200]}")
    assert not wrong, "\n".join(wrong)
    assert tenant.providers() == []


def test_private_hosts(tenant):
    assert len(PRIVATE) > 90
    refused(tenant, [f"https://{host}/v1" for host in PRIVATE])


def test_private_hosts_with_ports(tenant):
    refused(tenant, [f"https://{host}:{port}/v1" for host in PRIVATE[:20] for port in (80, 8080)])


def test_tricks(tenant):
    refused(tenant, TRICKS)


@pytest.mark.parametrize("url", PUBLIC)
def test_public_hosts(tenant, url):
    check.ok(register(tenant, url), 201)


class TestAllowedOrigins:
    """EGRESS_ALLOW_ORIGINS names the simulator's origin, and nothing else is open."""

    def test_exactly_that_origin(self, tenant, sim, account):
        check.ok(register(tenant, account.base_url), 201)
        check.ok(register(tenant, sim.origin.replace("http", "HTTP") + "/v1", "upper"), 201)

    def test_not_its_neighbours(self, tenant, sim):
        port = sim.origin.rsplit(":", 1)[1]
        host = f"127.0.0.1:{port}"
        refused(
            tenant,
            [
                f"https://{host}/v1", f"http://127.0.0.1:{int(port) + 1}/v1", f"http://127.0.0.1:{port}0/v1", "http://127.0.0.1/v1", f"http://localhost:{port}/v1",
                f"http://127.0.0.2:{port}/v1", f"http://[::1]:{port}/v1", f"http://[::ffff:127.0.0.1]:{port}/v1", f"http://{host}.example.com/v1", f"http://{host}@evil.example/v1",
                f"http://evil.example:{port}/v1", f"http://evil.example@{host}/v1", f"http://{host}\\@evil.example/", f"http://{host}#@evil.example/", f"http://{host}/v1?x=1",
                f"http://{host}/../v1", f"ws://{host}/v1", f"ftp://{host}/v1", f"//{host}/v1", f"{host}/v1",
            ],
        )  # fmt: skip

    def test_other_spellings_of_it_are_the_same_or_nothing(self, tenant, sim, account):
        """A parser folds these into the allowed origin; either way the call goes nowhere else."""
        port = sim.origin.rsplit(":", 1)[1]
        for number, host in enumerate(("127.1", "2130706433", "0x7f000001", "0177.0.0.1")):
            answer = register(tenant, f"http://{host}:{port}/{account.name}/v1", f"p{number}")
            assert answer.status_code in (201, 400), check.describe(answer)


TYPES = {
    "openai": {"apikey": KEY},
    "anthropic": {"apikey": KEY},
    "cerebras": {"apikey": KEY},
    "nim": {"apikey": KEY},
    "azure-openai": {"apikey": KEY, "resource_name": "r"},
    "watsonxai": {"apikey": KEY, "project_id": "p"},
    "bedrock": {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "region": "us-east-1"},
}
SOME_PRIVATE = ["http://169.254.169.254/", "https://127.0.0.1/", "https://[::1]/", "https://localhost/", "https://metadata.google.internal/", "http://api.example.com", "https://a@api.example.com"]


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_judges_its_address(tenant, kind):
    fields = ["base_url"] + (["auth_url"] if kind == "watsonxai" else [])
    for field in fields:
        for url in SOME_PRIVATE:
            answer = tenant.admin.post(f"/providers/{kind}", {"name": "p", "data": {**TYPES[kind], field: url}})
            check.error(answer, 400, "invalid_request", param=f"data.{field}")
    assert tenant.providers() == []


def test_replacing_judges_it_too(tenant):
    provider = tenant.provider(apikey=KEY)
    for url in SOME_PRIVATE:
        answer = tenant.admin.put(f"/providers/{provider['uuid']}/openai", {"name": "p", "data": {"apikey": KEY, "base_url": url}})
        check.error(answer, 400, "invalid_request", param="data.base_url")


# Fields that become part of a host or path.
HOST_FIELDS = [
    ("azure-openai", "resource_name", ["x/#", "a@b", "a.b", "a\r\nb", "", "x" * 64, "x" * 300, "-a", "a-", "A", "a_b", "a b", "a%2eb", "a:1", "é", "..", "a\x00"]),
    ("azure-openai", "api_version", ["2024", "24-10-21", "2024-10-21-x", "2024-10-21&x=1", "../x", "2024/10/21", "", "v2", "preview ", "2024-10-21\n"]),
    ("azure-openai", "subscription_id", ["a/b", "../x", "a?b", "a#b", "", "x" * 300, "a\nb"]),
    ("azure-openai", "resource_group_name", ["a/b", "../x", "a?b", "", "x" * 300]),
    ("azure-openai", "account_name", ["a/b", "../x", "a?b", "", "x" * 300]),
    ("bedrock", "region", ["x", "us-east", "us-east-1.evil.com", "us-east-1/", "us-east-1@x", "US-EAST-1", "", "us-east-11", "u-east-1", "us--1", "us-east-1\n", "x" * 300]),
    ("watsonxai", "api_version", ["x", "2024-10-21&x", "", "../"]),
    ("watsonxai", "project_id", ["", "a/b", "a?b", "a\nb", "x" * 300]),
    ("watsonxai", "space_id", ["", "a/b", "a#b"]),
]


@pytest.mark.parametrize(("kind", "field", "values"), HOST_FIELDS, ids=lambda v: v if isinstance(v, str) else "")
def test_fields_that_become_part_of_a_url(tenant, kind, field, values):
    for value in values:
        answer = tenant.admin.post(f"/providers/{kind}", {"name": "p", "data": {**TYPES[kind], field: value}})
        check.error(answer, 400, "invalid_request", param=f"data.{field}")
    assert tenant.providers() == []


ROUTING_MEMBERS = {
    "base_url": "{canary}", "api_base": "{canary}", "api_key": "sk-of-the-caller", "extra_headers": {"authorization": "Bearer x"}, "custom_llm_provider": "openai",
    "organization": "org-x", "deployment_id": "x", "api_version": "x", "provider": {"base_url": "{canary}"}, "target": "{canary}", "uuid": "{other}",
}  # fmt: skip
ROUTING_HEADERS = {
    "x-portkey-custom-host": "{canary}", "x-base-url": "{canary}", "x-upstream": "{canary}", "helicone-target-url": "{canary}", "x-forwarded-host": "{canary}",
    "x-api-key": "sk-of-the-caller", "api-key": "sk-of-the-caller", "openai-organization": "org-x", "openai-project": "proj-x", "x-amz-security-token": "t",
}  # fmt: skip


def test_no_call_names_its_destination_or_key(served, account, sim):
    """What a chat body or header says about hosts and keys is content, never routing."""
    canary = sim.account()
    value = lambda v: v.replace("{canary}", canary.base_url).replace("{other}", unused_id()) if isinstance(v, str) else v  # noqa: E731
    # The simulator refuses members it does not know, as OpenAI does: a 400 of its own is fine, another host is not.
    for member, given in ROUTING_MEMBERS.items():
        served.admin.chat("chat", **{member: value(given)})
    for header, given in ROUTING_HEADERS.items():
        check.ok(served.admin.having(**{header: value(given)}).chat("chat"))
    assert canary.calls() == []
    calls = account.calls()
    assert len(calls) == len(ROUTING_MEMBERS) + len(ROUTING_HEADERS)
    assert {call["key"] for call in calls} == {account.key}
    assert [call["violations"] for call in calls] == [[]] * len(calls)
    sent = {name for call in calls for name, _ in call["headers"]}
    assert not sent & set(ROUTING_HEADERS)


def test_dots_and_slashes_of_a_model_stay_in_the_body(tenant, account):
    provider = tenant.provider(account)
    for number, id in enumerate(("../../admin", "a/../../b", "x?y=1", "x#y", "%2e%2e/x")):
        tenant.model(provider, id, f"m{number}")
        check.ok(tenant.admin.chat(f"m{number}"))
        assert account.last()["path"] == f"/{account.name}/v1/chat/completions"
