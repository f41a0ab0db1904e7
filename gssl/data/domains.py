"""Two domains of images without pairs, as rows of one set: which of them a row is of."""

import numpy as np

from gssl.data.columns import DomainColumn
from gssl.data.images import Images


def domains_of(images: Images) -> np.ndarray:
    """uint8 (N,): `GIVEN` (translated) or `MADE` (what it becomes), of each image."""
    column = images.column_of(DomainColumn)
    assert column is not None
    found: np.ndarray = np.asarray(column.fetch(images.rows))
    return found


def of_domain(images: Images, domain: int) -> Images:
    """The images of one domain, in their order."""
    return images.subset(np.flatnonzero(domains_of(images) == domain))
