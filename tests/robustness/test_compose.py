"""docker-compose.yml and Dockerfile, as far as they can be checked without a container engine."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from polymine.commands.server.client import client_environment
from robustness.services.compose import ComposeError, read_services, resolve

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
SCHEMA = Path("/usr/lib/python3/dist-packages/compose/config/compose_spec.json")  # of Debian
SECRETS = {
    "POSTGRES_PASSWORD": "written",
    "REDIS_PASSWORD": "by",
    "PREFECT_API_AUTH_STRING": "nobody:here",
}
SERVICES = yaml.safe_load(FILE.read_text())["services"]
ONCE = {"migrate", "setup"}
PROCESSES = sorted(SERVICES.keys() - {"postgres", "redis"})


def test_it_is_a_compose_file():
    if not SCHEMA.is_file():
        pytest.skip(f"{SCHEMA} is not installed; Debian's docker-compose brings it")
    import jsonschema

    validator = jsonschema.Draft4Validator(json.loads(SCHEMA.read_text()))
    errors = validator.iter_errors(yaml.safe_load(FILE.read_text()))
    assert [f"{list(error.path)}: {error.message}" for error in errors] == []


@pytest.mark.parametrize("missing", [None, "REDIS_PASSWORD"])
def test_compose_resolves_it_with_all_secrets_and_refuses_without_one(missing, tmp_path):
    if (program := shutil.which("docker-compose")) is None:
        pytest.skip("docker-compose is not installed")
    shutil.copy(FILE, tmp_path)  # away from a .env of ours
    given = {name: text for name, text in SECRETS.items() if name != missing}
    done = subprocess.run(
        [program, "config", "--quiet"], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", **given},
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode == 0) == (missing is None), done.stderr
    assert missing is None or "see .env.example" in done.stderr


@pytest.mark.parametrize("missing", SECRETS)
def test_our_own_reading_refuses_the_same(missing):
    with pytest.raises(ComposeError, match=missing):
        read_services({**SECRETS, missing: ""})


def test_references_are_replaced_as_compose_does():
    text = "${A:-x} ${B:-y} $$HOME ${C}"
    assert resolve({"k": [text, 3]}, {"B": "b"}) == {"k": ["x b $HOME ", 3]}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_watched_and_comes_back(name):
    service = SERVICES[name]
    if name in ONCE:
        assert service["restart"] == "on-failure"
        assert "healthcheck" not in service
        return
    assert service["restart"] == "unless-stopped"
    assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])
    assert service["logging"]["options"]["max-size"], "its log would fill the disk"


def test_each_waits_until_what_it_needs_is_ready():
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed in ONCE else "service_healthy"
            assert how["condition"] == wanted
    assert {"migrate", "redis"} <= set(SERVICES["api"]["depends_on"])


def test_no_secret_is_written_down():
    for service in SERVICES.values():
        for name, text in service.get("environment", {}).items():
            if re.search("PASSWORD|AUTH|SECRET|TOKEN|_KEY", name):
                assert text is None or text.startswith("${"), name
            for credentials in re.findall(r"//([^/@]+)@", text or ""):
                assert re.fullmatch(r"\w*:\$\{\w+:\?.+\}", credentials), name
    example = (ROOT / ".env.example").read_text()
    assigned = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", example, re.MULTILINE))
    used = set(re.findall(r"\$\{(\w+):", FILE.read_text())) | {
        name for name, text in SERVICES["worker"]["environment"].items() if text is None
    }
    own = {"COMPOSE_PROFILES"}  # Compose's, so it stands in no service
    assert assigned == dict.fromkeys(used | own, "")
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def test_only_the_api_is_published_and_only_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:4200:4200"]}
    assert SERVICES["api"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"].startswith("${")
    reached = {name for name, each in SERVICES.items() if "servers" in each["networks"]}
    assert reached == {"postgres", "redis", "migrate", "api", "services"}


@pytest.mark.parametrize("name", PROCESSES)
def test_processes_are_of_one_image_without_privileges_and_report_to_nobody(name):
    service = SERVICES[name]
    assert service["image"] == ("polymine:gpu" if name == "worker-gpu" else "polymine:cpu")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["environment"]["DO_NOT_TRACK"] == "1"
    assert service["environment"]["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_every_setting_of_prefect_is_one():
    """A misspelt one would be passed over, and the API keep in memory what must be shared."""
    redis_client = pytest.importorskip("prefect_redis.client")
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_valid_setting_names
    from prefect_redis.cleanup_queue import RedisWorkerCleanupQueueSettings

    kinds = (Settings, redis_client.RedisMessagingSettings, RedisWorkerCleanupQueueSettings)
    known = {name.upper() for kind in kinds for name in _get_valid_setting_names(kind)}
    environments = [service.get("environment", {}) for service in SERVICES.values()]
    used = {name for each in environments for name in each if name.startswith("PREFECT_")}
    assert used <= known
    modules = {
        text for each in environments for text in each.values() if str(text).startswith("prefect_")
    }
    assert len(modules) == 4
    assert all(importlib.util.find_spec(module) for module in modules)


def test_what_works_for_a_gpu_is_off_unless_asked_for():
    assert [name for name, each in SERVICES.items() if "profiles" in each] == ["worker-gpu"]
    reserved = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]


def test_the_image_is_pinned_runs_as_nobody_and_takes_only_what_is_named():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    base = next(line for line in lines if line.startswith("ARG PYTHON_IMAGE="))
    assert re.search(r"=python:\d+\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}$", base)
    assert all("${PYTHON_IMAGE}" in line for line in lines if line.startswith("FROM"))
    assert all("-c constraints.txt" in line for line in lines if "pip install" in line)
    assert any('".[server,s3]"' in line for line in lines), "a store may lie on S3"
    last = lines[max(at for at, line in enumerate(lines) if line.startswith("FROM")) :]
    assert "USER 10001" in last
    assert any(re.fullmatch(r'ENTRYPOINT \["tini", .*\]', line) for line in last)
    taken = (ROOT / ".dockerignore").read_text().splitlines()
    taken = [line for line in taken if line and not line.startswith("#")]
    assert taken[0] == "*"
    assert not {"!.env", "!.git", "!tests", "!runs"} & set(taken)


def test_what_runs_may_name_is_bounded_and_handed_on():
    environment = read_services(SECRETS)["worker"].environment
    assert environment["POLYMINE_ROOTS"] == environment["POLYMINE_HOME"] == "/var/lib/polymine"
    assert not {"POLYMINE_TRUSTED_CODE", "HF_HUB_OFFLINE"} & set(environment)
    own = {
        "POLYMINE_ROOTS": "/var/lib/polymine:s3://bucket/team",
        "POLYMINE_TRUSTED_CODE": "org/model",
        "HF_HUB_OFFLINE": "1",
        "AWS_SESSION_TOKEN": "short-lived",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_MAX_ATTEMPTS": "5",
    }
    for name in ("worker", "worker-gpu"):
        assert own.items() <= read_services(SECRETS | own)[name].environment.items()


def test_runs_have_one_environment_whoever_starts_them(tmp_path):
    """It is written down three times: for commands, for deployments and for containers."""
    plan = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    wanted = plan["definitions"]["env"]
    assert "PREFECT_CLIENT_MAX_RETRIES" in wanted
    for deployment in plan["deployments"]:
        assert deployment["work_pool"]["job_variables"]["env"] == wanted
    own = client_environment("http://127.0.0.1:4200/api", tmp_path)
    assert wanted.items() <= own.items()
    composed = read_services(SECRETS)["worker"].environment
    assert wanted.items() <= composed.items()
    places = {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_HOME"}
    shared = own.keys() & composed.keys() - places
    assert {name: own[name] for name in shared} == {name: composed[name] for name in shared}
