"""Tests of Kubernetes' own ways, on a fake API server that has the faults of real ones."""

import asyncio
import dataclasses
import ssl
import stat
import sys
from collections.abc import AsyncIterator

import pytest

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, PermissionDenied
from headgate.service.registry import KubernetesRegistry
from headgate.service.registry.kube_config import Credentials, access_from
from headgate.service.registry.kube_form import KubeForm, instances_of
from headgate.service.registry.kubernetes import KubeOptions
from headgate.testing.certificates import Authority
from headgate.testing.kubernetes import FakeKubernetes
from tests.service.registry.conftest import quick
from tests.service.registry.nameserver import NameServer
from tests.service.registry.test_conformance import seen


@pytest.fixture
async def kube() -> AsyncIterator[FakeKubernetes]:
    """An API server with one service of two pods."""
    async with FakeKubernetes() as fake:
        fake.put_service("orders", ports={"http": 80}, labels={"headgate.dev/version": "1.2.0"})
        fake.put_slice("orders", {"orders-1": "10.0.0.1", "orders-2": "10.0.0.2"})
        yield fake


@pytest.fixture
async def registry(kube) -> AsyncIterator[KubernetesRegistry]:
    """A client of it."""
    async with client(kube) as made:
        yield made


def client(kube: FakeKubernetes, **options) -> KubernetesRegistry:
    """A client of it."""
    return KubernetesRegistry(KubeOptions(**options), access=kube.access(), policy=quick(call_timeout=1.0))


def ids(snapshot) -> list[str]:
    """The ids."""
    return [each.id for each in snapshot.instances]


def lists(kube: FakeKubernetes) -> list[dict[str, str]]:
    """What was asked of lists so far."""
    return [dict(each.query) for each in kube.asked if "watch" not in each.query]


def watches(kube: FakeKubernetes) -> list[dict[str, str]]:
    """What was asked of watches so far."""
    return [dict(each.query) for each in kube.asked if "watch" in each.query]


async def settled(kube: FakeKubernetes, watching: int = 2) -> None:
    """Return when so many watches are open."""
    async with asyncio.timeout(10):
        while kube.watching != watching:
            await asyncio.sleep(0.01)


async def test_a_watch_that_ended_is_resumed(kube, registry):
    """A watch that ends goes on from its version: nothing is listed again, nothing missed."""
    watch = registry.watch("orders")
    await seen(watch, lambda each: len(each.instances) == 2)
    await settled(kube)
    kube.end_watches()
    kube.put_slice("orders", {"orders-3": "10.0.0.3"})
    snapshot = await seen(watch, lambda each: ids(each) == ["default/orders-3"])
    assert not snapshot.stale
    assert len(lists(kube)) == 2


async def test_a_reset_in_midst_of_an_event_is_resumed(kube, registry):
    """A connection that breaks within an event makes the snapshot stale, and is resumed without a list."""
    watch = registry.watch("orders")
    await seen(watch, lambda each: len(each.instances) == 2)
    await settled(kube)
    kube.cut_watches()
    assert len((await seen(watch, lambda each: each.stale)).instances) == 2
    kube.put_slice("orders", {"orders-3": "10.0.0.3"})
    await seen(watch, lambda each: not each.stale and ids(each) == ["default/orders-3"])
    assert len(lists(kube)) == 2


async def test_what_was_missed_comes_before_what_is_fresh(kube, registry):
    """A resumed watch is not called fresh before it told what was missed."""
    watch = registry.watch("orders")
    await seen(watch, lambda each: len(each.instances) == 2)
    await settled(kube)
    await kube.stop()
    await seen(watch, lambda each: each.stale)
    kube.put_slice("orders", {"orders-3": "10.0.0.3"})
    await kube.start()
    assert ids(await seen(watch, lambda each: not each.stale)) == ["default/orders-3"]


