"""`python -m kdbench` is the same program as `kdbench`."""

from kdbench.cli.main import entry

if __name__ == "__main__":
    raise SystemExit(entry())
