# SPDX-License-Identifier: BSD-2-Clause
"""The table of verbs, the help, the completion and the manual say the same, and the manual's examples work."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
MANUAL = TOP / "cli/keyturn.1"
BIN = pathlib.Path(os.environ["KT_TEST_BIN"])


@pytest.fixture
def keyturn(kt):
    def run(*args):
        return subprocess.run([kt.keyturn, *args], env=kt.environment(), capture_output=True, text=True)
    return run


def verbs(text):
    """{verb: summary line} of `keyturn --help`: lines indented by two before the options."""
    found = {}
    for line in text.split("\n\n")[1].splitlines():
        words = line.split("  ")[1].split()
        name = " ".join(word for word in words if re.fullmatch(r"[a-z]+", word))
        found[name] = line
    return found


def options(text):
    return re.findall(r"^  (?:-\w, )?--([a-z-]+)", text, re.M)


def test_help(keyturn):
    result = keyturn("--help")
    assert result.returncode == 0 and result.stderr == ""
    assert {"init", "keygen", "set", "get", "list", "info", "versions", "rotate", "rollback", "delete", "undelete", "destroy",
            "audit tail", "check", "run"} <= set(verbs(result.stdout))
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_version(keyturn):
    header = (TOP / "core/include/keyturn.h").read_text()
    version = re.search(r'#define KT_VERSION "(.*)"', header)[1]
    assert keyturn("--version").stdout == f"keyturn {version}\n"


def test_other_spellings(keyturn):
    version = keyturn("--version").stdout
    assert keyturn("-V").stdout == version and keyturn("version").stdout == version
    assert keyturn("help").stdout == keyturn("--help").stdout and keyturn("help", "audit", "tail").stdout == keyturn("audit", "tail", "--help").stdout
    assert json.loads(keyturn("--json", "version").stdout) == {"status": "success", "version": version.split()[1]}
    listed = json.loads(keyturn("--json", "--help").stdout)["verbs"]
    assert {verb["name"] for verb in listed} == set(verbs(keyturn("--help").stdout))
    assert all(verb["summary"] and isinstance(verb["options"], list) for verb in listed)


@pytest.mark.parametrize("args, message", [
    (["rm"], "unknown verb rm (did you mean delete?)"), (["show"], "unknown verb show (did you mean get?)"),
    (["ls"], "unknown verb ls (did you mean list?)"), (["history"], "unknown verb history (did you mean versions?)"),
    (["zzz"], "unknown verb zzz; keyturn --help lists all"), (["rotat"], "unknown verb rotat (did you mean rotate?)"),
    (["-z"], "unknown option -z; keyturn --help lists all"), (["list", "-z"], "unknown option -z; keyturn list --help lists all"),
    (["list", "--usage=yes"], "the option --usage takes no value"), (["--quiet=yes", "list"], "the option --quiet takes no value"),
    (["help", "zzz"], "unknown verb zzz; keyturn --help lists all"),
])
def test_typos(keyturn, args, message):
    result = keyturn(*args)
    assert result.returncode == 64 and result.stderr == f"keyturn: {message}\n"


def test_a_verb_of_two_words_by_half(keyturn):
    text = keyturn("audit").stderr
    assert text.startswith("keyturn: audit needs a second word: ") and "tail" in text and "verify" in text


def test_no_sentence_ends_twice(keyturn):
    for verb in verbs(keyturn("--help").stdout):
        assert not re.search(r"[.?!][.?!]", keyturn(*verb.split(), "--help").stdout.splitlines()[1])


def test_every_verb_has_help_and_stands_in_the_manual(keyturn):
    manual = MANUAL.read_text()
    for verb in verbs(keyturn("--help").stdout):
        result = keyturn(*verb.split(), "--help")
        assert result.returncode == 0 and f"Usage: keyturn {verb}" in result.stdout
        section = re.search(rf"^\.It Cm {verb}\b.*?(?=^\.It Cm |^\.Sh )", manual, re.M | re.S)
        assert section, f"{verb} is not in keyturn.1"
        for option in options(result.stdout.split("Options of every verb")[0]):
            assert re.search(rf"^\.It Fl -{option}\b", section[0], re.M), f"{verb} --{option} is not in keyturn.1"
    for option in options(keyturn("--help").stdout):
        assert f"Fl -{option}" in manual


def test_a_verb_is_one_file_and_one_row():
    """verb_NAME() is in NAME.c or in NAME/NAME.c, and nowhere else."""
    rows = re.findall(r"^VERB\((\w+),", (TOP / "cli/verbs.h").read_text(), re.M)
    found = [(path.stem, name) for path in (TOP / "cli").glob("**/*.c")
             for name in re.findall(r"^kt_status_t verb_(\w+)\(", path.read_text(), re.M)]
    assert sorted(found) == sorted((name, name) for name in rows)
    for path in (TOP / "cli/lib").glob("*.c"):
        assert not re.search(r"\bverb_\w+", path.read_text()), f"{path.name}: what verbs share knows no verb"


def test_the_manual_invents_nothing(keyturn):
    known = set(verbs(keyturn("--help").stdout)) | {"completion"}
    text = MANUAL.read_text().split(".Sh VERBS")[1].split(".Sh ENVIRONMENT")[0]
    told = set(re.findall(r"^\.It Cm ([a-z]+(?: (?:tail|log|verify|report))?)", text, re.M))
    assert told == known


@pytest.mark.parametrize("page", sorted(TOP.glob("cli/*.[1-8]")), ids=lambda path: path.name)
def test_manual_pages_format(page):
    if not shutil.which("groff"):
        pytest.skip("needs groff")
    result = subprocess.run(["groff", "-mandoc", "-Tutf8", "-ww", "-z", page], capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == ""


def test_examples_of_the_manual(kt, tmp_path):
    text = MANUAL.read_text().split(".Sh EXAMPLES")[1].split(".Sh ")[0]
    blocks = re.findall(r"^\.Bd -literal -offset indent\n(.*?)^\.Ed$", text, re.M | re.S)
    assert len(blocks) >= 5
    script = "\n".join(blocks).replace("\\e", "\\")
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True,
                            env={**kt.environment(HOME=tmp_path), "PATH": f"{kt.keyturn.parent}:/usr/bin:/bin"})
    assert result.returncode == 0, result.stderr
    assert "api-keys/stripe" in result.stdout
    assert (tmp_path / "nginx.key").is_file()


def plain(lines):
    """The text of lines of mdoc(7), without blanks: macros have theirs in other places than the text that they are compared with."""
    words = []
    for line in lines:
        if line.startswith("."):
            line = re.sub(r"^\.(Cm|Ar|Ql|Pa|Ev|Xr|Dv|Nm|Pq|Dq)\b", "", line)
        words += [word for word in line.split() if word not in ("Cm", "Ar", "Ns", "Op")]
    return "".join(words)


def described(page):
    """{(path, value): lines} of the options that keyturn.yaml(5) describes: `audit.send` is an item of the list in that of `audit`."""
    found, path, texts = {}, [], [[]]  # texts: what is being read, of each list around it
    for line in page.split(".Sh DESCRIPTION")[1].split(".Sh FILES")[0].splitlines():
        if line.startswith(".Bl"):
            path.append(None)
            texts.append([])
        elif line == ".El":
            path.pop()
            texts.pop()
        elif line.startswith(".It "):
            name, _, value = line[4:].removeprefix("Cm ").partition(" : ")
            path[-1] = name
            texts[-1] = found.setdefault((".".join(path), plain([value])), [])
        else:
            texts[-1].append(line)
    return found


def limits(least, most, preset, required):
    """The sentence that the page has of them."""
    default = f"the default is {preset}." if preset and preset != "{}" else ""
    if least:
        return f"From {least} to {most}; {default}" if default else f"From {least} to {most}."
    return "Required." if required else default.capitalize()


def test_every_option_of_the_configuration_is_described():
    """As its row in core/config has it: value, sentence, limits and default."""
    rows = subprocess.run([BIN / "unit/options"], capture_output=True, text=True, check=True).stdout.splitlines()
    page = described((TOP / "cli/keyturn.yaml.5").read_text())
    assert len(rows) > 30
    for row in rows:
        name, value, text, preset, least, most, required = row.split("\t")
        lines = page.get((name, plain([value])))
        assert lines is not None, f"{name} : {value} is not in keyturn.yaml.5"
        assert plain(lines).startswith(plain([text])), f"{name}: {text}"
        said = [line for line in lines if re.match(r"From .* to |The default is |Required", line)]
        assert said == [line for line in [limits(least, most, preset, required)] if line], name


def test_the_page_invents_no_option():
    rows = subprocess.run([BIN / "unit/options"], capture_output=True, text=True, check=True).stdout.splitlines()
    known = {row.split("\t")[0] for row in rows}
    # sources, providers, sinks and choices are described in lists of their own
    inside = ("key.", "providers.", "audit.sinks.", "audit.send.", "targets.exec.")
    page = {name for name, _ in described((TOP / "cli/keyturn.yaml.5").read_text()) if not name.startswith(inside)}
    assert page == known
