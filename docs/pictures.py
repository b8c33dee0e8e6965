"""The drawing of the home page, made again into docs/static/: `route.svg`, how a VLM becomes a policy."""
from pathlib import Path
from xml.sax.saxutils import escape

STATIC = Path(__file__).resolve().parent/"static"

GREY, WORDS = "#7b8794", "#ffffff"   # lines that are seen on white and on black; words stand in boxes with a ground of their own
BOXES = [   # left, top, width, height, ground, lines: what it is, then what passes
    (10, 20, 160, 64, "#4a5568", ["image", "what the camera sees"]),
    (10, 104, 160, 64, "#4a5568", ["instruction", "“… place it on …”"]),
    (10, 188, 160, 64, "#b45309", ["action query", "one learned vector"]),
    (220, 20, 170, 232, "#1d5fa8", ["VLM", "any family, any size", "", "tokens of the image,", "of the words, and last", "the query"]),
    (440, 104, 150, 148, "#b45309", ["head", "a small network", "reads the hidden", "state at the query"]),
    (640, 104, 150, 148, "#0f766e", ["chunk of actions", "a few steps at once,", "seven numbers each:", "move, turn, grip"]),
    (840, 104, 150, 148, "#6b46c1", ["simulator", "runs the chunk,", "then shows the", "next image"]),
    (840, 290, 150, 60, "#4a5568", ["rows", "one per episode"])]
ARROWS = ["M170 52H214", "M170 136H214", "M170 220H214", "M390 220H434", "M590 178H634", "M790 178H834", "M915 252V284",
          "M915 104V6H90V16"]   # the last one: the next image goes back to the beginning

def box(x, y, w, h, ground, lines):
    "A box with its words in the middle; the first line is what it is."
    top = y + h/2 - 9*(len(lines) - 1) + 5
    words = [f'<text x="{x + w/2:g}" y="{top + 18*i:g}"' + (' font-weight="700" font-size="15"' if not i else "") + f">{escape(l)}</text>"
             for i, l in enumerate(lines) if l]
    return "\n".join([f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="{ground}"/>', *words])

def route(path=STATIC/"route.svg"):
    "How a VLM becomes a policy, on no ground at all."
    lines = "\n".join(f'<path d="{d}" fill="none" stroke="{GREY}" stroke-width="2.5" marker-end="url(#tip)"/>' for d in ARROWS)
    path.write_text(f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 360" width="1000" height="360"
 font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="13" text-anchor="middle" fill="{WORDS}">
<defs><marker id="tip" viewBox="0 0 10 10" refX="6" refY="5" markerWidth="5" markerHeight="5" orient="auto">
<path d="M0 0L10 5L0 10z" fill="{GREY}"/></marker></defs>
{lines}
""" + "\n".join(box(*b) for b in BOXES) + "\n</svg>\n", encoding="utf-8")
    return f"{path.name}: {path.stat().st_size/1000:.0f} kB"

if __name__ == "__main__": print(route())
