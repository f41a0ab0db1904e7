"""Tables of finished runs name their data."""

import pytest
import yaml

from gssl.cli.result_table import data_set, print_result


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"data": {"name": "imagefolder", "root": "my/photos", "size": 64}}, "my/photos, 64 px"),
        ({"data": {"name": "imagefolder", "root": None, "train": "some", "size": 32}}, "some, 32 px"),
        ({"data": {"name": "segmentation", "root": "street", "size": [90, 120]}}, "street, 90×120 px"),
        ({"data": {"name": "mnist5k", "root": None, "size": 28}}, "mnist5k, 28 px"),
        ({"data": {"name": "cifar10", "root": "files", "size": 32}}, "cifar10, 32 px"),
        ({"data": {"name": "mnist5k", "size": 28}, "to": ["svhn", "photos/"]}, "svhn, photos/"),
        ({"data": {"name": "mnist5k", "size": 28}, "runs": "runs/*"}, ""),
        ({"seed": 1}, ""),
    ],
)
def test_the_data_of_a_run(tmp_path, config, said):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert data_set(tmp_path) == said


def test_every_result_names_them(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"data": {"name": "imagefolder", "root": "photos", "size": 64}})
    )
    score = {"probe": "knn", "labels_per_class": 10, "fraction": None, "metrics": {"accuracy": 0.5}, "n_test": 40}
    print_result(tmp_path, {"scores": [score]})
    assert capsys.readouterr().out.splitlines()[0] == "data: photos, 64 px"
    print_result(tmp_path / "nowhere", {"spent": {"steps": 3}})
    assert "data:" not in capsys.readouterr().out
