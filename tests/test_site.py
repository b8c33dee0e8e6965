"The built site: every link leads somewhere, and a browser without a network finds nothing to complain about."
import base64, itertools, json, re, shutil, subprocess, time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
import pytest

SITE = Path(__file__).resolve().parent.parent/"_site"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECTIONS = ["Home", "Results", "Guide", "Library", "API"]
WIDTHS = dict(phone=(390, 844), desk=(1440, 900))
# term → a page that it has to find
SEARCHED = {"Wilson": "results/0", "grounding accuracy": "analysis/60_mini_study", "selection bias": "analysis/72_audit"}
# what a newcomer types → the page that comes first
FIRST = {"run my own VLM": "guide/own|tutorials/02_my_vlm", "checkpoint": "guide/|tutorials/", "dataset": "guide/|tutorials/",
         "my robot data": "tutorials/03_my_data", "own benchmark": "guide/|tutorials/04_my_benchmark"}
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html") if "_static" not in p.parts)

pytestmark = pytest.mark.skipif(not PAGES, reason="there is no site in _site/; build it with: make docs")
parsing = pytest.mark.xdist_group("parsing")   # tests that read every file, in one process; each process has a browser of its own

# --- what the files say ---

class Page(HTMLParser):
    "Places, links, pictures and headings of a page."
    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.images, self.nav = path, set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a[k] for k in ("id", "name") if a.get(k)}
        self.links += [a[k] for k in ("href", "src") if a.get(k) is not None]
        if tag == "img": self.images.append(a)

@pytest.fixture(scope="module")
def parsed(): return {p: Page(SITE/p) for p in PAGES}

def is_local(link): return not urlsplit(link).scheme and not link.startswith("//")

def broken(page, parsed):
    "The links of a page that lead nowhere."
    for link in filter(is_local, page.links):
        u = urlsplit(link)
        target = (page.path.parent/unquote(u.path)).resolve() if u.path else page.path
        if not target.is_file() or not target.is_relative_to(SITE): yield link; continue
        there = parsed.get(target.relative_to(SITE).as_posix())
        if u.fragment and there and unquote(u.fragment) not in there.ids: yield link

@parsing
def test_every_internal_link_resolves(parsed):
    assert {p: b for p, page in parsed.items() if (b := list(broken(page, parsed)))} == {}

@parsing
def test_every_picture_says_what_it_shows(parsed):
    "An alternative text that is a file name says nothing."
    silent = {p: [i.get("src", "")[:60] for i in page.images if not (i.get("alt") or "").strip()
                  or re.search(r"\.(png|jpe?g|svg)$", i["alt"])] for p, page in parsed.items()}
    assert {p: s for p, s in silent.items() if s} == {}

