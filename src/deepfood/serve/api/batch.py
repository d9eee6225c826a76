"""Several searches in one request."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from deepfood.errors import DeepfoodError
from deepfood.serve.api.parsing import question_in, read_questions
from deepfood.serve.api.presenting import result_of
from deepfood.serve.api.problems import PROBLEMS, said_of, status_of
from deepfood.serve.api.requests import accepts
from deepfood.serve.api.resources import Resources, ResourcesDep
from deepfood_client.models import BatchAnswer, BatchProblem, BatchResult

#: Searches of one request that wait or run at once: others get their turn meanwhile.
_AT_ONCE = 4

router = APIRouter(tags=["search"], responses=PROBLEMS)


@router.post(
    "/api/v1/search:batch",
    openapi_extra=accepts(json="BatchRequest"),
    operation_id="searchBatch",
)
async def search_batch(request: Request, resources: ResourcesDep) -> BatchResult:
    """Answer up to 64 searches, in their order; each takes a place of the queue of its own.

    What is wrong in one does not stop the others: it has a `problem` in place of a `result`. Where
    the service is busy, all are answered 503, to be asked again.
    """
    questions = await read_questions(request)
    turns = asyncio.Semaphore(_AT_ONCE)
    tasks = [
        asyncio.create_task(_answer(request, resources, turns, values)) for values in questions
    ]
    try:
        return BatchResult(answers=tuple(await asyncio.gather(*tasks)))
    finally:
        for task in tasks:
            task.cancel()


async def _answer(
    request: Request, resources: Resources, turns: asyncio.Semaphore, values: Any
) -> BatchAnswer:
    async with turns:
        try:
            question = await question_in(request, values, resources.fetcher)
            found = await resources.searching.run(request, resources.service.search, question)
        except (DeepfoodError, HTTPException) as error:
            if status_of(error) >= 500:
                raise
            detail, field, position = said_of(error)
            problem = BatchProblem(
                status=status_of(error), detail=detail, field=field, position=position
            )
            return BatchAnswer(result=None, problem=problem)
    return BatchAnswer(result=result_of(found, resources.public_url), problem=None)
