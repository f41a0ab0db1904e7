"""A comparison of seconds, for every test of `compare`."""

import pytest

from gssl.config.composing import compose


@pytest.fixture
def small(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("gssl.commands.diagrams.ROUNDS", 250)  # t-SNE's fewest: a map per network takes a second

    def make(*overrides: str):
        words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8"]
        words += ["engine.progress=false", "engine.device=cpu", "engine.threads=1", f"parts={tmp_path / 'parts'}"]
        words += [
            "seeds=1",
            "generation.judge=random",
            "eval.milestones=1",
            "budget.steps=3",
            "labels_per_class=[5]",
            "fractions=[]",
            "draws=2",
            "eval.images=50",
        ]
        words += ["probe.linear.l2_count=2", "probe.finetune.steps=3", "probe.finetune.lrs=[0.001]"]
        words += overrides
        # batches that fit the few pictures, for the arms that are there
        arms = next((w for w in overrides if w.startswith("arms=")), "arms=[simclr,supervised,dcgan]")
        batch = {"simclr": "ssl", "supervised": "ssl", "dcgan": "gan"}
        given = " ".join(overrides)
        for arm in [a for a in batch if a in arms and f"overrides.{a}" not in given and "runs=" not in given]:
            more = ",'judge=random'" if batch[arm] == "gan" else ""
            words.append(f"+overrides.{arm}=['{batch[arm]}.batch_size=16'{more}]")
        return compose("compare", words)

    return make
