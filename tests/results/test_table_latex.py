import csv
import io
import re
from dataclasses import replace

import pytest
from tests.conftest import make_row
from tests.plots.rows import compressed
from tests.plots.test_charts import UNTIMED

from kdbench.cli.main import main
from kdbench.results.row import write
from kdbench.results.summary import frame, summarise
from kdbench.results.table import markdown, tables
from kdbench.results.table_columns import COMPRESSION
from kdbench.results.table_csv import csv_text
from kdbench.results.table_latex import ESCAPES, PARAGRAPHS, escaped, latex

MARKS = r"""& % $ # _ { } ~ ^ \ < > | " [ ] ± † ← …"""


def shown(text: str) -> str:
    """What LaTeX would show of an escaped text."""
    plain = {escape: character for character, escape in ESCAPES.items()}
    pieces = sorted(map(re.escape, plain), key=len, reverse=True)
    return re.sub("|".join(pieces), lambda match: plain[match[0]], text)


@pytest.mark.parametrize("text", [*MARKS.split(), MARKS, r"\input{/etc/passwd}", "$x_1^2$", "a_b & 100% #1"])
def test_latex_shows_a_text_as_it_is(text):
    assert shown(escaped(text)) == text
    bare = re.sub(r"\\[a-z]+\{\}|\\[&%$#_{}]|\$\\[a-z]+\$|\{[\[\]]\}", "", escaped(text))
    assert not set(bare) & set(r"&%$#_{}~^\<>|[]")


def test_a_latex_table_has_the_cells_of_the_markdown_one():
    rows = [*compressed(3, ["cnn_simple", "mlp_simple"]), make_row(**UNTIMED, network_hash="n1", model="a_b")]
    [table] = tables(rows, COMPRESSION)
    written = latex(rows)
    assert written.startswith(r"% \usepackage{array,booktabs,longtable}")
    lines = [line.removesuffix(r" \\") for line in written.splitlines() if " & " in line]
    header = [column.header for column in table.columns]
    assert [line.split(" & ") for line in lines] == [[*map(escaped, line)] for line in (header, *table.cells)]
    assert written.count(r"\addlinespace") == 2  # three networks
    assert written.count("{") == written.count("}")
    [sides] = re.findall(r"\\begin\{longtable\}\{(.*)\}", written)
    longest = [max(len(line[place]) for line in table.cells) for place in (0, 1)]
    assert sides.startswith("".join("l" if length <= 24 else PARAGRAPHS for length in longest))
    assert sides.endswith("r" * (len(table.columns) - 2))
    assert "not timed: others had the processor too" in written


def test_mean_and_spread_of_what_compression_is_judged_by():
    first = {"accuracy": 0.98, "file_val_accuracy": 0.97, "latency_ms": 1.0, "throughput_ratio": 2.0}
    first |= {"nonzero_parameters": 1000, "macs": 1_000_000, "size_bytes": 10_000, "packed_bytes": 5000}
    by = {"accuracy": 0.01, "file_val_accuracy": 0.01, "latency_ms": 1.0, "throughput_ratio": 0.1}
    by |= {"nonzero_parameters": 100, "macs": 10_000, "size_bytes": 1000, "packed_bytes": 500}
    seeds = [
        make_row(seed=n, config_hash=f"c{n}", **{name: value + n * by[name] for name, value in first.items()})
        for n in range(2)
    ]
    [table] = tables(seeds, COMPRESSION)
    line = dict(zip([column.header for column in table.columns], table.cells[0], strict=True))
    assert line == {
        **{"model": "cnn_deep", "method": "baseline", "seeds": "2"},
        **{"accuracy %": "98.50 ± 0.71", "validation %": "97.50 ± 0.71", "nonzero": "1,050 ± 71"},
        **{"MACs": "1M ± 0.00707M", "file": "10.5 kB ± 707 B", "packed": "5.25 kB ± 354 B"},
        **{"ms/image": "1.50 ± 0.71", "faster 256": "2.05x ± 0.07x"},
    }
    older = [replace(row, packed_bytes=None, file_val_accuracy=None) for row in seeds]
    assert not {"packed", "validation %"} & {column.header for column in tables(older, COMPRESSION)[0].columns}


def test_the_csv_gives_back_every_mean_and_spread():
    rows = compressed(3, ["mlp_simple"])
    means = summarise(frame(rows))
    lines = [*csv.DictReader(io.StringIO(csv_text(rows)))]
    assert len(lines) == len(means)
    for name in ("accuracy", "file_val_accuracy", "nonzero_parameters", "macs", "size_bytes", "packed_bytes",
                 "latency_ms", "throughput_ratio"):  # fmt: skip
        for column in (name, f"{name}_std"):
            assert [float(line[column]) for line in lines] == pytest.approx(means[column].tolist())


def test_the_commands_write_them(tmp_path, capsys):
    write(make_row(), tmp_path)
    assert main(["table", str(tmp_path), "--latex"]) == 0
    assert capsys.readouterr().out == latex([make_row()]) + "\n"
    assert main(["table", str(tmp_path), "--latex", "--csv"]) == 1
    assert main(["plot", str(tmp_path), "--to", str(tmp_path / "charts")]) == 0
    written = {kind: (tmp_path / "charts" / f"compression_table.{kind}").read_text() for kind in ("md", "csv", "tex")}
    assert written == {
        "md": markdown([make_row()], COMPRESSION) + "\n",
        "csv": csv_text([make_row()]),
        "tex": latex([make_row()]) + "\n",
    }
