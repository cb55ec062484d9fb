# SPDX-License-Identifier: BSD-2-Clause
"""A Redis server whose user's password the target `redis` changes."""
import hashlib
import signal

import redis as client_library

from lib.redis import Redis
from lib.tools import Process

NAME, ADMIN = "redis/app", "redis/rotator"
OLD, ADMINS = "old-password-of-app", "password-of-rotator"

# what the manual says that the administrator needs
RIGHTS = "+acl|getuser +acl|setuser +acl|save +config|get +config|set +config|rewrite"


def digest(password):
    return hashlib.sha256(password if isinstance(password, bytes) else password.encode()).hexdigest()


class Node(Redis):
    """A redis-server without the module, with the users app and rotator."""
    users = ("user default off", f"user app on ~* &* +@all #{digest(OLD)}", f"user rotator on {RIGHTS} #{digest(ADMINS)}")

    def begin(self, *lines, users=None):
        self.address = f"127.0.0.1:{self.port}"
        return self.start(*(users or self.users), "appendonly no", *lines, module=False)

    def again(self, number=signal.SIGTERM):
        """Stops it, and starts it with what it has saved itself."""
        self.stop(number)
        conf = self.dir / "redis.conf"
        self.process = Process([self.stage.redis, conf], self.stage.environment(), self.log_path, self.dir)
        self.process.wait_ready(self._ready, 15, "redis-server")

    @property
    def conf(self):
        return (self.dir / "redis.conf").read_text()

    def lets_in(self, password, user="app"):
        connection = client_library.Connection(port=self.port, username=user, password=password)
        try:
            connection.connect()
            return True
        except client_library.exceptions.ResponseError:
            return False
        finally:
            connection.disconnect()

    def admin(self):
        return self.client("rotator", ADMINS)

    def hashes(self, user="app", admin=None):
        answer = (admin or self.admin()).execute_command("ACL", "GETUSER", user)
        return {hash.decode() for hash in answer[answer.index(b"passwords") + 1]}
