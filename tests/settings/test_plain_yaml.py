"""What comes from anyone is data, or refused."""

import pytest
import yaml

from kdbench.settings.plain_yaml import load_plain

# 30 lines that stand for 10^29 nodes.
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))


def test_plain_data_come_back():
    data = {"a": [1, 0.5, 1e-05, True, None, "text"], "b": {"c": []}}
    assert load_plain(yaml.safe_dump(data)) == data
    assert load_plain("") is None


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: &a [*a]",
        "a: &a [1, 2]\nb: *a",
        "a: !!python/object/apply:os.system [ls]",
        "a: !!str 3",
        "!!set {a}",
        "a: !own 3",
        "a: \x01",
        "a: [",
    ],
)
def test_what_names_types_or_other_nodes_is_refused(text):
    with pytest.raises(yaml.YAMLError):
        load_plain(text)
