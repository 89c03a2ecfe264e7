"""Golden pairs: services (`in.py`), and the documents and clients they become (`out.*`).

`HEADGATE_REWRITE_GOLDEN=1 pytest tests/service/docs` writes the outputs anew; read the difference before committing it.
"""

import json
import os

import pytest

from headgate.service.docs import asyncapi, mcp_tools, openapi, python_client, typescript_client
from tests.service.docs.cases import CASES, ROOT, contracts_of


def written(case: str) -> dict[str, str]:
    """Every output of a case, by the name of its file."""
    contracts = contracts_of(case)
    servers = {"nats": "nats://127.0.0.1:4222", "socket": "ws://127.0.0.1:8080"}
    documents = {
        "openapi": openapi(contracts, title=case, version="1.0.0", servers=["https://api.example.com"]),
        "asyncapi": asyncapi(contracts, title=case, version="1.0.0", servers=servers),
        "mcp": mcp_tools(contracts),
    }
    found = {f"out.{name}.json": f"{json.dumps(each, indent=2)}\n" for name, each in documents.items()}
    for contract in contracts:
        found[f"out.{contract.title.lower()}.py"] = python_client(contract)
        found[f"out.{contract.title.lower()}.ts"] = typescript_client(contract)
    return found


@pytest.mark.parametrize("case", CASES)
def test_golden_pairs(case: str) -> None:
    """Services become the documents and clients that stand beside them, to the letter."""
    for name, text in written(case).items():
        file = ROOT / case / name
        if os.environ.get("HEADGATE_REWRITE_GOLDEN"):
            file.write_text(text)
        assert file.read_text() == text, f"{file} differs; see the module for how to rewrite it"


@pytest.mark.parametrize("case", CASES)
def test_contracts_and_their_documents_become_the_same(case: str) -> None:
    """The document of a contract, as another process publishes it, serves as well as the contract."""
    fetched = [json.loads(json.dumps(contract.document)) for contract in contracts_of(case)]

    assert openapi(fetched) == openapi(contracts_of(case))
    assert asyncapi(fetched) == asyncapi(contracts_of(case))
    assert mcp_tools(fetched) == mcp_tools(contracts_of(case))
