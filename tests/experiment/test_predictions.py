"""Known labels beside which answers are checked."""

from gssl.experiment.predictions import labels_of


def test_labels_of_images_that_are_not_there_are_said(tmp_path, capsys):
    file = tmp_path / "labels.csv"
    file.write_text("path,label\na.png,cat\ngone.png,cat\n")
    found = labels_of([str(tmp_path / "a.png"), str(tmp_path / "b.png")], tmp_path, ["cat", "dog"], file)
    assert found == ["cat", None]
    assert "1 labelled paths are no image that was read, the first is gone.png" in capsys.readouterr().err
