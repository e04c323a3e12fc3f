"""The GPU's ceilings: every byte is read, and figures are plausible."""

from __future__ import annotations

import numpy as np

from knnscope.ceilings import cache, kernels


def test_every_byte_is_read() -> None:
    from knnscope.ceilings import gpu

    device = gpu.Gpu(7, 1 << 20)
    for tiles, blocks in ((1, 8), (3, 1), (1000, 16)):
        data = gpu.random_words(tiles * kernels.TILE)
        device.total.fill(0)
        device.read(data, blocks)
        assert int(device.total[0]) == 0
        device.read(data, blocks, keep=True)
        assert int(device.total[0]) == int(np.add.reduce(data.get()))


def test_figures_are_plausible() -> None:
    found = cache.obtain("cuda")
    for rate in found.read:
        assert 1e9 < rate.cold < 1e14
        assert 0.3 * rate.cold < rate.hot
    assert found.read[-1].hot > found.read[0].cold
    assert found.copy > 1e10
    assert {"float64", "float32", "float16"} <= found.products.keys()
    for transfer in (found.host_to_device, found.device_to_host):
        assert transfer is not None
        assert transfer.pinned > 1e9
