"""Settings: one frozen object, built once at the edge, passed down as plain arguments.

Order, the first that has a value wins: flags, environment (`DEEPFOOD_<NAME>`), the TOML file
(`deepfood.toml` in the working folder, or the file that `DEEPFOOD_CONFIG` names), the defaults
here. This module is the only one that reads the environment. `docs/settings.md` lists them all.
"""

import configparser
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from deepfood.errors import SettingError

PREFIX = "DEEPFOOD_"
CONFIG_VARIABLE = "DEEPFOOD_CONFIG"
CONFIG_FILE = "deepfood.toml"
#: The default number of hits.
DEFAULT_K = 9
_HUB = "https://huggingface.co"
#: Of the Makefile's scripts.
_OTHER_VARIABLES = ("DEEPFOOD_SKIP_BROWSER", "DEEPFOOD_CLUSTER_PARTS")


#: Several values, with blanks between.
_ORIGINS = r"^(\*|\s*(https?://[^\s/*]+(\s+|$))*)$"
_URL_HOSTS = r"^\s*((https?://)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\s+|$))*$"
_HOSTS = r"^\s*((\*\.)?[\w.:\[\]-]+(\s+|$))*$"


def _networks(text: str) -> str:
    for one in text.split():
        ip_network(one)  # raises ValueError
    return text


