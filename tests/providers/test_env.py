# SPDX-License-Identifier: BSD-2-Clause
"""The provider of variables: which variable a name means, which variables are secrets, and that it has them where a host has cleared
its environment."""
import pytest


@pytest.fixture
def env(driver):
    """env(NAME=VALUE, ..., options={...}): a driver whose whole environment these are."""
    def make(options=None, **variables):
        one = driver("env", **(options or {}))
        one.env = {"LD_LIBRARY_PATH": one.env.get("LD_LIBRARY_PATH", ""), **variables}
        return one
    return make


def get(one, name):
    return one.answer("--get", name)


def missing(one, name):
    return one.call("--get", name).status


def test_conformance(env):
    assert "# 5 passed, 0 failed" in env(A="b").suite()


@pytest.mark.parametrize("name, variable", [
    ("x", "X"), ("general/x", "X"), ("api-keys/stripe", "API_KEYS_STRIPE"), ("a/b", "A_B"), ("a.b-c/d_e", "A_B_C_D_E"),
    ("OPENAI_API_KEY", "OPENAI_API_KEY"), ("tls/example.com", "TLS_EXAMPLE_COM")])
def test_a_name_is_a_variable(env, name, variable):
    assert get(env(**{variable: "one two"}), name) == "one two"
    assert get(env(options={"prefix": "APP_"}, **{"APP_" + variable: "one"}), name) == "one"
    assert missing(env(options={"prefix": "APP_"}, **{variable: "one"}), name) == "notfound"


def test_an_empty_variable_is_unset(env):
    assert missing(env(A=""), "a") == "notfound"
    assert missing(env(AB="x"), "a") == "notfound"
    assert missing(env(A="x"), "ab") == "notfound"


def test_a_value_is_bytes(env):
    assert get(env(A="a=b=\n \u00e4 'q'"), "a") == "a=b=\n \u00e4 'q'"


def test_no_value_is_over_64_kib(env):
    assert len(get(env(A="x" * 65536), "a")) == 65536
    done = env(A="CANARY" + "x" * 65536).call("--get", "a")
    assert (done.status, done.text) == ("malformed", "$A: is over 65536 bytes")


ALIASES = "database/password\tDATABASE_PASSWORD\tPGPASSWORD\napi-keys/*\t*_API_KEY\tAPI_KEY_*\ngeneral/smtp\tMAIL\n"


def test_aliases_in_their_order(env):
    def of(**variables):
        return get(env(options={"aliases": ALIASES, "prefix": "APP_"}, **variables), "database/password")

    every = {"APP_DATABASE_PASSWORD": "c", "PGPASSWORD": "b", "DATABASE_PASSWORD": "a"}
    assert of(**every) == "a"
    del every["DATABASE_PASSWORD"]
    assert of(**every) == "b"
    every["PGPASSWORD"] = ""
    assert of(**every) == "c"


def test_an_alias_with_a_star(env):
    one = env(options={"aliases": ALIASES}, OPENAI_API_KEY="a", API_KEY_JINA="b", API_KEYS_X_Y="c", _API_KEY="d")
    assert [get(one, f"api-keys/{name}") for name in ("openai", "jina", "x/y")] == ["a", "b", "c"]
    assert missing(one, "api-keys/none") == "notfound"
    assert get(env(options={"aliases": ALIASES}, BRIGHT_DATA_API_KEY="e"), "api-keys/bright-data") == "e"
    assert get(env(options={"aliases": ALIASES}, MAIL="f"), "smtp") == "f"


SECRETS = ["DB_PASSWORD", "PGPASSWORD", "STRIPE_SECRET_KEY", "GITHUB_TOKEN", "api_key", "CLERK_AUTH", "SENTRY_DSN", "WP_APIKEY",
           "AWS_ACCESS_KEY_ID", "SMTP_PASS", "DB_PWD", "SECRETS", "GOOGLE_CREDENTIALS", "PASSWORD_SALT"]
OTHERS = ["PATH", "HOME", "PWD", "LOG_LEVEL", "MONKEY", "KEYBOARD", "KEYSTONE_URL", "AUTHOR", "PASSAGE", "TZ", "DEBUG"]


def test_what_looks_like_a_secret(env):
    one = env(options={"detect": "yes"}, **{name: "x" for name in SECRETS + OTHERS}, DATABASE_URL="postgres://u:p@h/d",
              PLAIN_URL="https://u@h/:@", OTHER_URL="https://h/a:b@c", EMPTY_URL="https://u:@h/", EMPTY_PASSWORD="")
    found = set(one.answer("--list", "").splitlines())
    assert found == {name for name in SECRETS if name.isupper()} | {"DATABASE_URL"}
    assert get(one, "database-url") == "postgres://u:p@h/d"
    assert get(one, "db/password") == "x"
    for name in OTHERS:
        assert missing(one, name.lower()) == "notfound", name


