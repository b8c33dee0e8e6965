"""Build the site into _site/: a copy of the notebooks is run, nbdev turns them into pages, Sphinx renders those.

`--no-run` skips the running, which takes most of the time: every cell shows what it showed the last time. `--gallery` adds a page for
every notebook that papermill left in results/executed/ (`--gallery=FOLDER`: in another folder); `--alone` builds only those, into
build/gallery/. What `nbdev` leaves in Quarto's dialect
(front matter, `#| echo: false`) is put into Sphinx's here, and every exported symbol is described as in the API.
"""
import argparse, html as html_text, itertools, json, os, re, shutil, subprocess, sys
from pathlib import Path
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))   # the package of this checkout, whichever is installed
import api, gallery, outputs

COPY, SRC, HTML, SITE = ROOT/"build"/"docs", ROOT/"build"/"pages", ROOT/"build"/"html", ROOT/"_site"
WORKERS = os.environ.get("WORKERS", "2")
PROC = """
from nbdev import processors, serve
class Described(processors.FilterDefaults):   # every symbol is described here, so what defines it need not run once more
    def base_procs(self): return [p for p in super().base_procs() if p is not processors.exec_show_docs]
serve.FilterDefaults = Described
serve.proc_nbs(n_workers=0)"""   # the command of that name would fetch Quarto first
KEPT = outputs.KEPT   # committed with what they show, which a test compares: they are not run again
SKIP = shutil.ignore_patterns(".*", "bench", "__pycache__")
DATA = shutil.ignore_patterns(".*", "checkpoints", "demo", "executed", "videos")

def tool(name, *args, cwd=ROOT):
    "Run one of the environment's commands; its own words say what is wrong."
    path = os.pathsep.join(filter(None, [str(cwd), os.environ.get("PYTHONPATH")]))
    done = subprocess.run([Path(sys.executable).parent/name, *args], cwd=cwd,
                          env={**os.environ, "VLM4VLA_HOME": str(ROOT), "PYTHONPATH": path})
    if done.returncode: sys.exit(f"{name} failed; see above.")

def read(path): return json.loads(path.read_text(encoding="utf-8"))
def write(path, nb):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nb) if isinstance(nb, dict) else nb, encoding="utf-8")

# --- running ---

def last_outputs():
    "What every cell of the copy showed when it was last run, by page and source."
    found = {p.relative_to(COPY): read(p)["cells"] for p in (COPY/"nbs").rglob("*.ipynb")}
    return {(p, "".join(c["source"])): c["outputs"] for p, cells in found.items() for c in cells if c["cell_type"] == "code"}

def run(again=True):
    "A copy of the notebooks with what their cells show: run, or remembered."
    shown = {} if again else last_outputs()
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    for f in ("settings.ini", "pyproject.toml"): shutil.copy(ROOT/f, COPY)
    for folder in ("nbs", "vlm4vla"): shutil.copytree(ROOT/folder, COPY/folder, ignore=SKIP)
    if again: return tool("python", ROOT/"docs"/"running.py", "nbs", *KEPT, cwd=COPY)
    for path in (COPY/"nbs").rglob("*.ipynb"):
        if path.relative_to(COPY).parts[1] in KEPT: continue
        nb = read(path)
        for c in nb["cells"]:
            if c["cell_type"] == "code": c["outputs"] = shown.get((path.relative_to(COPY), "".join(c["source"])), [])
        write(path, nb)

# --- pages ---

def heading(source):
    "YAML front matter as a title and a quoted subtitle."
    found = re.match(r"\s*---\n(.*?)\n---\s*", source, re.S)
    if not found: return source
    facts = yaml.safe_load(found[1])
    return "\n\n".join(filter(
        None, [f"# {facts.get('title', '')}", facts.get("description") and f"> {facts['description']}", source[found.end():]])).strip()

EXECUTED = {}   # of the gallery, by the name of the file

