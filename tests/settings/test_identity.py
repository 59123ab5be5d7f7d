"""What identifies what a YAML names: its knobs, the files that they name, and its code."""

from kdbench.settings.identity import files_in, of_node


def test_how_data_are_read_is_no_part_of_a_network(edited):
    before = of_node({"_target_": "kdbench.models.mlp.MLP", "widths": [8]})
    for module, old, new in (
        ("kdbench.data.mnist", "SHAPE", "FORM"),
        ("kdbench.data.load", "INSTEAD", "NOW"),
        ("kdbench.data.download", "CONNECT_SECONDS = 10", "CONNECT_SECONDS = 20"),
        ("kdbench.evaluation.accuracy", "bins: int = 15", "bins: int = 10"),
    ):
        edited(module, old, new)
    assert of_node({"_target_": "kdbench.models.mlp.MLP", "widths": [8]}) == before


def test_a_helper_of_the_user_s_own_is_part_of_their_model(mine):
    mine("blocks", "import torch.nn as nn\n\nAct = nn.ReLU\n")
    mine("net", "from torch import nn\nfrom blocks import Act\n\nclass Net(nn.Sequential):\n    pass\n")
    before = of_node({"_target_": "net.Net"})
    mine("blocks", "import torch.nn as nn\n\n# as it was\nAct = nn.ReLU\n")
    assert of_node({"_target_": "net.Net"}) == before
    mine("blocks", "import torch.nn as nn\n\nAct = nn.Tanh\n")
    assert of_node({"_target_": "net.Net"}) != before


def test_helpers_are_found_in_packages_and_within_functions(mine):
    mine("own/__init__", "")
    mine("own/deep", "SIZE = 3\n")
    mine("own/wide", "def size():\n    from . import deep\n    return deep.SIZE\n")
    mine("net", "def make():\n    import own.wide as wide\n    return wide.size()\n")
    seen = [of_node({"_target_": "net.make"})]
    mine("own/deep", "SIZE = 4\n")
    seen.append(of_node({"_target_": "net.make"}))
    mine("own/__init__", "import os\n")
    seen.append(of_node({"_target_": "net.make"}))
    assert seen[0] != seen[1] != seen[2] != seen[0]


def test_what_is_imported_for_types_only_does_not_count_and_its_other_branch_does(mine):
    mine("types_only", "class A:\n    pass\n")
    mine("act", "SIZE = 1\n")
    body = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from types_only import A\n"
    mine(
        "net",
        body + "else:\n    from act import SIZE\n\nif not TYPE_CHECKING:\n    import more\n\ndef make():\n    pass\n",
    )
    mine("more", "")
    seen = [of_node({"_target_": "net.make"})]
    for name, text in (("types_only", "class B:\n    pass\n"), ("act", "SIZE = 2\n"), ("more", "MORE = 1\n")):
        mine(name, text)
        seen.append(of_node({"_target_": "net.make"}))
    assert seen[0] == seen[1] != seen[2] != seen[3]


def test_of_a_decorated_target_both_files_count(mine):
    mine(
        "wrapping",
        """
        import functools

        def wrapped(function):
            @functools.wraps(function)
            def call(*given, **named):
                return function(*given, **named)
            return call
        """,
    )
    mine("net", "from wrapping import wrapped\n\n@wrapped\ndef make(size: int = 3):\n    return size\n")
    before = of_node({"_target_": "net.make"})
    mine("net", "from wrapping import wrapped\n\n@wrapped\ndef make(size: int = 3):\n    return size + 1\n")
    model_edited = of_node({"_target_": "net.make"})
    mine("wrapping", "def wrapped(function):\n    return function\n")
    assert before != model_edited != of_node({"_target_": "net.make"})


def test_defaults_that_no_yaml_names_are_part_of_it(mine):
    mine("net", "def make(size: int = 7):\n    return size\n")
    assert of_node({"_target_": "net.make"})["size"] == 7


def test_a_file_that_a_knob_names_counts_by_its_content(tmp_path, mine):
    mine("net", "def make(weights: str, **others):\n    return weights\n")
    path = tmp_path / "w.pt"
    node = {"_target_": "net.make", "weights": str(path), "more": [{"deep": str(path)}]}
    path.write_bytes(b"one")
    before = of_node(node)
    path.write_bytes(b"two")
    assert of_node(node) != before
    path.write_bytes(b"one")
    assert of_node(node) == before
    assert list(dict(files_in(node))) == [str(path)]


def test_texts_that_are_no_files_are_let_be(tmp_path):
    assert dict(files_in({"a": "", "b": "x" * 5000, "c": "a\0b", "d": str(tmp_path), "e": 3})) == {}
