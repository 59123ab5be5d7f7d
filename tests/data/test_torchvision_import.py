"""`import torchvision` beside a torch that its C library was not built for."""

import importlib
import sys

import pytest

from kdbench.data import torchvision_import

BROKEN = """
from torchvision import extension
if not extension.declared:
    raise RuntimeError("operator torchvision::nms does not exist")
works = True
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """An empty folder, first of those in which Python looks; what was imported of torchvision is put aside."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def write(folder, code):
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(code)
    (folder / "torchvision" / "extension.py").write_text("declared = False\n")


def test_it_works_where_it_lacks_operators(packages, monkeypatch):
    write(packages, BROKEN)
    declared = []

    def declare():
        declared.append(True)
        sys.modules["torchvision.extension"].declared = True

    monkeypatch.setattr(torchvision_import, "declare", declare)
    assert importlib.import_module("torchvision").works
    assert declared == [True]


def test_it_is_left_alone_where_it_works(packages, monkeypatch):
    write(packages, "works = True\n")
    monkeypatch.setattr(torchvision_import, "declare", lambda: pytest.fail("declared"))
    assert importlib.import_module("torchvision").works


def test_what_else_is_wrong_with_it_is_said(packages):
    write(packages, "raise RuntimeError('the disk is gone')\n")
    with pytest.raises(RuntimeError, match="the disk is gone"):
        importlib.import_module("torchvision")


def test_repairing_twice_is_repairing_once():
    before = list(sys.meta_path)
    torchvision_import.repair()
    assert sys.meta_path == before


def test_the_real_one_can_be_imported():
    import torchvision

    assert torchvision.models.resnet18
    assert torchvision_import.torchvision is torchvision
