# SPDX-License-Identifier: BSD-2-Clause
"""nginx: a secret in a proxied request, a rotation and a handshake, each beside what is used in their place."""
import statistics

import svg
from bench import Group, Row, at_least, at_most
from handshakes import handshakes
from nginx_peers import SLICES, requests
from nginx_rotations import changes, rotations, servers

FILE = ("tls.file", "a key in a file")
PEERS = [("literal", "a literal header", 0.97), ("redis", "Lua, GET from Redis", 1.9), ("agent", "auth_request, an agent", 1.4),
         ("njs", "njs, a constant", 1.2), ("njs-file", "njs, readFileSync", 1.2), ("dict", "Lua, a shared dict", None)]
BARS = [("a literal header", "literal"), ("keyturn, audited", "secret"), ("Lua, a shared dict", "dict"), ("njs, a constant", "njs"),
        ("njs, readFileSync", "njs-file"), ("auth_request, an agent", "agent"), ("Lua, GET from Redis", "redis")]


def request_rows():
    """What CPU a secret takes is that of all threads; how many requests a worker answers is up to the one that answers them."""
    each = [("", "each of ten secrets, audited; Lua for each", "dicts", "a get from a shared dict", at_most(0.4)),
            ("", "each of ten secrets, audited; one block of Lua", "block", "a get from a shared dict, of ten in a block", None),
            ("loop ", "the same, without the thread of the log; Lua for each", "dicts", "a get from a shared dict", None)]
    rows = [Row(what, f"{loop}each secrets", "ns", (f"{loop}each {case}", against), goal) for loop, what, case, against, goal in each]
    rows += [Row("a request with secret_get: CPU of all threads", "secret", "us", ("literal", "a literal header"), scale=0.001)]
    rows += [Row(f"secret_get, requests/s of a core: {what}", "loop rate secret", "/s", (f"loop rate {case}", what),
                 at_least(goal) if goal else None) for case, what, goal in PEERS]
    return [*rows, Row(f"one request of {SLICES:,} slices: CPU of all threads", "slices secret", "ms", ("slices literal", "a literal header"),
                       at_most(1.3), scale=0.000001)]


def rotation_rows(bench):
    times = f"{rotations(bench):,} rotations by keyturn set"
    small, large = ("small", "nginx -s reload"), ("large", f"nginx -s reload, {servers(bench)} servers with TLS")
    return [
        Row(f"{times}: old values after it returned", "late", "requests", goal=at_most(0)),
        Row(f"{times}: requests lost", "lost", "requests", goal=at_most(0)),
        Row("nginx -s reload, each: old values after it returned", "reload.late", "requests"),
        Row("nginx -s reload, each: requests lost", "reload.lost", "requests"),
        *[Row(f"until the first new value, {case} site", "time.keyturn", "ms", (f"time.{case}", what), at_most(0.01))
          for case, what in (small, large)],
        *[Row(f"a rotation, {case} site: CPU of all processes", "cpu.keyturn", "ms", (f"cpu.{case}", what), at_most(0.1))
          for case, what in (small, large)],
    ]


def groups(bench):
    return [Group(requests, request_rows()), Group(changes, rotation_rows(bench)), Group(handshakes, [
        Row("TLS handshake, secret_ssl_certificate: CPU of the worker", "tls.secret", "us", FILE, at_most(1.1), scale=0.001),
        Row("TLS handshake, its name from the client: CPU of the worker", "tls.name", "us", FILE, at_most(1.1), scale=0.001),
        Row("TLS handshake, nginx's data:$variable: CPU of the worker", "tls.data", "us", FILE, scale=0.001),
    ])]


def plot(bench, samples, results):
    rows = sum(1 for result in results if result["goal"])
    picture = svg.Svg(880, 300 + 24 * rows)
    svg.bars(picture, 20, 20, 840, "A proxied request: CPU of all threads of the worker (microseconds)",
             [(what, statistics.median(samples[case]) / 1000, case == "secret") for what, case in BARS])
    svg.goals(picture, 20, 240, 840, results)
    return str(picture)