async def test_gone_is_listed_again(kube, registry):
    """After 410 all is listed again, and what was deleted meanwhile is gone; the snapshot is never partial."""
    watch = registry.watch("orders")
    await seen(watch, lambda each: len(each.instances) == 2)
    await settled(kube)
    kube.objects[("endpointslices", "default", "orders-a")]["endpoints"].pop()
    kube.expire()
    snapshot = await seen(watch, lambda each: ids(each) == ["default/orders-1"])
    assert not snapshot.stale
    assert [each.get("resourceVersion") for each in lists(kube)] == ["0", "0", None, None]


async def test_a_version_too_old_on_opening(kube, registry):
    """A server that refuses the version with status 410 is listed anew too."""
    kube.fail("/apis/discovery.k8s.io", status=410, times=1)
    watch = registry.watch("orders")
    assert len((await seen(watch, lambda each: not each.stale)).instances) == 2


async def test_bookmarks_move_the_version_on(kube, registry):
    """A bookmark is asked for, and the watch resumes from it."""
    watch = registry.watch("orders")
    await seen(watch, lambda each: len(each.instances) == 2)
    await settled(kube)
    kube.bookmark()
    version = str(kube.version)
    kube.put_slice("orders", {"orders-3": "10.0.0.3"})
    await seen(watch, lambda each: len(each.instances) == 1)
    kube.end_watches()
    async with asyncio.timeout(10):
        while len(watches(kube)) < 4:
            await asyncio.sleep(0.01)
    assert all(each["allowWatchBookmarks"] == "true" for each in watches(kube))
    assert all(240 <= int(each["timeoutSeconds"]) <= 300 for each in watches(kube))
    assert version in {each["resourceVersion"] for each in watches(kube)[2:]}


async def test_events_told_twice_change_nothing(kube, registry):
    """An event that comes twice is no second snapshot."""
    watch = registry.watch("orders")
    kube.put_slice("orders", {"orders-1": "10.0.0.1"})
    before = await seen(watch, lambda each: len(each.instances) == 1)
    await settled(kube)
    kube.repeat()
    kube.put_slice("orders", {"orders-9": "10.0.0.9"})
    after = await seen(watch, lambda each: ids(each) == ["default/orders-9"])
    assert after.generation == before.generation + 1


async def test_a_silent_watch_is_opened_anew(kube):
    """A watch that says nothing for too long is taken for dead and opened again, which is no outage."""
    async with client(kube, idle=0.1) as registry:
        watch = registry.watch("orders")
        first = await anext(watch)
        async with asyncio.timeout(10):
            while len(watches(kube)) < 6:
                await asyncio.sleep(0.01)
        assert await registry.get("orders") is first
        assert len(lists(kube)) == 2


async def test_slow_lists_give_no_parts(kube, registry):
    """Until both the Service and the slices are listed there is no snapshot, not half of one."""
    kube.fail("/apis/discovery.k8s.io", delay=0.2, times=1)
    assert len((await registry.get("orders")).instances) == 2


async def test_long_lists_come_in_pages(kube, registry, monkeypatch):
    """Lists are asked for in pages, and are complete."""
    monkeypatch.setattr("headgate.service.registry.kube_api.PAGE", 2)
    for number in range(5):
        kube.put_slice("orders", {f"p-{number}": f"10.0.1.{number}"}, name=f"s-{number}")
    assert len((await registry.get("orders")).instances) == 7
    assert any("continue" in each for each in lists(kube))


@pytest.mark.parametrize("status", [429, 500, 503, 403])
async def test_refusals_are_outages(kube, registry, status):
    """A server that is busy, broken or refuses leaves the last snapshot, and is asked again."""
    reasons = []
    registry._observer._observer.failed = lambda _, __, fault: reasons.append(fault.message)
    watch = registry.watch("orders")
    await seen(watch, lambda each: len(each.instances) == 2)
    await settled(kube)
    kube.fail("/", status=status, headers={"retry-after": "0"})
    kube.cut_watches()
    assert len((await seen(watch, lambda each: each.stale)).instances) == 2
    async with asyncio.timeout(10):
        while not any(f"answered {status}" in each for each in reasons):
            await asyncio.sleep(0.01)
    kube.heal()
    await seen(watch, lambda each: not each.stale)


