# SPDX-License-Identifier: BSD-2-Clause
"""Numbers, sizes and offsets that programs have compiled in: golden.txt is what they are, and may only grow.

    KT_ABI_WRITE=1 pytest abi/test_golden.py       rewrites golden.txt, after a release has decided to
"""
import os
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
HEADERS = [TOP / "core/include" / name for name in ("keyturn.h", "keyturn_provider.h")]
GOLDEN = pathlib.Path(__file__).with_name("golden.txt")


def code(path):
    text = re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.S)
    return re.sub(r"//.*", "", text)


def enumerators(text):
    for body in re.findall(r"\benum\b[^{;]*\{(.*?)\}", text, flags=re.S):
        yield from re.findall(r"\b(KTP?_[A-Z0-9_]+)\b(?=\s*(?:=|,|$))", body)


def constants(text):
    return re.findall(r"^#define (KTP?_\w+) (?:\d|0x)\w*", text, flags=re.M)


def members(text):
    """{struct: members} of the structs that callers or providers fill in."""
    found = {}
    for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \w+;", text, flags=re.S):
        names = []
        for declaration in body.split(";"):
            declaration = re.sub(r"__attribute__.*", "", declaration.strip(), flags=re.S)
            function = re.search(r"\(\*(\w+)\)", declaration)
            if function:
                names.append(function[1])
            elif declaration:
                names += [re.search(r"(\w+)\s*(?:\[.*\])?$", part.strip())[1] for part in declaration.split(",")]
        found[name] = names
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory, kt):
    """What the compiler and the library say, a line each."""
    folder = tmp_path_factory.mktemp("golden")
    lines = ['#include <keyturn.h>', '#include <keyturn_provider.h>', '#include <stdio.h>', 'int main(void) {']
    for path in HEADERS:
        text = code(path)
        # the last enumerator of a list has neither a comma nor a value after it
        for name in dict.fromkeys([*constants(text), *enumerators(text)]):
            lines.append(f'printf("{name} = %lld\\n", (long long)({name}));')
        for struct, names in members(text).items():
            lines.append(f'printf("{struct}: %zu bytes\\n", sizeof({struct}_t));')
            lines += [f'printf("{struct}.{name} at %zu\\n", offsetof({struct}_t, {name}));' for name in names]
    lines += ['for (int i = 0; i < 64; i++) { const char *n = kt_status_name((kt_status_t)i);',
              'if (i == KT_INTERNAL || n[0] != \'i\' || n[2] != \'t\') '
              'printf("status %d: %s, exit %d\\n", i, n, kt_status_exit((kt_status_t)i)); }', 'return 0; }']
    (folder / "x.c").write_text("\n".join(lines))
    subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", f"-I{HEADERS[0].parent}", "-o", folder / "x", folder / "x.c",
                    str(kt.libdir / "libkeyturn.so.0"), f"-Wl,-rpath,{kt.libdir}"], check=True)
    return subprocess.run([folder / "x"], capture_output=True, text=True, check=True, env=kt.environment()).stdout


def test_what_is_compiled_in_stays(measured):
    if os.environ.get("KT_ABI_WRITE"):
        GOLDEN.write_text(measured)
    assert measured == GOLDEN.read_text()


def test_the_golden_file_is_about_everything(measured):
    for wanted in ("KT_SUCCESS = 0", "KT_MOVED = 19", "KTP_NOSPACE = 8", "kt_request.timeout at ", "ktp_provider.token at ",
                   "KT_VALUE_MAX = 65536", "status 1: notfound, exit 66", "status 18: internal, exit 70"):
        assert wanted in measured


def test_requests_and_options_carry_their_size():
    """What a caller fills in can grow: the first member is its size, and the initialiser sets it."""
    text = code(HEADERS[0])
    for struct, macro in {"kt_request": "KT_REQUEST_INIT", "kt_put_options": "KT_PUT_INIT", "kt_rotate_options": "KT_ROTATE_INIT",
                          "kt_check_user": "KT_CHECK_USER_INIT", "kt_states": "KT_STATES_INIT",
                          "kt_target_ops": None}.items():
        assert members(text)[struct][0] == "size"
        if macro:
            assert re.search(rf"#define {macro}[\s\\]*\{{[\s\\]*sizeof\({struct}_t\)", text)
