"""The gate before Envoy: every trap of a real Envoy, and that we do not walk into it."""

import asyncio
import json
import stat
import subprocess
from pathlib import Path

import pytest

from headgate.dataplane.validate import EnvoyValidator
from headgate.kit.controls.faults import Unavailable
from headgate.testing.envoy import RealEnvoy, require_envoy

pytestmark = pytest.mark.envoy

TYPE = "type.googleapis.com/envoy.extensions."
SDS = {"name": "cert", "sds_config": {"ads": {}, "resource_api_version": "V3"}}
CLUSTER = {"name": "c", "type": "STATIC", "connect_timeout": "1s"}
ROUTE = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
CORS = {"name": "envoy.filters.http.cors", "typed_config": {"@type": TYPE + "filters.http.cors.v3.Cors"}}
TAP = {
    "name": "envoy.filters.http.tap",
    "typed_config": {
        "@type": TYPE + "filters.http.tap.v3.Tap",
        "common_config": {"admin_config": {"config_id": "x"}},
    },
}
CORS_POLICY = {"envoy.filters.http.cors": {"@type": TYPE + "filters.http.cors.v3.CorsPolicy"}}


def injector(secret):
    """A credential injector that names a static secret."""
    generic = {"@type": TYPE + "http.injected_credentials.generic.v3.Generic", "credential": {"name": secret}}
    return {
        "name": "envoy.filters.http.credential_injector",
        "typed_config": {
            "@type": TYPE + "filters.http.credential_injector.v3.CredentialInjector",
            "credential": {"name": "envoy.http.injected_credentials.generic", "typed_config": generic},
        },
    }


def listening(*filters, route=ROUTE, **chain):
    """A bootstrap with one HTTP listener that has these filters."""
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*filters, router],
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    listener = {"name": "l", "address": address, "filter_chains": [{"filters": [network], **chain}]}
    return {"static_resources": {"listeners": [listener]}}


def upstream_tls(context):
    """A bootstrap with a cluster that has this common TLS context."""
    typed = {"@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": context}
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": typed}
    return {"static_resources": {"clusters": [{**CLUSTER, "transport_socket": socket}]}}


def raw(config, directory):
    """What `envoy --mode validate` ends with when nobody looks before."""
    file = directory / "raw.json"
    file.write_text(json.dumps({"node": {"id": "n", "cluster": "c"}, **config}))
    command = [require_envoy(), "--mode", "validate", "-c", file, "-l", "off"]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode


async def check(config, **options):
    """The gate's verdict."""
    return await EnvoyValidator(require_envoy(), **options).check(config)


async def test_a_good_configuration_passes():
    """What Envoy accepts is accepted."""
    assert await check({"static_resources": {"clusters": [CLUSTER]}}) is None


async def test_a_bad_one_is_refused_with_envoys_reason():
    """The reason is Envoy's sentence, without path, prefix or log noise."""
    bad = {**CLUSTER, "outlier_detection": {"base_ejection_time": "9s", "max_ejection_time": "1s"}}
    reason = await check({"static_resources": {"clusters": [bad]}})
    assert reason == "outlier detector's max_ejection_time cannot be smaller than base_ejection_time"


async def test_tap_without_admin(tmp_path):
    """Tap with admin_config and no admin listener kills Envoy; it is refused before, and passes with an admin."""
    assert raw(listening(TAP), tmp_path) == -11
    assert "tap has admin_config" in (await check(listening(TAP)) or "")
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    assert await check({**listening(TAP), "admin": admin}) is None


async def test_a_credential_that_is_not_there(tmp_path):
    """A credential injector with an unknown static secret kills Envoy; with a known one it passes."""
    assert raw(listening(injector("gone")), tmp_path) == -11
    assert "names the static secret 'gone'" in (await check(listening(injector("gone"))) or "")
    config = listening(injector("there"))
    config["static_resources"]["secrets"] = [{"name": "there", "generic_secret": {"secret": {"inline_string": "x"}}}]
    assert await check(config) is None


async def test_settings_for_a_filter_that_is_not_in_the_chain(tmp_path):
    """Envoy takes them in silence and does nothing with them; here they are refused."""
    route = {**ROUTE, "typed_per_filter_config": CORS_POLICY}
    assert raw(listening(route=route), tmp_path) == 0
    assert "which is not in the listener's chain" in (await check(listening(route=route)) or "")
    assert await check(listening(CORS, route=route)) is None


async def test_a_filter_whose_name_is_not_its_types(tmp_path):
    """Envoy takes any name with a known type, so that per-route settings miss it; here the name must fit."""
    misnamed = {**CORS, "name": "envoy.filters.http.nonsense"}
    assert raw(listening(misnamed), tmp_path) == 0
    assert "its name must be 'envoy.filters.http.cors'" in (await check(listening(misnamed)) or "")
    assert await check(listening({**CORS, "name": "envoy.filters.http.cors/strict"})) is None


