# SPDX-License-Identifier: BSD-2-Clause
"""core/LAYERS: a folder of core/ knows those before it and no others, by its includes and by the linker."""
import os
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])
OBJECTS = pathlib.Path(os.environ["KT_TEST_BIN"]) / "layers"
LAYERS = [line.strip() for line in (TOP / "core/LAYERS").read_text().splitlines() if line and line[0] != "#"]
PUBLIC = {"include/keyturn.h", "include/keyturn_provider.h"}


def quoted(path):
    text = re.sub(r"/\*.*?\*/", " ", path.read_text(encoding="utf-8"), flags=re.S)
    return re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, flags=re.M)


def before(layer):
    return LAYERS[:LAYERS.index(layer)]


def symbols(layer, *options):
    lines = subprocess.run(["nm", *options, OBJECTS / f"{layer}.o"], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in lines.splitlines()}


def defined(layer):
    return symbols(layer, "--defined-only", "--extern-only")


def test_each_folder_is_a_layer():
    folders = {path.name for path in (TOP / "core").iterdir() if path.is_dir()} - {"include"}
    assert folders == set(LAYERS) and len(LAYERS) == 10
    assert sorted(path.name for path in (TOP / "core").glob("*.[ch]")) == []


@pytest.mark.parametrize("layer", LAYERS)
def test_includes_go_to_the_left(layer):
    """Headers of the own folder, and X/X.h of a folder to the left."""
    allowed = {f"{left}/{left}.h" for left in before(layer)}
    if layer == LAYERS[0]:
        allowed |= PUBLIC
    wrong = [f"{path.name}: {name}" for path in sorted((TOP / "core" / layer).glob("*.[ch]")) for name in quoted(path)
             if name not in allowed and not (path.parent / name).is_file()]
    assert wrong == []


@pytest.mark.parametrize("layer", LAYERS)
def test_calls_go_to_the_left(layer):
    """What a folder asks the linker for is defined by a folder to its left, or by no folder at all."""
    core = set().union(*(defined(other) for other in LAYERS))
    left = set().union(set(), *(defined(other) for other in before(layer)))
    assert defined(layer), layer
    assert sorted((symbols(layer, "--undefined-only") & core) - left) == []


@pytest.mark.parametrize("layer", LAYERS)
def test_each_folder_has_its_header(layer):
    assert (TOP / "core" / layer / f"{layer}.h").is_file()


def test_each_header_stands_alone(tmp_path):
    """Headers need no order: each is enough by itself."""
    source = tmp_path / "header.c"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-fsyntax-only", f"-I{TOP / 'core'}", f"-I{TOP / 'core/include'}", "-Wall", "-Wextra", "-Werror"]
    wrong = []
    for path in sorted(header for layer in LAYERS for header in (TOP / "core" / layer).glob("*.h")):
        source.write_text(f'#include "{path.relative_to(TOP / "core")}"\n')
        result = subprocess.run(["cc", *flags, source], capture_output=True, text=True)
        if result.returncode != 0:
            wrong.append(f"{path.name}: {result.stderr.splitlines()[0]}")
    assert wrong == []


def test_unit_tests_mirror_the_folders():
    folders = {path.name for path in (TOP / "tests/unit").iterdir() if path.is_dir()}
    assert folders == set(LAYERS)
