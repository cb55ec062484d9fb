# SPDX-License-Identifier: BSD-2-Clause
"""nginx (www-data), Redis (redis) and PostgreSQL (postgres) on the layout of `keyturn init --system`. Only on a machine of its own."""
import json
import pathlib
import shutil
import subprocess

from lib.machine import CONFIG, Machine
from lib.nginx import Nginx
from lib.postgres import Postgres
from lib.redis import Redis

PLACE = pathlib.Path("/var/lib/test")  # the servers' own files; in memory


class Servers:
    """machine, nginx, redis, postgres; nginx_get(path) is what an application behind nginx was sent."""

    def __init__(self, kt, stack, canary):
        self.machine, self.key, self.note = Machine(kt), canary("system-key"), canary("system-note")
        self.machine.take_away()
        stack.callback(self.machine.take_away)
        self.machine.init("--user", "deploy")
        self.machine.grant('  - {who: "*", allow: [read, list], names: ["*"]}\n'
                           '  - {who: "redis:default", allow: [write, rotate], names: ["*"]}\n'
                           '  - {who: "postgresql:role:postgres", allow: [write, rotate], names: ["*"]}\n'
                           '  - {who: "postgresql:worker", allow: [rotate, list], names: ["*"]}')
        self.machine.set("api-keys/stripe", self.key.encode())
        self.machine.set("tls/note", self.note.encode())
        self.machine.set("database/primary", json.dumps({"user": "app", "password": "none yet"}).encode())
        shutil.rmtree(PLACE, ignore_errors=True)
        PLACE.mkdir(mode=0o755)
        self.start_nginx(kt, stack)
        self.start_redis(kt, stack)
        self.start_postgres(kt, stack)

    def own(self, path, user):
        path.mkdir(mode=0o755, exist_ok=True)
        self.machine.sh(f"chown -R {user}: {path}")
        return path

    def start_nginx(self, kt, stack):
        self.nginx = Nginx(kt, PLACE / "nginx")
        self.nginx.configure("""
            secret_get $stripe api-keys/stripe; secret_get $note tls/note;
            server { listen 127.0.0.1:@PORT@;
                     location /echo { return 200 $http_x_secret; }
                     location /stripe { proxy_set_header X-Secret $stripe; proxy_pass http://127.0.0.1:@PORT@/echo; }
                     location /note { proxy_set_header X-Secret $note; proxy_pass http://127.0.0.1:@PORT@/echo; }
                     location /password { secret_get $password database/$arg_name field=password;
                                          proxy_set_header X-Secret $password; proxy_pass http://127.0.0.1:@PORT@/echo; } }""",
                             main="user www-data;", keyturn=f"keyturn_config {CONFIG};", workers=2)
        stack.callback(self.nginx.stop)
        self.nginx.start()

    def start_redis(self, kt, stack):
        folder = self.own(PLACE / "redis", "redis")
        self.redis = Redis(kt, folder, folder)
        self.redis.prefix = self.machine.become("redis")
        self.redis.module = False
        stack.callback(self.redis.stop)
        self.redis.start(f"loadmodule {kt.redis_module} config {CONFIG}")
        # root talks to its socket
        self.redis_do = lambda *words: self.redis.client().execute_command(*words)

    def start_postgres(self, kt, stack):
        folder, template = self.own(PLACE / "postgres", "postgres"), PLACE / "postgres/template"
        env = kt.environment()
        argv = [*self.machine.become("postgres"), kt.pg_bin / "initdb", "-D", template, "-U", "postgres", "-A", "trust", "-N", "--locale=C.UTF-8"]
        subprocess.run(argv, env=env, check=True, capture_output=True, timeout=120, cwd="/")
        self.postgres = Postgres(kt, folder, folder, template)
        self.own(folder, "postgres")
        self.postgres.prefix = self.machine.become("postgres")
        stack.callback(self.postgres.stop)
        self.postgres.start(keyturn__config=CONFIG, shared_preload_libraries="keyturn")
        self.postgres.sql("CREATE EXTENSION keyturn")
        self.postgres.sql("CREATE ROLE app LOGIN")

    def ask_nginx(self, path):
        return self.nginx.get(path).body.decode()
