"""Fixtures of all suites. One entry, one simulator and one watch over credentials per worker of a session."""

import concurrent.futures
import os

import pytest

from harness import ledger
from harness.canary import Canaries, assert_nothing_leaked
from harness.gateway import Gateway
from harness.process import Aws, Entry, FaultyAws, Simulator, build
from harness.providers import ImageHost, Upstream

ENTRIES = ("local", "worker", "lambda")


def pytest_addoption(parser):
    parser.addoption("--entry", choices=ENTRIES, default="local", help="the entry of the gateway under test")


def pytest_sessionstart(session):
    if not hasattr(session.config, "workerinput") and not session.config.option.collectonly:
        build(session.config.getoption("--entry"))


def pytest_collection_modifyitems(config, items):
    entry = config.getoption("--entry")
    for marker, keep in [("entries", lambda mark: entry in mark.args)]:
        gone = [item for item in items if (mark := item.get_closest_marker(marker)) and not keep(mark)]
        if gone:
            config.hook.pytest_deselected(items=gone)
            items[:] = [item for item in items if item not in gone]


@pytest.fixture(scope="session")
def entry_kind(request):
    return request.config.getoption("--entry")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def sim(run_folder):
    simulator = Simulator(run_folder)
    yield simulator
    simulator.stop()


@pytest.fixture(scope="session")
def aws(entry_kind, run_folder):
    if entry_kind != "lambda":
        yield None
        return
    stand_in = Aws(run_folder)
    yield stand_in
    stand_in.stop()


@pytest.fixture(scope="session")
def make_faulty_aws(aws, tmp_path_factory):
    """Faults between an entry and the stand-in for AWS: `make_gateway(cloud=make_faulty_aws())`. Lambda only."""
    made = []

    def make():
        made.append(FaultyAws(aws, tmp_path_factory.mktemp("aws-faults")))
        return made[-1]

    yield make
    for faulty in made:
        faulty.stop()


@pytest.fixture(scope="session")
def canaries():
    return Canaries()


@pytest.fixture(scope="session")
def make_gateway(entry_kind, aws, sim, canaries, tmp_path_factory):
    """Starts further entries of the kind under test, each with a state of its own."""
    started = []

    def make(cloud=None, **env):
        folder = tmp_path_factory.mktemp("entry")
        entry = Entry(entry_kind, folder, egress=sim.origin, aws=cloud or aws, env=env).start()
        started.append(Gateway(entry, canaries))
        return started[-1]

    yield make
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda gateway: gateway.entry.stop(), started))
    # All answers of the run were searched as they came; this is the rest of what an outsider may lay hands on.
    for gateway in started:
        assert_nothing_leaked(gateway)


@pytest.fixture(scope="session")
def gateway(make_gateway):
    """The entry that most tests share."""
    return make_gateway()


@pytest.fixture
def account(sim):
    return sim.account()


@pytest.fixture
def tenant(gateway):
    return gateway.tenant()


@pytest.fixture
def other(gateway):
    """Another tenant, that must not notice the first."""
    return gateway.tenant()


@pytest.fixture
def served(tenant, account):
    """A tenant whose alias `chat` is served by `account`."""
    tenant.serves(account)
    return tenant


@pytest.fixture
def metered(served, account):
    """Afterwards the ledger says what `account` was asked and what the log says of it."""
    yield
    ledger.agrees(served, account)


@pytest.fixture(scope="session")
def upstreams(gateway, sim):
    """Tenants for all kinds of providers, made when first used. Tests that break a provider make their own."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = Upstream.make(kind, gateway, sim)
        return made[kind]

    return get


@pytest.fixture
def up(request, upstreams):
    """The provider that the test is parametrized with; what it received is judged at the end."""
    upstream = upstreams(request.param)
    upstream.begin()
    yield upstream
    upstream.judge()


@pytest.fixture
def own_up(request, gateway, sim):
    """The same for nobody else."""
    upstream = Upstream.make(request.param, gateway, sim)
    yield upstream
    upstream.judge()


@pytest.fixture(scope="session")
def image_host(sim):
    return ImageHost(sim)


@pytest.fixture
def images(image_host):
    """Somebody's server of images."""
    return image_host.begin()


def pytest_report_header(config):
    return f"entry: {config.getoption('--entry')}, profile: {os.environ.get('GATEWAY_PROFILE', 'release')}"
