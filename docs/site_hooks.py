"""Hooks of the documentation site: pages from outside docs/, equations as MathML, and the reference of the command line.

Links in the pages are those of the repository, so that they work in a checkout, too. What a page links to outside docs/ becomes
part of the site under its path in the repository.
"""

import os
import re
from pathlib import Path

import click
import typer
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from fedgates.cli import cli

ROOT = Path(__file__).resolve().parents[1]
IN_NAVIGATION = (
    "CHANGELOG.md",
    "deploy/README.md",
    "benchmarks/README.md",
    "benchmarks/study/claims.md",
    "fedgates/wire/FORMAT.md",
)
"""Pages of the navigation that are not in docs/."""
INSTEAD = {"README.md": "docs/index.md", "strategies": "docs/methods/index.md"}
"""Pages that take the place of others on the site."""
COMMAND_LINE = "reference/command_line.md"

_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_EQUATION = re.compile(r"\$\$(.+?)\$\$|\$([^$]+?)\$", re.DOTALL)
_HELD_EQUATION = re.compile(r"equation(block|inline)-([0-9a-f]+)-")
_PAGE_NAME = re.compile(r"(?<!\]\()(?<![/\w`])docs/([\w/]+\.md)")
_ROLE = re.compile(r":(?:mod|func|class|meth|attr):(<code>)~?")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file outside docs/ that the site shows."""
    pending = [file for file in files if file.is_documentation_page()]
    pending += [_added(files, config, path) for path in IN_NAVIGATION]
    while pending:
        page = pending.pop()
        for match in _LINK.finditer(page.content_string):
            target = _target(page.src_uri, match[2])
            if target and not files.get_file_from_path(_uri(target)):
                pending += [file for file in [_added(files, config, target)] if file.is_documentation_page()]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # MkDocs' names
    """Rewrite links to the site's paths; hold equations back from Markdown."""
    uri = page.file.src_uri
    if uri == COMMAND_LINE:
        return command_line()
    parts = _FENCED.split(markdown)
    for number in range(0, len(parts), 2):
        text = _LINK.sub(lambda match: _rewritten(uri, match), parts[number])
        if uri.startswith("methods/"):
            text = _EQUATION.sub(_held, text)
        if uri.startswith("reference/"):
            text = _PAGE_NAME.sub(lambda match: f"[{match[1]}]({os.path.relpath(match[1], os.path.dirname(uri))})", text)
        parts[number] = text
    return "".join(parts)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # MkDocs' names
    """Put equations in as MathML, which browsers draw without a script; drop Sphinx's roles from docstrings."""
    html = _HELD_EQUATION.sub(lambda match: convert(bytes.fromhex(match[2]).decode(), display=match[1]), html)
    return _ROLE.sub(r"\1", html)


def command_line() -> str:
    """Return the reference of the command ``fedgates``, made by typer."""
    command = typer.main.get_command(cli)
    return get_docs_for_click(obj=command, ctx=click.Context(command), name="fedgates")


def _added(files: Files, config: MkDocsConfig, path: str) -> File:
    file = File.generated(config, path, abs_src_path=str(ROOT / path))
    files.append(file)
    return file


def _source(uri: str) -> str:
    """Return the file of a page of the site, by its path in the repository."""
    return f"docs/{uri}" if (ROOT / "docs" / uri).exists() else uri


def _target(uri: str, link: str) -> str | None:
    """Return the file that a page's link leads to, by its path in the repository; None for a folder without a page."""
    path = os.path.normpath(os.path.join(os.path.dirname(_source(uri)), link))
    path = INSTEAD.get(path, path)
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
    return path if (ROOT / path).exists() else None


def _uri(path: str) -> str:
    return path.removeprefix("docs/")


def _rewritten(uri: str, match: re.Match[str]) -> str:
    """Return a link of a page as the site has it, or only its text if it leads to a folder without a page."""
    text, link, anchor = match[1], match[2], match[3] or ""
    target = _target(uri, link)
    if target is None:
        return text if (ROOT / os.path.dirname(_source(uri)) / link).is_dir() else match[0]
    return f"[{text}]({os.path.relpath(_uri(target), os.path.dirname(uri))}{anchor})"


def _held(match: re.Match[str]) -> str:
    kind, latex = ("block", match[1]) if match[1] else ("inline", match[2])
    return f"equation{kind}-{latex.strip().encode().hex()}-"
