"""The root of the command: global options, and how every failure becomes one clear line and an exit status."""

import os
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from gateway import __version__
from gateway.cli.accounts import accounts
from gateway.cli.configuration import configuration
from gateway.cli.credentials import credentials
from gateway.cli.doctor import doctor
from gateway.cli.domains import domains
from gateway.cli.history import history
from gateway.cli.listing import cut
from gateway.cli.lockouts import lockouts
from gateway.cli.login import login
from gateway.cli.queue import queue
from gateway.cli.settings import Settings
from gateway.cli.start import init
from gateway.cli.store import store
from gateway.cli.suspensions import suspensions
from gateway.cli.usage import usage
from gateway.errors import ConfigError, Conflict, NotFound, Unavailable

_LONGEST = 500  # characters of one line: what was typed is repeated, and may be long


class Stop(click.ClickException):
    """Ends the command with exit status 1 and its line on standard error."""

    def show(self, file: Any = None) -> None:
        click.echo(self.format_message(), err=True, file=file)


class WrongSettings(Stop):
    exit_code = 2


class Root(click.Group):
    """Exit status 0: done. 1: refused or not found. 2: wrong usage or configuration. Never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise WrongSettings("\n".join(error.problems)) from error
        except (NotFound, Conflict, Unavailable) as error:
            raise Stop(cut(str(error), _LONGEST)) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except OSError as error:
            raise Stop(f"{error.filename or 'system'}: {error.strerror or error}") from error
        except Exception as error:
            # The place but not the text, which may quote what was being read.
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise Stop(f"bug in the gateway: {type(error).__name__} at {place.filename}:{place.lineno}") from error


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    envvar="SMTP_GATEWAY_CONFIG",
    default=Path("gateway.toml"),
    show_default=True,
    show_envvar=True,
    metavar="FILE",
    help="The settings of the gateway.",
)
@click.version_option(__version__, message="smtp-gateway %(version)s")
@click.pass_context
def root(context: click.Context, path: Path) -> None:
    """Lets the people who have an account with you send mail with their own address and password.

    Begin with `smtp-gateway init`, which writes the settings and a demo account, then start the server with
    `twistd -n --pidfile= smtp-gateway`. `smtp-gateway doctor` tries everything and says what is wrong.

    Exit status: 0 done, 1 refused or not found, 2 wrong usage or settings.
    """
    context.obj = Settings(path, os.environ)


login.add_command(history)
for each in (init, configuration, doctor, accounts, login, lockouts, queue, usage, suspensions, domains, credentials, store):
    root.add_command(each)


def main() -> None:
    """The entry point of the console script."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal that has no Unicode shows what it lacks as "\u2603"
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(root(prog_name="smtp-gateway"))
