"""What the demo shows, as HTML: bars, words, the timeline, notes and errors. Plain text in, escaped here. Travels."""

import math
from collections.abc import Mapping
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from .timeline import Timeline

_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
_MOST_TICKS = 6

CSS = """
.emomm { --bar: #4338ca; --track: #dfe1ea; --words: 67, 56, 202; --quiet: #4b5563; --edge: #d1d5db;
  --bad: #991b1b; --bad-back: #fef2f2; color: var(--body-text-color); font-size: 1rem; line-height: 1.5; }
.dark .emomm { --bar: #a5b4fc; --track: #3b4252; --words: 129, 140, 248; --quiet: #d1d5db; --edge: #4b5563;
  --bad: #fecaca; --bad-back: #450a0a; }
.emomm h1 { font-size: 1.6rem; font-weight: 700; margin: 0 0 .25rem; }
.emomm h2 { font-size: 1.2rem; font-weight: 600; margin: 1.25rem 0 .5rem; color: inherit; }
.emomm h3 { font-size: 1rem; font-weight: 600; margin: 0 0 .4rem; color: inherit; }
.emomm p { margin: 0 0 .5rem; max-width: 75ch; }
.emomm .quiet { color: var(--quiet); font-size: .9rem; }
.emomm h1, .emomm h2, .emomm h3, .emomm p, .emomm li { overflow-wrap: anywhere; }
.emomm .alert { border-left: 4px solid var(--bad); background: var(--bad-back); color: var(--bad);
  padding: .6rem .8rem; border-radius: 4px; }
.emomm .columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr));
  gap: 1.25rem 2rem; }
.emomm ul.bars { list-style: none; margin: 0; padding: 0; }
.emomm ul.notes { list-style: disc; margin: 0 0 1rem; padding: 0 0 0 1.2rem; }
.emomm ul.bars li { margin: 0 0 .5rem; display: grid; grid-template-columns: 1fr auto; column-gap: .5rem; }
.emomm ul.bars li.top { font-weight: 700; }
.emomm .percent { font-variant-numeric: tabular-nums; }
.emomm .track { grid-column: 1 / -1; height: .7rem; border-radius: 4px; background: var(--track); overflow: hidden; }
.emomm .track > span { display: block; height: 100%; background: var(--bar); }
.emomm .words { display: flex; flex-wrap: wrap; gap: .35rem; margin: 0 0 .5rem; padding: 0; list-style: none; }
.emomm .words li { margin: 0; border-radius: 4px; padding: .1rem .4rem; text-align: center; max-width: 100%;
  border: 1px solid var(--edge); background: rgba(var(--words), var(--strength)); }
.emomm .words small { display: block; font-size: .75rem; font-variant-numeric: tabular-nums; }
.emomm .strip { display: grid; grid-template-columns: 3.2rem minmax(0, 1fr); column-gap: .4rem; padding-right: 1rem; }
.emomm .strip .name { grid-column: 2; font-size: .9rem; margin-top: .35rem; }
.emomm .strip .scale { display: flex; flex-direction: column; justify-content: space-between; text-align: right;
  font-size: .75rem; line-height: 1; color: var(--quiet); font-variant-numeric: tabular-nums; }
.emomm .strip svg { display: block; width: 100%; height: 2.6rem; overflow: visible;
  border-style: solid; border-width: 1px 0; border-color: var(--edge); }
.emomm .strip polygon, .emomm .strip rect { fill: var(--bar); fill-opacity: .3; }
.emomm .strip polyline { fill: none; stroke: var(--bar); stroke-width: 2; }
.emomm .strip rect { fill-opacity: .85; }
.emomm .strip line { stroke: var(--edge); stroke-dasharray: 3 3; }
.emomm .strip svg * { vector-effect: non-scaling-stroke; }
.emomm .ticks { grid-column: 2; position: relative; height: 1.3rem; font-size: .8rem; color: var(--quiet);
  font-variant-numeric: tabular-nums; }
.emomm .ticks span { position: absolute; transform: translateX(-50%); white-space: nowrap; padding-top: .3rem;
  line-height: 1; }
.emomm .ticks span::before { content: ""; position: absolute; left: 50%; top: 0; height: .2rem;
  border-left: 1px solid var(--quiet); }
.emomm .axis { grid-column: 2; text-align: center; font-size: .85rem; color: var(--quiet); }
.emomm summary { cursor: pointer; padding: .4rem 0; }
.emomm .scroll { overflow: auto; max-height: 20rem; }
.emomm table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
.emomm th, .emomm td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--edge); }
"""


def percent(share: float) -> str:
    """0.8734 as `87.3 %`."""
    return f"{100 * share:.1f} %"


