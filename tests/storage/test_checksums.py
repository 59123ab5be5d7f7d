import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.errors import DamagedFile
from kdbench.storage.checksums import seal, seal_record, unseal, unseal_record

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(names, st.binary())
def test_what_is_sealed_comes_back(name, content):
    assert unseal(name, seal(name, content)) == content


@given(names, st.dictionaries(st.text().filter(lambda name: name != "seal"), plain, max_size=4))
def test_a_record_comes_back(name, record):
    assert unseal_record(name, seal_record(name, record)) == record


def test_what_was_sealed_under_another_name_is_refused():
    with pytest.raises(DamagedFile, match="content and name"):
        unseal("a", seal("b", b"content"))
    with pytest.raises(DamagedFile, match="content and name"):
        unseal_record("a", seal_record("b", {"a": 1}))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{}", b'{"seal": 1}', b'{"a": 1}', b"[" * 100_000, b"\xff"], ids=range(8)
)
def test_what_is_no_record_is_refused(text):
    with pytest.raises(DamagedFile):
        unseal_record("a", text)
