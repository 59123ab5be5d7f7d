"""Rows as a data frame."""

import numpy as np
import pytest
from tests.conftest import make_row

import kdbench
from kdbench.errors import BadSetting, DamagedFile
from kdbench.results.row import FILE, NAMES, write


@pytest.fixture
def outputs(tmp_path):
    for seed in range(2):
        folder = tmp_path / "runs" / str(seed)
        folder.mkdir(parents=True)
        write(make_row(seed=seed, agreement=0.5 if seed else None), folder)
    return tmp_path


def test_a_line_has_every_column_of_its_row_and_the_folder(outputs):
    table = kdbench.rows(outputs)
    assert list(table) == [*NAMES, "folder"]
    assert list(table["folder"]) == [str(outputs / "runs" / seed) for seed in "01"]
    assert list(table["seed"]) == [0, 1]
    assert table["accuracy"].mean() == pytest.approx(0.9961)


def test_what_a_row_lacks_is_missing_and_columns_of_numbers_are_numbers(outputs):
    table = kdbench.rows(outputs)
    assert np.isnan(table["agreement"][0])
    assert table["agreement"][1] == 0.5
    assert table["teacher_kl"].dtype == table["teacher_seed"].dtype == float  # though no row has one
    assert table["errors"].dtype == int
    assert table["teacher"].isna().all()


def test_a_damaged_row_is_named_or_left_out(outputs):
    path = outputs / "runs" / "0" / FILE
    path.write_text(path.read_text().replace("0.9961", "0.9991"))
    with pytest.raises(DamagedFile, match=r"altered since it was written.*damaged='skip' leaves such rows out"):
        kdbench.rows(outputs)
    assert list(kdbench.rows(outputs, damaged="skip")["seed"]) == [1]
    with pytest.raises(BadSetting, match="damaged='no' is neither"):
        kdbench.rows(outputs, damaged="no")


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(BadSetting, match="there are no rows under"):
        kdbench.rows(str(tmp_path))
