"""Which regions of two photos make them alike: heat maps from a Model's last feature map."""

from deepfood.heatmap.match import MatchExplainer, MatchHeat
from deepfood.heatmap.network import Floats, Trunk
from deepfood.heatmap.render import draw_heat, draw_pair, scale_in_words

__all__ = [
    "Floats",
    "MatchExplainer",
    "MatchHeat",
    "Trunk",
    "draw_heat",
    "draw_pair",
    "scale_in_words",
]
