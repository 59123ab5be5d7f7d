import pytest
from torch import nn

from kdbench.compress.distill.soft_targets import Distill
from kdbench.compress.step import Task
from kdbench.errors import BadSetting


@pytest.mark.parametrize("knobs", [(0, 0.5), (-1, 0.5), (4, -0.1), (4, 1.1), ("hot", 0.5), (float("nan"), 0.5)])
def test_knobs_out_of_range_are_named(knobs):
    with pytest.raises(BadSetting, match=r"compress\.(temperature|alpha)="):
        Distill(*knobs)


def test_without_a_teacher_the_error_says_where_to_name_one():
    with pytest.raises(BadSetting, match="teacher: auto"):
        Distill(4, 0.5)(nn.Linear(1, 1), Task(lambda *_, **__: None))
