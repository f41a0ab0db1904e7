"""How well a self-supervised method does while it is trained: kNN on validation images, and the features' geometry."""

import copy
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from torch import Tensor

from gssl import schemas
from gssl.data import Images, centre, sequential
from gssl.data.preprocessing import Preprocessing
from gssl.experiment import (
    caption_evaluation,
    captioned,
    captioner,
    continued,
    dialogues,
    forecast,
    language,
    seq2seq,
    weight_sources,
)
from gssl.experiment.method_pictures import ROWS, save_columns
from gssl.experiment.training import Training
from gssl.metrics.collapse import CollapseMonitor
from gssl.metrics.geometry import geometry
from gssl.nets.norms import recompute_batch_norm
from gssl.probe.features import extract
from gssl.probe.knn import Knn
from gssl.ssl.caption import Caption
from gssl.ssl.captioned import Captioned

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
        self.captioned = isinstance(self.method, Captioned)
        self.writes = isinstance(self.method, Caption)
        self.before = captioned.Two.of(cast(Captioned, self.method), self.size) if self.captioned else None
        if self.captioned:
            captioned.warn_of_large_batches(training.images, training.batches.whole, self.method.cfg.positives)
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
        recompute_batch_norm(network, self._some())
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
            found["val_bits_per_byte"] = seq2seq.bits_per_byte(cast(Any, network), self.val, self.device)
        elif self.language:
            found["val_bits_per_byte"] = language.bits_per_byte(cast(Any, network), self.val, self.size, self.device)
        if self.captioned:
            two = captioned.Two(network, cast(Captioned, self.method).towers, self.size)
            found["val_recall_10"] = captioned.recall(two, self.val, self.device)
        if self.writes:
            method = cast(Caption, self.method)
            writer = caption_evaluation.Writer(network, method.captioner, self.size, method.most)
            found["val_bits_per_byte"] = caption_evaluation.bits_per_byte(writer, self.val, self.device)
        if hasattr(self.method, "reconstruct") and self.pictures and self.shown.store.pictures:
            with self.training.beside("pictures"):
                few = next(iter(sequential(self.shown, ROWS, self.device)))
                columns = self.method.reconstruct(centre(few["image"], self.size, few.get("extent")), step)
                save_columns(columns, self.run.path / "samples" / f"step-{step:08d}.png")
        return found

    def _some(self) -> Iterator[Tensor]:
        """Training images as networks read them, of which an evaluated copy has its batch statistics."""
        batches = sequential(self.statistics, BATCH, self.device)
        return (Preprocessing(self.size).read(batch) for batch in batches)

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
                return {"seq2seq": seq2seq.evaluate(network, splits.val, splits.pretrain, *rest)}
            return {"language": language.evaluate(network, splits.val, splits.pretrain, *rest)}

    def _captioned(self) -> dict[str, Any]:
        """How well validation images and their captions find each other; writes what the method added."""
        method, splits, cfg = cast(Captioned, self.method), self.training.splits, self.cfg
        assert self.before is not None
        with self.training.beside("evaluations"):
            written = captioned.write(method, self.run.path, splits.pretrain, cfg)
            recompute_batch_norm(self.before.backbone, self._some())
            two, asked = captioned.Two.of(method, self.size), (method.cfg.prompts, self.device, "val")
            found = captioned.evaluate(two, self.before, splits.val, splits.pretrain, *asked)
        return {"captioned": found | {"towers": written}}

    def _captioning(self) -> dict[str, Any]:
        """How well captions of validation images are predicted and written; writes what the method added."""
        method, splits = cast(Caption, self.method), self.training.splits
        with self.training.beside("evaluations"):
            written = captioner.write(method, self.run.path, splits.pretrain, self.cfg)
            writer = caption_evaluation.Writer.of(method, self.size)
            recompute_batch_norm(writer.backbone, self._some())
            found = caption_evaluation.evaluate(writer, splits.val, splits.pretrain, self.device, "val")
        return {"captioning": found | {"captioner": written}}

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
        if self.writes or self.pairs or (self.language and self.classes < 2):  # targets are what a run on pairs is for
            objective = {"name": "val_bits_per_byte", "value": final["val_bits_per_byte"], "direction": "min"}
        if self.captioned:
            objective = {"name": "val_recall_10", "value": final["val_recall_10"], "direction": "max"}
        return {
            **({"start": start} if start else {}),
            **({"forecast": self._forecast()} if forecasts else {}),
            **(self._predicted() if self.language else {}),
            **(self._captioned() if self.captioned else {}),
            **(self._captioning() if self.writes else {}),
            "objective": objective,
            "features": {key: value for key, value in final.items() if key.startswith("feature_")},
        }
