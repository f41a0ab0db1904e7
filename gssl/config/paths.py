"""Where the configuration files are. Imports nothing heavy: shell completion uses it."""

import fcntl
import os
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
        handle = os.open(run / ".lock", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)  # a pipe is no wait
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False
