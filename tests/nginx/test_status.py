# SPDX-License-Identifier: BSD-2-Clause
"""keyturn_status and keyturn_metrics: what a balancer and Prometheus ask, by one nginx with two workers."""
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess

import pytest

from lib.tools import wait_for

TOP = pathlib.Path(os.environ["KT_TOP"])
PLACES = """
    location = /status { keyturn_status; }
    location = /required { keyturn_status required; }
    location = /metrics { keyturn_metrics; }"""
SECRET = "secret_get $key api-keys/stripe; proxy_set_header X-Key $key;"

NAMES = {"reads_total", "denied_total", "fetches_total", "unavailable_total", "stale_total", "secret_age_seconds", "secret_version",
         "secret_expires_seconds", "audit_pending", "audit_lag_seconds", "memory_locked_bytes", "memory_unlocked_bytes", "generation",
         "bad_certificates_total"}


@pytest.fixture
def watched(site, canary):
    """The secret is the whole server's, so each location inherits it."""
    site.home.set("api-keys/stripe", canary("watched"))
    site.configure(f"{SECRET} {PLACES} location / {{ @PROXY@ }} "
                   "location /dynamic { secret_get $key api-keys/$arg_n; @PROXY@ }", workers=2)
    site.nginx.start()
    return site


def status(site, path="/status"):
    answer = site.get(path)
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status, json.loads(answer.body)


def metrics(site):
    answer = site.get("/metrics")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4")
    return {name: float(value) for name, value in re.findall(r"^(keyturn_\S+) (\S+)$", answer.body.decode(), re.M)}


def test_promtool_has_nothing_to_say(watched):
    assert watched.get().status == 200
    # a worker that is not asked tells its figures within a second
    wait_for(lambda: b"# TYPE keyturn_generation" in watched.get("/metrics").body)
    text = watched.get("/metrics").body
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, b""), text.decode()
    named = {name for name in NAMES if f"# TYPE keyturn_{name} " in text.decode()}
    assert named == NAMES - {"secret_expires_seconds"}      # this one never does


def test_promtool_accepts_the_rules_and_they_name_what_there_is(watched):
    rules = TOP / "packaging/examples/keyturn.rules.yml"
    result = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True)
    assert result.returncode == 0 and "SUCCESS" in result.stdout, result.stdout + result.stderr
    known = {name.split("{")[0] for name in metrics(watched)}
    named = set(re.findall(r"\bkeyturn_\w+", " ".join(re.findall(r"expr: (.*)", rules.read_text()))))
    assert named and named <= known | {"keyturn_secret_expires_seconds"}


def test_the_alerts_come_when_they_should():
    result = subprocess.run(["promtool", "test", "rules", TOP / "tests/nginx/rules.yml"], capture_output=True, text=True)
    assert result.returncode == 0 and "SUCCESS" in result.stdout, result.stdout + result.stderr


def test_a_secret_that_can_be_had(watched):
    code, answer = status(watched)
    assert code == 200 and status(watched, "/required") == (code, answer)
    assert answer["status"] == "ok" and answer["version"] == "0.1.0"
    assert answer["config"]["path"] == str(watched.home.config) and answer["config"]["loaded"] > 1600000000
    assert answer["secrets"] == {"required": 1, "ok": 1, "failing": []}
    assert watched.records(action="read") == []     # a question is recorded as nothing


def test_neither_is_gated_by_the_secret_that_it_reports(watched):
    """F8: monitoring ended in the very outage that it should show."""
    watched.home.delete("api-keys/stripe")
    assert watched.get().status == 503
    code, answer = status(watched)
    assert code == 200 and answer["status"] == "failing" and answer["secrets"]["ok"] == 0
    failing, = answer["secrets"]["failing"]
    assert failing["name"] == "api-keys/stripe" and failing["status"] == "gone" and failing["since"] > 1600000000
    for _ in range(6):      # whichever worker answers
        code, again = status(watched, "/required")
        assert code == 503 and again["secrets"]["failing"] == [failing]
    counts = metrics(watched)
    assert counts['keyturn_reads_total{status="gone"}'] == 1 and counts["keyturn_unavailable_total"] == 1
    watched.home.undelete("api-keys/stripe")
    assert status(watched, "/required")[0] == 200


def test_counts_of_all_workers_outlive_a_kill_and_a_reload(watched):
    for _ in range(20):
        assert watched.get().status == 200
    watched.home.deny("nginx:*", ["read"], ["database/*"])
    first = metrics(watched)
    assert first['keyturn_reads_total{status="success"}'] == 20
    assert first['keyturn_secret_version{name="api-keys/stripe"}'] == 1
    assert first["keyturn_memory_locked_bytes"] > 0 and first["keyturn_memory_unlocked_bytes"] == 0
    before = watched.nginx.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(watched.nginx.worker_pids()) == 2 and not set(before) & set(watched.nginx.worker_pids()))
    assert watched.get().status == 200
    watched.nginx.reload()
    watched.home.rotate("api-keys/stripe", "--generate")
    assert watched.get().status == 200
    last = metrics(watched)
    assert last['keyturn_reads_total{status="success"}'] == 22
    assert last['keyturn_secret_version{name="api-keys/stripe"}'] == 2
    assert watched.get("/dynamic?n=none").status == 404
    assert metrics(watched)['keyturn_reads_total{status="notfound"}'] == 1


