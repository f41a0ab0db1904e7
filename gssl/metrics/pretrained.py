"""Evaluators that have learnt from other images: Inception (of the FID), DINOv2 and torchvision's classifiers.

Packages and weights are looked for only when such an evaluator is asked for. Each resizes what goes in to the size
that its network expects: the whole image, where ImageNet's protocol would cut the border off.
"""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.metrics.evaluator_base import Evaluator, weights_hash
from gssl.names import nearest
from gssl.nets import inputs
from gssl.nets.tensors import load_tensors

FID_FILE = "weights-inception-2015-12-05-6726825d.pth"  # the end of its name begins the sha256 of its content
FID_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FID_FILE}"
FID_SHA256 = "6726825d"
DINOV2 = "vit_small_patch14_dinov2.lvd142m"
DINOV2_SIDE = 224  # 16 × 16 patches; its 518 pixels of training would cost six times as much
BROKEN = (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, RuntimeError)
UNREADABLE = (*BROKEN, pickle.UnpicklingError, SafetensorError)


def load(kind: str, model: str, size: int, weights: str | None) -> Evaluator:
    """The evaluator `kind` (inception, dinov2, torchvision) on the CPU; `model`: torchvision's name of the network.

    `size`: side of the images that will go in, in pixels. `weights`: a file instead of the published weights.
    Raises UsageError that says what is missing and how to get it.
    """
    if weights is not None and not Path(weights).expanduser().is_file():
        raise UsageError(f"evaluator={_called(kind, model)}: no weights file {weights}; give an existing .pth file")
    file = None if weights is None else Path(weights).expanduser()
    with torch.random.fork_rng(devices=[]):  # networks draw first weights that are overwritten
        if kind == "inception":
            return InceptionJudge(size, file)
        return DinoJudge(size, file) if kind == "dinov2" else TorchvisionJudge(model, size, file)


