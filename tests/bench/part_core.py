# SPDX-License-Identifier: BSD-2-Clause
"""The core: what a read, a record, a write and a scan cost, without any server around it."""
import statistics

import svg
from bench import Group, Row, at_least, at_most

HASH = "a keyed BLAKE2b of 200 bytes"
POWERS = {10**3: "1,000", 10**4: "10,000", 10**5: "100,000", 10**6: "1,000,000"}


def sizes(bench):
    return bench.few([10**3, 10**4, 10**5, 10**6], [10**2, 10**3])


def cached(bench):
    folder = bench.store(bench.few(1000, 100), cached=True)
    return bench.measure("measure_cached", bench.few(61, 3), bench.few(10000, 500), folder)


def uncached(bench):
    folders = [bench.store(size, cached=False) for size in sizes(bench)]
    return bench.measure("measure_read", bench.few(31, 3), bench.few(1000, 50), *folders)


def writes(bench):
    count = bench.few(1000, 100)
    return bench.measure("measure_write", bench.few(31, 2), count, bench.store(count, cached=True, of="-writes"))


def change(bench):
    return bench.measure("measure_change", bench.few(300, 5), bench.store(bench.few(1000, 100), cached=True))


def audit(bench):
    return bench.measure("inside_audit", bench.few(31, 3), bench.few(10000, 500), bench.store(bench.few(1000, 100), cached=True))


def seals(bench):
    return bench.measure("inside_seal", bench.few(31, 3), bench.few(4000, 50))


def size_name(size):
    return POWERS.get(size, str(size))


def read_rows(bench):
    last = len(sizes(bench)) - 1
    rows = [Row(f"read with proof, {size_name(size)} secrets", f"get.{n}", "us", goal=at_most(2.5), scale=0.001,
                against=(f"sqlite.{n}", "the same row by SQLite alone")) for n, size in enumerate(sizes(bench))]
    rows.append(Row("read with proof, the largest store against the smallest", f"get.{last}", "us", scale=0.001,
                    against=("get.0", f"{size_name(sizes(bench)[0])} secrets")))
    return rows


def groups(bench):
    return [
        Group(cached, [
            Row("cached kt_get, audited: CPU of the reader", "cached", "ns", ("open", "libsodium opens 32 bytes"), at_most(0.35)),
            Row("cached kt_get, until its line is sealed: CPU of all", "cached.all", "ns"),
            Row("two processes at once, each", "together", "reads/s", ("alone", "one process"), at_least(0.95)),
        ]),
        Group(uncached, read_rows(bench)),
        Group(audit, [
            Row("audit: a record into the ring", "ring", "ns", ("blake", HASH), at_most(0.25)),
            Row("audit: a record to a line, sealed and on the disk", "line", "ns", ("blake", HASH), at_most(1.5)),
            Row("audit: lines verified, of one core", "verified", "lines/s"),
            Row("audit: p99.9 of a record, while others sync every 10 ms", "append.p999", "ns", ("append.p50", "its p50"), at_most(30)),
        ]),
        Group(seals, [
            Row("seal 32 B", "seal.32", "ns", ("bare.seal.32", "libsodium alone")),
            Row("open 32 B", "open.32", "ns", ("bare.open.32", "libsodium alone")),
            Row("seal 64 KiB", "seal.65536", "us", ("bare.seal.65536", "libsodium alone"), scale=0.001),
            Row("open 64 KiB", "open.65536", "us", ("bare.open.65536", "libsodium alone"), scale=0.001),
        ]),
        Group(writes, [
            Row("set, durable", "set", "us", ("commit", "a commit of one row by SQLite alone"), at_most(2.5)),
            Row("rotate, store only, durable", "rotate", "us", ("commit", "a commit of one row by SQLite alone")),
            Row("set: CPU", "set.cpu", "us", ("commit.cpu", "a commit of one row by SQLite alone"), at_most(3)),
            Row("list, each secret", "list", "us", scale=0.001),
            Row("verify, each secret", "verify", "us", scale=0.001),
            Row("backup, each secret", "backup", "us", scale=0.001),
        ]),
        Group(change, [
            Row("from a set's return to another process' next read", "seen", "us"),
            Row("reads begun after a set returned that gave the old value", "late", "reads", goal=at_most(0)),
        ]),
    ]


def plot(bench, samples, results):
    series = [(name, [(size, statistics.median(samples[f"{case}.{n}"]) / 1000) for n, size in enumerate(sizes(bench))])
              for name, case in [("keyturn: proof, seals, policy, record", "get"), ("the same row by SQLite alone", "sqlite")]]
    rows = sum(1 for result in results if result["goal"])
    picture = svg.Svg(880, 440 + 24 * rows)
    svg.lines(picture, 20, 20, 840, 300, "An uncached read, by the number of secrets in the store (microseconds of CPU)", "secrets", series)
    svg.goals(picture, 20, 350, 840, results)
    return str(picture)
