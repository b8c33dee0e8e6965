"Turn nbs/index.ipynb into README.md: run it, keep the prose and what its cells display, links from the root. `--check` only compares."
import posixpath, re, sys
from pathlib import Path
from fastcore.nbio import read_nb
from execnb.shell import CaptureShell
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from vlm4vla.core import write_text

ROOT = Path(__file__).resolve().parent.parent

def shown(output):
    "One output of a cell as markdown."
    data = output.get("data", {})
    text = lambda kind: "".join(data[kind])
    if "text/markdown" in data: return text("text/markdown")
    if "text/html" in data: return text("text/html")
    if "text/plain" in data: return f"```\n{text('text/plain')}\n```"
    return ""

def from_root(text):
    "Markdown whose links lead from the root of the repository where they led from nbs/."
    return re.sub(r"\]\((?!\w+:|#)([^)\s]+)\)", lambda m: f"]({posixpath.normpath('nbs/' + m[1])})", text)

def readme(path=ROOT/"nbs"/"index.ipynb"):
    "The README's text."
    nb, parts = read_nb(path), []
    CaptureShell(path=path.parent).run_all(nb, exc_stop=True)
    for cell in nb.cells:
        if cell.cell_type == "markdown": parts.append(from_root(cell.source))
        if cell.cell_type != "code" or re.search(r"^#\|\s*hide\b", cell.source, re.M): continue
        if not re.search(r"^#\|\s*echo:\s*false", cell.source, re.M): parts.append(f"```python\n{cell.source}\n```")
        parts += [from_root(shown(o)) for o in cell.get("outputs", [])]
    note = "<!-- made from nbs/index.ipynb by `make export` -->"
    return "\n\n".join([note] + [p.strip() for p in parts if p.strip()]) + "\n"

if __name__ == "__main__":
    text, path = readme(), ROOT/"README.md"
    if sys.argv[1:] != ["--check"]: write_text(path, text)
    elif path.read_text(encoding="utf-8") != text: sys.exit("README.md is not what nbs/index.ipynb makes; run: make export")
