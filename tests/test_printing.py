"One nasty string through every writer."
import csv, io, re, shutil, subprocess
import pandas as pd, pytest
from vlm4vla.results.printing import formatted, table

NASTY = "推立方体 %_&{}#$~^\\ | a*b* `c` <b>&amp; \"q\" – é,\nsecond line; " + "x"*300
FRAME = pd.DataFrame(
    {"run_id": ["mini-qwen3-vl__grinningface__base__s0", "[0.1, 0.9]", "*"], "a & b_%": [NASTY, "", "\x1b[2J\r\t"], "n": [1, 20, 300],
     "rate": [.5, float("nan"), 1.]})

def test_a_row_is_a_line_of_a_terminal():
    text = formatted(FRAME, "text").split("\n")
    assert len(text) == 4 and all(c.isprintable() for l in text for c in l) and "nan" not in text[2]
    # where the next column begins, in letters: a Chinese one is two columns wide
    at = [l.rindex(e) for l, e in zip(text, ("n ", "1 ", "20", "300"))]
    assert at[0] == at[2] == at[3] == at[1] + 4 == text[0].index("n    rate")
    assert table([], ["a"]) == "a"

def test_a_row_is_a_line_of_markdown():
    lines = formatted(FRAME, "md").split("\n")
    assert len(lines) == 5 and {len(re.findall(r"(?<!\\)\|", l)) for l in lines} == {5}
    cell = re.split(r"(?<!\\)\|", lines[2])[2]
    assert "<br>second line" in cell and "<b>" not in cell and r"a\*b\*" in cell and r"\`c\`" in cell and "x"*300 in cell
    assert "run_id" in lines[0] and r"vl\_\_grin" in lines[2] and "nan" not in formatted(FRAME, "md")

def cells(tex): return [l for l in tex[tex.index("\\midrule"):tex.index("\\bottomrule")].split("\n")[1:] if l]

def test_latex_escapes_everything_it_would_act_on():
    tex = formatted(FRAME, "latex"); rows = cells(tex)
    assert len(rows) == 3 and all(len(re.findall(r"(?<!\\)&", r)) == 3 and r.endswith("\\\\") for r in rows)
    for r in rows:
        rest = re.sub(r"\\[&%$#_{}]|\\text[a-z]+\{\}|\\\\$|\{\}\[|\{\}\*", "", r)
        assert not re.search(r"[%$#_{}~^\\]", rest), rest
    assert rows[1].startswith("{}[") and rows[2].startswith("{}*") # no argument of the line before
    assert "a \\& b\\_\\%" in tex and "p{" in tex and tex.splitlines()[0].startswith(
        "% These letters need XeLaTeX") and "推" in tex.splitlines()[0]
    assert not formatted(FRAME[["n"]], "latex").startswith("%")

@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex")
def test_latex_compiles(tmp_path):
    body = formatted(FRAME.replace({r"[\u4e00-\u9fff\x00-\x1f]": ""}, regex=True), "latex")
    (tmp_path/"t.tex").write_text("\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}\n" + body
                                  + "\n\\end{document}\n", encoding="utf-8")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-800:]

def test_html_is_escaped_and_whole():
    page = formatted(FRAME, "html")
    assert "<b>" not in page and "&lt;b&gt;&amp;amp;" in page and "x"*300 in page and "NaN" not in page

def test_csv_is_read_back_as_it_was():
    rows = list(csv.reader(io.StringIO(formatted(FRAME, "csv"))))
    assert len(rows) == 4 and rows[1][1] == NASTY and rows[3][1] == "\x1b[2J\r\t"

SAY = "import sys; from vlm4vla.results.printing import say; say('推 2 × \\udce4'); print('end')"
@pytest.mark.parametrize("encoding, says",
                         [("ascii", b"\\u63a8 2 \\xd7 \\udce4"), ("latin-1", "\\u63a8 2 × \\udce4".encode("latin-1")),
                          ("utf-8", "推 2 × \\udce4".encode())])
def test_a_terminal_shows_what_it_can(root, encoding, says):
    import os, sys
    done = subprocess.run([sys.executable, "-c", SAY], cwd=root, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0 and done.stdout.splitlines() == [says, b"end"], done.stderr
