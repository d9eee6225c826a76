"""Apply a deployment: upload the bundle, and create or update one CloudFormation stack.

CloudFormation plans changes beforehand, rolls back failures, and removes the whole stack.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from deepfood.deploy.bundle import TEMPLATES, Bundle, Deployment, bundle_key
from deepfood.errors import DeployError

_DOCKER = re.compile(r"64bit Amazon Linux 2023 v(\d+)\.(\d+)\.(\d+) running Docker")
_POLL_S = 5.0
_LIMIT_S = 45 * 60.0
#: CloudFormation's reasons for a change set without changes.
_NOTHING = ("didn't contain changes", "No updates are to be performed")

Report = Callable[[str], None]


def deploy(
    deployment: Deployment,
    bundle: Bundle,
    region: str,
    report: Report,
    platform: str | None = None,
    poll_s: float = _POLL_S,
) -> str:
    """Create or update the environment, wait for it, and return its URL.

    `platform` is a solution stack; without one, a new environment gets the newest with Docker, and
    an existing one keeps its own. Raises DeployError.
    """
    with _aws_errors(region):
        session = boto3.Session(region_name=region)
        stacks = session.client("cloudformation")
        status = _status(stacks, deployment.name)
        if status and (status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"):
            raise DeployError(f"stack {deployment.name} is {status}: wait until that has ended")
        if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED", "CREATE_FAILED"):
            raise DeployError(
                f"stack {deployment.name} is {status} and cannot be updated: deploy with --remove "
                "--apply, then again"
            )
        exists = status not in ("", "REVIEW_IN_PROGRESS")
        key = bundle_key(deployment, bundle)
        beanstalk = session.client("elasticbeanstalk")
        session.client("s3").put_object(Bucket=deployment.bucket, Key=key, Body=bundle.data)
        report(f"uploaded s3://{deployment.bucket}/{key}")
        if platform is None and not exists:
            platform = _newest_docker(beanstalk)
        _change(stacks, deployment, key, platform, exists, report, poll_s)
        return _url(beanstalk, deployment)


def remove(name: str, region: str, report: Report, poll_s: float = _POLL_S) -> None:
    """Delete the environment and everything in its stack; the bucket stays. Raises DeployError."""
    with _aws_errors(region):
        stacks = boto3.client("cloudformation", region_name=region)
        if not _status(stacks, name):
            raise DeployError(f"there is no stack {name} in {region}: nothing to remove")
        stack_id = stacks.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
        stacks.delete_stack(StackName=name)
        _follow(stacks, stack_id, ("DELETE_COMPLETE",), report, poll_s)


def parameters(deployment: Deployment, key: str, platform: str | None) -> list[dict[str, Any]]:
    """The template's parameters; without `platform` the current one is kept."""
    values = {
        "BundleBucket": deployment.bucket,
        "BundleKey": key,
        "GalleryBucket": deployment.bucket,
        "GalleryPrefix": deployment.prefix,
        "ImageRepository": deployment.image_repository,
    }
    given: list[dict[str, Any]] = [
        {"ParameterKey": name, "ParameterValue": value} for name, value in values.items()
    ]
    if platform is None:
        return [*given, {"ParameterKey": "Platform", "UsePreviousValue": True}]
    return [*given, {"ParameterKey": "Platform", "ParameterValue": platform}]


