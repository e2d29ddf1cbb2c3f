"""The documents: links lead somewhere, every command, option, metric and key occurs, quoted messages are the code's."""

from __future__ import annotations

import ast
import dataclasses
import re
import typing
from collections import Counter
from pathlib import Path

import pydantic
import pytest
import typer

from benchmarks.cli import app
from nas.study import STATIC_METRICS, Study
from profiles.records import METRICS, Profile

PACKAGES = ["profiles", "devices", "nas", "benchmarks"]
GENERATED = "commands.md"


@pytest.fixture(scope="module")
def pages(root: Path) -> dict[str, str]:
    """Those of docs/ that are written by hand, by name."""
    return {path.name: path.read_text() for path in sorted((root / "docs").glob("*.md")) if path.name != GENERATED}


@pytest.fixture(scope="module")
def documents(repository_files: list[Path]) -> list[Path]:
    return [path for path in repository_files if path.suffix == ".md"]


def test_every_link_leads_somewhere(root: Path, documents: list[Path]) -> None:
    """Files, and headings in them. Addresses of other hosts are not asked for."""
    wrong = [
        f"{path.relative_to(root)}: {link}"
        for path in documents
        for link in links(path.read_text())
        if not re.match(r"[a-z]+:", link) and not exists(path, link)
    ]
    assert len(documents) > 15
    assert wrong == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One `two`: three\n[x](b.md) [y](#one-two-three) [![z](c.png)](#four)\n\n    [code](not.md)\n")
    found = links(page.read_text())
    assert found == ["b.md", "#one-two-three", "c.png", "#four"]
    assert [link for link in found if exists(page, link)] == ["#one-two-three"]


def test_no_page_of_the_site_links_out_of_it(root: Path, pages: dict[str, str]) -> None:
    """What lies outside of docs/ is no part of the site: its path stands there as code."""
    assert [f"{name}: {link}" for name, text in pages.items() for link in links(text) if link.startswith("..")] == []


def test_every_command_and_option_occurs_in_a_page_written_by_hand(pages: dict[str, str], root: Path) -> None:
    written = [*pages.values(), (root / "README.md").read_text()]
    missing, found = [], list(commands(typer.main.get_command(app)))
    counts = Counter(option for _, options in found for option in options)
    for words, options in found:
        near = "\n".join(page for page in written if f"hwnas {words}" in page)
        if words and not near:
            missing.append(f"hwnas {words}")
        for name in options:  # one of several commands may be told of once
            text = near if counts[name] == 1 else "\n".join(written)
            missing += [] if re.search(rf"{name}(?![\w-])", text) else [f"hwnas {words}: {name}"]
    assert missing == []


def test_every_metric_and_every_field_of_a_record_is_defined(pages: dict[str, str]) -> None:
    first_cells = [line.split("|")[1] for line in pages["metrics.md"].splitlines() if line.startswith("| `")]
    defined = set(re.findall(r"`([^`]+)`", " ".join(first_cells)))
    assert {f"{name}@T" for name in METRICS} | set(STATIC_METRICS) <= defined
    told = " ".join([pages["metrics.md"], pages["energy.md"], pages["targets.md"], pages["measuring.md"]])
    fields = {field.name for field in dataclasses.fields(Profile)}
    assert {name for name in fields if f"`{name}`" not in told and not re.search(rf"`{name}[`@.]", told)} == set()


def test_every_key_of_a_study_is_on_its_page(pages: dict[str, str]) -> None:
    missing = [key for key in keys(Study) if f"`{key}`" not in pages["study.md"]]
    assert missing == []


@pytest.mark.parametrize("page", ["faq.md"])
def test_messages_that_a_page_quotes_are_those_of_the_code(root: Path, pages: dict[str, str], page: str) -> None:
    """Their fixed parts, between "…"; what follows ": " may come from elsewhere."""
    constants = "\n".join(texts(root))
    quoted = re.findall(r"^\| `([^`]+)` \|", pages[page], re.MULTILINE)
    messages = [message for message in quoted if "…" in message or " " in message]
    assert len(messages) > 20
    wrong = {
        message: part
        for message in messages
        for part in message.split("…")
        if len(part.strip(" :;,.")) > 5 and part.strip(" :;,.()") not in constants
    }
    assert wrong == {}


def links(text: str) -> list[str]:
    """Targets of Markdown's links and pictures, outside of code."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(?: {4}|\t).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", text)
    return re.findall(r"(?<=\]\()[^()\s]+(?=\))", text)


def exists(page: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists():
        return False
    return not heading or heading in headings(target.read_text())


def headings(text: str) -> set[str]:
    """As GitHub and mkdocs name them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


def commands(command: typing.Any, words: str = "") -> typing.Iterator[tuple[str, list[str]]]:
    """("devices check", ["--fleet", "--json"]), ...: those that do something, and the options of the groups above."""
    options = [name for p in command.params for name in (*p.opts, *p.secondary_opts) if name.startswith("--")]
    inner = getattr(command, "commands", {})
    yield ("" if inner else words), [name for name in options if name not in ("--help", "--report")]
    for name, each in inner.items():
        yield from commands(each, f"{words} {name}".strip())


def keys(model: type[pydantic.BaseModel], prefix: str = "") -> typing.Iterator[str]:
    for name, field in model.model_fields.items():
        inner = list(_models(field.annotation))
        if inner:
            for kind in inner:
                yield from keys(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def _models(annotation: object) -> typing.Iterator[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)


def texts(root: Path) -> typing.Iterator[str]:
    """Every string of the packages, the fixed parts of f-strings included."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