def test_a_store_across_a_network_is_asked_once_it_is_missed(site, make_redis, canary):
    redis = make_redis()
    redis.start()
    site.home.add("providers", f'redis: {{address: "unix:{redis.socket}"}}')
    site.home.add("switch", '"api-keys/*": redis')
    site.home.set("api-keys/stripe", canary("remote"))
    site.configure(f"{PLACES} location / {{ {SECRET} @PROXY@ }}")
    site.nginx.start()
    code, answer = status(site, "/required")
    assert (code, answer["status"]) == (200, "degraded")      # not known is not failing
    wait_for(lambda: status(site)[1]["status"] == "ok")
    redis.stop()
    wait_for(lambda: status(site, "/required")[0] == 503)
    assert status(site)[1]["secrets"]["failing"][0]["status"] == "unavail"


def test_times_of_a_secret(site, canary):
    site.home.set("api-keys/stripe", canary("times"), "--expires", "1d")
    site.configure(f"{PLACES} location / {{ {SECRET} @PROXY@ }}")
    site.nginx.start()
    assert site.get().status == 200
    counts = metrics(site)
    assert 0 <= counts['keyturn_secret_age_seconds{name="api-keys/stripe"}'] < 60
    assert 86300 < counts['keyturn_secret_expires_seconds{name="api-keys/stripe"}'] <= 86400
    first = counts['keyturn_generation{type="api-keys"}']
    site.home.rotate("api-keys/stripe", "--generate")
    assert site.get().status == 200
    counts = metrics(site)
    assert counts['keyturn_generation{type="api-keys"}'] > first > 0
    assert counts['keyturn_secret_version{name="api-keys/stripe"}'] == 2


def test_records_that_wait(watched):
    """By whichever worker they were made, and until they are lines."""
    for _ in range(10):
        assert watched.get().status == 200
    seen = []

    def written():
        seen.append(metrics(watched))
        return seen[-1]["keyturn_audit_pending"] == 0 and len(watched.records(action="read")) > 0
    wait_for(written)
    assert seen[-1]["keyturn_audit_lag_seconds"] == 0
    audit = status(watched)[1]["audit"]
    assert audit == {"pending": 0, "lag_ms": 0}


def test_a_trail_that_cannot_be_written_lags(site, canary):
    """A process that holds the trail's state keeps records in the ring. One worker, because a second one needs the state for its ring."""
    watched = site
    site.home.set("api-keys/stripe", canary("watched"))
    site.configure(f"{SECRET} {PLACES} location / {{ @PROXY@ }}", workers=1)
    site.nginx.start()
    assert watched.get().status == 200
    state = watched.home.audit / "nginx/state"
    wait_for(state.exists)
    wait_for(lambda: metrics(watched)["keyturn_audit_pending"] == 0)
    with open(state, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert watched.get().status == 200
        wait_for(lambda: metrics(watched)["keyturn_audit_lag_seconds"] > 1)
        counts, answer = metrics(watched), status(watched)[1]
        assert counts["keyturn_audit_pending"] > 0 and answer["audit"]["pending"] > 0 and answer["audit"]["lag_ms"] > 1000
    wait_for(lambda: metrics(watched)["keyturn_audit_pending"] == 0)


def test_providers_by_their_answers(site, make_redis, canary):
    redis = make_redis()
    redis.start()
    site.home.add("providers", f'redis: {{address: "unix:{redis.socket}"}}')
    site.home.add("switch", '"api-keys/*": redis')
    site.home.set("api-keys/stripe", canary("remote"))
    site.home.set("tls/x", "x")
    site.configure(f"{PLACES} location / {{ {SECRET} @PROXY@ }}", workers=2)
    site.nginx.start()
    assert status(site)[1]["providers"] == {}
    assert site.get().status == 200
    wait_for(lambda: metrics(site).get('keyturn_fetches_total{provider="redis",result="success"}'))
    answer = status(site)[1]["providers"]["redis"]
    assert answer["status"] == "success" and answer["since"] > 1600000000
    redis.stop()
    wait_for(lambda: status(site)[1]["providers"]["redis"]["status"] == "unavail", timeout=20)
    assert status(site)[1]["providers"]["redis"]["since"] >= answer["since"]
    assert metrics(site)['keyturn_fetches_total{provider="redis",result="unavail"}'] >= 1
    text = site.get("/metrics").body
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, b""), text.decode()


@pytest.mark.parametrize("text, error", [
    ("keyturn_status all;", 'parameter "all" is not "required"'),
    ("keyturn_metrics x;", 'invalid number of arguments in "keyturn_metrics"'),
])
def test_wrong_parameters(site, text, error):
    site.configure(f"location / {{ {text} }}")
    assert error in site.nginx.test().stderr
