"""How many bytes of a base's weights a pass of the engine reads."""

from sharedllm.base.loading import Base
from sharedllm.base.weight_layouts import layout_for


def bytes_read(base: Base) -> int:
    """Of a bare base that no engine is open on: in what its engine holds its matrices, and all of them.

    A head that has the embedding's weights reads these whole.
    """
    layout = layout_for(base)
    weights = [each.detach() for each in base.model.parameters()]
    if layout is not None:
        weights = [layout(each)._weight if each.ndim == 2 else each for each in weights]
    return sum(each.numel() * each.element_size() for each in weights)
