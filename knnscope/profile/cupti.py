"""Records this process by CUPTI into the schema of an Nsight Systems export, where no nsys is at hand.

Reached by ``errors.require`` alone. Records are only kept while the program runs; they are decoded when it has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cupti import cupti

from knnscope.errors import KnnscopeError
from knnscope.profile import ranges
from knnscope.profile.names import demangled, short
from knnscope.profile.schema import MEMORY_TYPES, Writer

BUFFER = 8 << 20
SYSTEM_THREADS = 1
"""CUPTI_ACTIVITY_THREAD_ID_TYPE_SYSTEM: the numbers that ps and nsys show."""
RECORDER = "knnscope, CUPTI in process"
PROFILER_CALLS = (cupti.driver_api_trace_cbid.cuProfilerStart, cupti.driver_api_trace_cbid.cuProfilerStop)
"""What cudaProfilerStart and cudaProfilerStop call."""
REFUSED = "CUPTI cannot record here ({}): another profiler in this process, or a driver that does not allow it"
Kind = cupti.ActivityKind
ACTIVITIES = (
    *(Kind.CONCURRENT_KERNEL, Kind.MEMCPY, Kind.MEMSET, Kind.RUNTIME, Kind.DRIVER, Kind.SYNCHRONIZATION, Kind.MARKER),
)


class Recorder:
    """Between ``start`` and ``stop`` everything is recorded; after ``wait``, what the program asks for."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.began = 0
        self.epoch_ns = 0
        self.dropped = 0
        self.on = False

    def wait(self) -> None:
        """Start at the program's first cudaProfilerStart, stop at the cudaProfilerStop that follows.

        Raises:
            KnnscopeError: another profiler holds CUPTI's only subscription.
        """
        params = cupti.SubscriberParams()
        params.struct_size, params.subscriber_name = cupti.SUBSCRIBER_PARAMS_SIZE, "knnscope"
        try:
            subscriber = cupti.subscribe_v2(self._called, None, params.ptr)
            for call in PROFILER_CALLS:
                cupti.enable_callback(1, subscriber, cupti.CallbackDomain.DRIVER_API, call)
        except cupti.cuptiError as error:
            raise KnnscopeError(REFUSED.format(error)) from error

    def _called(self, userdata: Any, domain: Any, call: int, data: Any) -> None:  # noqa: ARG002
        left = data.callback_site == cupti.ApiCallbackSite.API_EXIT
        if call == PROFILER_CALLS[0] and left and not self.began:
            self.start()
        elif call == PROFILER_CALLS[1] and not left and self.on:
            self.stop()

    def start(self) -> None:
        """Subscribe.

        Raises:
            KnnscopeError: another profiler holds CUPTI's only subscription, or CUPTI refuses.
        """
        try:
            cupti.set_thread_id_type(SYSTEM_THREADS)
            cupti.activity_register_callbacks(lambda: (BUFFER, 0), self.records.extend)
            for activity in ACTIVITIES:
                cupti.activity_enable(activity)
        except cupti.cuptiError as error:
            raise KnnscopeError(REFUSED.format(error)) from error
        self.on = True
        self.began, self.epoch_ns = cupti.get_timestamp(), time.time_ns()

    def stop(self) -> None:
        """Wait for the last records. The GPU must have finished."""
        self.on = False
        cupti.activity_flush_all(1)
        for activity in ACTIVITIES:
            cupti.activity_disable(activity)
        cupti.activity_flush_all(1)
        lost = ctypes.c_size_t()
        with contextlib.suppress(Exception):  # no context, no answer
            cupti.activity_get_num_dropped_records(0, 0, ctypes.addressof(lost))
            self.dropped = int(lost.value)

    def write(self, path: Path) -> None:
        """The database."""
        path.unlink(missing_ok=True)
        writer = Writer(str(path))
        sorted_out: dict[int, list[Any]] = {int(activity): [] for activity in ACTIVITIES}
        for record in self.records:
            sorted_out.setdefault(int(record.kind), []).append(record)
        of = {activity.name: sorted_out[int(activity)] for activity in ACTIVITIES}
        self._device_work(writer, of)
        self._host_work(writer, of)
        self._about(writer)
        writer.close()

    def _common(self, r: Any) -> tuple[int, ...]:
        begin, end = r.start - self.began, r.end - self.began
        pid = (os.getpid() & 0xFFFFFF) << 24
        return begin, end, getattr(r, "device_id", 0), r.context_id, r.stream_id, r.correlation_id, pid

    def _device_work(self, writer: Writer, of: dict[str, list[Any]]) -> None:
        common = ("start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid")
        writer.rows(
            "CUPTI_ACTIVITY_KIND_KERNEL",
            (
                *(
                    *common,
                    "demangledName",
                    "shortName",
                    "mangledName",
                    "registersPerThread",
                    "gridX",
                    "gridY",
                    "gridZ",
                ),
                *("blockX", "blockY", "blockZ", "staticSharedMemory", "dynamicSharedMemory", "localMemoryPerThread"),
                *("gridId", "graphNodeId"),
            ),
            (
                (
                    *self._common(r),
                    writer.string(demangled(r.name)),
                    writer.string(short(r.name)),
                    writer.string(r.name),
                    *(r.registers_per_thread, r.grid_x, r.grid_y, r.grid_z, r.block_x, r.block_y, r.block_z),
                    *(r.static_shared_memory, r.dynamic_shared_memory, r.local_memory_per_thread),
                    *(r.grid_id, r.graph_node_id or None),
                )
                for r in of["CONCURRENT_KERNEL"]
            ),
        )
        writer.rows(
            "CUPTI_ACTIVITY_KIND_MEMCPY",
            (*common, "bytes", "copyKind", "srcKind", "dstKind", "graphNodeId"),
            (
                (
                    *(*self._common(r), r.bytes, int(r.copy_kind)),
                    *(
                        MEMORY_TYPES.get(int(r.src_kind), 7),
                        MEMORY_TYPES.get(int(r.dst_kind), 7),
                        r.graph_node_id or None,
                    ),
                )
                for r in of["MEMCPY"]
            ),
        )
        writer.rows(
            "CUPTI_ACTIVITY_KIND_MEMSET",
            (*common, "value", "bytes", "memKind", "graphNodeId"),
            (
                (*self._common(r), r.value, r.bytes, MEMORY_TYPES.get(int(r.memory_kind), 7), r.graph_node_id or None)
                for r in of["MEMSET"]
            ),
        )
        writer.rows(
            "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION",
            (*common, "syncType", "eventId"),
            ((*self._common(r), int(r.type), r.cuda_event_id & 0x7FFFFFFF) for r in of["SYNCHRONIZATION"]),
        )

    def _host_work(self, writer: Writer, of: dict[str, list[Any]]) -> None:
        names: dict[tuple[int, int], int] = {}
        domains = cupti.CallbackDomain.RUNTIME_API, cupti.CallbackDomain.DRIVER_API

        def name(driver: int, cbid: int) -> int:
            if (driver, cbid) not in names:
                names[driver, cbid] = writer.string(str(cupti.get_callback_name(domains[driver], cbid)))
            return names[driver, cbid]

        pid = (os.getpid() & 0xFFFFFF) << 24
        writer.rows(
            "CUPTI_ACTIVITY_KIND_RUNTIME",
            ("start", "end", "eventClass", "globalTid", "correlationId", "nameId", "returnValue"),
            (
                (
                    *(r.start - self.began, r.end - self.began, driver, pid | (r.thread_id & 0xFFFFFF)),
                    *(r.correlation_id, name(driver, r.cbid), r.return_value),
                )
                for driver, api in enumerate(("RUNTIME", "DRIVER"))
                for r in of[api]
            ),
        )
        writer.rows(
            "NVTX_EVENTS",
            ranges.COLUMNS,
            ranges.rows(of["MARKER"], self.began, pid),
        )

    def _about(self, writer: Writer) -> None:
        when = datetime.fromtimestamp(self.epoch_ns / 1e9, UTC).isoformat()
        writer.rows("TARGET_INFO_SESSION_START_TIME", ("utcEpochNs", "utcTime"), [(self.epoch_ns, when)])
        about = [("RECORDER", RECORDER), ("DROPPED_RECORDS", str(self.dropped))]
        writer.rows("META_DATA_CAPTURE", ("name", "value"), about)
        with contextlib.suppress(Exception):  # a program without CuPy: the GPU stays unnamed
            import importlib

            runtime = importlib.import_module("cupy").cuda.runtime
            facts = runtime.getDeviceProperties(0)
            width, clock = facts["memoryBusWidth"], facts.get("memoryClockRate") or runtime.deviceGetAttribute(36, 0)
            writer.rows(
                "TARGET_INFO_GPU",
                (
                    "id",
                    "name",
                    "memoryBandwidth",
                    "smCount",
                    "l2CacheSize",
                    "totalMemory",
                    "computeMajor",
                    "computeMinor",
                ),
                [
                    (
                        *(0, facts["name"].decode(), 2 * clock * 1000 * width // 8, facts["multiProcessorCount"]),
                        *(facts["l2CacheSize"], facts["totalGlobalMem"], facts["major"], facts["minor"]),
                    )
                ],
            )
