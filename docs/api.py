"What the modules export, as Markdown: read from their source (signatures) and from the functions themselves (docments)."
import ast, functools, importlib, inspect, re
from configparser import ConfigParser
from dataclasses import dataclass, field
from pathlib import Path
from fastcore.docments import docments
from vlm4vla.core import Registry

ROOT = Path(__file__).resolve().parent.parent

@dataclass
class Symbol:
    "A public function, class or method."
    module:str # Without the package
    name:str # With its class
    kind:str # function, class, method or property
    params:list # (name, annotation, default) as written
    returns:str # Annotation, as written
    doc:str # One line
    notes:dict # Parameter → docment
    line:int # Where it is defined
    members:list=field(default_factory=list) # Methods, of a class

    @property
    def anchor(self): return f"{self.module}.{self.name}"   # a dot is in no other id of a page

    @property
    def signature(self):
        args = ", ".join(n + (f": {a}" if a else "") + (f" = {d}" if d and a else f"={d}" if d else "") for n, a, d in self.params)
        return f"{self.name.split('.')[-1]}" + ("" if self.kind == "property" else f"({args})") + (f" -> {self.returns}" if self.returns
            else "")

def text(node): return ast.unparse(node) if node else ""
def public(name): return not name.startswith("_") or name == "__call__"

def parameters(a):
    "The parameters of a function, as written."
    pos = a.posonlyargs + a.args
    rows = [(p.arg, text(p.annotation), text(d)) for p, d in zip(pos, [None]*(len(pos)-len(a.defaults)) + a.defaults)]
    if a.vararg: rows.append((f"*{a.vararg.arg}", text(a.vararg.annotation), ""))
    elif a.kwonlyargs: rows.append(("*", "", ""))
    rows += [(p.arg, text(p.annotation), text(d)) for p, d in zip(a.kwonlyargs, a.kw_defaults)]
    return rows + ([(f"**{a.kwarg.arg}", text(a.kwarg.annotation), "")] if a.kwarg else [])

def decorated(node, name):
    "The decorator of that name, if a definition has it."
    return next((d for d in node.decorator_list if re.match(rf"(\w+\.)?{name}\b", text(d))), None)

def notes(obj):
    "The docments of something, by parameter."
    obj = getattr(obj, "fget", None) or getattr(obj, "func", None) or obj
    try: return {k: v["docment"] for k, v in docments(obj, full=True).items() if v.get("docment")}
    except (TypeError, ValueError, OSError): return {}

def of_function(node, module, obj, owner=""):
    "A function or method."
    method = owner and not decorated(node, "staticmethod")
    prop = decorated(node, "property") or decorated(node, "cached_property")
    kind = "property" if prop else "method" if owner else "function"
    return Symbol(module, f"{owner}.{node.name}" if owner else node.name, kind, parameters(node.args)[bool(method):], text(node.returns),
                  ast.get_docstring(node) or "", notes(obj), node.lineno)

def of_class(node, module, obj):
    "A class: its fields if it is a dataclass, or else what its `__init__` takes."
    defs = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    params = parameters(defs["__init__"].args)[1:] if "__init__" in defs else []
    if d := decorated(node, "dataclass"):
        params = [(n.target.id, text(n.annotation), text(n.value)) for n in node.body if isinstance(n, ast.AnnAssign)]
        if "kw_only=True" in text(d): params.insert(0, ("*", "", ""))
    s = Symbol(module, node.name, "class", params, "", ast.get_docstring(node) or "", notes(obj), node.lineno)
    s.members = [of_function(n, module, getattr(obj, n.name), node.name) for n in defs.values() if public(n.name)]
    return s

@functools.cache
def symbols(module):
    "The public functions and classes of a module, in the order of its notebook."
    mod, found = importlib.import_module(f"vlm4vla.{module}"), {}
    for n in ast.parse(inspect.getsource(mod)).body:
        if not isinstance(n, (ast.FunctionDef, ast.ClassDef)) or not public(n.name): continue
        if isinstance(n, ast.ClassDef): found[n.name] = of_class(n, module, getattr(mod, n.name))
        elif decorated(n, "patch"):
            owner = n.args.args[0].annotation.id
            s = of_function(n, module, inspect.getattr_static(getattr(mod, owner), n.name), owner)
            if owner in found: found[owner].members.append(s)
            else: found[s.name] = s
        else: found[n.name] = of_function(n, module, getattr(mod, n.name))
    return list(found.values())

def find(module, name):
    "A symbol by its name, methods too."
    return next((s for c in symbols(module) for s in (c, *c.members) if s.name == name), None)

def constant(module, name):
    "What a constant is: a registry with its first entries, or its value."
    v = getattr(importlib.import_module(f"vlm4vla.{module}"), name)
    if not isinstance(v, Registry): return f"`{short(repr(v))}`"
    return f"registry of {len(v)}: " + ", ".join(f"`{k}`" for k in list(v)[:6]) + (", …" if len(v) > 6 else "")

def constants(module):
    "What else a module exports: pairs of a name and what it is."
    mod, known = importlib.import_module(f"vlm4vla.{module}"), {s.name for s in symbols(module)}
    return [(n, constant(module, n)) for n in mod.__all__ if n not in known]

def short(s, width=70):
    "The beginning of a text, on one line, fit for a table."
    s = re.sub(r"\s+", " ", s).replace("`", "'")
    return (s if len(s) <= width else s[:width-1] + "…").replace("|", r"\|")

