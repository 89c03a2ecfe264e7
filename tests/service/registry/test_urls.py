"""Tests of registries from URLs."""

import subprocess
import sys

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.registry import Instance, registry_from
from tests.service.registry.conftest import quick

KUBECONFIG = """
current-context: one
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: one, context: {cluster: c, namespace: shop}}]
"""


async def test_memory_is_shared_by_name():
    """Registries of the same memory URL share what is registered; those of other names do not."""
    one, two, other = (registry_from(f"memory://{name}", policy=quick()) for name in ("t-1", "t-1", "t-2"))
    async with one, two, other, await one.register(Instance(id="a", service="orders")):
        assert len((await two.get("orders")).instances) == 1
        assert (await other.get("orders")).instances == ()


async def test_every_parameter_is_taken(tmp_path):
    """What a URL says becomes the options of its registry."""
    config = tmp_path / "config"
    config.write_text(KUBECONFIG)
    file = registry_from(f"file://{tmp_path}/a%20b.yaml?interval=2&ttl=9")
    assert (file.path, file.interval, file.ttl) == (tmp_path / "a b.yaml", 2.0, 9.0)
    dns = registry_from("dns://10.0.0.2:5353/internal.example?wires=http,grpc&resolve=true")
    assert (dns.domain, dns.options.server, dns.options.wires) == (
        "internal.example",
        "10.0.0.2:5353",
        ("http", "grpc"),
    )
    consul = registry_from("consul://[::1]:8501?dc=eu&token_file=/t&consistency=stale&wait=30&check=http&tags=a,b")
    assert (consul.options.dc, consul.options.token_file, consul.options.wait) == ("eu", "/t", 30.0)
    assert (consul.options.consistency, consul.options.check, consul.options.tags) == ("stale", "http", ("a", "b"))
    url = f"kubernetes://?kubeconfig={config}&namespace=a,b&selector=team%3Dx&advertise=dns&ports=web:http&idle=5"
    kube = registry_from(url)
    assert (kube.namespaces, kube.options.selector, kube.options.idle) == (("a", "b"), "team=x", 5.0)
    assert (kube.options.form.advertise, kube.options.form.ports) == ("dns", {"web": "http"})
    assert registry_from(f"kubernetes://?kubeconfig={config}").namespaces == ("shop",)


@pytest.mark.parametrize(
    ("url", "pointer", "said"),
    [
        ("etcd://x", "", "no registry 'etcd'"),
        ("orders", "", "no registry ''"),
        ("consul://h:x", "", "no URL"),
        ("consul://h/kv", "/path", "takes no path"),
        ("consul://u:hunter2@h", "", "must not carry"),
        ("consul://h?token=hunter2", "/query/token", "unknown parameter 'token'"),
        ("consul://h?dc=a&dc=b", "/query/dc", "given twice"),
        ("consul://h?wait=soon", "/query/wait", "no number of seconds"),
        ("dns://ns.example/x", "", "no address of a DNS server"),
        ("dns:///x?port=a", "/query/port", "no whole number"),
        ("file://host/x", "/path", "no host"),
        ("file:///", "/path", "has a path"),
        ("memory:///x", "/path", "takes no path"),
        ("kubernetes://host", "", "no host"),
        ("kubernetes://?ports=web", "/query/ports", "PORT:WIRE"),
        ("memory://#x", "", "fragment"),
    ],
)
def test_bad_urls_are_refused_with_where(url, pointer, said):
    """A URL that means no registry is refused with the part that is wrong, and without its secrets."""
    with pytest.raises(InvalidArgument) as raised:
        registry_from(url)
    assert said in raised.value.message
    assert "hunter2" not in raised.value.message
    if raised.value.violations:
        assert raised.value.violations[0].pointer == pointer


def test_misspelt_parameters_have_a_hint():
    """A parameter that is nearly right is told the right one."""
    with pytest.raises(InvalidArgument) as raised:
        registry_from("consul://h?token_fiel=/t")
    assert raised.value.violations[0].hint == "did you mean 'token_file'?"


def test_no_library_is_imported_before_it_is_used():
    """The room and the memory registry need none of the libraries that others do."""
    code = (
        "import sys; import headgate.service.registry as r; r.registry_from('memory://');"
        "print([m for m in ('httpx', 'dns', 'yaml', 'lightkube', 'pydantic', 'starlette') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
