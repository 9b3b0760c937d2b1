"""A proxy before the stand-in for AWS that breaks calls as a test asks: DynamoDB and Secrets Manager on a bad day.

    python -m harness.aws_faults --to http://127.0.0.1:PORT [--port 0] [--control 0]     (in tests/)

Prints `proxy on URL, control on URL` when it listens. Control:

    PUT /rules      a list of rules, instead of all before: {"operation", "fault", "times", "skip", ...}
    PUT /listening  true or false: whether it takes connections; false ends those that are open (refused)
    GET /counts     {"GetItem": {"calls": 3, "broken": 1, "open": 0}, ...}, since the last DELETE
    DELETE /counts  forgets the counts

The first rule whose `operation` fits decides: the name in X-Amz-Target without its prefix ("PutItem", "GetSecretValue"), a service
("DynamoDB", "SecretsManager"), or "*". `skip` lets so many pass first; `times` is how often it holds, for ever if absent; `only`
is a text that the body must contain. Faults:

    hang      no answer at all                        reset     the connection is reset, nothing was done
    lost      it is done, then the connection resets  slow      `delay_ms`, then as usual
    500       an internal error of the service        throttle  the service's own error for too many calls
    denied    the role may not                        missing   ResourceNotFoundException
    deleted   scheduled for deletion                  conflict  ConditionalCheckFailedException
    skew      the signature is of another time        answer    `status` and `body`, as given
"""

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import urllib.parse

DYNAMO, SECRETS = "DynamoDB", "SecretsManager"
ERRORS = {
    "500": (500, {DYNAMO: "InternalServerError", SECRETS: "InternalServiceError"}),
    "throttle": (400, {DYNAMO: "ProvisionedThroughputExceededException", SECRETS: "ThrottlingException"}),
    "denied": (400, {DYNAMO: "AccessDeniedException", SECRETS: "AccessDeniedException"}),
    "missing": (400, {DYNAMO: "ResourceNotFoundException", SECRETS: "ResourceNotFoundException"}),
    "deleted": (400, {DYNAMO: "ValidationException", SECRETS: "InvalidRequestException"}),
    "conflict": (400, {DYNAMO: "ConditionalCheckFailedException", SECRETS: "ResourceExistsException"}),
    "skew": (400, {DYNAMO: "InvalidSignatureException", SECRETS: "InvalidSignatureException"}),
}
OTHERS = ("hang", "reset", "lost", "slow", "answer")
# Must never be seen by a client or in a log.
TEXT = "words of aws that are nobody's business"


