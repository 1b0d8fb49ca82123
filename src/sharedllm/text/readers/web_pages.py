"""HTML pages: what a reader sees of them, without what leads elsewhere."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

from sharedllm.extras import need
from sharedllm.text.conversations.gathering import shown_name
from sharedllm.text.documents import Document, Turn
from sharedllm.text.readers.charsets import decode
from sharedllm.text.readers.found import Unreadable, whole

need("text")

from lxml import html  # noqa: E402

_SCRIPTS = "scripts and styles"
_NAVIGATION = "navigation"
_LEFT_OUT = {
    **dict.fromkeys(("script", "style", "template", "noscript", "svg", "canvas", "head", "iframe", "object"), _SCRIPTS),
    **dict.fromkeys(("nav", "aside", "form", "button", "select", "menu", "dialog"), _NAVIGATION),
}
_ROLES = {"navigation", "banner", "search", "contentinfo", "complementary", "menu", "menubar", "toolbar", "dialog"}
_CLASSES = {
    *("nav", "navbar", "navigation", "nav-panel", "navheader", "navfooter", "breadcrumb", "breadcrumbs"),
    *("headerlink", "anchor-link", "copiable-anchor", "mw-editsection", "mw-jump-link"),
}
"""What programs that write pages call what leads elsewhere, and links to a heading beside it."""

_FRAMES = {"header", "footer"}
"""Of the page navigation, of an article its own."""

_BLOCKS = frozenset(
    (
        *("address", "article", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt"),
        *("fieldset", "figcaption", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html"),
        *("li", "main", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
    )
)
_SPACED = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol", "table", "hr"))
_DECLARED = re.compile(
    rb"<meta[^>]{0,200}charset=[\"']?([\w-]{2,20})|<\?xml[^>]{0,100}encoding=[\"']([\w-]{2,20})", re.I
)
_OWN_ALONE = "Give what you wrote in it, as plain text."
_FACEBOOK, _AS_JSON = "Facebook or Instagram", "Download it again with the format JSON, and give that."
_CHATS = (
    (
        re.compile(rb"class=\"message default clearfix[^>]*>[\s\S]{0,2000}class=\"from_name\""),
        "Telegram",
        "Export it again as machine-readable JSON, and give that.",
    ),
    (
        re.compile(rb"class=\"[^\"]*\bchatlog__message-(?:group|container)\b"),
        "DiscordChatExporter",
        "Export it again as JSON, and give that.",
    ),
    (
        re.compile(rb"class=\"[^\"]*\b_a6-g\b[^\"]*\"[\s\S]{0,4000}class=\"[^\"]*\b_a6-[hp]\b"),
        _FACEBOOK,
        _AS_JSON,
    ),
)
_CLASSES_OF_CHATS = (
    ({"uiBoxWhite", "_2let"}, _FACEBOOK, _AS_JSON),
    ({"message_header", "user", "meta"}, _FACEBOOK, _AS_JSON),
    ({"hChatLog"}, "Google Voice", _OWN_ALONE),
    ({"outer-cell", "mdl-cell"}, "Google (My Activity)", _OWN_ALONE),
    ({"message_part"}, "imessage-exporter", "Export it again as text (txt), and give that."),
    ({"message", "message__header"}, "VK", _OWN_ALONE),
)
"""Classes of elements that all are on a chat's page."""

_IS_SNAPCHAT = "//*[self::h1 or self::h2 or self::h3][starts-with(normalize-space(.), 'Chat History with ')]"
_NAMES_SOMEBODY = re.compile(
    r"(?:(?:message|msg|comment|chat|post|reply|user|c)[-_]{1,2})?"
    r"(?:sender|author|nick|(?:user|nick|from|sender|author)[-_]?name)|\S{1,60}[-_]displayname",
    re.IGNORECASE,
)
"""What pages call what holds the name of whoever wrote a message or a comment."""

_BESIDE = "//*[@class and not(ancestor-or-self::aside or ancestor-or-self::nav or ancestor-or-self::footer)]"
_FIRST_WORDS, _LONGEST_CLASS, _LONGEST_NAME = 20, 80, 60
_WHITE = re.compile(r"[ \t\n\f\r]+")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)


def read(file: BinaryIO, source: str) -> Iterator[Document]:
    """One document of one turn, without tags, scripts and navigation."""
    data = whole(file)
    # Of a chat's page nothing would say whose words are whose, and all of them would be learned.
    for sign, program, remedy in _CHATS:
        if sign.search(data):
            raise _chat(program, remedy)
    page = _decoded(data)
    root = _parsed(page)
    _check_authors(root)
    text, left_out = _words_in(root, page)
    yield Document(source, "HTML page", (Turn(text),), left_out=left_out)


def _chat(program: str, remedy: str) -> Unreadable:
    return Unreadable(
        f"is a chat as {program} writes it as a web page, and who wrote what is not read of that", remedy=remedy
    )


