"""What `gssl predict` writes of texts: a class per text, of each as many tokens as the model learned from."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl.data import text_pairs, texts
from gssl.data.tokens import Tokenizer
from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.errors import UsageError
from gssl.experiment.models import Model

BATCH = 64


def write(
    model: Model, folder: Path, out: Path, device: torch.device, about: dict[str, Any], force: bool
) -> dict[str, Any]:
    """A row per text in `folder`, or in the file that it is, in `out`: where it stands, label, probability, and the
    probability of every class. Empty texts, and pairs with one, have a row without a label. Raises UsageError."""
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder or file of texts")
    found = texts.folder(folder, None) if folder.is_dir() else texts.documents(folder, None)
    documents = [document for part in found.parts.values() for document in part]
    ids = _ids(model, documents)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["text", "label", "probability", *(f"probability_{name}" for name in model.classes)])
    skipped: list[str] = []
    for start in range(0, len(documents), BATCH):
        some = ids[start : start + BATCH]
        given = iter(_probabilities(model, [own for own in some if len(own)], device))
        for document, own in zip(documents[start:], some, strict=False):
            if not len(own):
                skipped.append(f"{document.name} (empty)")
                writer.writerow([document.name, *[""] * (2 + len(model.classes))])
                continue
            p = next(given)
            best = int(p.argmax())
            writer.writerow([document.name, model.classes[best], f"{p[best]:.4f}", *(f"{value:.4f}" for value in p)])
    if len(skipped) == len(documents):
        raise UsageError(f"{folder}: no text that is not empty")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    outputs.describe(out, about)
    made = {"file": str(out), "images": len(documents) - len(skipped), "classes": model.classes, "skipped": skipped}
    return made | {"probe": model.text.get("probe")}


def _ids(model: Model, documents: list[texts.Document]) -> list[np.ndarray]:
    """What the model reads of each text or pair; nothing of an empty one. Raises UsageError where it reads others."""
    tokenizer, size, both = Tokenizer(str(model.text["tokenizer"])), int(model.size), bool(model.text.get("pairs"))
    if other := next((document.name for document in documents if (document.text_b is not None) != both), None):
        what = "pairs, and this has no text_b; add" if both else "single texts, and this has text_b; remove"
        raise UsageError(f"{other}: the model reads {what} the column")
    own = [tokenizer.encode(document.texts) for document in documents]
    if not both:
        return [ids[:size] for (ids,) in own]
    return [text_pairs.joined(a, b, size)[0] if len(a) and len(b) else a[:0] for a, b in own]


@torch.no_grad()
def _probabilities(model: Model, ids: list[np.ndarray], device: torch.device) -> np.ndarray:
    """(n, classes)."""
    if not ids:
        return np.zeros((0, len(model.classes)))
    padded: Tensor = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(own) for own in ids], batch_first=True)
    found: np.ndarray = model.probabilities(padded.to(device)).cpu().numpy()
    return found
