"""Wilson's interval of a proportion. No torch here: the report reads files and needs none."""

from statistics import NormalDist


def wilson(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for the proportion `correct` / `n`; (0, 1) for n = 0.

    It is for this one trained network on other test images and says nothing about seeds.
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = correct / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    # At the ends the formula gives 0 and 1 exactly, the arithmetic nearly.
    return (0.0 if correct == 0 else middle - half), (1.0 if correct == n else middle + half)
