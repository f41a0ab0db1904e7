"""An injected collapse raises the alarm, and the same run without it does not: docs/collapse.md has larger runs."""

import pytest

from gssl.commands import pretrain_ssl
from gssl.config.composing import compose
from gssl.engine.files import read_json
from gssl.errors import JobError

BASE = ["data.limit=300", "data.size=16", "backbone.width=8", "ssl.batch_size=64", "engine.threads=1"]
BASE += ["engine.progress=false", "engine.device=cpu", "engine.log_every=10", "eval.images=50", "on_collapse=stop"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "injected", "most", "word"),
    [("simsiam", "ssl.stop_gradient=false", 200, "on a line"), ("vicreg", "ssl.variance=0", 250, "alike")],
)
def test_an_injected_collapse_is_seen(method, injected, most, word, tmp_path):
    words = [f"ssl={method}", *BASE, f"budget.steps={most}", "ssl.optim.schedule=constant"]
    with pytest.raises(JobError, match=word):
        pretrain_ssl.main(compose("pretrain-ssl", [*words, injected]), tmp_path / "ill")
    pretrain_ssl.main(compose("pretrain-ssl", words), tmp_path / "well")
    assert read_json(tmp_path / "well" / "result.json")["alarms"] == []
