import sys
import textwrap

import pytest

from kdbench.settings import code, own_folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Nothing is run here."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder of the user's own, and a function that writes a module into it, as another process would find it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    own_folder.serve(folder)
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        for module in set(sys.modules) - before:
            del sys.modules[module]
        code.forget()

    yield write
    code.forget()
    for module in set(sys.modules) - before:
        del sys.modules[module]
