# SPDX-License-Identifier: BSD-2-Clause
"""A store that goes to a new epoch, killed at each step, under nginx' eyes: no request fails, nothing is reloaded."""
import threading

from lib import epochs

COUNT = 12


def start(site, workers=2):
    for n in range(COUNT):
        site.home.set(f"api-keys/n{n}", f"value-{n}")
    site.key = epochs.own_key(site.home, "nginx")
    site.upstream.respond = lambda request: (200, {}, (request.headers["X-Key"] or "").encode())
    site.serve("secret_get $key api-keys/n$arg_n; proxy_set_header X-Key $key;", workers=workers)


def check_all(site):
    for n in range(COUNT):
        answer = site.get(f"/?n={n}")
        assert (answer.status, answer.body) == (200, b"value-%d" % n), site.nginx.error_log()


def test_no_request_fails(site):
    start(site)
    check_all(site)
    epochs.next_epoch(site.home)
    epochs.hand_out(site.home, site.key)
    workers, stop, wrong, served = site.nginx.worker_pids(), threading.Event(), [], [0]

    def ask():
        while not stop.is_set():
            n = served[0] % COUNT
            answer = site.get(f"/?n={n}")
            if (answer.status, answer.body) != (200, b"value-%d" % n):
                wrong.append((n, answer.status, answer.body))
            served[0] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        epochs.rekey_with_kills(site.home)
    finally:
        stop.set()
        thread.join()
    assert wrong == [] and served[0] > 0, site.nginx.error_log()
    epochs.drop_epoch(site.home, 1)
    epochs.hand_out(site.home, site.key)
    assert site.home.set("api-keys/n3", "value-3") == 2
    check_all(site)
    assert site.nginx.worker_pids() == workers and not site.records(status="nokey") and not site.records(status="notfound")


def test_a_forgotten_key_is_reported_and_then_used(site, wait_for):
    start(site, workers=1)
    check_all(site)
    epochs.next_epoch(site.home)
    keys = site.home.read_config()
    epochs.use_keys(site.home, f"'file:{site.home.key}'")  # an operator whose configuration does not know of nginx
    site.home.run("rekey")
    site.home.write_config(keys)
    assert site.get("/?n=1").status == 503 and site.get("/?n=none").status == 503
    assert site.records(status="nokey", reference="api-keys/n1") and site.records(status="nokey", reference="api-keys/nnone")
    assert not site.records(status="notfound")
    epochs.hand_out(site.home, site.key)
    wait_for(lambda: site.get("/?n=1").status == 200, 15)
    check_all(site)
    assert site.get("/?n=none").status == 404 and site.records(status="notfound", reference="api-keys/nnone")