def _change(
    stacks: Any,
    deployment: Deployment,
    key: str,
    platform: str | None,
    exists: bool,
    report: Report,
    poll_s: float,
) -> None:
    name = {
        "StackName": deployment.name,
        "ChangeSetName": f"deepfood-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}",
    }
    stacks.create_change_set(
        **name,
        ChangeSetType="UPDATE" if exists else "CREATE",
        TemplateBody=(TEMPLATES / "stack.yaml").read_text(encoding="utf-8"),
        Parameters=parameters(deployment, key, platform),
        Capabilities=["CAPABILITY_IAM"],
    )
    try:
        stacks.get_waiter("change_set_create_complete").wait(**name, WaiterConfig={"Delay": poll_s})
    except WaiterError as error:
        reason = str(error.last_response.get("StatusReason", error))
        stacks.delete_change_set(**name)
        if any(phrase in reason for phrase in _NOTHING):
            report("nothing to change")
            return
        raise DeployError(f"AWS refuses the change of stack {deployment.name}: {reason}") from error
    described = stacks.describe_change_set(**name)
    for change in (one["ResourceChange"] for one in described["Changes"]):
        report(f"{change['Action']:8}{change['LogicalResourceId']}  {change['ResourceType']}")
    stack_id = described["StackId"]
    stacks.execute_change_set(**name)
    _follow(stacks, stack_id, ("CREATE_COMPLETE", "UPDATE_COMPLETE"), report, poll_s)


def _follow(
    stacks: Any, stack_id: str, good: tuple[str, ...], report: Report, poll_s: float
) -> None:
    """Report CloudFormation's events until the end. Raises DeployError on failure."""
    seen: set[str] = set()
    faults: list[str] = []
    started = time.time()
    while time.time() < started + _LIMIT_S:
        # The status first: its causes are then among the events read after it.
        status = str(stacks.describe_stacks(StackName=stack_id)["Stacks"][0]["StackStatus"])
        for event in reversed(stacks.describe_stack_events(StackName=stack_id)["StackEvents"]):
            if event["EventId"] in seen or event["Timestamp"].timestamp() < started - 60:
                continue
            seen.add(event["EventId"])
            reason = event.get("ResourceStatusReason", "")
            report(
                f"{event['LogicalResourceId']}: {event.get('ResourceStatus', '')} {reason}".strip()
            )
            if "FAILED" in event.get("ResourceStatus", "") and reason:
                faults.append(f"{event['LogicalResourceId']}: {reason}")
        if not status.endswith("_IN_PROGRESS"):
            if status in good:
                return
            raise DeployError(f"the stack ended as {status}: {'; '.join(faults) or 'see above'}")
        time.sleep(poll_s)
    raise DeployError(
        f"the stack was not finished within {_LIMIT_S / 60:.0f} minutes: see the AWS console"
    )


def _status(stacks: Any, name: str) -> str:
    """The stack's status; empty if there is no stack."""
    try:
        status = str(stacks.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
    except ClientError as error:
        if "does not exist" in str(error):
            return ""
        raise
    return "" if status == "DELETE_COMPLETE" else status


def _newest_docker(beanstalk: Any) -> str:
    names = beanstalk.list_available_solution_stacks()["SolutionStacks"]
    found = {name: _DOCKER.fullmatch(name) for name in names}
    versions = {name: tuple(map(int, at.groups())) for name, at in found.items() if at}
    if not versions:
        raise DeployError(
            "this region has no Docker platform on Amazon Linux 2023: give --platform NAME"
        )
    return str(max(versions, key=lambda name: versions[name]))


def _url(beanstalk: Any, deployment: Deployment) -> str:
    """The environment's own DNS name, which outlives its load balancer.

    With a certificate it is served over HTTPS only. The certificate is for the user's own name,
    which points to this one; browsers warn about this one itself.
    """
    name = deployment.name
    found = beanstalk.describe_environments(
        ApplicationName=name, EnvironmentNames=[name], IncludeDeleted=False
    )
    hosts = [str(one["CNAME"]) for one in found["Environments"] if one.get("CNAME")]
    scheme = "https" if deployment.certificate_arn else "http"
    return f"{scheme}://{hosts[0]}" if hosts else ""


@contextmanager
def _aws_errors(region: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        details = error.response.get("Error", {})
        raise DeployError(
            f"AWS refused {error.operation_name} in {region}: {details.get('Code')}: "
            f"{details.get('Message')}"
        ) from error
    except BotoCoreError as error:
        raise DeployError(f"the request to AWS failed: {error}") from error
