"""A gallery on Milvus: vectors and attributes on a distributed engine, with the local one's verbs.

`gallery` is searched, `writer` changes it, `build` makes it from photos. All but `address` need
pymilvus.
"""
