"""The bundle: what is in it, that the same gives the same, and that no value ends its quotes."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.api import lint_all
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfood.deploy.bundle import TEMPLATES, Deployment, make_bundle
from deepfood.deploy.plan import describe_plan
from deepfood.errors import SettingError

CERTIFICATE = "arn:aws:acm:eu-central-1:123456789012:certificate/0a1b2c3d"


def deployment(**changed: Any) -> Deployment:
    values = {"name": "fooddemo", "gallery": "s3://food/prod", "image": "example.org/deepfood:1"}
    return Deployment(**{**values, **changed})


def options(deployment: Deployment) -> dict[str, dict[str, str]]:
    """All option settings, as Elastic Beanstalk reads them out of the zip file."""
    merged: dict[str, dict[str, str]] = {}
    with zipfile.ZipFile(io.BytesIO(make_bundle(deployment).data)) as archive:
        for name in archive.namelist():
            if name.startswith(".ebextensions/"):
                for space, values in yaml.safe_load(archive.read(name))["option_settings"].items():
                    assert all(isinstance(value, str) for value in values.values())
                    merged.setdefault(space, {}).update(values)
    return merged


def test_the_bundle_runs_the_image_on_the_gallery() -> None:
    made = make_bundle(deployment(settings={"workers": "2"}))
    with zipfile.ZipFile(io.BytesIO(made.data)) as archive:
        assert archive.testzip() is None
        docker = json.loads(archive.read("Dockerrun.aws.json"))
    assert docker["Image"]["Name"] == "example.org/deepfood:1"
    assert docker["Ports"] == [{"ContainerPort": 80}]
    variables = options(deployment(settings={"workers": "2"}))[
        "aws:elasticbeanstalk:application:environment"
    ]
    assert len(variables.pop("DEEPFOOD_CURSOR_KEY")) == 64
    assert variables == {
        "DEEPFOOD_DRAIN_S": "20",
        "DEEPFOOD_GALLERY": "s3://food/prod",
        "DEEPFOOD_HOST": "0.0.0.0",
        "DEEPFOOD_LOG_FORMAT": "json",
        "DEEPFOOD_PORT": "80",
        "DEEPFOOD_TRUSTED_PROXIES": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16",
        "DEEPFOOD_WORKERS": "2",
    }


def test_the_environment_is_the_one_that_was_asked_for() -> None:
    found = options(deployment(instance_type="c7a.xlarge", min_instances=2, max_instances=6))
    assert found["aws:ec2:instances"]["InstanceTypes"] == "c7a.xlarge"
    assert found["aws:autoscaling:launchconfiguration"]["RootVolumeSize"] == "16"
    assert found["aws:autoscaling:asg"]["MinSize"] == "2"
    assert found["aws:autoscaling:asg"]["MaxSize"] == "6"
    assert found["aws:autoscaling:trigger"]["MeasureName"] == "TargetResponseTime"
    assert found["aws:elasticbeanstalk:environment"]["LoadBalancerType"] == "application"
    assert found["aws:elasticbeanstalk:environment:process:default"]["HealthCheckPath"] == "/readyz"
    assert found["aws:elasticbeanstalk:cloudwatch:logs"]["StreamLogs"] == "true"


def test_with_a_certificate_nothing_is_served_in_the_clear() -> None:
    assert not any("elbv2" in space for space in options(deployment()))
    found = options(deployment(certificate_arn=CERTIFICATE))
    assert found["aws:elbv2:listener:443"]["SSLCertificateArns"] == CERTIFICATE
    assert found["aws:elbv2:listener:default"]["ListenerEnabled"] == "false"


def test_the_same_deployment_gives_the_same_bytes_and_another_does_not() -> None:
    assert make_bundle(deployment()).data == make_bundle(deployment()).data
    other = make_bundle(deployment(image="example.org/deepfood:2"))
    assert other.label != make_bundle(deployment()).label


def test_what_signs_cursors_is_the_same_on_all_instances_unless_it_is_given() -> None:
    def key(made: Deployment) -> str:
        variables = options(made)["aws:elasticbeanstalk:application:environment"]
        return variables["DEEPFOOD_CURSOR_KEY"]

    keyed = {"api_key_hashes": "a" * 64}
    assert key(deployment()) == key(deployment())
    assert key(deployment()) != key(deployment(settings=keyed))
    assert key(deployment(settings={"cursor_key": "my own"})) == "my own"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "x"}, "name 'x'"),
        ({"gallery": "/srv/gallery"}, "s3://BUCKET/PREFIX"),
        ({"gallery": 's3://food/a"b'}, "s3://BUCKET/PREFIX"),
        ({"image": "a\nb"}, "HOST/NAME:TAG"),
        ({"instance_type": 'c7i.large", "x'}, "instance type"),
        ({"certificate_arn": "yes"}, "certificate 'yes'"),
        ({"min_instances": 5, "max_instances": 4}, "5 to 4 instances"),
        ({"settings": {"galery": "x"}}, "no setting 'galery'"),
        ({"settings": {"workers": "many"}}, "setting workers"),
        ({"settings": {"public_url": "https://a\x85b"}}, "unprintable characters"),
        ({"settings": {"port": "81"}}, "setting port is set by the deployment"),
    ],
)
def test_what_cannot_be_deployed_is_said(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        deployment(**changed)


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=40))
def test_a_value_is_refused_or_stays_what_it_is(text: str) -> None:
    for name, space, option in (
        ("instance_type", "aws:ec2:instances", "InstanceTypes"),
        ("certificate_arn", "aws:elbv2:listener:443", "SSLCertificateArns"),
    ):
        value = text if name == "instance_type" else CERTIFICATE + text
        try:
            made = deployment(**{name: value})
        except SettingError:
            continue
        assert options(made)[space][option] == value


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=40))
def test_any_setting_s_text_comes_through_the_yaml(text: str) -> None:
    try:
        made = deployment(settings={"public_url": f"https://{text}"})
    except SettingError:
        return
    variables = options(made)["aws:elasticbeanstalk:application:environment"]
    assert variables["DEEPFOOD_PUBLIC_URL"] == f"https://{text}"


def faults(template: str) -> list[str]:
    """Errors and warnings; what it only informs of is advice to agents that write templates."""
    return [str(match) for match in lint_all(template) if match.rule.severity != "informational"]


def test_the_stack_satisfies_cfn_lint() -> None:
    text = (TEMPLATES / "stack.yaml").read_text(encoding="utf-8")
    assert faults(text) == []
    assert faults(text.replace("SolutionStackName:", "SolutionStackNam:"))


def test_what_the_bundle_adds_to_the_environment_s_own_stack_satisfies_cfn_lint() -> None:
    added = yaml.safe_load(
        (TEMPLATES / ".ebextensions/10-instances.config").read_text(encoding="utf-8")
    )["Resources"]
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": added}
    assert faults(json.dumps(template)) == []


def test_every_file_of_the_folder_is_in_some_bundle() -> None:
    files = set(make_bundle(deployment(certificate_arn=CERTIFICATE)).files)
    there = {path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.con*")}
    assert there <= files
    assert (Path(__file__).parents[2] / "deploy/elasticbeanstalk").resolve() == TEMPLATES.resolve()


def test_the_plan_names_what_would_be_made_and_removed() -> None:
    made = deployment()
    plan = "\n".join(describe_plan(made, make_bundle(made), "eu-central-1", remove=False))
    for part in ("s3://food/prod/bundles/", "stack fooddemo in eu-central-1", "1 to 4 c7i.large"):
        assert part in plan
    assert "would delete" in describe_plan(made, make_bundle(made), "eu-central-1", remove=True)[0]