def test_detection_is_not_for_aliases(env):
    assert get(env(options={"detect": "yes", "aliases": "level\tLOG_LEVEL\n"}, LOG_LEVEL="x"), "level") == "x"


def test_a_list(env):
    one = env(options={"prefix": "APP_", "aliases": ALIASES}, APP_A="1", APP_B_C="2", APP_="3", APP__X="4", APPLE="5", app_d="6",
              APP_E="", PGPASSWORD="7", OPENAI_API_KEY="8")
    assert sorted(one.answer("--list", "").splitlines()) == ["A", "B_C", "database/password"]


def test_it_is_read_only(env):
    assert env(A="b").call("--check").status == "success"
    assert env(A="b").call("--check-writing").status == "forbidden"


# ---- through the command ----

@pytest.fixture
def served(home):
    home.add("providers", 'env: {prefix: APP_, aliases: {"keys/*": ["*_API_KEY", "API_KEY_*"], "db/*": DB_*}}')
    home.replace('"*": local', '"*": env')
    return home


def run(home, *args, **variables):
    return home.run(*args, env={**home.env, **variables}, check=False)


def test_the_command_reads_it(served, canary):
    value = canary("env")
    assert run(served, "get", "keys/stripe", STRIPE_API_KEY=value).stdout.decode() == value
    assert run(served, "get", "db/main", DB_MAIN="x").stdout == b"x"
    assert run(served, "get", "smtp", APP_SMTP="x").stdout == b"x"
    assert run(served, "get", "smtp", SMTP="x").returncode == 66
    assert run(served, "get", "smtp@previous", APP_SMTP="x").returncode == 66
    done = run(served, "set", "smtp", APP_SMTP="x")
    assert done.returncode == 77 and b"can write" in done.stderr
    assert [line["provider"] for line in served.records() if line.get("reference") == "keys/stripe"] == ["env"]


def test_check(served):
    done = run(served, "check", APP_SMTP="x", APP_B="y")
    assert done.returncode == 0, done.stderr
    assert b"env" in done.stdout and b"read 1 of 2 secrets" in done.stdout, done.stdout
    assert b"no secret is there" in run(served, "check").stdout


@pytest.mark.parametrize("text, says", [
    ("{prefix: A-}", "`prefix` may have letters, digits and _"),
    ("{aliases: X}", '`aliases` is a map'), ("{aliases: [X]}", '`aliases` is a map'),
    ("{prefix: [A]}", "`prefix` is one value, not a list"), ("{alias: {a: B}}", 'did you mean "aliases.*"'.replace(".*", "")),
    ('{aliases: {a: "B\\tC"}}', "has a tab"), ("{detect: maybe}", "must be true or false")])
def test_a_wrong_option(home, text, says):
    home.add("providers", f"env: {text}")
    home.replace('"*": local', '"*": env')
    done = home.run("get", "x", check=False)
    assert done.returncode != 0 and says in done.stderr.decode(), done.stderr
    assert f"{home.config}:" in done.stderr.decode()


def test_an_environment_that_is_too_large(served):
    done = run(served, "get", "smtp", APP_SMTP="x", **{f"FILL{i}": "x" * 100000 for i in range(3)})
    assert done.returncode == 78 and b"more than 262144 bytes" in done.stderr


# ---- nginx clears the environment of its workers ----

@pytest.fixture
def site(served, nginx, upstream):
    served.grant("nginx:*", ["read"], ["*"])

    def serve(**variables):
        nginx.env = {**nginx.env, **variables}
        nginx.configure(f"""server {{ listen 127.0.0.1:@PORT@; server_name app.example;
            secret_get $key keys/stripe;
            location / {{ proxy_set_header X-Key $key; proxy_pass http://127.0.0.1:{upstream.port}; }} }}""", workers=2)
        nginx.start()
        return nginx

    serve.header = lambda: (nginx.get("/").status, upstream.last.headers["X-Key"])
    return serve


def test_nginx_workers_have_it(site, canary):
    """Two workers; nginx gives them no variable but TZ, and the secret is in the request all the same, after a reload too."""
    value = canary("worker")
    nginx = site(STRIPE_API_KEY=value)
    for _ in range(6):
        assert site.header() == (200, value)
    nginx.reload()
    for _ in range(6):
        assert site.header() == (200, value)


def test_a_change_needs_a_restart(site, canary):
    for value in (canary("one"), canary("two")):
        nginx = site(STRIPE_API_KEY=value)
        assert site.header() == (200, value)
        nginx.stop()
