"""Where the server listens: looked at before gradio tries, whose errors name neither the setting nor what is wrong with it."""

import errno
import socket

from headroles.errors import InvalidInputError
from headroles.settings import Settings


def check_address(settings: Settings) -> None:
    """Raises InvalidInputError when the host is no address of this machine, or its port is taken or not ours to take."""
    port = settings.port or 0
    try:
        found = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise _no_address(settings.host) from error
    family, kind, protocol, _, address = found[0]
    try:
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a port that was just left is free
            trial.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InvalidInputError(
                f"Port {port} of {settings.host} is in use; set GRADIO_SERVER_PORT to another one, or to none for the first that "
                "is free."
            ) from error
        if error.errno == errno.EACCES:
            raise InvalidInputError(
                f"Port {port} is not open to this user; set GRADIO_SERVER_PORT to one from 1024 on."
            ) from error
        raise _no_address(settings.host) from error


def gradios_name(host: str) -> str:
    """The host as gradio wants it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _no_address(host: str) -> InvalidInputError:
    return InvalidInputError(
        f"GRADIO_SERVER_NAME must be an address of this machine, as 127.0.0.1 or 0.0.0.0 for all, but is {host[:100]!r}."
    )
