# SPDX-License-Identifier: BSD-2-Clause
"""set warns of weak values, and check --secrets finds them: never with the value."""

STRONG = "Kx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5c"


def told(home, name, value, *options):
    return home.run("set", name, *options, input=value).stderr.decode()


def warnings(home):
    rows = home.json("check", "--secrets")["checks"]
    return {(row["what"], row["detail"]) for row in rows if row["status"] == "warning"}


def test_set_warns(home, canary):
    value = "qwertyuiop" * 4
    text = told(home, "api-keys/a", value)
    assert "the value is weak: guessed after about 2^" in text and "rotate" not in text
    assert value not in text and home.get("api-keys/a").decode() == value, "it is stored all the same"
    assert told(home, "api-keys/b", STRONG) == ""
    assert "shorter than 16 characters" in told(home, "logins/bob", "Kx7p")
    assert told(home, "auth/jwt", STRONG) == "", "advice is left to check"
    assert any("shorter than recommended" in detail for name, detail in warnings(home) if name == "auth/jwt")
    assert "placeholder" in told(home, "logins/eve", "Change-Me-in-production-1")
    assert home.run("--quiet", "set", "logins/bob", input="Kx7p").stderr == b""


ISSUED = {  # formats of vendors and of generators, as they are; random parts by hand
    "Django": "$q=w(=^7b3)p^dkhx4py8g!pa_n0rl)yk+ei$$2iiaan)nkksu",
    "Sentry DSN": "https://6656c90bd5482a90a29b9fa5ff5180bc@o123456.ingest.sentry.io/4501234567890123",
    "AWS key id": "AKIAB2XYA4CLMHP5WWQ5",
    "token_hex(15)": "3b91d26ab4a829a95249f512c17b8e",
    "Mailgun": "key-d411fa644d35db41d94e5efaf89fc43c",
    "TOTP": "L7VLF7RXEWCTXR7QSVLA6QUR5SWWRW2W",
    "short TOTP": "L4XVJKMX6SF2K2TR",
    "diceware": "crumb-slinky-yarn-outlet-purple-shorty",
    "URL": "postgresql://app:UbmkLCNPloWRlOTcEokd5ihu@db.internal:5432/shop",
    "DigitalOcean": "dop_v1_5f61debc267b0bc8d3b1939a9b4ddbe45cf642b0c3a4acdd7f9fcc589f8d0a9f",
    "prefix and letters": "live_7sjEbhQN9CpscYi0zaEIJrp7",
    "letters and digits": "EYcpFr2jUssFMEHP3M4V5hbWitsITvNs",
    "two parts": "UHbDwxRV0LicaqJDR6g4RI.maBXZBMKST9OPE261yEzR2Um5sD1Wet1aSXBLsPXE6t",
    "UUID": "550e8400-e29b-41d4-a716-446655440000",
    "URL-safe": "q0Zp-3vT_8sLrX2nYb7KdW1mHc5GfJ9aUoEiRtSwBxQ",
}
GUESSABLE = ["Password123456789A", "Summer2026Summer2026", "Admin1234Admin1234", "Qwertyuiop123456", "1111111111111111",
             "abcdefghijklmnop", "change-me-in-production", "your-api-key-here"]


def test_issued_formats_are_told_from_guessable_ones(home):
    assert len(ISSUED) == 15 and len(GUESSABLE) == 8
    assert {kind for kind, value in ISSUED.items() if told(home, "logins/x", value)} == set()
    assert [value for value in GUESSABLE if "the value is weak: " not in told(home, "logins/x", value)] == []


def test_a_url_is_as_strong_as_its_password(home):
    assert "a placeholder" in told(home, "app/DATABASE_URL", "postgresql://app:secret@a-long-name.of-a-host.example:5432/shop")
    assert "shorter than 16" in told(home, "app/DSN", "https://abc@o123456.ingest.sentry.io/4501234567890123")
    assert told(home, "app/HOOK", "https://hooks.chat.test/services/T02AB/B08XYZ/7sjEbhQN9CpscYi0zaEIJrp7") == ""


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
    weak = "Summer2026" * 2
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
    assert any(name == "api-keys/weak" and detail.startswith("weak: ") and "guessed after" in detail for name, detail in found)
    assert home.info("tls/cert")["accessed"] == 0
    assert {line["purpose"] for line in home.records() if line["reference"] == "tls/cert" and line["action"] == "read"} == {"check"}
    assert "secrets" not in home.run("check").stdout.decode()


def test_what_may_not_be_read_is_said(home):
    home.set("api-keys/a", STRONG)
    home.get("api-keys/a")
    home.deny("*", ["read"], ["api-keys/a"])
    assert any("not checked" in detail for name, detail in warnings(home) if name == "api-keys/a")


def test_what_keyturn_makes_up_is_not_weak(home):
    """Whatever it happens to have no digit of, or two of in a row: 20 random hexadecimal values of 16 digits nearly always have one
    that looks like dates and sequences."""
    for alphabet in ("alnum", "hex", "urlsafe", "symbols", "uuid"):
        for number in range(20):
            home.run("generate", f"made/{alphabet}{number}", "--alphabet", alphabet)
            if alphabet in ("alnum", "hex"):
                home.run("generate", f"short/{alphabet}{number}", "--alphabet", alphabet, "--length", "16")
    assert [row for row in warnings(home) if row[1].startswith("weak")] == []
    for name in home.list("made/*")[::5]:
        assert told(home, "api-keys/a", home.get(name)) == ""


def test_what_was_made_up_elsewhere_is_not_weak_either(home):
    """openssl rand -hex 8: the first ones look like dates and sequences to the estimate, the others are known to be guessed."""
    for value in ("e97531d4c3a19990", "2074588b13ed8744", "11a35c94b83a3455"):
        assert told(home, "logins/x", value) == "", value
    for value in ("deadbeefcafebabe", "2026112920261130", "1234567812345678", "feedfacedeadbeef"):
        assert "the value is weak" in told(home, "logins/x", value), value


def test_a_length_is_still_recommended(home):
    home.run("generate", "auth/jwt", "--length", "32")
    home.run("generate", "api-keys/short", "--length", "16")
    found = {name: detail for name, detail in warnings(home) if "shorter" in detail}
    assert set(found) == {"auth/jwt", "api-keys/short"} and all(detail.startswith("shorter than recommended") for detail in found.values())


def test_a_value_that_was_set_is_judged_though_the_last_one_was_made_up(home):
    home.run("generate", "logins/x")
    home.set("logins/x", "Summer2026" * 2)
    assert ("logins/x", "weak: guessed") in {(name, detail[:13]) for name, detail in warnings(home)}
