# SPDX-License-Identifier: BSD-2-Clause
"""The runner of auto/bench: parts, rows, statistics, and what is written of them.

A part is one file, part_NAME.py, with

    groups(bench)           -> [Group], what is run together, and the rows that come of it
    plot(bench, samples)    -> the text of an SVG file, of all samples; may be missing

A group's function runs programs and answers samples: {case: [number, ...]}, taken in turns, so that the n-th numbers of two
cases were measured at nearly the same moment. A row's value is the median of its case; against another case the ratio is the
median of the ratios of their n-th numbers. The spread is the middle half: from a quarter to three quarters.
"""
import argparse
import datetime
import difflib
import importlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]

from lib.stage import Stage  # noqa: E402


class Goal:
    """At most, or at least, a number: of the ratio if the row has one, else of the value."""

    def __init__(self, limit, at_most=True):
        self.limit, self.at_most = limit, at_most

    def is_met(self, number):
        return number <= self.limit if self.at_most else number >= self.limit

    def text(self, unit):
        return f"{'<=' if self.at_most else '>='} {number_text(self.limit)}{unit}"


def at_most(limit):
    return Goal(limit)


def at_least(limit):
    return Goal(limit, at_most=False)


class Row:
    """name; case: whose samples; against: (case, what it is); scale: of the samples to the unit."""

    def __init__(self, name, case, unit, against=None, goal=None, scale=1):
        self.name, self.case, self.unit, self.against, self.goal, self.scale = name, case, unit, against, goal, scale


class Group:
    def __init__(self, run, rows):
        self.run, self.rows = run, rows


def quartiles(numbers):
    if len(numbers) < 2:
        return [numbers[0], numbers[0]]
    low, _, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return [low, high]


def evaluate(row, samples):
    """The row as it is written: {"row", "value", ...}."""
    mine = [number * row.scale for number in samples[row.case]]
    value, ratio, spread, compared = statistics.median(mine), None, quartiles(mine), None
    if row.against:
        other = [number * row.scale for number in samples[row.against[0]]]
        ratios = [a / b for a, b in zip(mine, other) if b]
        ratio, spread = statistics.median(ratios), quartiles(ratios)
        compared = f"{row.against[1]}: {number_text(statistics.median(other))} {row.unit}"
    result = {"row": row.name, "value": value, "unit": row.unit, "against": compared, "ratio": ratio, "spread": spread}
    return result | goal_of(row, value if ratio is None else ratio)


def goal_of(row, number):
    if row.goal is None:
        return {"goal": None, "met": None}
    unit = "x" if row.against else f" {row.unit}"
    return {"goal": row.goal.text(unit), "met": None if number is None else row.goal.is_met(number)}


def missing(row, error):
    """A row that could not be measured."""
    empty = {"row": row.name, "value": None, "unit": row.unit, "against": None, "ratio": None, "spread": None}
    return empty | goal_of(row, None) | {"error": error}


def number_text(number):
    """At most three digits that mean something: 0.0123, 2.35, 23.5, 235, 3,210,000."""
    if number == 0:
        return "0"
    if abs(number) >= 1000:
        step = 10 ** (len(str(int(abs(number)))) - 3)
        return f"{round(number / step) * step:,}"
    return f"{number:.3g}"


def spread_text(result):
    return "-".join(number_text(number) for number in result["spread"])


def verdict(result):
    return {None: "", True: "met", False: "missed"}[result["met"]]


def line_of(result):
    if result["value"] is None:
        return f"{result['row']:<58} did not run: {result['error']}"
    figure = f"{number_text(result['value']):>9} {result['unit']}"
    ratio = f"{number_text(result['ratio'])}x" if result["ratio"] is not None else ""
    line = f"{result['row']:<58} {figure:<16} {ratio:>6} {'(' + spread_text(result) + ')':<15}"
    if result["goal"]:
        line += f" {verdict(result):<6} {result['goal']:<17}"
    return f"{line}  {'against ' + result['against'] if result['against'] else ''}".rstrip()


# ---- running ----

class Failed(Exception):
    pass


class Bench:
    """What a part works with: a folder of its own, and the programs."""

    def __init__(self, quick, folder):
        self.quick, self.folder = quick, pathlib.Path(folder)
        self.keyturn = pathlib.Path(os.environ["KT_BIN"])
        self.programs = pathlib.Path(os.environ["KT_TEST_BIN"]) / "bench"
        self.stage = Stage()
        self.stores = {}

    def few(self, full, quick):
        return quick if self.quick else full

    def call(self, *argv):
        """A command's output; Failed with the last line that it said."""
        try:
            result = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=240)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failed(str(error)) from None
        if result.returncode != 0:
            said = (result.stderr.strip().splitlines() or ["without a word"])[-1]
            raise Failed(f"{pathlib.Path(argv[0]).name} ended with {result.returncode}: {said}")
        return result.stdout

    def measure(self, program, *args):
        """Runs a program of tests/bench: its lines "CASE NUMBER" as samples."""
        samples = {}
        for line in self.call(self.programs / program, *args).splitlines():
            case, number = line.split()
            samples.setdefault(case, []).append(float(number))
        if not samples:
            raise Failed(f"{program} measured nothing")
        return samples

    def store(self, count, cached, of=""):
        """The folder of a store with `count` secrets: keyturn.yaml, test.db, names; made at first use. `of` a group: its own, whose
        audit log has no lines of others."""
        key = (count, cached, of)
        if key not in self.stores:
            folder = self.folder / f"{count}-{'cached' if cached else 'uncached'}{of}"
            (folder / "audit").mkdir(parents=True)
            (folder / "keyturn.yaml").write_text(CONFIGURATION + ("" if cached else NO_CACHE))
            self.call(self.keyturn, "keygen", "--environment", "test", folder / "test.key")
            names = self.call(self.programs / "fill", folder / "keyturn.yaml", count)
            (folder / "names").write_text(names)
            self.stores[key] = folder
        warm(self.stores[key] / "test.db")
        return self.stores[key]


