# SPDX-License-Identifier: BSD-2-Clause
"""Just as much SVG as auto/bench's plots need: lines over two logarithmic axes, bars, and figures beside their goals."""
import html
import math

INK, PALE, GRID = "#1f2430", "#5b6270", "#d9dce3"
MET, MISSED = "#1a7f4b", "#c2410c"
COLOURS = ["#2563a8", "#c2410c", "#1a7f4b"]


class Svg:
    def __init__(self, width, height):
        self.width, self.height, self.parts = width, height, []

    def line(self, x1, y1, x2, y2, colour=GRID, width=1):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>')

    def path(self, points, colour):
        at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="2"/>')

    def bar(self, x, y, width, height, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{colour}"/>')

    def dot(self, x, y, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')

    def text(self, x, y, words, colour=INK, anchor="start", size=12, weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-size="{size}" '
                          f'font-weight="{weight}">{html.escape(words)}</text>')

    def __str__(self):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
                f'viewBox="0 0 {self.width} {self.height}" font-family="system-ui, sans-serif">')
        return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *self.parts, "</svg>"]) + "\n"


def log_scale(low, high, start, end):
    """From a number to a place between start and end."""
    return lambda number: start + (math.log(number) - math.log(low)) / (math.log(high) - math.log(low)) * (end - start)


def steps(low, high):
    """1, 2, 5, 10 ... from low to high."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [digit * 10.0**power for power in powers for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]


def lines(svg, x, y, width, height, title, below, series):
    """series: [(name, [(x, y), ...])], both axes logarithmic; x ticks are where points are."""
    numbers = [point[1] for _, points in series for point in points]
    ticks = [point[0] for point in series[0][1]]
    low, high = min(numbers) / 1.3, max(numbers) * 1.3
    at_x = log_scale(ticks[0], ticks[-1], x + 44, x + width - 16)
    at_y = log_scale(low, high, y + height - 40, y + 34)
    svg.text(x, y + 12, title, weight="bold", size=13)
    for step in steps(low, high):
        svg.line(x + 38, at_y(step), x + width, at_y(step))
        svg.text(x + 32, at_y(step) + 4, f"{step:g}", PALE, "end", 11)
    for tick in ticks:
        svg.text(at_x(tick), y + height - 22, f"{tick:,}", PALE, "middle", 11)
    svg.text(x + 44, y + height - 4, below, PALE, size=11)
    for n, (name, points) in enumerate(series):
        places = [(at_x(a), at_y(b)) for a, b in points]
        svg.path(places, COLOURS[n])
        for place in places:
            svg.dot(*place, COLOURS[n])
        svg.text(places[-1][0], places[-1][1] - 12, name, COLOURS[n], "end")


def bars(svg, x, y, width, title, rows):
    """rows: [(name, number, is it ours?)], a bar each, from zero."""
    start = x + 0.25 * width
    scale = (width - 60 - 0.25 * width) / max(number for _, number, _ in rows)
    svg.text(x, y + 12, title, weight="bold", size=13)
    for n, (name, number, ours) in enumerate(rows):
        top = y + 28 + 24 * n
        svg.text(start - 8, top + 13, name, anchor="end", weight="bold" if ours else "normal")
        svg.bar(start, top, number * scale, 18, COLOURS[0] if ours else GRID)
        svg.text(start + number * scale + 6, top + 13, f"{number:.1f}", PALE)


def goals(svg, x, y, width, results):
    """A line a row: where its figure lies, with its goal at 1; to the left is better."""
    rows = [(result, use_of_goal(result)) for result in results if result["goal"]]
    height = 34 + 24 * len(rows)
    low = min([0.2] + [use for _, use in rows]) / 1.2
    high = max([2] + [use for _, use in rows]) * 1.2
    labels = x + 0.56 * width
    at_x = log_scale(low, high, labels + 10, x + width - 10)
    svg.text(x, y + 12, "Figures beside their goals (the goal is 1, left of it is better)", weight="bold", size=13)
    for step in steps(low, high):
        svg.line(at_x(step), y + 30, at_x(step), y + height, INK if step == 1 else GRID)
        svg.text(at_x(step), y + height + 16, f"{step:g}", PALE, "middle", 11)
    for n, (result, use) in enumerate(rows):
        colour, line = MET if result["met"] else MISSED, y + 44 + 24 * n
        svg.text(labels, line + 4, f"{result['row']}  {goal_text(result)}", anchor="end", size=11)
        svg.line(at_x(1), line, at_x(use), line, colour, 3)
        svg.dot(at_x(use), line, colour)
    return height + 24


def goal_text(result):
    return result["goal"].replace("<=", "\u2264").replace(">=", "\u2265")


def use_of_goal(result):
    """How much of what the goal allows: 1 is just met."""
    number = result["value"] if result["ratio"] is None else result["ratio"]
    sign, limit = result["goal"].split()[:2]
    limit = float(limit.rstrip("x").replace(",", ""))
    if sign == ">=":
        return limit / number
    return max(number, 0.01) / limit if limit else (1 if number == 0 else 100)
