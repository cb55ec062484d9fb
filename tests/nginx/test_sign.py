# SPDX-License-Identifier: BSD-2-Clause
"""secret_sign: messages that a secret signs, in headers, answers and requests to S3. botocore judges these, as moto would."""
import base64
import datetime
import hashlib
import hmac
import os
import pathlib
import re
import threading

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lib import memory

PAGE = (pathlib.Path(os.environ["KT_TOP"]) / "nginx/ngx_http_keyturn_module.7").read_text()


def examples(title):
    """The displays of a section of the manual page, as one types them."""
    text = re.split(rf"^\.S[sh] {re.escape(title)}\n", PAGE, flags=re.M)[1]
    text = re.split(r"^\.S[sh] ", text, flags=re.M)[0]
    displays = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.M | re.S)
    return [display.replace(r"\(dq", '"').replace(r"\e", "\\") for display in displays]


def signed(site, value, message, name="sha256"):
    return hmac.new(value.encode(), message.encode(), name)


@pytest.mark.plain("under a sanitizer mlock(2) does nothing")
def test_algorithms_and_encodings(site, canary):
    value = canary("sign")
    site.home.set("hooks/out", value)
    site.home.set("hooks/json", {"key": value})
    site.configure(r"""
        secret_sign $hex hooks/out "$request_method\n$uri?$args";
        secret_sign $sha1 hooks/out $uri alg=hmac-sha1 encode=base64;
        secret_sign $sha512 hooks/$arg_name "t=$arg_t" alg=hmac-sha512 encode=base64url;
        location / { proxy_set_header X-Hex $hex; proxy_set_header X-Sha1 "v1=$sha1"; @PROXY@ }
        location /field { secret_sign $hex hooks/json $uri field=key; proxy_set_header X-Hex $hex; @PROXY@ }
        location /dynamic { proxy_set_header X-Sha512 $sha512; @PROXY@ }
        location /answer { add_header X-Hex $hex; return 302 "https://cdn.example$uri?s=$hex"; }""")
    site.nginx.start()
    assert site.get("/dynamic?name=out&t=1").status == 200
    assert site.upstream.last.headers["X-Sha512"] == base64.urlsafe_b64encode(signed(site, value, "t=1", "sha512").digest()).decode().rstrip("=")
    assert site.get("/a?b=c&name=out").status == 200
    assert site.upstream.last.headers["X-Hex"] == signed(site, value, "GET\n/a?b=c&name=out").hexdigest()
    assert site.upstream.last.headers["X-Sha1"] == "v1=" + base64.b64encode(signed(site, value, "/a", "sha1").digest()).decode()
    assert site.get("/field?name=out").status == 200
    assert site.upstream.last.headers["X-Hex"] == signed(site, value, "/field").hexdigest()
    answer = site.get("/answer")
    assert answer.headers["X-Hex"] == signed(site, value, "GET\n/answer?").hexdigest()
    assert answer.headers["Location"].endswith(answer.headers["X-Hex"])
    assert "[alert]" not in site.nginx.error_log()
    for pid in site.nginx.worker_pids():
        memory.assert_locked(pid, value.encode())
        assert memory.elsewhere(pid, value.encode()) == [], "it never leaves locked memory"


def test_a_rotation_and_what_is_missing(site, canary):
    old, new = canary("first"), canary("second")
    site.home.set("hooks/out", old)
    site.configure("""location / { secret_sign $s hooks/out $uri; proxy_set_header X-Sign $s; @PROXY@ }
        location /none { secret_sign $s hooks/$arg_n $uri; proxy_set_header X-Sign $s; @PROXY@ }""")
    site.nginx.start()
    assert site.header("X-Sign") == signed(site, old, "/").hexdigest()
    site.home.set("hooks/out", new)
    assert site.header("X-Sign") == signed(site, new, "/").hexdigest()
    count = len(site.upstream.requests)
    assert site.get("/none?n=none").status in (403, 404, 503)
    assert len(site.upstream.requests) == count
    assert [line["version"] for line in site.records(action="read", status="success")] == [1, 2]


def test_across_a_network(site, make_redis, canary):
    value = canary("far")
    redis = make_redis()
    redis.start()
    site.home.add("providers", f'redis: {{address: "unix:{redis.socket}"}}')
    site.home.add("switch", '"hooks/*": redis')
    site.home.set("hooks/out", value)
    site.location("secret_sign $s hooks/out $uri; proxy_set_header X-Sign $s;")
    site.nginx.start()
    assert site.header("X-Sign") == signed(site, value, "/").hexdigest()


class S3Judge:
    """Answers 200 to a request that its key has signed, and 403 to others, by botocore's own signer."""

    def __init__(self, keys):
        self.keys, self.lock, self.refused = keys, threading.Lock(), []

    def __call__(self, request):
        try:
            self.check(request)
        except AssertionError as error:
            with self.lock:
                self.refused.append(str(error))
            return 403, {}, b"SignatureDoesNotMatch"
        return 200, {}, b"an object"

    def check(self, request):
        pattern = r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/eu-central-1/s3/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
        parts = re.fullmatch(pattern, request.headers["Authorization"] or "")
        assert parts, request.headers["Authorization"]
        key, day, names, signature = parts.groups()
        moment = datetime.datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        assert abs(datetime.datetime.now(datetime.timezone.utc) - moment) < datetime.timedelta(minutes=5)
        assert day == moment.strftime("%Y%m%d")
        headers = {name: request.headers[name] for name in names.split(";")}
        aws = AWSRequest(request.method, f"https://{headers['host']}{request.path}", headers=headers)
        aws.context["timestamp"] = request.headers["x-amz-date"]
        auth = S3SigV4Auth(Credentials(key, self.keys[key]), "s3", "eu-central-1")
        canonical = auth.canonical_request(aws)
        assert auth.signature(auth.string_to_sign(aws, canonical), aws) == signature, canonical