class Settings(BaseSettings):
    """Every setting with its default; units are in the names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    # Photos
    max_photo_bytes: Annotated[int, Field(ge=1024)] = 20 * 2**20
    max_photo_pixels: Annotated[int, Field(ge=4096)] = 64_000_000
    max_decoding_bytes: Annotated[int, Field(ge=0)] = 0

    # Model and embedding
    model: Path | None = None
    runtime: Literal["auto", "openvino", "onnxruntime"] = "auto"
    precision: Literal["auto", "f32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda", "coreml", "openvino-gpu"] = "auto"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0

    # Learning and evaluating
    cache: Path = Path("~/.cache/deepfood")
    pictures_bytes: Annotated[int, Field(ge=0)] = 64 * 2**30

    # S3
    s3_endpoint: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    s3_region: str = ""
    s3_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    s3_retry_s: Annotated[float, Field(ge=0, le=3600)] = 60.0

    # Index
    index: Literal["auto", "exact", "annoy", "hnsw"] = "auto"
    annoy_trees: Annotated[int, Field(ge=1, le=10_000)] = 5
    annoy_search_k: Annotated[int, Field(ge=-1)] = -1
    hnsw_m: Annotated[int, Field(ge=4, le=128)] = 16
    hnsw_ef_construction: Annotated[int, Field(ge=8, le=10_000)] = 140
    hnsw_ef_search: Annotated[int, Field(ge=1, le=10_000)] = 200
    storage: Literal["f32", "f16", "i8"] = "f32"
    parts_storage: Literal["f16", "i8"] = "i8"

    # Galleries on Milvus
    milvus_token: str = ""
    milvus_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    milvus_consistency: Literal["Strong", "Bounded", "Session", "Eventually"] = "Bounded"
    milvus_shards: Annotated[int, Field(ge=1, le=64)] = 2
    milvus_replicas: Annotated[int, Field(ge=1, le=64)] = 1
    photos_store: str | None = None

    # Building on Ray
    engine: Literal["local", "ray"] = "local"
    ray_address: Annotated[str, Field(pattern=r"^(auto|[^\s:/]+:\d{1,5})?$")] = ""
    ray_workers: Annotated[int, Field(ge=0, le=100_000)] = 0
    ray_cpus: Annotated[float, Field(gt=0, le=1024)] = 1.0

    # Service
    gallery: Annotated[str | None, BeforeValidator(lambda text: text and str(text))] = None
    photos_root: Path | None = None
    follow_s: Annotated[float, Field(ge=0.1, le=86_400)] = 30.0
    photo_links: Literal["proxied", "presigned"] = "proxied"
    presigned_s: Annotated[float, Field(ge=1, le=604_800)] = 3600.0
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    compact_share: Annotated[float, Field(ge=0, lt=1)] = 0.3
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    public_url: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    log_format: Literal["text", "json"] = "text"
    metrics_address: Annotated[str, Field(pattern=r"^((\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5})?$")] = (
        ""
    )
    traces: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    api_key_hashes: Annotated[str, Field(pattern=r"^\s*([0-9a-f]{64}\s*)*$")] = ""
    max_queued: Annotated[int, Field(ge=0, le=100_000)] = 64
    request_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    body_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    max_connections: Annotated[int, Field(ge=1)] = 900
    max_upload_bytes_at_once: Annotated[int, Field(ge=1024)] = 256 * 2**20
    rate_limit_per_minute: Annotated[int, Field(ge=0)] = 0
    cors_origins: Annotated[str, Field(pattern=_ORIGINS)] = ""
    allowed_hosts: Annotated[str, Field(pattern=_HOSTS)] = ""
    trusted_proxies: Annotated[str, AfterValidator(_networks)] = ""
    query_url_hosts: Annotated[str, Field(pattern=_URL_HOSTS)] = ""
    cursor_key: str = ""
    feedback: bool = False
    feedback_votes: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    feedback_photos_bytes: Annotated[int, Field(ge=0)] = 0
    max_k: Annotated[int, Field(ge=1, le=10_000)] = 100
    match_probability: Annotated[float, Field(ge=0, le=1)] = 0.8
    none_probability: Annotated[float, Field(ge=0, le=1)] = 0.3
    thumbnail_pixels: Annotated[int, Field(ge=32, le=2048)] = 320
    thumbnail_cache_bytes: Annotated[int, Field(ge=0)] = 32 * 2**20

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = Path(os.environ.get(CONFIG_VARIABLE, CONFIG_FILE))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)


class _Given(Settings):
    """Settings that nothing but their arguments decides."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def load_settings(**flags: Any) -> Settings:
    """Build the settings, at the edge: a command, the Python API or a server's start calls this.

    Flags that are None count as not given. Raises SettingError with the name, the value and what
    is allowed.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not Path(named).is_file():
        raise SettingError(f"{CONFIG_VARIABLE} names {named}, and there is no such file")
    given = {name: value for name, value in flags.items() if value is not None}
    with _explained(named or CONFIG_FILE):
        return Settings(**given)


def only_given(**values: Any) -> Settings:
    """Settings with these values, and defaults for the rest: neither environment nor file counts.

    Raises SettingError as `load_settings` does.
    """
    with _explained(CONFIG_FILE):
        return _Given(**values)


@contextmanager
def _explained(file: str) -> Iterator[None]:
    """Turn what pydantic finds wrong into a SettingError of one line."""
    try:
        yield
    except ValidationError as error:
        one = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in one["loc"])
        if one["type"] == "extra_forbidden":
            raise SettingError(f"there is no setting {name!r}: see docs/settings.md") from error
        raise SettingError(f"setting {name} = {one['input']!r}: {one['msg']}") from error
    except ValueError as error:  # the TOML file does not parse
        raise SettingError(f"{file}: {error}") from error


def origins() -> dict[str, str]:
    """Where `load_settings` without flags has each value from: the environment, a file, default."""
    path = os.environ.get(CONFIG_VARIABLE, CONFIG_FILE)
    in_file = TomlConfigSettingsSource(Settings, Path(path))()
    variables = {name.lower(): name for name in os.environ}
    found = {}
    for name in Settings.model_fields:
        variable = variables.get((PREFIX + name).lower())
        where = f"file {path}" if name in in_file else "default"
        found[name] = f"environment {variable}" if variable else where
    return found


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings, and are none."""
    known = {CONFIG_VARIABLE, *_OTHER_VARIABLES, *(PREFIX + one for one in Settings.model_fields)}
    known = {name.upper() for name in known}
    return sorted(one for one in os.environ if one.startswith(PREFIX) and one not in known)


def export_settings(settings: Settings) -> None:
    """Put the settings into the environment, for worker processes that start from nothing else."""
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        os.environ[PREFIX + name.upper()] = str(value)


def export_metrics_folder(folder: Path) -> None:
    """Set the folder for the metrics of worker processes, for prometheus_client."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def quiet_ray() -> None:
    """Turn off Ray's telemetry and backend logs; call before ray is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")


