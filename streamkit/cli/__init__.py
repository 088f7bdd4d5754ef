"""The command `streamkit`. Each subcommand lives in a file of its own, loaded when it is asked for."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

import streamkit
from streamkit.cli.failing import WRONG_USE, complain, failed

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "run": "streamkit.cli.run:run",
    "init": "streamkit.cli.init:init",
    "status": "streamkit.cli.status:status",
    "top": "streamkit.cli.top:top",
    "dlq": "streamkit.cli.dlq:dlq",
    "replay": "streamkit.cli.replay:replay",
    "migrate": "streamkit.cli.migrate:migrate",
    "checkpoint": "streamkit.cli.checkpoint:checkpoint",
    "pause": "streamkit.cli.pause:pause",
    "resume": "streamkit.cli.resume:resume",
    "iam": "streamkit.cli.iam:iam",
    "template": "streamkit.cli.template:template",
    "zip": "streamkit.cli.zipping:zip_",
    "local": "streamkit.cli.local:local",
    "demo": "streamkit.cli.demo:demo",
    "events": "streamkit.cli.events:events",
    "metrics": "streamkit.cli.metrics:metrics",
}
INTERRUPTED = 130


class _Commands(click.Group):
    """Loads subcommands late, and turns what they raise into one line and a status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names, in the order of a reader's interest."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        """Run a subcommand; what it raises ends the process with a status and one line."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - the outermost frame: whatever it is, a person gets one line
            return failed(error, debug=ctx.params["debug"])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show tracebacks. They may hold data of yours.")
@click.version_option(streamkit.__version__, message="%(prog)s %(version)s")
def commands(*, debug: bool) -> None:
    """Consume Kinesis and DynamoDB Streams: nothing lost, order kept, one bad record costs one dead letter.

    \b
    streamkit init consumers.flights:flights      make the checkpoint table
    streamkit run consumers.flights:flights       consume until told to stop
    streamkit status consumers.flights:flights    is all well?
    """
    del debug


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 for success, 2 for what its user has to correct, 1 for anything else."""
    try:
        status = commands.main(args, prog_name="streamkit", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as bare:
        bare.show()
        status = WRONG_USE
    except click.UsageError as wrong:
        where = wrong.ctx.command_path if wrong.ctx else "streamkit"
        status = complain(f"{wrong.format_message()} See `{where} --help`.", WRONG_USE)
    except click.ClickException as wrong:
        status = complain(wrong.format_message(), WRONG_USE)
    except click.Abort:
        status = INTERRUPTED
    sys.exit(status or 0)