@pytest.fixture
def s3(site, canary):
    site.keys = {"AKIAOLD": canary("aws-old"), "AKIANEW": canary("aws-new")}
    site.put = lambda key: site.home.set("aws/photos", {"access_key_id": key, "secret_access_key": site.keys[key]})
    site.put("AKIAOLD")
    site.judge = site.upstream.respond = S3Judge(site.keys)
    return site


def start(s3):
    """The example of the manual page, with an S3 on this machine that speaks no TLS; in a time zone that is not UTC."""
    (text,) = examples("Requests to S3")
    text = re.sub(r"^ *proxy_ssl_.*\n", "", text, flags=re.M).replace("https://", "http://")
    text = text.replace("server photos.s3.eu-central-1.amazonaws.com:443;", f"server 127.0.0.1:{s3.upstream.port};")
    s3.nginx.configure(text.replace("server {\n", "server {\nlisten 127.0.0.1:@PORT@; server_name app.example;\n"))
    s3.nginx.env = s3.nginx.env | {"TZ": "XST-5:30"}
    s3.nginx.start()


def test_s3(s3):
    start(s3)
    for path in ("/photos/cat.jpg", "/photos/a/b-c_d.e/f", "/photos/2026/11/x"):
        answer = s3.get(path)
        assert (answer.status, answer.body) == (200, b"an object"), s3.judge.refused
    assert s3.get("/photos/cat.jpg", method="HEAD").status == 200, s3.judge.refused
    assert s3.get("/photos/cat.jpg", method="PUT", body=b"x").status == 403 and s3.get("/photos/a%20b").status == 404
    s3.put("AKIANEW")
    assert s3.get("/photos/cat.jpg").status == 200 and "Credential=AKIANEW/" in s3.upstream.last.headers["Authorization"]
    s3.keys["AKIANEW"] = "another"
    assert s3.get("/photos/cat.jpg").status == 403 and len(s3.judge.refused) == 1, "the judge is one"


def test_id_and_signature_are_of_one_version(s3):
    """Rotated while requests are made: never the id of one key and the signature of another."""
    start(s3)
    stop, statuses = threading.Event(), []

    def ask():
        while not stop.is_set():
            statuses.append(s3.get("/photos/cat.jpg").status)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        for key in s3.keys:
            s3.put(key)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(statuses) > 20 and set(statuses) == {200}, s3.judge.refused[:1]


def test_what_is_not_a_canonical_request_is_not_signed(s3):
    s3.location('secret_sign $s aws/photos "GET\\n$uri\\n\\nx-amz-date:$arg_date\\n\\n" derive=aws4:x/s3 field=secret_access_key;'
                ' proxy_set_header X-Sign $s;')
    s3.nginx.start()
    s3.upstream.respond = lambda request: (200, {}, b"")
    assert s3.get("/?date=20261130T235959Z").status == 200 and len(s3.upstream.last.headers["X-Sign"]) == 64
    assert s3.get("/?date=30.11.2026").status != 200 or s3.upstream.last.headers["X-Sign"] is None
    assert 'the message has no line "x-amz-date:YYYYMMDDTHHMMSSZ"' in s3.nginx.error_log()


CONFIGURATIONS = [
    ("secret_sign $s hooks/out m alg=md5;", '"alg=md5" is not one of hmac-sha256, hmac-sha1, hmac-sha512'),
    ("secret_sign $s hooks/out m encode=uri;", '"encode=uri" is not one of hex, base64, base64url'),
    ("secret_sign $s hooks/out m derive=aws4:x;", 'derive=aws4:x" is not valid: it is not aws4:REGION/SERVICE'),
    ("secret_sign $s hooks/out m derive=aws4:x/s3 alg=hmac-sha1;", "aws4 signs with hmac-sha256 only"),
    ("secret_sign $s hooks/out m colour=red;", "is not one of alg=, derive=, encode=, field="),
    ("secret_sign s hooks/out m;", 'invalid variable name "s"'),
    ("secret_sign $s hooks/none m;", 'required secret "hooks/none" of "$s" cannot be read'),
    ("secret_sign $s hooks/out m; secret_get $s hooks/out;", 'duplicate "secret_get" of "$s"'),
]


def test_configuration(site):
    site.home.set("hooks/out", "x")
    for text, message in CONFIGURATIONS:
        site.location(text)
        assert message in site.nginx.test().stderr, text


def test_examples_of_the_manual(site):
    for name in ("hooks/shop", "hooks/out"):
        site.home.set(name, "x")
    enter, match = examples("WHO MAY ENTER")
    (sign,) = examples("SIGNATURES")
    site.configure(f"{enter} location / {{ {sign} @PROXY@ }}", outside=f"{match} limit_req_zone $rate_key zone=a:1m rate=9r/s;")
    result = site.nginx.test()
    assert result.returncode == 0, result.stderr