class Proxy:
    def __init__(self, to):
        url = urllib.parse.urlsplit(to)
        self.to = (url.hostname, url.port)
        self.rules, self.counts, self.open = [], {}, set()
        self.server = None
        self.port = 0

    async def listen(self, port=0):
        self.server = await asyncio.start_server(self.connection, "127.0.0.1", port or self.port, reuse_address=True)
        self.port = self.server.sockets[0].getsockname()[1]

    async def refuse(self):
        if self.server:
            self.server.close()
            self.server = None
        for writer in list(self.open):
            reset(writer)

    def set_rules(self, rules):
        for rule in rules:
            if rule["fault"] not in ERRORS and rule["fault"] not in OTHERS:
                raise ValueError(f"no fault {rule['fault']!r}")
        # Whoever hangs under an old rule is let go.
        for rule in self.rules:
            rule["event"].set()
        self.rules = [{**rule, "event": asyncio.Event()} for rule in rules]

    def rule_for(self, service, operation, body):
        for rule in self.rules:
            if rule.get("operation", "*") not in ("*", service, operation) or rule.get("only", "").encode() not in body:
                continue
            if rule.get("skip", 0) > 0:
                rule["skip"] -= 1
                return None
            if rule.get("times") == 0:
                continue
            if "times" in rule:
                rule["times"] -= 1
            return rule
        return None

    async def connection(self, reader, writer):
        self.open.add(writer)
        try:
            while (request := await read_message(reader)) is not None:
                if not await self.exchange(*request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    async def exchange(self, head, body, writer):
        """One call; whether the connection goes on."""
        service, operation = operation_of(head)
        count = self.counts.setdefault(operation, {"calls": 0, "broken": 0, "open": 0})
        count["calls"] += 1
        count["open"] += 1
        try:
            rule = self.rule_for(service, operation, body)
            count["broken"] += rule is not None
            return await self.act(rule, service, head, body, writer)
        finally:
            count["open"] -= 1

    async def act(self, rule, service, head, body, writer):
        fault = rule["fault"] if rule else None
        if fault == "hang":
            await rule["event"].wait()
        if fault in ("hang", "reset"):
            reset(writer)
            return False
        if fault == "slow":
            await asyncio.sleep(rule.get("delay_ms", 1000) / 1000)
        if fault == "answer":
            await answer(writer, rule.get("status", 200), rule.get("body", ""))
            return True
        if fault in ERRORS:
            status, kinds = ERRORS[fault]
            await answer(writer, status, json.dumps({"__type": f"com.amazonaws#{kinds.get(service, 'Failure')}", "message": TEXT}))
            return True
        passed = await self.forward(head, body)
        if fault == "lost":
            reset(writer)
            return False
        writer.write(passed)
        await writer.drain()
        return True

    async def forward(self, head, body):
        reader, writer = await asyncio.open_connection(*self.to)
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"expect:"))]
        writer.write(b"\r\n".join([*lines, b"connection: close", b"", b""]) + body)
        await writer.drain()
        got = await reader.read(-1)
        writer.close()
        if b"\r\n\r\n" not in got:
            raise ConnectionResetError
        # This side's connection stays open, so the answer must say how long it is.
        head, body = got.split(b"\r\n\r\n", 1)
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"content-length:"))]
        lines[0] = lines[0].replace(b"HTTP/1.0", b"HTTP/1.1")
        return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", b""]) + body


def operation_of(head):
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"x-amz-target":
            service, _, operation = value.strip().decode().partition(".")
            return (DYNAMO if service.startswith("DynamoDB") else SECRETS), operation
    return "", head.split(b" ", 2)[0].decode("latin-1")


async def read_message(reader):
    """Head (without its end) and body of the next request; None at the end of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
    except asyncio.IncompleteReadError:
        return None
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    return head, await reader.readexactly(length)


async def answer(writer, status, body, kind="application/x-amz-json-1.0"):
    body = body.encode()
    writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()


def reset(writer):
    """RST instead of a proper end."""
    with contextlib.suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def control(proxy, reader, writer):
    try:
        while (request := await read_message(reader)) is not None:
            head, body = request
            method, path = head.split(b" ", 2)[:2]
            said, status = "", 200
            try:
                if (method, path) == (b"PUT", b"/rules"):
                    proxy.set_rules(json.loads(body))
                elif (method, path) == (b"PUT", b"/listening"):
                    await (proxy.listen() if json.loads(body) else proxy.refuse())
                elif (method, path) == (b"GET", b"/counts"):
                    said = json.dumps(proxy.counts)
                elif (method, path) == (b"DELETE", b"/counts"):
                    proxy.counts = {}
                else:
                    status = 404
            except (ValueError, KeyError) as error:
                said, status = str(error), 400
            await answer(writer, status, said, "application/json")
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control", type=int, default=0)
    options = parser.parse_args()
    proxy = Proxy(options.to)
    await proxy.listen(options.port)
    controls = await asyncio.start_server(lambda r, w: control(proxy, r, w), "127.0.0.1", options.control)
    url = "http://127.0.0.1:{}".format
    print(f"proxy on {url(proxy.port)}, control on {url(controls.sockets[0].getsockname()[1])}", flush=True)
    await controls.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