def linked(text, depth):
    "Text as the site has it: links lead to pages and to the site's copy of the data, or are bare names where there is neither."
    text = re.sub(r"\[([^\]]*)\]\((?:\.\./|nbs/)*bench/[^)]*\)", r"\1", "".join(text))
    text = re.sub(r"\]\((?:\.\./)*docs/static/videos/README\.md\)", "](" + "../"*depth + "videos.md)", text)
    text = re.sub(r"\]\((?:\.\./)*(nbs|docs)/", "](" + "../"*depth, text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*results/executed/([^)/]*\.ipynb)\)",
                  lambda m: f"[{m[1]}]({'../'*depth}executed/{m[2]})" if m[2] in EXECUTED else m[1], text)
    return re.sub(r'(?<=[("])' + r"\.\./"*(depth + 1) + r"(?=(results|figures)/)", "../"*depth, text)

NUMBER = re.compile(r"[-–−+<>~≈]?\s*[\d.,]+(e-?\d+)?\s*(%|\(\d+\s*%\))?( points)?(\s*\[.*\])?(\s*n\s*=\s*\d+)?$")

def one_header(table):
    "A table of pandas whose names of rows and names of columns stand in one line, where they stood in two."
    rows = table.thead.find_all("tr") if table.thead else []
    if len(rows) < 2 or any(c.get_text(strip=True) for c in rows[-1].find_all("th")[len(table.tbody.tr.find_all("th")):]): return
    for above, below in zip(rows[-2].find_all("th"), rows[-1].find_all("th")):
        if below.get_text(strip=True): above.string = below.get_text(strip=True)
    rows[-1].extract()

def whole(cells):
    "Numbers that are whole all down a column stand without a point."
    said = [c.get_text(strip=True) for c in cells]
    if not all(re.fullmatch(r"[-+]?\d+\.0+|–|", t) for t in said): return
    for c, t in zip(cells, said):
        if t.strip("–"): c.string = t.partition(".")[0]

def aligned(table):
    "Columns of numbers stand right and columns of words left, each with its header; what is missing is a dash."
    rows = [r.find_all(["td", "th"]) for r in table.tbody.find_all("tr")]
    for c in itertools.chain(*rows):
        if c.get_text(strip=True) in ("NaN", "nan", "None", "NaT", "<NA>"): c.string = "–"
    numbers = lambda cells: all(NUMBER.match(t) or t in ("", "–") for t in cells) and any(t not in ("", "–") for t in cells)
    width = max(map(len, rows), default=0)
    for i in range(1, width + 1):   # from the right: rows of one label begin late
        column = [r[-i] for r in rows if len(r) >= i and r[-i].name == "td"]
        if column and numbers([c.get_text(strip=True) for c in column]):
            whole(column)
            for c in [*column, *(r.find_all("th")[-i] for r in (table.thead.find_all("tr") if table.thead else [])
                                 if len(r.find_all("th")) == width)]: c["class"] = [*c.get("class", []), "number"]

def tidy(html):
    "An output with tables as the site shows them."
    html = "".join(html)
    if "dataframe" not in html: return html
    soup = BeautifulSoup(html, "html.parser")
    for style in soup.find_all("style"): style.extract()   # pandas' own, which would hold for the whole page
    for table in soup.find_all("table", class_="dataframe"):
        if table.tbody is None or table.tbody.tr is None: continue
        for r in table.find_all("tr"): r.attrs.pop("style", None)
        one_header(table); aligned(table)
    return str(soup)

def symbol(cell, module):
    "The symbol that a cell shows, or nothing."
    found = re.search(r"^show_doc\((\w+(?:\.\w+)*)", "".join(cell["source"]), re.M)
    return api.find(module, found[1]) if found and module else None

def described(cells, module):
    "Cells with a description of each symbol where nbdev shows it; the symbols of one exported cell come in the order of the source."
    for shown, group in itertools.groupby(cells, lambda c: symbol(c, module) is not None):
        if not shown: yield from group; continue
        for s in sorted((symbol(c, module) for c in group), key=lambda s: s.line):
            yield dict(cell_type="markdown", id=f"symbol-{s.line}", metadata={}, source=api.lesson(s, 4 if "." in s.name else 3))

