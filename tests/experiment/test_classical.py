"""weights=pca and weights=kmeans through the commands: contestants without a network and without labels."""

import pytest

from gssl.commands import curve, transfer
from gssl.config.menus import NO_NETWORK, probes_of
from gssl.data import load_data
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.probe import classical
from gssl.schemas.classical import NAMES
from gssl.schemas.determining import config_hash

pytestmark = pytest.mark.long

SMALL = ("classical.kmeans.centres=12", "classical.kmeans.patches=500", "classical.pca.dim=20")


@pytest.mark.parametrize("name", ["pca", "kmeans"])  # texts and sounds have the others alone
def test_transfer_judges_it_and_tells_what_was_fitted(tiny, tmp_path, name):
    cfg = tiny("transfer", f"weights={name}", *SMALL)
    transfer.main(cfg, tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    assert result["source"]["kind"] == name and result["backbone"] is None
    assert {s["probe"] for s in result["scores"]} == {"knn", "linear"}
    best = max(s["accuracy"] for s in result["scores"] if s["fraction"] == 1.0)
    assert best > 0.9  # the pictures can be learnt from a quarter's brightness
    told = result["classical"]
    assert told["method"] == name and told["dims"] == {"pca": 20, "kmeans": 48}[name]
    assert told["images"] == len(load_data(cfg.data).pretrain) < len(load_data(cfg.data).labelled)
    if name == "pca":
        assert 0.5 < told["explained_variance"] < 1


def test_nothing_is_learnt_before_it_is_needed(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(classical, "learn", lambda *_: pytest.fail("a rehearsal learns nothing"))
    transfer.main(tiny("transfer", "weights=kmeans", *SMALL), tmp_path / "run", dry_run=True)


# position is for masks alone, tfidf for texts
@pytest.mark.parametrize(
    "name", [name for name in NO_NETWORK if name not in ("position", *set(NAMES) - {"pca", "kmeans"})]
)
def test_probes_that_need_a_network_are_refused_in_one_line(tiny, tmp_path, name):
    with pytest.raises(UsageError, match=f"finetune needs a network, weights={name} has none; use") as error:
        transfer.main(tiny("transfer", f"weights={name}", "probe.use=[knn,finetune]"), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert probes_of(name, ["finetune", "linear", "linear_multilayer", "knn"]) == ["linear", "knn"]


def test_too_large_patches_are_refused_before_the_run_begins(tiny, tmp_path):
    with pytest.raises(UsageError, match=r"classical\.kmeans\.patch=16: .* data\.size=16 .* at most 14"):
        transfer.main(tiny("transfer", "weights=kmeans", "classical.kmeans.patch=16"), tmp_path / "run", dry_run=True)


def test_the_settings_count_only_where_something_learns_by_them(tiny):
    for same in ("random", "pixels"):
        assert config_hash(tiny("transfer", f"weights={same}")) == config_hash(
            tiny("transfer", f"weights={same}", "classical.pca.dim=9")
        )
    for words in (["transfer", "weights=pca"], ["curve", "sources=[small@pca,random]"]):
        assert config_hash(tiny(*words)) != config_hash(tiny(*words, "classical.pca.dim=9"))
    assert config_hash(tiny("transfer", "weights=pca")) != config_hash(tiny("transfer", "weights=kmeans"))


def test_a_curve_takes_them_by_the_probes_that_need_no_network(tiny, tmp_path):
    few = ("labels_per_class=[5]", "fractions=[]")
    cfg = tiny("curve", "sources=[pca,half@kmeans]", "probe.use=[linear,linear_multilayer]", *few, *SMALL)
    curve.main(cfg, tmp_path / "run")
    text = read_json(tmp_path / "run" / "curve.json")
    assert {(c["source"], c["probe"]) for c in text["cells"]} == {("pca", "linear"), ("half", "linear")}
    assert [s["kind"] for s in text["sources"]] == ["pca", "kmeans"]
    assert not text["cka"], "there is no network to look into"
