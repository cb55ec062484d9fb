# SPDX-License-Identifier: BSD-2-Clause
"""The files that the documents for developers name exist, and core/README.md knows every folder of core/LAYERS."""
import os
import pathlib
import re

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])
LAYERS = [line for line in (TOP / "core/LAYERS").read_text().splitlines() if line and line[0] != "#"]


def named(text):
    """Paths with a slash and a suffix; those of core/ may be written without that."""
    for path in re.findall(r"(?<![\w/.~*-])([a-z][\w-]*(?:/[\w-]+)*/[\w-]+\.(?:[ch]|py|md|mk|map|7|5|3|1))\b", text):
        yield path


def missing(document):
    text = (TOP / document).read_text()
    return [path for path in named(text)
            if not any(word in path for word in ("VERB", "NAME", "LAYER", "FILE", "PART"))
            and not (TOP / path).exists() and not (TOP / "core" / path).exists()]


@pytest.mark.parametrize("document", ["core/README.md", "core/LOCKING", "CONTRIBUTING.md"])
def test_what_it_names_is_there(document):
    assert len(list(named((TOP / document).read_text()))) > 5
    assert missing(document) == []


def test_files_to_start_with_are_there():
    rows = re.findall(r"^\| `(\w+)/` \|.*\| ([^|]*) \|$", (TOP / "core/README.md").read_text(), re.M)
    assert [folder for folder, _ in rows] == LAYERS
    assert [f"{folder}/{name}" for folder, names in rows for name in re.findall(r"`(\w+\.c)`", names)
            if not (TOP / "core" / folder / name).exists()] == []
