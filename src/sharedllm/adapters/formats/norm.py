"""A scale at every norm's output, ``y = norm(x) * (1 + s)``: the default."""

from sharedllm.adapters.formats.registry import Format
from sharedllm.base.sites import norm_sites

FORMAT = Format("norm", norm_sites, about="the gains of all norms", gains=True)
