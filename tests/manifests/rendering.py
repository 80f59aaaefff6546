"""What Seldon's operator makes of a manifest: Deployments and Services.

Follows Seldon Core 1.19 for custom containers in the namespace `default`, with the defaults of its
Helm chart. `test_rendering.py` compares every field with what the real operator rendered.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tests.manifests.document import (
    EXECUTOR,
    EXECUTOR_PORTS,
    LONGEST_NAME,
    SERVICE_NAME,
    Fields,
    Ports,
    assigned_ports,
    brings_executor,
    built_in,
    has_executor,
    name_of,
    nodes,
    parameters,
    pod_containers,
    pods,
    predictors,
)

NAMESPACE = "default"
METRICS_PATH = "/prometheus"
PREDICTOR_VARIABLE = "ENGINE_PREDICTOR"
MOUNTED = "/mnt/models"
_RELEASE = "1.19.0-rc.1"
_CLAIM, _CLAIM_VOLUME = "pvc://", "kfserving-pvc-source"
_TERMINATION = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
}
_POD_DEFAULTS = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 20,
    "securityContext": {"runAsUser": 8888},
}
_PODINFO_MOUNT = {"name": "seldon-podinfo", "mountPath": "/etc/podinfo"}
_PODINFO_VOLUME = {
    "name": "seldon-podinfo",
    "downwardAPI": {
        "items": [
            {
                "path": "annotations",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.annotations"},
            }
        ],
        "defaultMode": 420,
    },
}
_LABELS_BY_TYPE = {
    "MODEL": "seldon.io/model", "ROUTER": "seldon.io/router",
    "TRANSFORMER": "seldon.io/transformer", "COMBINER": "seldon.io/combiner",
    "OUTPUT_TRANSFORMER": "seldon.io/output-transformer",
}  # fmt: skip


def deployments(manifest: Fields) -> list[Fields]:
    """Deployments in the order of the manifest.

    The executor's ENGINE_PREDICTOR holds the predictor as an object, not in base64.
    """
    return [
        _deployment(manifest, predictor, index, of_pods[index])
        for predictor, of_pods in zip(predictors(manifest), assigned_ports(manifest), strict=True)
        for index in range(len(pods(predictor)))
    ]


def services(manifest: Fields) -> list[Fields]:
    """Name, ports and selector of each Service: one a container of the graph, one a predictor."""
    found = []
    for predictor, of_pods in zip(predictors(manifest), assigned_ports(manifest), strict=True):
        service = service_name(manifest, predictor)
        for pod, of_pod in zip(pods(predictor), of_pods, strict=True):
            for container, ports in zip(pod_containers(pod), of_pod, strict=True):
                if container["name"] in _by_name(predictor):
                    own = _container_service(manifest, predictor, container["name"])
                    selector = {f"seldon-app-svc-{container['name']}": own}
                    found.append(_service(own, ports.http, ports.grpc, selector))
        first = of_pods[0][0]
        http, grpc = (
            (EXECUTOR_PORTS["http"], EXECUTOR_PORTS["grpc"])
            if has_executor(predictor)
            else (first.http, first.grpc)
        )
        found.append(_service(service, http, grpc, {"seldon-app": service}))
    return found


def injected_variables(
    manifest: Fields, predictor: Fields, node: Fields, container: Fields, ports: Ports
) -> dict[str, str]:
    """The variables that a graph node's container gets, in the operator's order."""
    http, grpc, metrics = str(ports.http), str(ports.grpc), str(ports.metrics)
    name = str(container["name"])
    over_grpc = manifest["spec"].get("transport") == "grpc"
    variables = {
        "PREDICTIVE_UNIT_SERVICE_PORT": grpc if over_grpc else http,
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": http,
        "MLSERVER_HTTP_PORT": http,
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": grpc,
        "MLSERVER_GRPC_PORT": grpc,
    }
    if parameters(node):
        variables["PREDICTIVE_UNIT_PARAMETERS"] = _json(
            [{key: p[key] for key in ("name", "value", "type")} for p in parameters(node)]
        )
    if node.get("modelUri"):
        variables["MLSERVER_MODEL_URI"] = MOUNTED
    return {
        **variables,
        "PREDICTIVE_UNIT_ID": name,
        "MLSERVER_MODEL_NAME": name,
        "PREDICTIVE_UNIT_IMAGE": container["image"],
        "PREDICTOR_ID": predictor["name"],
        "PREDICTOR_LABELS": _json(_labels(predictor)),
        "SELDON_DEPLOYMENT_ID": name_of(manifest),
        "SELDON_EXECUTOR_ENABLED": "true",
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": metrics,
        "PREDICTIVE_UNIT_METRICS_ENDPOINT": METRICS_PATH,
        "MLSERVER_METRICS_PORT": metrics,
        "MLSERVER_METRICS_ENDPOINT": METRICS_PATH,
    }


def pod_annotations(manifest: Fields, predictor: Fields, pod: Fields) -> dict[str, str]:
    """Annotations of a pod: those under the manifest's `metadata` are not among them."""
    return {
        "prometheus.io/path": METRICS_PATH,
        "prometheus.io/scrape": "true",
        **(manifest["spec"].get("annotations") or {}),
        **(predictor.get("annotations") or {}),
        **((pod.get("metadata") or {}).get("annotations") or {}),
    }


