"""The report's functions for tests that read a report as it stands in report.json: plain dictionaries in and out."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from gssl.report import cautions as _cautions
from gssl.report import document as _document
from gssl.report import markdown as _markdown
from gssl.report import page as _page
from gssl.report import tex as _tex
from gssl.report import verdict as _verdict
from gssl.report import views as _views
from gssl.report.claims import check as _check
from gssl.report.model import Difference, Report


def typed(value: Any) -> Any:
    """A dictionary of a report or of a difference as its model, everything else as it is."""
    if isinstance(value, dict) and "schema" in value:
        return Report.model_validate(value)
    if isinstance(value, dict) and {"a", "b", "per_seed"} <= value.keys():
        return Difference.model_validate({name: value[name] for name in Difference.model_fields if name in value})
    return value


def plain(value: Any) -> Any:
    """A model as a dictionary."""
    if isinstance(value, Report):
        return value.as_json()
    return value.model_dump(mode="json", by_alias=True, exclude_unset=True) if hasattr(value, "model_dump") else value


def of(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **more: plain(function(*map(typed, args), **more))


class Reading:
    """The functions of a module, for dictionaries."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.module, name)
        own = callable(found) and getattr(found, "__module__", "") == self.module.__name__
        return of(found) if own and not isinstance(found, type) else found


build, check = of(_document.build), of(_check)
cautions, markdown, page, tex, verdict, views = map(Reading, (_cautions, _markdown, _page, _tex, _verdict, _views))
