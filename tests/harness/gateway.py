"""Callers of the gateway: the operator, tenants, and whoever only knows the address."""

import contextlib
import http.client
import json
import secrets
import threading
import time
import uuid

import httpx

from . import check

UNSET = object()


class Gateway:
    """One running entry as its callers see it. Every answer is checked for what must hold always."""

    def __init__(self, entry, canaries):
        self.entry = entry
        self.origin = entry.origin
        self.canaries = canaries
        self._clients = threading.local()
        canaries.add(entry.admin_key, "the operator key")
        canaries.add(entry.sealing_key, "the sealing key")

    @property
    def http(self):
        """One client per thread: httpx's pool was seen to close a connection under another thread's read (EBADF)."""
        if not hasattr(self._clients, "http"):
            limits = httpx.Limits(max_connections=200, max_keepalive_connections=100)
            self._clients.http = httpx.Client(timeout=30, limits=limits, trust_env=False)
        return self._clients.http

    @property
    def operator(self):
        return Api(self, self.entry.admin_key)

    @property
    def nobody(self):
        return Api(self, None)

    def api(self, bearer, **kw):
        return Api(self, bearer, **kw)

    def tenant(self, **fields):
        return Tenant(self, **fields)

    def watch(self, answer, allowed=()):
        check.common(answer)
        seen = "\n".join(f"{n}: {v}" for n, v in answer.headers.items()).encode() + answer.content[:1_000_000]
        hit = self.canaries.find(seen, allowed)
        assert hit is None, f"{hit} in {check.describe(answer)}"
        return answer

    def raw(self, method, target, headers=(), body=None, timeout=20):
        """A request exactly as written: target and headers unchanged. (status, headers, body), or None if refused."""
        connection = http.client.HTTPConnection("127.0.0.1", self.entry.port, timeout=timeout)
        connection._validate_path = lambda url: None
        connection._encode_request = lambda request: request.encode("latin-1")
        with contextlib.closing(connection):
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", f"127.0.0.1:{self.entry.port}")
            for name, value in headers:
                # Not checked on purpose: whatever a caller may send.
                value = value if isinstance(value, bytes) else value.encode("latin-1")
                connection._buffer.append(name.encode() + b": " + value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            try:
                connection.endheaders(body)
                answer = connection.getresponse()
                return Raw(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())
            except (http.client.HTTPException, ConnectionError):
                return None

    def log_lines(self, request_id, wait=3.0):
        """The log lines of one request, as JSON. The line may come a moment after the answer."""
        end = time.monotonic() + wait
        while True:
            found = []
            for line in self.entry.output().splitlines():
                if request_id in line and "{" in line:
                    with contextlib.suppress(ValueError):
                        found.append(json.loads(line[line.index("{") :]))
            if found or time.monotonic() > end:
                return found
            time.sleep(0.05)

    def log_line(self, answer):
        lines = self.log_lines(answer.headers["x-request-id"])
        assert len(lines) == 1, f"{len(lines)} log lines for {check.describe(answer)}: {lines}"
        return lines[0]


class Raw:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Api:
    """One caller: a bearer, and the mount it uses."""

    def __init__(self, gateway, bearer, mount="/v1", headers=None):
        self.gateway = gateway
        self.bearer = bearer
        self.mount = mount
        self.headers = {**({"authorization": f"Bearer {bearer}"} if bearer else {}), **(headers or {})}

    def on(self, mount):
        return Api(self.gateway, self.bearer, mount, self.headers)

    def having(self, **headers):
        return Api(self.gateway, self.bearer, self.mount, {**self.headers, **headers})

    def request(self, method, path, body=UNSET, *, content=None, headers=None, allowed=(), **kw):
        if body is not UNSET:
            # Not httpx's `json`: it refuses what some tests must send.
            content = json.dumps(body).encode()
        sent = {**self.headers, **({"content-type": "application/json"} if content is not None else {}), **(headers or {})}
        url = f"{self.gateway.origin}{self.mount}{path}"
        answer = self.gateway.http.request(method, url, content=content, headers=sent, **kw)
        return self.gateway.watch(answer, allowed)

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body=UNSET, **kw):
        return self.request("POST", path, body, **kw)

    def put(self, path, body=UNSET, **kw):
        return self.request("PUT", path, body, **kw)

    def patch(self, path, body=UNSET, **kw):
        return self.request("PATCH", path, body, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    @contextlib.contextmanager
    def open(self, path, body, **kw):
        """A POST whose answer is read piece by piece."""
        headers = {**self.headers, "content-type": "application/json"}
        url = f"{self.gateway.origin}{self.mount}{path}"
        with self.gateway.http.stream("POST", url, content=json.dumps(body).encode(), headers=headers, **kw) as answer:
            check.common(answer)
            yield answer

    def sse(self, path, body, **kw):
        """A streamed call read to its end: `Sse`, or the answer itself when it is an error."""
        answer = self.post(path, {**body, "stream": True}, **kw)
        if answer.status_code != 200:
            return answer
        assert answer.headers["content-type"].split(";")[0] == "text/event-stream", check.describe(answer)
        return check.Sse(answer.content)

    def chat(self, model, **members):
        body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], **members}
        return self.post("/chat/completions", body)

    def chat_stream(self, model, **members):
        body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], **members}
        return self.sse("/chat/completions", body)


