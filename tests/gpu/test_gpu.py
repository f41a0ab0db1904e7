"""The GPU battery under pytest: `pytest -m gpu`. See battery.py, which runs without pytest, too."""

import pytest

from tests.gpu import battery

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", battery.checks())
def test_on_a_gpu(name, tmp_path):
    device = battery.chosen()
    if device is None:
        pytest.skip(battery.NONE)
    if reason := battery.refused(name, device):
        pytest.skip(reason)
    try:
        battery.checks()[name](device, tmp_path)
    except battery.Skipped as error:
        pytest.skip(str(error))
