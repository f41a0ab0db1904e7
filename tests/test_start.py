"""What a first step imports: nothing that takes long and is not needed for it."""

import subprocess
import sys

import pytest

# seconds of processor, beside 1.5 of torch: compiler 1.2, scipy.optimize .4, pyplot .5, torchvision .6, sklearn 1
HEAVY = [
    "torch._dynamo",
    "torch._inductor",
    "sympy",
    "scipy.optimize",
    "scipy.stats",
    "matplotlib",
    "sklearn",
    "torchvision",
    "pandas",
]


@pytest.mark.long
@pytest.mark.parametrize("command", ["pretrain-ssl ssl.batch_size=16", "train-gan evaluator=random gan.batch_size=16"])
def test_a_run_of_one_step_imports_nothing_heavy(command, tmp_path):
    words = "data.limit=400 backbone.width=8 budget.steps=1 engine.progress=false eval.images=50"
    code = f"""
import sys
from gssl.cli import run
sys.argv = {["gssl", *command.split(), *words.split(), f"hydra.run.dir={tmp_path / 'run'}"]!r}
try:
    run()
finally:
    print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2].split() == []
