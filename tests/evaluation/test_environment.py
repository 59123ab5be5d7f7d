import platform
from importlib.metadata import version

import pytest
import torch

import kdbench
from kdbench.evaluation import environment
from kdbench.evaluation.environment import processor, versions
from kdbench.results.row import NAMES, allowed


@pytest.mark.parametrize("about", [processor, versions])
def test_everything_is_a_column_that_a_row_may_hold(about):
    assert set(about()) <= set(NAMES)
    assert all(allowed(name, value) for name, value in about().items() if value is not None)


def test_every_column_of_the_processor_and_of_a_version_is_filled():
    columns = {name for name in NAMES if name.startswith("cpu") or name.endswith("_version")} - {"cpu_share"}
    assert columns == processor().keys() | versions().keys() | {"python_version"}


def test_versions_are_those_that_are_imported():
    assert versions()["torch_version"] == torch.__version__
    assert versions()["kdbench_version"] == kdbench.__version__
    assert versions()["onnx_version"] == version("onnx")


INFO = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD <b>EPYC</b> | $9R14`\nstepping: 1\n"


@pytest.fixture
def cpuinfo(monkeypatch):
    monkeypatch.setattr(environment.sys, "platform", "linux")

    def put(text):
        monkeypatch.setattr(environment.Path, "read_text", lambda *_: text)

    return put


def test_the_processor_is_read_from_the_system_and_holds_no_markup(cpuinfo):
    cpuinfo(INFO)
    found = processor()
    assert found["cpu"] == "AMD bEPYC/b  9R14"
    assert (found["cpu_family"], found["cpu_model"]) == (25, 17)
    assert found["cpu_capability"] == torch.backends.cpu.get_cpu_capability()


def test_a_processor_that_says_nothing_of_itself_has_a_name_nevertheless(cpuinfo):
    cpuinfo("CPU architecture: 8\n")
    found = processor()
    assert found["cpu"] == platform.processor() or platform.machine()
    assert found["cpu_family"] is found["cpu_model"] is None
    cpuinfo("model\t: unknown\ncpu family\t: \n")
    assert processor()["cpu_family"] is processor()["cpu_model"] is None
