import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.errors import DamagedFile
from kdbench.sealed import seal, seal_record, unseal, unseal_record

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary())
def test_what_is_sealed_comes_back(content):
    assert unseal(seal(content)) == content


@given(st.dictionaries(st.text().filter(lambda name: name != "seal"), plain, max_size=4))
def test_a_record_comes_back(record):
    assert unseal_record(seal_record(record)) == record


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"seal": 1}', '{"a": 1}', "[" * 100_000, "\xff"])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(DamagedFile):
        unseal_record(text)
