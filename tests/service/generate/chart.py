"""The part of Helm's templates that the charts of new projects use: `range` over a map, values, and a few functions.

documents = rendered(project("hello"))      # every object of the chart, as Kubernetes would be given it
"""

import json
import re

import yaml

RELEASE = {"Name": "test", "Namespace": "shop"}
_ACTION = re.compile(r"(?P<trim>\s*(?=\{\{-))?\{\{-?\s*(?P<text>.*?)\s*\}\}", re.DOTALL)


def rendered(texts):
    """The objects of a chart's templates, with the chart's own values."""
    known = {
        "Values": yaml.safe_load(texts["chart/values.yaml"]),
        "Chart": {"Name": yaml.safe_load(texts["chart/Chart.yaml"])["name"]},
        "Release": RELEASE,
    }
    templates = [text for path, text in texts.items() if path.startswith("chart/templates/")]
    documents = [each for text in templates for each in yaml.safe_load_all(_block(_pieces(text), known, {}))]
    return [each for each in documents if each is not None]


def _pieces(text):
    """Text and actions in turn; actions are lists of one."""
    at, found = 0, []
    for match in _ACTION.finditer(text):
        found += [text[at : match.start()], [match["text"]]]
        at = match.end()
    return [*found, text[at:]]


def _block(pieces, known, variables):
    """What pieces say, up to the `end` that closes them."""
    said, pieces = [], list(pieces)
    while pieces:
        piece = pieces.pop(0)
        if isinstance(piece, str):
            said.append(piece)
        elif piece[0].startswith("range "):
            inner, pieces = _inner(pieces)
            key, value, over = re.fullmatch(r"range \$(\w+), \$(\w+) := (\S+)", piece[0]).groups()
            for name, each in sorted(_value(over, known, variables).items()):
                said.append(_block(inner, known, {**variables, key: name, value: each}))
        else:
            said.append(_text(_piped(piece[0], known, variables)))
    return "".join(said)


def _inner(pieces):
    depth = 1
    for index, piece in enumerate(pieces):
        if isinstance(piece, list):
            depth += piece[0].startswith("range ") - (piece[0] == "end")
        if depth == 0:
            return pieces[:index], pieces[index + 1 :]
    raise AssertionError("a range has no end")


def _piped(text, known, variables):
    value = None
    for number, call in enumerate(text.split(" | ")):
        name, *given = call.split()
        arguments = [_value(each, known, variables) for each in given]
        value = (
            _call(name, [*arguments, *([value] if number else [])])
            if number or given
            else _value(name, known, variables)
        )
    return value


def _call(name, arguments):
    if name == "quote":
        return json.dumps(_text(arguments[0]))
    if name == "add":
        return sum(arguments)
    if name == "toYaml":
        return yaml.safe_dump(arguments[0]).rstrip()
    assert name == "nindent", f"no function {name}"
    return "".join(f"\n{' ' * arguments[0]}{line}" for line in arguments[1].splitlines())


def _value(word, known, variables):
    if word.isdigit():
        return int(word)
    first, *steps = word.split(".")
    value = known if first in ("", "$") else variables[first.removeprefix("$")]
    for step in steps:
        value = value[step]
    return value


def _text(value):
    return str(value)
