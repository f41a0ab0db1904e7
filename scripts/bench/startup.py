"""Start-up: `gssl --help` and a configuration error as whole processes, medians of alternating runs.

    python scripts/bench/startup.py [--runs 9]

The bounds the project promises: help within 0.3 s, a configuration error within about 1 s, neither importing torch.
"""

import argparse
import statistics
import subprocess
import sys
import time

CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "gssl --help": [sys.executable, "-m", "gssl", "--help"],
    "gssl --version": [sys.executable, "-m", "gssl", "--version"],
    "gssl pretrain-ssl --help": [sys.executable, "-m", "gssl", "pretrain-ssl", "--help"],
    "configuration error": [sys.executable, "-m", "gssl", "pretrain-ssl", "ssl.temprature=1"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def imports_torch(words: list[str]) -> bool:
    """Whether the command line imports torch, by Python's own list of imports."""
    done = subprocess.run([words[0], "-X", "importtime", *words[1:]], capture_output=True, text=True, check=False)
    return any(line.split("|")[-1].strip() == "torch" for line in done.stderr.splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(runs):
        for name, words in CASES.items():
            start = time.perf_counter()
            subprocess.run(words, capture_output=True, check=False)
            times[name].append(time.perf_counter() - start)
    print(f"{'whole process, seconds':28} {'median':>7} {'min':>7} {'max':>7}  torch")
    for name, values in times.items():
        torch = "yes" if imports_torch(CASES[name]) else "no"
        print(f"{name:28} {statistics.median(values):7.3f} {min(values):7.3f} {max(values):7.3f}  {torch}")


if __name__ == "__main__":
    main()
