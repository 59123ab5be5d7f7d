"""What a search rests on beside what was typed."""

import pytest
from tests.conftest import mlp

from kdbench.search.basis import basis
from kdbench.settings import code, own_folder
from kdbench.settings.choices import config_dir

METHOD = "class Mine:\n    def __call__(self, model, task):\n        return {what}\n"


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "compress").mkdir()
    (tmp_path / "compress" / "mine.yaml").write_text("_target_: searched_method.Mine\nstrength: 1\n")
    (tmp_path / "searched_method.py").write_text(METHOD.format(what="model"))
    monkeypatch.setattr(own_folder, "_folder", None)
    own_folder.serve(tmp_path)
    code.forget()
    yield tmp_path
    code.forget()


def test_trials_of_other_data_choices_or_code_do_not_count(own):
    def found(fingerprint="data"):
        code.forget()
        return basis([own, config_dir()], mlp(), fingerprint)

    first = found()
    assert found() == first
    assert found("others") != first
    (own / "compress" / "mine.yaml").write_text("_target_: searched_method.Mine\nstrength: 2\n")
    assert found() != first
    (own / "compress" / "mine.yaml").write_text("_target_: searched_method.Mine\nstrength: 1  # as before\n")
    (own / "searched_method.py").write_text("# a comment\n" + METHOD.format(what="model"))
    assert found() == first
    (own / "searched_method.py").write_text(METHOD.format(what="task"))
    assert found() != first


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("kdbench.networks.maker", "[:64]", "[:65]"),
        ("kdbench.training.fit", "weight_decay=recipe.weight_decay", "weight_decay=0"),
        ("kdbench.evaluation.accuracy", "bins: int = 15", "bins: int = 10"),
        ("kdbench.search.trial", 'if "speedup" in columns', 'if "latency_ms" in columns'),
    ],
)
def test_nor_do_those_of_another_training_or_measurement(edited, module, old, new):
    before = basis([config_dir()], mlp(), "data")
    edited(module, old, new)
    assert basis([config_dir()], mlp(), "data") != before
