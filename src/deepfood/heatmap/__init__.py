"""Which regions of two photos make them alike: heat maps from a Model's last feature map."""

from deepfood.heatmap.match import Match, MatchExplainer
from deepfood.heatmap.render import draw_heat, draw_pair

__all__ = ["Match", "MatchExplainer", "draw_heat", "draw_pair"]
