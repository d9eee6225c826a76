"""The services of deploy/compose together, from the very files, but for Grafana.

docker-compose says what compose.yaml means. Each service is a container with the networks, names,
variables, files, rights and health check that it says. deepfood is the image. The other images
cannot be fetched where no registry is reached: their programs, from Debian and PyPI, run on our
base in their place, as the users and with the start commands of the images.
"""

import json
import re
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from deploy_programs import compose_program

from rehearsal.container import STRICT, find, ready_photos, wait_until
from rehearsal.image import BASE, IMAGE
from rehearsal.network import Network
from rehearsal.released import S3, deepfood
from rehearsal.shell import ROOT, expect, output, run, say

COMPOSE = ROOT / "deploy/compose"
#: Of the names for which Caddy is its own authority.
SITE = "food.internal"
#: What the images of compose.yaml say, but for their files: program, user, start, variables.
STAND_INS = {
    "s3": ("weed", "0", [], {}),
    "caddy": (
        *("caddy", "0", ["run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]),
        {"XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "/config"},
    ),
    "prometheus": ("prometheus", "65534", [], {}),
}


def start_together(
    room: Path, programs: dict[str, Path], gallery: Path, photos: Path, photo: Path
) -> None:
    services, configs = read_compose(room)
    network = Network(room, services)
    run("mount", "--bind", str(network.hosts_here({SITE: "caddy"})), "/etc/hosts")

    def start(name: str) -> None:
        say(f"starting {name}")
        arguments = arguments_of(room, name, services[name], configs, programs)
        run("podman", "run", "--detach", "--name", name, *network.arguments(name), *arguments)
        wait_until(lambda: healthy(name, services[name]), name, f"{name} is healthy")

    start("s3")
    run("podman", "exec", "-i", "s3", "/usr/local/bin/weed", "shell", "-master=s3:9333",
        input="s3.bucket.create -name food\n")  # fmt: skip
    owner = ("owner", secret_of(configs, "owner"))
    s3 = S3(f"http://{network.address('s3')}:8333", owner)
    deepfood(s3, gallery, photos, "push", "/made/gallery", "s3://food/prod")
    for name in ("deepfood", "caddy", "prometheus"):
        start(name)
    trust = check_tls(room)
    find(photo, f"https://{SITE}", trust)
    check_log(network)
    check_walls(network)
    check_prometheus(network, programs, ready_photos(f"https://{SITE}", trust))
    run("podman", "rm", "--force", "--volumes", *services)


def gather(room: Path) -> dict[str, Path]:
    """Programs that stand in for images; Debian's are unpacked, and nothing is installed."""
    say("gathering the programs of the other services")
    folder = room / "programs"
    folder.mkdir()
    run("apt-get", "download", "-qq", "prometheus", "busybox-static", cwd=folder)
    for package in folder.glob("*.deb"):
        run("dpkg-deb", "--extract", str(package), str(folder))
    here = Path(sys.executable).parent
    return {
        "weed": here / "weed",
        "caddy": here / "caddy",
        "prometheus": folder / "usr/bin/prometheus",
        "promtool": folder / "usr/bin/promtool",
        "wget": folder / "bin/busybox",
    }


def read_compose(room: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Services and configs of compose.yaml, filled in as somebody would who reads example.env."""
    lines = (COMPOSE / "example.env").read_text(encoding="utf-8").splitlines()
    given = {"SITE": SITE, "ACME_EMAIL": f"cook@{SITE}"}
    filled = [
        f"{line}{given.get(line[:-1], secrets.token_hex(32))}" if line.endswith("=") else line
        for line in lines
    ]
    (room / ".env").write_text("\n".join(filled))
    command = [compose_program(), "--env-file", room / ".env", "-f", COMPOSE / "compose.yaml"]
    said = json.loads(output(*map(str, command), "config", "--format", "json"))
    services = {name: one for name, one in said["services"].items() if name != "grafana"}
    return services, {name: one["content"] for name, one in said["configs"].items()}


def arguments_of(
    room: Path, name: str, said: dict[str, Any], configs: dict[str, str], programs: dict[str, Path]
) -> list[str]:
    """What `podman run` is told of a service, its image and its command last."""
    expect(said["read_only"] and said["cap_drop"] == ["ALL"], f"{name} is as strict as it goes")
    told = [*STRICT]
    for right in said.get("cap_add", []):
        told += ["--cap-add", right]
    for where in said.get("tmpfs", []):
        told += ["--tmpfs", where]
    for volume in said.get("volumes", []):
        # U: the user's own, as in an image whose folder it is.
        ending = "ro" if volume.get("read_only") else "U"
        told += ["--volume", f"{volume['source']}:{volume['target']}:{ending}"]
    for config in said.get("configs", []):
        file = room / config["source"]
        file.write_text(configs[config["source"]])
        told += ["--volume", f"{file}:{config['target']}:ro"]
    variables = dict(said.get("environment") or {})
    if name == "deepfood":
        image, command = IMAGE, []
    else:
        program, user, start, more = STAND_INS[name]
        variables |= more
        for one in (program, "wget"):
            told += ["--volume", f"{programs[one]}:/usr/local/bin/{one}:ro"]
        told += ["--user", user, "--entrypoint", f"/usr/local/bin/{program}"]
        image, command = BASE, [*start, *(said.get("command") or [])]
    for variable, value in variables.items():
        told += ["--env", f"{variable}={value}"]
    return [*told, image, *command]


def healthy(name: str, said: dict[str, Any]) -> bool:
    """What its health check says, run as Docker would."""
    if "healthcheck" not in said:  # its image has one
        return run("podman", "healthcheck", "run", name, check=False).returncode == 0
    kind, program, *arguments = said["healthcheck"]["test"]
    expect(kind == "CMD", "health checks are commands")
    done = run("podman", "exec", name, f"/usr/local/bin/{program}", *arguments, check=False)
    return done.returncode == 0


def secret_of(configs: dict[str, str], name: str) -> str:
    """The key that compose.yaml gives somebody for S3."""
    identities = json.loads(configs["s3.json"])["identities"]
    [secret] = [one["credentials"][0]["secretKey"] for one in identities if one["name"] == name]
    return str(secret)


def check_tls(room: Path) -> ssl.SSLContext:
    """Caddy's certificate holds for the site and is its own authority's; http leads to https."""
    say(f"asking https://{SITE} through Caddy")
    root = room / "root.crt"
    where = "/data/caddy/pki/authorities/local/root.crt"
    copy = ("podman", "cp", f"caddy:{where}", str(root))
    wait_until(lambda: run(*copy, check=False).returncode == 0, "caddy", "it is an authority")
    trust = ssl.create_default_context(cafile=str(root))
    with urllib.request.urlopen(f"https://{SITE}/", timeout=30, context=trust) as answer:
        expect(answer.headers["Strict-Transport-Security"] == "max-age=31536000", "HSTS is said")
        expect("text/html" in answer.headers["Content-Type"], "the page comes")
    expect(refuses(f"https://{SITE}/", ssl.create_default_context()), "who lacks it is refused")
    with urllib.request.urlopen(f"http://{SITE}/", timeout=30, context=trust) as answer:
        expect(answer.url == f"https://{SITE}/", "http leads to https")
    return trust


def refuses(url: str, trust: ssl.SSLContext) -> bool:
    try:
        urllib.request.urlopen(url, timeout=30, context=trust).close()
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLCertVerificationError)
    return False


def check_log(network: Network) -> None:
    """deepfood believes Caddy, and logs who asked Caddy."""
    lines = run("podman", "logs", "deepfood").stdout.splitlines()
    found = [json.loads(line) for line in lines if "/api/v1/search" in line]
    expect([one["client"] for one in found] == [network.here("caddy")], f"the client: {found}")


def check_walls(network: Network) -> None:
    """Who serves the web reaches no storage, and who reads releases cannot write."""
    for name, may in (("caddy", False), ("prometheus", False), ("s3", True)):
        for address in network.addresses("s3"):
            ask = f"import socket; socket.create_connection(({address!r}, 8333), 3)"
            asked = run("podman", "exec", name, "python3", "-c", ask, check=False)
            expect((asked.returncode == 0) == may, f"{name} may {'' if may else 'not '}reach s3")
    done = run("podman", "exec", "deepfood", "deepfood", "prune", "s3://food/prod", "--keep", "1",
               check=False)  # fmt: skip
    expect("may not do that" in done.stdout, f"the service may not write: {done.stdout}")


def check_prometheus(network: Network, programs: dict[str, Path], photos: int | None) -> None:
    """It reads its files and deepfood's figures, and watches every rule."""
    say("asking Prometheus")
    files = ROOT / "deploy/prometheus"
    run(str(programs["promtool"]), "check", "config", str(files / "prometheus.yml"))
    url = f"http://{network.address('prometheus')}:9090/api/v1"

    def ask(what: str) -> Any:
        with urllib.request.urlopen(f"{url}/{what}", timeout=30) as answer:
            return json.load(answer)["data"]

    def scraped() -> bool:
        return [one["health"] for one in ask("targets")["activeTargets"]] == ["up"]

    wait_until(scraped, "prometheus", "Prometheus reads deepfood's figures")
    [figure] = ask("query?query=deepfood_gallery_photos")["result"]
    expect(int(figure["value"][1]) == photos, f"{photos} photos, and it has {figure}")

    def evaluated() -> list[dict[str, Any]]:
        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] == "ok" for rule in rules) else []

    wait_until(lambda: bool(evaluated()), "prometheus", "Prometheus evaluates its rules")
    wanted = re.findall(r"- alert: (\w+)", (files / "alerts.yml").read_text(encoding="utf-8"))
    expect([rule["name"] for rule in evaluated()] == wanted, f"the rules: {wanted}")
    expect({rule["state"] for rule in evaluated()} == {"inactive"}, "no alert fires")
    say(f"Prometheus watches {len(wanted)} rules")
