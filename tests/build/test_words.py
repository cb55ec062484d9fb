# SPDX-License-Identifier: BSD-2-Clause
"""Plain English in comments, messages, manual pages and documents, and in what the command prints.

    tests/build/test_words.py FILE|FOLDER...     lists what is found there, with what to say instead
"""
import bisect
import io
import os
import pathlib
import re
import subprocess
import sys
import tokenize

import pytest

TOP = pathlib.Path(os.environ.get("KT_TOP") or pathlib.Path(__file__).resolve().parents[2])

VERB = (r"(?:is|are|was|were|has|have|had|does|do|did|can|cannot|could|may|must|would|will|should|needs?|wants?|takes?|"
        r"gives?|makes?|knows?|holds?|keeps?|reads?|writes?|waits?|comes?|goes|ends?|says?|answers?|fails?|stays?|lies|refuses|"
        r"belongs?|looks?|begins?|starts?|works?|costs?|asks?|serves?)")

# pattern (a space stands for any white space), why, what to say instead, and what is fine although it matches
PATTERNS = [
    (r"\b(?:is|are|was|were) no [\w`'\"%]+", "reads as translated", "is not a ...; has no ...; must not be ...",
     r"\bthere(?: \w+)? (?:is|are|was|were) no\b|\b(?:is|are|was|were) there no\b|\b(?:is|are|was|were) no "
     r"(?:longer|more|less|fewer|later|earlier|larger|smaller|older|newer|better|worse)\b"),
    (r"\b(?:is|are) none\b", "reads as translated", "is not a ...; is malformed; there is not a ...", r"\bthere (?:is|are) none\b|\bis none of [a-z]+:"),
    (r"\b(?:whoever|whomever|whosoever)\b", "a process is not a person, and the sentence turns around", "a process that ...; the next writer", None),
    (r"\b(?:nobody|everybody)\b", "a process is not a person", "no process; no user; all users; others",
     r"[`'\"(:/=, ]nobody(?:[`'\")]|:| 655)|user `?nobody\b|\bnobody:"),
    (r"\b(?:he|his|him|himself)\b", "processes and users have no sex", "it, they; or name the user or process again", None),
    (r", for (?:it|he|she|they|we|there|this is|that is|these are|those are|nothing|nobody|nothing) ", "`for` as `because`",
     ", because ...; or a new sentence", None),
    (r", for (?:an?|the|its|their|our|these|those|such|some|only|both|most|each|no|all|what|who|which) (?:[\w'-]+ ){1,4}?" + VERB + r"\b",
     "`for` as `because`", ", because ...; or a new sentence", r", for (?:an? |the )?(?:[\w-]+ )?(?:[\w-]+ )?(?:that|which|who|whose|where|when)\b"),
    (r"\bbehind\b", "`behind` is a place, not a time or an order", "after; next to; at the end of",
     r"\b(?:leave|leaves|leaving|left|leftovers?|lags?|falls?|fell|hides?|hid|hidden)(?: \w+){0,3} behind\b|\bbehind (?:a |the )?"
     r"(?:load balancer|proxy|prox|nginx)"),
    (r"\b(?:mend|mends|mended|mending)\b", "old-fashioned", "fix, repair", None),
    (r"\btold\b", "vague: who says what to whom?", "reported, printed, named; known by; given; distinguished", None),
    (r"\bbesides\b", "old-fashioned", "also; in addition to; apart from", None),
    (r"\blacking\b", "old-fashioned", "missing; without", None),
    (r"\bwho is to be\b", "reads as translated", "who must be; name the thing", None),
    (r"\bwants\b", "a thing has no wishes", "needs; asks for; requires", None),
    (r"\bof theirs\b", "reads as translated", "their own", None),
    (r"\bothers than\b", "reads as translated", "users other than; anything but", None),
    (r"\bfor want of\b", "old-fashioned", "because there is not enough; without", None),
    (r"\bneeds? (?:it|them) not\b|\bknows? not\b", "reads as translated", "does not need; does not know", None),
    (r"\bgone on with\b|\bgoes on with what\b|\bis had\b|\bare had\b", "reads as translated", "continued; available", None),
]