def page(nb, where, module):
    "A processed notebook as Sphinx wants it."
    depth, folded = len(where.parts) - 1, where.parts[0] in ("analysis", "executed")   # who reads results may open the code
    nb["cells"] = list(described(nb["cells"], module))
    for i, cell in enumerate(nb["cells"]):
        source, meta = "".join(cell["source"]), cell.setdefault("metadata", {})
        tags = meta.setdefault("tags", [])
        if cell["cell_type"] in ("markdown", "raw") and i == 0: source, cell["cell_type"] = heading(source), "markdown"
        if re.search(r"^#\|\s*echo:\s*false", source, re.M): tags.append("remove-input")
        elif folded: tags.append("hide-input")
        if re.search(r"^#\|\s*(hide|include:\s*false)\b", source, re.M): tags.append("remove-cell")
        if alt := re.search(r"^#\|\s*fig-alt:\s*(.+)", source, re.M): meta["mystnb"] = dict(image=dict(alt=alt[1].strip()))
        if cell["cell_type"] == "code": source = re.sub(r"^#\|.*\n?", "", source, flags=re.M)
        else: source = linked(re.sub(r"<!-- WARNING.*?-->", "", source), depth)
        cell["source"] = source
        for o in cell.get("outputs", []):
            for kind in ("text/markdown", "text/html"):
                if kind in o.get("data", {}): o["data"][kind] = linked(o["data"][kind], depth)
            if "text/html" in o.get("data", {}): o["data"]["text/html"] = outputs.drawn(tidy(o["data"]["text/html"]), "../"*depth)
    nb["cells"] = [c for c in nb["cells"] if c["source"].strip()]
    return nb

def title(path):
    "Title and subtitle of a notebook."
    first = "".join(read(path)["cells"][0]["source"]).splitlines()
    return first[0][2:], first[1][2:]

