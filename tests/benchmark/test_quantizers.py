"""The race of static int8, without the peers: its times, its table, and that it measures nothing twice."""

import json

import numpy as np
import pytest
from benchmark.int8_figures import FLOAT, Measured, table

from benchmark import int8, quantizers
from kdbench.errors import DamagedFile
from kdbench.evaluation import speed
from kdbench.evaluation.passes import Pass


def test_times_are_medians_over_passes_of_ratios_to_the_first_file(monkeypatch):
    rates = [(1.0, 2.0), (2.0, 3.0), (4.0, 12.0)]  # images a second of both files, pass by pass
    turns = [[Pass(np.array([1 / rate]), rate, 1.0, 1.0) for rate in turn] for turn in rates]
    monkeypatch.setattr(speed, "in_turn", lambda ways, seconds: turns)
    monkeypatch.setattr(quantizers, "session", lambda content, threads: None)
    first, second = quantizers.times([b"float", b"int8"], np.zeros((256, 1, 2, 2), np.float32))
    assert first["latency"] == first["throughput"] == (1.0, 1.0, 1.0)
    assert second["latency"] == second["throughput"] == (2.0, 1.5, 3.0)
    assert second["latency_ms"] == pytest.approx(1e3 / 12)
    assert second["cpu_share"] == 1.0


def test_what_a_maker_says_stands_in_the_table():
    float_file = Measured(FLOAT, "", None, 400, 3, 1.0, 0.5, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 1.0)
    ours = Measured("kdbench", "", 1.25, 100, 4, 0.999, 0.25, (2.0, 1.9, 2.1), (3.0, 2.0, 4.0), 0.95)
    theirs = Measured("other", error="ValueError: neither | nor")
    files = [vars(file) for file in (float_file, ours, theirs)]
    found = {"a-run": {"model": "mlp", "images": 10_000, "files": files}}
    lines = table(found, ["a-run"]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[3] == (
        "| mlp | kdbench | 4 of 10,000 | 99.90% | 100 (4.00x smaller) | 2.00x (1.90-2.10) | 3.00x (2.00-4.00) "
        "| 1.2 s | 0.95 |"
    )
    assert "ValueError: neither / nor" in lines[4]


def test_what_was_measured_here_undisturbed_is_not_measured_again(monkeypatch, tmp_path):
    here = {"cpu": "this"}
    report = tmp_path / "found.json"

    def write(share):
        report.write_text(json.dumps({"a-run": {"here": here, "sha256": "abc", "files": [{"cpu_share": share}]}}))

    write(speed.LEAST_SHARE)
    row = type("Row", (), {"artifact_sha256": "abc", "model": "mlp", "test_images": 1})
    monkeypatch.setattr(quantizers, "read_whole", lambda folder: row)
    monkeypatch.setattr(quantizers, "machine_here", lambda: here)
    quantizers.measured(tmp_path / "a-run", None, report)  # reads neither configuration nor data: there are none
    here["cpu"] = "other"
    with pytest.raises(DamagedFile, match="configuration"):
        quantizers.measured(tmp_path / "a-run", None, report)
    write(speed.LEAST_SHARE - 0.1)
    with pytest.raises(DamagedFile, match="configuration"):
        quantizers.measured(tmp_path / "a-run", None, report)


def test_peers_that_are_missing_are_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["quantizers", "a-run"])
    monkeypatch.setattr(int8, "PEERS", {"no_such_module": "no-such-package"})
    assert quantizers.main() == 1
    assert "pip install no-such-package" in capsys.readouterr().err
