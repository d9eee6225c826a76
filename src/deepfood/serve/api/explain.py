"""Why a photo was found: the regions that make the match, as heat maps over both photos."""

import base64
import io

from fastapi import APIRouter, Request

from deepfood.heatmap import Floats, MatchHeat, draw_heat
from deepfood.photo import read_header
from deepfood.photo_box import Box
from deepfood.serve.api.parsing import Pair, read_pair
from deepfood.serve.api.problems import PROBLEMS
from deepfood.serve.api.requests import post_json_or_form
from deepfood.serve.api.resources import ResourcesDep
from deepfood.serve.service import SearchService
from deepfood_client.models import Explanation, HeatMap, Region

#: The longest side of the pictures in an answer.
_PICTURE_PIXELS = 640
_JPEG_QUALITY = 82

router = APIRouter()


@post_json_or_form(
    router, "/api/v1/explain", "explain", "Explain", tags=["search"], responses=PROBLEMS
)
async def explain(request: Request, resources: ResourcesDep) -> Explanation:
    """Show which regions of a photo and of one found for it make the two alike."""
    pair = await read_pair(request, resources.max_body_bytes)
    return await resources.explaining.run(request, _explain, resources.service, pair)


def _explain(service: SearchService, pair: Pair) -> Explanation:
    query = service.photo(pair.photo_id)[1] if pair.photo is None else pair.photo
    hit = service.photo(pair.hit)[1]
    match = service.explainer.explain(query, hit, pair.box)
    return Explanation(
        score=match.score,
        strongest=match.strongest,
        query=_heat(service, query, match, match.query, pair.box),
        hit=_heat(service, hit, match, match.hit),
    )


def _heat(
    service: SearchService, photo: bytes, match: MatchHeat, heat: Floats, box: Box | None = None
) -> HeatMap:
    explainer = service.explainer
    picture = draw_heat(
        photo, heat, match.strongest, explainer.preprocess, explainer.limits, _PICTURE_PIXELS, box
    )
    about = read_header(photo, explainer.limits)
    x, y, width, height = explainer.preprocess.visible_shares(about.width, about.height, box)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_JPEG_QUALITY)
    return HeatMap(
        picture="data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii"),
        contributions=heat.tolist(),
        crop=explainer.preprocess.crop,
        seen=Region(x=x, y=y, width=width, height=height),
    )
