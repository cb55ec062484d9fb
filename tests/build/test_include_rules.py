# SPDX-License-Identifier: BSD-2-Clause
"""Which part may include and call which other: the rules that keep the parts apart (design of the core)."""
import os
import pathlib
import re

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])
CORE = [f"core/{line.split()[0]}" for line in (TOP / "core/LAYERS").read_text().splitlines() if line and line[0] != "#"]
CLI = ["cli", "cli/lib", "cli/init", "cli/check"]
CONSUMERS = [*CLI, "nginx", "redis-module", "postgresql/src"]
PROVIDERS = sorted(f"modules/{path.name}" for path in (TOP / "modules").iterdir() if path.is_dir())
PUBLIC = {"keyturn.h", "keyturn_provider.h"}


def sources(folder, pattern="*.[ch]"):
    return sorted((TOP / folder).glob(pattern))


def code(path):
    """The text without comments and without the contents of strings."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r'^(?!\s*#\s*include)(.*)$', lambda m: re.sub(r'"(\\.|[^"\\])*"', '""', m[0]), text, flags=re.M)
    return re.sub(r"//.*", "", text)


def includes(path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', code(path), flags=re.M)


def project_headers():
    """Each header of the tree by the name it is included by: {name: folders}."""
    found = {}
    for folder in [*CORE, "core/include", *CONSUMERS, *PROVIDERS]:
        for path in sources(folder, "*.h"):
            found.setdefault(path.name, set()).add(folder)
    return found


HEADERS = project_headers()


def foreign(path, allowed_public):
    """What a file includes of the tree but may not: neither its own folder's nor the allowed public headers."""
    folder = str(path.parent.relative_to(TOP))
    own = {name for name, folders in HEADERS.items() if folders & (set(CLI) if folder in CLI else {folder})}
    bad = []
    for name in includes(path):
        base = name.rsplit("/", 1)[-1]
        if name.startswith("..") or base in HEADERS and base == name and base not in own | allowed_public:
            bad.append(name)
    return bad


def test_there_is_something_to_check():
    for folder in [*CORE, *CONSUMERS, *PROVIDERS]:
        assert sources(folder, "*.c"), folder


@pytest.mark.parametrize("folder", CONSUMERS)
def test_consumers_include_keyturn_h_only(folder):
    assert {str(path): bad for path in sources(folder) if (bad := foreign(path, {"keyturn.h"}))} == {}


@pytest.mark.parametrize("folder", PROVIDERS)
def test_providers_include_keyturn_provider_h_only(folder):
    assert {str(path): bad for path in sources(folder) if (bad := foreign(path, {"keyturn_provider.h"}))} == {}


def callers(functions, folders):
    pattern = re.compile(r"\b(" + "|".join(functions) + r")\s*\(")
    return {f"{folder}/{path.name}" for folder in folders for path in sources(folder) if pattern.search(code(path))}


def test_only_loaders_call_dlopen():
    """nginx's module keeps itself: it loads nothing."""
    everywhere = [*CORE, *CONSUMERS, *PROVIDERS]
    assert callers(["dlopen", "dlmopen", "fdlopen"], everywhere) == {
        "core/provider/loader.c", "core/provider/curl.c", "redis-module/loader.c", "nginx/ngx_keyturn_thread.c"}
    assert re.findall(r"dlopen\(.*", code(TOP / "nginx/ngx_keyturn_thread.c")) == [
        "dlopen(info.dli_fname, RTLD_NOW|RTLD_NOLOAD|RTLD_NODELETE);"]


def test_only_one_function_lists_folders():
    """readdir() answers NULL at the end and on an error; folder.c tells them apart, once."""
    assert callers(["readdir", "scandir", "opendir", "fdopendir"], CORE) == {"core/base/folder.c"}


def test_only_memory_c_locks_and_wipes():
    functions = ["mlock2?", "mlockall", "sodium_mlock", "sodium_malloc", "sodium_memzero", "explicit_bzero"]
    assert callers(functions, CORE) == {"core/base/memory.c"}
    advice = re.compile(r"\bMADV_(DONTDUMP|WIPEONFORK)\b")  # MADV_DONTFORK keeps a ring from a child; a ring holds no secret
    assert [path.name for folder in CORE for path in sources(folder) if advice.search(code(path))] == ["memory.c"]


def test_nothing_of_the_core_logs():
    """No call of the library writes to stdout or stderr."""
    assert callers(["v?printf", "puts", "putchar", "perror", "v?warnx?", "v?errx?", "v?syslog"], CORE) == set()


def test_nginx_config_lists_each_source():
    """A file that it does not list is missing from the module, and from a static build; nginx.mk would not notice."""
    listed = re.findall(r"\$ngx_addon_dir/(\S+?\.[ch])", (TOP / "nginx/config").read_text())
    assert sorted(listed) == [path.name for path in sources("nginx")]


def test_public_headers_stand_alone():
    for path in sources("core/include", "*.h"):
        assert [name for name in includes(path) if name in HEADERS and name not in PUBLIC] == []


@pytest.mark.parametrize("folder", [*CORE, "core/include", *CONSUMERS, *PROVIDERS])
def test_each_source_names_its_licence(folder):
    bare = [path.name for path in sources(folder) if "SPDX-License-Identifier: BSD-2-Clause" not in path.read_text()[:300]]
    assert bare == []
