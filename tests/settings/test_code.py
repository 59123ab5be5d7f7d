"""What identifies code: an edit that may change a result is noticed, any other is not."""

import pytest

from kdbench.errors import BadSetting
from kdbench.settings.code import DECIDING, code_of
from kdbench.settings.identity import MAKER, MEASURING

LOSS = "kdbench.compress.distill.soft_targets"
MLP = "kdbench.models.mlp"


def test_comments_docstrings_and_layout_change_nothing(edited):
    before = code_of([MAKER, LOSS])
    edited(LOSS, "import copy\n", "import copy  # for copies\n\n\n\n")
    edited(LOSS, '"""Return the mean over the batch."""', '"""Return what it says."""')
    assert code_of([MAKER, LOSS]) == before


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
    before = code_of([MAKER, LOSS])
    edited(module, old, new)
    assert code_of([MAKER, LOSS]) != before


def test_a_method_is_no_part_of_another_nor_of_a_baseline(edited):
    roots = [[MAKER, MLP], [MAKER, "kdbench.compress.prune.global_magnitude"]]
    before = [code_of(modules) for modules in roots]
    edited(LOSS, "temperature**2 *", "")
    assert [code_of(modules) for modules in roots] == before


def test_a_metric_is_part_of_what_makes_a_row(edited):
    def measuring() -> str:
        return code_of(["kdbench.evaluation.measure", "kdbench.artifact.ship"], (*DECIDING, *MEASURING))

    before = measuring()
    edited("kdbench.evaluation.accuracy", "bins: int = 15", "bins: int = 10")
    wrong = measuring()
    assert wrong != before
    edited("kdbench.evaluation.accuracy", "bins: int = 10", "bins: int = 15")
    assert measuring() == before


def test_code_that_is_no_python_is_one_line_with_its_file(mine):
    mine("net", "def make(:\n")
    with pytest.raises(BadSetting, match=r"net\.py, line 1: invalid syntax"):
        code_of(["net"])
