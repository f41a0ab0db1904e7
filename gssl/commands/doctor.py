"""`gssl doctor`: whether gssl can work here: versions, devices, disks, extras; what would break, and what mends it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gssl
from gssl.engine import machine

SHOWN = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "hydra-core",
    "pydantic",
    "matplotlib",
    "timm",
)
LITTLE = 1e9  # bytes: less is soon full
SUPPORTED = (3, 11), (3, 13)

Check = dict[str, Any]


def doctor(runs: Path = Path("runs")) -> dict[str, Any]:
    """`gssl.doctor/1`. `checks`: each {"name", "state", "text"}; state is ok, note (it works without) or broken."""
    needed, extras = machine.requirements()
    torch = machine.torch_facts()
    cache, here = machine.cache(), machine.disk(runs)
    found: dict[str, Any] = {
        "schema": "gssl.doctor/1",
        "gssl": gssl.__version__,
        "python": machine.python(),
        "versions": {name: machine.version_of(name) for name in SHOWN},
        "processor": machine.processor(),
        "torch": torch,
        "speed": None if "error" in torch else machine.speed(),
        "cache": cache,
        "runs": here,
        "extras": {name: [why for text in own if (why := machine.lacks(text))] for name, own in sorted(extras.items())},
    }
    checks = [_python(found["python"]["version"]), *_packages(needed), _torch(torch), _compose()]
    checks += [_disk("cache", cache, "GSSL_CACHE=FOLDER puts it elsewhere")]
    checks += [_disk("runs", here, "hydra.run.dir=FOLDER writes elsewhere")]
    for name in ("cache", "runs"):
        if why := machine.open_to_others(Path(found[name]["path"])):
            checks.append({"name": f"{name}-access", "state": "note", "text": f"{found[name]['path']}: {why}"})
    found["checks"] = checks + [check for check in (_gpu(torch), _cores(found["processor"], torch)) if check]
    found["ok"] = all(check["state"] != "broken" for check in found["checks"])
    return found


def _check(name: str, broken: bool, text: str) -> Check:
    return {"name": name, "state": "broken" if broken else "ok", "text": text}


def _python(version: str) -> Check:
    own = tuple(int(part) for part in version.split(".")[:2])
    low, high = (".".join(map(str, pair)) for pair in SUPPORTED)
    bad = not SUPPORTED[0] <= own <= SUPPORTED[1]
    return _check("python", bad, f"Python {version}" + (f"; gssl needs {low} to {high}" if bad else ""))


def _packages(needed: list[str]) -> list[Check]:
    """One line for all where all fit, else one per package that does not."""
    if not needed:
        text = "gssl is not installed as a package, so what it needs is not known: pip install -e ."
        return [{"name": "packages", "state": "note", "text": text}]
    wrong = [(text, why) for text in needed if (why := machine.lacks(text))]
    if not wrong:
        return [_check("packages", False, f"all {len(needed)} required packages fit")]
    return [_check("packages", True, f"{why}: pip install '{text}'") for text, why in wrong]


def _torch(found: dict[str, Any]) -> Check:
    if "error" in found:
        return _check("torch", True, f"torch cannot be imported ({found['error']}): install it again")
    return _check("torch", False, f"torch {found['version']} works")


def _compose() -> Check:
    """Whether the configuration files are where they belong."""
    from gssl.config.composing import compose

    try:
        compose("pretrain-ssl")
    except Exception as error:  # whatever a damaged installation raises
        line = " ".join(str(error).split())[:200]
        return _check(
            "configuration", True, f"the default configuration cannot be composed ({line}): install gssl again"
        )
    return _check("configuration", False, "the default configuration composes")


def _disk(name: str, found: dict[str, Any], mend: str) -> Check:
    if found["error"]:
        return _check(name, True, f"{found['path']} cannot be written ({found['error']}): {mend}")
    if found["free"] is not None and found["free"] < LITTLE:
        return _check(name, True, f"{found['path']} has {found['free'] / 1e9:.2f} GB free: {mend}")
    return _check(name, False, f"{found['path']} can be written")


def _gpu(found: dict[str, Any], driver: Callable[[], bool] = Path("/dev/nvidiactl").exists) -> Check | None:
    """A GPU that torch does not use."""
    if "error" in found or found["gpus"] or not driver():
        return None
    why = f"torch {found['version']} is built without CUDA" if not found["cuda"] else "its driver does not fit"
    return {"name": "gpu", "state": "note", "text": f"there is an NVIDIA driver, but torch finds no GPU: {why}"}


def _cores(found: dict[str, Any], torch: dict[str, Any]) -> Check | None:
    """More threads than the control group grants wait for each other."""
    granted = found["quota"]
    if granted is None or "error" in torch or torch["threads"] <= granted + 0.5:
        return None
    text = f"{torch['threads']} threads, but the control group grants {granted:.3g} cores: engine.threads="
    return {"name": "threads", "state": "note", "text": f"{text}{max(1, int(granted))} is quicker"}
