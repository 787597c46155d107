"""Containers: real /opt/ml where the machine can, a prefix where it can't, and nothing outlives the host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker_host import (
    ECHO,
    Host,
    Server,
    add_config,
    add_model,
    ask,
    await_endpoint,
    put_script,
    training_request,
    wait_until,
)

from dropforge_local.forking.process import is_alive
from dropforge_local.sagemaker import container as container_module
from dropforge_local.sagemaker.container import Container, Image, Root, has_namespaces
from dropforge_local.sagemaker.service import Limits, SageMaker


@pytest.fixture(scope="module")
def python() -> str:
    return sys.executable


@pytest.fixture
def image(tmp_path: Path, python: str) -> Image:
    return Image(python, [str(Path(python).parent)], tmp_path / "bin")


@pytest.fixture
def root(tmp_path: Path, image: Image) -> Root:
    return Root(tmp_path / "root", image.namespaces)


def output(container: Container) -> str:
    text = container.output.read().decode()
    container.wait(10)
    container.close()
    return text


def test_private_folder_is_the_containers_opt_ml(image: Image, root: Root) -> None:
    if not image.namespaces:
        pytest.skip("this machine gives no user namespaces")
    (root.ml / "in").write_text("from outside")
    before = sorted(os.listdir("/opt"))
    script = (
        "import os; print(open('/opt/ml/in').read(), sorted(os.listdir('/opt'))); open('/opt/ml/out', 'w')"
    )
    seen = output(Container(image, root, ["python3", "-c", script], {}))
    assert seen.strip() == f"from outside {sorted({*before, 'ml'})}"
    assert (root.ml / "out").exists()
    assert sorted(os.listdir("/opt")) == before


def test_exit_code_is_the_entrypoints(image: Image, root: Root) -> None:
    for command, code in (("exit 7", 7), ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9)):
        container = Container(image, root, ["sh", "-c", command], {})
        assert container.wait(10) == code
        container.close()


def test_container_runs_and_ends_where_the_host_has_a_thousand_files_open(
    image: Image, root: Root, open_files: None
) -> None:
    container = Container(image, root, ["sh", "-c", "exit 7"], {})
    assert container.wait(10) == 7
    assert output(container) == ""


def test_letting_go_ends_every_process(image: Image, root: Root) -> None:
    script = "setsid sleep 300 & echo $!; exec sleep 300"
    container = Container(image, root, ["sh", "-c", script], {})
    pid = int(container.output.readline())
    container.kill()
    assert not Path(f"/proc/{pid}").exists()
    container.close()


def test_supervisor_that_is_killed_takes_the_entrypoint_along(image: Image, root: Root) -> None:
    container = Container(image, root, ["sh", "-c", "echo $$; exec sleep 300"], {})
    pid = int(container.output.readline())
    os.kill(container.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    container.close()


def test_python3_is_the_configured_interpreter_even_under_another_name(
    tmp_path: Path, python: str, root: Root
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "interpreter").symlink_to(python)
    image = Image(str(folder / "interpreter"), [str(folder)], tmp_path / "scripts")
    seen = output(Container(image, root, ["python3", "-c", "import os; print(os.environ['PATH'])"], {}))
    assert seen.startswith(str(tmp_path / "scripts"))


_WAY_OUT = """
import os, socket

def way_out():
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=2)
    except OSError as error:
        socket.socket(socket.AF_UNIX).close()
        return f"{error.strerror}, local sockets, {[n for n in os.environ if n.startswith('AWS')]}"
"""
_ANSWER_WAY_OUT = """
def model_fn(folder):
    return None

def transform_fn(model, body, content_type, accept):
    return way_out(), accept
