# SPDX-License-Identifier: BSD-2-Clause
"""A home whose key gets further epochs, and servers with a key file of their own."""
import shutil

POINTS = ["rekey.mark", "rekey.marked", "rekey.begin", "rekey.begun", "rekey.batch", "rekey.moved", "rekey.anchored", "rekey.finish",
          "rekey.finished"]


def use_keys(home, text):
    """The value of `key:` in the home's configuration."""
    lines = home.read_config().splitlines(keepends=True)
    home.write_config("".join(f"key: {text}\n" if line.startswith("key:") else line for line in lines))


def own_key(home, host):
    """`host` gets a copy of the home's key as it is, the command keeps the home's: the path."""
    path = home.dir / f"{host}.key"
    shutil.copy(home.key, path)
    use_keys(home, f"{{cli: 'file:{home.key}', {host}: 'file:{path}'}}")
    return path


def next_epoch(home):
    """The home's key gets one more epoch."""
    home.run("keygen", "--epoch", home.dir / "next.key")
    (home.dir / "next.key").rename(home.key)


def hand_out(home, path):
    """The home's key as it is now, in place of a host's file, at once."""
    new = path.with_suffix(".new")
    shutil.copy(home.key, new)
    new.rename(path)


def drop_epoch(home, epoch):
    text = "".join(line for line in home.key.read_text().splitlines(True) if not line.startswith(f"key {epoch} "))
    home.key.write_text(text)


def kill_rekey(home, point):
    """False: it never came to that point."""
    result = home.run("rekey", check=False, env={**home.env, "KEYTURN_DEBUG_STOP": f"{point}:kill"})
    assert result.returncode in (0, -9), result
    return result.returncode != 0


def rekey_with_kills(home):
    """Killed once at each point, then to the end."""
    for point in POINTS:
        kill_rekey(home, point)
    assert home.json("rekey")["complete"] is True
