"""deploy/kubernetes and compose-many: what Kubernetes, docker-compose and Caddy make of them."""

import os
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from deploy_programs import SCRIPTS, compose_program

from deepfood.config import PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
MANY = DEPLOY / "compose-many"


class Strict(yaml.SafeLoader):
    """Refuses what YAML allows and nobody means: a key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(keys) == len(set(keys)), f"a key twice: {keys}"
        return super().construct_mapping(node, deep)


def documents() -> list[dict[str, Any]]:
    return [
        document
        for path in sorted(KUBERNETES.glob("*.yaml"))
        if path.name not in ("kustomization.yaml", "milvus-values.yaml")
        for document in yaml.load_all(path.read_text(encoding="utf-8"), Strict)
    ]


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The templates of all pods that come of an object."""
    spec = document.get("spec", {})
    if document["kind"] == "RayJob":  # KubeRay's own; without submitterPodTemplate it makes one
        cluster = spec["rayClusterSpec"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        return [spec["submitterPodTemplate"], *(group["template"] for group in groups)]
    return [spec["template"]] if "template" in spec else []


@pytest.mark.parametrize("document", documents(), ids=lambda one: one["kind"])
def test_kubernetes_takes_each_object(document: dict[str, Any]) -> None:
    if document["kind"] == "RayJob":  # its pods are what Kubernetes knows of
        for template in pods(document):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
            kubernetes_validate.validate({**pod, **template}, "1.31", strict=True)
        return
    kubernetes_validate.validate(document, "1.31", strict=True)


def faults_of(pod: dict[str, Any]) -> list[str]:
    """What the policy `restricted` refuses in a pod's template (Pod Security Standards)."""
    spec = pod["spec"]
    said = spec.get("securityContext", {})
    faults = [] if said.get("runAsNonRoot") is True else ["may run as root"]
    if said.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        faults.append("no seccomp profile")
    faults += [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    kinds = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    for volume in spec.get("volumes", []):
        faults += [f"volume {kind}" for kind in set(volume) - {"name"} - kinds]
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            faults.append("may gain privileges")
        if "ALL" not in own.get("capabilities", {}).get("drop", []):
            faults.append("keeps capabilities")
        faults += [name for name in ("privileged",) if own.get(name)]
        faults += ["host port" for port in container.get("ports", []) if "hostPort" in port]
    return faults


def test_the_namespace_s_policy_takes_every_pod() -> None:
    (namespace,) = (one for one in documents() if one["kind"] == "Namespace")
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    templates = [(one["kind"], pod) for one in documents() for pod in pods(one)]
    assert [kind for kind, _ in templates].count("RayJob") == 3
    for kind, pod in templates:
        assert faults_of(pod) == [], kind
    bare = {"spec": {"containers": [{"name": "x"}]}}
    assert len(faults_of(bare)) == 4


def test_a_proxy_s_word_for_the_client_is_taken_where_there_is_one() -> None:
    """Or rate limits would see one client, the proxy."""
    (told,) = (one["data"] for one in documents() if one["kind"] == "ConfigMap")
    compose = yaml.load((MANY / "compose.yaml").read_text(), Strict)
    (many,) = (one for name, one in compose["services"].items() if name == "deepfood")
    for environment, proxy in ((told, "10.4.0.7"), (many["environment"], "172.18.0.3")):
        networks = environment["DEEPFOOD_TRUSTED_PROXIES"].split()
        assert any(ip_address(proxy) in ip_network(network) for network in networks)
        assert not any(ip_address("93.184.216.34") in ip_network(one) for one in networks)


def test_the_check_refuses_what_kubernetes_would() -> None:
    (deployment,) = (one for one in documents() if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagee"] = "deepfood"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.31", strict=True)


def test_every_file_is_applied_and_named() -> None:
    about = yaml.load((KUBERNETES / "kustomization.yaml").read_text(), Strict)
    files = {path.name for path in KUBERNETES.glob("*.yaml")}
    assert {*about["resources"], "kustomization.yaml", "milvus-values.yaml"} == files
    yaml.load((KUBERNETES / "milvus-values.yaml").read_text(), Strict)


def names_in(value: Any) -> set[str]:
    """Every variable of ours, as a key or as the name of one."""
    if isinstance(value, dict):
        return set(value).union(*map(names_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(names_in, value))
    return {value} if isinstance(value, str) else set()


def test_what_deepfood_is_told_are_settings() -> None:
    compose = yaml.load((MANY / "compose.yaml").read_text(), Strict)
    told = {
        name for name in names_in([*documents(), compose["services"]]) if name.startswith(PREFIX)
    }
    assert len(told) > 5
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert told <= known


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"]}


def in_bytes(quantity: str) -> int:
    return int(quantity.removesuffix("Gi")) * 2**30


#: A server after 200 searches has 205 MB (docs/performance.md), a worker on Ray no more.
SERVICE_BYTES = 300 * 2**20


def test_a_server_fits_into_its_memory() -> None:
    (deployment,) = (one for one in documents() if one["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    told, resources = environment(container), container["resources"]
    # Without threads it would take every core that the node has, and memory for each.
    assert told["DEEPFOOD_THREADS"] == resources["requests"]["cpu"]
    defaults = Settings.model_fields
    most = SERVICE_BYTES + int(told["DEEPFOOD_MAX_DECODING_BYTES"])
    for name in ("max_upload_bytes_at_once", "thumbnail_cache_bytes"):
        most += defaults[name].default
    assert most * 1.5 < in_bytes(resources["limits"]["memory"])
    # A photo of as many pixels as are allowed can be decoded, in most formats: 4 bytes each.
    assert int(told["DEEPFOOD_MAX_DECODING_BYTES"]) > 4.5 * defaults["max_photo_pixels"].default


def test_workers_on_ray_fit_into_their_memory() -> None:
    (job,) = (one for one in documents() if one["kind"] == "RayJob")
    for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        limits, told = container["resources"]["limits"], environment(container)
        each = SERVICE_BYTES + int(told["DEEPFOOD_MAX_DECODING_BYTES"])
        assert int(limits["cpu"]) * each * 1.5 < in_bytes(limits["memory"])


def test_secrets_are_in_no_file() -> None:
    assert all(one["kind"] != "Secret" for one in documents())


def test_compose_takes_the_file_of_many(tmp_path: Path) -> None:
    filled = tmp_path / ".env"
    lines = (MANY / "example.env").read_text(encoding="utf-8").splitlines()
    filled.write_text("\n".join(f"{x}food.example" if x.endswith("=") else x for x in lines))
    command: list[str | Path] = [
        compose_program(),
        "--env-file",
        filled,
        "-f",
        MANY / "compose.yaml",
    ]
    bare = {"PATH": os.environ["PATH"]}
    done = subprocess.run([*command, "config"], capture_output=True, text=True, env=bare)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    text = filled.read_text()
    filled.write_text(text.replace("GALLERY=food.example", ""))
    done = subprocess.run([*command, "config"], capture_output=True, text=True, env=bare)
    assert done.returncode != 0
    assert "GALLERY" in done.stderr


def test_caddy_takes_its_file_as_it_is_and_well_formed(tmp_path: Path) -> None:
    caddyfile = MANY / "Caddyfile"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environment |= {"SITE": "food.example", "ACME_EMAIL": "you@food.example"}
    command: list[str | Path] = [SCRIPTS / "caddy", "adapt", "--validate", "--config", caddyfile]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "not formatted" not in done.stderr
