"""`gssl curve`: several backbones on the same draws of labels, on one data set or on several."""

from pathlib import Path

from gssl import schemas
from gssl.commands import COMMANDS, transfer
from gssl.comparison import sources_by_targets


def main(cfg: schemas.Curve, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Evaluate every source on every target, each by a transfer run in parts/; writes curve.png, table.md, curve.json
    and result.json. No objective."""
    elsewhere = COMMANDS["transfer"].where
    sources_by_targets.run(
        cfg, list(cfg.sources), run_dir, "curve", transfer.main, dry_run=dry_run, elsewhere=elsewhere
    )
    return None