# Not our words: the frozen ABI, generated figures, inputs of fuzzers, what tests compare byte by byte.
NOT_OURS = ["tests/abi/0.1", "tests/abi/1.0", "tests/abi/golden.txt", "tests/fuzz/corpus", "docs/bench", "LICENSE", "tests/canary-exceptions",
            "tests/build/test_words.py"]

COMPILED = [(re.compile(pattern, re.I), why, instead, re.compile(fine, re.I) if fine else None)
            for pattern, why, instead, fine in PATTERNS]


def blank(text):
    """The same number of lines, and nothing on them."""
    return "\n" * text.count("\n")


def of_c(text):
    """Comments and strings; a string over several lines is one."""
    literal = r'"(?:\\.|[^"\\\n])*"'
    for match in re.finditer(rf"/\*.*?\*/|//[^\n]*(?:\n\s*//[^\n]*)*|{literal}(?:(?:\s|[A-Za-z_]\w*(?=\s*\"))*{literal})*|'(?:\\.|[^'\\])+'", text, re.S):
        token = match[0]
        if token.startswith("/*"):
            token = re.sub(r"\n[ \t]*\*", "\n", token[2:-2])
        elif token.startswith("//"):
            token = re.sub(r"//", "  ", token)
        elif token.startswith('"'):
            token = re.sub(r'"(\s*(?:[A-Za-z_]\w*\s*)?)"', r"\1", token)[1:-1]
            token = re.sub(r"\\[nt]", " ", token)
        else:
            continue
        yield text.count("\n", 0, match.start()) + 1, token


def of_python(text):
    """Comments, those on neighbouring lines together, and strings."""
    comments = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if comments and comments[-1][0] + comments[-1][1].count("\n") + 1 == token.start[0]:
                comments[-1][1] += "\n" + token.string.lstrip("# ")
            else:
                comments.append([token.start[0], token.string.lstrip("# ")])
        elif token.type == tokenize.STRING:
            string = token.string
            if re.match(r"[rRbB]*[fF]", string):
                string = re.sub(r"\{[^{}]*\}", "X", string)
            yield token.start[0], string
    yield from comments


def of_lines(text, leader):
    """Paragraphs of the whole text, `leader` taken from the front of each line."""
    lines = [re.sub(leader, "", line) for line in text.splitlines()]
    start = 0
    for number, line in enumerate([*lines, ""]):
        if not line.strip():
            if start < number:
                yield start + 1, "\n".join(lines[start:number])
            start = number + 1


def of_mdoc(text):
    text = re.sub(r"^\.Bd -literal.*?^\.Ed$", lambda m: blank(m[0]), text, flags=re.M | re.S)
    text = re.sub(r"^\.\\\"", "", text, flags=re.M)
    text = re.sub(r"^\.(?:Pp|It|Ss|Sh|El|Bl|Ed|Bd|Dl)\b", "\\g<0> . ", text, flags=re.M)
    text = re.sub(r"^\.[A-Z][a-z]\b|\\[&e]|\\\([a-z]{2}|(?<= )(?:Fl|Ar|Cm|Ql|Oo|Oc|Op|Ns|Po|Pc|Pq|Xr|Dv|Fa|Fn|Va|Em|Li|Pa|No)(?= )", " ", text, flags=re.M)
    text = re.sub(r" +([.,:;)])(?=\s)", r"\1", text)
    yield 1, text


def of_markdown(text):
    text = re.sub(r"<!-- bench.*?<!-- end of bench[^\n]*", lambda m: blank(m[0]), text, flags=re.S)
    text = re.sub(r"`[\w./]+::\w+`", "", text)      # names of tests
    text = re.sub(r"^```vectors\n.*?^```$", lambda m: blank(m[0]), text, flags=re.M | re.S)
    yield from of_lines(text, r"^$")


