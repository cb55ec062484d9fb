# SPDX-License-Identifier: BSD-2-Clause
"""Commands that messages advise: found in the sources, taken from a message, and run as they stand."""
import os
import pathlib
import re
import subprocess

TOP = pathlib.Path(os.environ.get("KT_TOP") or pathlib.Path(__file__).resolve().parents[2])
FOLDERS = ("core", "cli", "modules", "nginx", "redis-module", "postgresql")
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\])*\'|\s+|[A-Za-z_]\w*|.', re.S)
LABEL = 16  # characters: what keeps the keys that are derived from one key apart is padded to so many


def verbs():
    return set(re.findall(r'^VERB\(\w+, "([a-z]+)', (TOP / "cli/verbs.h").read_text(), re.M))


def literals(text):
    """The string literals of C, with adjacent ones joined; a macro between two of them is a %s."""
    literal = name = None
    for token in TOKEN.findall(text):
        if token.isspace() or token.startswith(("/*", "//")):
            continue
        if token[0] == '"':
            literal = (literal or "") + (name or "") + token[1:-1].replace('\\"', '"').replace("\\n", "\n")
            name = None
        elif literal is not None and name is None and re.fullmatch("[A-Z]+[A-Z_0-9a-z]*", token):
            name = "%s"
        else:
            if literal is not None:
                yield literal
            literal = name = None


def advices():
    """(file, literal) for each literal that has `keyturn VERB`, in the order of the files."""
    pattern = re.compile(r"(?<![\w/-])keyturn (?:%s)\b" % "|".join(verbs()))
    for path in sorted(path for folder in FOLDERS for path in (TOP / folder).rglob("*.[ch]")):
        for literal in literals(path.read_text()):
            if pattern.search(literal) and len(literal) != LABEL:
                yield str(path.relative_to(TOP)), literal


def commands(text):
    """The commands that a message quotes."""
    return re.findall(r"`(keyturn [^`]+)`", text) or re.findall(r'"(keyturn [^"]+)"', text)


def follow(home, message, input=b"", which=0, status=0, **placeholders):
    """Runs a command that the message advises, by a shell, on the home: its stdout and stderr."""
    command = commands(message)[which]
    for name in placeholders:
        assert name in command, f"{command}: has no {name}"
    left = re.findall(r"\b[A-Z]{3,}\b", re.sub("|".join(map(re.escape, placeholders)) or "$^", "", command))
    assert not left, f"{command}: what does {left} stand for?"
    for name, value in placeholders.items():
        command = command.replace(name, str(value))
    env = {**home.env, "KT_BIN": str(home.stage.keyturn), "KEYTURN_CONFIG": str(home.config)}
    result = subprocess.run(["sh", "-c", 'keyturn() { "$KT_BIN" "$@"; }\n' + command], input=input, env=env, capture_output=True,
                            timeout=60, cwd=home.dir)
    text = (result.stdout + result.stderr).decode()
    assert result.returncode == status, f"{command}: {result.returncode}: {text}"
    return text
