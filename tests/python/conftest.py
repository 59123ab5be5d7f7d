import pytest

from kdbench.evaluation import speed


@pytest.fixture
def quick_timing(monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.01)
    monkeypatch.setattr(speed, "WARM_UP_SECONDS", 0.01)