@parsing
def test_nothing_is_loaded_from_elsewhere(parsed):
    loads = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["'](?:https?:)?//[^"']*""")
    assert {p: loads.findall(page.path.read_text(encoding="utf-8")) for p,
            page in parsed.items() if loads.search(page.path.read_text(encoding="utf-8"))} == {}

def cells(text, tag):
    "What the cells of a table say."
    return [" ".join(re.sub("<[^>]*>", "", c).split()) for c in re.findall(rf"<{tag}\b[^>]*>(.*?)</(?:{tag})>", text, re.S)]

@pytest.mark.parametrize("page", [p for p in PAGES if p.startswith("analysis/")])
def test_tables_of_results_are_printed_with_care(page):
    "Nothing is NaN, no p is nothing, whole numbers have no point, and one line says what the columns are, unless they are in groups."
    for table in re.findall(r'<table\b[^>]*dataframe.*?</table>', (SITE/page).read_text(encoding="utf-8"), re.S):
        head, _, body = table.partition("</thead>")
        assert head.count("<tr") == 1 or "colspan" in head, cells(head, "th")
        assert not {"NaN", "nan", "None"} & set(cells(body, "td"))
        names, rows = cells(head, "th"), [cells(r, "t[dh]") for r in re.findall(r"<tr\b.*?</tr>", body, re.S)]
        columns = {n: [r[i - len(names)] for r in rows if len(r) >= len(names) - i] for i, n in enumerate(names)}
        for name, column in columns.items():
            if re.search(r"\bp(_|$)", name): assert not [v for v in column if re.fullmatch(r"0?\.0+", v)], name
            if name in ("n", "episodes", "seeds"): assert not [v for v in column if v.endswith(".0")], name

@parsing
def test_every_figure_links_to_its_data(parsed):
    for p, page in parsed.items():
        text = page.path.read_text(encoding="utf-8")
        for figure in re.findall(r"<figure\b.*?</figure>", text, re.S):
            if re.search(r"image/svg\+xml;base64|figures/[^\"]*\.svg", figure):
                assert re.search(r"\bdata:? ", re.sub("<[^>]*>", "", figure), re.I), f"{p}: a figure without a link to its data"

# --- what a browser sees ---

class Browser:
    "A headless Chromium with one open page, spoken to over the DevTools protocol."
    def __init__(self, exe, folder):
        self.count, self.events = itertools.count(1), []
        self.process = subprocess.Popen(
            [exe, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--remote-debugging-port=0",
            f"--user-data-dir={folder}", "--remote-allow-origins=*", "--hide-scrollbars", "about:blank"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        self.socket = None
        try: self.connect(Path(folder)/"DevToolsActivePort")
        except BaseException: self.close(); raise

    def connect(self, port_file, limit=60):
        import websocket
        until = time.monotonic() + limit
        while not (port_file.is_file() and port_file.read_text().strip()):
            assert time.monotonic() < until and self.process.poll() is None, "the browser does not start"
            time.sleep(.1)
        port, path = port_file.read_text().split()
        self.socket, self.session = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=limit), None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"): self(f"{domain}.enable")

    def __call__(self, method, **params):
        n = next(self.count)
        self.socket.send(json.dumps(dict(id=n, method=method, params=params) | (dict(sessionId=self.session) if self.session else {})))
        while (m := json.loads(self.socket.recv())).get("id") != n: self.events.append(m)
        assert "error" not in m, (method, m)
        return m["result"]

    def wait_for(self, event):
        while not any(e["method"] == event for e in self.events): self.events.append(json.loads(self.socket.recv()))

    def run(self, code):
        "The value of an expression, a promise's too."
        r = self("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in r, r["exceptionDetails"]
        return r["result"].get("value")

    def until(self, code, limit=20):
        "Wait until an expression is true."
        end = time.monotonic() + limit
        while not (v := self.run(code)):
            assert time.monotonic() < end, f"not true after {limit} s: {code}"
            time.sleep(.05)
        return v

    def size(self, width, height):
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def open(self, page):
        "Load a page and wait for it, its fonts and its mathematics."
        self.events.clear()
        self("Page.navigate", url=f"{SITE.as_uri()}/{page}")
        self.wait_for("Page.loadEventFired")
        self.run("Promise.all([document.fonts.ready, window.MathJax?.startup?.promise])".replace("Promise.all",
            "(async () => (await Promise.all") + ".length))()")

    def complaints(self):
        "Errors and warnings of the page since it was opened."
        found = []
        for e in self.events:
            p = e.get("params", {})
            if e["method"] == "Runtime.exceptionThrown":
                found.append(p["exceptionDetails"].get("exception", {}).get("description") or p["exceptionDetails"]["text"])
            if e["method"] == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning", "assert"):
                found.append(str([a.get("value") for a in p["args"]]))
            if e["method"] == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
                found.append(p["entry"]["text"] + " " + p["entry"].get("url", ""))
            if e["method"] == "Network.loadingFailed" and not p.get("canceled"): found.append(p["errorText"])
        return found

    def requests(self): return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def picture(self, path):
        "What is seen, as a PNG."
        Path(path).write_bytes(base64.b64decode(self("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        if self.socket: self.socket.close()
        self.process.terminate()
        try: self.process.wait(10)
        except subprocess.TimeoutExpired: self.process.kill(); self.process.wait()

@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    exe = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not exe: pytest.skip(f"there is no browser to look at the site with; install one of: {', '.join(BROWSERS)}")
    pytest.importorskip("websocket", reason="the package websocket-client is missing; it comes with: make setup")
    b = Browser(exe, tmp_path_factory.mktemp("browser"))
    try: yield b
    finally: b.close()

def leaves(url): return urlsplit(url).scheme not in ("file", "data", "blob", "about")

# The theme lets the article itself scroll sideways; only tables, code and formulas may, in boxes of their own.
OVERFLOW = """[document.documentElement, ...document.querySelectorAll('.bd-article-container, .bd-article')]
  .filter(box => box.scrollWidth > box.clientWidth + 1)
  .flatMap(box => [...box.querySelectorAll('*')]
    .filter(e => e.getBoundingClientRect().right > box.getBoundingClientRect().right + 1)
    .map(e => e.tagName + '.' + e.className)).slice(0, 5)"""

@pytest.mark.parametrize("page", PAGES)
def test_page_loads_without_complaint_at_any_width(browser, page):
    for width in WIDTHS.values():
        browser.size(*width)
        if width == WIDTHS["phone"]: browser.open(page)
        assert browser.run(OVERFLOW) == [], f"wider than a window of {width[0]} pixels"
    assert browser.complaints() == []
    assert [u for u in browser.requests() if leaves(u)] == []

def test_mathematics_is_rendered(browser):
    pages = [p for p in PAGES if 'class="math' in (SITE/p).read_text(encoding="utf-8")]
    assert pages, "no page has any"
    for p in pages:
        browser.open(p)
        assert browser.run("document.querySelectorAll('.math').length") == browser.run(
            "document.querySelectorAll('.math mjx-container').length")
        assert browser.run("document.querySelector('mjx-container').getBoundingClientRect().width") > 5
        assert browser.run("document.querySelectorAll('mjx-merror').length") == 0

def search(browser, term):
    "The pages that a search shows, first to last."
    browser.size(*WIDTHS["desk"])
    browser.open(f"search.html?q={quote(term)}")
    browser.until("document.querySelectorAll('#search-results ul.search li a').length > 0")
    time.sleep(.5)
    return browser.run("[...document.querySelectorAll('#search-results ul.search li a')].map(a => a.getAttribute('href'))")

@pytest.mark.parametrize("term", FIRST)
def test_search_shows_the_guide_first(browser, term):
    found = search(browser, term)
    assert re.match(FIRST[term], found[0]), found[:5]

@pytest.mark.parametrize("term", SEARCHED)
def test_search_finds(browser, term):
    found = search(browser, term)
    assert any(SEARCHED[term] in f for f in found), found
    assert browser.complaints() == [] and not [u for u in browser.requests() if leaves(u)]

def test_light_and_dark(browser):
    browser.size(*WIDTHS["desk"])
    ground = {}
    for mode in ("light", "dark"):
        browser.open("index.html")
        browser.run(f"document.querySelector('.theme-change-button[data-mode={mode}]').click()")
        browser.open("library.html")   # what was chosen holds on the next page
        assert browser.run("document.documentElement.dataset.theme") == mode
        ground[mode] = [sum(map(int, re.findall(r"\d+", browser.run(f"getComputedStyle(document.body).{k}"))[:3]))
                        for k in ("backgroundColor", "color")]
    assert ground["light"][0] > 600 > 300 > ground["light"][1] and ground["dark"][0] < 300 < 450 < ground["dark"][1], ground

def test_navigation_names_the_sections(browser):
    browser.size(*WIDTHS["desk"])
    browser.open("index.html")
    assert browser.run("[...document.querySelectorAll('.bd-header .navbar-nav .nav-link')].map(a => a.textContent.trim())") == SECTIONS
