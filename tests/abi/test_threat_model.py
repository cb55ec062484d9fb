# SPDX-License-Identifier: BSD-2-Clause
"""docs/threat-model.md names tests as its witnesses: each exists."""
import pathlib
import re

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
WITNESSES = sorted(set(re.findall(r"`([\w/]+\.(?:py|c))::(\w+)`", (TOP / "docs/threat-model.md").read_text())))


def test_there_are_witnesses():
    assert len(WITNESSES) > 40


@pytest.mark.parametrize("file, name", WITNESSES, ids=lambda value: value)
def test_witness_exists(file, name):
    text = (TOP / "tests" / file).read_text()
    pattern = rf"^def {name}\(" if file.endswith(".py") else rf"^START_TEST\({name}\)"
    assert re.search(pattern, text, flags=re.M)
    if file.endswith(".c"):  # and it runs
        assert re.search(rf"(?:tcase_add_test|tcase_add_loop_test|UNIT_TABLE)\(tests, {name}[,)]", text)
