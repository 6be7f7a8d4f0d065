"""The registry as its own token service, as the examples of the documents start it, and real clients."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.accounts import write_accounts
from support.client import V2Client, error_codes, expect
from support.engine import DockerEngine, load_image, skopeo, skopeo_copy
from support.images import make_image, write_oci_layout
from support.processes import wait_until
from support.registry import Up, running_up

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PASSWORDS = {name: f"the password of {name}" for name in ("ada", "grace", "edsger", "barbara", "robot")}


@contextmanager
def example(name: str, folder: Path, **settings: str) -> Iterator[Up]:
    """An example of the documents, with its files below a folder."""
    environ = {
        "REGISTRY_CONFIGURATION_PATH": str(EXAMPLES / name),
        "REGISTRY_AUTH_TOKEN_SERVER_HTPASSWD": str(write_accounts(folder / "htpasswd", PASSWORDS)),
        "REGISTRY_AUTH_TOKEN_SERVER_KEY": str(folder / "token.pem"),
        **settings,
    }
    with running_up(folder / "up", environ) as up:
        yield up


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with example("public-pull.yml", tmp_path_factory.mktemp("public")) as up:
        yield up


@contextmanager
def logged_in(up: Up, user: str, *scopes: str) -> Iterator[V2Client]:
    """A client with the user's token for these scopes; of nobody without a user."""
    auth = (user, PASSWORDS[user]) if user else None
    with V2Client(up.url) as client:
        answer = client.http.get("/token", params={"scope": " ".join(scopes)}, auth=auth)
        client.http.headers["Authorization"] = f"Bearer {expect(answer, 200).json()['token']}"
        yield client


def accounts_of(up: Up) -> Path:
    return up.folder.parent / "htpasswd"


def test_docker_logs_in_pushes_and_pulls_and_is_refused_what_it_may_not(
    public: Up, engine: DockerEngine, repository: str, tmp_path: Path
) -> None:
    name = f"{public.address}/{repository}:one"
    load_image(engine, make_image(61), tmp_path, name)
    ada, nobody = ("--config", tmp_path / "ada"), ("--config", tmp_path / "nobody")
    with pytest.raises(AssertionError, match=r"denied|unauthorized|authentication required"):
        engine(*nobody, "push", name)
    with pytest.raises(AssertionError, match=r"unauthorized|incorrect|not valid"):
        engine(*ada, "login", "-u", "ada", "-p", "another", public.address)
    engine(*ada, "login", "-u", "ada", "-p", PASSWORDS["ada"], public.address)

    # What docker keeps is the refresh token, and not the password.
    kept = json.loads((tmp_path / "ada" / "config.json").read_text())["auths"][public.address]
    assert kept["identitytoken"]
    assert PASSWORDS["ada"] not in base64.b64decode(kept["auth"]).decode()

    digest = next(word for word in engine(*ada, "push", name).split() if word.startswith("sha256:"))
    engine("rmi", "-f", name)
    assert digest in engine(*nobody, "pull", name)
    engine("rmi", "-f", name)
    assert digest in engine(*ada, "pull", name)
    engine("tag", name, f"{name}-again")
    engine(*ada, "push", f"{name}-again")
    engine("rmi", "-f", name, f"{name}-again")


def test_a_login_of_docker_ends_with_the_password(
    public: Up, engine: DockerEngine, repository: str, tmp_path: Path
) -> None:
    name = f"{public.address}/{repository}:one"
    load_image(engine, make_image(62), tmp_path, name)
    edsger = ("--config", tmp_path / "edsger")
    engine(*edsger, "login", "-u", "edsger", "-p", PASSWORDS["edsger"], public.address)
    engine(*edsger, "push", name)
    write_accounts(accounts_of(public), {**PASSWORDS, "edsger": "changed"})
    engine("tag", name, f"{name}-2")

    def is_refused() -> bool:
        try:
            engine(*edsger, "push", f"{name}-2")
        except AssertionError as error:
            return "unauthorized" in str(error) or "not valid" in str(error)
        return False

    # Each process of the gateway looks at the file once a second.
    wait_until(is_refused, timeout=60, what="the old login is over")
    wait_until(
        lambda: httpx.get(f"{public.url}/token", auth=("edsger", "changed")).status_code == 200,
        timeout=60,
        what="the new password counts",
    )
    engine("rmi", "-f", name, f"{name}-2")


