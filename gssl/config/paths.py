"""Where the configuration files are. Imports nothing heavy: shell completion uses it."""

import fcntl
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def conf_dir() -> Path:
    """The absolute directory of the YAML files: shipped inside the package, else the checkout's."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parent / "conf"


def config_name(command: str) -> str:
    """'train-gan' → 'train_gan': the root YAML and the folder of presets."""
    return command.replace("-", "_")


def held(run: Path) -> bool:
    """Whether a living process holds the run's lock."""
    try:
        with (run / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