def quiet_onnxruntime() -> None:
    """Turn off ONNX Runtime's telemetry; call before onnxruntime is imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def asked_by_shell() -> bool:
    """Whether this process only completes a command line for the shell (Tab)."""
    return "_DEEPFOOD_COMPLETE" in os.environ


def shell_that_asks() -> tuple[str, bool]:
    """The shell that this process completes a command line for, and whether it is in quotes.

    Only bash tells whether; for the others, which quote what they insert, it is False.
    """
    shell = os.environ.get("_DEEPFOOD_COMPLETE", "").removeprefix("complete_")
    typed = re.sub(r"\\.", "", os.environ.get("COMP_WORDS", ""))
    return shell, typed.count('"') % 2 == 1 or typed.count("'") % 2 == 1


def find_program(name: str) -> str | None:
    """The full path of an external program, looked up in the user's PATH."""
    return shutil.which(name)


def kaggle_credentials() -> tuple[str, str] | None:
    """User name and key of the user's own Kaggle account, where Kaggle's own client looks for them.

    `KAGGLE_USERNAME` and `KAGGLE_KEY`, else kaggle.json in the folder `KAGGLE_CONFIG_DIR`, in
    ~/.kaggle or in ~/.config/kaggle; None where there is none. Raises SettingError for an
    invalid kaggle.json.
    """
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if user and key:
        return user, key
    named = os.environ.get("KAGGLE_CONFIG_DIR")
    folders = [Path(named)] if named else [Path("~/.kaggle"), Path("~/.config/kaggle")]
    for folder in folders:
        path = folder.expanduser() / "kaggle.json"
        try:
            token = json.loads(path.read_bytes())
            return str(token["username"]), str(token["key"])
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise SettingError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SettingError(
                f"{path} is not a kaggle.json from Kaggle, with username and key: get a "
                "new one at https://www.kaggle.com/settings"
            ) from error
    return None


def hub_endpoint() -> str:
    """The address of Hugging Face's hub, or of a mirror that `HF_ENDPOINT` names."""
    return (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")


def hub_token() -> str | None:
    """The user's token for the hub, where the hub's own tools look for it; None without one.

    `HF_TOKEN`, else the file that `hf auth login` writes. Raises SettingError for one that is no
    token.
    """
    where, token = "HF_TOKEN", os.environ.get("HF_TOKEN", "").strip()
    if not token:
        home = os.environ.get("HF_HOME") or (
            Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
        )
        path = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token").expanduser()
        where = str(path)
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise SettingError(f"{path}, the token for the hub, cannot be read: {error}") from error
    if not token.isascii() or not token.isprintable() or " " in token:
        raise SettingError(f"{where} is not a hub token: it has spaces or non-ASCII characters")
    return token or None


def aws_endpoint() -> str:
    """Another S3 server than AWS's, where the variables of AWS's own tools name one; else empty."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")


def aws_profile_keys() -> tuple[str, str, str | None] | None:
    """Access key, secret key and session token of a profile in AWS's own file of credentials.

    None where the environment has keys, which then count, or there are no such keys: the
    machine's role is next. Raises SettingError where `AWS_PROFILE` names a profile without keys.
    """
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    named = os.environ.get("AWS_PROFILE")
    default = "~/.aws/credentials"
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or default).expanduser()
    profiles = configparser.RawConfigParser()
    try:
        profiles.read_string(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError, configparser.Error) as error:
        if named:
            raise SettingError(f"AWS_PROFILE is {named}, and {path} cannot be read") from error
        return None
    name = named or "default"
    keys = dict(profiles.items(name)) if profiles.has_section(name) else {}
    key, secret = keys.get("aws_access_key_id"), keys.get("aws_secret_access_key")
    if key and secret:
        return key, secret, keys.get("aws_session_token")
    if named:
        raise SettingError(
            f"AWS_PROFILE is {named}, and {path} has no keys of that profile: for another kind of "
            f"profile run eval $(aws configure export-credentials --profile {named} --format env)"
        )
    return None


def available_cores() -> int:
    """Processor cores this process may run on (containers and `taskset` included)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # pragma: no cover - macOS and Windows


#: What a container may use, in the two versions of Linux's control groups.
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
#: Assumed if the system does not report its memory.
_MEMORY = 4 * 2**30


def available_memory() -> int:
    """Bytes of memory this process may use: the machine's, or less in a container."""
    memory = _MEMORY
    if hasattr(os, "sysconf"):  # pragma: no branch - Windows
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _MEMORY_LIMITS:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        memory = min(memory, int(text)) if text.isdigit() else memory
    return memory
