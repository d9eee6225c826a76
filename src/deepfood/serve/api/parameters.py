"""The query of an address: unknown and repeated parameters are refused, as fields of a body are."""

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from deepfood.serve.api.forms import media_type
from deepfood.serve.api.requests import check_names

#: Parameters that may be given several times.
_SEVERAL = frozenset({"label"})


async def check_query(request: Request) -> None:
    """Raise WrongValueError for a parameter that the route does not have, or has once."""
    route = request.scope["route"]
    if not isinstance(route, APIRoute) or not route.path.startswith("/api/"):
        return
    if route.path == "/api/v1/search" and media_type(request).startswith("image/"):
        # The question is in the address.
        return
    known = sorted(_parameters(route.dependant))
    check_names([name for name, _ in request.query_params.multi_items()], known, _SEVERAL)


def _parameters(dependant: Dependant) -> set[str]:
    """The parameters of a route, and of what it depends on."""
    own = {one.alias for one in dependant.query_params}
    return own.union(*map(_parameters, dependant.dependencies))
