"""A generator evaluated on test images, as a part of `gssl compare`: `gssl evaluate` in a run directory of its own."""

from pathlib import Path

from gssl import schemas
from gssl.engine.device import pick_device, prepare
from gssl.engine.files import read_json, write_json
from gssl.engine.run import Run
from gssl.experiment.generation import Asked, evaluate_generator

PICTURE = "samples/neighbours.png"


def main(cfg: schemas.Evaluate, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Evaluate the generator of `cfg.run`; the objective is its KID. Samples are drawn beside their neighbours."""
    prepare(cfg.engine)
    with Run(run_dir, "evaluate", cfg) as run:
        if run.finished:
            return run.objective
        run.bind(generator=(read_json(Path(cfg.run) / "weights" / "generator.json") or {}).get("sha256"))
        run.begin()
        picture = run_dir / PICTURE
        picture.parent.mkdir(exist_ok=True)
        asked = Asked(cfg.evaluator, split=cfg.split, images=cfg.images, seed=cfg.seed)
        text = evaluate_generator(Path(cfg.run), asked, pick_device(cfg.engine.device), picture)
        write_json(run_dir / "evaluation.json", text)
        objective = {"name": f"{cfg.split}_kid", "value": text["figures"]["kid"], "direction": "min"}
        run.finish({"seed": cfg.seed, "method": text["method"], "evaluation": text, "objective": objective})
        return run.objective
