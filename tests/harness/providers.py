"""Every provider type as the simulator plays it: accounts, the settings that lead the gateway there, and models."""

import contextlib
import json
import secrets
import uuid
from dataclasses import dataclass

from .chat import PIXEL


@dataclass(frozen=True, eq=False)
class Kind:
    """A provider type in one of the ways in which it is configured."""

    name: str
    type: str
    chat: str = ""
    complete: str = ""
    embed: str = ""
    others: tuple = ()  # further models, called by their id: an id, or (id, capabilities)
    ids: str = "chatcmpl-"  # what ids of chats begin with
    translated: bool = True  # answers name the model as the client did
    strict: bool = False  # the tenant wants no drops, and OpenAI's shapes only

    def __str__(self):
        return self.name

    def account(self, sim, **settings):
        """An account, and the `data` of a provider that uses it."""
        account = sim.account(provider=self.type, **settings)
        return account, self.data(account)

    def data(self, account):
        root = account.base_url.removesuffix("/v1")
        if self.type in ("openai", "cerebras", "nim"):
            return {"apikey": account.key, "base_url": account.base_url}
        if self.type == "anthropic":
            return {"apikey": account.key, "base_url": root}
        if self.name == "azure-token":
            return {"azure_ad_token": account.key, "resource_name": "my-resource", "base_url": root}
        if self.type == "azure-openai":
            version = {"api_version": "v1"} if self.name == "azure-v1" else {}
            return {"apikey": account.key, "resource_name": "my-resource", "base_url": root, **version}
        if self.type == "watsonxai":
            owner = {"space_id" if self.name == "watsonx-space" else "project_id": str(uuid.uuid4())}
            return {"apikey": account.key, **owner, "base_url": root, "auth_url": f"{root}/identity/token"}
        assert self.type == "bedrock"
        if self.name == "bedrock-key":
            return {"apikey": account.key, "region": "eu-central-1", "base_url": root}
        signed = {"access_key_id": f"AKIA{secrets.token_hex(8).upper()}", "secret_access_key": secrets.token_urlsafe(30), "region": "eu-central-1"}
        if self.name == "bedrock-session":
            signed["session_token"] = secrets.token_urlsafe(60)
        account.configure(**signed)
        return {**signed, "base_url": root}


PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123xyz789"
SEED_CLAUDE = "anthropic.claude-3-7-sonnet-20250219-v1:0"

OPENAI = Kind("openai", "openai", "gpt-4o", "gpt-3.5-turbo-instruct", "text-embedding-3-small", translated=False)
AZURE = Kind("azure-openai", "azure-openai", "my-deployment", "my-instruct", "my-embedding", translated=False)
AZURE_V1 = Kind("azure-v1", "azure-openai", "my-deployment", "my-instruct", "my-embedding", translated=False)
ANTHROPIC = Kind("anthropic", "anthropic", "claude-sonnet-4-6", others=("claude-haiku-4-5", "claude-opus-5", "claude-3-7-sonnet-20250219"))
BEDROCK = Kind(
    "bedrock", "bedrock", "us.anthropic.claude-sonnet-4-6", embed="amazon.titan-embed-text-v2:0",
    others=(
        SEED_CLAUDE, "amazon.nova-lite-v1:0", "openai.gpt-oss-120b-1:0", "amazon.titan-embed-text-v1", "cohere.embed-english-v3", "cohere.embed-v4:0",
        (PROFILE, {"base_model": "anthropic.claude-opus-5"}),
    ),
)  # fmt: skip
BEDROCK_KEY = Kind("bedrock-key", "bedrock", "us.anthropic.claude-sonnet-4-6", embed="amazon.titan-embed-text-v2:0")
WATSONX = Kind("watsonxai", "watsonxai", "meta-llama/llama-3-3-70b-instruct", "meta-llama/llama-3-3-70b-instruct", "ibm/slate-125m-english-rtrvr-v2", others=("deployment/my-deployment",))
AZURE_TOKEN = Kind("azure-token", "azure-openai", "my-deployment", "my-instruct", "my-embedding", translated=False)
AZURE_STRICT = Kind("azure-strict", "azure-openai", "my-deployment", "my-instruct", "my-embedding", translated=False, strict=True)
BEDROCK_SESSION = Kind("bedrock-session", "bedrock", "us.anthropic.claude-sonnet-4-6", embed="amazon.titan-embed-text-v2:0")
WATSONX_SPACE = Kind("watsonx-space", "watsonxai", "meta-llama/llama-3-3-70b-instruct", "meta-llama/llama-3-3-70b-instruct", "ibm/slate-125m-english-rtrvr-v2")
CEREBRAS = Kind("cerebras", "cerebras", "gpt-oss-120b", "llama3.1-8b")
NIM = Kind("nim", "nim", "meta/llama-3.3-70b-instruct", "meta/llama-3.3-70b-instruct", "nvidia/nv-embedqa-e5-v5", others=("openai/gpt-oss-120b", "baai/bge-m3"))

