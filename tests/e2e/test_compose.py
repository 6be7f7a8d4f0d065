"""deploy/docker-compose.yml on a real Docker Engine: built, used, scaled, restarted, killed, taken down."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
import trustme
import yaml

from moorage.config import load
from support.client import V2Client, expect
from support.containers import HOST, Compose, ContainerEngine, new_compose, old_compose
from support.engine import load_image
from support.images import Image, digest_of, make_image
from support.processes import free_port, required, run, wait_until
from support.subscriber import Subscriber

REPO = Path(__file__).resolve().parents[2]
OURS = ("api-gateway", "metadata-service", "blob-service", "notifier")
ALL = (*OURS, "edge", "redis", "nats")

# What our images begin with.
BASE = "python:3.11-slim-bookworm"

# `make soak` sets more.
ROUNDS = int(os.environ.get("MOORAGE_COMPOSE_ROUNDS", "1"))


class Project:
    """A copy of what the images are built from and of deploy/, with secrets of its own."""

    def __init__(self, folder: Path, engine: ContainerEngine) -> None:
        self.engine = engine
        self.folder = folder
        copy_sources(folder)
        self.deploy = folder / "deploy"
        made = run(self.deploy / "make-env.sh")
        self.user, self.password = (line.split(": ")[1] for line in made.splitlines())
        self.subscriber_port = free_port()
        override = self.deploy / "override.yml"
        override.write_text(json.dumps({"services": self._webhook()}))
        limit = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        self._files = [self.deploy / "docker-compose.yml", override]
        # On every interface of the engine's own network.
        self._variables = {
            "MOORAGE_PUBLISH": "5000",
            "PROMETHEUS_PUBLISH": "9090",
            "NOFILE": str(limit),
            "MOORAGE_REVISION": "v0-test",
        }
        self.use(old_compose())
        self.port = engine.publish(5000)
        self.url = f"http://127.0.0.1:{self.port}"

    def _webhook(self) -> dict[str, Any]:
        endpoint = {
            "name": "test",
            "url": f"http://{HOST}:{self.subscriber_port}/hook",
            "timeout": "5s",
            "backoff": "1s",
            "allowprivate": True,
        }
        variables = {"REGISTRY_NOTIFICATIONS_ENDPOINTS": json.dumps([endpoint])}
        return {service: {"environment": variables} for service in OURS}

    def use(self, program: str) -> None:
        """Go on with this generation of compose."""
        self._program = program
        self.compose = Compose(self.engine, "moorage", self._files, self._variables, program)

    def overlaid(self, overlay: str, **variables: str) -> Compose:
        """The same project with an overlay."""
        files = [*self._files, self.deploy / f"docker-compose.{overlay}.yml"]
        return Compose(self.engine, "moorage", files, {**self._variables, **variables}, self._program)

    def up(self, *, gateways: int = 1, blobs: int = 1) -> None:
        """Bring everything up with so many of each, and wait until all are healthy."""
        self.compose(
            "up", "-d", "--scale", f"api-gateway={gateways}", "--scale", f"blob-service={blobs}", timeout=300
        )
        self.compose.wait_healthy()
        wait_until(self.answers, timeout=30, what="the registry answers")

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/", timeout=5).status_code == 401
        except httpx.HTTPError:
            return False

    @contextmanager
    def client(self, repository: str, *, timeout: float = 60) -> Iterator[V2Client]:
        """A client that may do everything in a repository."""
        with V2Client(self.url, timeout=timeout) as client:
            answer = client.http.get(
                "/token",
                params={"service": "moorage", "scope": f"repository:{repository}:pull,push,delete"},
                auth=(self.user, self.password),
            )
            client.http.headers["Authorization"] = f"Bearer {expect(answer, 200).json()['token']}"
            yield client


def copy_sources(folder: Path) -> None:
    """What .dockerignore lets into a build, and deploy/."""
    unwanted = shutil.ignore_patterns("__pycache__", "tests", ".venv")
    for name in ("libs", "services"):
        shutil.copytree(REPO / name, folder / name, ignore=unwanted)
    for name in ("pyproject.toml", "uv.lock", ".dockerignore"):
        shutil.copy(REPO / name, folder / name)
    copy_deploy(folder)


def copy_deploy(folder: Path) -> Path:
    """deploy/, without secrets that may be there."""
    copy = folder / "deploy"
    shutil.copytree(REPO / "deploy", copy, ignore=shutil.ignore_patterns(".env", "secrets"))
    return copy


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ContainerEngine]:
    engine = ContainerEngine(tmp_path / "engine")
    try:
        run(REPO / "scripts/stand-in-images.sh", timeout=600, env=engine.environment)
        yield engine
    finally:
        engine.stop()


# One test, so that images are built and everything is brought up once, in whichever of pytest's processes.
@pytest.mark.timeout(1800)
async def test_a_registry_by_compose(engine: ContainerEngine, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", engine)
    project.compose("build", timeout=900)
    project.up()
    every_container_is_confined(project)
    our_images_hold_one_service_each_and_little_else(project)
    storage_broker_and_cache_cannot_be_reached_from_outside(project)
    docker_logs_in_pushes_and_pulls_and_nobody_does_without_a_password(project, tmp_path)
    await a_webhook_is_told_of_a_push(project)
    what_was_acknowledged_survives_kill_9_of_each_container_under_load(project)
    with what_stays_after_down(project):
        project.use(new_compose())
        project.up(gateways=2, blobs=2)
    a_chunked_upload_goes_on_through_two_gateways_and_two_blob_services(project)
    prometheus_sees_each_container_of_each_service(project)
    no_pull_fails_while_each_service_is_restarted_in_turn(project)
    the_balancer_ends_tls(project)


# What runs, and how


def every_container_is_confined(project: Project) -> None:
    for service in ALL:
        for container in project.engine.inspect(*project.compose.containers(service)):
            host = container["HostConfig"]
            assert host["ReadonlyRootfs"], service
            assert host["CapDrop"] == ["ALL"], service
            assert not host["CapAdd"], service
            assert "no-new-privileges:true" in host["SecurityOpt"], service
            assert host["Memory"] > 0, service
            assert host["NanoCpus"] > 0, service
            assert host["PidsLimit"] > 0, service
            assert host["RestartPolicy"]["Name"] == "unless-stopped", service
            # The image of NATS has no user, and its volume is root's: root without a capability.
            assert service == "nats" or container["Config"]["User"].split(":")[0] not in ("", "0", "root")
    published = {
        service
        for service in ALL
        for each in project.engine.inspect(*project.compose.containers(service))
        if any(each["NetworkSettings"]["Ports"].values())
    }
    assert published == {"edge"}


def our_images_hold_one_service_each_and_little_else(project: Project) -> None:
    base = project.engine.inspect(BASE)[0]["Size"]
    for service in OURS:
        image = project.engine.inspect(f"moorage/{service}:0.1.0")[0]
        # librados with all that it needs is two thirds of the blob service's.
        assert image["Size"] - base < (280 if service == "blob-service" else 150) * 1_000_000, service
        assert image["Config"]["User"] == "65532:65532"
        assert image["Config"]["Healthcheck"]["Test"][:3] == ["CMD", "moorage", "health"]
        assert image["Config"]["Labels"]["org.opencontainers.image.revision"] == "v0-test"
        container = project.compose.containers(service)[0]
        assert project.engine("exec", container, "moorage", "--version") == "moorage 0.1.0+v0-test\n"
        # The image's own check, which a container without compose is asked by.
        project.engine("exec", container, *image["Config"]["Healthcheck"]["Test"][1:])
        others = {each.replace("-", "_") for each in OURS} - {service.replace("-", "_")}
        installed = project.engine(
            "exec", container, "ls", "/opt/moorage/lib/python3.11/site-packages"
        ).split()
        assert not others & set(installed)
        assert "pytest" not in installed
    project.engine("exec", project.compose.containers("blob-service")[0], "python", "-c", "import rados")


def storage_broker_and_cache_cannot_be_reached_from_outside(project: Project) -> None:
    """Neither from the host, where only the balancer has a port, nor from the networks that lead out."""
    listening = {
        int(line.split()[3].rsplit(":", 1)[1])
        for line in project.engine.inside("ss", "-Hltn").splitlines()
        if not line.split()[3].startswith("127.")
    }
    assert listening == {5000}
    ports = {
        "blob-service": (5010, 5011, 5001),
        "metadata-service": (5020,),
        "redis": (6379,),
        "nats": (4222,),
    }
    targets = []
    for service, numbers in ports.items():
        networks = project.engine.inspect(project.compose.containers(service)[0])[0]["NetworkSettings"][
            "Networks"
        ]
        targets += [(each["IPAddress"], port) for each in networks.values() for port in numbers]
    script = "".join(
        f"(timeout 2 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo {address}:{port}) & "
        for address, port in targets
    )

    def reached_from(network: str) -> str:
        return project.engine("run", "--rm", "--network", network, BASE, "bash", "-c", f"{script} wait")

    for network in ("moorage_edge", "moorage_outside"):
        assert reached_from(network) == ""
    # The same question where the answer is yes: it can tell.
    inside = reached_from("moorage_backend")
    assert ":5010\n" in inside
    assert ":4222\n" not in inside
    assert ":6379\n" not in inside


# Clients


def docker_logs_in_pushes_and_pulls_and_nobody_does_without_a_password(
    project: Project, tmp_path: Path
) -> None:
    repository = "team/docker"
    address = "127.0.0.1:5000"  # where the engine, in its own network, sees the published port
    name = f"{address}/{repository}:1"
    docker = project.engine.client(tmp_path / "docker")
    load_image(docker, make_image(700, (3000, 200_000)), tmp_path, name)
    with pytest.raises(AssertionError, match=r"unauthorized|denied|no basic auth"):
        docker("push", name)
    with pytest.raises(AssertionError, match=r"unauthorized|denied"):
        docker("login", "-u", project.user, "-p", "wrong", address)
    docker("login", "-u", project.user, "-p", project.password, address)
    docker("push", name)
    docker("rmi", name)
    docker("pull", name)
    assert docker("image", "inspect", "-f", "{{.Config.Labels.seed}}", name).strip() == "700"
    docker("logout", address)
    docker("rmi", name)
    with pytest.raises(AssertionError, match=r"unauthorized|denied|no basic auth"):
        docker("pull", name)
    # An account that is made while all runs has its own folder, and may pull the rest.
    run("sh", "-c", f"echo another-password | {project.deploy}/set-password.sh grace")

    def log_in() -> bool:
        answer = httpx.get(f"{project.url}/token?service=moorage", auth=("grace", "another-password"))
        return answer.status_code == 200

    wait_until(log_in, timeout=15, what="the gateway reads the accounts again")
    docker("login", "-u", "grace", "-p", "another-password", address)
    docker("pull", name)
    with pytest.raises(AssertionError, match=r"denied"):
        docker("push", name)
    docker("tag", name, f"{address}/grace/app:1")
    docker("push", f"{address}/grace/app:1")


async def a_webhook_is_told_of_a_push(project: Project) -> None:
    repository = "team/webhook"
    image = make_image(701)
    with project.client(repository) as client:
        client.push_image(repository, "1", image)
    subscriber = Subscriber()
    subscriber.port = project.subscriber_port
    await subscriber.start()
    try:
        await subscriber.until(lambda: repository in pushed(subscriber), timeout=60)
        assert pushed(subscriber)[repository] == image.manifest.digest
    finally:
        await subscriber.stop()


def pushed(subscriber: Subscriber) -> dict[str, str]:
    """The digest of the last manifest that was pushed, by repository."""
    return {
        event["target"]["repository"]: event["target"]["digest"]
        for request in subscriber.requests
        for event in request.events
        if event["action"] == "push" and event["target"].get("tag")
    }


def a_chunked_upload_goes_on_through_two_gateways_and_two_blob_services(project: Project) -> None:
    repository = "team/chunked"
    gateways = project.compose.containers("api-gateway")
    assert len(gateways) == 2
    content = random.Random(702).randbytes(6 * 300_000)
    with project.client(repository) as client:
        location = client.location(expect(client.start_upload(repository), 202))
        authorization = client.http.headers["Authorization"]
        for start in range(0, len(content), 300_000):
            # A connection of its own for each chunk: the balancer chooses anew.
            answer = httpx.patch(
                location,
                content=content[start : start + 300_000],
                headers={
                    "Authorization": authorization,
                    "Content-Range": f"{start}-{start + 299_999}",
                    "Content-Type": "application/octet-stream",
                },
                timeout=30,
            )
            location = client.location(expect(answer, 202))
            assert answer.headers["range"] == f"0-{start + 299_999}"
        url = httpx.URL(location).copy_merge_params({"digest": digest_of(content)})
        expect(client.http.put(url), 201)
        for _ in range(4):
            answer = httpx.get(
                f"{project.url}/v2/{repository}/blobs/{digest_of(content)}",
                headers={"Authorization": authorization},
                timeout=30,
            )
            assert answer.content == content
    for gateway in gateways:
        assert f"PATCH /v2/{repository}/blobs/uploads/" in project.engine("logs", gateway)


# What dies, what is renewed, and what stays


@dataclass
class Outcome:
    """What a worker did: images that were acknowledged, and requests that failed."""

    pushed: list[tuple[str, Image]]
    failures: list[str]
    pulls: int = 0


class Load:
    """Clients that push or pull without a pause, each in a thread of its own, while the context is open."""

    def __init__(self, project: Project, repository: str, *, pushers: int = 0, pullers: int = 0) -> None:
        self._project = project
        self._repository = repository
        self._stop = threading.Event()
        self.outcome = Outcome([], [])
        self.threads = [
            *(threading.Thread(target=self._push, args=(number,)) for number in range(pushers)),
            *(threading.Thread(target=self._pull) for _ in range(pullers)),
        ]

    def __enter__(self) -> Load:
        self.known = make_image(703, (3000, 500_000))
        with self._project.client(self._repository) as client:
            client.push_image(self._repository, "known", self.known)
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self.threads:
            thread.join(90)
            assert not thread.is_alive()

    def _push(self, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            tag, image = f"tag-{number}-{turn}", make_image(10_000 * (number + 1) + turn, (2000, 300_000))
            try:
                with self._project.client(self._repository, timeout=20) as client:
                    client.push_image(self._repository, tag, image)
            except (httpx.HTTPError, AssertionError) as error:
                self.outcome.failures.append(repr(error))
                self._stop.wait(0.2)  # as a client that tries again
            else:
                self.outcome.pushed.append((tag, image))

    def _pull(self) -> None:
        while not self._stop.is_set():
            with self._project.client(self._repository) as client:
                # One connection for long, but not for longer than its token is good.
                until = time.monotonic() + 60
                while not self._stop.is_set() and time.monotonic() < until:
                    try:
                        client.assert_holds(self._repository, "known", self.known)
                    except (httpx.HTTPError, AssertionError) as error:
                        self.outcome.failures.append(f"{time.strftime('%H:%M:%S')} {error!r}")
                    else:
                        self.outcome.pulls += 1

    def after(self, *, pushes: int = 0, pulls: int = 0) -> None:
        """Wait until so many more pushes and pulls have succeeded."""
        done = self.outcome
        all_pushes, all_pulls = len(done.pushed) + pushes, done.pulls + pulls
        wait_until(
            lambda: len(done.pushed) >= all_pushes and done.pulls >= all_pulls,
            timeout=60,
            what=f"{pushes} more pushes and {pulls} more pulls, after {done.failures[-3:]}",
        )


def no_pull_fails_while_each_service_is_restarted_in_turn(project: Project) -> None:
    repository = "team/pulled"
    with Load(project, repository, pullers=2) as load:
        load.after(pulls=5)
        for service in OURS:
            for container in project.compose.containers(service):
                project.engine("stop", "-t", "45", container)
                assert project.engine.inspect(container)[0]["State"]["ExitCode"] == 0, service
                project.engine("start", container)
                project.compose.wait_healthy(service)
                load.after(pulls=3)
    assert load.outcome.failures == []


def what_was_acknowledged_survives_kill_9_of_each_container_under_load(project: Project) -> None:
    repository = "team/killed"
    with Load(project, repository, pushers=2) as load:
        for victim in ALL * ROUNDS:
            load.after(pushes=2)
            (container,) = project.compose.containers(victim)
            before = project.engine.inspect(container)[0]
            project.engine.kill_process(container)
            wait_until(
                lambda: restarted(project, container, before),  # noqa: B023
                timeout=60,
                what=f"{victim} is started again",
            )
            load.after(pushes=2)
    project.compose.wait_healthy()
    for tag, image in load.outcome.pushed:
        with project.client(repository) as client:
            client.assert_holds(repository, tag, image)


def restarted(project: Project, container: str, before: dict[str, Any]) -> bool:
    """Whether the container runs once more since `before`."""
    now = project.engine.inspect(container)[0]
    return bool(now["State"]["Running"] and now["RestartCount"] > before["RestartCount"])


@contextmanager
def what_stays_after_down(project: Project) -> Iterator[None]:
    """`down`, and after what brings everything up again: the images, the accounts and the key are there."""
    repository = "team/kept"
    image = make_image(704)
    with project.client(repository) as client:
        client.push_image(repository, "1", image)
        token = client.http.headers["Authorization"]
    project.compose("down", timeout=180)
    assert project.engine("ps", "-aq") == ""
    yield
    with V2Client(project.url) as client:
        client.http.headers["Authorization"] = token  # issued before: the key is the same one
        client.assert_holds(repository, "1", image)


def prometheus_sees_each_container_of_each_service(project: Project) -> None:
    project.compose("--profile", "observability", "up", "-d", "prometheus")
    url = f"http://127.0.0.1:{project.engine.publish(9090)}/api/v1"

    def up() -> Counter[str]:
        """How many containers of each service Prometheus reads."""
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"{url}/query", params={"query": "up == 1"}, timeout=5)
            if answer.status_code == 200:
                return Counter(each["metric"]["job"] for each in answer.json()["data"]["result"])
        return Counter()

    expected = Counter({service: len(project.compose.containers(service)) for service in OURS})
    wait_until(lambda: up() == expected, timeout=60, what=f"Prometheus reads {expected}")
    groups = expect(httpx.get(f"{url}/rules", timeout=5), 200).json()["data"]["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    assert groups
    project.compose("--profile", "observability", "rm", "-sf", "prometheus")


def the_balancer_ends_tls(project: Project) -> None:
    folder = project.folder / "tls"
    folder.mkdir()
    authority = trustme.CA()
    certificate = folder / "registry.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    os.chown(certificate, 99, 99)
    certificate.chmod(0o400)
    compose = project.overlaid("tls", TLS_FOLDER=str(folder))
    compose("up", "-d", "--no-deps", "edge")
    compose.wait_healthy("edge")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    url = f"https://127.0.0.1:{project.port}"
    with httpx.Client(base_url=url, verify=context, timeout=30) as client:
        challenge = expect(client.get("/v2/"), 401).headers["www-authenticate"]
        assert f'realm="{url}/token"' in challenge
        scope = {"service": "moorage", "scope": "repository:team/tls:pull,push"}
        token = expect(client.get("/token", params=scope, auth=(project.user, project.password)), 200)
        client.headers["Authorization"] = f"Bearer {token.json()['token']}"
        upload = expect(client.post("/v2/team/tls/blobs/uploads/"), 202)
        assert upload.headers["location"].startswith(f"{url}/v2/team/tls/")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{project.url}/v2/", timeout=10)


# The files beside it


@pytest.mark.parametrize("compose", [old_compose, new_compose])
@pytest.mark.parametrize("overlay", ["", "s3", "rados", "tls"])
def test_each_overlay_makes_configurations_that_the_services_take(
    overlay: str, compose: Callable[[], str], tmp_path: Path
) -> None:
    deploy = copy_deploy(tmp_path)
    run(deploy / "make-env.sh")
    files = [deploy / "docker-compose.yml"]
    if overlay:
        files.append(deploy / f"docker-compose.{overlay}.yml")
    variables = {
        "S3_BUCKET": "images", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "a-secret-key",
        "S3_ENDPOINT": "https://s3.example", "CEPH_FOLDER": str(tmp_path), "TLS_FOLDER": str(tmp_path),
    }  # fmt: skip
    services = compose_config(compose(), files, variables)["services"]
    for name in OURS:
        env = {key: str(value) for key, value in services[name]["environment"].items() if value is not None}
        config = load(deploy / "config/config.yml", env)
        assert config.warnings == (), name
        assert getattr(config.storage, overlay if overlay in ("s3", "rados") else "filesystem"), name
    holders = {name for name in ALL if "a-secret-key" in json.dumps(services[name])}
    assert holders == ({"blob-service"} if overlay == "s3" else set())


def test_the_profile_observability_mounts_files_that_are_there(tmp_path: Path) -> None:
    deploy = copy_deploy(tmp_path)
    run(deploy / "make-env.sh")
    profile = {"COMPOSE_PROFILES": "observability"}
    whole = compose_config(old_compose(), [deploy / "docker-compose.yml"], profile)
    for name in ("prometheus", "grafana"):
        volumes = whole["services"][name]["volumes"]
        folders = [each.split(":")[0] for each in volumes if each.startswith("/")]
        assert len(folders) == {"prometheus": 1, "grafana": 2}[name]
        assert all(any(Path(folder).iterdir()) for folder in folders)
    run(required("promtool"), "check", "config", deploy / "prometheus/prometheus.yml")


def test_secrets_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    deploy = copy_deploy(tmp_path)
    assert run(deploy / "make-env.sh").splitlines()[0] == "user: admin"
    before = (deploy / ".env").read_bytes(), (deploy / "secrets/accounts/htpasswd").read_bytes()
    assert run(deploy / "make-env.sh") == ""
    assert before == ((deploy / ".env").read_bytes(), (deploy / "secrets/accounts/htpasswd").read_bytes())
    assert (deploy / ".env").stat().st_mode & 0o077 == 0
    assert (deploy / "secrets").stat().st_mode & 0o077 == 0


def test_accounts_are_made_changed_and_removed_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(REPO / "deploy/set-password.sh", tmp_path / "deploy")
    file = tmp_path / "deploy/secrets/accounts/htpasswd"

    def set_password(*arguments: str, password: str = "") -> int:
        return subprocess.run(
            [script, *arguments], input=f"{password}\n".encode(), capture_output=True, check=False
        ).returncode

    def accounts() -> dict[str, bytes]:
        return dict(line.split(":") for line in file.read_text().splitlines())

    assert set_password("ada", password="lovelace's") == 0
    assert set_password("grace", password="pässwörd: $1") == 0
    assert set_password("ada", password="another one") == 0
    assert list(accounts()) == ["grace", "ada"]
    for name, password in (("ada", "another one"), ("grace", "pässwörd: $1")):
        assert bcrypt.checkpw(password.encode(), accounts()[name].encode())
    assert not bcrypt.checkpw(b"lovelace's", accounts()["ada"].encode())
    for wrong in ("a:b", "../ada", "", "-n"):
        assert set_password(wrong, password="long enough") == 1
    assert set_password("ada", password="short") == 1
    assert set_password("ada", password="x" * 73) == 1
    assert set_password("--remove", "nobody") == 1
    assert set_password("--remove", "ada") == 0
    assert list(accounts()) == ["grace"]


def compose_config(program: str, files: list[Path], variables: dict[str, str]) -> dict[str, Any]:
    """What compose makes of its files. It asks no engine for that."""
    command = [program]
    for file in files:
        command += ["-f", str(file)]
    found: dict[str, Any] = yaml.safe_load(run(*command, "config", env=variables))
    return found
