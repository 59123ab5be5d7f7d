"""Whatever is typed: it runs, or it is refused in one line."""

import contextlib
import io
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdbench.cli.main import main
from kdbench.results.ledger import Ledger

NAMES = [
    *("model", "compress", "data", "train", "seed", "device", "precision", "threads", "outputs", "again", "weights"),
    *(
        "train.epochs",
        "teacher_train.epochs",
        "train.batch_size",
        "train.lr",
        "train.weight_decay",
        "train.shift",
        "data.root",
    ),
    *("data.fallback", "compress.sparsity", "compress.temperature", "compress.teacher", "compress.finetune_epochs"),
    *("model.widths", "model.blocks", "seeds_together", "checkpoint_seconds", "hydra.run.dir", "model._target_"),
    *("experiment", "nonsense", "train", "compress.steps", "hydra.nonsense"),
]
VALUES = [
    *("cnn_deep", "mlp_simple", "resnet_medium", "prune", "distill", "quantize", "distill_quantize", "mnist_5k"),
    *("mnist", "mlp", "conv", "0", "1", "2", "-1", "0.5", "1e-3", "1e400", "nan", "inf", "null", "true", "[]", "[8]"),
    *("[8,16]", "{a:1}", "auto", "cpu", "cuda", "bf16", "fp32", "${seed}", "${nothing}", "os.system", "../x", ""),
    *(
        "99999999999999999999",
        "smoke",
        "speedrun",
        "'",
        '"',
        "[",
        "a b",
        "é",
        "\\",
        "=",
        "[[1]]",
        "kdbench.cli.main.main",
    ),
]
typed = st.one_of(st.sampled_from(VALUES), st.text(max_size=8), st.integers().map(str), st.floats().map(str))
override = st.builds(
    lambda sign, name, value: f"{sign}{name}={value}",
    st.sampled_from(["", "", "", "", "+", "++", "~"]),
    st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.text(max_size=8)),
    typed,
)


@settings(max_examples=120, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(overrides=st.lists(st.one_of(override, override, st.text(max_size=12)), min_size=1, max_size=3))
def test_no_traceback(tmp_path, monkeypatch, overrides):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kdbench.experiment.run", lambda *_: (_ for _ in ()).throw(KeyError("reached the run")))
    monkeypatch.setattr(Ledger, "write_command", lambda *_: None)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["run", *overrides])
    printed = err.getvalue()
    assert "Traceback" not in printed
    assert "Error:" not in printed.replace("KeyError: 'reached the run'", ""), printed  # no bare exception either
    if status and not any(text.startswith("-") for text in overrides):
        assert len(printed.strip().splitlines()) == 1, printed
        assert printed.startswith("error: ")
    assert not list(Path().glob("**/metrics.csv"))