async def test_missing_rights_name_the_role(kube, registry):
    """Who may not read is told which rights are needed."""
    kube.fail("/api/v1", status=403, text={"message": 'services is forbidden: User "x" cannot list'})
    with pytest.raises(PermissionDenied) as raised:
        await registry.services()
    assert raised.value.message.endswith('services is forbidden: User "x" cannot list')
    assert "deploy/kubernetes" in raised.value.hint


async def test_too_large_versions_are_forgotten(kube, registry):
    """A server that is behind (restored from a backup) is listed as it is now, after it said so."""
    watch = registry.watch("orders")
    await seen(watch, lambda each: len(each.instances) == 2)
    await settled(kube)
    kube.version = 50
    for key, item in kube.objects.items():
        kube.objects[key] = {**item, "metadata": {**item["metadata"], "resourceVersion": "50"}}
    kube._history.clear()
    for api in ("/api/", "/apis/"):  # each of the two watches once, whichever is opened first
        kube.fail(api, method="GET", status=410, times=1)
    kube.end_watches()
    kube.put_slice("orders", {"orders-7": "10.0.0.7"})
    await seen(watch, lambda each: ids(each) == ["default/orders-7"])


async def test_several_namespaces(kube):
    """Instances of several namespaces, or of all, are those of one service, told apart by their ids."""
    kube.put_service("orders", namespace="blue")
    kube.put_slice("orders", {"orders-1": "10.1.0.1"}, namespace="blue")
    kube.put_service("other", namespace="red")
    for namespaces in (("default", "blue"), ("*",)):
        async with client(kube, namespaces=namespaces) as registry:
            snapshot = await seen(registry.watch("orders"), lambda each: not each.stale)
            assert ids(snapshot) == ["blue/orders-1", "default/orders-1", "default/orders-2"]
            assert snapshot.instances[0].metadata["namespace"] == "blue"
            assert ("other" in await registry.services()) is (namespaces == ("*",))


async def test_selectors(kube):
    """Only Services that the selector means are found."""
    async with client(kube, selector="team=shop") as registry:
        assert (await registry.get("orders")).instances == ()
        assert await registry.services() == {}
        kube.put_service("orders", labels={"team": "shop"})
        await seen(registry.watch("orders"), lambda each: len(each.instances) == 2)


async def test_rotated_tokens(tmp_path):
    """The token's file is read for each request, so that a rotated one is used."""
    file = tmp_path / "token"
    file.write_text("old")
    async with FakeKubernetes(token="new") as kube:
        kube.put_service("orders")
        access = dataclasses.replace(kube.access(), credentials=Credentials(token_file=str(file)))
        async with KubernetesRegistry(access=access, policy=quick()) as registry:
            watch = registry.watch("orders")
            assert (await anext(watch)).stale
            file.write_text("new\n")
            await seen(watch, lambda each: not each.stale)


async def test_dns_where_the_api_refuses(kube):
    """Where rights are missing, the cluster's DNS is asked, if that is wanted; the API again once DNS fails."""
    async with NameServer() as server:
        server.records["_http._tcp.orders.default.svc.cluster.local", "SRV"] = ["0 1 8080 a.orders.test."]
        kube.fail("/", status=403)
        async with client(kube, dns_fallback=("http",), dns_server=server.server) as registry:
            watch = registry.watch("orders")
            snapshot = await seen(watch, lambda each: not each.stale)
            assert snapshot.instances[0].endpoints == {"http": "http://a.orders.test:8080"}


async def test_names_of_services(kube, registry):
    """A name with dots is that of the Service with dashes in their place."""
    kube.put_service("shop-orders")
    kube.put_slice("shop-orders", {"p": "10.0.0.9"})
    snapshot = await registry.get("shop.orders")
    assert [each.service for each in snapshot.instances] == ["shop.orders"]