def _check_authors(root: Any) -> None:
    """Refuse a page that names several beside what they wrote, as chats and comments do, or that is known for a chat's.

    Raises:
        Unreadable: it is such a page.
    """
    classed = [(each, (each.get("class") or "").split()) for each in root.xpath(_BESIDE)]
    known = {name for _, classes in classed for name in classes}
    for signs, program, remedy in _CLASSES_OF_CHATS:
        if signs <= known:
            raise _chat(program, remedy)
    if root.xpath(_IS_SNAPCHAT):
        raise _chat("Snapchat", _OWN_ALONE)
    naming = {name for name in known if len(name) <= _LONGEST_CLASS and _NAMES_SOMEBODY.fullmatch(name)}
    people: list[str] = []
    for each, classes in classed:
        if naming.isdisjoint(classes):
            continue
        words = (shown_name(text[: 2 * _LONGEST_NAME]) for text in islice(each.itertext(), _FIRST_WORDS))
        name = next((text for text in words if text), "").removeprefix("By ").removeprefix("by ")
        is_name = len(name) <= _LONGEST_NAME and any(map(str.isalnum, name))
        # Who is called so at one place and in full at another is one.
        if is_name and not any(name in other or other in name for other in people):
            people.append(name)
    if len(people) > 1:
        raise Unreadable(
            f"is a page on which several write, like {people[0]!r} and {people[1]!r}, and whose words are whose is not"
            " read of it",
            remedy=_OWN_ALONE,
        )


def words_of(page: str, quotes: str | None = None) -> tuple[str, Counter[str]]:
    """The words of a page, a block a line and a paragraph after an empty one, and what was left out.

    Args:
        page: as text.
        quotes: an XPath of what is quoted mail.

    Raises:
        Unreadable: it is nested more than 256 deep.
    """
    return _words_in(_parsed(page), page, quotes)


def _words_in(root: Any, page: str, quotes: str | None = None) -> tuple[str, Counter[str]]:
    left_out: Counter[str] = Counter()
    if not page.strip():
        return "", left_out
    for each in root.xpath(quotes) if quotes else ():
        left_out["quoted mail"] += len("".join(each.itertext()))
        tail, each.tail = each.tail, None
        each.clear()
        each.tail = tail
    pieces: list[str] = []
    _walk(root, pieces, left_out, preserve=False, inside=False)
    text = _laid_out("".join(pieces))
    left_out["tags"] = max(0, len(page) - len(text) - left_out.total())
    return text, +left_out


def _parsed(page: str) -> Any:
    # A declaration that the text came with is of its bytes, which these are no more.
    page = re.sub(r"^\s*<\?xml[^>]*>", "", page)
    parser = html.HTMLParser(remove_comments=True, remove_pis=True, no_network=True)
    root = html.document_fromstring(page if page.strip() else "<p></p>", parser=parser)
    if any("depth" in error.message for error in parser.error_log):
        raise Unreadable("is nested too deeply", remedy="Open it in a browser, and save what stands there as text.")
    return root


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        declared = _DECLARED.search(data[:2048])
        if declared is not None:
            try:
                return data.decode((declared[1] or declared[2]).decode())
            except (LookupError, UnicodeDecodeError):
                pass
        return decode(data, error)[0]


# Marks of the layout among the words, of a private-use plane that no text has.
_LINE, _PARAGRAPH, _KEPT = "\U000f0001", "\U000f0002", "\U000f0003"


def _walk(element: Any, pieces: list[str], left_out: Counter[str], *, preserve: bool, inside: bool) -> None:
    tag = element.tag if isinstance(element.tag, str) else ""
    why = _why_left_out(element, tag, inside)
    if why is not None:
        left_out[why] += len("".join(element.itertext()))
        return
    preserve = preserve or tag in ("pre", "textarea")
    inside = inside or tag in ("article", "main", "section")
    edge = _PARAGRAPH if tag in _SPACED else _LINE if tag in _BLOCKS else ""
    pieces.append(edge)
    if tag == "br":
        pieces.append(_LINE)
    pieces.append(_text(element.text, preserve))
    for child in element:
        if child.tag in ("td", "th") and child.getprevious() is not None:
            pieces.append("\t")
        _walk(child, pieces, left_out, preserve=preserve, inside=inside)
        pieces.append(_text(child.tail, preserve))
    pieces.append(edge)


def _why_left_out(element: Any, tag: str, inside: bool) -> str | None:
    if tag in _LEFT_OUT:
        return _LEFT_OUT[tag]
    led = element.get("role") in _ROLES or not _CLASSES.isdisjoint((element.get("class") or "").split())
    if led or (tag in _FRAMES and not inside):
        return _NAVIGATION
    if (
        element.get("hidden") is not None
        or element.get("aria-hidden") == "true"
        or _HIDDEN.search(element.get("style") or "")
    ):
        return "hidden text"
    return None


def _text(text: str | None, preserve: bool) -> str:
    if not text:
        return ""
    return text.replace("\r\n", "\n").replace("\n", _KEPT) if preserve else _WHITE.sub(" ", text)


def _laid_out(text: str) -> str:
    text = re.sub(f" *([{_LINE}{_PARAGRAPH}])[ {_LINE}{_PARAGRAPH}]*", lambda found: _edge(found[0]), text)
    return re.sub(r" {2,}(?=\S)", " ", text).replace(_KEPT, "\n").strip()


def _edge(run: str) -> str:
    return "\n\n" if _PARAGRAPH in run else "\n"
