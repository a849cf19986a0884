"""The command group, and the one place where errors become messages and exit codes.

Exit codes: 0 all done; 1 failed; 2 wrong usage; 3 done, but some inputs failed; 130 interrupted.
"""

from __future__ import annotations

import copy
import errno
import sys
from typing import Any

import click

from facealign_cli.cli import console, graphs, train_data, train_export
from facealign_cli.cli.batch import batch
from facealign_cli.cli.convert import convert
from facealign_cli.cli.detect import detect
from facealign_cli.cli.doctor import doctor
from facealign_cli.cli.evaluate import evaluate
from facealign_cli.cli.help import Group
from facealign_cli.cli.measure import measure
from facealign_cli.cli.model import model
from facealign_cli.cli.plot import plot
from facealign_cli.cli.process import ended_by_signals, interrupted_imports, standard_streams
from facealign_cli.cli.review import review
from facealign_cli.cli.train import train
from facealign_cli.cli.video import video
from facealign_cli.cli.video_crop import crop
from facealign_cli.errors import FacealignError, OutputError
from facealign_cli.version import __version__

_NO_THREAD = "can't start new thread"
"""What Python says, without an error of its own kind, where the system refuses another thread."""


class FacealignGroup(Group):
    """A group whose commands may raise FacealignError: it ends as one line on stderr and exit code 1."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run a command line with standard streams that can be used, ended by SIGTERM as by Ctrl-C."""
        with ended_by_signals(), standard_streams():
            try:
                try:
                    return super().main(*args, **settings)
                finally:
                    sys.stdout.flush()
            except OutputError as error:  # --help, or the last of the results, did not fit
                console.message(f"Error: {error}")
                sys.exit(1)
            except BrokenPipeError:
                sys.exit(1)
            except KeyboardInterrupt:  # while the command was about to end
                sys.exit(console.INTERRUPTED)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the arguments before the command's name."""
        with console.plain_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, errors told."""
        with console.plain_errors():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            with interrupted_imports(), console.bars_taken_away():
                return super().invoke(ctx)
        except FacealignError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            console.message("Interrupted.")
            ctx.exit(console.INTERRUPTED)
        except BrokenPipeError:  # whoever read our output has gone: say nothing
            ctx.exit(1)
        except OSError as error:  # the working directory has gone, a disk fails: not foreseen where it happened
            where = f"{error.filename}: " if error.filename is not None else ""
            what_to_do = "; raise the limit (ulimit -n)" if error.errno == errno.EMFILE else ""
            raise click.ClickException(f"{where}{error.strerror or error}{what_to_do}") from error
        except MemoryError as error:
            raise click.ClickException("out of memory") from error
        except RuntimeError as error:
            if str(error) != _NO_THREAD:
                raise
            why = "memory (ulimit -v) or the number of processes (ulimit -u) is limited"
            raise click.ClickException(f"no thread can be started: {why}; raise the limit") from error


@click.group(
    cls=FacealignGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    takes={
        "picture": "facealign detect image {}",
        "clip": "facealign video track {}",
        "folder": "facealign batch folder {} -o rows",
    },
    examples="""
    facealign detect image photo.jpg --overlay drawn.png
    facealign video track clip.mp4 -o rows.csv
    facealign batch folder photos -o rows
    facealign doctor
    """,
)
@click.version_option(__version__, prog_name="facealign")
def main() -> None:
    """Find faces and place the 68 ibug landmarks on them, with a Deep Alignment Network.

    Each command explains itself: facealign detect image --help. Results go to standard output or to the file of -o,
    messages go to standard error. Exit codes: 0: done, 1: failed, 2: wrong usage, 3: done, but some inputs failed.
    """


video.add_command(plot)
video.add_command(crop)
for command in (train_data.pack, train_data.relabel, train_data.label, train_data.turn, train_export.export):
    train.add_command(command)
for command in (graphs.quantize, graphs.convert):
    model.add_command(command)
also_export = copy.copy(train.commands["export"])  # the same command, listed once: some look for it here
also_export.hidden = True
model.add_command(also_export)
for command in (detect, batch, convert, measure, evaluate, model, review, train, video, doctor):
    main.add_command(command)
