"""At which sizes a source's network reads images: `probe.sizes`, `probe.size_one_shot`, `probe.size_trained`.

A ready-made network has a size and a preprocessing of its own (`WeightSource.own`). Both are on the menu beside
data.size, and folds of the labelled images choose. Every other network reads images at data.size.
"""

from dataclasses import dataclass, replace

from gssl import schemas
from gssl.data.preprocessing import Preprocessing
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment.weight_sources import WeightSource
from gssl.nets.backbone import Backbone
from gssl.schemas.probes import Probes

AUTO, OWN, DATA = "auto", "own", "data"
CHOOSES = "linear"  # the probe whose folds choose the size at which a network is trained


@dataclass(frozen=True)
class Sizes:
    """views: the menu; of equally good ones the first is chosen. rule: where there is nothing to choose on.

    trained: of probes that train the network; None: as the linear probe's folds choose. chosen: whether scores record
    which one they are of.
    """

    views: list[Preprocessing]
    rule: Preprocessing
    trained: Preprocessing | None
    recorded: bool


def of_source(probes: Probes, origin: WeightSource, backbone: schemas.Backbone, side: int, column: str) -> Sizes:
    """The sizes of a source; side: data.size; column: what the task predicts. Masks are predicted at data.size."""
    data = Preprocessing(side)
    own = origin.own(backbone) if column == "label" else None
    if own is None:
        return Sizes([data], data, data, False)

    def named(word: str | int) -> Preprocessing:
        size = own.size if word == OWN else side if word == DATA else int(word)
        return own if size == own.size else data if size == side else replace(own, size=size)

    words: list[str | int] = [OWN, DATA] if probes.sizes == AUTO else list(probes.sizes)
    views = list(dict.fromkeys(named(word) for word in words))
    rule = named(probes.size_one_shot)
    trained = None if probes.size_trained == AUTO else named(probes.size_trained)
    if trained is None and len(views) == 1:
        trained = views[0]
    return Sizes(views, rule if rule in views else views[0], trained, True)


def check(sizes: Sizes, network: Backbone, weights: str, side: int) -> None:
    """Raises UsageError where a network cannot read images of a size; says what a larger one costs."""
    look = getattr(network, "fits", None)
    for view in {*sizes.views, *([sizes.trained] if sizes.trained else [])}:
        if look is not None and not look(view.size):
            raise UsageError(
                f"probe.sizes: {weights} cannot read images of {view.size} pixels; use probe.sizes=[own] or other sides"
            )
    largest = max(view.size for view in sizes.views)
    if sizes.recorded and largest > side:
        times = round((largest / side) ** 2)
        choice = " and ".join(str(view.size) for view in sizes.views)
        say(
            f"note: images are read at {choice} px"
            + (", the size is chosen on folds" if len(sizes.views) > 1 else "")
            + f"; {largest} px take about {times} times as long as data.size={side} (once per image: features are"
            " kept); probe.sizes=[data] leaves it there"
        )
