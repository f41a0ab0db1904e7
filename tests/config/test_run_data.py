"""Whose data a run's weights are evaluated on: those of the run, said in a line, unless the user names others."""

import pytest
import yaml

from gssl.config.composing import check_all
from gssl.errors import UsageError


@pytest.fixture
def trained(tmp_path):
    """`trained("A", name="imagefolder", root="photos", …)` → the directory of a run on those data."""

    def make(run, **data):
        folder = tmp_path / "runs" / run
        folder.mkdir(parents=True)
        (folder / "status.json").write_text("{}")
        (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"val_fraction": 0.1, **data}}))
        return str(folder)

    return make


def data_of(command, *overrides, multirun=False):
    return check_all(command, list(overrides), multirun)[0].data


@pytest.mark.long
def test_it_is_the_runs_data_and_said(trained, capsys):
    run = trained("A", name="imagefolder", root="photos", size=48, test_fraction=0.3, labels=None)
    data = data_of("transfer", f"weights={run}")
    assert (data.name, data.root, data.size, data.test_fraction) == ("imagefolder", "photos", 48, 0.3)
    assert f"the data are those of {run}: imagefolder (photos); data= overrides" in capsys.readouterr().err
    assert check_all("transfer", [f"weights={run}"], False)[2][0] == "data=imagefolder"  # what Hydra runs
    curve = data_of("curve", f"sources=[mine@{run},random]")
    assert curve.root == "photos"


def test_what_the_user_writes_wins(trained):
    run = trained("A", name="imagefolder", root="photos", size=48)
    assert data_of("transfer", f"weights={run}", "data=mnist5k").name == "mnist5k"
    assert data_of("transfer", f"weights={run}", "data.root=others").root == "others"
    assert data_of("transfer", f"weights={run}", "to=[mnist5k]").name == "mnist5k"


def test_digits_stay_and_nothing_is_said(trained, capsys):
    assert data_of("transfer", f"weights={trained('A', name='mnist5k', root=None)}").name == "mnist5k"
    assert data_of("transfer", "weights=random").name == "mnist5k"
    assert capsys.readouterr().err == ""


def test_runs_of_different_data_need_a_choice(trained):
    one, two = trained("A", name="imagefolder", root="photos", size=32), trained("B", name="svhn", size=32)
    said = r"A was trained on imagefolder \(photos\) and .*B on svhn; give data="
    with pytest.raises(UsageError, match=said):
        data_of("curve", f"sources=[{one},{two}]")
    with pytest.raises(UsageError, match=said):
        data_of("transfer", f"weights={one},{two}", multirun=True)


@pytest.mark.parametrize(
    "text", ["data: [", "data: 3", "- a", "data: {name: [x]}", "data: {name: {}}", "a: &a 1\nb: *a"]
)
def test_a_damaged_configuration_is_an_error_or_no_data_and_never_other_data(trained, tmp_path, text):
    run = trained("A", name="imagefolder", root="photos", size=48)
    (tmp_path / "runs/A/config.yaml").write_text(text)
    try:
        assert data_of("transfer", f"weights={run}").name == "mnist5k"  # it says no data that there are
    except UsageError as error:
        assert "config.yaml" in str(error) and "\n" not in str(error)
    else:
        assert text.startswith("data: ") and text[-1] != "["


def test_images_that_moved(trained, tmp_path):
    run = trained("A", name="imagefolder", root="/old/photos", size=48, pretrain="/old/photos/more", test="/other/test")
    data = data_of("transfer", f"weights={run}", f"data.root={tmp_path}")
    assert (data.root, data.pretrain, data.test) == (str(tmp_path), f"{tmp_path}/more", "/other/test")
