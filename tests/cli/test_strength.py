# SPDX-License-Identifier: BSD-2-Clause
"""set warns of weak values, and check --secrets finds them: never with the value."""

STRONG = "Kx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5c"


def told(home, name, value, *options):
    return home.run("set", name, *options, input=value).stderr.decode()


def warnings(home):
    rows = home.json("check", "--secrets")["checks"]
    return {(row["what"], row["detail"]) for row in rows if row["status"] == "warning"}


def test_set_warns(home, canary):
    value = canary("weak").lower()
    text = told(home, "api-keys/a", value)
    assert "the value is weak: " in text and "without lower case, upper case and digits" in text
    assert value not in text and home.get("api-keys/a").decode() == value, "it is stored all the same"
    assert told(home, "api-keys/b", STRONG) == ""
    assert "shorter than 16 characters" in told(home, "logins/bob", "Kx7p")
    assert told(home, "auth/jwt", STRONG) == "", "advice is left to check"
    assert any("shorter than recommended" in detail for name, detail in warnings(home) if name == "auth/jwt")
    assert "placeholder" in told(home, "logins/eve", "Change-Me-in-production-1")
    assert home.run("--quiet", "set", "logins/bob", input="Kx7p").stderr == b""


def test_set_of_a_field(home):
    home.set("database/a", {"host": "h", "user": "u", "password": STRONG})
    assert told(home, "database/a", "h2", "--field", "host") == ""
    assert "shorter than 16" in told(home, "database/a", "short", "--field", "password")
    assert "shorter than 16" in told(home, "database/b", '{"user": "u", "password": "short"}')


def test_generated_values_pass(home):
    for number, options in enumerate([("--alphabet", "alnum"), ("--alphabet", "urlsafe", "--length", "64"),
                                      ("--alphabet", "symbols", "--length", "40"), ("--alphabet", "hex"),
                                      ("--alphabet", "uuid")]):
        home.set(f"api-keys/n{number}", "x")
        home.rotate(f"api-keys/n{number}", *options)
        home.get(f"api-keys/n{number}")
    assert warnings(home) == set()


def test_check_finds_the_weak_the_shared_and_the_unused(home, canary):
    weak = canary("weak").lower()
    home.set("api-keys/weak", weak)
    home.set("api-keys/one", STRONG)
    home.set("logins/two", {"value": STRONG})
    home.set("tls/cert", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    home.set("api-keys/gone", "x")
    home.delete("api-keys/gone")
    for name in ("api-keys/weak", "api-keys/one", "logins/two"):
        home.get(name)
    answer = home.run("check", "--secrets")
    assert answer.returncode == 0
    text = answer.stdout.decode()
    assert weak not in text and STRONG not in text
    found = warnings(home)
    assert {name for name, _ in found} == {"api-keys/weak", "logins/two", "tls/cert"}
    assert ("logins/two", "the same value as api-keys/one") in found
    assert ("tls/cert", "unused: it was never read") in found, "the check does not count as a read"
    assert any(name == "api-keys/weak" and detail.startswith("weak: ") and "without lower" in detail for name, detail in found)
    assert home.info("tls/cert")["accessed"] == 0
    assert {line["purpose"] for line in home.records() if line["reference"] == "tls/cert" and line["action"] == "read"} == {"check"}
    assert "secrets" not in home.run("check").stdout.decode()


def test_what_may_not_be_read_is_said(home):
    home.set("api-keys/a", STRONG)
    home.get("api-keys/a")
    home.deny("*", ["read"], ["api-keys/a"])
    assert any("not checked" in detail for name, detail in warnings(home) if name == "api-keys/a")
