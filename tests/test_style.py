"How the sources are written: short lines, small cells, a description for every public parameter, one home for every public name."
import ast, json, re
from functools import cache
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
LINE, CELL = 140, 40 # characters; lines
EVERY_TASK = {"make", "make_block", "questions", "expert", "pick_up", "place"} # what tasks offer under the same name, each its own
MODULES = sorted(p for p in (ROOT/"vlm4vla").rglob("*.py") if not p.stem.startswith("_") and "assets" not in p.parts)
PLAIN = sorted([*ROOT.glob("tests/*.py"), *ROOT.glob("docs/*.py")])

@cache
def cells():
    "Every cell of every notebook: its page, name, kind and lines."
    pages = [p for p in sorted(ROOT.glob("nbs/**/*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
    return [(str(p.relative_to(ROOT)), c["id"], c["cell_type"], "".join(c["source"]).split("\n"))
            for p in pages for c in json.loads(p.read_text(encoding="utf-8"))["cells"]]

@cache
def tree(path): return ast.parse(path.read_text(encoding="utf-8"))

def module(path): return ".".join(path.relative_to(ROOT/"vlm4vla").with_suffix("").parts)

def is_data(kind, line):
    "A row of a table, a link that cannot be broken, a text for those who cannot see a figure."
    return line.startswith("#| fig-") or kind == "markdown" and (line.lstrip().startswith("|") or " " not in line.strip())

def long_lines():
    found = [f"{page}, cell {i}: {len(l)} characters in {l.strip()[:50]!r}" for page, i, kind, lines in cells() for l in lines
             if len(l) > LINE and not is_data(kind, l)]
    for p in PLAIN:
        lines = p.read_text(encoding="utf-8").split("\n")
        found += [f"{p.relative_to(ROOT)}, line {n}: {len(l)} characters" for n, l in enumerate(lines, 1) if len(l) > LINE]
    return found

def long_cells():
    size = lambda lines: sum(not l.startswith("#|") for l in lines)
    return [f"{page}, cell {i}: {size(lines)} lines" for page, i, kind, lines in cells()
            if kind == "code" and any(re.match(r"#\|\s*exporti?\b", l) for l in lines) and size(lines) > CELL]

def decorators(d): return [ast.unparse(x) for x in d.decorator_list]

def is_public(name): return not name.startswith("_") or name in ("__init__", "__call__")

def own_comment(lines, node, after, alone):
    "Does the line of a parameter describe it, and it alone? What stands behind `->` describes what comes back."
    return alone and re.match(r"[\s,):]*#\s*\S", lines[node.end_lineno - 1].encode()[after:].decode(errors="replace"))

def parameters(fn, in_class):
    "The parameters that a caller gives, each with where its default ends."
    a = fn.args; plain = [*a.posonlyargs, *a.args]
    bound = in_class and "staticmethod" not in decorators(fn) or any(d.startswith("patch") for d in decorators(fn))
    ends = dict(zip(map(id, plain[len(plain) - len(a.defaults):]), a.defaults)) | dict(zip(map(id, a.kwonlyargs), a.kw_defaults))
    found = [*plain[int(bound):], *filter(None, [a.vararg]), *a.kwonlyargs, *filter(None, [a.kwarg])]
    return [(x, ends.get(id(x)) or x) for x in found]

def described(lines, owner, pairs):
    "The names among (node, where it ends) that have no description of their own."
    starts = [x.lineno for x, _ in pairs]
    return [f"{owner}({x.arg})" for x, end in pairs if not own_comment(lines, end, end.end_col_offset, starts.count(x.lineno) == 1)]

def of_class(lines, d):
    "The same for the fields of a dataclass and the parameters of a class's methods."
    found = []
    if any("dataclass" in x for x in decorators(d)):
        fields = [f for f in d.body if isinstance(f, ast.AnnAssign) and not f.target.id.startswith("_")]
        found = [f"{d.name}.{f.target.id}" for f in fields if not own_comment(lines, f, f.end_col_offset, True)]
    return found + [p for m in d.body if isinstance(m, ast.FunctionDef) and is_public(m.name)
                    for p in described(lines, f"{d.name}.{m.name}", parameters(m, True))]

def bare_parameters():
    found = []
    for p in MODULES:
        lines = p.read_text(encoding="utf-8").split("\n")
        for d in (d for d in tree(p).body if isinstance(d, (ast.FunctionDef, ast.ClassDef)) and is_public(d.name)):
            bare = of_class(lines, d) if isinstance(d, ast.ClassDef) else described(lines, d.name, parameters(d, False))
            found += [f"{module(p)}.{name}" for name in bare]
    return found

def public(path):
    named = [ast.literal_eval(n.value) for n in tree(path).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
    return named[0] if named else []

def two_homes():
    homes = {}
    for p in MODULES:
        for name in public(p): homes.setdefault(name, []).append(module(p))
    siblings = lambda name, where: name in EVERY_TASK and all(m.startswith("tasks.") for m in where)
    return [f"{name}: {' and '.join(where)}" for name, where in sorted(homes.items()) if len(where) > 1 and not siblings(name, where)]

@pytest.mark.parametrize("look, wrong, remedy", [
    (long_lines, f"source lines with more than {LINE} characters", "break them"),
    (long_cells, f"exported cells with more than {CELL} lines", "give each function or method (`@patch`) a cell of its own"),
    (bare_parameters, "public parameters without a description of their own", "one parameter a line, with a comment behind it"),
    (two_homes, "public names that stand in two modules", "rename one, or make it private")])
def test_sources(look, wrong, remedy):
    found = look()
    assert not found, f"{len(found)} {wrong}; {remedy}:\n  " + "\n  ".join(found)
