import importlib
import importlib.util
import os
import py_compile
import sys

import pytest

from kdbench.errors import BadSetting
from kdbench.settings import code, importing


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of the user's own that modules are imported from, and a function that writes one."""
    monkeypatch.setattr(sys, "meta_path", [one for one in sys.meta_path if one is not importing.OwnFiles])
    monkeypatch.setattr(code, "_hashed", {})
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


def test_a_module_that_is_edited_between_hash_and_import_is_refused_while_a_run_goes_on(own):
    importing.install()
    own("my_late", "VALUE = 1\n")
    code.code_of(["my_late"])
    own("my_late", "VALUE = 2\n")
    with code.in_use():
        with pytest.raises(BadSetting, match=r"my_late\.py was edited since this process read it: start the process"):
            importlib.import_module("my_late")
        assert "my_late" not in sys.modules
        own("my_late", "VALUE = 1  # as it was\n")
        assert importlib.import_module("my_late").VALUE == 1


def test_what_is_imported_anew_between_runs_is_hashed_anew_or_refused(own):
    importing.install()
    own("my_living", "VALUE = 1\n")
    first = code.code_of(["my_living"])
    own("my_living", "VALUE = oops\n")
    with pytest.raises(NameError):
        importlib.import_module("my_living")
    own("my_living", "VALUE = 2\n")
    living = importlib.import_module("my_living")  # of a notebook, which may do that
    with pytest.raises(BadSetting, match="was edited"), code.in_use():
        pytest.fail("it was identified by the first")
    code.forget()  # as kdbench.run does
    assert code.code_of(["my_living"]) != first
    own("my_living", "VALUE = 3\n")
    assert importlib.reload(living).VALUE == 3
    code.forget()
    with code.in_use():
        assert code.code_of(["my_living"]) != first


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
    with pytest.raises(
        BadSetting, match=r"my_first\.py was written since this process began, and imported before kdbench"
    ):
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


def test_what_another_finder_finds_is_read_alike(own, monkeypatch, tmp_path):
    path = own("my_editable", "VALUE = 1\n")
    path = path.rename(tmp_path / "elsewhere.py")

    class Editable:
        @staticmethod
        def find_spec(name, path_=None, target=None):
            return importlib.util.spec_from_file_location(name, path) if name == "my_editable" else None

    monkeypatch.setattr(sys, "meta_path", [object(), Editable, *sys.meta_path])  # one of the old kind before it
    importing.install()
    assert importlib.import_module("my_editable").VALUE == 1
    assert type(sys.modules["my_editable"].__spec__.loader) is importing.AsHashed


def test_a_file_that_cannot_be_hashed_is_imported_all_the_same_and_refused_where_it_decides(own):
    importing.install()
    own("my_sum", f"VALUE = {' + '.join(['1'] * 1200)}\n")
    assert importlib.import_module("my_sum").VALUE == 1200
    with pytest.raises(BadSetting, match=r"my_sum\.py: an expression in it is too deeply nested to be hashed"):
        code.code_of(["my_sum"])


@pytest.mark.parametrize(
    ("files", "edited", "ran"),
    [
        (
            {"my_net": "from my_all import *\n", "my_all/__init__": "__all__ = ['part']\n"},
            "my_all/part",
            "my_all.part",
        ),
        ({"my_net": "import my_two.part\n", "my_two/__init__": "", "my_two/part": ""}, "my_two/part/__init__", None),
        ({"my_net": "import this\n"}, "this", None),
    ],
    ids=["all that a package has", "a package beside a module of its name", "the name of a standard module"],
)
def test_whatever_python_would_import_is_hashed(own, tmp_path, monkeypatch, files, edited, ran):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    for name in (*files, edited):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        own(name, files.get(name, "VALUE = 1\n"))
    first = code.code_of(["my_net"])
    importlib.import_module("my_net")
    name = ran or edited.removesuffix("/__init__").replace("/", ".")
    assert sys.modules[name].VALUE == 1  # it is what is imported
    del sys.modules[name]
    own(edited, "VALUE = 2\n")
    code.forget()
    assert code.code_of(["my_net"]) != first


def test_modules_of_python_itself_are_no_part_of_the_code(own):
    own("my_plain", "VALUE = 1\n")
    alone = code.code_of(["my_plain"])
    for name in ("os", "sys", "json", "importlib.util", "math", "zlib", "xml.dom"):
        assert code.source(name) is None
    assert alone == code.code_of(["my_plain"])


def test_a_process_began_before_its_modules_were_loaded():
    assert 0 <= code.LOADED - code.began() < 3600
