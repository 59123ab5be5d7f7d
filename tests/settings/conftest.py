import pytest


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Nothing is run here."""
    return tmp_path_factory.mktemp("trained")
