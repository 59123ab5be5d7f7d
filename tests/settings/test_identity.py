"""What identifies code and files: an edit that may change a result is noticed, any other is not."""

import sys
import textwrap

import pytest

from kdbench.errors import BadSetting
from kdbench.settings import identity, own_folder
from kdbench.settings.identity import code, files_in, of_node

LOSS = "kdbench.compress.distill.soft_targets"
MLP = "kdbench.models.mlp"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder of the user's own, and a function that writes a module into it, as another process would find it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    own_folder.serve(folder)
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        for module in set(sys.modules) - before:
            del sys.modules[module]
        identity.forget()

    yield write
    identity.forget()
    for module in set(sys.modules) - before:
        del sys.modules[module]


def test_comments_docstrings_and_layout_change_nothing(edited):
    before = code([identity.MAKER, LOSS])
    edited(LOSS, "import copy\n", "import copy  # for copies\n\n\n\n")
    edited(LOSS, '"""Return the mean over the batch."""', '"""Return what it says."""')
    assert code([identity.MAKER, LOSS]) == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (LOSS, "temperature**2 *", ""),
        ("kdbench.training.batches", ".div_(255)", ".div_(256)"),
        ("kdbench.training.progress", "loss / images", "loss"),
        ("kdbench.training.constraints", "mul_(mask)", "mul_(1)"),
        ("kdbench.models.network", "- self.mean", "+ self.mean"),
        ("kdbench.data.splits", "/ 255", "/ 256"),
        ("kdbench.networks.maker", "[:64]", "[:65]"),
        ("kdbench.compress.step", "self.train.images[:count]", "self.train.images[1:count]"),
    ],
)
def test_whatever_a_step_reaches_is_part_of_it(edited, module, old, new):
    before = code([identity.MAKER, LOSS])
    edited(module, old, new)
    assert code([identity.MAKER, LOSS]) != before


def test_a_method_is_no_part_of_another_nor_of_a_baseline(edited):
    roots = [[identity.MAKER, MLP], [identity.MAKER, "kdbench.compress.prune.global_magnitude"]]
    before = [code(modules) for modules in roots]
    edited(LOSS, "temperature**2 *", "")
    assert [code(modules) for modules in roots] == before


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


def test_a_metric_is_part_of_what_makes_a_row(edited):
    def measuring() -> str:
        return code(
            ["kdbench.evaluation.measure", "kdbench.artifact.ship"], (*identity.DECIDING, *identity.MEASURING)
        )

    before = measuring()
    edited("kdbench.evaluation.accuracy", "bins: int = 15", "bins: int = 10")
    wrong = measuring()
    assert wrong != before
    edited("kdbench.evaluation.accuracy", "bins: int = 10", "bins: int = 15")
    assert measuring() == before


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


def test_code_that_is_no_python_is_one_line_with_its_file(mine):
    mine("net", "def make(:\n")
    with pytest.raises(BadSetting, match=r"net\.py, line 1: invalid syntax"):
        code(["net"])


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
