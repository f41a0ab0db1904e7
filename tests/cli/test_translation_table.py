"""Arms of pairs of images side by side: means over seeds, controls, differences on the same pairs."""

import numpy as np
import pytest
import yaml

from gssl.cli import run_comparison
from gssl.engine.files import write_json
from gssl.statistics.paired import t_interval

N = 40


def run(folder, seed: int, adversarial: float, psnr: np.ndarray, n: int = N):
    """A finished run of whose outputs `psnr` (n,) is known; its control has 10 dB."""
    folder.mkdir(parents=True)
    write_json(folder / "status.json", {"command": "train-gan", "state": "finished"})
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "gan": {"adversarial": adversarial}}))
    cell = {"value": float(psnr.mean()), "low": float(psnr.mean()) - 1, "high": float(psnr.mean()) + 1, "n": n}
    rows = {"generated": {"psnr": cell}, "mean_photo": {"psnr": cell | {"value": 10.0, "low": 9.5, "high": 10.5}}}
    own = {"split": "val", "n": n, "made_from": {"kind": "colour"}, "rows": rows, "pairs": {"psnr": psnr.tolist()}}
    objective = {"name": "val_kid", "value": 0.1, "direction": "min"}
    write_json(folder / "result.json", {"seed": seed, "objective": objective, "translation": own})


def test_arms_stand_beside_controls_and_differ_on_the_same_pairs(tmp_path, capsys) -> None:
    random = np.random.default_rng(0)
    hard = random.normal(20, 3, N)  # pairs differ more than arms do
    for seed in range(2):
        run(tmp_path / f"a{seed}", seed, 1.0, hard + seed)
        run(tmp_path / f"b{seed}", seed, 0.0, hard + seed + 0.5 + random.normal(0, 0.1, N))
    document = run_comparison.compare([str(tmp_path)])
    text = document["translation"]
    rows = {row["image"]: row["figures"]["psnr"] for row in text["rows"]}
    assert [row["seeds"] for row in text["rows"]] == [2, 2, 2]  # four runs of two seeds
    expected = t_interval([hard.mean(), hard.mean() + 1])
    assert rows["gan.adversarial=1"]["value"] == pytest.approx(expected.mean)
    assert rows["gan.adversarial=1"]["low"] == pytest.approx(expected.low)
    assert rows["mean photo"] == {"value": 10.0, "low": 9.5, "high": 10.5}  # seeds change nothing: over pairs
    (difference,) = text["differences"]
    sign = 1 if difference["b"] == "gan.adversarial=0" else -1
    found = difference["figures"]["psnr"]
    assert sign * found["value"] == pytest.approx(0.5, abs=0.06) and found["high"] - found["low"] < 0.1
    run_comparison.show(document)
    said = capsys.readouterr()
    assert "same pairs, 2 seeds: PSNR" in said.out + said.err and "mean photo" in said.out + said.err


def test_what_is_not_of_one_kind_has_no_such_table(tmp_path) -> None:
    run(tmp_path / "a", 0, 1.0, np.ones(N))
    run(tmp_path / "b", 0, 0.0, np.ones(N + 1), N + 1)
    assert "translation" not in run_comparison.compare([str(tmp_path)])