def _deployment(manifest: Fields, predictor: Fields, index: int, ports: list[Ports]) -> Fields:
    pod = pods(predictor)[index]
    name = deployment_name(manifest, predictor, index)
    labels = _pod_labels(manifest, predictor, index, name)
    selector = {
        key: value
        for key, value in labels.items()
        if key.startswith("seldon-app-svc-") or key == "seldon-deployment-id"
    }
    if _injects(predictor, index) or not has_executor(predictor):
        selector["seldon-app"] = service_name(manifest, predictor)
    # Only the Deployment has it, unless the manifest sets it on the pods.
    mark = {"seldon-deployment-contains-svcorch": "true"} if _injects(predictor, index) else {}
    on_pod = pod_annotations(manifest, predictor, pod)
    replicas = _replicas(manifest, predictor, pod)
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": labels | mark,
            "annotations": {
                key: value for key, value in on_pod.items() if not key.startswith("prometheus.io/")
            },
        },
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": labels, "annotations": on_pod},
                "spec": _pod_spec(manifest, predictor, index, ports),
            },
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
        },
    }


def deployment_name(manifest: Fields, predictor: Fields, index: int) -> str:
    """Name of the Deployment of a componentSpec; one of its own replaces the containers' names."""
    pod = pods(predictor)[index]
    own = (pod.get("metadata") or {}).get("name")
    joined = own or "-".join(container["name"] for container in pod_containers(pod))
    return _fitting(f"{name_of(manifest)}-{predictor['name']}-{index}-{joined}")


def _pod_labels(manifest: Fields, predictor: Fields, index: int, name: str) -> dict[str, str]:
    pod, service = pods(predictor)[index], service_name(manifest, predictor)
    labels = {
        "app": name,
        "app.kubernetes.io/managed-by": "seldon-core",
        "fluentd": "true",
        "seldon-deployment-id": name_of(manifest),
        **_labels(predictor),
        **((pod.get("metadata") or {}).get("labels") or {}),
    }
    for container in pod_containers(pod):
        node = _by_name(predictor).get(container["name"])
        if node is not None:
            own = _container_service(manifest, predictor, container["name"])
            labels[f"seldon-app-svc-{container['name']}"] = own
            labels[_LABELS_BY_TYPE[node["type"]]] = "true"
    if _injects(predictor, index) or not has_executor(predictor):
        labels["seldon-app"] = service
    if predictor.get("shadow"):
        labels["seldon.io/shadow"] = "true"
    return labels


def _pod_spec(manifest: Fields, predictor: Fields, index: int, ports: list[Ports]) -> Fields:
    spec = {**_POD_DEFAULTS, **copy.deepcopy(pods(predictor)[index]["spec"])}
    spec["containers"] = [
        _container(manifest, predictor, container, of_container)
        for container, of_container in zip(spec["containers"], ports, strict=True)
    ]
    if _injects(predictor, index):
        engine = _executor(manifest, predictor)
        engine["env"][0]["value"] = _engine_predictor(manifest, predictor)
        spec["containers"].append(engine)
    spec["volumes"] = [*(spec.get("volumes") or []), copy.deepcopy(_PODINFO_VOLUME)]
    for container in spec["containers"]:
        node = _by_name(predictor).get(container["name"], {})
        if node.get("modelUri"):
            _add_initializer(spec, node)
    return spec