class InceptionJudge(Evaluator):
    """The Inception network of the FID (Heusel et al. 2017, arXiv:1706.08500) as torch-fidelity ports it.

    `fid` holds only for the verified weights. Images become uint8 by rounding, as if they had been saved, and are
    resized to 299 pixels as TensorFlow 1 did, bilinear without antialiasing, inside the extractor. `dim` = 2048; the
    1,008 probabilities are those of the inception score, made without the last layer's bias.
    """

    def __init__(self, size: int, file: Path | None) -> None:
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise UsageError("evaluator=inception: needs torch-fidelity; pip install 'gssl[fid]'") from error
        path = _fid_file() if file is None else file
        try:
            torch.load(path, weights_only=True)  # the extractor's own reading would run what a file contains
            wanted = ["2048", "logits_unbiased"]
            self.network = FeatureExtractorInceptionV3("gssl", wanted, feature_extractor_weights_path=str(path))
        except UNREADABLE as error:
            raise UsageError(
                f"evaluator=inception: {path} does not hold the weights of this network; expected {FID_FILE}"
                f" from {FID_URL}"
            ) from error
        self.fid = hashlib.sha256(path.read_bytes()).hexdigest().startswith(FID_SHA256)
        self.size, self.name, self.dim, self.classes = size, "inception" if self.fid else "inception-other", 2048, 1008
        if not self.fid:
            self.note = f"{path} is not {FID_FILE} (its sha256 differs): distances by it are no FID"
        _freeze(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to the last pooled features (B, 2048)."""
        return self._both(x)[0]

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 2048) and probabilities (B, 1008)."""
        features, logits = self._both(x)
        return features, logits.softmax(dim=1)

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # a copy in the default layout: channels-last would take other sums than the published figures
        features, logits = self.network((x * 255).round().clamp(0, 255).to(torch.uint8).contiguous())
        return features, logits


class DinoJudge(Evaluator):
    """DINOv2's ViT-S/14 (Oquab et al. 2023, arXiv:2304.07193) through timm: `dim` = 384, the class token.

    Learnt without labels, it follows people's judgement better than Inception (Stein et al. 2023, arXiv:2306.04675,
    with the larger ViT-L). Images are resized to 224 pixels, bicubic and antialiased.
    """

    def __init__(self, size: int, file: Path | None) -> None:
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise UsageError("evaluator=dinov2: needs timm; pip install 'gssl[timm]'") from error
        overlay: dict[str, Any] = {} if file is None else {"pretrained_cfg_overlay": {"file": str(file)}}
        try:
            network: Any = timm.create_model(DINOV2, pretrained=True, num_classes=0, img_size=DINOV2_SIDE, **overlay)
        except UNREADABLE as error:
            raise UsageError(
                f"evaluator=dinov2: cannot load {file or f'timm/{DINOV2} from huggingface.co'} ({_first(error)});"
                f" expected the weights of {DINOV2}, or where there is no network, give them as a file"
            ) from error
        self.network, self.name = network, "dinov2-vits14" if file is None else "dinov2-vits14-file"
        self.size, self.dim = size, network.num_features
        self.inputs = Inputs(DINOV2_SIDE, "bicubic", network.pretrained_cfg["mean"], network.pretrained_cfg["std"])
        _freeze(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to the class token (B, 384)."""
        features: Tensor = self.network(self.inputs(x))
        return features


class TorchvisionJudge(Evaluator):
    """Any classifier of torchvision with a linear last layer: what goes into that layer, and its probabilities.

    Size, interpolation and colour statistics are those of the network's newest published weights.
    """

    def __init__(self, model: str, size: int, file: Path | None) -> None:
        super().__init__()
        from torchvision import models

        called, known = _called("torchvision", model), models.list_models(module=models)
        if model not in known:
            near = nearest(model, known)
            raise UsageError(
                f"evaluator={called}: torchvision has no such classifier; "
                + (f"did you mean {near}?" if near else "try resnet50")
            )
        published = models.get_model_weights(model).DEFAULT
        try:
            if file is None:
                # fetched first: the builders would not check the hash in the file's name
                published.get_state_dict(progress=False, check_hash=True)
                network = models.get_model(model, weights=published)
            else:
                network = _filled(models, model, _read(file))
        except UNREADABLE as error:
            if file is not None:
                raise UsageError(
                    f"evaluator={called}: {file} does not hold the weights of {model}: {_first(error)}"
                ) from error
            raise UsageError(
                f"evaluator={called}: cannot fetch {published.url} ({_first(error)}); where there is no network, put"
                f" that file into {torch.hub.get_dir()}/checkpoints"
            ) from error
        last = _last_linear(network)
        if last is None:
            raise UsageError(
                f"evaluator={called}: its last layer is not linear, so it has no features to compare by; try resnet50"
            )
        self.head = network.get_submodule(last)
        network.set_submodule(last, nn.Identity())
        if hasattr(network, "transform_input"):  # GoogLeNet's and Inception's published weights expect it
            network.transform_input = True
        self.network, self.size, self.name = network, size, f"torchvision-{model}" + ("-file" if file else "")
        self.dim, self.classes = self.head.in_features, self.head.out_features
        how = published.transforms()
        self.inputs = Inputs(how.crop_size[0], how.interpolation.value, how.mean, how.std)
        _freeze(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to the features before the last layer (B, dim)."""
        features: Tensor = self.network(self.inputs(x))
        return features

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, dim) and probabilities (B, classes), mostly ImageNet's 1,000."""
        features = self(x)
        return features, self.head(features).softmax(dim=1)


class Inputs(nn.Module):
    """(B, 3, S, S) in [0, 1], resized with antialiasing to `side` and normalised by `mean` and `std`."""

    def __init__(self, side: int, how: str, mean: Any, std: Any) -> None:
        super().__init__()
        self.side, self.how, self.colours = side, how, inputs.Inputs(mean, std)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.colours(inputs.resized(x, self.side, self.how))
        return found


def _fid_file() -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / FID_FILE
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(FID_URL, str(path), hash_prefix=FID_SHA256, progress=False)
        except (OSError, RuntimeError) as error:
            raise UsageError(
                f"evaluator=inception: cannot fetch {FID_URL} ({_first(error)}); where there is no network, put that"
                f" file into {path.parent}, or give it to `gssl evaluate --evaluator-weights`"
            ) from error
    return path


def _read(file: Path) -> dict[str, Tensor]:
    state = load_tensors(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    return dict(state.get("state_dict", state))


def _filled(models: Any, model: str, state: dict[str, Tensor]) -> nn.Module:
    """The network with the weights `state`, its last layer as wide as they say."""
    # theirs takes half a minute, for weights that the file overwrites
    extra = {"init_weights": False} if model in ("googlenet", "inception_v3") else {}
    network: nn.Module = models.get_model(model, weights=None, **extra)
    name = _last_linear(network)
    if name and f"{name}.weight" in state:
        last = network.get_submodule(name)
        assert isinstance(last, nn.Linear)
        network.set_submodule(name, nn.Linear(last.in_features, len(state[f"{name}.weight"])))
    network.load_state_dict(state)
    return network


def _last_linear(network: nn.Module) -> str | None:
    """The name of the last layer, if it is linear."""
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    name, layer = layers[-1]
    return name if isinstance(layer, nn.Linear) else None


def _freeze(evaluator: Evaluator) -> None:
    evaluator.eval().requires_grad_(False)
    evaluator.hash = weights_hash(evaluator)


def _called(kind: str, model: str) -> str:
    return f"{kind}:{model}" if model else kind


def _first(error: BaseException) -> str:
    """One short line of an error's text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[:2])[:160].rstrip(" :.")