SERVICE = {
    "metadata": {
        "name": "orders", "namespace": "shop",
        "labels": {"app.kubernetes.io/version": "1.0.0", "headgate.dev/team": "label", "other": "x"},
        "annotations": {
            "headgate.dev/team": "annotation", "headgate.dev/weight": "2.5", "headgate.dev/contract": "sha256:1",
        },
    },
    "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80}, {"name": "grpc", "port": 50051}]},
}  # fmt: skip


def sliced(*endpoints, family="IPv4", ports=None):
    """An EndpointSlice."""
    listed = [{"name": name, "port": port} for name, port in (ports or {"http": 8080}).items()]
    return {"addressType": family, "endpoints": list(endpoints), "ports": listed}


def test_labels_and_annotations_become_metadata():
    """Version, weight, contract and metadata come from labels and annotations, annotations first."""
    endpoint = {"addresses": ["10.0.0.1"], "targetRef": {"name": "p"}, "zone": "eu-1a", "nodeName": "n1"}
    (made,) = instances_of("orders", SERVICE, [sliced(endpoint)], KubeForm())
    assert (made.id, made.version, made.weight, made.contract) == ("shop/p", "1.0.0", 2.5, "sha256:1")
    assert (made.zone, made.metadata) == ("eu-1a", {"team": "annotation", "namespace": "shop", "node": "n1"})


def test_readiness():
    """Ready is what says so or says nothing; what is not ready or about to end is left out."""
    states = {"yes": {"ready": True}, "nil": {}, "no": {"ready": False}, "bye": {"ready": True, "terminating": True}}
    endpoints = [
        {"addresses": [f"10.0.0.{number}"], "conditions": conditions, "targetRef": {"name": name}}
        for number, (name, conditions) in enumerate(states.items())
    ]
    made = instances_of("orders", SERVICE, [sliced(*endpoints)], KubeForm())
    assert [each.id for each in made] == ["shop/yes", "shop/nil"]


def test_names_of_ports_are_wires():
    """A port's name, or what stands before its dash, is the wire; a table comes first; https is http, secured."""
    ports = {"https": 8443, "grpc-public": 50051, "web": 9000, "": 1}
    endpoint = {"addresses": ["fd00::1"]}
    form = KubeForm(ports={"web": "ws"}, wire="nats")
    (made,) = instances_of("orders", SERVICE, [sliced(endpoint, ports=ports)], form)
    assert made.endpoints == {
        "http": "https://[fd00::1]:8443", "grpc": "[fd00::1]:50051", "ws": "ws://[fd00::1]:9000", "nats": "[fd00::1]:1",
    }  # fmt: skip


def test_two_families_are_one_instance():
    """A pod with addresses of both families is one instance, by IPv4; slices of other ports add wires."""
    old = {"addresses": ["10.0.0.1"], "targetRef": {"name": "p"}}
    new = {"addresses": ["fd00::1"], "targetRef": {"name": "p"}}
    slices = [sliced(new, family="IPv6"), sliced(old), sliced(old, ports={"grpc": 50051})]
    (made,) = instances_of("orders", SERVICE, slices, KubeForm())
    assert made.endpoints == {"http": "http://10.0.0.1:8080", "grpc": "10.0.0.1:50051"}


def test_advertised_by_name():
    """By name, a Service with a virtual address is one instance while a pod is ready; a headless one has its pods'."""
    pods = [
        {"addresses": ["10.0.0.1"], "hostname": "orders-0", "targetRef": {"name": "orders-0"}},
        {"addresses": ["10.0.0.2"]},
    ]
    form = KubeForm(advertise="dns")
    (one,) = instances_of("orders", SERVICE, [sliced(*pods)], form)
    assert one.endpoints["http"] == "http://orders.shop.svc.cluster.local:80"
    assert instances_of("orders", SERVICE, [sliced()], form) == []
    headless = {**SERVICE, "spec": {**SERVICE["spec"], "clusterIP": "None"}}
    assert [each.endpoints["http"] for each in instances_of("orders", headless, [sliced(*pods)], form)] == [
        "http://orders-0.orders.shop.svc.cluster.local:8080",
        "http://10-0-0-2.shop.pod.cluster.local:8080",
    ]


