"""Concurrent searches over HTTP with and without micro-batching, in turn.

    python benchmarks/batching.py GALLERY PHOTOS --clients 1,16,64 --seconds 10 --rounds 3

deepfood has no batching on processors; here its server gets it, to measure the effect: photos that
wait for the network at the same moment form a batch of up to four, without waiting for more. `more
threads` is the server without batching, but with as many threads as batching needs.
"""

import argparse
import os
import queue
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import numpy as np
import uvloop

import deepfood.embed
from deepfood import runtimes
from deepfood.cli import main as deepfood_main
from deepfood.config import available_cores
from deepfood.model import Model
from load import closed_loop, search_requests
from servers import deepfood_server

_SIZES = (4, 2, 1)
#: Photos that are read at once, so that batches form; without batching, one per core.
_AT_ONCE = 8

Infer = Callable[[Any], Any]


def batched(model: Model, precision: str, threads: int, streams: int) -> tuple[Infer, str]:
    """Replaces the Embedder's own way of running OpenVINO."""
    ov = runtimes.openvino()

    core, cores = ov.Core(), available_cores()
    precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": cores,
        "NUM_STREAMS": cores,
    }
    compiled = {
        size: core.compile_model(deepfood.embed.openvino_graph(core, model, size), "CPU", options)
        for size in _SIZES
    }
    waiting: queue.SimpleQueue[tuple[Any, Future[Any]]] = queue.SimpleQueue()

    def tensors(request: Any) -> tuple[Any, Any, Any]:
        return request, request.get_input_tensor().data, request.get_output_tensor().data

    def work(requests: dict[int, tuple[Any, Any, Any]]) -> None:
        while True:
            some = [waiting.get()]
            while len(some) < _SIZES[0]:
                try:
                    some.append(waiting.get_nowait())
                except queue.Empty:
                    break
            while some:
                size = next(one for one in _SIZES if one <= len(some))
                request, pixels_in, vectors_out = requests[size]
                pixels_in[:] = np.stack([pixels for pixels, _ in some[:size]])
                request.start_async()
                request.wait()
                for (_, future), vector in zip(some[:size], vectors_out.copy(), strict=True):
                    future.set_result(vector)
                some = some[size:]

    for _ in range(cores):
        # Here, in one thread: see the Embedder's own.
        own = {size: tensors(one.create_infer_request()) for size, one in compiled.items()}
        Thread(target=work, args=(own,), daemon=True).start()

    def infer(pixels: Any) -> Any:
        future: Future[Any] = Future()
        waiting.put((pixels, future))
        return future.result()

    return infer, precision


@contextmanager
def _settings(threads: int) -> Iterator[None]:
    os.environ["DEEPFOOD_THREADS"] = str(threads)
    yield
    del os.environ["DEEPFOOD_THREADS"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--clients", default="1,16,64")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ways = {
        "off, a thread a core": (0, ("-m", "deepfood.cli")),
        "off, more threads": (_AT_ONCE - 1, ("-m", "deepfood.cli")),
        "on": (_AT_ONCE - 1, (__file__,)),
    }
    print("| micro-batching | clients | answered a second | p50 ms |")
    print("|---|---:|---:|---:|")
    seen: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        for name, (threads, entry) in ways.items():
            with (
                _settings(threads),
                deepfood_server(options.gallery.absolute(), entry=entry) as server,
            ):
                requests = search_requests(options.photos)
                uvloop.run(closed_loop(server.port, requests, 4, 2))
                for clients in map(int, options.clients.split(",")):
                    one = uvloop.run(closed_loop(server.port, requests, clients, options.seconds))
                    assert not one.faults, one.faults
                    p50 = 1e3 * median(one.good_s)
                    seen.setdefault((name, clients), []).append((one.goodput, p50))
    for (name, clients), rounds in seen.items():
        rates, waits = zip(*rounds, strict=True)
        print(f"| {name} | {clients} | {median(rates):.0f} | {median(waits):.0f} |")


if __name__ == "__main__":
    if "serve" in sys.argv[1:2]:
        deepfood.embed._start_openvino = batched
        deepfood_main()
    else:
        main()
