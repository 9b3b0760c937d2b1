"""Judging answers. Every failure says which request it was."""

import json
import time

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "upstream_error",
    503: "server_error",
    504: "upstream_error",
}
ANY = object()


def describe(answer):
    request = answer.request
    return f"{request.method} {request.url} -> {answer.status_code} {answer.text[:600]!r}"


def common(answer):
    """What holds for every answer of the gateway."""
    headers = answer.headers
    where = f"{answer.request.method} {answer.request.url} -> {answer.status_code}"
    assert headers.get("x-request-id"), f"{where}: no x-request-id"
    assert "no-store" in headers.get("cache-control", ""), f"{where}: cache-control {headers.get('cache-control')!r}"
    assert headers.get("x-content-type-options") == "nosniff", f"{where}: no nosniff"
    for name in ("set-cookie", "location", "access-control-allow-origin", "strict-transport-security"):
        assert name not in headers, f"{where}: unexpected header {name}"


def ok(answer, status=200):
    assert answer.status_code == status, describe(answer)
    if status == 204:
        assert answer.content == b"", describe(answer)
        return None
    assert answer.headers["content-type"].split(";")[0] == "application/json", describe(answer)
    return answer.json()


def error(answer, status, code=None, *, param=ANY, type=None, message=None, says=None):
    """An OpenAI-shaped error with that status; the error object is returned."""
    assert answer.status_code == status, f"expected {status}: {describe(answer)}"
    assert answer.headers["content-type"].split(";")[0] == "application/json", describe(answer)
    body = answer.json()
    found = error_object(body, describe(answer))
    wanted_type = type or ERROR_TYPES.get(status)
    if wanted_type:
        assert found["type"] == wanted_type, f"type is not {wanted_type}: {describe(answer)}"
    if code is not None:
        codes = (code,) if isinstance(code, str) else code
        assert found["code"] in codes, f"code is not {code}: {describe(answer)}"
    if param is not ANY:
        assert found["param"] == param, f"param is not {param!r}: {describe(answer)}"
    if message is not None:
        assert found["message"] == message, f"message is not {message!r}: {describe(answer)}"
    if says is not None:
        assert says in found["message"], f"message does not say {says!r}: {describe(answer)}"
    if status == 401:
        assert answer.headers.get("www-authenticate", "").startswith("Bearer"), describe(answer)
    if "status_code" in body:
        assert body["status_code"] == status, describe(answer)
    return found


def error_object(body, where):
    assert isinstance(body, dict) and isinstance(body.get("error"), dict), f"no error object: {where}"
    found = body["error"]
    assert set(found) == {"message", "type", "param", "code"}, f"members {sorted(found)}: {where}"
    assert isinstance(found["message"], str) and found["message"].strip(), f"message: {where}"
    assert isinstance(found["type"], str) and found["type"], f"type: {where}"
    assert found["param"] is None or isinstance(found["param"], str), f"param: {where}"
    assert found["code"] is None or isinstance(found["code"], str), f"code: {where}"
    for twin in body.get("errors", []):
        assert twin["code"] == found["code"] and twin["message"] == found["message"], f"errors[]: {where}"
    return found


def within(seconds, attempt, step=0.25):
    """Repeats `attempt` until it raises no AssertionError; at least once, for `seconds` and a little slack."""
    end = time.monotonic() + seconds + (2 if seconds else 0)
    while True:
        try:
            return attempt()
        except AssertionError:
            if time.monotonic() >= end:
                raise
        time.sleep(step)


class Sse:
    """A server-sent stream, read as strictly as the pickiest SDK does."""

    def __init__(self, data):
        self.data = data
        self.payloads = []
        self.comments = []
        self.done = False
        text = data.decode("utf-8")
        assert "\r" not in text, f"CR in the stream: {text!r}"
        assert text == "" or text.endswith("\n\n"), f"the stream ends within an event: {text[-200:]!r}"
        for block in text.split("\n\n")[:-1]:
            for line in block.split("\n"):
                assert not self.done, f"data after [DONE]: {line!r}"
                if line.startswith(":"):
                    self.comments.append(line)
                    continue
                assert line.startswith("data: "), f"not a data line: {line!r}"
                if line == "data: [DONE]":
                    self.done = True
                else:
                    self.payloads.append(json.loads(line[6:]))

    @property
    def errors(self):
        return [payload["error"] for payload in self.payloads if "error" in payload]

    @property
    def chunks(self):
        return [payload for payload in self.payloads if "error" not in payload]

    @property
    def text(self):
        parts = []
        for chunk in self.chunks:
            for choice in chunk["choices"]:
                parts.append(choice.get("text") or choice.get("delta", {}).get("content") or "")
        return "".join(parts)

    @property
    def finish_reasons(self):
        return [c["finish_reason"] for chunk in self.chunks for c in chunk["choices"] if c.get("finish_reason")]

    def finished(self):
        assert self.done and not self.errors, f"not a finished stream: {self.data!r}"
        return self

    def cut(self, code=None):
        """Exactly one error event, the last thing, and no [DONE]."""
        assert not self.done, f"[DONE] after a fault: {self.data!r}"
        assert len(self.errors) == 1 and "error" in self.payloads[-1], f"not one error at the end: {self.data!r}"
        found = error_object(self.payloads[-1], repr(self.data[-500:]))
        if code is not None:
            codes = (code,) if isinstance(code, str) else code
            assert found["code"] in codes, f"code is not {code}: {found}"
        return found
