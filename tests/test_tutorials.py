"""The pages that are committed with what they show (`nbs/tutorials`, `nbs/analysis`) still show it: each is run, and its text is compared
with the committed one. Of images their presence and size are compared, since processors differ in the last digits of what is drawn."""
import base64, io, json, os, re, shutil, sys
from pathlib import Path
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/"docs"))
import outputs, skips

PAGES = [p for room in outputs.KEPT for p in outputs.pages(ROOT/"nbs"/room)]
NAME = {p: p.relative_to(ROOT/"nbs").as_posix() for p in PAGES}
EMBEDDED = re.compile(r"data:((?:image|video)/[\w+.-]+);base64,([A-Za-z0-9+/=\s]+)")
every_page = pytest.mark.parametrize("page", PAGES, ids=NAME.get)

def cells(page): return [c for c in outputs.read(page)["cells"] if c["cell_type"] == "code"]
def joined(value): return "".join(value) if isinstance(value, (str, list)) else json.dumps(value)

def images(output):
    "Every image of an output, on its own or inside HTML: its kind, and its bytes."
    for kind, value in output.get("data", {}).items():
        if kind.startswith("image/"): yield kind, joined(value).encode() if kind == "image/svg+xml" else base64.b64decode(joined(value))
        elif kind.startswith("text/"): yield from ((m[1], base64.b64decode(m[2])) for m in EMBEDDED.finditer(joined(value)))

def size(kind, data):
    "Width and height in pixels, of an image that has some."
    return Image.open(io.BytesIO(data)).size if kind in ("image/png", "image/jpeg", "image/gif", "image/webp") else None

def text(output):
    "What an output says, without its images."
    if output["output_type"] == "stream": return output["name"], joined(output["text"])
    return {k: EMBEDDED.sub(r"data:\1", joined(v)) if k.startswith("text/") else "" for k, v in output.get("data", {}).items()}

# --- what is committed ---

@every_page
def test_it_is_committed_with_what_it_shows(page):
    shown = [o for c in cells(page) for o in c["outputs"]]
    assert shown, f"run: python docs/outputs.py {page.relative_to(ROOT)}"
    assert all(c["execution_count"] is None for c in cells(page))
    for o in shown:
        assert o["output_type"] != "error" and o.get("name") != "stderr", f"{NAME[page]}: {o}"
        assert o == outputs.kept(o), f"run: python docs/outputs.py {page.relative_to(ROOT)}"

@every_page
def test_its_images_are_small(page):
    for i, c in enumerate(cells(page)):
        for o in c["outputs"]:
            for kind, data in images(o): assert len(data) <= outputs.LARGEST, f"{NAME[page]}, code cell {i}: {kind} of {len(data)} bytes"

@every_page
def test_it_names_no_machine(page):
    said = "\n".join(joined(v) for c in cells(page) for o in c["outputs"] for v in (text(o).values() if "data" in o else text(o)))
    found = re.search(r"/(?:" + "|".join(("tmp", "root", "home", "work", "mnt", "Users")) + r")/[^\s\"'<]*", said)
    assert not found, f"{NAME[page]} names {found[0]}"
    assert not re.search(r"\d+%\|[█▏▎▍▌▋▊▉ #]*\||Warning:|LOAD REPORT", said), f"{NAME[page]} has progress bars or warnings"

# --- what it shows today ---

@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A copy of what pages read and write, so that running them changes nothing here."
    there = tmp_path_factory.mktemp("pages")
    skip = shutil.ignore_patterns(".*", "checkpoints", "demo", "executed", "videos")
    for name in ("nbs", "results", "figures", "docs"): shutil.copytree(ROOT/name, there/name, ignore=skip)
    for name in ("settings.ini", "pyproject.toml"): shutil.copy(ROOT/name, there)
    return there

def same_image(was, now):
    "Of the same kind and size, and of about as many bytes."
    return was[0] == now[0] and size(*was) == size(*now) and .5 < len(now[1])/len(was[1]) < 2

@every_page
def test_it_still_shows_the_same(page, place):
    left_out, why = skips.skipped()
    if page.stem in left_out: pytest.skip(f"{NAME[page]}: {why}")
    env = dict(VLM4VLA_HOME=str(place), VLM4VLA_CACHE=os.environ.get("VLM4VLA_CACHE") or str(ROOT/".cache"))
    now = outputs.executed(place/page.relative_to(ROOT), **env)
    code = [o for o, c in zip(now, outputs.read(page)["cells"]) if c["cell_type"] == "code"]
    remedy = f"{NAME[page]}: python docs/outputs.py {page.relative_to(ROOT)} writes it anew"
    for c, shown in zip(cells(page), code, strict=True):
        assert [text(o) for o in c["outputs"]] == [text(o) for o in shown], remedy
        pairs = zip(*([i for o in x for i in images(o)] for x in (c["outputs"], shown)), strict=True)
        assert all(same_image(*p) for p in pairs), remedy

def test_the_site_has_the_drawing_where_a_page_has_its_image():
    page = next(t for p in PAGES if "data-drawing=" in (t := "".join(joined(v) for c in cells(p) for o in c["outputs"]
                                                                for v in o.get("data", {}).values())))
    there, names = outputs.drawn(page, "../"), re.findall(r'data-drawing="(\w+)"', page)
    assert "data-drawing" not in there and [n for n in names if f'src="../figures/{n}.svg"' in there] == names
    assert all((ROOT/"figures"/f"{n}.svg").is_file() for n in names) and there.count("<img") == page.count("<img")
