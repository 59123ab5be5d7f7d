"""What the README says of types and commands is what they are."""

import ast
import inspect
import re
import shlex
from dataclasses import replace

import pytest

from kdbench import experiment
from kdbench.cli import launchers
from kdbench.cli.main import main
from kdbench.compress import step
from kdbench.compress.order import split_steps
from kdbench.errors import OutOfMemory
from kdbench.training import batches, constraints, criteria, features, teacher
from tests.test_extension import README, write_files

MODULES = (step, criteria, constraints, teacher, features, batches)


def types_in_readme() -> dict[str, ast.ClassDef]:
    block = README.read_text().partition("<!-- types -->\n```python\n")[2].partition("```\n<!-- /types -->")[0]
    return {node.name: node for node in ast.parse(block).body if isinstance(node, ast.ClassDef)}


def members(node: ast.ClassDef) -> dict[str, str]:
    """What is public of a class, by name: type and default of a field, type of a property, signature of a method."""
    found = {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign):
            default = f" = {ast.unparse(item.value)}" if item.value else ""
            found[ast.unparse(item.target)] = ast.unparse(item.annotation) + default
        elif isinstance(item, ast.FunctionDef):
            decorators = [ast.unparse(decorator) for decorator in item.decorator_list]
            returns = ast.unparse(item.returns) if item.returns else ""
            is_property = "property" in decorators
            found[item.name] = returns if is_property else f"({ast.unparse(item.args)}) -> {returns}"
    return {name: kind for name, kind in found.items() if not name.startswith("_") or name == "__call__"}


def source(name: str) -> ast.ClassDef:
    [module] = [
        module for module in MODULES if getattr(getattr(module, name, None), "__module__", "") == module.__name__
    ]
    [node] = ast.parse(inspect.getsource(getattr(module, name))).body
    assert isinstance(node, ast.ClassDef)
    return node


@pytest.mark.parametrize("name", types_in_readme())
def test_a_type_in_the_readme_has_the_members_and_signatures_of_the_source(name):
    documented, real = members(types_in_readme()[name]), members(source(name))
    for member, kind in documented.items():
        assert kind == real[member].partition(" = field(")[0], f"{name}.{member}"


@pytest.mark.parametrize("name", ["Task", "Fit", "NetworkStep", "Criterion", "Constraint"])
def test_nothing_that_a_method_may_use_or_define_is_left_out(name):
    assert members(types_in_readme()[name]).keys() == members(source(name)).keys()


def commands_in_readme() -> list[str]:
    """Every `kdbench run` and `kdbench sweep` that the README shows, and what its table adds to one of them."""
    text = README.read_text()
    whole = re.findall(r"^    (kdbench (?:run|sweep) .*)$", text, re.M)
    table = text.partition("| typed | means |\n")[2].partition("\n\n")[0]
    added = [" ".join(re.findall(r"`([^`]+)`", line.split(" | ")[0])) for line in table.splitlines()[1:]]
    return [*whole, *(f"kdbench run model=cnn_simple compress=distill {settings}" for settings in added)]


@pytest.mark.parametrize("command", [*dict.fromkeys(commands_in_readme())])
def test_a_command_in_the_readme_is_understood(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    understood = []

    def run(config, *_):
        split_steps(config.network)  # builds its methods, which check their knobs
        understood.append(config)
        raise OutOfMemory("understood")

    monkeypatch.setattr(experiment, "run", run)
    here = replace(launchers.LAUNCHERS["joblib"], settings=lambda workers: [])  # in this process
    monkeypatch.setitem(launchers.LAUNCHERS, "joblib", here)
    arguments = shlex.split(command, comments=True)[1:]
    if "+experiment=operating_points" in arguments:
        arguments.append("compress=cluster")  # of over a hundred points a few: tests/cli/test_sweep.py has all
    if not any("model=" in argument and "glob(" not in argument for argument in arguments):
        arguments.append("model=mlp_simple")  # one of several models says as much
    assert main(arguments) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == len(understood) >= 1
    assert all(line.endswith(("understood", "the same as above")) for line in errors), errors


def test_the_first_table_leads_to_every_part():
    text = re.sub(r"^```.*?^```", "", README.read_text(), flags=re.M | re.S)
    parts = re.findall(r"^(##+) (.*)$", text, re.M)
    anchors = {re.sub(r"[^\w -]", "", part).lower().replace(" ", "-"): part for _, part in parts}
    led = re.findall(r"\[(.*?)\]\(#(.*?)\)", text.partition("| to | read |")[2].partition("\n## ")[0])
    assert [anchors[anchor] for _, anchor in led] == [part for part, _ in led]
    assert [part for part, _ in led if ("##", part) in parts] == [part for level, part in parts if level == "##"]


def test_the_table_of_the_study_is_what_its_rows_give(capsys):
    study = README.parent / "docs" / "study" / "mnist"
    assert main(["table", str(study), "--markdown"]) == 0
    assert capsys.readouterr().out in README.read_text()


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, make_config, capsys):
    """Its settings are composed in earnest; what is run is a tiny network on the same digits."""
    monkeypatch.chdir(tmp_path)
    code = README.read_text().partition("<!-- python -->\n```python\n")[2].partition("```\n<!-- /python -->")[0]
    assert len(list(filter(None, code.splitlines()))) <= 10
    real, wanted = experiment.run, []

    def run(config, seeds):
        wanted.append(config.run_name.rpartition("-")[0])
        return real(make_config(), seeds)

    monkeypatch.setattr(experiment, "run", run)
    names = {}
    exec(code, names)
    others = [
        f"{m}-{c}-seed{s}" for m in ("mlp_simple", "cnn_simple") for c in ("baseline", "prune") for s in range(3)
    ]
    assert wanted == ["cnn_simple-distill-seed0", *others]
    assert names["wrong"] == names["result"].row.errors
    assert str(names["result"].row.accuracy) in capsys.readouterr().out
