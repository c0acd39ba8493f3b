"""Documentation strings of the installed packages, read from their source files: nothing is imported."""

import ast
import os
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from uncollapse.corpora.texts import Bad, Found, Items, Place, is_unicode

MIN_TEXT_WORDS = 5
MIN_QUERY_WORDS = 3
MAX_QUERY_WORDS = 40

SITE_FOLDERS = ("site-packages", "dist-packages")
TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})
TEST_FILE = re.compile(r"test_.*|.*_tests?|conftest")

SENTENCE_END = re.compile(r"""(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[A-Z`"'(\[*])""")
PARAGRAPH_END = re.compile(r"\n[ \t]*(?:\n|$)")
NO_QUERY = re.compile(r"[^a-z]|[\w.]+\s*\(|(copyright|parameters|args|returns?|examples?)\b[^\w]*$", re.IGNORECASE)

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """A source file and the name it is imported by."""

    path: Path
    name: str

    @property
    def order(self) -> bytes:
        """Hash of the name: the same on every run, and it mixes the packages."""
        return blake2b(self.name.encode(), digest_size=8).digest()


def read_docstrings(roots: tuple[Path, ...] | None = None) -> Items:
    """Documentation strings with enough words after their first sentence, each text once.

    Modules come in the order of a hash of their names. Test modules, and files that do not parse, give nothing.

    Args:
        roots: folders that hold packages; by default the standard library and the site-packages on `sys.path`.
    """
    modules = find_modules(installed_roots() if roots is None else roots)
    seen: set[bytes] = set()
    for module in sorted(modules, key=lambda module: module.order):
        for item in _read_module(module):
            if isinstance(item, Found):
                key = _key(str(item.text))
                if key in seen:
                    continue
                seen.add(key)
            yield item


def installed_roots() -> tuple[Path, ...]:
    """The standard library's folder, then the site-packages folders on `sys.path`."""
    sites = (Path(entry) for entry in sys.path if Path(entry).name in SITE_FOLDERS)
    return (Path(os.__file__).parent, *sites)


def find_modules(roots: tuple[Path, ...]) -> list[Module]:
    """Importable source files that are no tests; where two have one name, the first root wins, as in an import."""
    modules: dict[str, Module] = {}
    for root in roots:
        for parent, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name.isidentifier() and name not in TEST_FOLDERS]
            parts = Path(parent).relative_to(root).parts
            for file in files:
                stem, suffix = os.path.splitext(file)  # noqa: PTH122 - a Path for each file doubles the time
                if suffix == ".py" and stem.isidentifier() and not TEST_FILE.fullmatch(stem):
                    name = ".".join(parts if stem == "__init__" else (*parts, stem))
                    modules.setdefault(name, Module(Path(parent, file), name))
    return list(modules.values())


def _read_module(module: Module) -> Items:
    place = Place(module.path, module.name)
    try:
        source = module.path.read_bytes()
        # a documentation string of several lines needs triple quotes; parsing is the slow part
        tree = _parse(source) if b'"""' in source or b"'''" in source else None
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        yield Bad("source file does not parse", place, f"expected Python source, got {error}.", tolerated=True)
        return
    named: set[str] = set()
    for name, line, docstring in _documented(tree) if tree else ():
        split = split_query(docstring)
        if split and is_unicode(docstring):
            full = f"{module.name}.{name}" if name else module.name
            unique = f"{full}:{line}" if full in named else full  # a property and its setter share a name
            named.add(unique)
            at = Place(module.path, module.name, line)
            yield Found(at, split[1], unique, query=split[0], source=module.name.partition(".")[0])


def _parse(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        return ast.parse(source)


def _documented(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """Qualified name, line and cleaned documentation string of a module, and of its classes and functions."""
    waiting: list[tuple[ast.AST, tuple[str, ...]]] = [(tree, ())]
    while waiting:
        node, name = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = (*name, node.name)
        if isinstance(node, Documented) and (docstring := ast.get_docstring(node)):
            yield ".".join(name), node.body[0].lineno, docstring
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            waiting.extend((child, name) for child in reversed(list(ast.iter_child_nodes(node))))


def split_query(docstring: str) -> tuple[str, str] | None:
    """The first sentence (or title, or short paragraph) and the rest, or None where they make no pair.

    A pair needs a query of at least 3 words and a rest of at least 5 that does not repeat it.

    >>> split_query("Return the mean of all pairs.\\n\\nPairs are distinct, and each counts once.")
    ('Return the mean of all pairs.', 'Pairs are distinct, and each counts once.')
    """
    query, rest = _first_sentence(docstring)
    words = len(query.split())
    if not MIN_QUERY_WORDS <= words <= MAX_QUERY_WORDS or NO_QUERY.match(query):
        return None
    if len(rest.split()) < MIN_TEXT_WORDS or _letters(rest).startswith(_letters(query)):
        return None
    return query, rest


def _first_sentence(docstring: str) -> tuple[str, str]:
    paragraph, below = _cut(docstring, PARAGRAPH_END)
    title, *under = paragraph.split("\n")
    if under and not _letters(under[0]):
        query, others = title, "\n".join(under[1:])
    else:
        query, others = _cut(paragraph, SENTENCE_END)
    return " ".join(query.split()), f"{others.strip()}\n\n{below}".strip()


def _cut(text: str, end: re.Pattern[str]) -> tuple[str, str]:
    match = end.search(text)
    return (text[: match.start()], text[match.end() :]) if match else (text, "")


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def _key(text: str) -> bytes:
    return blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).digest()
