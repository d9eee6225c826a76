"""deploy/compose, read by docker-compose and Caddy themselves."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deploy_programs import SCRIPTS, compose_program

from deepfood.config import PREFIX, load_settings

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose"


def compose(env_file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [
        compose_program(),
        "--env-file",
        env_file,
        "-f",
        COMPOSE / "compose.yaml",
    ]
    bare = {"PATH": os.environ["PATH"]}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, env=bare)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """example.env as somebody fills it in."""
    lines = (COMPOSE / "example.env").read_text(encoding="utf-8").splitlines()
    filled = tmp_path_factory.mktemp("env") / ".env"
    filled.write_text("\n".join(f"{x}food.example" if x.endswith("=") else x for x in lines))
    return filled


@pytest.fixture(scope="module")
def services(filled: Path) -> dict[str, Any]:
    done = compose(filled, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "docker-compose warns"
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


@pytest.mark.parametrize("name", ["SITE", "ACME_EMAIL", "S3_OWNER_SECRET", "GRAFANA_PASSWORD"])
def test_what_is_not_filled_in_is_named(name: str, filled: Path, tmp_path: Path) -> None:
    lacking = tmp_path / ".env"
    lines = filled.read_text().splitlines()
    lacking.write_text("\n".join(line for line in lines if not line.startswith(f"{name}=")))
    done = compose(lacking, "config", "--quiet")
    assert done.returncode != 0
    assert name in done.stderr


def test_what_deepfood_is_told_are_settings(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = {k: v for k, v in services["deepfood"]["environment"].items() if k.startswith(PREFIX)}
    settings = load_settings(**{k.removeprefix(PREFIX).lower(): v for k, v in ours.items()})
    assert settings.public_url == "https://food.example"
    assert settings.log_format == "json"


def test_services_may_do_no_more_than_they_must(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        if name != "deepfood":  # whose image is built here, and has a HEALTHCHECK
            tag = service["image"].partition(":")[2]
            assert any(letter.isdigit() for letter in tag), f"{name} is not pinned"
            assert service["healthcheck"]["test"][0] == "CMD", name


def test_only_the_web_is_open_to_the_world(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for port in service.get("ports", []):
            if name == "caddy":
                assert port["published"] in ("80", "443")
            else:
                assert port["host_ip"] == "127.0.0.1", name


def test_who_serves_the_web_meets_deepfood_alone(services: dict[str, Any]) -> None:
    def meets(name: str) -> set[str]:
        networks = services[name]["networks"].keys()
        return {other for other, said in services.items() if said["networks"].keys() & networks}

    assert meets("caddy") == {"caddy", "deepfood"}
    assert meets("s3") == {"s3", "deepfood"}
    assert meets("prometheus") == {"prometheus", "grafana", "deepfood"}


def test_what_is_mounted_exists(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), volume["source"]
                assert volume["read_only"]


def test_caddy_takes_its_file(services: dict[str, Any], tmp_path: Path) -> None:
    environment = {**services["caddy"]["environment"], "HOME": str(tmp_path)}
    command: list[str | Path] = [
        SCRIPTS / "caddy",
        "validate",
        "--adapter",
        "caddyfile",
        "--config",
    ]
    done = subprocess.run(
        [*command, COMPOSE / "Caddyfile"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Valid configuration" in done.stdout + done.stderr