def _container(manifest: Fields, predictor: Fields, container: Fields, ports: Ports) -> Fields:
    """A container of the manifest with what the operator adds."""
    node = _by_name(predictor).get(container["name"])
    made = {**_TERMINATION, **copy.deepcopy(container)}
    if node is None:
        return made
    own = {port["name"]: port for port in made.get("ports") or []}
    for name in ("metrics", "http", "grpc"):
        number = getattr(ports, name)
        own.setdefault(name, {"name": name, "containerPort": number, "protocol": "TCP"})
    made["ports"] = list(own.values())
    injected = injected_variables(manifest, predictor, node, container, ports)
    made["env"] = [*(made.get("env") or []), *_entries(injected)]
    made["volumeMounts"] = [
        *(made.get("volumeMounts") or []),
        dict(_PODINFO_MOUNT),
        *_model_mounts(node),
    ]
    return made


def _model_mounts(node: Fields) -> list[Fields]:
    """Where a container finds the model of `modelUri`."""
    if not node.get("modelUri"):
        return []
    mounted = {"name": _provided(node), "readOnly": True, "mountPath": MOUNTED}
    return [*_claim_mounts(node), mounted]


def _claim_mounts(node: Fields) -> list[Fields]:
    if not node["modelUri"].startswith(_CLAIM):
        return []
    return [{"name": _CLAIM_VOLUME, "readOnly": True, "mountPath": "/mnt/pvc"}]


def _provided(node: Fields) -> str:
    return f"{node['name']}-provision-location"


def _executor(manifest: Fields, predictor: Fields) -> Fields:
    """The injected executor; the value of its first variable is still to be set."""
    transport = manifest["spec"].get("transport") or "rest"
    protocol = manifest["spec"].get("protocol") or "seldon"
    resources = {"cpu": "500m", "memory": "512Mi"}
    orchestrator = predictor.get("svcOrchSpec") or {}
    probe = {
        "initialDelaySeconds": 20, "timeoutSeconds": 60, "periodSeconds": 5,
        "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    return {
        "name": EXECUTOR,
        "image": f"docker.io/seldonio/seldon-core-executor:{_RELEASE}",
        "args": [
            "--sdep", name_of(manifest), "--namespace", NAMESPACE,
            "--predictor", predictor["name"],
            "--http_port", "8000", "--grpc_port", "5001",
            "--protocol", protocol, "--transport", transport,
            "--prometheus_path", METRICS_PATH, "--server_type", "rpc",
            "--log_work_buffer_size", "10000", "--log_write_timeout_ms", "2000",
            "--full_health_checks=false",
        ],
        "ports": [
            {"name": "http", "containerPort": 8000, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 8000, "protocol": "TCP"},
            {"name": "grpc", "containerPort": 5001, "protocol": "TCP"},
        ],
        "env": [
            {"name": PREDICTOR_VARIABLE},
            {"name": "REQUEST_LOGGER_DEFAULT_ENDPOINT", "value": "http://default-broker"},
            *(orchestrator.get("env") or []),
        ],
        "resources": orchestrator.get("resources") or {"limits": resources, "requests": resources},
        "volumeMounts": [dict(_PODINFO_MOUNT)],
        **{
            f"{kind}Probe": {"httpGet": {"path": path, "port": 8000, "scheme": "HTTP"}, **probe}
            for kind, path in (("readiness", "/ready"), ("liveness", "/live"))
        },
        **_TERMINATION,
        "securityContext": {"runAsUser": 8888, "allowPrivilegeEscalation": False},
    }  # fmt: skip


def _engine_predictor(manifest: Fields, predictor: Fields) -> Fields:
    """What the executor gets: the predictor without its weight and its number of replicas."""
    index = predictors(manifest).index(predictor)
    of_pods = assigned_ports(manifest)[index]
    seen = {key: predictor[key] for key in ("annotations", "shadow") if predictor.get(key)}
    return {
        **seen,
        "name": predictor["name"],
        "graph": executor_graph(manifest, predictor),
        "componentSpecs": [
            {
                **{key: pod[key] for key in ("hpaSpec", "kedaSpec", "pdbSpec") if key in pod},
                "metadata": copy.deepcopy(pod.get("metadata") or {}),
                "spec": {
                    **copy.deepcopy(pod["spec"]),
                    "containers": [
                        _container(manifest, predictor, container, ports)
                        for container, ports in zip(pod_containers(pod), of_pod, strict=True)
                    ],
                },
            }
            for pod, of_pod in zip(pods(predictor), of_pods, strict=True)
        ],
        "replicas": 0,
        "engineResources": {},
        "labels": _labels(predictor),
        "svcOrchSpec": copy.deepcopy(predictor.get("svcOrchSpec") or {}),
    }


def executor_graph(manifest: Fields, predictor: Fields) -> Fields:
    """The graph as the executor gets it: with types and endpoints."""
    return _executor_node(manifest, predictor, predictor["graph"])


