"""How well a self-supervised method does while it is trained: kNN on validation images, and the features' geometry."""

import copy
from typing import Any, cast

import numpy as np

from gssl import schemas
from gssl.data import Images, centre, sequential
from gssl.data.preprocessing import Preprocessing
from gssl.experiment import continued, dialogues, forecast, language, translation, weight_sources
from gssl.experiment.method_pictures import ROWS, save_columns
from gssl.experiment.training import Training
from gssl.metrics.collapse import CollapseMonitor
from gssl.metrics.geometry import geometry
from gssl.nets.norms import recompute_batch_norm
from gssl.probe.features import extract
from gssl.probe.knn import Knn

BATCH = 256
RECOMPUTE = 512  # images whose batch statistics the evaluated copy carries
GEOMETRY = 1000  # images: singular values cost n · d²


class SSLEvaluator:
    """Evaluates what would be exported now, on whole centre crops of validation images."""

    def __init__(self, training: Training, cfg: schemas.PretrainSSL, pictures: bool) -> None:
        """`pictures`: also draw what a generative method makes of images."""
        self.cfg, self.run, self.device = cfg, training.run, training.device
        self.method, self.pictures, self.training = training.method, pictures, training
        self.right: np.ndarray | None = None  # validation images, in the last evaluation
        self.size = cfg.data.side
        self.language = language.serves(weight_sources.exported(self.method), training.splits.val)
        self.chat, self.pairs = "dialogue" in training.needs, "pair" in training.needs
        self.classes = len(training.splits.classes) if "label" in training.splits.columns else 0
        draws, splits = training.draws.shared, training.splits

        def some(name: str, part: Images) -> Images:
            return part.subset(np.sort(draws.permutation(f"eval/{name}", 0, len(part))[: cfg.eval.images]))

        self.train, self.val = some("train", splits.train), some("val", splits.val)
        self.statistics = splits.pretrain.subset(draws.permutation("recompute", 0, len(splits.pretrain))[:RECOMPUTE])
        # for pictures: images lie class by class
        self.shown = self.val.subset(np.unique(np.linspace(0, len(self.val) - 1, ROWS).astype(int)))
        labels = splits.val.labels
        most = np.bincount(labels[labels >= 0]).max() / len(labels) if np.any(labels >= 0) else 1.0
        self.watch = CollapseMonitor(float(most), min(cfg.eval.images, len(labels)))

    def evaluate(self, step: int) -> dict[str, float]:
        with self.training.beside("evaluations"):
            return self._evaluate(step)

    def _evaluate(self, step: int) -> dict[str, float]:
        network = copy.deepcopy(weight_sources.exported(self.method))
        # the training's own batch statistics are of views
        batches = sequential(self.statistics, BATCH, self.device)
        recompute_batch_norm(network, (Preprocessing(self.size).read(b) for b in batches))
        held = extract(network, self.val, self.size, BATCH, self.device)
        stride = -(-len(self.val) // GEOMETRY)  # every so many: images lie class by class
        known = geometry(held[::stride]) if len(held) > 1 else {}  # of one image there is nothing to say
        found: dict[str, float] = {f"feature_{key}": value for key, value in known.items() if key != "epsilon"}
        if self.classes >= 2:
            self.right = self._right(network, held)
            found["val_knn"] = float(np.mean(self.right))
        if self.chat:  # of what the assistant says
            found["val_bits_per_byte"] = dialogues.bits_per_byte(cast(Any, network), self.val, self.device)
        elif self.pairs:  # of targets
            found["val_bits_per_byte"] = translation.bits_per_byte(cast(Any, network), self.val, self.device)
        elif self.language:
            found["val_bits_per_byte"] = language.bits_per_byte(cast(Any, network), self.val, self.size, self.device)
        if hasattr(self.method, "reconstruct") and self.pictures and self.shown.store.pictures:
            with self.training.beside("pictures"):
                few = next(iter(sequential(self.shown, ROWS, self.device)))
                columns = self.method.reconstruct(centre(few["image"], self.size, few.get("extent")), step)
                save_columns(columns, self.run.path / "samples" / f"step-{step:08d}.png")
        return found

    def against_start(self) -> dict[str, Any] | None:
        """The probe of the given weights, as they came, beside that of the last evaluation; None where there is none
        of either."""
        if self.right is None or not self.training.continues:
            return None
        source, cfg = self.training.source, self.cfg
        network, _ = weight_sources.build(source, cfg.backbone, self.size, cfg.seed)
        held = extract(network.to(self.device), self.val, self.size, BATCH, self.device)
        return continued.against_start(self._right(network, held), self.right)

    def _forecast(self) -> dict[str, Any]:
        """How well the next frames of validation clips are predicted."""
        picture = self.run.path / "samples" / "next_frame.png"
        with self.training.beside("evaluations"):
            return forecast.evaluate(self.method, self.val, self.size, self.device, picture)

    def _predicted(self) -> dict[str, Any]:
        """How well the validation texts are predicted, what the assistant says in validation dialogues, or targets."""
        network: Any = weight_sources.exported(self.method)
        splits, rest = self.training.splits, (self.size, self.device, "val")
        with self.training.beside("evaluations"):
            if self.chat:
                start = dialogues.start_of(self.training.source, self.cfg.backbone, self.size)
                return {"dialogues": dialogues.evaluate(network, start, splits.val, splits.pretrain, *rest)}
            if self.pairs:
                return {"seq2seq": translation.evaluate(network, splits.val, splits.pretrain, *rest)}
            return {"language": language.evaluate(network, splits.val, splits.pretrain, *rest)}

    def _right(self, network: Any, held: np.ndarray) -> np.ndarray:
        """Which validation images, with features `held`, kNN gets right."""
        features = extract(network, self.train, self.size, BATCH, self.device)
        fitted = Knn(self.cfg.eval.knn).fit(features, self.train.labels, self.classes, self.cfg.seed)
        found: np.ndarray = fitted.predict(held) == self.val.labels
        return found

    def alarms(self, entry: dict[str, Any]) -> list[str]:
        return self.watch(entry)

    def result(self, final: dict[str, float]) -> dict[str, Any]:
        """The method's part of result.json, of the last evaluation."""
        start = self.against_start()
        forecasts = forecast.serves(self.method, self.val)
        if start:
            continued.tell(start)
        objective = {"name": "val_knn", "value": final.get("val_knn"), "direction": "max"}
        if self.language and self.classes < 2:
            objective = {"name": "val_bits_per_byte", "value": final["val_bits_per_byte"], "direction": "min"}
        return {
            **({"start": start} if start else {}),
            **({"forecast": self._forecast()} if forecasts else {}),
            **(self._predicted() if self.language else {}),
            "objective": objective,
            "features": {key: value for key, value in final.items() if key.startswith("feature_")},
        }
