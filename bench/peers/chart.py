"""A bar chart of the measurements as SVG text: no library, so that it can be read and compared as a diff."""

from xml.sax.saxutils import escape

BAR, GAP, LABEL, WIDTH, NUMBER = 20, 6, 150, 300, 78
COLORS = {"easel": "#1f77b4", "openvino": "#9467bd", "diffusers": "#8c8c8c", "sdcpp": "#c49c94"}


def bar_chart(title, panels):
    """panels: [(heading, unit, [(engine, value or None)])], drawn side by side, shorter is better. Returns SVG text."""
    panel_width = LABEL + WIDTH + NUMBER
    rows = max(len(values) for _, _, values in panels)
    height = 70 + rows * (BAR + GAP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{panel_width * len(panels)}" height="{height}" '
           f'viewBox="0 0 {panel_width * len(panels)} {height}" font-family="sans-serif" font-size="13">',
           f'<rect width="100%" height="100%" fill="#ffffff"/>',
           f'<text x="10" y="22" font-size="15" font-weight="bold">{escape(title)}</text>']
    for place, (heading, unit, values) in enumerate(panels):
        left = place * panel_width
        most = max((value for _, value in values if value is not None), default=1) or 1
        out.append(f'<text x="{left + LABEL}" y="50" font-weight="bold">{escape(heading)}</text>')
        for row, (engine, value) in enumerate(values):
            top = 60 + row * (BAR + GAP)
            middle = top + BAR * 0.72
            out.append(f'<text x="{left + LABEL - 8}" y="{middle:.1f}" text-anchor="end">{escape(engine)}</text>')
            if value is None:
                out.append(f'<text x="{left + LABEL}" y="{middle:.1f}" fill="#777777">not measured</text>')
                continue
            length = max(1.0, WIDTH * value / most)
            color = COLORS.get(engine.split("-")[0], "#333333")
            out.append(f'<rect x="{left + LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{color}"/>')
            out.append(f'<text x="{left + LABEL + length + 6:.1f}" y="{middle:.1f}">{value:.3g} {escape(unit)}</text>')
    return "\n".join(out) + "\n</svg>\n"