def safe(s):
    "A sentence whose every character means itself, except that `code` stays code."
    parts = re.split(r"(`[^`]*`)", " ".join(s.split()))
    return "".join(p.replace("|", r"\|") if i % 2 else re.sub(r"([*<$|\[\]\\])", r"\\\1", p) for i, p in enumerate(parts))

def table(s):
    "The parameters of a symbol about which anything is said; types and defaults are in its signature."
    order = [n.lstrip("*") for n, *_ in s.params]
    rows = [(f"`{n}`" if n in order else "returns", safe(s.notes[n])) for n in (*order, "return") if n in s.notes]
    return "\n".join(["| parameter | meaning |", "|---|---|", *(f"| {n} | {m} |" for n, m in rows)]) if rows else ""

def lesson(s, level=3):
    "A symbol as its own page shows it."
    parts = [f'<a id="{s.anchor}"></a>', f"{'#'*level} {s.name}", f"```{{code-block}} python\n:class: signature\n\n{s.signature}\n```",
             safe(s.doc), table(s)]
    return "\n\n".join(filter(None, parts))

def reference(s, page, depth=0):
    "A symbol as the API lists it, with a link to its lesson."
    fence = ":"*(7 - 2*depth)
    link = f'<a class="lesson" href="../{page}.html#{s.anchor}">lesson</a>'
    body = [safe(s.doc), table(s), link if not depth else "", *(reference(m, page, depth + 1) for m in s.members)]
    owner = s.name.rpartition(".")[0] if not depth else ""   # a method that is patched into another module's class is listed alone
    return "\n\n".join([f"{fence}{{py:{s.kind}}} {owner + '.' if owner else ''}{s.signature}", *filter(None, body), fence])

def module_page(module, page, title, subtitle):
    "The API page of a module."
    head = [f"# {module}", f"{safe(subtitle)} The lesson is [{title}](../{page}.ipynb).", f":::{{py:module}} vlm4vla.{module}\n:::"]
    rows = [f"| `{n}` | {v} |" for n, v in constants(module)]
    data = ["## Data", "\n".join(["| name | value |", "|---|---|", *rows])] if rows else []
    return "\n\n".join([*head, *(reference(s, page) for s in symbols(module)), *data]) + "\n"

LEADING = [   # the names that a user needs first: module, name, a line that uses it
    ("catalog.backbones", "backbones", 'backbones["tiny-qwen3-vl"]'),
    ("catalog.benchmarks", "benchmarks", 'benchmarks["grinningface"].metric'),
    ("catalog.experiments", "experiments", 'e = experiments["tiny-qwen3-vl__grinningface__smoke__s0"]'),
    ("catalog.experiments", "Variant", 'variants.add(Variant("slow", "A third of the rate.", dict(lr=1e-4)))'),
    ("heads.registry", "heads", 'heads.add(ActionHead(name="mine", label="Mine", make=MLPHead))'),
    ("policy.own", "given_backbone", 'backbones.add(given_backbone("./my-checkpoint"))'),
    ("data.formats", "check_data", 'check_data("path/to/dataset")'),
    ("data.formats", "open_data", 'reader = open_data("path/to/dataset")'),
    ("policy.train", "train", 'policy, log, inputs = train(e, "try")'),
    ("policy.policy", "Policy", 'policy = Policy.load("try")'),
    ("sim.rollout", "rollout", 'rows = rollout(policy, benchmarks["grinningface"], "val", 1)'),
    ("launch.sweep", "sweep", 'sweep([e], out="try")'),
    ("results.tables", "load", 'episodes = load("episodes")'),
    ("results.scores", "scores", "scores(episodes)"),
    ("results.figures", "comparison", 'comparison("pretrained-vs-scratch").rates')]

def one_line(module, name):
    "What a name is: the docstring of a function or class, or what a registry holds."
    if s := find(module, name): return safe(s.doc)
    v = getattr(importlib.import_module(f"vlm4vla.{module}"), name)
    return f"Registry of {len(v)} entries, such as `{next(iter(v))}`."

def leading():
    "The table that the API begins with."
    link = lambda m, n: f'<a href="api/{m}.html#' + (f"vlm4vla.{m}.{n}" if find(m, n) else "data") + f'"><code>{n}</code></a>'
    rows = [f"| {link(m, n)} | {one_line(m, n)} | `{example}` |" for m, n, example in LEADING]
    return "\n".join(["| name | what it is | for example |", "|---|---|---|", *rows])

def modules():
    "Every module and the notebook it is made from, in the order of the notebooks."
    there = {p: re.search(r"File to edit: (?:\.\./)+nbs/(\S+)\.ipynb", p.read_text(encoding="utf-8"))
             for p in (ROOT/"vlm4vla").rglob("*.py")}
    made = {".".join(p.relative_to(ROOT/"vlm4vla").with_suffix("").parts): f[1] for p, f in there.items() if f}
    return {m: page for room in rooms() for m, page in sorted(made.items(), key=lambda mp: mp[1]) if room_of(page) == room}

def rooms():
    "The rooms of the house in their order, each importing only from those before it; what stands in none is before or after them all."
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT/"settings.ini", encoding="utf-8")
    return ["core", *settings["DEFAULT"]["rooms"].split(), "cli", "renamed"]

def room_of(page):
    "The room of a page: its first folder, or for the two that stand alone their name."
    return page.split("/")[0] if "/" in page else re.sub(r"^\d+_", "", page)
