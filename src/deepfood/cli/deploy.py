"""`deepfood deploy eb`: the service on AWS Elastic Beanstalk."""

from pathlib import Path
from typing import Annotated

import typer

from deepfood.cli.app import PUBLISH, Commands, Json, app, print_json
from deepfood.errors import SettingError
from deepfood.extras import missing_extra

_app = typer.Typer(cls=Commands, no_args_is_help=True, help="Run the service in a cloud.")
app.add_typer(_app, name="deploy", rich_help_panel=PUBLISH)


@_app.command("eb")
def eb(
    gallery: Annotated[
        str, typer.Argument(metavar="GALLERY", help="The gallery's releases: s3://bucket/prefix.")
    ],
    image: Annotated[str, typer.Option(help="Docker image, best with its @sha256 digest.")],
    region: Annotated[str, typer.Option(help="AWS region.")],
    name: Annotated[
        str, typer.Option(help="Name of the stack, application and environment.")
    ] = "deepfood",
    instance_type: Annotated[str, typer.Option(help="EC2 instance type.")] = "c7i.large",
    min_instances: Annotated[int, typer.Option(help="Least number of instances.")] = 1,
    max_instances: Annotated[
        int, typer.Option(help="Greatest number of instances, under load.")
    ] = 4,
    log_days: Annotated[int, typer.Option(help="Days that CloudWatch keeps logs.")] = 30,
    certificate: Annotated[
        str, typer.Option(help="ARN of a certificate for HTTPS; plain HTTP without one.")
    ] = "",
    platform: Annotated[
        str | None,
        typer.Option(
            help="Solution stack of Elastic Beanstalk.",
            show_default="the newest with Docker; later the one in use",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A setting of the service. Repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(readable=False, help="Write the bundle to this zip file.")
    ] = None,
    apply: Annotated[
        bool,
        typer.Option(
            "--apply/--dry-run", help="Do it, instead of only showing what would be done."
        ),
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the deployment; the bucket stays.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the service on AWS Elastic Beanstalk: show the plan, and with --apply carry it out."""
    from deepfood.deploy.bundle import Deployment, make_bundle
    from deepfood.deploy.plan import describe_plan

    deployment = Deployment(
        name=name,
        gallery=gallery,
        image=image,
        instance_type=instance_type,
        min_instances=min_instances,
        max_instances=max_instances,
        log_days=log_days,
        certificate_arn=certificate,
        settings=dict(map(_setting, setting or ())),
    )
    bundle = make_bundle(deployment)
    if out is not None:
        out.write_bytes(bundle.data)
    url = None
    if not apply:
        plan = describe_plan(deployment, bundle, region, remove)
        if not as_json:
            print("\n".join(plan))
            print("nothing was done: add --apply")
    else:
        try:
            from deepfood.deploy import apply as aws
        except ImportError as error:
            raise missing_extra("deploying needs boto3", "deploy") from error
        plan = []
        report = plan.append if as_json else print
        if remove:
            aws.remove(name, region, report)
        else:
            url = aws.deploy(deployment, bundle, region, report, platform)
            if not as_json:
                print(f"deepfood: {url}")
    if as_json:
        print_json(
            {
                "applied": apply,
                "bundle": {"label": bundle.label, "files": dict(bundle.files)},
                "steps": plan,
                "url": url,
            }
        )


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingError(f"--setting {text}: it must be NAME=VALUE, as in docs/settings.md")
    return name, value
