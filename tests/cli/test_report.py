# SPDX-License-Identifier: BSD-2-Clause
"""`audit report`: what a trail's lines add up to."""
import gzip
import json

import pytest


def line(number, **fields):
    base = {"time": f"2026-11-23T10:{number // 60:02}:{number % 60:02}.000Z", "boot": "b", "stream": "web", "seq": number + 1,
            "action": "read", "subject": "nginx:shop", "reference": "api-keys/stripe", "status": "success"}
    return json.dumps(base | fields, separators=(",", ":")) + "\n"


@pytest.fixture
def trail(tmp_path):
    """trail(lines, stream="web", log="log"): a log as it may lie on another machine."""
    def write(lines, stream="web", log="log"):
        folder = tmp_path / "trail" / stream
        folder.mkdir(parents=True, exist_ok=True)
        (folder / log).write_text("".join(lines))
        return tmp_path / "trail"
    return write


@pytest.fixture
def report(home):
    def run(*args):
        return json.loads(home.keyturn("--json", "audit", "report", *args).stdout)
    return run


def test_sources_patterns_and_counts(trail, report):
    lines = [line(n, subject="nginx:guest", peer="192.0.2.1", status="denied", severity="critical") for n in range(6)]
    lines += [line(10 + n, subject="nginx:app", peer="192.0.2.2", status="unavail", severity="high") for n in range(5)]
    lines += [line(20, subject="nginx:anonymous", severity="medium"), line(21, subject="", action="list", reference="*")]
    lines += ["{broken\n", "\n", "[1]\n", '{"time": 1}\n', line(30, status="notfound")]
    lines += [line(40, action="alert", status="denied", subject="nginx:guest", peer="192.0.2.1", seconds=60, severity="critical")]
    answer = report(trail(lines))
    assert (answer["refusals"], answer["failures"], answer["total_failed_attempts"], answer["malformed"]) == (6, 5, 11, 4)
    assert [(s["subject"], s["peer"], s["count"]) for s in answer["suspicious_sources"]] == [("nginx:guest", "192.0.2.1", 6)]
    assert {(p["subject"], p["action"], p["count"]) for p in answer["suspicious_patterns"]} == {
        ("nginx:anonymous", "read", 1), ("", "list", 1)}
    assert answer["actions"]["read"] == {"denied": 6, "unavail": 5, "success": 1, "notfound": 1}
    assert answer["severities"] == {"critical": 7, "high": 5, "medium": 1}
    assert [alert["seconds"] for alert in answer["alerts"]] == [60]
    assert answer["first"] == "2026-11-23T10:00:00.000Z" and answer["last"] == "2026-11-23T10:00:40.000Z"
    assert answer["analysis_time"] and answer["lines"] == 15 and answer["streams"] == {"web": 15}


def test_history_of_a_secret(trail, report):
    lines = [line(1, action="write", version=1, subject="nginx:root"), line(2, version=1, count=1500), line(3, version=1, subject="nginx:app"),
             line(4, action="rotate", status="intent", version=2), line(5, action="rotate", version=2, subject="nginx:admin"),
             line(6, action="rotate", status="unavail", reference="api-keys/stripe@2", severity="high"),
             line(7, action="write", reference="tls/new", version=1), line(8, reference="api-keys/stripe#api_key@2")]
    answer = report(trail(lines))
    stripe = answer["secrets"]["api-keys/stripe"]
    assert (stripe["accesses"], stripe["subjects"], stripe["last_subject"]) == (1502, {"nginx:shop": 1501, "nginx:app": 1}, "nginx:shop")
    assert [(c["action"], c["status"], c.get("version")) for c in stripe["changes"]] == [
        ("write", "success", 1), ("rotate", "success", 2), ("rotate", "unavail", None)]
    assert answer["heavily_used"] == ["api-keys/stripe"] and answer["unused"] == ["tls/new"]


def test_all_logs_in_order_and_since(trail, report):
    trail([line(50, action="write", version=3)])
    trail([line(1, action="write", version=1)], log="log.2")
    trail([line(20, action="write", version=2)], log="log-20261122")
    trail([line(30, action="write", version=9)], stream="other")
    folder = trail([line(0, action="write", version=7)], log="log.3.gz")
    oldest = folder / "web/log.3.gz"
    oldest.write_bytes(gzip.compress(oldest.read_bytes()))
    (folder / "web/log.9.xz").write_bytes(b"x")
    (folder / "web/state").write_bytes(b"\0" * 256)
    answer = report(folder)
    assert answer["lines"] == 5 and answer["passed_over"] == [
        {"stream": "web", "note": "log.9.xz: not read, because another program than gzip has compressed it: unpack it with `unxz`, and leave it in its folder"}]
    web = [c["version"] for c in report(folder / "web")["secrets"]["api-keys/stripe"]["changes"]]
    assert web == [7, 1, 2, 3]
    assert report("--since", "2026-11-23T10:00:20Z", folder)["lines"] == 3
    assert report("--since", "2026-11-23T10:00:51Z", folder)["lines"] == 0


@pytest.mark.parametrize("args, status", [(["--since", "yesterday"], 64), (["/nonexistent"], 66), (["a", "b"], 64)])
def test_refused(home, args, status):
    assert home.run("audit", "report", *args, check=False).returncode == status


def test_of_a_home_as_text(home):
    home.set("api-keys/stripe", b"v")
    home.get("api-keys/stripe")
    home.rotate("api-keys/stripe")
    home.deny("uid:*", ["read"], ["tls/*"])
    assert home.run("get", "tls/key", check=False).returncode == 77
    answer = home.json("audit", "report", "--since", "1h")
    assert answer["status"] == "success" and answer["refusals"] == 1 and answer["secrets"]["api-keys/stripe"]["accesses"] == 1
    text = home.run("audit", "report").stdout.decode()
    assert "refusals 1," in text and "read by uid:" in text and "api-keys/stripe" in text


def test_nothing_is_obeyed_by_a_terminal(trail, home):
    folder = trail([line(1, subject="nginx:\x1b[2J", status="denied") for _ in range(7)])
    text = home.keyturn("audit", "report", folder).stdout
    assert b"\x1b" not in text and b"?[2J" in text
