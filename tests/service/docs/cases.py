"""The services that documents and clients are made of in these tests: the inputs of the golden pairs."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from headgate.service import Contract

ROOT = Path(__file__).parents[2] / "golden" / "service"
CASES = sorted(path.parent.name for path in ROOT.glob("*/in.py"))


@cache
def module_of(case: str) -> ModuleType:
    """The module that a case's services are written in."""
    spec = importlib.util.spec_from_file_location(f"golden_service_{case}", ROOT / case / "in.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def contracts_of(case: str) -> list[Contract]:
    """The contracts of a case's services."""
    return [service.contract() for service in module_of(case).SERVICES]
