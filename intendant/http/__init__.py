"""The HTTP API: an ASGI application over a running runtime, and a server. Needs `pip install intendant[http]`."""

from intendant.http.application import Application, app
from intendant.http.limits import HttpLimits
from intendant.http.server import serve
from intendant.http.token_file import TokenFile
from intendant.http.tokens import StoredToken, TokenStore, make_token

__all__ = ["Application", "HttpLimits", "StoredToken", "TokenFile", "TokenStore", "app", "make_token", "serve"]
