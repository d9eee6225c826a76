"""The contract of parts of photos, kept on Milvus Lite."""

from milvus_parts import *  # noqa: F403
