"""Who reads labels is a reference before anything is trained, however the labels come in; one run is one contestant."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from gssl.commands import compare
from gssl.comparison import plan
from gssl.config import arms
from gssl.engine.files import read_json, sha256, write_json
from gssl.errors import UsageError

BACKBONE = {"name": "convnet", "norm": "batch", "width": 8, "patch": 1}
SUPERVISED = {"schema": "gssl.weights/1", "method": "supervised", "backbone": BACKBONE, "size": 16, "seed": 0}


def planner(cfg):
    return plan.Planner(cfg, "d", 1)


def file_of(folder, **text):
    """An exported file as far as a plan looks."""
    folder.mkdir(parents=True)
    file = folder / "backbone.safetensors"
    save_file({"x": torch.zeros(1)}, file)
    write_json(folder / "backbone.json", SUPERVISED | {"sha256": sha256(file)} | text)
    return file


def test_an_override_that_reads_labels_makes_a_reference(small):
    told = "overrides.dcgan=['gan.condition=projection','gan.batch_size=16','evaluator=random']"
    made = planner(small("arms=[simclr,dcgan,scratch]", f"+{told}"))
    assert not any("dcgan" in two for two in made.pairs()) and made.pairs()
    about = {part.arm: part.about for part in made.plan()}
    assert about["dcgan"]["labels"] is True and about["simclr"]["labels"] is False
    cfg = small("arms=[simclr,dcgan,scratch]", f"+{told}", "primary.pairs=['simclr vs dcgan']")
    with pytest.raises(UsageError, match=r"dcgan reads the labels .*gan.condition=projection.*never ranked") as error:
        planner(cfg).plan()  # not after all the training
    assert "\n" not in str(error.value)


def test_a_search_that_may_choose_to_read_labels_does(small):
    space = "+search.space.dcgan=['gan.class_d=0,1']"
    made = planner(small("arms=[simclr,dcgan,scratch]", "search.trials=2", space))
    assert not any("dcgan" in two for two in made.pairs())


def test_a_chain_and_a_file_of_a_supervised_run_are_references(small, tmp_path):
    file = file_of(tmp_path / "sup" / "weights")
    made = planner(small(f"arms=[mine@{file},supervised+simclr,simclr,scratch]"))
    assert made.pairs() == planner(small("arms=[simclr,scratch]")).pairs()
    with pytest.raises(UsageError, match="mine reads all labels"):
        small(f"arms=[mine@{file},simclr]", "primary.pairs=['mine vs simclr']")


def test_what_nobody_knows_stays_a_contestant_and_says_so(small, tmp_path):
    file = file_of(tmp_path / "else")
    file.with_name("backbone.json").unlink()  # nothing says what it is
    made = planner(small(f"arms=[mine@{file},simclr,scratch]"))
    assert any("mine" in two for two in made.pairs())
    assert "not on record" in made.described(arms.parse(f"mine@{file}"))["note"]


def test_one_run_under_two_names_is_never_paired(small):
    batch = "['ssl.batch_size=16']"
    again = ("arms=[simclr,again@simclr,scratch]", f"+overrides.again={batch}")
    assert not any("again" in two for two in planner(small(*again)).pairs())
    with pytest.raises(UsageError, match="simclr and again are one and the same run"):
        planner(small(*again, "primary.pairs=['simclr vs again']")).plan()
    other = ("arms=[simclr,again@simclr,scratch]", "+overrides.again=['ssl.batch_size=16','ssl.temperature=0.7']")
    assert any("again" in two for two in planner(small(*other)).pairs())


def test_copies_of_a_run_are_no_seeds(small, tmp_path):
    file_of(tmp_path / "run1" / "weights")
    shutil.copytree(tmp_path / "run1", tmp_path / "run2")
    with pytest.raises(UsageError, match=r"run2 and .*run1 hold the same weights: no two seeds"):
        small(f"arms=[mine@{tmp_path}/run*,simclr]", "seeds=2")


@pytest.mark.long
@pytest.mark.usefixtures("inline")
def test_a_supervised_file_and_checkpoint_go_the_whole_way_as_references(small, tmp_path):
    from gssl.commands import pretrain_ssl

    first = next(p for p in plan.plan(small("arms=[supervised]"), "d", 1) if p.stage == "pretrain")
    pretrain_ssl.main(first.cfg, tmp_path / "sup")
    (step,) = [p for p in (tmp_path / "sup" / "checkpoints").iterdir() if p.name.startswith("step-")][-1:]
    shutil.copytree(tmp_path / "sup" / "weights", tmp_path / "copied")
    names = {"mine": tmp_path / "copied" / "backbone.safetensors", "middle": step}
    listed = ",".join(f"{name}@{path}" for name, path in names.items())
    compare.main(small(f"arms=[{listed},scratch,random]"), tmp_path / "run")
    report = read_json(tmp_path / "run" / "report.json")
    roles = {arm["name"]: arm["role"] for arm in report["arms"]}
    assert {roles[name] for name in names} == {"reference"} and roles["scratch"] == "contestant"
    probed = [read_json(p / "result.json") for p in (tmp_path / "parts").glob("m*-transfer-*")]
    assert len(probed) == 2 and all(result["source"]["labels_used"] is True for result in probed)
