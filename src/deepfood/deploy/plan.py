"""Describe a deployment without asking AWS."""

from deepfood.deploy.bundle import Bundle, Deployment, bundle_key


def describe_plan(deployment: Deployment, bundle: Bundle, region: str, remove: bool) -> list[str]:
    """One line for each step."""
    name = deployment.name
    if remove:
        return [
            f"would delete the CloudFormation stack {name} in {region}, with all that it made",
            f"would keep s3://{deployment.bucket}/{deployment.prefix} and the logs in CloudWatch",
        ]
    where = f"s3://{deployment.bucket}/{deployment.prefix}"
    few, many = deployment.min_instances, deployment.max_instances
    wire = "HTTPS, port 443" if deployment.certificate_arn else "plain HTTP, port 80"
    pulls = deployment.image_repository or "a registry that asks for no credentials"
    return [
        f"bundle {bundle.label}: {', '.join(sorted(bundle.files))}",
        f"would upload it to s3://{deployment.bucket}/{bundle_key(deployment, bundle)}",
        f"would create the CloudFormation stack {name} in {region}, or change the one there is:",
        f"  role of the instances: reads {where}* and nothing else in S3; reports health and logs",
        f"  image: {deployment.image}, from {pulls}",
        f"  instances: {few} to {many} {deployment.instance_type} with 16 GB of disk",
        "  scaling: one more while answers take over 0.5 s, one less below 0.1 s",
        f"  load balancer: {wire}; an instance gets requests once /readyz answers",
        f"  logs: in CloudWatch for {deployment.log_days} days",
        f"  settings: {', '.join(sorted({'gallery', *deployment.settings}))}",
    ]
