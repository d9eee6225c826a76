"""A deployment on Elastic Beanstalk, and its bundle of files."""

import hashlib
import io
import json
import re
import string
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deepfood.config import only_given
from deepfood.errors import SettingError

TEMPLATES = Path(__file__).parent / "elasticbeanstalk"
_HTTPS = ".ebextensions/60-https.config"

#: A fixed modification time in the zip archive, so that equal content gives equal bytes.
_NO_TIME = (1980, 1, 1, 0, 0, 0)

# Values go between double quotes into YAML, or into ARNs: characters that could end either are
# refused.
_NAME = r"[A-Za-z][A-Za-z0-9-]{2,38}[A-Za-z0-9]"  # Elastic Beanstalk's rule for names
_IMAGE = r"[a-z0-9][A-Za-z0-9._:/-]{0,254}(@sha256:[0-9a-f]{64})?"
_GALLERY = r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/[A-Za-z0-9!_.()/-]*)?(@[A-Za-z0-9.-]+)?"
_INSTANCE_TYPE = r"[a-z0-9-]+\.[a-z0-9-]+"
_CERTIFICATE = r"arn:aws[a-z-]*:(acm|iam):[a-z0-9-]*:[0-9]{12}:[A-Za-z0-9/_-]+"
_PRIVATE = "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16"
_ECR = re.compile(
    r"([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/([a-z0-9._/-]+)([:@].*)?"
)


@dataclass(frozen=True)
class Deployment:
    """What to run, and where. Raises SettingError for unusable values.

    name: of the stack, the application and the environment.
    gallery: `s3://bucket/prefix`, where releases are; instances may read only that.
    image: the Docker image, preferably with its digest.
    settings: other settings of deepfood, by name.
    """

    name: str
    gallery: str
    image: str
    instance_type: str = "c7i.large"
    min_instances: int = 1
    max_instances: int = 4
    log_days: int = 30
    certificate_arn: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _match("name", self.name, _NAME, "4 to 40 letters, digits and hyphens")
        _match("gallery", self.gallery, _GALLERY, "s3://BUCKET/PREFIX")
        _match("image", self.image, _IMAGE, "HOST/NAME:TAG or HOST/NAME@sha256:DIGEST")
        _match("instance type", self.instance_type, _INSTANCE_TYPE, "such as c7i.large")
        if self.certificate_arn:
            _match("certificate", self.certificate_arn, _CERTIFICATE, "an ARN of ACM")
        if not 1 <= self.min_instances <= self.max_instances <= 100:
            raise SettingError(
                f"{self.min_instances} to {self.max_instances} instances: the first number must be "
                "at least 1, the second at least the first and at most 100"
            )
        for name in {"gallery", "host", "port"} & set(self.settings):
            raise SettingError(f"setting {name} is set by the deployment itself: leave it out")
        for name, value in self.settings.items():
            if not value.isprintable():
                raise SettingError(
                    f"setting {name} = {value!r} has characters that cannot be printed"
                )
        only_given(**self.settings)  # raises for unknown settings and invalid values

    @property
    def bucket(self) -> str:
        return self.gallery.removeprefix("s3://").split("/")[0].split("@")[0]

    @property
    def prefix(self) -> str:
        """The folder in the bucket, with a slash at its end; empty for none."""
        path = self.gallery.removeprefix("s3://").partition("/")[2].split("@")[0].strip("/")
        return f"{path}/" if path else ""

    @property
    def image_repository(self) -> str:
        """ARN of the ECR repository of the image; empty for an image from elsewhere."""
        found = _ECR.fullmatch(self.image)
        if not found:
            return ""
        account, region, china, repository = found.groups()[:4]
        partition = "aws-cn" if china else "aws"
        return f"arn:{partition}:ecr:{region}:{account}:repository/{repository}"


@dataclass(frozen=True)
class Bundle:
    """A zip file for Elastic Beanstalk; `label` is made from its content."""

    files: Mapping[str, str]
    data: bytes
    label: str


def make_bundle(deployment: Deployment) -> Bundle:
    """The same deployment gives the same bytes, so that deploying again changes nothing."""
    values = {
        "instance_type": deployment.instance_type,
        "min_instances": deployment.min_instances,
        "max_instances": deployment.max_instances,
        "log_days": deployment.log_days,
        "certificate_arn": deployment.certificate_arn,
    }
    files = {"Dockerrun.aws.json": _dockerrun(deployment)}
    files[".ebextensions/00-settings.config"] = _settings_config(deployment)
    for path in sorted(TEMPLATES.rglob(".*/**/*.con*")):
        name = path.relative_to(TEMPLATES).as_posix()
        if name != _HTTPS or deployment.certificate_arn:
            files[name] = string.Template(path.read_text(encoding="utf-8")).substitute(values)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
    data = out.getvalue()
    return Bundle(files, data, hashlib.sha256(data).hexdigest()[:12])


def bundle_key(deployment: Deployment, bundle: Bundle) -> str:
    """The bundle's place in the bucket: beside the releases, which instances may read."""
    return f"{deployment.prefix}bundles/{deployment.name}-{bundle.label}.zip"


def _dockerrun(deployment: Deployment) -> str:
    """The file with the image for Elastic Beanstalk's Docker platform."""
    return _json(
        {
            "AWSEBDockerrunVersion": "1",
            "Image": {"Name": deployment.image, "Update": "true"},
            "Ports": [{"ContainerPort": 80}],
        }
    )


def _settings_config(deployment: Deployment) -> str:
    settings = {
        "gallery": deployment.gallery,
        "port": "80",
        "host": "0.0.0.0",  # noqa: S104  (in its container)
        "log_format": "json",
        # Until the load balancer, which requests /readyz every 15 seconds, has seen it fail.
        "drain_s": "20",
        # The load balancer is in the VPC, the instance's own nginx on Docker's network.
        "trusted_proxies": _PRIVATE,
        # The same on all instances, and unguessable without the whole deployment.
        "cursor_key": hashlib.sha256(repr(deployment).encode()).hexdigest(),
        **deployment.settings,
    }
    variables = {f"DEEPFOOD_{name.upper()}": value for name, value in sorted(settings.items())}
    # JSON is valid YAML, and quotes every value.
    return _json({"option_settings": {"aws:elasticbeanstalk:application:environment": variables}})


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _match(what: str, value: str, pattern: str, wanted: str) -> None:
    if not re.fullmatch(pattern, value):
        raise SettingError(f"{what} {value!r} cannot be deployed: it must be {wanted}")