def test_skopeo_logs_in_copies_and_is_refused(public: Up, repository: str, tmp_path: Path) -> None:
    layout = write_oci_layout(tmp_path / "source", {"one": make_image(63)})
    remote = f"docker://{public.address}/{repository}:one"
    with pytest.raises(AssertionError, match=r"unauthorized|denied|authentication required"):
        skopeo_copy(f"oci:{layout}:one", remote)
    with pytest.raises(AssertionError, match=r"invalid username/password|not valid"):
        skopeo_copy(f"oci:{layout}:one", remote, "--dest-creds", "ada:wrong")
    file = tmp_path / "auth.json"
    credentials = ("-u", "grace", "-p", PASSWORDS["grace"])
    skopeo("login", "--tls-verify=false", "--authfile", file, *credentials, public.address)
    skopeo_copy(f"oci:{layout}:one", remote, "--dest-authfile", str(file))
    skopeo_copy(remote, f"oci:{tmp_path}/back:one")
    with pytest.raises(AssertionError, match=r"unauthorized|denied|authentication required"):
        skopeo("delete", "--tls-verify=false", "--authfile", file, remote)
    skopeo("delete", "--tls-verify=false", "--creds", f"ada:{PASSWORDS['ada']}", remote)


def test_each_team_has_its_folder_and_sees_its_part_of_the_catalog(tmp_path: Path) -> None:
    image = make_image(64)
    names = ["base/os", "home/ada/tool", "home/grace/tool", "payments/api", "search/index"]
    with example("team-folders.yml", tmp_path, REGISTRY_HTTP_WORKERS="1") as up:
        with logged_in(up, "barbara", *(f"repository:{name}:pull,push" for name in names)) as client:
            for name in names:
                client.push_image(name, "v1", image)
        seen = {
            "ada": ["base/os", "home/ada/tool", "payments/api"],
            "edsger": ["base/os", "search/index"],
            "barbara": names,
        }
        for user, expected in seen.items():
            with logged_in(up, user, "registry:catalog:*") as client:
                assert expect(client.http.get("/v2/_catalog"), 200).json() == {"repositories": expected}
        scopes = [f"repository:{name}:pull,push,delete" for name in names]
        with logged_in(up, "edsger", *scopes) as client:
            client.push_image("search/index", "v2", image)
            expect(client.get_manifest("base/os", "v1"), 200)
            for name in ("payments/api", "home/ada/tool"):
                expect(client.get_manifest(name, "v1"), 401)
                expect(client.put_manifest(name, "v2", image.manifest), 401)
            expect(client.put_manifest("base/os", "v2", image.manifest), 401)
        # Without an account there is nothing here.
        expect(httpx.get(f"{up.url}/token"), 401)


def test_a_robot_releases_and_what_is_released_stays(tmp_path: Path) -> None:
    first, second = make_image(65), make_image(66)
    scope = "repository:release/app:pull,push,delete"
    with example("release-robot.yml", tmp_path, REGISTRY_HTTP_WORKERS="1") as up:
        with logged_in(up, "robot", scope) as robot:
            robot.push_image("release/app", "v1", first)
            robot.push_image("release/app", "latest", first)
            for blob in second.blobs:
                robot.push_blob("release/app", blob.content)
            for tag in ("v1", "latest"):
                answer = expect(robot.put_manifest("release/app", tag, second.manifest), 403)
                assert error_codes(answer) == ["DENIED"]
            expect(robot.put_manifest("release/app", "v2", second.manifest), 201)
            expect(robot.http.delete("/v2/release/app/manifests/latest"), 401)
        with logged_in(up, "ada", scope) as ada:
            expect(ada.put_manifest("release/app", "v1", second.manifest), 403)
            expect(ada.put_manifest("release/app", "latest", second.manifest), 201)
            expect(ada.http.delete(f"/v2/release/app/manifests/{first.manifest.digest}"), 403)
        skopeo_copy(f"docker://{up.address}/release/app:v1", f"oci:{tmp_path}/back:v1")
        with logged_in(up, "", scope) as nobody:
            nobody.assert_holds("release/app", "v1", first)