def _share(share: float) -> str:
    return "–" if np.isnan(share) else percent(share)


def error(message: str) -> str:
    """What went wrong, read out by screen readers at once."""
    said = f"<strong>This did not work.</strong> {escape(message)}"
    return f'<div class="emomm"><p class="alert" role="alert">{said}</p></div>'


def waiting(text: str) -> str:
    """What stands in the place of the results before there are any."""
    return f'<div class="emomm"><h2>Emotion</h2><p class="quiet">{escape(text)}</p></div>'


def side_by_side(columns: Sequence[tuple[str, Mapping[str, Any] | str]], notes: Sequence[str]) -> str:
    """The bars of each model, in the order of the first one's, and what is to be noted.

    Args:
        columns: titles with results of the pipeline, or with the reason why there is none.
        notes: about the recording and the words.
    """
    results = [found for _, found in columns if not isinstance(found, str)]
    order = [each["label"] for each in next((found["scores"] for found in results if found["scores"]), [])]
    sections = "".join(
        f"<section><h3>{escape(title)}</h3>"
        + (f'<p class="quiet">{escape(found)}</p>' if isinstance(found, str) else _bars(found, order))
        + "</section>"
        for title, found in columns
    )
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    noted = f'<h3>To be noted</h3><ul class="notes">{listed}</ul>' if notes else ""
    main = columns[0][1]
    said = "There is no emotion to be named."
    if main["label"] is not None:
        said = f"Likeliest: <strong>{escape(main['label'])}</strong>, {percent(main['score'])}"
    return (
        f'<div class="emomm"><h2>Emotion</h2><p role="status">{said}</p>{noted}'
        f'<div class="columns">{sections}</div></div>'
    )


def _bars(result: Mapping[str, Any], order: Sequence[str]) -> str:
    if result["label"] is None:
        return f'<p class="quiet">{escape("; ".join(result["notes"]))}</p>'
    scores = {each["label"]: each["score"] for each in result["scores"]}
    labels = [label for label in order if label in scores] + [label for label in scores if label not in order]
    rows = "".join(
        f"<li{' class=top' if label == result['label'] else ''}><span>{escape(label)}</span>"
        f'<span class="percent">{percent(scores[label])}</span>'
        f'<span class="track" aria-hidden="true"><span style="width:{100 * scores[label]:.1f}%"></span></span></li>'
        for label in labels
    )
    gates = result.get("gates")
    shares = "" if gates is None else f"Shares: voice {percent(gates['audio'])}, words {percent(gates['text'])}."
    vad = ", ".join(f"{name} {value:.1f}" for name, value in (result.get("vad") or {}).items())
    notes = [shares, f"{vad.capitalize()} (of 1 to 5)." if vad else ""]
    return f'<ul class="bars">{rows}</ul>' + "".join(f'<p class="quiet">{note}</p>' for note in notes if note)


def words(result: Mapping[str, Any]) -> str:
    """The words, each on a ground as strong as its weight, with the weight in figures."""
    if result["transcript"] is None:
        return ""
    said = "Heard by the speech recogniser; it can be wrong." if result["transcribed"] else ""
    largest = max((word["weight"] for word in result["words"]), default=0)
    if not largest > 0:
        return f'<section><h2>Words</h2><p class="quiet">{said}</p><p>{escape(result["transcript"])}</p></section>'
    shown = "".join(
        f'<li style="--strength:{0.4 * word["weight"] / largest:.3f}" '
        f'title="{escape(word["word"])}: {percent(word["weight"])} of the weight">'
        f"<span>{escape(word['word'])}</span><small>{percent(word['weight'])}</small></li>"
        for word in result["words"]
    )
    return (
        f'<section><h2>Words</h2><ul class="words">{shown}</ul><p class="quiet">{said} The stronger the ground, the '
        f"larger the word's share of the weight{_by(result['weights_by'])}.</p></section>"
    )


def _by(weights_by: str | None) -> str:
    meaning = {"attention": "where the fusion looked", "gradient": "how much it bears on the likeliest emotion"}
    return f" ({escape(weights_by)}: {meaning.get(weights_by, 'as the model says')})" if weights_by else ""


