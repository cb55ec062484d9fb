# SPDX-License-Identifier: BSD-2-Clause
"""README's first steps and docs/examples work as they stand, but for paths of this machine."""
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = TOP / "docs/examples"


def test_first_steps_of_the_readme(kt, tmp_path):
    blocks = re.findall(r"^```sh\n(.*?)^```$", (TOP / "README.md").read_text(), re.M | re.S)
    [(build, first_steps)] = [block.split("\n", 1) for block in blocks if "keyturn init ~/.keyturn" in block]
    assert build.startswith("auto/deps && ./configure ")
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", first_steps], cwd=tmp_path, capture_output=True, text=True,
                            env={**kt.environment(HOME=tmp_path), "PATH": f"{kt.keyturn.parent}:/usr/bin:/bin"})
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert re.search(r"^20$", result.stdout, re.M) and "api-keys/stripe" in result.stdout


def test_what_the_readme_names_is_there():
    text = (TOP / "README.md").read_text()
    for path in re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r"`((?:core|cli|tests|postgresql|nginx|auto|docs)/[\w./]*)`", text):
        if "VERB" not in path and "STAGE" not in path:
            assert (TOP / path).exists(), path


def test_examples_verify_the_upstream():
    """F12: nginx verifies no upstream by default."""
    pages = [path for pattern in ("README.md", "docs/**/*.md", "docs/**/*.conf", "nginx/*.7") for path in TOP.glob(pattern)]
    passes = [(path.name, line, block) for path in pages for block in re.split(r"^(?:```.*|\.Ed)$", path.read_text(), flags=re.M)
              for line in re.findall(r"^ *(?:proxy|grpc|uwsgi)_pass +\w*s://.*$", block, re.M)]
    assert passes
    for name, line, block in passes:
        module = line.split("_pass")[0].strip()
        assert f"{module}_ssl_verify on;" in block and f"{module}_ssl_trusted_certificate" in block and f"{module}_ssl_server_name on;" in block, name


def test_configuration(home, kt):
    """It is read, the keys are found and the policy holds; /etc and /var are in the home."""
    text = (EXAMPLES / "keyturn.yaml").read_text()
    text = text.replace("/etc/keyturn", str(home.dir)).replace("/var/log/keyturn", str(home.audit))
    text = text.replace("/var/lib/keyturn/store/production.db", str(home.store)).replace("production", "development")
    text = text.replace("uid:deploy", "uid:*")
    home.set("api-keys/stripe", b"v")
    home.set("database/primary", b"v")
    home.write_config(text)
    assert home.set("api-keys/stripe", b"w") == 2
    assert home.run("list", check=False).returncode == 69  # Redis does not run: the list would not be whole
    assert home.run("get", "api-keys/stripe", check=False).returncode == 77
    assert home.run("delete", "database/primary", check=False).returncode == 77


def test_nginx(make_nginx, home, upstream):
    home.grant("nginx:shop.example.org", ["read"], ["*"])
    home.set("api-keys/stripe", b"one")
    home.set("database/reporting", {"user": "u", "password": "p"})
    text = (EXAMPLES / "nginx.conf").read_text()
    nginx = make_nginx(home)
    nginx.configure(text.replace("127.0.0.1:8080", "127.0.0.1:@PORT@").replace("9000", str(upstream.port)))
    assert nginx.test().returncode == 0, nginx.test().stderr
    nginx.start()
    nginx.get("/")
    assert upstream.last.headers["Authorization"] == "Bearer one" and upstream.last.headers["X-Tenant"] == "none"
    nginx.get("/reports/")
    assert upstream.last.headers["Authorization"] == "Basic dTpw"


@pytest.mark.parametrize("name", ["redis.conf", "valkey.conf"])
def test_redis(name, make_redis, home):
    home.grant("redis:*", ["read", "write"], ["*"])
    redis = make_redis(home)
    lines = [line for line in (EXAMPLES / name).read_text().splitlines() if not line.startswith(("#", "loadmodule"))]
    redis.start(*filter(None, lines))
    redis.client().execute_command("SECRET.SET", "api-keys/stripe", "one")
    shop = redis.client(username="shop", password="x")
    assert shop.execute_command("SECRET.GET", "api-keys/stripe") == b"one"
    with pytest.raises(Exception, match="permission"):
        shop.execute_command("SECRET.SET", "api-keys/stripe", "two")


def test_postgresql(make_postgres, home):
    home.grant("postgresql:role:postgres", ["read", "rotate", "list", "state"], ["*"])
    home.set("database/reporting", {"user": "reporting", "password": "none yet"})
    postgres = make_postgres(home).start()
    postgres.sql("CREATE ROLE reporting LOGIN")
    result = postgres.psql((EXAMPLES / "rotate.sql").read_text(), "-v", "ON_ERROR_STOP=1")
    assert result.returncode == 0 and "in step" in result.stdout, result.stderr
    assert postgres.can_login("reporting", home.get("database/reporting#password").decode())
