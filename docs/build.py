"""Build the site into _site/: a copy of the notebooks is run, nbdev turns them into pages, Sphinx renders those.

`nbdev-proc-nbs` adds the documentation of every exported symbol. What it leaves in Quarto's dialect (front matter, `#| echo: false`) is put into Sphinx's here.
"""
import json, os, re, shutil, subprocess, sys
from pathlib import Path
import yaml

ROOT = Path(__file__).resolve().parent.parent
COPY, SRC, HTML, SITE = ROOT/"build"/"docs", ROOT/"build"/"pages", ROOT/"build"/"html", ROOT/"_site"
PARTS = [("The library", "[0-9]*.ipynb"), ("Runs", "runs/*.ipynb"), ("Analysis", "analysis/*.ipynb")]
PROC = "from nbdev.serve import proc_nbs; proc_nbs()"   # the command of that name would fetch Quarto first
SKIP = shutil.ignore_patterns(".*", "bench", "__pycache__")

def tool(name, *args, cwd=ROOT):
    "Run one of the environment's commands; its own words say what is wrong."
    done = subprocess.run([Path(sys.executable).parent/name, *args], cwd=cwd, env={**os.environ, "VLM4VLA_HOME": str(ROOT)})
    if done.returncode: sys.exit(f"{name} failed; see above.")

def heading(source):
    "YAML front matter as a title and a quoted subtitle."
    found = re.match(r"\s*---\n(.*?)\n---\s*", source, re.S)
    if not found: return source
    facts = yaml.safe_load(found[1])
    return "\n\n".join(filter(None, [f"# {facts.get('title', '')}", facts.get("description") and f"> {facts['description']}", source[found.end():]])).strip()

def linked(text):
    "Markdown as the site has it: links lead to pages, or are bare names where there is none."
    text = re.sub(r"^---$", "", "".join(text), flags=re.M)   # rules around documentation mean nothing to Sphinx
    text = re.sub(r"\[([^\]]*)\]\(nbs/bench/[^)]*\)", r"\1", text)
    return text.replace("](nbs/", "](")

def page(path):
    "A processed notebook as Sphinx wants it."
    nb = json.loads(path.read_text(encoding="utf-8"))
    for i, cell in enumerate(nb["cells"]):
        source, tags = "".join(cell["source"]), cell.setdefault("metadata", {}).setdefault("tags", [])
        if cell["cell_type"] in ("markdown", "raw") and i == 0: source, cell["cell_type"] = heading(source), "markdown"
        if re.search(r"^#\|\s*echo:\s*false", source, re.M): tags.append("remove-input")
        if re.search(r"^#\|\s*(hide|include:\s*false)\b", source, re.M): tags.append("remove-cell")
        if cell["cell_type"] == "code": source = re.sub(r"^#\|.*\n?", "", source, flags=re.M)
        if cell["cell_type"] == "markdown": source = linked(source)
        cell["source"] = source
        for o in cell.get("outputs", []):
            if "text/markdown" in o.get("data", {}): o["data"]["text/markdown"] = linked(o["data"]["text/markdown"])
    nb["cells"] = [c for c in nb["cells"] if c["source"].strip()]
    return nb

def build():
    "Run the notebooks, make pages and a table of contents, render the site."
    for folder in (COPY, SRC, HTML): shutil.rmtree(folder, ignore_errors=True)
    COPY.mkdir(parents=True)
    for f in ("settings.ini", "pyproject.toml"): shutil.copy(ROOT/f, COPY)
    for folder in ("nbs", "vlm4vla"): shutil.copytree(ROOT/folder, COPY/folder, ignore=SKIP)
    tool("nbdev-test", "nbs", "--save", "--n-workers", os.environ.get("WORKERS", "2"), cwd=COPY)
    tool("python", "-c", PROC, cwd=COPY)
    pages = COPY/"_proc"
    for path in pages.rglob("*.ipynb"):
        to = SRC/path.relative_to(pages)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps(page(path)), encoding="utf-8")
    if (ROOT/"figures").is_dir(): shutil.copytree(ROOT/"figures", SRC/"figures")
    index = json.loads((SRC/"index.ipynb").read_text(encoding="utf-8"))
    for title, pattern in PARTS:
        names = sorted(p.relative_to(SRC).with_suffix("").as_posix() for p in SRC.glob(pattern))
        toc = ["```{toctree}", ":hidden:", f":caption: {title}", "", *names, "```"]
        if names: index["cells"].append(dict(cell_type="markdown", id=f"toc{len(index['cells'])}", metadata={}, source="\n".join(toc)))
    (SRC/"index.ipynb").write_text(json.dumps(index), encoding="utf-8")
    tool("sphinx-build", "-q", "-b", "html", "-c", "docs", "-d", "build/doctrees", SRC, HTML)   # its by-products land beside the pages, in build/
    shutil.rmtree(SITE, ignore_errors=True)
    HTML.rename(SITE)
    sys.stdout.write(f"the site is {SITE.relative_to(ROOT)}/index.html\n")

if __name__ == "__main__": build()