"""


class TestWithoutNamespaces:
    @pytest.fixture(autouse=True)
    def no_namespaces(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(container_module, "has_namespaces", lambda _python: False)
        yield
        has_namespaces.cache_clear()

    @pytest.fixture
    def service(self, tmp_path: Path, host: Host, limits: Limits) -> Iterator[SageMaker]:
        made = SageMaker(tmp_path / "state", host.ports(), limits=limits)
        made.start()
        yield made
        made.stop()

    def test_script_finds_its_folders_by_the_prefix_variable(
        self, service: SageMaker, sagemaker: Any, host: Host
    ) -> None:
        put_script(
            host,
            """
            import os
            root = os.environ.get("ML_ROOT", "/opt/ml")
            assert root != "/opt/ml"
            assert os.listdir(f"{root}/input/data/train") == ["part-0.csv"]
            open(f"{root}/model/model.txt", "w").write("m")
            """,
        )
        sagemaker.create_training_job(**training_request("prefix"))
        assert service.wait_training_job("prefix", 20)["TrainingJobStatus"] == "Completed"
        assert "models/prefix/output/model.tar.gz" in host.s3.listing()

    def test_endpoint_serves(self, sagemaker: Any, runtime: Any, host: Host) -> None:
        add_model(host, sagemaker, "one", ECHO)
        add_config(sagemaker, "config", "one")
        sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
        assert await_endpoint(sagemaker, "ep")["EndpointStatus"] == "InService"
        assert ask(runtime) == "one"

    def test_isolated_job_and_endpoint_have_no_network_and_no_credentials(
        self, service: SageMaker, sagemaker: Any, runtime: Any, host: Host
    ) -> None:
        put_script(host, f"{_WAY_OUT}\nprint(way_out())")
        sagemaker.create_training_job(**training_request("isolated", EnableNetworkIsolation=True))
        assert service.wait_training_job("isolated", 20)["TrainingJobStatus"] == "Completed"
        assert host.log("/aws/sagemaker/TrainingJobs").strip() == "Network is unreachable, local sockets, []"
        add_model(host, sagemaker, "one", f"{_WAY_OUT}\n{_ANSWER_WAY_OUT}", EnableNetworkIsolation=True)
        add_config(sagemaker, "config", "one")
        sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
        assert await_endpoint(sagemaker, "ep")["EndpointStatus"] == "InService"
        assert ask(runtime) == "Network is unreachable, local sockets, []"

    def test_where_the_kernel_filters_no_calls_isolation_is_refused_not_pretended(
        self, sagemaker: Any, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(container_module, "can_refuse_network", lambda _python: False)
        with pytest.raises(ClientError, match="EnableNetworkIsolation on a machine with neither"):
            sagemaker.create_training_job(**training_request("isolated", EnableNetworkIsolation=True))
        with pytest.raises(ClientError, match="EnableNetworkIsolation on a machine with neither"):
            add_model(host, sagemaker, "one", EnableNetworkIsolation=True)


def test_isolated_endpoint_serves_without_network_or_credentials(
    server: Server, sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_model(host, sagemaker, "one", f"{_WAY_OUT}\n{_ANSWER_WAY_OUT}", EnableNetworkIsolation=True)
    add_config(sagemaker, "config", "one")
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
    await_endpoint(sagemaker, "ep")
    assert ask(runtime) == "Network is unreachable, local sockets, []"


_CONTAINER = """
import sys
from pathlib import Path
from dropforge_local.sagemaker.container import Container, Image, Root

image = Image(sys.executable, [str(Path(sys.executable).parent)], Path("bin"))
root = Root(Path("root").absolute(), image.namespaces)
seen = Container(image, root, ["python3", "-c", sys.argv[1]], {}, network=False)
print(image.namespaces, image.isolates, seen.output.read().decode().strip(), seen.wait(10))
seen.close()
"""


def test_a_kernel_that_refuses_namespaces_gets_containers_without_them(tmp_path: Path, python: str) -> None:
    # Where it gives them, within one of them that allows no further one.
    refusing = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    given = has_namespaces(python)
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", refusing, "sh"] if given else []
    seen = f"{_WAY_OUT}\nprint(way_out(), os.environ['ML_ROOT'])"
    said = subprocess.run(
        [*command, python, "-c", _CONTAINER, seen], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    ml = tmp_path / "root" / "opt" / "ml"
    assert said.stdout.strip() == f"False True Network is unreachable, local sockets, [] {ml} 0"


def test_namespaces_are_used_wherever_another_program_gets_them(python: str) -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount", "--net", "true"]
    peer = subprocess.run(command, capture_output=True, check=False)
    assert has_namespaces(python) == (peer.returncode == 0), peer.stderr
