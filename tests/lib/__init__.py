# SPDX-License-Identifier: BSD-2-Clause
"""What all suites share. tests/conftest.py has the fixtures made of it.

    stage.py     Stage: where the programs under test are
    tools.py     wait_for, free_port, short_dir, Process
    home.py      Home: a keyturn home and its command
    upstream.py  Upstream: an HTTP server that remembers what it was sent
    nginx.py redis.py postgres.py   one real server each
"""
