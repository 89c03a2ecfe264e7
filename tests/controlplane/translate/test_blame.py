"""Reading refusals: several resources in one text, copies of resources, and words nobody knows."""

from headgate.controlplane.model.rows import Row, RowChange
from headgate.controlplane.translate.blame import blame, explained
from headgate.controlplane.translate.compile import TeamCompiler
from headgate.controlplane.translate.resource import LISTENER, SECRET, Resource


def listener(name, port):
    """The resource of a TCP listener."""
    document = {
        "port": port,
        "filter_chains": [{"name": "tcp", "tcp": {"cluster": "c", "access_logs": [{"text_format": "%A%"}]}}],
    }
    snapshot = TeamCompiler("team", system_ca="").apply([RowChange(None, Row("listener", name, document))], 1)
    return snapshot.resources[LISTENER][f"team/{name}"]


REFUSAL = (
    "Error adding/updating listener(s) team/one: cannot bind '127.0.0.1:80': Permission denied\n"
    "team/two: Not supported field in StreamInfo: A\n"
)


def test_each_resource_gets_its_own_part():
    """In a refusal of several listeners each is blamed for what is said of it."""
    one, two = blame(listener("one", 80), REFUSAL), blame(listener("two", 81), REFUSAL)
    assert (one.pointer, one.explanation) == ("/port", "cannot bind '127.0.0.1:80': Permission denied")
    assert two.pointer == "/filter_chains/0/tcp/access_logs/0/text_format"
    assert two.explanation == "Not supported field in StreamInfo: A"


def test_unknown_words_lead_to_the_document():
    """A refusal nobody has a pattern for still names the document, and keeps Envoy's words."""
    assert blame(listener("one", 80), "the moon is wrong") == ("listener", "one", "", "the moon is wrong")


def test_a_resource_of_no_row_blames_nobody():
    """The built-in secret has no author."""
    builtin = Resource(SECRET, "team/_system-ca", "1", b"")
    assert blame(builtin, "Failed to load trusted CA certificates from <inline>")[:3] == ("", "", "")


def test_damaged_bytes_still_name_the_row():
    """A resource that does not decode is blamed as a whole."""
    damaged = Resource(LISTENER, "team/one", "1", b"\xff\xff", source=("listener", "one"))
    assert blame(damaged, "no")[:3] == ("listener", "one", "")


def test_the_copy_of_the_resource_is_left_out():
    """Envoy's text form of a refused resource, keys and all, does not reach the explanation."""
    text = (
        'goo.gle/debugonly  \nname: "s"\ntls_certificate {\n private_key { inline_string: "hush" }\n}\n'
        ": Proto constraint validation failed (SecretValidationError.Name: value is required)"
    )
    assert explained(text) == "SecretValidationError.Name: value is required"
    assert explained('Field missing in: goo.gle/debugstr  \nprivate_key: "hush"') == "Field missing in"
    assert explained("") == "Envoy gave no reason"
