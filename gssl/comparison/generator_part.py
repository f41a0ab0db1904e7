"""A generator judged on test images, as a part of `gssl compare`: `gssl evaluate` in a run directory of its own."""

from pathlib import Path

from gssl import schemas
from gssl.commands.evaluate import evaluate
from gssl.engine.device import prepare
from gssl.engine.files import read_json
from gssl.engine.run import Run

PICTURE = "samples/neighbours.png"


def main(cfg: schemas.Evaluate, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Judge the generator of `cfg.run`; the objective is its KID. Samples are drawn beside their neighbours."""
    prepare(cfg.engine)
    with Run(run_dir, "evaluate", cfg) as run:
        if run.finished:
            return run.objective
        run.bind(generator=(read_json(Path(cfg.run) / "weights" / "generator.json") or {}).get("sha256"))
        run.begin()
        picture = run_dir / PICTURE
        picture.parent.mkdir(exist_ok=True)
        text = evaluate(
            Path(cfg.run),
            run_dir / "evaluation.json",
            cfg.evaluator,
            split=cfg.split,
            images=cfg.images,
            seed=cfg.seed,
            device=cfg.engine.device,
            picture=picture,
        )
        text.pop("file")
        objective = {"name": f"{cfg.split}_kid", "value": text["figures"]["kid"], "direction": "min"}
        run.finish({"seed": cfg.seed, "method": text["method"], "evaluation": text, "objective": objective})
        return run.objective