def over_time(timeline: Timeline | str, moments: Sequence[Mapping[str, float]], weights_by: str | None) -> str:
    """A strip for each emotion, with the time below; and one with the weights of the moments.

    Args:
        timeline: or the reason why there is none.
        moments: `{"start", "end", "weight"}` in seconds.
        weights_by: what the weights are.
    """
    heading = "<section><h2>Over the recording</h2>"
    if isinstance(timeline, str):
        return f'{heading}<p class="quiet">{escape(timeline)}</p></section>'
    if np.isnan(timeline.probabilities).all():
        return f'{heading}<p class="quiet">There is no timeline: too little is said at a time.</p></section>'
    order = np.argsort(-np.nanmean(timeline.probabilities, axis=0))
    strips = "".join(_strip(timeline.labels[i], timeline.times, timeline.probabilities[:, i], timeline) for i in order)
    axis = _axis(timeline.seconds)
    weights = _moments(moments, timeline.seconds)
    about = (
        f'<p class="quiet">Legend: the height of a strip is the probability of its emotion, from the '
        f"{timeline.window:g} seconds around each moment and all the words; nothing is drawn where nothing is said in "
        f"them. The last strip is the weight of each moment{_by(weights_by)}.</p>"
    )
    return f"{heading}{about}{strips}{weights}{axis}{_table(timeline, order)}</section>"


def _strip(label: str, times: np.ndarray, shares: np.ndarray, timeline: Timeline) -> str:
    top, known = int(np.nanargmax(shares)), shares[~np.isnan(shares)]
    highest = f"highest {percent(shares[top])} at {times[top]:.1f} s"
    x = 100 * times / timeline.seconds
    parts = ['<line x1="0" x2="100" y1="50" y2="50"/>']
    edges = np.flatnonzero(np.diff(np.isfinite(shares), prepend=False, append=False))
    for first, end in zip(edges[::2], edges[1::2], strict=True):  # of what is known at a stretch
        # The last point stands to the next one, or to the recording's end.
        a = [*x[first:end], float(x[end]) if end < len(x) else 100.0]
        b = [*(100 * (1 - shares[first:end])), 100 * (1 - shares[end - 1])]
        line = " ".join(f"{right:.2f},{down:.2f}" for right, down in dict.fromkeys(zip(a, b, strict=True)))
        parts.append(f'<polygon points="{a[0]:.2f},100 {line} {a[-1]:.2f},100"/><polyline points="{line}"/>')
    described = f"{label} over the recording: from {percent(known[0])} to {percent(known[-1])}, {highest}"
    return _drawn(f"<strong>{escape(label)}</strong>, {highest}", described, "".join(parts), "100 %", "0 %")


def _moments(moments: Sequence[Mapping[str, float]], seconds: float) -> str:
    largest = max((moment["weight"] for moment in moments), default=0)
    if not largest > 0:
        return ""
    heaviest = max(moments, key=lambda each: each["weight"])
    said = f"largest {percent(largest)} at {heaviest['start']:.1f}–{heaviest['end']:.1f} s"
    drawing = "".join(
        f'<rect x="{100 * moment["start"] / seconds:.2f}" '
        f'width="{max(100 * (moment["end"] - moment["start"]) / seconds - 0.3, 0.1):.2f}" '
        f'y="{100 * (1 - moment["weight"] / largest):.2f}" height="{100 * moment["weight"] / largest:.2f}"/>'
        for moment in moments
    )
    described = f"Weight of each moment of the recording: {said}"
    return _drawn(f"<strong>Weight of the moments</strong>, {said}", described, drawing, percent(largest), "0 %")


def _drawn(name: str, described: str, drawing: str, top: str, bottom: str) -> str:
    return (
        f'<div class="strip"><span class="name">{name}</span>'
        f'<span class="scale" aria-hidden="true"><span>{top}</span><span>{bottom}</span></span>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{escape(described)}">'
        f"{drawing}</svg></div>"
    )


def ticks(seconds: float) -> list[float]:
    """Round times from 0 to the recording's length, few enough for a phone."""
    step = next((step for step in _TICKS if seconds / step <= _MOST_TICKS), _TICKS[-1])
    return [i * step for i in range(math.floor(seconds / step + 1e-6) + 1)]


def _axis(seconds: float) -> str:
    marks = "".join(f'<span style="left:{100 * at / seconds:.2f}%">{at:g}</span>' for at in ticks(seconds))
    return (
        f'<div class="strip" aria-hidden="true"><div class="ticks">{marks}</div><div class="axis">seconds</div></div>'
    )


def _table(timeline: Timeline, order: np.ndarray) -> str:
    head = "".join(f'<th scope="col">{escape(timeline.labels[i])}</th>' for i in order)
    rows = "".join(
        f'<tr><th scope="row">{at:.1f}</th>' + "".join(f"<td>{_share(shares[i])}</td>" for i in order) + "</tr>"
        for at, shares in zip(timeline.times, timeline.probabilities, strict=True)
    )
    return (
        "<details><summary>The same as a table</summary>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Emotions over time">'
        f'<table><thead><tr><th scope="col">seconds</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</div></details>"
    )


__all__ = ["CSS", "error", "over_time", "percent", "side_by_side", "ticks", "waiting", "words"]
