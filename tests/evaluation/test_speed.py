import numpy as np

from kdbench.evaluation import speed


def test_a_figure_is_never_made_of_fewer_than_five_calls(monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0)
    monkeypatch.setattr(speed, "WARM_UP_SECONDS", 0)
    calls = []
    assert len(speed.timings(calls.append, "image")) == 5
    assert len(calls) == 6  # the first warms up and is not counted


def test_latency_is_of_one_image_on_one_thread_and_throughput_of_a_batch(monkeypatch):
    asked = []

    def session(content, threads):
        return lambda images: asked.append((threads, len(images)))

    monkeypatch.setattr(speed, "session", session)
    monkeypatch.setattr(speed, "SECONDS", 0)
    found = speed.measure(b"", np.zeros((300, 3, 8, 8), np.float32), threads=3)
    assert set(asked) == {(1, 1), (3, 256)}
    assert found.latency_ms <= found.latency_p90_ms
    assert found.throughput > 0