def test_external_names():
    """A Service that stands for a name outside is one instance at that name."""
    spec = {"type": "ExternalName", "externalName": "pay.example", "ports": [{"name": "https", "port": 443}]}
    (made,) = instances_of("pay", {"metadata": {"namespace": "shop"}, "spec": spec}, [], KubeForm())
    assert made.endpoints == {"http": "https://pay.example:443"}


def write(path, **user):
    """Write a kubeconfig; its path."""
    path.write_text(
        f"""
current-context: one
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:1"}}}}]
users: [{{name: u, user: {user!r}}}]
contexts: [{{name: one, context: {{cluster: c, user: u, namespace: shop}}}}, {{name: bad, context: {{cluster: x}}}}]
"""
    )
    return str(path)


async def test_kubeconfig(tmp_path, monkeypatch):
    """A kubeconfig says where, who and which namespace; KUBECONFIG and the context are those of kubectl."""
    path = write(tmp_path / "config", token="t")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{path}")
    access = access_from()
    assert (access.server, access.namespace, await access.credentials.bearer()) == ("http://127.0.0.1:1", "shop", "t")
    assert "token='t'" not in repr(access)
    with pytest.raises(FailedPrecondition, match="there is no 'x' in clusters"):
        access_from(path, context="bad")
    with pytest.raises(FailedPrecondition, match="there is no 'none' in contexts"):
        access_from(path, context="none")
    with pytest.raises(FailedPrecondition) as raised:
        access_from(str(tmp_path / "absent"))
    assert raised.value.code == "no_kubernetes"


async def test_token_files_stand_beside(tmp_path):
    """Paths in a kubeconfig are relative to it."""
    (tmp_path / "token").write_text("from-file\n")
    access = access_from(write(tmp_path / "config", tokenFile="token"))
    assert await access.credentials.bearer() == "from-file"


async def test_in_cluster(tmp_path, monkeypatch):
    """In a cluster the service account's files say who, and the environment where."""
    Authority().write(tmp_path / "ca.crt")
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("shop\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    access = access_from(service_account=str(tmp_path))
    assert (access.server, access.namespace) == ("https://[fd00::1]:6443", "shop")
    assert access.tls.verify_mode is ssl.CERT_REQUIRED
    assert await access.credentials.bearer() == "t"


async def test_exec_plugins(tmp_path):
    """An exec plugin's token is kept until it expires, or is refused."""
    script = tmp_path / "plugin"
    script.write_text(
        f"""#!{sys.executable}
import json, os, pathlib
assert json.loads(os.environ["KUBERNETES_EXEC_INFO"])["kind"] == "ExecCredential"
count = pathlib.Path({str(tmp_path / "count")!r})
count.write_text(str(int(count.read_text() if count.exists() else 0) + 1))
print(json.dumps({{"status": {{"token": os.environ["MINE"] + count.read_text(),
                               "expirationTimestamp": "2999-01-01T00:00:00Z"}}}}))
"""
    )
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    version = "client.authentication.k8s.io/v1"
    plugin = {"apiVersion": version, "command": str(script), "env": [{"name": "MINE", "value": "t"}]}
    credentials = access_from(write(tmp_path / "config", exec=plugin)).credentials
    assert [await credentials.bearer(), await credentials.bearer()] == ["t1", "t1"]
    credentials.refused()
    assert await credentials.bearer() == "t2"


@pytest.mark.parametrize("wrong", [{"namespaces": ("*", "a")}, {"idle": 0}, {"form": KubeForm(advertise="ip")}])
def test_impossible_options_are_refused(wrong):
    """Options that cannot be are refused by name."""
    with pytest.raises(InvalidArgument) as raised:
        KubeOptions(**wrong)
    assert raised.value.violations[0].pointer == f"/{next(iter(wrong))}"
