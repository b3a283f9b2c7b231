"""What browsers load: our modules and styles, and pages with the policy that lets nothing else in.

The files are in `static/`, those of others in its `vendor/`, which `scripts/web_modules.py` fills. An address has a
hash of all of them in it, so that a browser may keep a file for ever and never mixes two versions. A page is a shell
without any script or style of its own. What it is to show, its modules ask for.
"""

import gzip
import hashlib
import json
import mimetypes
import posixpath
import re
from collections.abc import Awaitable, Callable, Collection
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from peerbot.errors import SettingsError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types dompurify"
)
"""No script and no style but from our own files, nothing from another host, in nobody's frame."""

PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""For every page, and for what a page asks for."""

FILES = "/static/{version}/{path:.+}"
"""The path of the files, for a router."""

_STATIC = Path(__file__).with_name("static")
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml"}
_IMPORT = re.compile(rb"""(?:^|[;}])\s*(?:import|export)\b[^;"'()]*["'](\.[^"']+)["']""", re.MULTILINE)
"""A module that another one can't do without. Those that it loads later are `import(…)`."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Assets:
    """The files of `static/`, read once. Raises `SettingsError` if those of others are missing: nothing would run."""

    def __init__(self) -> None:
        if not pages_installed():
            raise SettingsError(
                "What the pages need from npm is not installed. Run `make web` where npm's registry can be reached."
            )
        files = (file for file in sorted(_STATIC.rglob("*")) if file.is_file())
        self._files = {str(file.relative_to(_STATIC)): file.read_bytes() for file in files}
        digest = hashlib.sha256()
        for name, content in self._files.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        self.version = digest.hexdigest()[:16]
        self._zipped: dict[str, bytes] = {}
        self._needs: dict[str, list[str]] = {}

    def routes(self) -> list[web.RouteDef]:
        """The path of the files."""
        return [web.get(FILES, self.file)]

    def address(self, name: str) -> str:
        """Where a file of `static/` is. Raises `KeyError` if there is no such file."""
        self._files[name]
        return f"/static/{self.version}/{name}"

    def page(
        self,
        title: str,
        module: str,
        *,
        styles: Collection[str] = (),
        told: dict[str, Any] | None = None,
        theme: str = "",
        status: int = 200,
    ) -> web.Response:
        """Make a page that runs one module of `static/`.

        It has tokens.css, base.css, and then `styles`. `told` is what the module reads with `told()` of `page.js`.
        `theme` is what a person chose: `light`, `dark`, or nothing for what their system says. Raises `KeyError` if
        there is no such file.
        """
        lines = ["<!doctype html>", f'<html lang="en"{_theme(theme)}>', "<head>", '<meta charset="utf-8">']
        lines.append('<meta name="viewport" content="width=device-width, initial-scale=1">')
        lines.append('<meta name="color-scheme" content="light dark">')
        lines.append(f'<meta name="told" content="{escape(json.dumps(told or {}))}">')
        lines.append(f"<title>{escape(title)}</title>")
        lines.append(f'<link rel="icon" href="{self.address("icon.svg")}" type="image/svg+xml">')
        sheets = ("tokens.css", "base.css", *styles)
        lines += [f'<link rel="stylesheet" href="{self.address(sheet)}">' for sheet in sheets]
        # Else the browser learns of a module only when it has read all those on the way to it.
        lines += [f'<link rel="modulepreload" href="{self.address(each)}">' for each in self._needed(module)]
        lines.append(f'<script type="module" src="{self.address(module)}"></script>')
        lines += ["</head>", "<body>", '<div id="page"></div>']
        lines += ["<noscript>This page needs JavaScript.</noscript>", "</body>", "</html>", ""]
        return web.Response(text="\n".join(lines), content_type="text/html", headers=PAGE_HEADERS, status=status)

    def _needed(self, module: str) -> list[str]:
        """List the modules that a module needs, the nearest first."""
        if module not in self._needs:
            found = [module]
            for each in found:  # grows meanwhile
                for name in _IMPORT.findall(self._files[each]):
                    path = posixpath.normpath(posixpath.join(posixpath.dirname(each), name.decode()))
                    if path not in found:
                        found.append(path)
            self._needs[module] = found[1:]
        return self._needs[module]

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for a file."""
        name = request.match_info["path"]
        content = self._files.get(name)
        if content is None:
            raise web.HTTPNotFound
        # A page of another version asks for that version's files: what is here now is not what it was made for.
        if request.match_info["version"] != self.version:
            raise web.HTTPNotFound
        kind = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Accept-Encoding",
        }
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            content = self._zipped.get(name) or self._zipped.setdefault(name, gzip.compress(content, 9, mtime=0))
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=content, content_type=kind, headers=headers)


def pages_installed() -> bool:
    """Whether what the pages load of others is there."""
    return (_STATIC / "vendor/manifest.json").is_file()


def guarded(hosts: Collection[str]) -> Middleware:
    """Make a middleware that answers only requests that a page of ours, or no page at all, has sent.

    `hosts` are the names under which people reach us, without ports: with another one somebody's page has had its own
    name point to us (DNS rebinding), and gets 421. A request that another site's page makes gets 403, unless it only
    brings a person here by a link.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if _name(request.host) not in hosts:
            return web.Response(status=421, text="This server has another name.\n")
        if not _is_ours(request):
            return web.Response(status=403, text="Another site's page has asked for this.\n")
        return await handler(request)

    return middleware


def _is_ours(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.host:
        return False
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site in ("same-origin", "none"):
        return True
    follows = (
        request.headers.get("Sec-Fetch-Mode") == "navigate" and request.headers.get("Sec-Fetch-Dest") == "document"
    )
    return request.method in _SAFE_METHODS and follows


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _theme(theme: str) -> str:
    return f' data-theme="{theme}"' if theme in ("light", "dark") else ""
