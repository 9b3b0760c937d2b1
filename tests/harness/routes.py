"""Every route of the API, once: (method, path below the mount, a body that is accepted or None, who may call it)."""

from dataclasses import dataclass

ADMIN_LIMIT = 256 * 1024
DATA_LIMIT = 4 * 1024 * 1024
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    body: dict | None = None
    scope: str = "admin"  # admin, inference, any, operator
    optional: tuple = ()  # members of the body that may be left out
    limit: int = ADMIN_LIMIT

    @property
    def data(self):
        return self.scope == "inference"

    @property
    def required(self):
        return [member for member in self.body if member not in self.optional]

    def fill(self, **ids):
        return self.path.format(**{"provider": "p", "model": "m", "key": "k", **ids})

    def __str__(self):
        return f"{self.method} {self.path}"


PROVIDER = {"name": "p", "data": {"apikey": "k"}}
ROUTES = [
    Route("POST", "/tenant", {"name": "t"}, "operator"),
    Route("GET", "/tenants", None, "operator"),
    Route("GET", "/tenant"),
    Route("PUT", "/tenant", {"name": "t"}),
    Route("PATCH", "/tenant", {"name": "t"}, optional=("name",)),
    Route("DELETE", "/tenant"),
    Route("POST", "/tenant/export", {"sealing_key": "A" * 43 + "="}, optional=("sealing_key",)),
    Route("POST", "/tenants/import", {"document": {}}, "operator", limit=DATA_LIMIT),
    Route("POST", "/providers/openai", PROVIDER),
    Route("GET", "/providers"),
    Route("GET", "/providers/{provider}"),
    Route("PUT", "/providers/{provider}/openai", PROVIDER),
    Route("DELETE", "/providers/{provider}"),
    Route("GET", "/providers/{provider}/models/available"),
    Route("POST", "/providers/{provider}/models", {"id": "m"}),
    Route("GET", "/providers/{provider}/models"),
    Route("PUT", "/providers/{provider}/models/{model}", {"id": "m"}, optional=("id",)),
    Route("PATCH", "/providers/{provider}/models/{model}", {"id": "m"}, optional=("id",)),
    Route("DELETE", "/providers/{provider}/models/{model}"),
    Route("GET", "/models", None, "any"),
    Route("GET", "/models/{model}", None, "any"),
    Route("DELETE", "/models/{model}"),
    Route("GET", "/usage"),
    Route("GET", "/usage/user", None, "any"),
    Route("POST", "/keys", {"name": "k", "scopes": ["inference"]}, optional=("scopes",)),
    Route("GET", "/keys"),
    Route("DELETE", "/keys/{key}"),
    Route("POST", "/chat/completions", CHAT, "inference", limit=DATA_LIMIT),
    Route("POST", "/completions", {"model": "chat", "prompt": "Hi"}, "inference", limit=DATA_LIMIT),
    Route("POST", "/embeddings", {"model": "chat", "input": "Hi"}, "inference", limit=DATA_LIMIT),
]
WITH_BODY = [route for route in ROUTES if route.body is not None]
MOUNTS = ("/v1", "/ml/gateway/v1")


def methods_of(path):
    return {route.method for route in ROUTES if route.path == path}
