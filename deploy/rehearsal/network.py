"""What compose.yaml says of networks: a bridge for each, a namespace for each service."""

from pathlib import Path
from typing import Any

from rehearsal.shell import run


class Network:
    """Nothing leads out of it; from here each service is reached, as from Docker's host.

    Addresses are of the range that Docker takes; services know each other by name where they share
    a network.
    """

    def __init__(self, room: Path, services: dict[str, Any]) -> None:
        self._room = room
        Path("/run/netns").mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        networks = sorted({one for said in services.values() for one in said["networks"]})
        below = {network: f"172.30.{number}" for number, network in enumerate(networks)}
        for network, start in below.items():
            run("ip", "link", "add", f"br-{network}", "type", "bridge")
            run("ip", "address", "add", f"{start}.1/24", "dev", f"br-{network}")
            run("ip", "link", "set", f"br-{network}", "up")
        #: By service and network.
        self._at: dict[str, dict[str, str]] = {}
        for last, (service, said) in enumerate(services.items(), start=2):
            self._at[service] = {one: f"{below[one]}.{last}" for one in said["networks"]}
            self._join(service, last)

    def _join(self, service: str, number: int) -> None:
        run("ip", "netns", "add", service)
        here = ("ip", "netns", "exec", service)
        run(*here, "ip", "link", "set", "lo", "up")
        # As Docker sets it in a container's network.
        run(*here, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start")
        for network, address in self._at[service].items():
            outer, inner = f"{network}-{number}", f"to-{network}"
            run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
            run("ip", "link", "set", outer, "master", f"br-{network}")
            run("ip", "link", "set", outer, "up")
            run("ip", "link", "set", inner, "netns", service)
            run(*here, "ip", "address", "add", f"{address}/24", "dev", inner)
            run(*here, "ip", "link", "set", inner, "up")

    def addresses(self, service: str) -> list[str]:
        return list(self._at[service].values())

    def address(self, service: str) -> str:
        """Where a service is asked from here."""
        return self.addresses(service)[0]

    def here(self, service: str) -> str:
        """Who then asks, as the service sees it."""
        return self.address(service).rpartition(".")[0] + ".1"

    def arguments(self, service: str) -> list[str]:
        """What `podman run` is told of it."""
        names = {service: self.address(service)}
        for other, at in self._at.items():
            for network in self._at[service].keys() & at.keys():
                names.setdefault(other, at[network])
        hosts = self._hosts(service, names)
        return ["--network", f"ns:/run/netns/{service}", "--volume", f"{hosts}:/etc/hosts:ro"]

    def hosts_here(self, sites: dict[str, str]) -> Path:
        """A hosts file for this machine, with names for services."""
        return self._hosts("here", {name: self.address(service) for name, service in sites.items()})

    def _hosts(self, of: str, names: dict[str, str]) -> Path:
        file = self._room / f"hosts-{of}"
        lines = {"localhost": "127.0.0.1", **names}
        file.write_text("".join(f"{address} {name}\n" for name, address in lines.items()))
        return file
