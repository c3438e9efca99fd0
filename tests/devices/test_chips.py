"""Known devices have the peaks of their own chip; unknown ones have none."""

import pytest

from hummingbird.devices import chips


@pytest.mark.parametrize(
    ("kind", "teraflops", "gigabytes"),
    [
        ("TPU v3", 61.5, 17.2),
        ("TPU v5 lite", 197, 17.2),
        ("TPU v5", 459, 102),
        ("NVIDIA A100-SXM4-40GB", 312, 40),
        ("NVIDIA A100-SXM4-80GB", 312, 80),
        ("NVIDIA A100 80GB PCIe", 312, 80),
        ("NVIDIA H100 80GB HBM3", 989.4, 80),
        ("NVIDIA H100 PCIe", 756, 80),
        ("NVIDIA H200", 989.4, 141),
        ("NVIDIA L4", 121, 24),
        ("NVIDIA GeForce RTX 3090", 71, 24),
        ("NVIDIA GeForce RTX 4090", 165.2, 24),
    ],
)
def test_known_devices_have_their_published_peaks(kind, teraflops, gigabytes):
    chip = chips.find(kind)
    assert chip is not None
    assert chip.flops / 1e12 == pytest.approx(teraflops)
    assert chip.memory / 1e9 == pytest.approx(gigabytes, rel=0.01)


@pytest.mark.parametrize(
    "kind",
    [
        "cpu",
        "NVIDIA L40S",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb",
        "NVIDIA GH200 480GB",
        "TPU v99",
    ],
)
def test_a_similar_name_is_not_a_known_device(kind):
    assert chips.find(kind) is None


def test_the_more_specific_of_two_names_wins():
    ordinary, card = chips.find("NVIDIA A100-SXM4-80GB"), chips.find("NVIDIA A100 80GB PCIe")
    assert ordinary is not None
    assert card is not None
    assert card.network < ordinary.network
