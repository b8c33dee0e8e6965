"The site: Sphinx reads the pages that docs/build.py prepares."
from configparser import ConfigParser
from pathlib import Path

settings = ConfigParser(delimiters=["="])
settings.read(Path(__file__).resolve().parent.parent/"settings.ini", encoding="utf-8")
facts = settings["DEFAULT"]

project, author, release = facts["lib_name"], facts["author"], facts["version"]
copyright = author
extensions = ["myst_nb"]

nb_execution_mode = "off"   # docs/build.py has run them
nb_render_markdown_format = "myst"   # tables in outputs, too
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

html_theme = "pydata_sphinx_theme"
html_title = project
html_theme_options = dict(show_toc_level=2, navigation_with_keys=False, show_prev_next=True, navbar_center=[], navbar_end=["theme-switcher"])
html_sidebars = {"**": ["globaltoc.html"]}   # every page at the left of every page
html_static_path, html_css_files = ["static"], ["site.css"]
html_show_sourcelink = False
