"""What the benchmark runs."""

from benchmark.__main__ import configurations


def test_networks_are_those_that_a_sweep_is_over_and_those_without_data() -> None:
    configs = configurations(["data=mnist_5k"])
    families, sizes = ("cnn", "mlp", "resnet"), ("deep", "medium", "simple")
    assert list(configs) == [
        *(f"{family}_{size}" for family in families for size in sizes),
        "lenet5",
        "lenet5_half",
    ]
    assert {config.data.name for config in configs.values()} == {"mnist_5k"}