TYPES = [OPENAI, AZURE, ANTHROPIC, BEDROCK, WATSONX, CEREBRAS, NIM]
# The same types, configured in another way.
VARIANTS = [AZURE_V1, AZURE_TOKEN, AZURE_STRICT, BEDROCK_KEY, BEDROCK_SESSION, WATSONX_SPACE]
ALL = TYPES + VARIANTS
COMPLETES = [kind for kind in TYPES if kind.complete]
EMBEDS = [kind for kind in TYPES if kind.embed]
CLAUDE = [ANTHROPIC, BEDROCK]


@dataclass
class Upstream:
    """A tenant whose one provider is played by the simulator. Models are `chat`, `complete`, `embed`, and others by their id."""

    kind: Kind
    tenant: object
    account: object
    provider: dict
    seen: int = 0
    may_refuse: bool = False  # the provider itself is to refuse calls of this test

    @classmethod
    def make(cls, kind, gateway, sim, **fields):
        account, data = kind.account(sim)
        tenant = gateway.tenant(**({"strict_parameters": True} if kind.strict else {}), **fields)
        provider = tenant.provider(type=kind.type, **data)
        for alias in ("chat", "complete", "embed"):
            if id := getattr(kind, alias):
                tenant.model(provider, id, alias)
        for other in kind.others:
            id, said = other if isinstance(other, tuple) else (other, None)
            tenant.model(provider, id, **({"capabilities": said} if said else {}))
        return cls(kind, tenant, account, provider)

    @property
    def api(self):
        return self.tenant.admin

    def calls(self):
        """What reached the provider in this test, tokens left out."""
        return [call for call in self.account.calls() if call["number"] > self.seen and "/identity/token" not in call["path"]]

    def sent(self):
        """The body of the last call."""
        calls = self.calls()
        assert calls, "nothing reached the provider"
        return json.loads(calls[-1]["body"])

    def begin(self):
        self.account.configure(script=[], repeat=False, token_script=[])
        self.seen = max((call["number"] for call in self.account.calls()), default=0)
        self.may_refuse = False

    def judge(self):
        """A gateway never sends what its provider does not know."""
        for call in self.account.calls():
            if call["number"] > self.seen:
                assert call["violations"] == [], f"{call['method']} {call['path']}: {call['violations']}\n{call['body'][:2000]}"
                if not self.may_refuse:
                    assert call["refused"] is None, f"{call['method']} {call['path']}: {call['refused']}\n{call['body'][:2000]}"

    @contextlib.contextmanager
    def nothing_sent(self):
        before = len(self.calls())
        yield
        assert len(self.calls()) == before, f"reached the provider: {self.calls()[before:]}"


class ImageHost:
    """A server of one image: a public path of the simulator, since only its origin is allowed."""

    PATH = "/ml/v1/foundation_model_specs?version=2026-01-01"

    def __init__(self, sim):
        self.account = sim.account(provider="watsonxai")
        self.url = self.account.base_url.removesuffix("/v1") + self.PATH

    def begin(self):
        self.account.clear()
        self.account.script({"raw_body": PIXEL, "content_type": "application/octet-stream"}, repeat=True)
        return self

    def calls(self):
        return self.account.calls()
