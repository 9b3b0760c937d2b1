"""The README, taken at its word: every command in it is run, or checked as far as that is possible without an account.

A comment right before a block says how:

    serve   started as it stands; it runs until the next `serve` block
    call    run as it stands against what the last `serve` block started, one after the other, variables kept
    names   run with stand-ins for programs that need an account; what they were called with must exist in the real ones
    sam     the same, and the template is validated and built

Two things differ from a reader's terminal: the port, which is a free one, and the provider of type openai, which is led to the
simulator after it was made. Tables are compared with the code that they describe.
"""

import functools
import json
import os
import pathlib
import re
import secrets
import shutil
import stat
import subprocess
import sys
import time

import httpx
import pytest

from harness.process import ROOT, free_port

README = ROOT / "README.md"
TOOLS = pathlib.Path(os.environ.get("GATEWAY_TOOLS", ROOT / ".tools"))
LANGUAGES = ("sh", "python", "js")
KINDS = ("serve", "call", "names", "sam")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.M | re.S)
MARK = re.compile(r"<!-- test: (\w+) -->\n *$")


class Block:
    def __init__(self, text, match):
        self.language = match["language"]
        self.text = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M)
        self.line = text.count("\n", 0, match.start()) + 1
        mark = MARK.search(text[: match.start()] + match["indent"])
        self.kind = mark.group(1) if mark else None

    def __repr__(self):
        return f"README.md:{self.line}"


def blocks(kind=None):
    text = README.read_text()
    found = [Block(text, match) for match in FENCE.finditer(text)]
    return [block for block in found if kind is None or block.kind == kind]


def section(title):
    """The text below a heading, to the next heading."""
    parts = re.split(r"^#+ (.+)$", README.read_text(), flags=re.M)
    return parts[parts.index(title) + 1]


def test_every_command_says_how_it_is_tested():
    found = blocks()
    assert found
    for block in found:
        assert block.language in LANGUAGES, f"{block!r}: language {block.language!r}"
        assert block.kind in KINDS, f"{block!r}: kind {block.kind!r}"
        assert block.language == "sh" or block.kind == "call", repr(block)


# --- commands that are run


def environment(**more):
    mine = ("GATEWAY_TOOLS", "GATEWAY_VENV", "GATEWAY_ROOT", "GATEWAY_SAM")
    settings = ("GATEWAY_", "AWS_", "OPENAI_", "EGRESS_", "CORS_", "SECRETS_")
    kept = {name: value for name, value in os.environ.items() if name in mine or not name.startswith(settings)}
    path = f"{TOOLS / 'bin'}:{ROOT / 'node_modules/.bin'}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **more}


