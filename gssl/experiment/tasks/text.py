"""One class per text."""

from collections.abc import Sequence

from gssl.data import Images
from gssl.errors import UsageError
from gssl.experiment.tasks.classification import Classification
from gssl.statistics.metric import metrics_of


class TextClassification(Classification):
    """Probes read the mean of a network's features over the tokens; without a network, TF-IDF of words."""

    name, column = "text", "text"
    metrics: tuple[str, ...] = metrics_of("text")
    bare: tuple[str, ...] = ("tfidf", "majority")
    diagnose = "gssl.experiment.text_examples:diagnose"
    predict: str | None = "gssl.experiment.predicted_texts:write"

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        if len(classes) < 2:
            raise UsageError(f"data={data}: texts of {len(classes)} class(es); transfer needs at least two")
