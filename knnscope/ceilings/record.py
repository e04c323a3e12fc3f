"""The measured ceilings of a device: what a benchmark row's bytes and operations are held against."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

Cache = Literal["hot", "cold"]
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class ReadRate:
    """Reading ``bytes`` once: bytes/s where the last reader left them (hot), and from flushed caches (cold)."""

    bytes: int
    hot: float
    cold: float

    def __post_init__(self) -> None:
        _check(_is_count(self.bytes), "bytes", self.bytes)
        _check_rates(hot=self.hot, cold=self.cold)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes/s between host and GPU, from or to pageable and pinned memory."""

    pageable: float
    pinned: float

    def __post_init__(self) -> None:
        _check_rates(pageable=self.pageable, pinned=self.pinned)


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a device can do at best.

    Every figure is the best of its repeats, hot and cold alike: a floor under other times is what the machine can do, and
    whatever disturbs a repeat only makes it slower.
    """

    device: str
    """"cpu" or "cuda"."""
    device_name: str
    threads: int | None
    """The thread budget; None for a GPU."""
    read: tuple[ReadRate, ...]
    """By size, ascending."""
    copy: float
    """Bytes read plus bytes written, per second, within the device's memory."""
    products: dict[str, float]
    """Operations/s (2n^3 for n x n by n x n) by type: float64, float32, tf32, float16, bfloat16, int8."""
    host_to_device: Transfer | None = None
    device_to_host: Transfer | None = None
    key: dict[str, Any] = field(default_factory=dict)
    """The environment it was measured in; it holds for no other."""

    def __post_init__(self) -> None:
        _check(self.device in DEVICES, "device", self.device)
        _check(isinstance(self.device_name, str), "device_name", self.device_name)
        threads_fit = _is_count(self.threads) if self.device == "cpu" else self.threads is None
        _check(threads_fit, "threads", self.threads)
        sizes = [rate.bytes for rate in self.read]
        _check(bool(sizes) and sizes == sorted(set(sizes)), "sizes", sizes)
        _check(isinstance(self.products, dict) and isinstance(self.key, dict), "products or key", self.products)
        _check_rates(copy=self.copy, **self.products)

    def read_rate(self, nbytes: int, cache: Cache) -> float:
        """Bytes/s of reading so many bytes: between two measured sizes linear in log(size), beyond them as at the nearest."""
        sizes = [math.log2(rate.bytes) for rate in self.read]
        return float(np.interp(math.log2(max(nbytes, 1)), sizes, [getattr(rate, cache) for rate in self.read]))

    def floor_ns(self, nbytes: int, cache: Cache) -> int:
        """Nanoseconds that this device needs at least to read so many bytes once."""
        return int(nbytes / self.read_rate(nbytes, cache) * 1e9)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON's own types."""
        return {**asdict(self), "read": [asdict(rate) for rate in self.read]}

    @classmethod
    def from_json(cls, value: Any) -> Ceilings:
        """The record that ``to_json`` wrote.

        Raises:
            ValueError: it is no such record, or holds what cannot have been measured.
        """
        try:
            fields = {**value, "read": tuple(ReadRate(**rate) for rate in value["read"])}
            for name in ("host_to_device", "device_to_host"):
                if fields[name] is not None:
                    fields[name] = Transfer(**fields[name])
            return cls(**fields)
        except (TypeError, KeyError) as error:
            raise ValueError(f"no record of ceilings: {error}") from error


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 1 << 62


def _check_rates(**rates: object) -> None:
    for name, rate in rates.items():
        # NaN and infinity fail the comparison; nothing yet built moves or computes 1e18 a second
        _check(type(rate) in (int, float) and 0 < rate < 1e18, name, rate)  # type: ignore[operator]


def _check(right: bool, name: str, value: object) -> None:
    if not right:
        raise ValueError(f"{name} = {value!r} cannot have been measured")
