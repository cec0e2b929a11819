"""Sphinx's settings for the book and the decks; see workbook.book."""

from pygments.lexers import PostgresLexer
from sphinx.application import Sphinx

from workbook.book import glossary

project = "Schema workbook"
author = "the workbook's authors"
extensions = ["myst_nb", "sphinx_revealjs", "workbook.book.links"]

nb_execution_mode = "off"
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
nb_merge_streams = True
nb_render_markdown_format = "gfm"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
# Links within notebooks are written for JupyterLab, which names a heading by its words and hyphens.
myst_heading_slug_func = "workbook.book.links.anchor"

workbook_terms = glossary.patterns()

html_theme = "sphinx_book_theme"
html_title = "Schema workbook"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "show_toc_level": 1,
    "navbar_persistent": [],
    "home_page_in_toc": True,
    "search_bar_text": "Search the book",
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
# A page from disk may not read another one.
html_show_search_summary = False
html_use_index = False
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

revealjs_static_path = ["static"]
revealjs_style_theme = "white"
revealjs_css_files = ["deck.css"]
revealjs_js_files = ["deck.js"]
revealjs_script_conf = {
    "hash": True,
    "width": 1280,
    "height": 720,
    "margin": 0.03,
    "center": True,
    "transition": "none",
    "controls": False,
}


def setup(app: Sphinx) -> None:
    """Read SQL as PostgreSQL's own, dollar quotes and all."""
    app.add_lexer("sql", PostgresLexer)
