import importlib
import os
import py_compile
import sys

import pytest

from kdbench.errors import BadSetting
from kdbench.settings import code, importing


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of the user's own that modules are imported from, and a function that writes one."""
    monkeypatch.setattr(sys, "path_hooks", [one for one in sys.path_hooks if one is not importing.of_own_files])
    monkeypatch.setattr(code, "_seen", {})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    before = {*sys.modules}
    code.forget()

    def write(name, content):
        path = tmp_path / f"{name}.py"
        path.write_text(content)
        os.utime(path, (1e9, 1e9))
        return path

    yield write
    for name in {*sys.modules} - before:
        del sys.modules[name]
    code.forget()


def test_what_python_compiled_of_other_content_is_not_taken_for_a_file_of_the_same_size_and_time(own):
    path = own("my_kept", "VALUE = 1\n")
    py_compile.compile(str(path))
    own("my_kept", "VALUE = 2\n")
    assert importlib.import_module("my_kept").VALUE == 1  # what Python itself does
    del sys.modules["my_kept"]
    importing.install()
    assert importlib.import_module("my_kept").VALUE == 2


def test_a_module_that_is_edited_between_hash_and_import_is_refused(own):
    importing.install()
    own("my_late", "VALUE = 1\n")
    code.code_of(["my_late"])
    own("my_late", "VALUE = 2\n")
    with pytest.raises(
        BadSetting, match=r"my_late\.py was edited since this process read it: start the process anew"
    ):
        importlib.import_module("my_late")
    assert "my_late" not in sys.modules
    own("my_late", "VALUE = 1  # as it was\n")
    assert importlib.import_module("my_late").VALUE == 1


def test_a_module_that_is_edited_between_import_and_hash_is_refused(own):
    importing.install()
    own("my_early", "VALUE = 1\n")
    importlib.import_module("my_early")
    own("my_early", "VALUE = 2\n")
    with pytest.raises(BadSetting, match=r"my_early\.py was edited since this process read it"):
        code.code_of(["my_early"])


def test_of_a_module_that_was_imported_before_kdbench_could_read_it_only_an_old_file_is_known(own, monkeypatch):
    path = own("my_first", "VALUE = 1\n")
    importlib.import_module("my_first")
    importing.install()
    with pytest.raises(BadSetting, match=r"my_first\.py was edited since this process began, and imported by it"):
        code.code_of(["my_first"])
    monkeypatch.setattr(code, "began", lambda: path.stat().st_ctime + 1)
    assert code.code_of(["my_first"])


def test_packages_inside_the_folder_are_read_alike_and_what_is_installed_is_not(own, tmp_path):
    importing.install()
    (tmp_path / "my_package").mkdir()
    own("my_package/__init__", "from my_package.part import VALUE\n")
    own("my_package/part", "VALUE = 3\n")
    assert importlib.import_module("my_package").VALUE == 3
    loaders = {name: type(sys.modules[name].__spec__.loader) for name in ("my_package", "my_package.part", "torch")}
    assert [kind is importing.AsHashed for kind in loaders.values()] == [True, True, False]
    with pytest.raises(ImportError):
        importing.of_own_files(str(importing.OURS / "kdbench"))


def test_a_process_began_before_its_modules_were_loaded():
    assert 0 < code.LOADED - code.began() < 3600
