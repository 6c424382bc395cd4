"""`self1e chat`: a conversation about a picture, in words and masks."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from self1e.cli.inputs import LONGEST_STEM, shortened
from self1e.cli.options import DEFAULT_MODEL, Model, load_segmenter, with_load_options
from self1e.cli.output import make_folder
from self1e.cli.terminal import CliError, complain, show
from self1e.files import expand_user, write_atomically, write_json
from self1e.segment.options import LoadOptions

if TYPE_CHECKING:
    from self1e.segment.chat import Chat
    from self1e.segment.results import Segmentation
    from self1e.segment.segmenter import Segmenter

NAME = "chat"
EXAMPLES = """[dim]Examples:[/]

  self1e chat kitchen.jpg

  echo 'What could be used to cut bread? Explain.' | self1e chat kitchen.jpg --out answers"""

HELP = """/image PATH   talk about another picture, from the start
/reset        forget what was said
/save [FILE]  write the conversation with its masks as JSON
/quit         leave (so do Ctrl-D and Ctrl-C)
Anything else is a question. Ask "Where is ...?" or "Show me ..." for a mask."""


@with_load_options
def command(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", show_default=False, help="The picture to talk about.")],
    model: Model = DEFAULT_MODEL,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for overlays.")] = Path("segmented"),
    *,
    loading: LoadOptions,
) -> int:
    """Talk about a picture, in words and masks.

    Whenever the model points at something, an overlay is written. Questions come from the terminal, or
    one a line from standard input.
    """
    from self1e.processing.images import load_image

    load_image(image)  # a wrong path is noticed before the model has loaded
    segmenter = load_segmenter(model, loading)
    if not segmenter.writes_answers:
        raise CliError(
            f"{model} is an exported model, which gives masks and writes no answers: chat with the model that it was "
            "made of, or use self1e segment"
        )
    session = Session(segmenter, image, out)
    if not sys.stdin.isatty():
        return session.read_lines()
    show(Text(f"{segmenter.model_name} on {image}. /help lists commands.", "dim"))
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        session.read_terminal()
        return 0
    print()  # the shell's prompt belongs on a line of its own
    return 0


class Session:
    """A conversation and the files it leaves.

    Args:
        segmenter: The model.
        image: The first picture.
        out: Folder for overlays and saved conversations; made when it is needed.
    """

    def __init__(self, segmenter: Segmenter, image: Path, out: Path) -> None:
        self.segmenter = segmenter
        self.out = out
        self.replies: list[Segmentation] = []
        self.chat: Chat
        self.image: Path
        self.open(image)

    def open(self, image: Path) -> None:
        """Starts over with a picture.

        Raises:
            ImageError: When it cannot be read.
        """
        self.chat = self.segmenter.start_chat(image)
        self.image = image
        self.replies = []

    def read_terminal(self) -> None:
        """Asks for questions until the user leaves."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() its history and line editing
        while True:
            line = input("> ").strip()
            if line in ("/quit", "/exit"):
                return
            self.handle(line)

    def read_lines(self) -> int:
        """Answers each line of standard input; the exit code is 2 if one could not be."""
        fine = True
        try:
            for line in map(str.strip, sys.stdin):
                if line in ("/quit", "/exit"):
                    break
                if line:
                    show(Text(f"> {line}", "dim"))
                    fine = self.handle(line) and fine
        except UnicodeDecodeError as error:
            raise CliError(
                f"the questions are no text in {error.encoding}: if they are UTF-8, set PYTHONIOENCODING=utf-8"
            ) from None
        return 0 if fine else 2

    def handle(self, line: str) -> bool:
        """Does what a line says. Errors are printed, and the conversation goes on; False says that there was one."""
        name, _, argument = line.partition(" ")
        argument = argument.strip()
        try:
            if name == "/help":
                show(HELP)
            elif name == "/image":
                if not argument:
                    raise CliError("/image needs a path: /image street.jpg")
                self.open(expand_user(argument))
                show(Text(f"now about {self.image}", "dim"))
            elif name == "/reset":
                self.chat.turns.clear()
                self.replies = []
                show(Text("forgotten", "dim"))
            elif name == "/save":
                show(f"conversation: {self.save(argument)}")
            elif line.startswith("/") and "/" not in line[1:]:
                raise CliError(f"unknown command {name}: /help lists all")
            elif line:
                self.ask(line)
        except (CliError, ValueError, OSError) as error:
            complain(str(error))
            return False
        return True

    def ask(self, question: str) -> None:
        """Puts a question to the model and shows the answer."""
        reply = self.chat.ask(question)
        self.replies.append(reply)
        show(reply.text.strip() or "(no answer)")
        if not len(reply):
            return
        if not reply.found:
            show(Text(f"  points at nothing, score {reply.score:.2f}", "dim"))
            return
        path = self.free_path(".overlay.png")
        with write_atomically(path) as file:
            reply.overlay().save(file, "PNG")
        share = 100 * reply.area / (reply.size[0] * reply.size[1])
        show(Text(f"  {share:.1f} % of the picture, score {reply.score:.2f}: {path}", "cyan"))

    def save(self, name: str) -> Path:
        """Writes picture, model, questions, answers and masks as JSON.

        Raises:
            CliError: When nothing was said yet.
            OSError: When it cannot be written there.
        """
        if not self.replies:
            raise CliError("nothing was said yet")
        path = expand_user(name) if name else self.free_path(".json")
        turns = [{"question": reply.prompt, **reply.to_dict()} for reply in self.replies]
        tree = {"image": str(self.image), "model": self.segmenter.model_name, "turns": turns}
        if path.exists():
            raise CliError(f"{path} exists already: give another name")
        write_json(path, tree)
        return path

    def free_path(self, suffix: str) -> Path:
        """The first name for a file about this picture that is not taken, `<stem>.chat-<number><suffix>`."""
        make_folder(self.out)
        stem, number = shortened(self.image.stem, LONGEST_STEM), 1
        while (path := self.out / f"{stem}.chat-{number}{suffix}").exists():
            number += 1
        return path