class Tenant:
    """A fresh tenant. `admin` is its first key, which has both scopes."""

    def __init__(self, gateway, **fields):
        self.gateway = gateway
        fields.setdefault("name", unique("tenant"))
        answer = gateway.operator.post("/tenant", fields)
        made = check.ok(answer, 201)
        self.id, self.name, self.api_key = made["id"], made["name"], made["api_key"]
        watch_key(gateway, self.api_key, f"the key of tenant {self.name}")
        self.admin = gateway.api(self.api_key)
        self.ibm = self.admin.on("/ml/gateway/v1")

    def provider(self, account=None, *, type="openai", name=None, **data):
        """A provider object as created; an `account` of the simulator fills in its address and key."""
        if account is not None:
            data = {"apikey": account.key, "base_url": account.base_url, **data}
        for field, value in data.items():
            # Only what cannot turn up by chance is worth watching for.
            if any(word in field.lower() for word in ("key", "secret", "token")) and len(set(value)) >= 12:
                self.gateway.canaries.add(value, f"{field} of a {type} provider")
        answer = self.admin.post(f"/providers/{type}", {"name": name or unique(type), "data": data})
        return check.ok(answer, 201)

    def model(self, provider, id="gpt-4o-mini", alias=None, **members):
        body = {"id": id, **({"alias": alias} if alias else {}), **members}
        return check.ok(self.admin.post(f"/providers/{provider['uuid']}/models", body), 201)

    def serves(self, account, alias="chat", id="gpt-4o-mini"):
        """An openai provider on that account with one model."""
        provider = self.provider(account)
        return provider, self.model(provider, id, alias)

    def key(self, **fields):
        fields = {"name": unique("key"), "scopes": ["inference"], **fields}
        made = check.ok(self.admin.post("/keys", fields), 201)
        watch_key(self.gateway, made["api_key"], f"key {made['name']}")
        return made

    def inference(self, **fields):
        return self.gateway.api(self.key(**fields)["api_key"])

    def renew(self):
        """A key that no isolate has met takes the first one's place: who is asked with it asks the store, so all of
        them know what has been changed until now. One that met the tenant before need not, for a while."""
        self.api_key = self.key(scopes=["admin", "inference"])["api_key"]
        self.admin = self.gateway.api(self.api_key)
        self.ibm = self.admin.on("/ml/gateway/v1")

    def providers(self):
        return check.ok(self.admin.get("/providers?format=array"))

    def models(self):
        return check.ok(self.ibm.get("/models"))["data"]


def watch_key(gateway, key, what):
    """The random part of a bearer key is as secret as a credential once it has been handed out."""
    gateway.canaries.add(key.split(".")[2], what)


def unique(stem):
    return f"{stem}-{secrets.token_hex(5)}"


def unused_id():
    return str(uuid.uuid4())
