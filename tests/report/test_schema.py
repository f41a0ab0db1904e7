"""The JSON schema of report.json: what is built validates, every key is described, and other keys are refused."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gssl.report import model
from gssl.report.claims import MEASURES, parse

Reports = Callable[..., dict[str, Any]]
SCHEMA = model.schema()


def objects(part: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of the schema that describes an object with known keys."""
    if isinstance(part, dict):
        if "properties" in part and part.get("type") == "object":
            yield where, part
        for key, value in part.items():
            yield from objects(value, f"{where}/{key}")
    elif isinstance(part, list):
        for value in part:
            yield from objects(value, where)


def plain(report: dict[str, Any]) -> Any:
    """As it is read from report.json."""
    return json.loads(json.dumps(report, allow_nan=False))


def errors(report: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(report)]


def test_it_is_a_schema_that_describes_every_key() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    found = list(objects(SCHEMA))
    assert len(found) > 20
    for where, part in found:
        assert part["additionalProperties"] is False, where
        for key, value in part["properties"].items():
            name = value.get("$ref", "").rpartition("/")[2]  # a part is described where it stands, or by itself
            text = value.get("description") or SCHEMA["$defs"].get(name, {}).get("description", "")
            assert text.endswith((".", "…")), f"{where}: {key}"


def test_what_is_built_validates(report_of: Reports, full_report: dict[str, Any]) -> None:
    lost = report_of(3, fail=(("dcgan", 0),))
    for report in (report_of(1), report_of(3), lost, full_report, report_of(2, arms=("scratch", "random"))):
        assert errors(plain(report)) == []
    assert set(full_report) == set(SCHEMA["properties"])
    for part in ("generation", "cost", "progress", "stability", "searches", "samples", "alarms", "failed", "curves"):
        assert full_report[part], part  # so that its form was seen


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda r: r.update(extra=1), "extra"),
        (lambda r: r.pop("limitations"), "limitations"),
        (lambda r: r.update(schema="gssl.report/1"), "$.schema"),
        (lambda r: r["table"][0].update(n_seeds=0), "$.table[0].n_seeds"),
        (lambda r: r["table"][0]["interval"].pop("n"), "$.table[0].interval"),
        (lambda r: r["table"][0]["per_seed"].update(first=0.5), "first"),
        (lambda r: r["differences"][0].update(p=1.5), "$.differences[0].p"),
        (lambda r: r["arms"][0].update(role="winner"), "$.arms[0].role"),
        (lambda r: r["primary"].update(pairs=[["simclr"]]), "$.primary.pairs[0]"),
        (lambda r: r["generation"][0].update(metric="fid"), "$.generation[0].metric"),
        (lambda r: r["progress"][0]["points"][0].update(step=-1), "$.progress[0].points[0].step"),
        (lambda r: r["provenance"]["runs"][0].update(hash="x"), "$.provenance.runs[0]"),
    ],
)
def test_what_is_wrong_is_found(
    full_report: dict[str, Any], change: Callable[[dict[str, Any]], Any], where: str
) -> None:
    report = plain(copy.deepcopy(full_report))
    change(report)
    (found,) = errors(report)
    assert where in found


def test_the_docs_name_every_part_and_write_claims_that_can_be_read() -> None:
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    part = text.split("## report.json")[1].split("## Claims")[0]
    assert set(SCHEMA["properties"]) <= set(re.findall(r"`([a-z_]+)`", part))
    claims = re.findall(r"^\| `([^`]+ [<>]=? [^`]+)` \|", text, re.M)
    assert len(claims) == 6
    for claim in claims:
        parse(claim)
    for name in MEASURES:
        assert re.search(rf"\b{name}\b", text), name
