"""The connection to Milvus: time limits, retries, and errors in one line.

Every call can be repeated: rows are written under the photo's id, so that a write whose response
was lost is simply repeated.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

import grpc
from pymilvus import CollectionSchema, MilvusClient
from pymilvus.client.types import LoadState
from pymilvus.exceptions import MilvusException
from pymilvus.milvus_client.index import IndexParams

from deepfood.config import Settings
from deepfood.errors import EngineError
from deepfood.milvus.address import MilvusAddress

#: Rare methods that may take longer than a search: creating, loading, moving an alias.
_SLOW = {
    "create_collection",
    "create_index",
    "load_collection",
    "release_collection",
    "drop_collection",
    "create_alias",
    "alter_alias",
    "drop_alias",
    "upsert",
    "delete",
    "flush",
    "query_iterator",
}
_SLOW_TIMES = 12
#: Milvus' codes for requests that will fail again: no such collection, an alias that exists
#: already, wrong parameters, wrong credentials. Other failures are temporary: a lost node is
#: replaced.
_FINAL = {4, 6, 100, 1100, 1101, 1102, 1400, 1401, 1600, 1602}
_FINAL_WORDS = (
    *("auth check failure", "permission deny", "can't find collection", "not found[coll"),
    "already exists",  # Milvus Lite has no code for it
)
# Our errors report failures in one line; pymilvus would log each with its traceback.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0

#: Rows per response when all are read.
_PAGE = 1000


class Connection:
    """A connection that many threads may use at once."""

    def __init__(self, address: MilvusAddress, settings: Settings) -> None:
        self.address = address
        self.consistency = settings.milvus_consistency
        self._timeout_s = settings.milvus_timeout_s
        self._token = settings.milvus_token
        self._replicas = settings.milvus_replicas
        self._client: MilvusClient | None = None

    @classmethod
    def strong(cls, address: MilvusAddress, settings: Settings) -> Self:
        """A connection with strong consistency: it sees every acknowledged change."""
        strong = settings.model_copy(update={"milvus_consistency": "Strong"})
        return cls(address, strong)

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Call a method of MilvusClient, with retries after temporary failures.

        Raises EngineError after the setting milvus_timeout_s (twelve times that for writes and the
        methods in _SLOW), or at once if a retry cannot help.
        """
        limit_s = self._timeout_s * (_SLOW_TIMES if verb in _SLOW else 1)
        until = time.monotonic() + limit_s
        wait = _FIRST_WAIT_S
        while True:
            left = max(until - time.monotonic(), _FIRST_WAIT_S)
            try:
                return getattr(self._connected(left), verb)(timeout=left, **arguments)
            except (MilvusException, grpc.RpcError) as error:
                final = _is_final(error)
                if final or time.monotonic() + wait > until:
                    raise EngineError(self._error_text(verb, error, final, limit_s)) from error
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def query(
        self,
        collection: str,
        where: str,
        fields: Sequence[str],
        consistency: str | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """A few rows for which `where` holds, in one request; at most `limit`.

        `consistency` None means that of searches. Raises EngineError.
        """
        more = {} if limit is None else {"limit": limit}
        return list(
            self.ask(
                "query",
                collection_name=collection,
                filter=where,
                output_fields=list(fields),
                consistency_level=consistency or self.consistency,
                **more,
            )
        )

    def every(
        self, collection: str, where: str, fields: Sequence[str], page: int = _PAGE
    ) -> Iterator[dict[str, Any]]:
        """All acknowledged rows for which `where` holds, one page at a time.

        Raises EngineError.
        """
        iterator = self.ask(
            "query_iterator",
            collection_name=collection,
            filter=where,
            output_fields=list(fields),
            batch_size=page,
            consistency_level="Strong",
        )
        try:
            while rows := iterator.next():
                yield from rows
        except (MilvusException, grpc.RpcError) as error:
            final = _is_final(error)
            said = self._error_text("query_iterator", error, final, self._timeout_s)
            raise EngineError(said) from error
        finally:
            iterator.close()

    def create(
        self, collection: str, schema: CollectionSchema, index: IndexParams, shards: int = 1
    ) -> None:
        """Ensure that a collection exists, with its index, and is loaded."""
        if not self.ask("has_collection", collection_name=collection):
            self.ask(
                "create_collection", collection_name=collection, schema=schema, num_shards=shards
            )
        if not self.ask("list_indexes", collection_name=collection):
            # It has no rows yet, so that there is nothing to wait for.
            self.ask("create_index", collection_name=collection, index_params=index, sync=False)
        self.load(collection)

    def load(self, collection: str) -> None:
        """Have the query nodes load a collection; returns at once if it is loaded.

        A loaded collection keeps its number of replicas, whatever the settings are now.
        """
        found = self.ask("get_load_state", collection_name=collection)["state"]
        if found != LoadState.Loaded:
            self.ask("load_collection", collection_name=collection, replica_number=self._replicas)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _connected(self, timeout_s: float) -> MilvusClient:
        if self._client is None:
            self._client = MilvusClient(self.address.uri, token=self._token, timeout=timeout_s)
        return self._client

    def _error_text(self, verb: str, error: Exception, final: bool, limit_s: float) -> str:
        message = error.message if isinstance(error, MilvusException) else _details(error)
        reason = " ".join(str(message).split())[:300]
        if final:
            return f"{self.address} refuses {verb}: {reason}"
        return (
            f"{self.address} did not {verb} within {limit_s:g} s: {reason}: see whether "
            "Milvus runs, or raise milvus_timeout_s"
        )


def _is_final(error: Exception) -> bool:
    if not isinstance(error, MilvusException):
        return False
    return error.code in _FINAL or any(word in str(error) for word in _FINAL_WORDS)


def _details(error: Exception) -> str:
    """The message of a gRPC error."""
    details = getattr(error, "details", None)
    return str(details()) if callable(details) else str(error)
