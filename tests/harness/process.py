"""Processes of a run: one entry of the gateway, the provider simulator, the stand-in for AWS."""

import base64
import contextlib
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import time

import httpx

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 60

# Short enough to wait for, long enough for two busy cores.
TIMEOUTS_MS = {
    "GATEWAY_FIRST_CONTENT_TIMEOUT_MS": 3_000,
    "GATEWAY_IDLE_TIMEOUT_MS": 2_500,
    "GATEWAY_ANSWER_TIMEOUT_MS": 4_000,
    "GATEWAY_TOTAL_TIMEOUT_MS": 9_000,
    "GATEWAY_KEEP_ALIVE_MS": 800,
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A child in a process group of its own, its output in a file."""

    def __init__(self, command, log, env=None):
        self.log = pathlib.Path(log)
        self._file = open(self.log, "ab", buffering=0)
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=ROOT,
            start_new_session=True,
        )

    def output(self):
        return self.log.read_text("utf-8", "replace")

    def wait_for(self, url, text=None, seconds=START_SECONDS):
        """Waits until the log holds `text` (if given) and `url` answers 2xx."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.child.poll() is not None:
                raise RuntimeError(f"ended with {self.child.returncode}:\n{self.output()[-4000:]}")
            if text is None or text in self.output():
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(url, timeout=5).is_success:
                        return
            time.sleep(0.05)
        raise RuntimeError(f"no answer from {url} within {seconds} s:\n{self.output()[-4000:]}")

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)

    def stop(self, seconds=15):
        """Asks the leader to end; whoever is left in its group afterwards is killed."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def kill(self):
        """SIGKILL for the whole group, in the middle of whatever it does."""
        self.signal(signal.SIGKILL)
        self.child.wait(10)
        self._file.close()


class Aws:
    """DynamoDB and Secrets Manager, in memory, shared by every Lambda entry of a session."""

    def __init__(self, folder):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        moto = pathlib.Path(sys.executable).parent / "moto_server"
        self.process = Process([moto, "-H", "127.0.0.1", "-p", port], folder / "aws.log")
        self.process.wait_for(f"{self.url}/moto-api/")

    def client(self, service):
        import boto3  # slow to load, and only of use here

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def requests(self):
        """How many calls it has answered: it logs one line for each."""
        return self.process.output().count("POST / HTTP/1.1")

    def table_bytes(self, table):
        """Everything a table holds, as it comes over the wire."""
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=table)
        plain = lambda v: v.decode("latin-1") if isinstance(v, bytes) else str(v)  # noqa: E731
        return json.dumps([page["Items"] for page in pages], default=plain).encode()

    def stop(self):
        self.process.stop()


class FaultyAws:
    """The stand-in for AWS as an entry of its own sees it, through `aws_faults`: rules break calls, and all are counted."""

    def __init__(self, aws, folder):
        self.aws = aws
        env = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        self.process = Process([sys.executable, "-m", "harness.aws_faults", "--to", aws.url], folder / "aws-faults.log", env)
        end = time.monotonic() + 20
        while "control on " not in self.process.output():
            assert self.process.child.poll() is None and time.monotonic() < end, self.process.output()
            time.sleep(0.02)
        said = self.process.output().split()
        self.url = said[2].rstrip(",")
        self.http = httpx.Client(base_url=said[5], timeout=20)

    def rule(self, fault, operation="*", **members):
        """One rule instead of all before; see `aws_faults` for its members."""
        self.rules({"fault": fault, "operation": operation, **members})

    def rules(self, *rules):
        self._control("PUT", "/rules", rules)

    def clear(self):
        """Everything passes again, and nothing has been counted."""
        self.rules()
        self._control("PUT", "/listening", True) if self.refusing else None
        self.refusing = False
        self._control("DELETE", "/counts")

    refusing = False

    def refuse(self):
        """Nobody listens any more; what was under way is reset."""
        self._control("PUT", "/listening", False)
        self.refusing = True

    def counts(self):
        """By operation: {"calls", "broken", "open"}."""
        return self._control("GET", "/counts").json()

    def calls(self, operation=None):
        counts = self.counts()
        return sum(count["calls"] for name, count in counts.items() if operation in (None, name))

    def _control(self, method, path, body=None):
        answer = self.http.request(method, path, content=json.dumps(body).encode())
        assert answer.is_success, f"aws_faults: {answer.status_code} {answer.text}"
        return answer

    # What tests ask of the stand-in itself is not broken.

    def client(self, service):
        return self.aws.client(service)

    def table_bytes(self, table):
        return self.aws.table_bytes(table)

    def requests(self):
        return self.calls()

    def stop(self):
        self.http.close()
        self.process.stop()


class Entry:
    """One entry of the gateway, started by infra/serve. `restart` keeps its state, port and keys."""

    def __init__(self, kind, folder, *, egress="", aws=None, env=None):
        self.kind = kind
        self.folder = pathlib.Path(folder)
        self.state = self.folder / "state"
        self.state.mkdir(parents=True)
        self.log = self.folder / "gateway.log"
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.aws = aws
        self.table = f"gateway-{secrets.token_hex(4)}"
        self.admin_key = secrets.token_urlsafe(32)
        self.sealing_key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "AWS_"))},
            "GATEWAY_PROFILE": os.environ.get("GATEWAY_PROFILE", "release"),
            "GATEWAY_ADMIN_KEY": self.admin_key,
            "GATEWAY_SEALING_KEY": self.sealing_key,
            "SERVE_SKIP_BUILD": "1",
            "EGRESS_ALLOW_ORIGINS": egress,
            "RUST_LOG": "info",
            **{name: str(ms) for name, ms in TIMEOUTS_MS.items()},
            **(env or {}),
        }
        if kind == "lambda":
            self.env |= {"AWS_ENDPOINT_URL": aws.url, "TABLE_NAME": self.table}
        # A command that runs infra/serve, for what is inherited.
        self.prefix = []
        self.process = None

    def start(self):
        before = self.log.stat().st_size if self.log.exists() else 0
        command = [*self.prefix, ROOT / "infra/serve", self.kind, "--port", self.port, "--state", self.state]
        self.process = Process(command, self.log, self.env)
        self.process.wait_for(f"{self.origin}/healthz")
        end = time.monotonic() + 10
        while f"listening on {self.origin}" not in self.output(before):
            assert time.monotonic() < end, "infra/serve did not say that it is listening"
            time.sleep(0.02)
        return self

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None

    def kill(self):
        """SIGKILL; back when nobody listens on its port any more."""
        self.process.kill()
        self.process = None
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as s, contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", self.port))
                return
            time.sleep(0.01)

    def restart(self, **env):
        """With other variables, if given."""
        self.stop()
        self.env |= env
        return self.start()

    @property
    def bound(self):
        """Seconds until a change made in one place is known in every other (design: at once, or 30 s)."""
        return 0 if self.kind == "local" else 30

    def output(self, start=0):
        with open(self.log, "rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace")

    def stored(self):
        """(name, bytes) of all that is at rest, while it runs."""
        if self.kind == "lambda":
            yield f"table {self.table}", self.aws.table_bytes(self.table)
        for path in sorted(self.state.rglob("*")):
            if path.is_file():
                with contextlib.suppress(FileNotFoundError):
                    yield str(path.relative_to(self.folder)), path.read_bytes()


class Simulator:
    """The provider simulator (tests/upstream): every account has its own script and record."""

    def __init__(self, folder):
        self.process = Process([built_simulator(), "--port", "0"], folder / "upstream.log")
        end = time.monotonic() + 20
        while "listening on " not in self.process.output():
            assert self.process.child.poll() is None and time.monotonic() < end, self.process.output()
            time.sleep(0.02)
        self.origin = self.process.output().split("listening on ")[1].split()[0]
        self.http = httpx.Client(base_url=self.origin, timeout=20)

    def account(self, **settings):
        return Account(self, **settings)

    def stop(self):
        self.http.close()
        self.process.stop()


class Account:
    """One upstream account, with a key of its own that nobody else may use."""

    def __init__(self, simulator, **settings):
        self.simulator = simulator
        self.name = f"a{secrets.token_hex(6)}"
        self.key = f"sk-{secrets.token_urlsafe(30)}"
        self.base_url = f"{simulator.origin}/{self.name}/v1"
        self.settings = {"keys": [self.key], "created": 1760000000, **settings}
        self.configure()

    def configure(self, **settings):
        self.settings |= settings
        self._control("PUT", json=self.settings)
        return self

    def script(self, *steps, repeat=False):
        """What the next calls get, one step each; with `repeat` the last one stays."""
        self.configure(script=list(steps), repeat=repeat)

    def clear(self):
        """Forgets the record and ends what hangs."""
        self._control("DELETE")
        self.configure()
        return self

    def calls(self):
        return self._control("GET", "/calls").json()

    def open(self):
        """How many exchanges are under way."""
        return self._control("GET", "/open").json()["open"]

    def last(self):
        calls = self.calls()
        assert calls, "nothing reached the upstream"
        return calls[-1]

    def _control(self, method, what="", **kw):
        answer = self.simulator.http.request(method, f"/_control/{self.name}{what}", **kw)
        assert answer.is_success, f"simulator: {answer.status_code} {answer.text}"
        return answer


def build(entry):
    """What a run needs, once, before its tests and their time limits begin."""
    if not os.environ.get("SERVE_SKIP_BUILD"):
        subprocess.run([ROOT / "infra/serve", entry, "--build"], check=True)
        subprocess.run(["cargo", "build", "--quiet", "-p", "gateway-upstream"], cwd=ROOT, check=True)


def built_simulator():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [target / profile / "upstream" for profile in ("debug", "release")]
    return next(path for path in built if path.exists())
