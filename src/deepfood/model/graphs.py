"""Convert somebody's ONNX graph to a Model's: with the Model's inputs and output, and no more.

No network is run, and torch is not needed. Parts that the wanted output does not need are removed,
so that a graph with both towers becomes one tower. Needs the package `onnx` (`deepfood[words]`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfood.errors import ArtifactCorruptError, ArtifactFormatError
from deepfood.extras import missing_extra
from deepfood.model import external_data
from deepfood.model.artifact import TEXT_WEIGHTS, WEIGHTS
from deepfood.model.hub_layouts import Output, Tower

#: The names of inputs and outputs of a Model's graphs.
PIXELS, IDS, MASK, EMBEDDING = "pixels", "ids", "mask", "embedding"
#: Names that text graphs of others have for their inputs.
_IDS_NAMES = {"input_ids": IDS, "text": IDS, "attention_mask": MASK}
#: `_Surgery` renames values inside a graph that have such a name.
_INNER = {name: f"inner.{name}" for name in (PIXELS, IDS, MASK, EMBEDDING)}

#: Weights of photo graphs up to this size are in the graph; protobuf allows 2 GB.
_INSIDE_BYTES = 1_500_000_000
#: Larger weights of text graphs are beside it, so that a runtime maps them: most of their bytes are
#: a table with a row for each token.
_TEXT_INSIDE_BYTES = 32 * 2**20
#: Tensors below this size always stay in the graph.
_SMALL_BYTES = 1024

#: The domains of operators that the runtimes have; "" is ONNX's own.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


@dataclass(frozen=True)
class Graph:
    """A converted graph, and the weight file beside it with its required name."""

    onnx: bytes
    #: None if the graph does not define it.
    dimension: int | None
    weights: tuple[str, Path] | None = None
    #: For text: the type of the token ids, whether it needs a mask, and the number of tokens.
    id_type: str = "int64"
    attention_mask: bool = False
    vocabulary: int | None = None


def photo_graph(tower: Tower, size: int, scratch: Path) -> Graph:
    """float32 `pixels` [n, 3, size, size] to float32 `embedding` [n, dimension].

    n is 1 if the graph was made for one photo. `scratch` is a folder on the disk of the Model.
    Raises ArtifactError, MissingExtraError, DiskFullError.
    """
    surgery = _Surgery(tower)
    (given,) = surgery.inputs(1)
    batch = given.type.tensor_type.shape.dim[:1]
    photos: int | str = "n" if not batch or not batch[0].dim_value else 1
    surgery.connect({PIXELS: given}, [photos, 3, size, size])
    dimension = surgery.pool()
    onnx, weights = surgery.finish(scratch, WEIGHTS, _INSIDE_BYTES)
    return Graph(onnx, dimension, weights)


def text_graph(tower: Tower, context: int, scratch: Path) -> Graph:
    """`ids` [1, context], and `mask` if needed, to float32 `embedding` [1, dimension].

    Raises as `photo_graph` does.
    """
    surgery = _Surgery(tower)
    inputs = surgery.inputs(2)
    names = {_IDS_NAMES.get(surgery.original_name(one.name), one.name): one for one in inputs}
    if len(inputs) == 1:  # whatever its name is
        names = {IDS: inputs[0]}
    if not {IDS} <= names.keys() <= {IDS, MASK}:
        raise surgery.refused(f"it needs {', '.join(names)}, but gets only tokens and their mask")
    ordered = {name: names[name] for name in (IDS, MASK) if name in names}
    vocabulary = surgery.rows_chosen_by(ordered[IDS].name)
    id_type = surgery.connect(ordered, [1, context])
    dimension = surgery.pool()
    onnx, weights = surgery.finish(scratch, TEXT_WEIGHTS, _TEXT_INSIDE_BYTES)
    return Graph(onnx, dimension, weights, id_type, MASK in ordered, vocabulary)


class _Surgery:
    """A graph being converted. The contents of large tensors are not read before `finish`."""

    def __init__(self, tower: Tower) -> None:
        try:
            import onnx
            from onnx import inliner
        except ImportError:
            raise missing_extra("importing an encoder needs the package onnx", "words") from None
        self._onnx: Any = onnx
        self._path = tower.graph
        try:
            model = onnx.load(tower.graph, load_external_data=False)
            if model.functions:
                model = inliner.inline_local_functions(model)
        except Exception as error:  # protobuf and onnx raise their own types
            raise self._damaged(error) from error
        self._model: Any = model
        self._graph: Any = model.graph
        for tensor in _tensors(self._graph):
            external_data.check(tensor, self._path)
        self._name_constants()
        self._output = self._chosen(tower.outputs)
        self._prune()
        self._rename()
        self._widen(self._graph)

    def refused(self, why: str) -> ArtifactFormatError:
        return ArtifactFormatError(f"{self._path} cannot be imported: {why}")

    def original_name(self, name: str) -> str:
        """The name of an input before `_rename`."""
        return name.removeprefix("inner.") if name in _INNER.values() else name

    def inputs(self, most: int) -> list[Any]:
        """The inputs of the output. Raises ArtifactFormatError for none, or more than `most`."""
        given = list(self._graph.input)
        if not 0 < len(given) <= most:
            names = ", ".join(self.original_name(one.name) for one in given) or "no input"
            raise self.refused(f"{self._output.name} needs {names}, but gets at most {most}")
        return given

    def connect(self, inner: Mapping[str, Any], shape: list[int | str]) -> str:
        """Make the names in `inner` the inputs, each of `shape`, cast to the types inside.

        Returns their type: int32 or int64 for tokens, float32 for pixels.
        """
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        allowed = [kinds.INT64, kinds.INT32]
        if PIXELS in inner:
            allowed = [kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE]
        outer = allowed[0] if PIXELS in inner else inner[IDS].type.tensor_type.elem_type
        casts = []
        for name, one in inner.items():
            has = one.type.tensor_type
            if has.elem_type not in allowed:
                kind = external_data.type_name(has.elem_type)
                raise self.refused(
                    f"its input {self.original_name(one.name)} is of the type {kind}"
                )
            self._check_input(one, shape)
            casts.append(helper.make_node("Cast", [name], [one.name], to=has.elem_type))
        nodes = [*casts, *self._graph.node]
        del self._graph.node[:], self._graph.input[:]
        self._graph.node.extend(nodes)
        self._graph.input.extend(
            helper.make_tensor_value_info(name, outer, shape) for name in inner
        )
        return external_data.type_name(outer)

    def pool(self) -> int | None:
        """Make `embedding` the only output, float32 [n, dimension]; returns the dimension."""
        graph, helper, kinds = self._graph, self._onnx.helper, self._onnx.TensorProto
        value, rank = _INNER.get(self._output.name, self._output.name), 2
        shape = self._shape_of(value)
        if self._output.pooling == "first":
            rank = 3
            graph.initializer.append(helper.make_tensor("deepfood.first", kinds.INT64, [], [0]))
            graph.node.append(
                helper.make_node("Gather", [value, "deepfood.first"], ["deepfood.token"], axis=1)
            )
            value = "deepfood.token"
        if shape and len(shape) != rank:
            raise self.refused(f"its output {self._output.name} has the shape {_sizes(shape)}")
        dimension = shape[-1] or None if shape else None
        photos = graph.input[0].type.tensor_type.shape.dim[0]
        graph.node.append(helper.make_node("Cast", [value], [EMBEDDING], to=kinds.FLOAT))
        del graph.output[:]
        graph.output.append(
            helper.make_tensor_value_info(
                EMBEDDING, kinds.FLOAT, [photos.dim_param or photos.dim_value, dimension]
            )
        )
        return dimension

    def rows_chosen_by(self, name: str) -> int | None:
        """The rows of the table in which a Gather looks up the input `name`."""
        tables = {one.name: one.dims for one in self._graph.initializer}
        sources = {
            out: node.input[0] for node in self._graph.node for out in node.output[:1] if node.input
        }
        same = {name}
        for node in self._graph.node:  # nodes are in topological order
            if node.op_type in ("Cast", "Identity", "Reshape") and node.input[0] in same:
                same.update(node.output)
            elif node.op_type == "Gather" and node.input[1] in same:
                table = node.input[0]
                while table not in tables and table in sources:  # through casts and dequantisation
                    table = sources[table]
                return int(tables[table][0]) if tables.get(table) else None
        return None

    def finish(
        self, scratch: Path, prefix: str, inside_bytes: int
    ) -> tuple[bytes, tuple[str, Path] | None]:
        """The graph's bytes and, if they would be too many, the weights beside it."""
        tensors = list(_tensors(self._graph))
        weights = None
        if sum(map(external_data.size_of, tensors)) > inside_bytes:
            initializers = self._graph.initializer
            large = [one for one in initializers if external_data.size_of(one) >= _SMALL_BYTES]
            weights = external_data.externalize(large, self._path, scratch, prefix)
            tensors = [
                *(one for one in initializers if external_data.size_of(one) < _SMALL_BYTES),
                *tensors[len(initializers) :],
            ]
        for tensor in tensors:
            if external_data.is_outside(tensor):
                external_data.internalize(tensor, self._path)
        for node in _nodes(self._graph):  # exporters leave paths of their machines here
            del node.metadata_props[:]
            node.doc_string = ""
        del self._model.metadata_props[:], self._graph.metadata_props[:]
        self._model.doc_string = self._graph.doc_string = ""
        try:
            self._onnx.checker.check_model(self._skeleton())
        except Exception as error:
            raise self._damaged(error) from error
        return bytes(self._model.SerializeToString(deterministic=True)), weights

    def _damaged(self, error: Exception) -> ArtifactCorruptError:
        why = " ".join(str(error).split())[:200]
        return ArtifactCorruptError(f"{self._path} is not a valid ONNX graph: {why}")

    def _chosen(self, outputs: Sequence[Output]) -> Output:
        have = [one.name for one in self._graph.output]
        for output in outputs:
            if output.name in have:
                return output
        wanted = " or ".join(output.name for output in outputs)
        raise self.refused(f"it has no output {wanted}; it has {', '.join(have) or 'none'}")

    def _name_constants(self) -> None:
        """Make large constants initializers: only the values of these may lie beside the graph."""
        graph = self._graph
        for node in graph.node:
            for attribute in node.attribute:
                value = attribute.t
                if (
                    node.op_type == "Constant"
                    and attribute.name == "value"
                    and external_data.size_of(value) >= _SMALL_BYTES
                ):
                    value.name = node.output[0]
                    graph.initializer.append(value)
                    node.op_type = "Removed"
        _keep(graph.node, lambda node: node.op_type != "Removed")

    def _prune(self) -> None:
        """Keep what the output needs. Raises ArtifactError for unknown operators."""
        graph = self._graph
        makers: dict[str, Any] = {}
        for node in graph.node:
            for name in filter(None, node.output):
                if name in makers:
                    raise ArtifactCorruptError(f"{self._path} is damaged: two nodes make {name!r}")
                makers[name] = node
        needed: set[str] = set()
        queue = [self._output.name]
        while queue:
            name = queue.pop()
            if name and name not in needed:
                needed.add(name)
                queue.extend(_reads(makers[name]) if name in makers else ())
        weights = {one.name for one in graph.initializer}
        weights |= {one.values.name for one in graph.sparse_initializer}
        unmade = needed - makers.keys() - weights - {one.name for one in graph.input}
        if unmade:
            raise ArtifactCorruptError(f"{self._path} is damaged: nothing makes {min(unmade)!r}")
        _keep(graph.node, lambda node: bool(needed & set(node.output)))
        _keep(graph.initializer, lambda one: one.name in needed)
        _keep(graph.sparse_initializer, lambda one: one.values.name in needed)
        _keep(graph.input, lambda one: one.name in needed - weights)
        _keep(graph.output, lambda one: one.name == self._output.name)
        del graph.value_info[:], graph.quantization_annotation[:]
        # Since this version, weights need not be inputs as well.
        self._model.ir_version = max(self._model.ir_version, 4)
        for node in _nodes(graph):
            if node.domain not in _DOMAINS:
                raise self.refused(
                    f"it needs the operator {node.op_type} of {node.domain}, which the runtimes "
                    "do not have"
                )

    def _rename(self) -> None:
        """Free the names of a Model's inputs and outputs."""
        graph = self._graph
        for node in _nodes(graph):
            for names in (node.input, node.output):
                names[:] = [_INNER.get(name, name) for name in names]
        for one in (*graph.input, *graph.initializer, *graph.output):
            one.name = _INNER.get(one.name, one.name)

    def _widen(self, graph: Any) -> None:
        """Compute in float32 instead of half precision; weights keep their type.

        On processors half precision is no faster, some runtimes lack operators of it, and others
        overflow.
        """
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        halves = (kinds.FLOAT16, kinds.BFLOAT16)
        # Operators of com.microsoft need constants of their own types.
        plain = {name for node in graph.node if node.domain for name in node.input}
        stored = {}
        for one in graph.initializer:
            if one.data_type in halves and one.name in plain:
                self._make_wide(one)
            elif one.data_type in halves:
                stored[one.name] = f"{one.name}.half"
                one.name = stored[one.name]
        casts = [
            helper.make_node("Cast", [half], [name], to=kinds.FLOAT)
            for name, half in stored.items()
        ]
        nodes = []
        for node in graph.node:
            nodes.append(node)
            for attribute in node.attribute:
                if attribute.name in ("to", "dtype") and attribute.i in halves:
                    attribute.i = kinds.FLOAT
                if attribute.HasField("t") and attribute.t.data_type in halves:
                    self._make_wide(attribute.t)
            for branch in _branches(node):
                self._widen(branch)
            if (
                node.op_type == "Gather" and node.input[0] in stored
            ):  # cast one row, not the whole table
                node.input[0] = stored[node.input[0]]
                row, node.output[0] = node.output[0], f"{node.output[0]}.half"
                nodes.append(helper.make_node("Cast", [node.output[0]], [row], to=kinds.FLOAT))
        for one in (*graph.input, *graph.output):
            if one.type.tensor_type.elem_type in halves:
                one.type.tensor_type.elem_type = kinds.FLOAT
        used = {name for node in _nodes(graph) for name in node.input}
        casts = [cast for cast in casts if cast.output[0] in used]
        nodes = [*casts, *nodes]
        del graph.node[:]
        graph.node.extend(nodes)

    def _make_wide(self, tensor: Any) -> None:
        if external_data.is_outside(tensor):
            external_data.internalize(tensor, self._path)
        helper = self._onnx.numpy_helper
        tensor.CopyFrom(helper.from_array(helper.to_array(tensor).astype("f4"), tensor.name))

    def _check_input(self, given: Any, shape: list[int | str]) -> None:
        has = given.type.tensor_type
        if not has.HasField("shape"):
            return
        sizes = [dim.dim_value for dim in has.shape.dim]
        fits = len(sizes) == len(shape) and all(
            size == 0 or size == wanted for size, wanted in zip(sizes, shape, strict=True)
        )
        if not fits:
            raise self.refused(
                f"its input {self.original_name(given.name)} is {_sizes(sizes)}, but would get "
                f"{_sizes(shape)}"
            )

    def _shape_of(self, name: str) -> list[int]:
        """The shape of the output, with 0 for unknown sizes; empty if it is unknown."""
        (declared,) = (one.type.tensor_type for one in self._graph.output)
        skeleton = self._skeleton()
        skeleton.graph.output[0].type.tensor_type.ClearField("shape")
        try:
            inferred = self._onnx.shape_inference.infer_shapes(skeleton).graph.output[0]
        except Exception as error:
            raise self._damaged(error) from error
        found = [dim.dim_value for dim in inferred.type.tensor_type.shape.dim]
        if found and found[-1]:
            return found
        return [dim.dim_value for dim in declared.shape.dim] or found

    def _skeleton(self) -> Any:
        """The model without the values of its large tensors, which become inputs."""
        graph, helper = self._graph, self._onnx.helper
        model = type(self._model)(ir_version=self._model.ir_version)
        model.opset_import.extend(self._model.opset_import)
        model.graph.name = graph.name or "graph"
        for field in ("node", "input", "output", "sparse_initializer"):
            getattr(model.graph, field).extend(getattr(graph, field))
        for one in graph.initializer:
            if external_data.is_outside(one) or external_data.size_of(one) >= _SMALL_BYTES:
                info = helper.make_tensor_value_info(one.name, one.data_type, one.dims)
                model.graph.input.append(info)
            else:
                model.graph.initializer.append(one)
        return model


def _nodes(graph: Any) -> Iterator[Any]:
    """All nodes, including those of branches and loops."""
    for node in graph.node:
        yield node
        for branch in _branches(node):
            yield from _nodes(branch)


def _branches(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _reads(node: Any) -> set[str]:
    """The names that a node needs from the surrounding graph."""
    names = set(node.input)
    for branch in _branches(node):
        own = {one.name for one in (*branch.input, *branch.initializer)}
        own |= {name for one in branch.node for name in one.output}
        inner: set[str] = {one.name for one in branch.output}
        names |= inner.union(*(_reads(one) for one in branch.node)) - own
    return names - {""}


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for one in graph.sparse_initializer:
        yield from (one.values, one.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for branch in _branches(node):
            yield from _tensors(branch)


def _keep(field: Any, wanted: Callable[[Any], bool]) -> None:
    """Delete in place, without copying."""
    for at in reversed(range(len(field))):
        if not wanted(field[at]):
            del field[at]


def _sizes(shape: Sequence[int | str]) -> str:
    return "x".join(str(size or "?") for size in shape)
