import pytest
import torch

from kdbench.errors import BadSetting
from kdbench.training import runtime


def test_auto_becomes_what_is_used():
    found = runtime.resolve("auto", "auto", None)
    assert found.device in ("cpu", "cuda", "mps")
    assert found.precision == ("bf16" if runtime.fast_bf16(found.device) else "fp32")
    assert found.threads >= 1


def test_what_is_asked_for_by_name_is_used(monkeypatch):
    monkeypatch.setattr(runtime, "fast_bf16", lambda device: True)
    assert runtime.resolve("cpu", "bf16", 1) == runtime.Runtime("cpu", "bf16", 1, threads_typed=1)
    assert runtime.resolve("cpu", "fp32", 1) == runtime.Runtime("cpu", "fp32", 1, threads_typed=1)


def test_bf16_where_it_would_be_emulated_is_an_error(monkeypatch):
    monkeypatch.setattr(runtime, "fast_bf16", lambda device: False)
    with pytest.raises(BadSetting, match=r"precision=bf16 .* choose fp32 or auto"):
        runtime.resolve("cpu", "bf16", 1)
    assert runtime.resolve("cpu", "auto", 1).precision == "fp32"


def test_preparing_sets_the_threads():
    before = torch.get_num_threads()
    try:
        runtime.Runtime("cpu", "fp32", 1).prepare()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_device_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadSetting, match="device=cuda is not on this machine: choose from"):
        runtime.resolve("cuda", "auto", None)


@pytest.mark.parametrize("threads", [-1, 0, 100_000])
def test_threads_that_the_machine_does_not_have_are_an_error(threads):
    allowed = f"threads={threads} is out of range: it takes a whole number from 1 to {runtime.cores()}"
    with pytest.raises(BadSetting, match=allowed):
        runtime.resolve("cpu", "fp32", threads)


def test_bf16_is_chosen_only_where_the_processor_has_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not runtime.fast_bf16("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert runtime.fast_bf16("cpu")


def test_the_vector_instructions_are_part_of_a_runtime():
    """Kernels sum in another order where registers are wider: other instructions, other bits."""
    found = runtime.resolve("cpu", "fp32", 1)
    assert found.instructions == torch.backends.cpu.get_cpu_capability()
    assert found != runtime.Runtime("cpu", "fp32", 1, "of another processor")


def test_processes_divide_the_cores_unless_threads_were_asked_for(monkeypatch):
    monkeypatch.setattr(runtime, "cores", lambda: 5)
    found = runtime.resolve("cpu", "fp32", None)
    assert [found.shared_by(count).threads for count in (1, 2, 5, 9)] == [5, 2, 1, 1]
    assert found.shared_by(2).threads_measuring == 5  # while one measures, the others stand still
    typed = runtime.resolve("cpu", "fp32", 3)
    assert (typed.shared_by(9).threads, typed.threads_measuring) == (3, 3)


def test_threads_are_part_of_what_identifies_a_runtime_only_if_they_were_asked_for(monkeypatch):
    monkeypatch.setattr(runtime, "cores", lambda: 4)
    found = runtime.resolve("cpu", "fp32", None)
    assert found.identity == found.shared_by(2).identity
    typed = [runtime.resolve("cpu", "fp32", threads).identity for threads in (1, 2)]
    assert found.identity not in typed
    assert typed[0] != typed[1]