@pytest.mark.parametrize(
    "context",
    [
        {"validation_context_sds_secret_config": SDS},
        {"tls_certificate_sds_secret_configs": [SDS, {**SDS, "name": "other"}]},
        {
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a.example"}}]
                },
                "validation_context_sds_secret_config": SDS,
            }
        },
    ],
    ids=["authorities", "certificates", "combined"],
)
async def test_sds_in_a_static_cluster(context, tmp_path):
    """SDS over ADS in a static cluster fails or kills Envoy; a placeholder takes the secret's place."""
    assert raw(upstream_tls(context), tmp_path) != 0
    assert await check(upstream_tls(context)) is None


async def test_sds_in_a_listener():
    """A listener's certificates are placeholders too, in either spelling of the field."""
    for name in ("tls_certificate_sds_secret_configs", "tlsCertificateSdsSecretConfigs"):
        typed = {"@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": {name: [SDS]}}
        socket = {"name": "envoy.transport_sockets.tls", "typed_config": typed}
        assert await check(listening(transport_socket=socket)) is None


async def test_it_is_json_that_envoy_reads():
    """A name that YAML would take for false stays a name."""
    assert await check({"static_resources": {"clusters": [{**CLUSTER, "name": "n"}]}}) is None


async def test_the_runtime_of_our_bootstrap_holds():
    """An expression larger than Envoy's own limit is judged by ours."""
    route = {**ROUTE, "match": {"safe_regex": {"regex": "/" + "a" * 200}}}
    assert await check(listening(route=route)) is None
    strict = {"layered_runtime": {"layers": [{"name": "none", "static_layer": {}}]}}
    assert "program size" in (await check({**listening(route=route), **strict}) or "")


async def test_an_unknown_type_is_refused_without_its_echo():
    """A document Envoy cannot parse is not quoted back: it may hold keys."""
    odd = {**CORS, "typed_config": {"@type": TYPE + "filters.http.cors.v3.Nothing", "key": "hush"}}
    reason = await check(listening(odd)) or ""
    assert "could not find @type" in reason
    assert "hush" not in reason


async def test_the_file_is_private_and_goes_away(tmp_path):
    """The configuration lies in a file of mode 0600 while Envoy reads it, and nowhere afterwards."""
    seen = tmp_path / "seen"
    fake = script(tmp_path, f'stat -c %a "$4" > {seen}; cat "$4" >> {seen}; exit 0')
    assert await EnvoyValidator(fake, directory=tmp_path).check({"static_resources": {}}) is None
    mode, document = seen.read_text().split("\n", 1)
    assert mode == "600"
    assert "static_resources" in json.loads(document)
    assert list(tmp_path.glob("envoy-*")) == []


async def test_a_crash_is_a_refusal(tmp_path):
    """Whatever signal ends the child, the configuration is refused, and the signal named."""
    reason = await EnvoyValidator(script(tmp_path, "kill -SEGV $$")).check({})
    assert reason == "Envoy would crash: it died of SIGSEGV while reading the configuration"


async def test_a_child_that_does_not_end_is_ended(tmp_path):
    """After the time limit the child is killed, the file removed, and nobody is blamed."""
    with pytest.raises(Unavailable) as caught:
        await EnvoyValidator(script(tmp_path, "sleep 600"), timeout=0.2, directory=tmp_path).check({})
    assert caught.value.code == "validation_timed_out"
    assert list(tmp_path.glob("envoy-*")) == []


async def test_no_envoy_is_not_a_verdict(tmp_path):
    """When Envoy cannot be started the answer is unavailable, neither yes nor no."""
    with pytest.raises(Unavailable):
        await EnvoyValidator(tmp_path / "gone").check({})


async def test_only_so_many_at_once(tmp_path):
    """Children beyond the limit wait for those that run."""
    running = tmp_path / "running"
    running.mkdir()
    body = f"touch {running}/$$; ls {running} | wc -l >> {tmp_path}/counts; sleep 0.05; rm {running}/$$"
    validator = EnvoyValidator(script(tmp_path, body), concurrency=2)
    await asyncio.gather(*(validator.check({}) for _ in range(8)))
    counts = (tmp_path / "counts").read_text().split()
    assert len(counts) == 8
    assert max(map(int, counts)) <= 2


async def test_nothing_of_our_environment_reaches_the_child(tmp_path, monkeypatch):
    """A token in the environment is not Envoy's to see."""
    monkeypatch.setenv("HEADGATE_TOKEN", "hush")
    await EnvoyValidator(script(tmp_path, f"env > {tmp_path}/env")).check({})
    assert "hush" not in (tmp_path / "env").read_text()


def script(directory: Path, body: str) -> Path:
    """A program that stands in for Envoy."""
    path = directory / "fake-envoy"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(stat.S_IRWXU)
    return path


async def test_serving_dies_of_what_is_refused(tmp_path):
    """The crash is real: an Envoy started on the tap configuration, without admin, does not survive."""
    envoy = RealEnvoy(listening(injector("gone")), tmp_path)
    with pytest.raises(AssertionError, match="exit code"):
        await envoy.start()
    assert envoy.exit_code is not None
    assert envoy.exit_code < 0
