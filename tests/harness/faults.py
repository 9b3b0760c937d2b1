"""The fault matrix: which test shows what happens, for each fault on each entry. Writes tests/FAULTS.md.

    python -m harness.faults [--check]     (in tests/; --check writes nothing and fails if the file is stale)

`faults.toml` lists the faults. A test claims those that it shows, with the entries it runs on:

    Python   @pytest.mark.fault("U7", "U9"), on a test or on a row of its parameters (`rows`); `entries` marks count
    Rust     /// Fault matrix: U7, U9.          in the comment of a #[test]; the folder says which entries it stands for
    Node     // Fault matrix: U7, U9.           in tests/worker, before `test(`

A cell without a test needs an argument in faults.toml: under the entry's name why the fault cannot happen there, or under `core` why
the test of core speaks for every entry. An empty cell, an unknown fault and an argument against a fault that is tested are errors.
"""

import collections
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENTRIES = ("local", "worker", "lambda")
NAMES = {"core": "core", "local": "local", "worker": "Worker", "lambda": "Lambda"}
CLAIM = re.compile(r"Fault matrix: ([A-Z]\d+(?:, [A-Z]\d+)*)\.")
ID = re.compile(r"[USPCR]\d+")
# Whose tests these are: the longest prefix counts.
FOLDERS = {
    "core/src": ("core",),
    "functions/native": ("local", "lambda"),
    "functions/local": ("local",),
    "functions/lambda": ("lambda",),
    "functions/worker": ("worker",),
    "tests/ports/src": ("local", "lambda"),
    "tests/ports/tests/it/redb": ("local",),
    "tests/ports/tests/it/dynamo": ("lambda",),
    "tests/worker": ("worker",),
}


class Wrong(Exception):
    pass


def rows(table):
    """The rows of a table as parameters of a test; a row whose id begins with faults ("U1, U4: 400") claims them."""
    def marks(id):
        found = re.match(r"[USPCR]\d+(?:[, ]+[USPCR]\d+)*\b", id)
        return [pytest.mark.fault(*ID.findall(found[0]))] if found else []

    return [pytest.param(*row, id=row[0], marks=marks(row[0])) for row in table]


def claims():
    """{fault: {core or entry: [test, ...]}}"""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for faults, places, test in [*python_claims(), *source_claims()]:
        for fault in faults:
            for place in places:
                if test not in found[fault][place]:
                    found[fault][place].append(test)
    return found


def source_claims():
    for folder in ("core/src", "functions", "tests/ports", "tests/worker"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".rs", ".mjs") and "node_modules" not in path.parts:
                yield from claims_in(path)


def claims_in(path):
    name = str(path.relative_to(ROOT))
    prefix = max((prefix for prefix in FOLDERS if name.startswith(prefix)), key=len, default=None)
    faults, claimed_at = [], 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        test = re.match(r"(?:pub(?:\(crate\))? )?(?:async )?fn (\w+)", line) if path.suffix == ".rs" else re.match(r"test\((['\"`])(.+?)\1,", line)
        if line.startswith("//") and (claim := CLAIM.search(line)):
            faults, claimed_at = claim[1].split(", "), number
        elif test and faults:
            if prefix is None:
                raise Wrong(f"{name}:{claimed_at}: nobody knows whose tests these are")
            yield faults, FOLDERS[prefix], f"{short(name)}: {test[1] if path.suffix == '.rs' else test[2]}"
            faults = []
        elif faults and line and not line.startswith(("//", "#[", "#![")):
            raise Wrong(f"{name}:{claimed_at}: a claim without a test")


def short(name):
    for dull in ("/src", "/tests/it", "/tests.rs", "tests/e2e/", "functions/", "tests/", ".test.mjs", ".rs", ".py"):
        name = name.replace(dull, "", 1)
    return name.replace("test_", "", 1) if name.startswith("test_") else name


def python_claims():
    command = [sys.executable, "-m", "pytest", "-c", "tests/pytest.ini", "tests/e2e", "tests/clients", "tests/seed", "--collect-only", "-qq", "-p", "harness.faults"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode != 0:
        raise Wrong(done.stdout[-2000:] + done.stderr[-2000:])
    for line in done.stdout.splitlines():
        if line.startswith("CLAIM "):
            faults, places, test = line.removeprefix("CLAIM ").split("; ")
            yield faults.split(), places.split(), test


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT / "tests")}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """As a plugin of the collection above: before tests of other entries are left out."""
    for item in items:
        faults = [fault for mark in item.iter_markers("fault") for fault in mark.args]
        if faults:
            entries = item.get_closest_marker("entries")
            path = short(str(item.path.relative_to(ROOT)))
            print(f"CLAIM {' '.join(faults)}; {' '.join(entries.args if entries else ENTRIES)}; {path}: {item.originalname}")


def table():
    data = tomllib.loads((ROOT / "tests/faults.toml").read_text())
    reasons = data.pop("reasons", {})
    said, wrong, out = claims(), [], []
    known = {id for section in data.values() for id in section if ID.fullmatch(id)}
    wrong += [f"{fault} is claimed by {tests} and unknown" for fault, tests in said.items() if fault not in known]
    out += [HEAD]
    for section in data.values():
        out += [f"\n## {section.pop('title')}\n", "| | fault | core | local | Worker | Lambda |", "|---|---|---|---|---|---|"]
        for id, fault in section.items():
            tests = said.get(id, {})
            speaks = fault.get("core")
            cells = [listed(tests.get("core", []))]
            if speaks and not tests.get("core"):
                wrong.append(f"{id}: no test of core to speak for the entries")
            for entry in ENTRIES:
                argued = fault.get(entry)
                if argued and tests.get(entry):
                    wrong.append(f"{id}: said not to happen on {entry}, and tested there")
                if not argued and not tests.get(entry) and not speaks:
                    wrong.append(f"{id}: neither test nor argument for {entry}")
                cells.append(listed(tests.get(entry, [])) or (f"*{reasons.get(argued, argued)}*" if argued else f"core: *{reasons.get(speaks, speaks)}*"))
            out.append(f"| {id} | {fault['title']} | " + " | ".join(cells) + " |")
    if wrong:
        raise Wrong("\n".join(wrong))
    return "\n".join(out) + "\n"


def listed(tests):
    return "<br>".join(f"`{test}`" for test in sorted(tests))


HEAD = """# Faults

Made by `python -m harness.faults` in `tests/` from `faults.toml` and from what tests say of themselves; do not edit. For each fault the
tests that inject it and judge what the client sees, who was called how often, what was logged, counted and stored. `core` is tested
with a virtual clock and in-memory ports; the entries as their users run them: local as a binary, the Worker on workerd, the function
behind a front that treats it as AWS does. In italics: why a fault cannot happen there, or why core's test speaks for the entry too."""


def main(arguments):
    file = ROOT / "tests/FAULTS.md"
    try:
        made = table()
    except Wrong as wrong:
        sys.exit(str(wrong))
    if "--check" in arguments:
        if not file.exists() or file.read_text() != made:
            sys.exit("tests/FAULTS.md is stale: python -m harness.faults, in tests/")
    else:
        file.write_text(made)


if __name__ == "__main__":
    main(sys.argv[1:])