def chunks(path):
    """(line, text) of all that is written for people in this file, or nothing."""
    name, text = path.name, path.read_text(encoding="utf-8", errors="replace")
    if path.suffix in (".c", ".h"):
        return of_c(text)
    if path.suffix == ".py" or re.match(r"#!.*python", text):
        return of_python(text)
    if re.search(r"\.[1-8]$", name):
        return of_mdoc(text)
    if path.suffix == ".md":
        return of_markdown(text)
    if path.suffix in (".sql", ".sh", ".mk", ".yaml", ".conf", ".map", ".in", ".control", ".ini") or name in ("Makefile", "configure", "config", "LAYERS", "LOCKING") \
            or text.startswith("#!") or path.parent.name == "auto":
        return of_lines(text, r"^\s*(?:#|--|/\*|\*)+")
    return ()


def find(line, text):
    """(line, what stands there, why, instead) for each match in a text that begins on this line."""
    words, starts, lines, at = [], [], [], 0
    for offset, part in enumerate(text.split("\n")):
        for word in part.split():
            words.append(word)
            starts.append(at)
            lines.append(line + offset)
            at += len(word) + 1
    joined = " ".join(words)
    for pattern, why, instead, fine in COMPILED:
        excused = [match.span() for match in fine.finditer(joined)] if fine else []
        for match in pattern.finditer(joined):
            if not any(a < match.end() and match.start() < b for a, b in excused):
                where = lines[bisect.bisect_right(starts, match.start()) - 1]
                yield where, joined[max(0, match.start() - 30):match.end() + 30], why, instead


def below(name, folders):
    return any(name == folder or name.startswith(folder + "/") for folder in folders)


def files(top):
    """The files of the tree, without what a build made."""
    for folder, names, found in os.walk(top):
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "__pycache__"
                          and not (pathlib.Path(folder) / name / "config.mk").exists() and name != "build")
        for name in sorted(found):
            path = pathlib.Path(folder) / name
            if not path.is_symlink() and not name.startswith("."):
                yield path


# tests/build has the name of a build folder
def sources():
    yield from files(TOP)
    yield from files(TOP / "tests/build")


def report(path):
    name = path.relative_to(TOP) if path.is_relative_to(TOP) else path
    return [f"{name}:{where}: ...{what}... ({why}: {instead})"
            for line, text in chunks(path) for where, what, why, instead in find(line, text)]


def test_the_tree_is_plain():
    found, looked_at = [], 0
    for path in sources():
        name = str(path.relative_to(TOP))
        if below(name, NOT_OURS):
            continue
        looked_at += 1
        found += report(path)
    assert looked_at > 500
    assert found == []


def test_each_exception_is_there():
    assert [name for name in NOT_OURS if not (TOP / name).exists()] == []


@pytest.mark.parametrize("text", [
    "the value is no JSON object", "these are no names", "is a text that is none", "whoever comes next", "nobody waits",
    "everybody else", "what he wrote", "his file", "it stops, for it cannot go on", "it stops, for the disk is full",
    "a byte behind the end", "the command that mends it", "is told so",
    "one more besides", "an epoch that is lacking", "who is to be notified", "wants the whole path", "a command of theirs",
    "others than root", "for want of memory", "needs it not"])
def test_what_is_avoided_is_found(text, tmp_path):
    for name, form in (("a.c", "/* First words.\n * {} */\n"), ("b.c", 'f("{}");\n'), ("c.py", "# {}\n"), ("d.md", "{}.\n"),
                       ("e.7", ".Sh X\n{}\n"), ("f.sh", "# {}\n"), ("g.py", '"""{}"""\n')):
        (tmp_path / name).write_text(form.format(text))
        assert len(report(tmp_path / name)) == 1, name
    (tmp_path / "h.c").write_text("/* " + text.replace(" ", "\n * ") + " */\n")
    assert len(report(tmp_path / "h.c")) == 1


@pytest.mark.parametrize("text", [
    "there is no secret", "there are no versions", "is no longer", "it is no more than a sketch", "leaves nothing behind",
    "Is there no key?", "for the audit trail, for the host and for both", "nginx behind a load balancer", "chown nobody: file",
    "the user `nobody`", "it waits, for at most five seconds", "the text says what it is", "a key, for a server that needs it"])
def test_plain_english_is_left_alone(text, tmp_path):
    (tmp_path / "a.c").write_text(f"/* {text} */\n")
    assert report(tmp_path / "a.c") == []


