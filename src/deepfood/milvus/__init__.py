"""The engine for galleries on Milvus: vectors and attributes in a distributed database.

`gallery` searches, `writer` changes, `build` makes a gallery from photos. All modules but `address`
need pymilvus.
"""
