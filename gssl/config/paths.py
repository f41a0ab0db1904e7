"""Where the configuration files are. Imports nothing heavy: shell completion uses it."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def conf_dir() -> Path:
    """The absolute directory of the YAML files: shipped inside the package, else the checkout's."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parent / "conf"


def config_name(command: str) -> str:
    """'train-gan' → 'train_gan': the root YAML and the folder of presets."""
    return command.replace("-", "_")
