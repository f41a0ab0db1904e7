"""Tasks: what probes learn to predict, what is labelled one by one, how labels are drawn and what is measured.

A task is picked by the columns of the data. It draws labels (nested, the same draws for all arms), answers for the test
items, scores the answers and stores what intervals need. A new task is a file here and a line below, its column in
`gssl.data.targets`, its metrics in `gssl.statistics.metric`, and a probe that serves it (`gssl.config.registry`).
"""

from collections.abc import Sequence

from gssl.config import registry
from gssl.data import targets
from gssl.errors import UsageError
from gssl.experiment.tasks.action import Action
from gssl.experiment.tasks.anomaly import Anomaly
from gssl.experiment.tasks.audio import AudioClassification
from gssl.experiment.tasks.base import Fitted as Fitted
from gssl.experiment.tasks.base import Task as Task
from gssl.experiment.tasks.classification import Answers as Answers
from gssl.experiment.tasks.classification import Classification
from gssl.experiment.tasks.detection import Detection
from gssl.experiment.tasks.fake import Fake
from gssl.experiment.tasks.segmentation import Counts as Counts
from gssl.experiment.tasks.segmentation import Segmentation
from gssl.experiment.tasks.text import TextClassification

CLASSIFICATION: Task = Classification()
TASKS: dict[str, Task] = {
    task.column: task
    for task in (
        *(CLASSIFICATION, Segmentation(), Detection(), Action(), Anomaly(), Fake()),
        *(TextClassification(), AudioClassification()),
    )
}
NAMED: dict[str, Task] = {task.name: task for task in TASKS.values()}


def task_of(columns: Sequence[str]) -> Task:
    """The task of images with these columns; of images without a target it is classification, which then refuses."""
    return TASKS.get(targets.target(columns) or "label", CLASSIFICATION)


def serving(task: Task) -> list[str]:
    """The probes that answer for a task."""
    return [name for name, entry in registry.PROBE.items() if task.name in entry.tasks]


def check_probe(name: str, task: Task, data: str) -> None:
    """Raises UsageError where a probe does not answer for the task of `data`."""
    if name not in serving(task):
        raise UsageError(
            f"probe.use: {name} does not serve {task.name} (data={data} has the column {task.column}); use"
            f" probe.use=[{','.join(serving(task))}] or some of these"
        )