CONFIGURATION = """environment: test
key: "file:test.key"
providers:
  local: {path: "test.db"}
switch:
  "*": local
policy:
  - {who: "uid:*", allow: [read, write, rotate, list, delete, admin], names: ["*"]}
audit: {path: audit, required: true}
"""
NO_CACHE = "cache: {ttl: 0s, negative: 0s, stale: 0s}\n"


def cpu_clock(pid):
    """For time.clock_gettime(): the CPU of a process and all its threads, by nanoseconds (clock_getcpuclockid(3))."""
    return ~pid << 3 | 2


def warm(path):
    """Reads a file, so that what is measured is not the disk."""
    with open(path, "rb") as file:
        while file.read(1 << 20):
            pass


def run_group(bench, group, samples, results):
    try:
        taken = group.run(bench)
        samples.update(taken)
    except Exception as error:  # noqa: BLE001 - whatever kept it from running, its rows say so and the others go on
        taken, failure = None, str(error).strip().splitlines()[-1:] or [type(error).__name__]
        failure = failure[0]
    for row in group.rows:
        if taken is None:
            results.append(missing(row, failure))
        elif row.case not in taken or (row.against and row.against[0] not in taken):
            results.append(missing(row, "its program did not measure it"))
        else:
            results.append(evaluate(row, taken))
        print(line_of(results[-1]), flush=True)


def run_part(name, quick):
    """(rows, plot or None) of a part."""
    part = importlib.import_module(f"part_{name}")
    folder = tempfile.mkdtemp(prefix="kt-bench.")
    os.chmod(folder, 0o755)     # servers run as other users
    samples, results = {}, []
    try:
        bench = Bench(quick, folder)
        for group in part.groups(bench):
            run_group(bench, group, samples, results)
        whole = all(result["value"] is not None for result in results)
        return results, part.plot(bench, samples, results) if whole and hasattr(part, "plot") else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ---- publishing ----

def machine():
    name = "Linux"
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "NAME":
            name = value.strip('"').split()[0]
        elif key == "VERSION_ID":
            name += f" {value.strip(chr(34))}"
    cores = os.cpu_count()
    return f"{cores} core{'s' if cores != 1 else ''}, {name}, {datetime.date.today()}"


def table(results):
    lines = ["| what | figure | ratio | against | goal | |", "|---|---|---|---|---|---|"]
    for result in results:
        ratio = f"{number_text(result['ratio'])} ({spread_text(result)})" if result["ratio"] is not None else ""
        figure = f"{number_text(result['value'])} {result['unit']}"
        figure += f" ({spread_text(result)})" if not ratio else ""
        lines.append(f"| {result['row']} | {figure} | {ratio} | {result['against'] or ''} | {result['goal'] or ''} | "
                     f"{verdict(result)} |")
    return "\n".join(lines)


def replace_between(path, part, text):
    """Puts text between the marks of a part."""
    begin, end = f"<!-- bench {part} -->\n", f"<!-- end of bench {part} -->\n"
    old = path.read_text()
    if begin not in old or end not in old:
        raise Failed(f"{path.name} has no place for the part {part} ({begin.strip()})")
    head, tail = old[:old.index(begin) + len(begin)], old[old.index(end):]
    path.write_text(head + text + tail)


def publish(part, results, plot):
    caption = f"{machine()}."
    if plot:
        (TOP / "docs/bench").mkdir(exist_ok=True)
        (TOP / f"docs/bench/{part}.svg").write_text(plot)
    image = f"![{part}: figures against their goals](bench/{part}.svg)\n\n" if plot else ""
    replace_between(TOP / "docs/benchmarks.md", part, f"{table(results)}\n\n{image}{caption}\n")


def parts():
    return sorted(path.stem[len("part_"):] for path in HERE.glob("part_*.py"))


def arguments():
    parser = argparse.ArgumentParser(prog="auto/bench")
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--publish", action="store_true")
    options = parser.parse_args()
    for part in options.parts:
        if part not in parts():
            near = difflib.get_close_matches(part, parts(), 1, 0) or parts()
            parser.error(f"no part '{part}' (did you mean {near[0]}?)")
    if options.quick and options.publish:
        parser.error("--quick has no figures to publish")
    return options


def main():
    options = arguments()
    rows, status = [], 0
    for part in options.parts or parts():
        results, plot = run_part(part, options.quick)
        rows += results
        if any(result["value"] is None for result in results):
            status = 1
        elif options.publish:
            publish(part, results, plot)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failure:
        sys.exit(f"auto/bench: {failure}")