def program(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Terminal:
    """A folder in which blocks are run; variables and functions stay from one to the next."""

    def __init__(self, folder, **env):
        self.folder = folder
        self.state = folder / "state.sh"
        self.bin = folder / "bin"
        self.port = free_port()
        # curl calls an answer of 4xx a success; here it is none.
        program(self.bin, "curl", f'#!/bin/sh\nexec {shutil.which("curl")} --fail-with-body "$@"\n')
        # cargo run, from this folder and on this port.
        program(
            self.bin,
            "cargo",
            f"""#!/bin/bash
[ "$1" = run ] || exit 9
[[ " $* " == *" -- "* ]] || set -- "$@" --
exec {shutil.which("cargo")} run --manifest-path {ROOT}/Cargo.toml "${{@:2}}" --port {self.port}
""",
        )
        self.env = environment(CURL_HOME=str(folder), **env)
        self.env["PATH"] = f"{self.bin}:{self.env['PATH']}"
        self.server = None

    def text(self, block):
        return block.text.replace("127.0.0.1:8787", f"127.0.0.1:{self.port}")

    def serve(self, block):
        self.stop()
        log = self.folder / "server.log"
        with open(log, "wb") as out:
            self.server = subprocess.Popen(
                ["bash", "-c", f"exec {self.text(block).strip()}"], cwd=self.folder, env=self.env, stdout=out, stderr=out
            )
        end = time.monotonic() + 1500  # a release build may come first
        while f"listening on http://127.0.0.1:{self.port}" not in log.read_text():
            assert self.server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        return self

    def stop(self):
        if self.server:
            self.server.terminate()
            self.server.wait(40)
            self.server = None

    def run(self, block):
        before = f"set -aeo pipefail; [ ! -e {self.state} ] || source {self.state}"
        after = f"{{ export -p; declare -f; }} > {self.state}"
        if block.language == "sh":
            return self.shell(block, f"{before}\n{self.text(block)}\n{after}\n")
        program_of = {"python": f"{sys.executable} -", "js": "node --input-type=module -"}[block.language]
        # Node looks for packages from its folder upwards.
        return self.shell(block, f"{before}\ncd {ROOT}\n{program_of}", self.text(block))

    def shell(self, block, script, stdin=""):
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.env, input=stdin, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{block!r} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        for name in re.findall(r"\b([A-Z_]+)=\$\(", block.text):
            assert self.value(name) not in ("", "null"), f"{block!r}: {name} got no value:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def value(self, name):
        script = f"source {self.state}; printf %s \"${name}\""
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def make(name, **env):
        folder = tmp_path / name
        folder.mkdir()
        opened.append(Terminal(folder, **env))
        return opened[-1]

    yield make
    for one in opened:
        one.stop()


def sessions():
    """The `serve` blocks, each with the `call` blocks up to the next one."""
    found = []
    for block in blocks():
        if block.kind == "serve":
            found.append([block])
        elif block.kind == "call":
            found[-1].append(block)
    return found


def expectations(block, out):
    assert '"error"' not in out, f"{block!r}: {out}"
    if "chat/completions" in block.text or ".chat." in block.text:
        assert "Hello from the simulated provider" in out, f"{block!r}: {out}"
    if "stream" in block.text and block.language == "sh":
        assert "data: [DONE]" in out, f"{block!r}: {out}"
    if "embeddings" in block.text:
        assert '"embedding"' in out, f"{block!r}: {out}"


@pytest.mark.timeout(1800)
def test_the_demo_answers(terminal):
    serve, *calls = sessions()[0]
    assert "--demo" in serve.text and calls
    here = terminal("demo").serve(serve)
    for block in calls:
        expectations(block, here.run(block))


@pytest.mark.timeout(1800)
def test_a_tenant_is_provisioned_and_called(terminal, sim):
    serve, *calls = sessions()[1]
    account = sim.account()
    other = terminal("other", EGRESS_ALLOW_ORIGINS=sim.origin).serve(serve)
    new = {
        "NEW_GATEWAY_URL": f"http://127.0.0.1:{other.port}",
        "NEW_GATEWAY_ADMIN_KEY": (other.folder / ".gateway/admin-key").read_text().strip(),
    }
    here = terminal("here", OPENAI_API_KEY=account.key, EGRESS_ALLOW_ORIGINS=sim.origin, **new).serve(serve)
    for block in calls:
        out = here.run(block)
        expectations(block, out)
        lead_to(account, here)
    assert other_tenant(new) == "acme"


def lead_to(account, here):
    """What the README cannot do: the tenant's providers of OpenAI are simulated ones from now on."""
    caller = httpx.Client(
        base_url=here.value("GATEWAY_URL") + "/v1", headers={"authorization": f"Bearer {here.value('TENANT_KEY')}"}, trust_env=False
    )
    with caller:
        for provider in caller.get("/providers").json():
            if provider["type"] == "openai":
                body = {"name": provider["name"], "data": {"apikey": account.key, "base_url": account.base_url}}
                caller.put(f"/providers/{provider['uuid']}/openai", json=body).raise_for_status()


def other_tenant(new):
    headers = {"authorization": f"Bearer {new['NEW_GATEWAY_ADMIN_KEY']}"}
    return httpx.get(f"{new['NEW_GATEWAY_URL']}/v1/tenant", headers=headers, trust_env=False).json()["name"]


# --- commands that need an account

STAND_IN = """#!{python}
import json, os, sys
said = "" if sys.stdin.isatty() else sys.stdin.read()
with open({log!r}, "a") as log:
    log.write(json.dumps([{name!r}, sys.argv[1:], said]) + "\\n")
print("https://gateway.example/" if "OutputValue" in " ".join(sys.argv) else '{{"GATEWAY_ADMIN_KEY": "{key}"}}')
"""
REPLACED = ("aws", "curl", "git", "rustup", "sam", "wrangler")


def called(block, folder):
    """Runs a block with stand-ins and answers with what was called, as lists of words."""
    log = folder / "called"
    log.touch()
    for name in REPLACED:
        program(folder / "bin", name, STAND_IN.format(python=sys.executable, log=str(log), name=name, key=secrets.token_hex(8)))
    for name in ("setup", "test"):
        program(folder / "infra", name, STAND_IN.format(python=sys.executable, log=str(log), name=f"infra/{name}", key=""))
    (folder / "infra/env").write_text("")
    given = {"SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:x", "GATEWAY_URL": "https://gateway.example/", "NEW_JSON": "{}"}
    env = environment(**given)
    env["PATH"] = f"{folder / 'bin'}:{env['PATH']}"
    script = f"set -aeo pipefail\n{block.text}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{block!r}: {done.stdout}\n{done.stderr}"
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert calls, f"{block!r} calls nothing"
    return calls


def help_of(*command):
    done = subprocess.run([*command, "--help"], cwd=ROOT, env=environment(CI="1"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
    return done.stdout + done.stderr if done.returncode == 0 else ""


help_of = functools.cache(help_of)


def flags(words):
    return [word.split("=")[0] for word in words if re.match(r"-{1,2}[A-Za-z]", word)]


def has_flag(text, flag):
    return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text) is not None


def check_wrangler(words, said):
    names = [word for word in words if re.fullmatch(r"[a-z]+", word)]
    for length in range(len(names), 0, -1):
        text = help_of("wrangler", *names[:length])
        usage = re.search(rf"^wrangler {' '.join(names[:length])}((?: [<\[][\w.-]+[>\]])*)$", text, re.M)
        if usage and words[:length] == names[:length]:
            break
    else:
        raise AssertionError(f"wrangler has no command {words}")
    for flag in flags(words):
        assert has_flag(text, flag), f"wrangler {' '.join(names)}: no {flag}"
    values = {words[i + 1] for i, w in enumerate(words[:-1]) if w in ("--env", "--format", "--namespace-id")}
    given = [word for word in words[length:] if not word.startswith("-") and word not in values]
    takes = usage.group(1).split()
    needs = [one for one in takes if one.startswith("<")]
    assert len(needs) <= len(given) <= len(takes), f"wrangler {words}: takes {takes}"
    if words[:2] == ["secret", "put"] and "--env" not in words:
        assert len(said.strip()) >= 32, f"nothing for {words}"


def check_aws(words, said):
    import botocore.session

    session = botocore.session.get_session()
    service, command, *rest = words
    model = session.get_service_model(service)
    from botocore import xform_name

    operation = next((model.operation_model(n) for n in model.operation_names if xform_name(n, "-") == command), None)
    assert operation, f"aws {service} has no {command}"
    takes = {xform_name(name, "-"): name for name in operation.input_shape.members}
    for flag in flags(rest):
        assert flag[2:] in takes or flag in ("--query", "--output", "--region"), f"aws {service} {command}: no {flag}"
    for name in operation.input_shape.required_members:
        assert f"--{xform_name(name, '-')}" in rest, f"aws {service} {command} needs {name}"
    if "--secret-string" in rest and command == "create-secret":
        keys = json.loads(rest[rest.index("--secret-string") + 1])
        assert set(keys) == {"GATEWAY_ADMIN_KEY", "GATEWAY_SEALING_KEY"} and len(keys["GATEWAY_ADMIN_KEY"]) >= 32
    for name in re.findall(r"OutputKey=='(\w+)'", " ".join(rest)):
        assert name in template()["Outputs"], name


def check_sam(words, said):
    command, *rest = words
    text = help_of("sam", command)
    assert text, f"sam has no command {command}"
    for flag in flags(rest):
        assert has_flag(text, flag), f"sam {command}: no {flag}"
    if command == "deploy":
        given = {word.split("=", 1)[0] for word in rest[rest.index("--parameter-overrides") + 1 :]}
        known = template()["Parameters"]
        assert given <= set(known), f"parameters {given - set(known)}"
        assert {name for name, one in known.items() if "Default" not in one} <= given


@functools.cache
def template():
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    plain = {yaml.ScalarNode: "construct_scalar", yaml.SequenceNode: "construct_sequence", yaml.MappingNode: "construct_mapping"}
    Loader.add_multi_constructor("!", lambda loader, _, node: getattr(loader, plain[type(node)])(node))
    return yaml.load((ROOT / "template.yaml").read_text(), Loader)


def check_git(words, said):
    done = subprocess.run(["git", words[0], "-h"], cwd=ROOT, capture_output=True, text=True)
    assert f"usage: git {words[0]}" in done.stdout + done.stderr, words


def check_rustup(words, said):
    architecture = {"arm64": "aarch64", "x86_64": "x86_64"}[template()["Parameters"]["Architecture"]["Default"]]
    assert words == ["target", "add", f"{architecture}-unknown-linux-gnu"]


def check_curl(words, said):
    assert words[-1].endswith(("/readyz", "/healthz")) and "//" not in words[-1].split("://")[1], words


def check_infra_setup(words, said):
    text = help_of(str(ROOT / "infra/setup"))
    assert words[0] == "--only" and has_flag(text, "--only")
    groups = re.search(r"only of these: ([\w ]+)|only these of: ([\w ]+)", text)
    assert set(words[1].split(",")) <= set((groups[1] or groups[2]).split()), words


def check_infra_test(words, said):
    assert words == [] and os.access(ROOT / "infra/test", os.X_OK)


def name_of(block):
    return f"line{block.line}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("block", blocks("names") + blocks("sam"), ids=name_of)
def test_what_needs_an_account_exists(block, tmp_path):
    for name, words, said in called(block, tmp_path):
        globals()[f"check_{name.replace('/', '_')}"](words, said)


def run(*command, seconds=1500, **env):
    done = subprocess.run(command, cwd=ROOT, env=environment(**env), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("environment_flags", [[], ["--env", "staging"]], ids=["production", "staging"])
def test_the_worker_could_be_deployed(environment_flags, tmp_path):
    out = run("wrangler", "deploy", "--dry-run", "--outdir", str(tmp_path), *environment_flags, CI="1", WRANGLER_SEND_METRICS="false")
    for binding in ("CONFIG", "TENANT", "REGISTRY", "USAGE"):
        assert f"env.{binding}" in out, out
    assert list(tmp_path.glob("*.wasm"))


@pytest.mark.timeout(1800)
def test_the_function_could_be_deployed(tmp_path):
    sam = {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"}
    run("sam", "validate", "--lint", **sam)
    # For this machine's processor: the standard library of another one may not be installed.
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]
    build = ["sam", "build", "--build-dir", str(tmp_path / "build"), "--parameter-overrides", f"Architecture={machine}"]
    run(*build, **sam)
    built = [path for path in tmp_path.rglob("bootstrap") if path.is_file()]
    assert len(built) == 1 and os.access(built[0], os.X_OK)


# --- tables


def code(path):
    """A source file without its tests."""
    return (ROOT / path).read_text().split("#[cfg(test)]")[0]


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")][2:]


def test_every_setting_is_listed():
    pattern = r'"((?:GATEWAY|EGRESS|CORS|SECRETS)_[A-Z_]+|RUST_LOG|TABLE_NAME)"'
    sources = ["core/src/deployment.rs", *(str(p.relative_to(ROOT)) for p in ROOT.glob("functions/*/src/**/*.rs"))]
    known = {name for path in sources for name in re.findall(pattern, code(path))}
    listed = {name for row in rows(section("Settings")) for name in re.findall(r"`([A-Z_]+)`", row[0])}
    assert listed == known
    limits = numbers()
    for variable, constant in re.findall(r'ms\(&text, "(\w+)", limits::(\w+)\)', code("core/src/deployment.rs")):
        row = next(row for row in rows(section("Settings")) if f"`{variable}`" in row[0])
        assert row[1] == str(limits[constant]), variable


def test_every_error_code_is_listed_with_its_status():
    found = re.findall(r'^    \w+ = (\d+) "(\w+)"', code("core/src/error.rs"), re.M)
    table = {name: status for status, name in found}
    assert table
    listed = {}
    for statuses, codes in rows(section("Errors")):
        for name in re.findall(r"`([a-z0-9_]+)`", codes):
            if name != "param":
                listed[name] = statuses.split(", ")
    assert set(listed) == set(table)
    for name, status in table.items():
        assert status in listed[name], name


def test_every_member_of_a_log_line_is_listed():
    members = set(re.findall(r'put\(\s*"([\w.]+)"', code("core/src/exchange.rs")))
    assert members and members <= set(re.findall(r"`([\w.]+)`", section("Logs")))


def test_every_provider_field_is_listed():
    source = code("core/src/provider/mod.rs")
    fields = set(re.findall(r'Field \{ name: "(\w+)"', source))
    listed = {name for row in rows(section("Provision")) for cell in row[1:] for name in re.findall(r"`(\w+)`", cell)}
    assert listed == fields
    names = source.split("pub const fn as_str")[1].split("pub fn")[0]
    types = set(re.findall(r'Self::\w+ => "([a-z-]+)",', names))
    assert {name for row in rows(section("Provision")) for name in re.findall(r"`([a-z-]+)`", row[0])} == types


def test_every_capability_is_listed():
    known = set(re.findall(r'^    \("(\w+)", Kind::', code("core/src/model/capabilities.rs"), re.M))
    table = section("What each provider does with a request").split("| member of `capabilities`")[1]
    listed = {name for row in rows("| member" + table) for name in re.findall(r"`(\w+)`", row[0])}
    assert known and listed == known


def test_every_class_of_tokens_is_listed():
    names = code("core/src/account/usage.rs").split("fn as_str")[1].split("/// The class of that name")[0]
    classes = set(re.findall(r'Self::\w+ => "(\w+)"', names))
    assert classes and classes <= set(re.findall(r"`(\w+)`", section("What a call costs")))


def numbers():
    consts = re.findall(r"pub const (\w+): \w+ = ([\d_ *<]+);", code("core/src/limits.rs"))
    return {name: eval(value) for name, value in consts}  # noqa: S307 (digits and operators only)


KIB, MIB, SECOND = 1 << 10, 1 << 20, 1000
LIMITS = [
    ("body of a data call | 4 MiB", {"DATA_BODY_BYTES": 4 * MIB}),
    ("body of an admin call; of an import | 256 KiB; 4 MiB", {"ADMIN_BODY_BYTES": 256 * KIB, "IMPORT_BODY_BYTES": 4 * MIB}),
    ("nesting of JSON | 128 levels", {"JSON_DEPTH": 128}),
    ("configuration of a tenant | 350 KiB", {"HEAD_BYTES": 350 * KIB}),
    ("providers; enabled models; keys of a tenant | 200; 1,000; 5,000", {"PROVIDERS": 200, "MODELS": 1000, "KEYS": 5000}),
    ("models that a key may be restricted to | 100", {"KEY_MODELS": 100}),
    ("names | 128 characters", {"NAME_CHARS": 128}),
    ("alias; model id | 200 characters; 2,048 bytes", {"ALIAS_CHARS": 200, "MODEL_ID_BYTES": 2048}),
    ("credential value; base URL | 16 KiB; 2,048 bytes", {"CREDENTIAL_BYTES": 16 * KIB, "URL_BYTES": 2048}),
    ("metadata of a model | 8 KiB, 32 levels", {"METADATA_BYTES": 8 * KIB, "METADATA_DEPTH": 32}),
    ("connecting to a provider | 5 s", {"CONNECT_MS": 5 * SECOND}),
    ("first content of a stream | 30 s", {"FIRST_CONTENT_MS": 30 * SECOND}),
    ("answer that is not streamed | 300 s", {"WHOLE_ANSWER_MS": 300 * SECOND}),
    ("silence within a stream | 60 s", {"IDLE_MS": 60 * SECOND}),
    ("request in all | 10 min", {"TOTAL_MS": 600 * SECOND}),
    ("weight; priority of a model | 1,000; 100", {"WEIGHT": 1000, "PRIORITY": 100}),
    ("attempts for a request; for a repeat of the client's | 3; 2", {"ATTEMPTS": 3, "ATTEMPTS_OF_REPEAT": 2}),
    ("on Lambda, before its own end | 5 s less", {"DEADLINE_RESERVE_MS": 5 * SECOND}),
    ("answer of a provider, not streamed | 16 MiB", {"UPSTREAM_BODY_BYTES": 16 * MIB}),
    ("line; event of a provider's stream | 1 MiB; 4 MiB", {"SSE_LINE_BYTES": MIB, "SSE_EVENT_BYTES": 4 * MIB}),
    ("held back before a stream's first content | 4 MiB", {"HELD_BACK_BYTES": 4 * MIB}),
    ("a provider's error message passed on | 512 bytes", {"UPSTREAM_MESSAGE_BYTES": 512}),
    ("capabilities of a model | 4 KiB", {"CAPABILITIES_BYTES": 4 * KIB}),
    ("price of a model; its tiers | 2 KiB; 8", {"PRICE_BYTES": 2 * KIB, "PRICE_TIERS": 8}),
    ("price of a million tokens; tokens of a call | 10,000 USD; 2²⁹ each way", {"PRICE_USD": 10_000, "TOKENS": 1 << 29}),
    ("frame of an AWS event stream | 4 MiB", {"EVENT_STREAM_PAYLOAD_BYTES": 4 * MIB}),
    ("images fetched for a request; each | 20; 3,840 KiB, 10 s", {"FETCHED_IMAGES": 20, "FETCHED_IMAGE_BYTES": 3840 * KIB, "FETCH_IMAGE_MS": 10 * SECOND}),
    ("calls at once for one request | 4", {"CALLS_AT_ONCE": 4}),
    ("inputs of an embeddings request | 2,048", {"INPUTS": 2048}),
    ("buckets; results in a page of usage | 100; 10,000", {"USAGE_BUCKETS": 100, "USAGE_RESULTS": 10_000}),
    ("rows of usage that wait for their store | 10,000", {"BACKLOG_ROWS": 10_000}),
    ("load balancers of a tenant; models of one | 100; 64", {"BALANCERS": 100, "BACKENDS": 64}),
    ("quota of a model in a load balancer | 1,000,000 calls a minute", {"QUOTA": 1_000_000}),
    ("rate limits; policies of a tenant | 500; 500", {"RATE_LIMITS": 500, "POLICIES": 500}),
    ("capacity and amount of a bucket; interval | 10¹²; 366 d", {"BUCKET": 10**12, "INTERVAL_MS": 366 * 86400 * SECOND}),
    ("prompts of a completion on watsonx.ai | 100", {"PROMPT_CALLS": 100}),
]


@pytest.mark.parametrize(("words", "values"), LIMITS, ids=lambda value: value if isinstance(value, str) else "")
def test_limits_are_those_of_the_code(words, values):
    assert words in section("Limits")
    known = numbers()
    assert {name: known[name] for name in values} == values


def test_the_bounds_of_the_text_are_those_of_the_code():
    known = numbers()
    assert known["CONFIRM_FIRST_MS"] == 30_000 and "stops within 30 seconds" in section("How soon a change holds")
    assert known["STALE_IF_ERROR_MS"] == known["SECRET_FRESH_MS"] == 300_000 and known["SECRET_HARD_MS"] == 900_000


def test_how_long_usage_is_kept_is_as_in_the_code():
    known = numbers()
    days = [known[name] // 86_400_000 for name in ("ROWS_KEPT_MS", "MINUTES_KEPT_MS", "HOURS_KEPT_MS", "DAYS_KEPT_MS")]
    text = " ".join(section("Usage").split())
    assert "Rows are kept for {} days, sums of minutes for {}, of hours for {}, of days for {}.".format(*days) in text


def test_links_lead_somewhere():
    text = README.read_text()
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (ROOT / target).exists(), target


def test_the_map_names_every_module_and_only_what_is_there():
    text = (ROOT / "core/ARCHITECTURE.md").read_text()
    named = {name for row in rows(text.split("### core/src")[1].split("###")[0]) for name in re.findall(r"`([\w/{},]+)`", row[0])}
    modules = set(re.findall(r"^(?:pub )?mod (\w+);", (ROOT / "core/src/lib.rs").read_text(), re.M))
    assert {name.split("/")[0] for name in named} == modules
    for folder in re.findall(r"`((?:functions|tests|infra)[\w/.-]*)`", text):
        assert (ROOT / folder).exists(), folder