def _executor_node(manifest: Fields, predictor: Fields, node: Fields) -> Fields:
    seen = {key: value for key, value in copy.deepcopy(node).items() if key != "children"}
    if not built_in(node):
        seen.setdefault("type", "MODEL")
        seen.setdefault("implementation", "UNKNOWN_IMPLEMENTATION")
        seen["endpoint"] = endpoint(manifest, predictor, node["name"])
    if node.get("children"):
        seen["children"] = [_executor_node(manifest, predictor, c) for c in node["children"]]
    return seen


def endpoint(manifest: Fields, predictor: Fields, name: str) -> Fields:
    """Where the executor finds the container of a node."""
    of_pods = assigned_ports(manifest)[predictors(manifest).index(predictor)]
    for index, (pod, of_pod) in enumerate(zip(pods(predictor), of_pods, strict=True)):
        for container, ports in zip(pod_containers(pod), of_pod, strict=True):
            if container["name"] == name:
                service = _container_service(manifest, predictor, name)
                over_grpc = manifest["spec"].get("transport") == "grpc"
                return {
                    "service_host": "localhost"
                    if index == 0
                    else f"{service}.{NAMESPACE}.svc.cluster.local",
                    "service_port": ports.grpc if over_grpc else ports.http,
                    "httpPort": ports.http,
                    "grpcPort": ports.grpc,
                }
    raise LookupError(f"node {name} has no container")


def _add_initializer(spec: Fields, node: Fields) -> None:
    """The init container that copies `modelUri` to /mnt/models, and its volumes."""
    source = node["modelUri"]
    if source.startswith(_CLAIM):
        claim, _, path = source.removeprefix(_CLAIM).partition("/")
        source = f"/mnt/pvc/{path}"
        volume = {"name": _CLAIM_VOLUME, "persistentVolumeClaim": {"claimName": claim}}
        spec["volumes"].append(volume)
    initializer = {
        "name": f"{node['name']}-model-initializer",
        "image": f"seldonio/rclone-storage-initializer:{_RELEASE}",
        "args": [source, MOUNTED],
        "resources": {
            "limits": {"cpu": "1", "memory": "1Gi"},
            "requests": {"cpu": "100m", "memory": "100Mi"},
        },
        "volumeMounts": [*_claim_mounts(node), {"name": _provided(node), "mountPath": MOUNTED}],
        **_TERMINATION,
    }
    if node.get("envSecretRefName"):
        initializer["envFrom"] = [{"secretRef": {"name": node["envSecretRefName"]}}]
    spec.setdefault("initContainers", []).append(initializer)
    spec["volumes"].append({"name": _provided(node), "emptyDir": {}})


def _injects(predictor: Fields, index: int) -> bool:
    """Whether the operator adds its executor to the pod of a componentSpec."""
    return index == 0 and has_executor(predictor) and not brings_executor(predictor)


def _replicas(manifest: Fields, predictor: Fields, pod: Fields) -> int | None:
    """The nearest number wins; an autoscaler's pods get none."""
    if "hpaSpec" in pod or "kedaSpec" in pod:
        return None
    holders = (pod, predictor, manifest["spec"])
    return next((int(h["replicas"]) for h in holders if "replicas" in h), 1)


def _service(name: str, http: int, grpc: int, selector: Mapping[str, str]) -> Fields:
    ports = [
        {"name": kind, "protocol": "TCP", "port": port, "targetPort": port}
        for kind, port in (("http", http), ("grpc", grpc))
    ]
    return {"metadata": {"name": name}, "spec": {"ports": ports, "selector": dict(selector)}}


def service_name(manifest: Fields, predictor: Fields) -> str:
    """Name of a predictor's Service."""
    own = (predictor.get("annotations") or {}).get(SERVICE_NAME)
    return own or _fitting(f"{name_of(manifest)}-{predictor['name']}")


def _container_service(manifest: Fields, predictor: Fields, name: str) -> str:
    return _fitting(f"{name_of(manifest)}-{predictor['name']}-{name}")


def _fitting(name: str) -> str:
    """A name that is too long for a label becomes a checksum."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"seldon-{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}"


def _labels(predictor: Fields) -> dict[str, str]:
    return {"version": predictor["name"], **(predictor.get("labels") or {})}


def _by_name(predictor: Fields) -> dict[str, Fields]:
    return {node["name"]: node for node in nodes(predictor) if not built_in(node)}


def _entries(variables: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def _json(value: Any) -> str:
    """As Go writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
