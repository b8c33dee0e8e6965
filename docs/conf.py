"The site: Sphinx reads the pages that docs/build.py prepares."
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path
import shutil, tomllib

ROOT = Path(__file__).resolve().parent.parent
settings = ConfigParser(delimiters=["="])
settings.read(ROOT/"settings.ini", encoding="utf-8")
facts = settings["DEFAULT"]
repository = tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]

project, author, release = facts["lib_name"], facts["author"], facts["version"]
copyright = author
extensions = ["myst_nb", "sphinx.ext.mathjax"]

nb_execution_mode = "off"   # docs/build.py has run them
nb_render_markdown_format = "myst"   # tables in outputs, too
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]
add_module_names = False   # in the API: the page says which module
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = project
html_theme_options = dict(
    navbar_align="left", navbar_end=["theme-switcher", "navbar-icon-links"], header_links_before_dropdown=6, navigation_with_keys=False,
    show_toc_level=2,
    secondary_sidebar_items={"**": ["page-toc"], "index": []}, footer_start=["copyright"], footer_end=[],
    icon_links=[dict(name="The repository", url=repository, icon="fa-brands fa-square-github")])
html_context = dict(default_mode="auto")   # of light and dark, until a reader chooses
html_sidebars = {"index": []}
html_static_path, html_css_files, html_js_files = ["static"], ["site.css"], ["site.js"]
html_search_scorer = str(ROOT/"docs"/"scorer.js")   # the guide first, then results, then pages of the library, then the API
html_show_sourcelink = html_copy_source = html_use_index = html_domain_indices = False

# MathJax comes with the site: the package that holds it has every variant of it, one is enough.
mathjax_path = "mathjax/tex-chtml-full.js"

def copy_mathjax(app, error):
    "The script and its fonts, after the pages."
    if error or app.builder.format != "html": return
    have, to, fonts = Path(find_spec("sphinx-mathjax-offline").submodule_search_locations[0])/"static"/"mathjax", Path(
        app.outdir)/"_static"/"mathjax", "output/chtml/fonts/woff-v2"
    shutil.copytree(have/fonts, to/fonts, dirs_exist_ok=True)
    shutil.copy(have/Path(mathjax_path).name, to)

def setup(app): app.connect("build-finished", copy_mathjax)
