from benchmark import folder


def test_a_folder_is_read_anew_and_then_from_the_cache(tmp_path):
    found = folder.measure(tmp_path, 300, 1)
    assert list(found) == ["read anew", "from the cache"]
    assert all(0 < seconds < 30 for seconds in found.values())
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 300
    assert len(list((tmp_path / "cache-0").rglob("*.safetensors"))) == 1
