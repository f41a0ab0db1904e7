"""Names that have moved; see validate.py and gssl/schemas/determining.py."""

from gssl.config.validate import first_line as first_line
from gssl.config.validate import validate as validate
from gssl.schemas.determining import FREE as FREE
from gssl.schemas.determining import NAMED_WEIGHTS as NAMED_WEIGHTS
from gssl.schemas.determining import config_hash as config_hash
from gssl.schemas.determining import determining as determining
