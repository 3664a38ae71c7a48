"""Images, really built and run: nobody special inside, nothing secret in them, and health that tells the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import HARDENED, PASSWORD, TARGETS, Engine, image, missing, wait_until

pytestmark = [
    pytest.mark.containers,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

_INSIDE = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
def writes(path):
    try:
        open(path + "/x", "w").close()
        return True
    except OSError:
        return False
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(),
    "capabilities": [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "new privileges": status["NoNewPrivs"].strip(),
    "writes": {path: writes(path) for path in ("/", "/opt/flaas", "/etc", "/tmp", "/var/lib/flaas")},
    "left": [path for path in ("/root/.netrc", "/src", "/dist", "/opt/tools", "/root/.cache") if os.path.exists(path)],
}))
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Podman, with all images built."""
    built = Engine(tmp_path_factory.mktemp("engine"))
    print(built.build())
    return built


@pytest.mark.parametrize("target", TARGETS)
def test_inside_is_a_user_without_rights_on_a_root_that_is_read_only(engine: Engine, target: str) -> None:
    told = json.loads(engine("run", "--rm", "--network=none", *HARDENED, image(target), "python3", "-c", _INSIDE))
    assert told["uid"] == told["gid"] == 10001
    assert told["capabilities"] == [0] * 5
    assert told["new privileges"] == "1"
    assert [path for path, done in told["writes"].items() if done] == ["/tmp", "/var/lib/flaas"]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_of_the_build_is_left_in_an_image(engine: Engine, target: str) -> None:
    about = engine("history", "--no-trunc", "--format=json", image(target)) + engine("inspect", image(target))
    assert PASSWORD not in about
    inside = json.loads(engine("run", "--rm", "--user=0", "--network=none", image(target), "python3", "-c", _INSIDE))
    assert inside["left"] == []
    environment = json.loads(engine("inspect", "--format={{json .Config.Env}}", image(target)))
    names = {entry.partition("=")[0] for entry in environment}
    assert not [name for name in names if any(word in name for word in ("TOKEN", "KEY", "SECRET", "PASSWORD", "INDEX"))]


def test_the_hosted_images_have_neither_tensorflow_nor_keras(engine: Engine) -> None:
    look = "import importlib.util as u; print([m for m in ('keras', 'tensorflow', 'torch') if u.find_spec(m)])"
    for target in ("api", "relay"):
        assert engine("run", "--rm", "--network=none", image(target), "python3", "-c", look) == "[]"


@pytest.fixture
def api(engine: Engine) -> Iterator[str]:
    """A running API, without a network but loopback."""
    name = "flaas-test-api"
    command = [
        "flaas",
        "api",
        "serve",
        "--host=0.0.0.0",
        "--tls-private",
        "--invitation-file=/var/lib/flaas/invitation",
    ]
    engine("run", "--detach", f"--name={name}", "--network=none", *HARDENED, image("api"), *command)
    yield name
    engine("rm", "--force", "--volumes", name)


def healthy(engine: Engine, container: str) -> bool:
    """Run the health check once, as the engine's timer does."""
    told = engine("healthcheck", "run", container, check=False)
    return told in ("", "healthy") and _state(engine, container) == "healthy"


def _state(engine: Engine, container: str) -> str:
    return engine("inspect", "--format={{.State.Health.Status}}", container)


def test_health_follows_a_process_that_hangs_and_goes_on(engine: Engine, api: str) -> None:
    wait_until("the API is healthy", lambda: healthy(engine, api))
    engine("kill", "--signal=STOP", api)
    wait_until("a hanging API is unhealthy", lambda: not healthy(engine, api) and _state(engine, api) == "unhealthy")
    engine("kill", "--signal=CONT", api)
    wait_until("the API is healthy again", lambda: healthy(engine, api))


def test_the_first_invitation_is_not_in_the_log(engine: Engine, api: str) -> None:
    wait_until("the API is healthy", lambda: healthy(engine, api))
    invitation = json.loads(engine("exec", api, "cat", "/var/lib/flaas/invitation"))["invitation"]
    assert len(invitation) > 30
    assert invitation not in engine("logs", api)
    assert engine("exec", api, "stat", "--format=%a", "/var/lib/flaas/invitation") == "600"


def test_an_api_that_is_told_to_end_ends_at_once(engine: Engine, api: str, tmp_path: Path) -> None:
    wait_until("the API is healthy", lambda: healthy(engine, api))
    engine("stop", "--time=20", api)
    assert engine("inspect", "--format={{.State.ExitCode}}", api) == "0"
