"""Deployments against moto's server: the real AWS client, AWS's own request and answer shapes."""

import ast
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.cloudformation.models import CloudFormationBackend, cloudformation_backends
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from deepfood.cli import app
from deepfood.deploy import apply as aws
from deepfood.deploy.bundle import Deployment, make_bundle
from deepfood.errors import DeployError
from deploy import beanstalk_in_moto  # moto takes a module of a package only

REGION = "eu-central-1"
DOCKER = "64bit Amazon Linux 2023 v4.6.0 running Docker"
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/deepfood@sha256:" + "a" * 64


def client(name: str) -> Any:
    return boto3.client(name, region_name=REGION)


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def account(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx.post(f"{moto}/moto-api/reset")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    client("s3").create_bucket(
        Bucket="food", CreateBucketConfiguration={"LocationConstraint": REGION}
    )


def deploy(deployment: Deployment) -> tuple[str, list[str]]:
    told: list[str] = []
    url = aws.deploy(deployment, make_bundle(deployment), REGION, told.append, poll_s=0.05)
    return url, told


def environment() -> dict[str, Any]:
    return beanstalk_in_moto.Environment.made["Environment"].properties


def stack() -> Any:
    """The one stack, as moto's server has it."""
    (found,) = cloudformation_backends["123456789012"][REGION].stacks.values()
    return found


def test_a_first_deployment_makes_the_environment_of_the_uploaded_bundle() -> None:
    deployment = Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:1")
    bundle = make_bundle(deployment)
    url, told = deploy(deployment)

    assert url == "http://fooddemo.example.elasticbeanstalk.com"
    assert any("Environment" in line and line.startswith("Add") for line in told)
    version = beanstalk_in_moto.ApplicationVersion.made["ApplicationVersion"].properties
    source = version["SourceBundle"]
    stored = client("s3").get_object(Bucket=source["S3Bucket"], Key=source["S3Key"])
    assert stored["Body"].read() == bundle.data
    assert environment()["SolutionStackName"] == DOCKER
    running = client("elasticbeanstalk").describe_environments()["Environments"]
    assert [one["EnvironmentName"] for one in running] == ["fooddemo"]


def test_with_a_certificate_the_address_is_the_one_that_is_served() -> None:
    certificate = "arn:aws:acm:eu-central-1:123456789012:certificate/0a1b2c3d"
    given = Deployment("fooddemo", "s3://food", "a/deepfood:1", certificate_arn=certificate)
    url, _ = deploy(given)
    assert url == "https://fooddemo.example.elasticbeanstalk.com"


def test_instances_may_read_the_one_prefix_and_nothing_else() -> None:
    deploy(Deployment("fooddemo", "s3://food/prod", ECR))
    profile = next(
        one["Value"]
        for one in environment()["OptionSettings"]
        if one["OptionName"] == "IamInstanceProfile"
    )
    iam = client("iam")
    (role,) = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"]
    name = role["RoleName"]
    assert not iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    allowed: dict[str, Any] = {}
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        if isinstance(document, str):  # so moto keeps what came in a template
            document = ast.literal_eval(document)
        for statement in document["Statement"]:
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                allowed[action] = (statement["Resource"], statement.get("Condition"))
    of_s3 = {action: on for action, on in allowed.items() if action.startswith("s3:")}
    assert of_s3 == {
        "s3:GetObject": ("arn:aws:s3:::food/prod/*", None),
        "s3:ListBucket": ("arn:aws:s3:::food", {"StringLike": {"s3:prefix": "prod/*"}}),
    }
    assert {action.split(":")[0] for action in allowed} == {"s3", "elasticbeanstalk", "logs", "ecr"}
    repository = "arn:aws:ecr:eu-central-1:123456789012:repository/deepfood"
    assert allowed["ecr:BatchGetImage"] == (repository, None)


def test_an_image_from_elsewhere_gives_no_right_to_any_repository() -> None:
    deploy(Deployment("fooddemo", "s3://food", "example.org/deepfood:1"))
    iam = client("iam")
    policies = [
        policy
        for role in iam.list_roles()["Roles"]
        for policy in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
    ]
    assert sorted(policies) == ["read-the-gallery", "report-health-and-logs"]


def test_a_new_image_is_a_new_version_on_the_platform_there_was() -> None:
    deploy(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:1"))
    deploy(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:2"))
    # moto changes no resource for a parameter's sake; AWS does, and is given the right ones.
    (stack,) = client("cloudformation").describe_stacks(StackName="fooddemo")["Stacks"]
    given = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    second = make_bundle(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:2"))
    assert given["BundleKey"] == f"prod/bundles/fooddemo-{second.label}.zip"
    assert given["Platform"] == DOCKER
    bundles = client("s3").list_objects_v2(Bucket="food", Prefix="prod/bundles/")["Contents"]
    assert len(bundles) == 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("UPDATE_IN_PROGRESS", "is UPDATE_IN_PROGRESS: wait until that has ended"),
        ("ROLLBACK_COMPLETE", r"cannot be updated: deploy with --remove --apply, then again"),
    ],
)
def test_a_stack_that_cannot_be_changed_is_told_before_an_upload(status: str, said: str) -> None:
    deploy(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:1"))
    stack().status = status
    with pytest.raises(DeployError, match=f"^stack fooddemo .*{said}"):
        deploy(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:2"))
    bundles = client("s3").list_objects_v2(Bucket="food", Prefix="prod/bundles/")["Contents"]
    assert len(bundles) == 1


@pytest.mark.parametrize("reason", ["The information didn't contain changes.", "no such platform"])
def test_a_change_set_that_fails_is_nothing_to_change_or_refused(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As AWS has it; moto refuses the request for a change set without changes."""
    deploy(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:1"))
    create = CloudFormationBackend.create_change_set

    def failed(backend: CloudFormationBackend, *given: Any, **named: Any) -> Any:
        made = create(backend, *given, **named)
        backend.change_sets[made[0]].status = "FAILED"
        backend.change_sets[made[0]].status_reason = reason
        return made

    monkeypatch.setattr(CloudFormationBackend, "create_change_set", failed)
    again = Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:2")
    if "changes" in reason:
        assert deploy(again)[1][-1] == "nothing to change"
    else:
        with pytest.raises(DeployError, match="refuses the change of stack fooddemo: no such pl"):
            deploy(again)
    backend = cloudformation_backends["123456789012"][REGION]
    assert len(backend.change_sets) == 1, "the failed one is deleted"


def test_a_stack_that_fails_tells_the_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails while it is followed, after a first look that saw it under way."""
    deploy(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:1"))
    made = stack()
    made.status = "UPDATE_IN_PROGRESS"

    def fail(_: float) -> None:
        made._add_stack_event("UPDATE_FAILED", "no capacity")
        made.status = "UPDATE_ROLLBACK_COMPLETE"

    monkeypatch.setattr("deepfood.deploy.apply.time.sleep", fail)
    told: list[str] = []
    with pytest.raises(
        DeployError, match=r"ended as UPDATE_ROLLBACK_COMPLETE: fooddemo: no capacity"
    ):
        aws._follow(client("cloudformation"), made.stack_id, ("UPDATE_COMPLETE",), told.append, 0)
    assert len(told) == len(set(told)), "each event is told once"


def test_a_region_without_docker_says_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "_DOCKER", re.compile("a platform of another region"))
    with pytest.raises(DeployError, match="give --platform NAME"):
        deploy(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:1"))


def test_removing_leaves_nothing_but_the_bucket() -> None:
    deploy(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:1"))
    aws.remove("fooddemo", REGION, lambda _: None, poll_s=0.05)
    assert not client("iam").list_roles()["Roles"]
    assert not client("elasticbeanstalk").describe_environments()["Environments"]
    assert client("s3").list_objects_v2(Bucket="food")["KeyCount"] == 1
    with pytest.raises(DeployError, match="there is no stack fooddemo"):
        aws.remove("fooddemo", REGION, lambda _: None, poll_s=0.05)


def test_a_bucket_that_is_not_there_is_said_before_a_stack_is_made() -> None:
    with pytest.raises(DeployError, match=r"PutObject.*NoSuchBucket"):
        deploy(Deployment("fooddemo", "s3://wrong-bucket/prod", "example.org/deepfood:1"))
    assert not client("cloudformation").list_stacks()["StackSummaries"]


def test_no_credentials_and_no_aws_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(DeployError, match="the request to AWS failed"):
        deploy(deployment)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(DeployError, match=r"[Cc]redentials"):
        deploy(deployment)


def test_refused_credentials_are_one_line(moto: str) -> None:
    httpx.post(f"{moto}/moto-api/reset-auth", content=b"0")  # from now on it checks them
    try:
        with pytest.raises(DeployError, match="InvalidClientTokenId") as caught:
            deploy(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:1"))
    finally:
        httpx.post(f"{moto}/moto-api/reset-auth", content=b"inf")
    assert "\n" not in str(caught.value)


def test_a_stack_that_takes_too_long_is_left_to_the_console(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aws, "_LIMIT_S", 0)
    with pytest.raises(DeployError, match=r"not finished within 0 minutes: see the AWS console"):
        deploy(Deployment("fooddemo", "s3://food/prod", "example.org/deepfood:1"))


def test_the_command_does_it_only_when_told_to() -> None:
    line = ["deploy", "eb", "s3://food/prod", "--image", "example.org/deepfood:1"]
    line += ["--region", REGION, "--name", "fooddemo", "--json"]
    shown = json.loads(CliRunner().invoke(app, line).stdout)
    assert not shown["applied"]
    assert not client("cloudformation").list_stacks()["StackSummaries"]
    done = json.loads(CliRunner().invoke(app, [*line, "--apply"]).stdout)
    assert done["applied"]
    assert done["url"] == "http://fooddemo.example.elasticbeanstalk.com"
    assert done["bundle"]["label"] == shown["bundle"]["label"]


def test_what_the_command_prints_for_people(tmp_path: Path) -> None:
    line = ["deploy", "eb", "s3://food/prod", "--image", "example.org/deepfood:1"]
    line += ["--region", REGION, "--name", "fooddemo"]
    bundle = tmp_path / "bundle.zip"
    shown = CliRunner().invoke(app, [*line, "--out", str(bundle)]).stdout.splitlines()
    assert shown[-1] == "nothing was done: add --apply"
    with zipfile.ZipFile(bundle) as packed:
        assert shown[0].endswith(f": {', '.join(sorted(packed.namelist()))}")
    done = CliRunner().invoke(app, [*line, "--apply"]).stdout.splitlines()
    assert done[-1] == "deepfood: http://fooddemo.example.elasticbeanstalk.com"
    gone = CliRunner().invoke(app, [*line, "--apply", "--remove"])
    assert gone.exit_code == 0
    assert not client("elasticbeanstalk").describe_environments()["Environments"]
    wrong = CliRunner().invoke(app, [*line, "--setting", "workers"])
    assert str(wrong.exception).startswith("--setting workers: it must be NAME=VALUE")
    bundled = CliRunner().invoke(app, [*line, "--setting", "workers=2"]).stdout
    assert "  settings: gallery, workers" in bundled.splitlines()
