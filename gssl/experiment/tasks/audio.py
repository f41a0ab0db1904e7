"""One class per sound."""

from collections.abc import Sequence

from gssl.data import Images
from gssl.errors import UsageError
from gssl.experiment.tasks.classification import Classification
from gssl.probe.sounds import NAMES
from gssl.statistics.metric import metrics_of


class AudioClassification(Classification):
    """Probes read features of log-mel spectrograms, which networks make of the samples; without a network, summaries of
    them. Where groups (speakers) are known, parts, folds and intervals are of whole groups."""

    name, column = "audio", "audio"
    metrics: tuple[str, ...] = metrics_of("audio")
    bare: tuple[str, ...] = ("pixels", *NAMES, "majority")
    diagnose = "gssl.experiment.text_examples:diagnose"
    predict: str | None = "gssl.experiment.predicted_sounds:write"

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        if len(classes) < 2:
            raise UsageError(f"data={data}: sounds of {len(classes)} class(es); transfer needs at least two")