def test_names_in_code_are_left_alone(tmp_path):
    (tmp_path / "a.c").write_text("static int told, besides; /* fine */\n")
    (tmp_path / "b.py").write_text("told = his = 1  # fine\nprint(f'{told}')\n")
    assert report(tmp_path / "a.c") + report(tmp_path / "b.py") == []


# ---- what the command prints ----

def printed(kt, home):
    """[(command, its output)]: all help, and answers and errors of a small store."""
    said = []

    def run(*args, config=True, input=b""):
        argv = [str(kt.keyturn), *(["-c", str(home.config)] if config else []), *map(str, args)]
        done = subprocess.run(argv, input=input, env=home.env, capture_output=True, timeout=60)
        said.append((" ".join(["keyturn", *map(str, args)]), (done.stdout + done.stderr).decode(errors="replace")))
        return said[-1][1]

    overview = run("--help", config=False)
    for line in overview.split("\n\n")[1].splitlines():
        words = re.findall(r"^  ([a-z]+(?: [a-z]+)?)", line)
        if words:
            run(*words[0].split(), "--help", config=False)
    run("set", "api-keys/stripe", input=b"short\n")
    run("set", "database/primary", input=b'{"user": "app", "password": "none yet"}')
    for verb in ("check", "verify", "list", "rekey", "completion"):
        run(verb)
    for args in (["check", "--secrets"], ["audit", "tail"], ["audit", "verify"], ["audit", "report"], ["list", "--usage"],
                 ["info", "api-keys/stripe"], ["versions", "api-keys/stripe"], ["rotate", "api-keys/stripe"],
                 ["rotate", "--due", "--dry-run"], ["rotate", "--all", "--dry-run"], ["rekey", "--status"],
                 # errors
                 ["get", "none"], ["get", "../x"], ["get", "a#b@c"], ["get", "api-keys/stripe#f"], ["get", "api-keys/stripe@9"],
                 ["rotate", "database/primary"], ["rotate", "none"], ["rollback", "none"], ["destroy", "none", "x"], ["delete", "none"],
                 ["undelete", "api-keys/stripe"], ["set", "a", "b"], ["set", "n", "--expires", "soon"], ["set", "n", "--meta", "x"],
                 ["nosuch"], ["get"], ["get", "--nosuch", "x"], ["rotate", "--length", "3", "api-keys/stripe"],
                 ["rotate", "--alphabet", "greek", "api-keys/stripe"], ["run", "--map", "x", "--", "true"], ["run", "--", "/nope"],
                 ["backup", "/nonexistent/f"], ["restore", "/nonexistent/f"], ["import", "--fernet", "/nonexistent", "--key", "/nonexistent"],
                 ["keygen", "/nonexistent/k"], ["audit", "verify", "/nonexistent"], ["audit", "report", "--since", "x"]):
        run(*args)
    text = home.config.read_text()
    for broken in ("stor: x\n", "cache: {size: many}\n", "audit: {reads: yes}\n", "policy: no\n", "switch: {a: b}\n", "\tx\n"):
        home.config.write_text(text + broken)
        run("check")
    home.config.write_text(text)
    home.key.chmod(0o644)
    run("check")
    home.key.unlink()
    run("check")
    run("init", home.dir, config=False)
    return said


def test_what_the_command_prints_is_plain(kt, home):
    said = printed(kt, home)
    assert len(said) > 70 and all(text for command, text in said if "--help" in command)
    found = [f"{command}: ...{what}... ({why}: {instead})" for command, text in said
             for line, part in of_lines(text, r"^\s*") for _, what, why, instead in find(line, part)]
    assert found == []


if __name__ == "__main__":
    status = 0
    for argument in sys.argv[1:] or ["."]:
        path = pathlib.Path(argument).resolve()
        for file in [path] if path.is_file() else [*files(path)]:
            name = str(file.relative_to(TOP)) if file.is_relative_to(TOP) else str(file)
            if not below(name, NOT_OURS):
                for line in report(file):
                    print(line)
                    status = 1
    sys.exit(status)
