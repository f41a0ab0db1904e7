"""The commands that take a configuration: where each is, and the schema of what configures it."""

from typing import NamedTuple

from gssl import schemas


class Command(NamedTuple):
    """`where`: module:function, called with the typed configuration and the run directory."""

    where: str
    schema: type


COMMANDS: dict[str, Command] = {
    "train-gan": Command("gssl.commands.train_gan:main", schemas.TrainGAN),
    "pretrain-ssl": Command("gssl.commands.pretrain_ssl:main", schemas.PretrainSSL),
    "transfer": Command("gssl.commands.transfer:main", schemas.Transfer),
    "curve": Command("gssl.commands.curve:main", schemas.Curve),
    "compare": Command("gssl.commands.compare:main", schemas.Compare),
}
