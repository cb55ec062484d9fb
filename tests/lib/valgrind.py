# SPDX-License-Identifier: BSD-2-Clause
"""Servers under valgrind, and what it says of our code in them."""
import collections
import xml.etree.ElementTree as xml

OURS = ("libkeyturn", "keyturn_module", "/keyturn/")    # of the objects whose code is ours; nginx has unloaded modules at the end


def command(folder):
    """What runs a server so: a file for each process, also for those that it forks."""
    return ["valgrind", "-q", "--keep-debuginfo=yes", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", "--num-callers=40",
            "--xml=yes", f"--xml-file={folder}/valgrind.%p"]


def frames(error):
    return [(frame.findtext("obj") or OURS[0], frame.findtext("fn") or "?") for frame in error.find("stack")]


class Report:
    """Of a process that has ended: errors, the texts of those in our code; leaks, bytes that we lost, by the functions that made them."""

    def __init__(self, path):
        self.errors, self.leaks = [], collections.Counter()
        for error in xml.parse(path).getroot().iter("error"):
            stack = frames(error)
            if not any(ours in file for file, _ in stack for ours in OURS):
                continue
            kind, names = error.findtext("kind"), " < ".join(name for _, name in stack[:12])
            if kind.startswith("Leak_"):
                self.leaks[names] += int(error.findtext("xwhat/leakedbytes"))
            else:
                self.errors.append(f"{kind}: {error.findtext('what')}: {names}")
