"""The chart as Helm renders it: objects that Kubernetes takes, restricted pods, denied networks, refused values."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from typing import Any

import helm
import pytest
import yaml
from engine import ROOT, VERSION

from flaas_jupyter.communications.mesh_settings import MeshSettings

CHART = ROOT / "deploy/helm/flaas"
KEY = "a" * 64
JOINING = {
    "organisation": "clinic-a",
    "project": "credit",
    "domainKey": KEY,
    "apiUrl": "https://flaas.example",
    "caFingerprint": f"sha256:{KEY}",
}
PARTS: dict[str, dict[str, Any]] = {
    "api": {
        "enabled": True,
        "publicUrl": "https://flaas.example",
        "tlsSecret": "api-tls",
        "keySecret": "api-key",
        "databaseSecret": "database",
    },
    "node": {"enabled": True, "name": "clinic-a-1", "enrolmentSecret": "node", "dataClaim": "tables", **JOINING},
    "relay": {"enabled": True, "name": "hub", "enrolmentSecret": "relay", "tlsSecret": "relay-tls", **JOINING},
    "postgresql": {"enabled": True, "passwordSecret": "postgresql"},
}

pytestmark = pytest.mark.skipif(helm.find() is None, reason=helm.MISSING)


def helm_says(*words: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    program = helm.find()
    assert program is not None
    return subprocess.run(
        [program, *words, str(CHART), "--values=-"],
        input=yaml.safe_dump(values),
        capture_output=True,
        text=True,
        check=False,
    )


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object of a release named ``trial``."""
    done = helm_says("template", "trial", values=values)
    assert done.returncode == 0, done.stderr
    return [entry for entry in yaml.safe_load_all(done.stdout) if entry]


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Pod templates, by the name of what makes them."""
    return {
        each["metadata"]["name"]: each["spec"]["template"] for each in objects if "template" in each.get("spec", {})
    }


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


COMBINATIONS = [
    dict(zip(chosen, (PARTS[part] for part in chosen), strict=True))
    for number in range(len(PARTS) + 1)
    for chosen in itertools.combinations(PARTS, number)
] + [{"node": {**PARTS["node"], "tls": {"enabled": True, "announce": []}}}]


@pytest.mark.parametrize("values", COMBINATIONS, ids=lambda values: "+".join(values) or "nothing")
def test_kubernetes_takes_every_object_of_every_combination(values: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    objects = rendered(values)
    for each in objects:
        kubernetes_validate.validate(each, "1.32", strict=True)
    assert len({(each["kind"], each["metadata"]["name"]) for each in objects}) == len(objects)
    assert set(pods(objects)) == {f"trial-{part}" for part in values}


def test_helm_has_nothing_to_find_fault_with() -> None:
    done = helm_says("lint", "--strict", values=PARTS)
    assert done.returncode == 0, done.stdout


def test_pods_meet_the_restricted_standard_and_know_nothing_of_the_cluster() -> None:
    for name, template in pods(rendered(PARTS)).items():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert not container["image"].endswith(":latest")
        for container in spec["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume]


def test_own_images_are_those_of_this_version() -> None:
    for name, template in pods(rendered(PARTS)).items():
        if name != "trial-postgresql":
            part = name.removeprefix("trial-")
            assert template["spec"]["containers"][0]["image"] == f"localhost/flaas-{part}:{VERSION}"


def test_each_mount_has_its_volume_and_each_service_its_pods_and_port() -> None:
    objects = rendered(PARTS)
    for template in pods(objects).values():
        spec = template["spec"]
        claims = {"home", "data"}  # volumeClaimTemplates of the StatefulSets
        volumes = {volume["name"] for volume in spec["volumes"]} | claims
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    for service in (each for each in objects if each["kind"] == "Service"):
        chosen = [
            template
            for template in pods(objects).values()
            if matches({"matchLabels": service["spec"]["selector"]}, template["metadata"]["labels"])
        ]
        assert len(chosen) == 1, service["metadata"]["name"]
        names = {port["name"] for container in chosen[0]["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_all_pods_are_denied_everything_and_only_what_is_named_is_let_through() -> None:
    objects = rendered(PARTS)
    policies = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "NetworkPolicy"}
    denied = policies.pop("trial-deny")
    assert set(denied["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(denied)
    for name, template in pods(objects).items():
        labels = template["metadata"]["labels"]
        assert matches(denied["podSelector"], labels)
        assert [policy for policy, spec in policies.items() if matches(spec["podSelector"], labels)] == [name]
    for name, spec in policies.items():
        rules = [*spec.get("ingress", []), *spec.get("egress", [])]
        assert all(rule.get("ports") for rule in rules), f"{name} lets every port through"
    assert policies["trial-postgresql"]["policyTypes"] == ["Ingress"]
    assert "egress" not in policies["trial-postgresql"]


def test_a_node_speaks_tls_where_it_is_told_to(tmp_path: Path) -> None:
    def opened(values: dict[str, Any]) -> list[tuple[dict[str, Any], ...]]:
        objects = rendered({"node": {**PARTS["node"], **values}})
        named = {(each["kind"], each["metadata"]["name"]): each for each in objects}
        policy = named["NetworkPolicy", "trial-node"]["spec"]["ingress"]
        service = named["Service", "trial-node"]["spec"]["ports"]
        assert (("ConfigMap", "trial-node") in named) == bool(values)
        return [tuple(port for rule in policy for port in rule["ports"]), tuple(service)]

    udp = {"name": "mesh", "port": 41641, "targetPort": "mesh", "protocol": "UDP"}
    assert opened({}) == [({"port": "mesh", "protocol": "UDP"},), (udp,)]
    announced = ["203.0.113.7:443", "[2001:db8::7]:443"]
    tls = {"tls": {"enabled": True, "announce": announced}}
    assert opened(tls) == [
        ({"port": "mesh", "protocol": "UDP"}, {"port": "mesh-tls"}),
        (udp, {"name": "mesh-tls", "port": 8443, "targetPort": "mesh-tls"}),
    ]
    objects = rendered({"node": {**PARTS["node"], **tls}})
    [told] = [each["data"]["mesh.toml"] for each in objects if each["kind"] == "ConfigMap"]
    (tmp_path / "mesh.toml").write_text(told)
    settings = MeshSettings.load(tmp_path / "mesh.toml", api="https://flaas.example")
    assert settings.listen_tls == ("0.0.0.0:8443", "[::]:8443")
    assert settings.announce_tls == tuple(announced)
    [container] = pods(objects)["trial-node"]["spec"]["containers"]
    assert {"name": "mesh-tls", "containerPort": 8443} in container["ports"]
    assert "/var/lib/flaas/mesh.toml" in {mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("part", ["node", "relay"])
def test_a_part_behind_a_proxy_is_told_the_way_out_also_when_it_joins(part: str) -> None:
    proxy = {"HTTPS_PROXY": "http://proxy.clinic.example:3128", "NO_PROXY": "10.0.0.0/8"}
    objects = rendered({part: {**PARTS[part], "env": proxy, "envSecret": "proxy", "egressPorts": [3128]}})
    spec = pods(objects)[f"trial-{part}"]["spec"]
    for container in (*spec["initContainers"], *spec["containers"]):
        assert proxy.items() <= {entry["name"]: entry.get("value") for entry in container["env"]}.items()
        assert container["envFrom"] == [{"secretRef": {"name": "proxy"}}]
    plain = pods(rendered({part: PARTS[part]}))[f"trial-{part}"]["spec"]
    assert not any("envFrom" in container for container in (*plain["initContainers"], *plain["containers"]))


def test_mesh_toml_is_what_it_was_told_to_be(tmp_path: Path) -> None:
    more = 'direct = "only"\n[proxy]\nmode = "http://proxy.clinic.example:3128"\n'
    objects = rendered({"node": {**PARTS["node"], "mesh": more, "tls": {"enabled": True, "announce": []}}})
    [told] = [each["data"]["mesh.toml"] for each in objects if each["kind"] == "ConfigMap"]
    (tmp_path / "mesh.toml").write_text(told)
    settings = MeshSettings.load(tmp_path / "mesh.toml", api="https://flaas.example")
    assert (settings.direct, settings.proxy) == ("only", "http://proxy.clinic.example:3128")
    assert settings.listen_tls


def test_nobody_scrapes_unless_a_namespace_is_named() -> None:
    def scraped(values: dict[str, Any]) -> int:
        policies = [each["spec"] for each in rendered(values) if each["kind"] == "NetworkPolicy"]
        rules = [rule for spec in policies for rule in spec.get("ingress", [])]
        return sum({"port": "metrics"} in rule["ports"] for rule in rules)

    assert scraped(PARTS) == 0
    named = {"monitoringNamespace": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert scraped({**PARTS, "networkPolicy": named}) == 3


def test_secrets_are_named_and_never_made() -> None:
    objects = rendered(PARTS)
    assert not [each for each in objects if each["kind"] == "Secret"]
    for template in pods(objects).values():
        for container in template["spec"]["containers"]:
            for entry in container.get("env", []):
                if any(word in entry["name"] for word in ("PASSWORD", "SECRETS_KEY", "TOKEN")):
                    assert "valueFrom" in entry or entry["name"].endswith("_FILE"), entry


@pytest.mark.parametrize(
    ("part", "changed", "said"),
    [
        ("node", {"domainKey": "abc"}, "domainKey"),
        ("node", {"domainKey": ""}, "domainKey"),
        ("node", {"apiUrl": "http://flaas.example"}, "apiUrl"),
        ("node", {"enrolmentSecret": ""}, "node.enrolmentSecret"),
        ("node", {"tls": {"enabled": True, "announce": ["clinic.example:8443"]}}, "node.tls.announce"),
        ("node", {"replicas": 3}, "replicas"),
        ("api", {"publicUrl": ""}, "api.publicUrl"),
        ("api", {"keySecret": ""}, "api.keySecret"),
        ("api", {"databaseSecret": ""}, "postgresql.enabled"),
        ("relay", {"tlsSecret": ""}, "relay.tlsSecret"),
        ("relay", {"env": {"PATH ": "x"}}, "relay.env"),
        ("postgresql", {"image": "postgres:latest"}, "postgresql.image"),
    ],
)
def test_wrong_values_are_refused_with_their_name(part: str, changed: dict[str, Any], said: str) -> None:
    done = helm_says("template", "trial", values={part: {**PARTS[part], **changed}})
    assert done.returncode != 0
    assert said in done.stderr