def toc(*parts):
    "Hidden tables of contents: pairs of a caption and pages."
    return "\n\n".join("\n".join(["```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *pages, "```"])
                       for caption, pages in parts if pages)

def listing(pages):
    "A table of pages, each with its one line."
    said = {p: title(ROOT/"nbs"/f"{p}.ipynb") for p in pages}
    rows = [f"| [{said[p][0]}]({p}.ipynb) | {api.safe(said[p][1])} |" for p in pages]
    return "\n".join(["| page | in one line |", "|---|---|", *rows])

def names(pattern): return sorted(p.relative_to(SRC).with_suffix("").as_posix() for p in SRC.glob(pattern))

def data_page():
    "The data dictionary, and the tables themselves."
    text = (ROOT/"results"/"README.md").read_text(encoding="utf-8").replace("# results\n", "# The data\n", 1)
    there = lambda folder, *kinds: [p.relative_to(ROOT).as_posix() for k in kinds for p in sorted((ROOT/folder).glob(f"*.{k}"))]
    files = lambda paths: " · ".join(f'<a href="{p}">{Path(p).name}</a>' for p in paths)
    rows = [("Tables", there("results", "csv", "parquet")), ("What the pages show", there("results/tables", "csv")),
            ("How each run was made", there("results/provenance", "json")), ("Figures", there("figures", "svg", "png", "json"))]
    return text.replace("\n## ",
                        "\n## The files\n\n" + "\n\n".join(f"{what}: {files(paths)}." for what, paths in rows if paths) + "\n\n## ", 1)

RESULTS = """# Results

> What was measured, one question a page.

Every page reads the committed tables of `results/` and nothing else, so its tables and figures can be made again on any machine
with `make analysis`. Measured and published numbers never
share a table. [The data](data.md) says what each column means and has every table to take away; [Videos](videos.md) shows policies at
work, success beside failure.

"""
LIBRARY = """# Library

> The notebooks that the package is made from, room by room.

Each page explains one module and shows it at work: the cells are the lessons that run whenever the site is built, and a module's
public functions stand where they are explained. A room imports only
from the rooms above it, and its first page says what lives there. [API](api.md) lists the same functions by name.

"""
RUNS = """
## Runs

The notebooks that do the work of an experiment. `vlm4vla sweep` runs them with papermill, one process each; opened by hand they
are a smoke test.

"""
API = """# API

> Every public function and class, by module.

This list is made from the source. The link *lesson* beside each leads to the place in the library where it is explained and shown at work.

## The names to begin with

Fifteen, from a backbone to a comparison; a line goes on from those above it.

"""

FILMS_HEAD = """# Videos

> Policies and scripted experts at work: success beside failure.

The policies of the tabletop come with the package, so that each of these can be made again on a laptop: `python docs/videos.py`. The
first episode that succeeds and the first that fails are shown, not the best. On the other benchmarks no trained policy
comes with the package; there a scripted expert acts, whose demonstrations policies learn from. CALVIN has no video here: its simulator
cannot be had from a package index.

"""

def executed():
    "The gallery, if it was asked for."
    for name, e in EXECUTED.items(): write(SRC/"executed"/name, page(gallery.notebook(e), Path("executed")/name, None))
    write(SRC/"executed.md", gallery.index(list(EXECUTED.values())) + "\n\n" + toc(("", [f"executed/{Path(n).stem}" for n in EXECUTED])))

def pages_of(room):
    "The pages of a room, the one about the room first."
    alone = names(f"[0-9]*_{room}.ipynb")
    return alone or sorted(names(f"{room}/**/*.ipynb"), key=lambda p: (not p.endswith("/index"), p))

def room_name(room):
    "A room as a heading: the title of its first page."
    return title(ROOT/"nbs"/f"{pages_of(room)[0]}.ipynb")[0]

def api_modules(room): return {m: page for m, page in api.modules().items() if api.room_of(page) == room}

def api_of(room):
    "The modules of a room and what they export; writes the page of each."
    rows = []
    for module, notebook in api_modules(room).items():
        said = title(ROOT/"nbs"/f"{notebook}.ipynb")
        write(SRC/"api"/f"{module}.md", api.module_page(module, notebook, *said))
        exported = ", ".join(f'<a href="api/{module}.html#vlm4vla.{s.anchor}">{s.name}</a>' for s in api.symbols(module))
        rows.append(f"| [{module}](api/{module}.md) | {api.safe(said[1])}<br>{exported} |")
    return "\n".join([f"## {room_name(room)}", "", "| module | what it is for, and what it exports |", "|---|---|", *rows])

FILMS = ROOT/"docs"/"static"/"videos"

def film(c):
    "A video as a card: experiment, task, instruction, outcome."
    e = html_text.escape
    alt = f"{c['benchmark']}, “{c['instruction']}”: {c['who']}; {c['outcome']}."
    place = ", ".join(filter(None, [c["split"], c["task"], f"episode {c['episode']}"]))
    facts = [c["experiment"] and f"<code>{e(c['experiment'])}</code>", e(place), e(c["note"])]
    return (f'<figure class="film {"success" if c["success"] else "failure"}"><img src="_static/videos/{c["file"]}" alt="{e(alt)}" '
            f'width="224" height="224" loading="lazy"><figcaption><strong>{"Success" if c["success"] else "Failure"}</strong> · '
            f'{e(c["who"])}<br>“{e(c["instruction"])}”<br>{e(c["outcome"])}<br><small>{" · ".join(filter(None, facts))}</small>'
            "</figcaption></figure>")

def films():
    "Success beside failure, by benchmark and by who acts."
    cards = json.loads((FILMS/"videos.json").read_text(encoding="utf-8"))
    parts = []
    for b, group in itertools.groupby(cards, lambda c: c["benchmark"]):
        parts += [f"## {b}", '<div class="films">' + "\n".join(film(c) for c in group) + "</div>"]
    return FILMS_HEAD + "\n\n".join(parts) + "\n"

def sections():
    "The pages that lead through the others."
    analysis, runs = names("analysis/*.ipynb"), names("runs/*.ipynb")
    library = {room: pages_of(room) for room in api.rooms()}
    tutorials = names("tutorials/*.ipynb")
    if tutorials:
        guide = (SRC/"guide"/"index.md").read_text(encoding="utf-8")
        table = listing(tutorials).replace("](tutorials/", "](../tutorials/")
        write(SRC/"guide"/"index.md", f"{guide}\n## Tutorials\n\n{table}\n\n" + toc(("Tutorials", [f"/{p}" for p in tutorials])))
    write(SRC/"data.md", data_page())
    ran = "[Executed runs](executed.md) has the notebooks of experiments as they ran.\n\n" if EXECUTED else ""
    write(SRC/"videos.md", films())
    write(SRC/"results.md",
          RESULTS + ran + listing(analysis) + "\n\n" + toc(("", [*analysis, "videos", "data", *(["executed"] if EXECUTED else [])])))
    listed = "\n\n".join(f"## {room_name(room)}\n\n{listing(pages)}" for room, pages in library.items())
    write(SRC/"library.md",
          LIBRARY + listed + "\n" + RUNS + listing(runs) + "\n\n" + toc(*((room_name(r), p) for r, p in library.items()), ("Runs", runs)))
    write(SRC/"api.md", API + api.leading() + "\n\n" + "\n\n".join(map(api_of, api.rooms())) + "\n\n"
          + toc(*((room_name(r), [f"api/{m}" for m in api_modules(r)]) for r in api.rooms())))
    index = read(SRC/"index.ipynb")
    index["cells"].append(
        dict(cell_type="markdown", id="sections", metadata={},
             source=toc(("", ["Home <self>", "results", "guide/index", "library", "api"]))))
    write(SRC/"index.ipynb", index)

def process():
    "What nbdev makes of the notebooks."
    tool("python", "-c", PROC, cwd=COPY)

def pages():
    "What Sphinx reads: the processed notebooks, the guide, the API, the data."
    shutil.rmtree(SRC, ignore_errors=True)
    module = {notebook: m for m, notebook in api.modules().items()}
    for path in (COPY/"_proc").rglob("*.ipynb"):
        where = path.relative_to(COPY/"_proc")
        nb = gallery.without_progress(read(path)) if where.parts[0] == "runs" else read(path)
        write(SRC/where, page(nb, where, module.get(where.with_suffix("").as_posix())))
    shutil.copytree(ROOT/"docs"/"guide", SRC/"guide")
    shutil.copytree(ROOT/"docs"/"static", SRC/"static")   # the pictures of the home page
    for folder in ("figures", "results"): shutil.copytree(ROOT/folder, SRC/folder, ignore=DATA, dirs_exist_ok=True)
    (SRC/"results"/"README.md").unlink()   # it is the page about the data
    if EXECUTED: executed()
    sections()

# --- the site ---

def html(*options):
    "Pages to HTML."
    shutil.rmtree(HTML, ignore_errors=True)
    tool("sphinx-build", "-q", "-j", WORKERS, "-b", "html", "-c", "docs", *options, SRC, HTML)

def render():
    "Pages to HTML, and the data beside them."
    html("-d", "build/doctrees")   # its by-products land beside the pages, in build/
    for folder in ("figures", "results"): shutil.copytree(ROOT/folder, HTML/folder, ignore=DATA, dirs_exist_ok=True)
    (HTML/"results"/"README.md").unlink()
    publish(SITE)

def publish(site):
    shutil.rmtree(site, ignore_errors=True)
    HTML.rename(site)
    sys.stdout.write(f"the site is {site.relative_to(ROOT)}/index.html\n")

def build(again=True): run(again); process(); pages(); render()

def alone():
    "Only the gallery, whose links to other pages lead nowhere."
    shutil.rmtree(SRC, ignore_errors=True)
    executed()
    write(SRC/"index.md", "# vlm4vla\n\n" + toc(("", ["executed"])) + "\n\n[Executed runs](executed.md)\n")
    html("-d", "build/doctrees-gallery", "-D", "suppress_warnings=myst.header,myst.xref_missing,mystnb.unknown_mime_type")
    publish(ROOT/"build"/"gallery")

def arguments():
    p = argparse.ArgumentParser(description="Build the site.")
    p.add_argument("--no-run", action="store_true", help="every cell shows what it showed the last time")
    p.add_argument("--gallery", nargs="?", const=gallery.FOLDER, metavar="FOLDER",
                   help="with the executed notebooks of a folder (results/executed)")
    p.add_argument("--alone", action="store_true", help="only the gallery, into build/gallery/")
    return p.parse_args()

if __name__ == "__main__":
    asked = arguments()
    if asked.gallery or asked.alone: EXECUTED |= {e.path.name: e for e in gallery.found(asked.gallery or gallery.FOLDER)}
    alone() if asked.alone else build(not asked.no_run)
