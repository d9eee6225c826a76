"""The report's plots as plotly figures; colours that depend on light or dark are the page's part.

Colours: Okabe and Ito's palette, distinguishable with every kind of colour vision.
"""

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go

from deepfood.evaluate.classes import confusion_matrix, most_confused
from deepfood.evaluate.evaluation import Evaluation, right_hits

BLUE, ORANGE = "#0072b2", "#d55e00"
_HATCH = "/"
#: The most classes in a readable figure; the most confused are shown.
MAX_CLASSES = 60
_BINS = 50


def text(label: str, longest: int = 28) -> str:
    """A label for plotly, which takes text for HTML."""
    return html.escape(label if len(label) <= longest else f"{label[: longest - 1]}…")


def reliability_figure(sides: dict[str, Evaluation]) -> go.Figure:
    """Reliability diagram: share of right hits by predicted probability."""
    figure = go.Figure()
    line = {"dash": "dot", "width": 1.5, "color": "gray"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="honest", hoverinfo="skip")
    for (name, side), color, dash in zip(
        sides.items(), (BLUE, ORANGE), ("solid", "dash"), strict=False
    ):
        bins = side.calibration.bins
        counts = np.array([one.count for one in bins])
        figure.add_scatter(
            x=[one.probability for one in bins],
            y=[one.right for one in bins],
            mode="lines+markers",
            name=name or "measured",
            line={"color": color, "dash": dash},
            marker={"size": (6 + 14 * np.sqrt(counts / counts.max(initial=1))).tolist()},
            customdata=counts.tolist(),
            hovertemplate="predicted %{x:.0%}, right %{y:.0%}; %{customdata:,} hits<extra></extra>",
        )
    axis = {"range": [-0.03, 1.03], "tickformat": ".0%"}
    figure.update_layout(
        xaxis={"title": "predicted probability that the hit is right", **axis},
        yaxis={"title": "share that was right", **axis},
    )
    return figure


def similarity_figure(found: Evaluation) -> go.Figure:
    """Similarities of right and of wrong hits."""
    right = right_hits(found.trial, found.retrieval)
    hit = np.isfinite(found.retrieval.scores)
    return _histograms(
        {
            "right": found.retrieval.scores[right & hit],
            "wrong": found.retrieval.scores[~right & hit],
        },
        "similarity of a hit",
    )


def novelty_figure(found: Evaluation) -> go.Figure:
    """The probability that the dish is in the gallery, with and without it there."""
    novelty = found.novelty
    return _histograms(
        {"dish in the gallery": novelty.known, "dish left out": novelty.left_out},
        "predicted probability that the gallery has the dish",
    )


def _histograms(groups: dict[str, Any], title: str) -> go.Figure:
    figure = go.Figure()
    everything = np.concatenate([*groups.values()])
    low, high = (everything.min(), everything.max()) if len(everything) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    for (name, values), color, shape in zip(
        groups.items(), (BLUE, ORANGE), ("", _HATCH), strict=True
    ):
        counts, _ = np.histogram(values, edges)
        figure.add_bar(
            x=((edges[1:] + edges[:-1]) / 2).round(4).tolist(),
            y=(counts / max(1, counts.sum())).round(5).tolist(),
            name=f"{name} ({len(values):,})",
            marker={"color": color, "opacity": 0.65, "pattern": {"shape": shape}},
            hovertemplate="%{x:.2f}: %{y:.1%}<extra></extra>",
        )
    figure.update_layout(
        barmode="overlay",
        bargap=0,
        xaxis={"title": title},
        yaxis={"title": "share", "tickformat": ".0%", "rangemode": "tozero"},
    )
    return figure


def confusion_figure(found: Evaluation) -> tuple[go.Figure, int]:
    """Share of each label's queries (rows) by voted label (columns); also how many labels."""
    chosen = most_confused(found.trial, found.retrieval, MAX_CLASSES)
    shares = confusion_matrix(found.trial, found.retrieval, chosen)
    names = [text(found.trial.names[number]) for number in chosen]
    places = list(range(len(names)))
    figure = go.Figure(
        go.Heatmap(
            z=shares.round(4).tolist(),
            x=places,
            y=places,
            text=[[f"{row} taken for {column}" for column in names] for row in names],
            hovertemplate="%{text}: %{z:.0%}<extra></extra>",
            zmin=0,
            zmax=1,
            colorscale="Cividis",
            colorbar={"tickformat": ".0%", "thickness": 12},
            xgap=1,
            ygap=1,
        )
    )
    # Places, not names, as axis values: two long labels may be shown alike.
    ticks = {"tickvals": places, "ticktext": names, "automargin": True}
    figure.update_layout(
        xaxis={"title": "voted label", "tickangle": -60, **ticks},
        yaxis={"title": "true label", "autorange": "reversed", **ticks},
    )
    return figure, len(names)
