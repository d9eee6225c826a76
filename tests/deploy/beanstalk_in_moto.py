"""The three resource types that moto's CloudFormation lacks, on moto's own Elastic Beanstalk."""

from typing import Any

from moto.core.common_models import CloudFormationModel
from moto.elasticbeanstalk.models import eb_backends


class _Resource:
    """What a stack holds of one; `properties` are as CloudFormation worked them out."""

    made: dict[str, "_Resource"] = {}  # noqa: RUF012  (one registry, for tests to look into)

    def __init__(self, name: str, properties: dict[str, Any]) -> None:
        self.name = name
        self.properties = properties
        self.made[type(self).__name__] = self

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def cloudformation_type(cls) -> str:
        return f"AWS::ElasticBeanstalk::{cls.__name__}"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return False

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> Any:
        properties = cloudformation_json["Properties"]
        backend = eb_backends[account_id][region_name]
        if cls.__name__ == "Application":
            backend.create_application(properties["ApplicationName"])
            resource_name = properties["ApplicationName"]
        elif cls.__name__ == "Environment":
            application = backend.applications[properties["ApplicationName"]]
            stack = properties["SolutionStackName"]
            made = application.create_environment(properties["EnvironmentName"], stack, {})
            made.cname = f"{made.environment_name}.example.elasticbeanstalk.com"
            resource_name = properties["EnvironmentName"]
        return cls(resource_name, properties)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> Any:
        if cls.__name__ == "ApplicationVersion":  # a new bundle is a new version, as in AWS
            original_resource = cls(new_resource_name, cloudformation_json["Properties"])
        original_resource.properties = cloudformation_json["Properties"]
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        backend = eb_backends[account_id][region_name]
        if cls.__name__ == "Application":
            backend.applications.pop(resource_name)

    def delete(self, account_id: str, region: str) -> None:
        self.delete_from_cloudformation_json(self.name, {}, account_id, region)


class Application(_Resource, CloudFormationModel):
    pass


class ApplicationVersion(_Resource, CloudFormationModel):
    pass


class Environment(_Resource, CloudFormationModel):
    pass
