"""The manifest for KubeRay, held to a schema and to this program: the operator itself is out of reach of the tests.

The schema is written from the fields that KubeRay's and Kubernetes' documentation name, as far as the manifest has
them; it knows no others, so that a field that neither has is found.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from typer.testing import CliRunner

from fedi_safety.cli import build

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "packaging/kuberay.yaml"

TEXT = {"type": "string", "minLength": 1}
QUANTITY = {"type": "string", "pattern": r"^\d+(m|Ki|Mi|Gi)?$"}


def closed(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def listed(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


AMOUNTS = closed("cpu memory", cpu=QUANTITY, memory=QUANTITY)
ENVIRONMENT = closed(
    "name",
    name=TEXT,
    value=TEXT,
    valueFrom=closed("secretKeyRef", secretKeyRef=closed("name key", name=TEXT, key=TEXT)),
)
CONTAINER = closed(
    "name image resources securityContext",
    name=TEXT,
    image=TEXT,
    command=listed(TEXT),
    args=listed(TEXT),
    env=listed(ENVIRONMENT),
    ports=listed(closed("containerPort", containerPort={"type": "integer"}, name={**TEXT, "maxLength": 15})),
    resources=closed("requests limits", requests=AMOUNTS, limits=AMOUNTS),
    securityContext=closed(
        "runAsNonRoot allowPrivilegeEscalation capabilities",
        runAsNonRoot={"const": True},
        runAsUser={"const": 991},
        allowPrivilegeEscalation={"const": False},
        capabilities=closed("drop", drop={"const": ["ALL"]}),
    ),
)
POD = closed(
    "spec",
    spec=closed(
        "containers",
        containers=listed(CONTAINER),
        restartPolicy={"enum": ["Never", "OnFailure"]},  # a Job's
        automountServiceAccountToken={"const": False},
    ),
)
NAMED = closed("name", name={"type": "string", "pattern": "^[a-z0-9-]{1,50}$"})
PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}  # KubeRay takes strings alone
COUNT = {"type": "integer", "minimum": 0}
CLUSTER = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayCluster"},
    metadata=NAMED,
    spec=closed(
        "rayVersion headGroupSpec workerGroupSpecs authOptions",
        rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        authOptions=closed("mode", mode={"enum": ["disabled", "token"]}),
        headGroupSpec=closed(
            "template rayStartParams",
            serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
            rayStartParams=PARAMETERS,
            template=POD,
        ),
        workerGroupSpecs=listed(
            closed(
                "groupName template rayStartParams",
                groupName=TEXT,
                replicas=COUNT,
                minReplicas=COUNT,
                maxReplicas=COUNT,
                rayStartParams=PARAMETERS,
                template=POD,
            )
        ),
    ),
)
JOB = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "batch/v1"},
    kind={"const": "Job"},
    metadata=NAMED,
    spec=closed("template", backoffLimit=COUNT, template=POD),
)


@pytest.fixture
def documents() -> list[Any]:
    return list(yaml.safe_load_all(MANIFEST.read_text()))


def test_it_is_what_the_documentation_describes(documents: list[Any]) -> None:
    cluster, job = documents
    jsonschema.validate(cluster, CLUSTER)
    jsonschema.validate(job, JOB)
    cluster["spec"]["workerGroupSpecs"][0]["replica"] = 2
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(cluster, CLUSTER)


def test_nobody_but_its_own_pods_gets_in_and_nothing_is_told(documents: list[Any]) -> None:
    cluster, job = documents
    head, (workers,) = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert cluster["spec"]["authOptions"] == {"mode": "token"} and head["serviceType"] == "ClusterIP"
    assert head["rayStartParams"]["num-cpus"] == "0" and head["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    pods = [part["template"]["spec"] for part in (head, workers, job["spec"])]
    for pod in pods:
        (container,) = pod["containers"]
        told = {each["name"]: each.get("value") for each in container["env"]}
        assert told["RAY_USAGE_STATS_ENABLED"] == "0"
        assert not any("KEY" in name or "TOKEN" in name for name, value in told.items() if value)


def test_its_command_is_one_of_this_program(documents: list[Any]) -> None:
    (container,) = documents[1]["spec"]["template"]["spec"]["containers"]
    start, _, scan = container["args"][0].partition("&& exec ")
    assert documents[0]["metadata"]["name"] + "-head-svc:6379" in start
    words = shlex.split(scan)
    assert words[:2] == ["fedi-safety", "scan"]
    done = CliRunner().invoke(build("scan"), [*words[1:], "--help"])
    assert done.exit_code == 0, done.output


def test_ray_is_the_version_that_is_tested(documents: list[Any]) -> None:
    tested = next(
        line.split("==")[1].split()[0]
        for line in (ROOT / "requirements-dev.lock").read_text().splitlines()
        if line.startswith("ray==")
    )
    assert documents[0]["spec"]["rayVersion"] == tested
    assert f'"ray[default]=={tested.rpartition(".")[0]}.*"' in (ROOT / "packaging/Containerfile.ray").read_text()
