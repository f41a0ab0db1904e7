"""A training step of large backbones: processor seconds and peak memory, with and without `engine.checkpointing`.

    python scripts/bench/vit.py [--names vit_small …] [--sizes 64 224] [--batch 16] [--steps 3] [--threads 1]

A step is a forward and a backward pass of pooled features; each case is a process of its own. Processor time is told
because it means something on a busy machine too: on a free one, wall time is that divided by the threads, at best.
A network that cannot be measured so, such as one with batch norms and checkpointing, has the reason in its row. Memory
is the peak of the process above what it had with the network built.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch

from gssl import schemas
from gssl.config.composing import compose
from gssl.engine.device import peak_memory, reset_peak_memory, set_threads
from gssl.errors import UsageError
from gssl.nets.backbone import build_backbone, recompute

CPU = torch.device("cpu")


def measure(name: str, size: int, batch: int, steps: int, threads: int, again: bool) -> dict[str, float]:
    """One case, in this process."""
    set_threads(threads)
    cfg: schemas.Backbone = compose("pretrain-ssl", [f"backbone={name}", f"data.size={size}"]).backbone
    network = build_backbone(cfg, size)
    if again:
        recompute(network, name)
    x = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    for p in network.parameters():  # their memory is not what differs
        p.grad = torch.zeros_like(p)
    network(x[:2]).square().mean().backward()  # what is imported and made once; one image has no batch statistics
    reset_peak_memory(CPU)
    before, seconds = peak_memory(CPU), []
    for _ in range(steps):
        start = time.process_time()
        network(x).square().mean().backward()
        seconds.append(time.process_time() - start)
    return {
        "seconds": statistics.median(seconds),
        "memory": peak_memory(CPU) - before,
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def row(case: list[str]) -> str:
    """What the process of one case has measured, or why it could not."""
    made = subprocess.run([sys.executable, __file__, *case, "--one"], check=False, capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(made.stderr)
    found = json.loads(made.stdout.splitlines()[-1])
    if "refused" in found:
        return f"  {found['refused']}"
    return f"{found['parameters']:>12,} {found['seconds']:>9.2f} {found['memory'] / 1e6:>7.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=["vit_small", "vit_base"], help="values of backbone=")
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 224], help="sides of the images in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3, help="measured; the middle one counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", choices=["yes", "no", "both"], default="both", help="engine.checkpointing")
    parser.add_argument("--one", action="store_true", help="this case alone, as JSON")
    args = parser.parse_args()
    if args.one:
        one: dict[str, float] | dict[str, str]
        try:
            one = measure(args.names[0], args.sizes[0], args.batch, args.steps, args.threads, args.again == "yes")
        except UsageError as error:
            one = {"refused": str(error)}
        print(json.dumps(one))
        return
    print(f"batch {args.batch}, {args.threads} threads, torch {torch.__version__}")
    print(f"{'':<32} {'px':>4} {'again':>6} {'parameters':>12} {'s / step':>9} {'MB':>7}")
    for name in args.names:
        for size in args.sizes:
            for again in ["no", "yes"] if args.again == "both" else [args.again]:
                case = ["--names", name, "--sizes", str(size), "--again", again, "--batch", str(args.batch)]
                case += ["--steps", str(args.steps), "--threads", str(args.threads)]
                print(f"{name:<32} {size:>4} {again:>6} {row(case)}", flush=True)


if __name__ == "__main__":
    main()
