# SPDX-License-Identifier: BSD-2-Clause
"""Where the programs under test are: a staged `make install`, which auto/stage names in variables."""
import os
import pathlib

TOP = pathlib.Path(__file__).resolve().parents[2]


def read_env_file(path):
    """export KEY='VALUE', a line each, as auto/stage writes them."""
    values = {}
    for line in pathlib.Path(path).read_text().splitlines():
        line = line.strip().removeprefix("export ")
        if line and not line.startswith("#") and "=" in line:
            key, value = line.split("=", 1)
            values[key] = value.strip("'\"")
    return values


class Stage:
    """Paths of the programs. Each comes from its variable, else from the file env.sh of the folder
    $KT_STAGE (auto/stage DIR wrote it), else, for work on the command alone, from the build folder.

    keyturn       the command                     KT_BIN
    libdir        where libkeyturn.so.0 is        KT_LIBDIR
    nginx         Debian's nginx, or one of auto/servers             KT_NGINX
    nginx_module  ngx_http_keyturn_module.so      KT_NGINX_MODULE; None if that is "static": nginx itself has it
    redis         Debian's redis-server           KT_REDIS_SERVER
    redis_module  keyturn.so for Redis            KT_REDIS_MODULE
    pg_bin        folder of the relocated postgres, initdb, pg_ctl, psql    KT_PG_BIN
    """

    def __init__(self):
        told = {}
        stage = os.environ.get("KT_STAGE")
        if stage:
            for file in (pathlib.Path(stage) / "env.sh", pathlib.Path(stage).parent / "env.sh"):
                if file.is_file():
                    told = read_env_file(file)
                    break
        build = TOP / "build"

        def path(variable, default):
            return pathlib.Path(os.environ.get(variable) or told.get(variable) or default)

        self.stage = pathlib.Path(stage) if stage else build
        self.keyturn = path("KT_BIN", build / "bin/keyturn")
        self.libdir = path("KT_LIBDIR", build / "lib")
        self.nginx = path("KT_NGINX", "/usr/sbin/nginx")
        self.nginx_module = path("KT_NGINX_MODULE", build / "nginx/ngx_http_keyturn_module.so")
        if str(self.nginx_module) == "static":
            self.nginx_module = None
        self.redis = path("KT_REDIS_SERVER", "/usr/bin/redis-server")
        self.redis_module = path("KT_REDIS_MODULE", build / "redis/keyturn.so")
        self.pg_bin = path("KT_PG_BIN", "/usr/lib/postgresql/15/bin")

    def environment(self, **more):
        """A small environment for children: the library path, nothing of keyturn's that the tester has set."""
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8",
               "HOME": "/nonexistent", "LD_LIBRARY_PATH": str(self.libdir)}
        # of auto/check asan: the runtime of the sanitizers for servers that were built without
        if os.environ.get("KT_PRELOAD"):
            env.update(LD_PRELOAD=os.environ["KT_PRELOAD"], ASAN_OPTIONS=os.environ["KT_ASAN_OPTIONS"])
        # sanitizers and a fault hook must reach the children
        for key, value in os.environ.items():
            if key in ("LD_PRELOAD", "TMPDIR", "TERM") or key.startswith(("ASAN_", "UBSAN_", "KT_FAULT")):
                env[key] = value
        env.update({key: str(value) for key, value in more.items()})
        return env

    def need(self, *names):
        """Fails, naming what is not there: a suite without its server must never look as if it had passed."""
        missing = [f"{name}: {getattr(self, name)}" for name in names if getattr(self, name) and not getattr(self, name).exists()]
        if missing:
            raise FileNotFoundError("not staged (run through auto/check): " + ", ".join(missing))
