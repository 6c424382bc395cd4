"""Pictures and words in, masks at the picture's own size out: what a practitioner uses.

    segmenter = Segmenter.from_pretrained()
    segmenter.segment("street.png", "the red car")                          -> Segmentation
    segmenter.segment("street.png", ["the red car", "the tallest tree"])    -> list of them
    segmenter.chat("street.png", "Which car could carry a piano?")          -> Segmentation; its text is the answer

`segment` gives the model its answer ("[SEG].") and reads the masks in one forward pass; no text is generated. `chat`
generates the answer first, causally, then reads a mask for every `[SEG]` in it from one forward pass over the finished
conversation, because the picture looks at the `[SEG]` that follow it. Either way a picture goes through the vision
tower once, however much is asked about it.

What computes is a `Runner`: torch, or an engine that runs what `self1e export` wrote, without torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast, overload

import numpy as np

from self1e.engines.artefact import Artefact, is_artefact
from self1e.processing.images import ImageSource, load_image
from self1e.processing.prompts import EVAL_ANSWER, Template, reads_as_sentence
from self1e.processing.refine import enlarger
from self1e.processing.refinement import Refinement
from self1e.processing.tokens import EncodedConversation
from self1e.segment.calibration import Calibration
from self1e.segment.chat import Chat, History, turns_of
from self1e.segment.files import THREADS, Asked, Done, Finish, segment_files
from self1e.segment.nouns import Doubt, TaughtNouns
from self1e.segment.opened import check_torch
from self1e.segment.options import LoadOptions
from self1e.segment.requests import (
    Job,
    Picture,
    Prompts,
    Request,
    checked_size,
    passes,
    question_of,
    requests_of,
    rows_of,
)
from self1e.segment.results import Segmentation
from self1e.segment.runner import EncodedPicture, OnText, Runner, TiledPicture
from self1e.segment.votes import View, check_votes, votes_about
from self1e.segment.words import check_tiles, given_answer

if TYPE_CHECKING:
    import torch

    from self1e.checkpoints.hub import Checkpoint
    from self1e.fast import FastModel
    from self1e.model.network import SELF1EForSegmentation
    from self1e.processing.processor import SELF1EProcessor
    from self1e.segment.explain import Explanation
    from self1e.segment.on_torch import TorchRunner
    from self1e.segment.quantise import CheckPictures, Quantization

PUBLISHED = "UltraDoughnut/SELF1E"
"""Hub id of the official weights."""


class SegmentOptions(TypedDict, total=False):
    """The options of `Segmenter.segment`, which explains them."""

    template: Template
    logits: bool
    batch_size: int | None
    refine: Refinement | None
    votes: int


class Segmenter:
    """Segments pictures by text.

    Results are deterministic. Several threads may call one segmenter at a time if each call names its picture: nothing
    is kept between calls but what `set_image` sets, and what makes later calls faster (`self1e.fast`). A `Chat` belongs
    to one thread. A segmenter can be pickled, and so given to another process that is started by "spawn"; one that is
    forked is refused, as it would hang, unless torch uses one thread.

    Args:
        model: Is put into eval mode and made ready for inference; see `self1e.fast.prepare`. Or a `Runner`, which has a
            model and its processor.
        processor: The model's.
        compile: Have torch compile the text model. The first masks take longer.
        calibration: Turns raw scores into the IoU to expect. None: scores stay raw.
        model_name: For the results.
        nouns: What a small model was taught: it warns, once for each kind of doubt, when a phrase names something else.
        quantization: How the model was quantised; None: it was not.

    Attributes:
        runner: What computes.
    """

    def __init__(
        self,
        model: SELF1EForSegmentation | Runner,
        processor: SELF1EProcessor | None = None,
        *,
        compile: bool = False,
        calibration: Calibration | None = None,
        model_name: str = "",
        nouns: TaughtNouns | None = None,
        quantization: Quantization | None = None,
    ) -> None:
        if processor is None:
            if not hasattr(model, "mask_logits"):
                raise TypeError("a network needs its processor: Segmenter(model, processor)")
            self.runner = cast(Runner, model)
        else:
            from self1e.segment.on_torch import TorchRunner

            self.runner = TorchRunner(cast("SELF1EForSegmentation", model), processor, compile=compile)
        self.calibration = calibration
        self.model_name = model_name
        self.nouns = nouns
        self.quantization = quantization
        self._warned: set[str] = set()
        self._picture: EncodedPicture | None = None

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "mini",
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        revision: str | None = None,
        subfolder: str | None = None,
        max_tiles: int | None = None,
        quantize: str | None = None,
        quantize_check: CheckPictures | None = None,
        compile: bool = False,
        engine: str | None = None,
    ) -> Segmenter:
        """Loads a model.

        Args:
            name: "mini" (photographs) or "nano" (drawn scenes), which come with this package; a folder, of a model or
                of what `self1e export` made of one; or a model on the Hugging Face Hub ("owner/name").
            device: This and all others: see `LoadOptions`.
            dtype: Of weights and activations.
            revision: Of the model on the Hub.
            subfolder: Of `name`.
            max_tiles: Most tiles to cut a picture into; None: as it was trained.
            quantize: Weights in fewer bits.
            quantize_check: What to check quantisation on.
            compile: Have torch compile the text model.
            engine: What runs an exported model.

        Raises:
            ModelError: If there is no such model, or it is incomplete, damaged or not one that can segment.
            QuantizationError: If quantisation changes its masks.
            ValueError: If device, type, quantisation, `max_tiles` or compiling are not possible.
        """
        options = LoadOptions(
            device=device,
            dtype=dtype,
            revision=revision,
            subfolder=subfolder,
            max_tiles=max_tiles,
            quantize=quantize,
            quantize_check=quantize_check,
            compile=compile,
            engine=engine,
        )
        return cls.load(name, options)

    @classmethod
    def load(cls, name: str | Path | Checkpoint | Artefact, options: LoadOptions | None = None) -> Segmenter:
        """`from_pretrained` with its options in one object; see `load_model`, and `load_exported`."""
        options = options or LoadOptions()
        if isinstance(name, Artefact) or (isinstance(name, str | Path) and is_artefact(name, options.subfolder)):
            from self1e.segment.on_engine import calibration_of, load_exported, nouns_of

            runner = load_exported(name, options)
            return cls(
                runner,
                calibration=calibration_of(runner.artefact),
                model_name=runner.artefact.name,
                nouns=nouns_of(runner.artefact),
            )
        check_torch(name, options)
        from self1e.segment.load import load_model

        loaded = load_model(name, options)
        return cls(
            loaded.model,
            loaded.processor,
            compile=options.compile,
            calibration=loaded.calibration,
            model_name=loaded.name,
            nouns=loaded.nouns,
            quantization=loaded.quantization,
        )

    def __repr__(self) -> str:
        scheme = f", quantize={self.quantization.scheme!r}" if self.quantization else ""
        return f"Segmenter({self.model_name!r}, device={self.runner.device!r}, dtype={self.runner.dtype!r}{scheme})"

    @property
    def model(self) -> SELF1EForSegmentation:
        """The network. An exported model has none."""
        return self._on_torch("model").model

    @property
    def fast(self) -> FastModel:
        """The network as it is run. An exported model has none."""
        return self._on_torch("fast").fast

    @property
    def processor(self) -> SELF1EProcessor:
        """The model's processor; of an exported model, one without what makes batches for torch."""
        return cast("SELF1EProcessor", self.runner.processor)

    @property
    def writes_answers(self) -> bool:
        """Whether `chat` is possible: an exported model gives masks alone."""
        return self.runner.writes_answers

    def _on_torch(self, wanted: str) -> TorchRunner:
        if not hasattr(self.runner, wanted):
            raise AttributeError(
                f"{self.model_name} is an exported model, which has no `{wanted}`: load the model that it was made of"
            )
        return cast("TorchRunner", self.runner)

    # ---------------------------------------------------------------------------------------------------- pictures

    def read(self, image: ImageSource) -> TiledPicture:
        """Does what comes before the model: reads a picture and cuts it into tiles. Safe in any thread.

        Args:
            image: A path, the bytes of a file, an open binary file, a PIL picture, or an array; see `load_image`.

        Returns:
            The picture with its tiles, which stands for the image in all other methods.

        Raises:
            ImageError: If it cannot be read, or has more tiles than the model can read.
        """
        picture = self.runner.tiled(load_image(image))
        check_tiles(self.runner, picture.grid, image)
        return picture

    def encode(self, image: ImageSource | TiledPicture) -> EncodedPicture:
        """Does once what depends on the picture alone. The result stands for the image in all other methods.

        Args:
            image: A picture, read or not (see `read`).

        Raises:
            ImageError: As `read`.
        """
        return self.runner.encode(image if isinstance(image, TiledPicture) else self.read(image))

    def set_image(self, image: Picture) -> EncodedPicture:
        """Encodes a picture and keeps it for calls that name none: `segment(prompt=...)`, `chat(question=...)`."""
        self._picture = self._encoded(image)
        return self._picture

    def _encoded(self, image: Picture | None) -> EncodedPicture:
        """The picture of a call, encoded; that of `set_image` for None."""
        self.runner.check_process()
        if image is None:
            if self._picture is None:
                raise ValueError("there is no picture: give one, or call set_image(picture) first")
            image = self._picture
        if not isinstance(image, EncodedPicture):
            return self.encode(image)
        self.runner.check_encoded(image)
        return image

    # ----------------------------------------------------------------------------------------------------- segment

    @overload
    def segment(
        self, image: Picture | None = None, *, prompt: str, **options: Unpack[SegmentOptions]
    ) -> Segmentation: ...
    @overload
    def segment(
        self, image: Picture | None = None, *, prompt: Prompts, **options: Unpack[SegmentOptions]
    ) -> list[Segmentation]: ...
    @overload
    def segment(self, image: Picture | None, prompt: str, **options: Unpack[SegmentOptions]) -> Segmentation: ...
    @overload
    def segment(
        self, image: Picture | None, prompt: Prompts, **options: Unpack[SegmentOptions]
    ) -> list[Segmentation]: ...
    @overload
    def segment(
        self, image: Sequence[tuple[Picture, str]], **options: Unpack[SegmentOptions]
    ) -> list[Segmentation]: ...
    @overload
    def segment(
        self, image: Sequence[tuple[Picture, Prompts]], **options: Unpack[SegmentOptions]
    ) -> list[list[Segmentation]]: ...

    def segment(
        self,
        image: Picture | Sequence[tuple[Picture, str | Prompts]] | None = None,
        prompt: str | Prompts | None = None,
        *,
        template: Template = "auto",
        logits: bool = False,
        batch_size: int | None = None,
        refine: Refinement | None = None,
        votes: int = 1,
    ) -> Any:
        """Segments what prompts name, each with one mask: where its logits are above 0, unless it is withheld.

        Args:
            image: A picture, encoded or not (see `encode`); None for the one of `set_image`. Or a list of pairs
                (picture, prompt or list of prompts), which share forward passes; files are read as their turn comes.
            prompt: A noun phrase ("the red car") or a sentence ("What could cut bread?"), or a list of such. None with
                a list of pairs.
            template: How to ask: "phrase", "sentence", "none" (the prompt as it stands), or "auto" to tell by looking.
            logits: Keep the mask logits, float32 at the picture's size, in the results.
            batch_size: Most prompts of one forward pass; bounds the memory. None: 8, or 32 with a model that reads the
                prompts of a picture in one row. Long prompts and many tiles make for smaller batches by themselves.
            refine: How masks get to the picture's size: "none" resizes bilinearly, as the published figures are
                measured; "guided" follows the picture's own edges, see `self1e.processing.refine`. None: as the model's
                processor says, which of `mini` is "guided".
            votes: How many views of each picture are looked at, 1 to 4: as it is, mirrored, moved, and both. The mean
                of their logits counts, and each costs as much as the first; see `self1e.segment.votes`.

        Returns:
            A `Segmentation` for one prompt, a list for a list of prompts, and for a list of pairs a list with one or
            the other for each of them.

        Raises:
            ImageError: If a picture cannot be read.
            PromptError: If a prompt is empty or longer than the model can read.
            ValueError: If an argument does not fit.
        """
        requests = self._requests(image, prompt, template)  # all prompts are looked at before any work is done
        check_votes(votes)
        answers = self._answers(requests, template, votes, logits, batch_size, refine)
        results = [of if request.as_list else of[0] for request, of in zip(requests, answers, strict=True)]
        return results if isinstance(image, list | tuple) else results[0]

    def _requests(
        self,
        image: Picture | Sequence[tuple[Picture, str | Prompts]] | None,
        prompt: str | Prompts | None,
        template: Template,
    ) -> list[Request]:
        """What the arguments of `segment` ask for."""
        if image is None and prompt is not None:
            image = self._encoded(None)
        requests = requests_of(image, prompt, template)
        self._warn_of_unknown([prompt for request in requests for prompt, _ in request.prompts], template)
        return requests

    def remark(self, prompt: str, template: Template = "auto") -> str | None:
        """What to say of a prompt that names what a small model does not know, or not well; None where it does."""
        doubt = self._doubt(prompt, template)
        return None if doubt is None else self._remark(prompt, doubt)

    def _doubt(self, prompt: str, template: Template) -> Doubt | None:
        is_phrase = template == "phrase" or (template == "auto" and not reads_as_sentence(prompt))
        return self.nouns.doubt(prompt) if self.nouns is not None and is_phrase else None

    def _remark(self, prompt: str, doubt: Doubt) -> str:
        """The doubt in its first sentence, what can be done about it in the second."""
        return (
            f"{self.model_name} {doubt.verb} {prompt!r}: {doubt.reason}. `self1e info {self.model_name}` lists the "
            f"{len(self.nouns or ())} nouns that it knows; for others there is the large model: "
            f'`self1e segment PICTURE -p "..." --model {PUBLISHED}`'
        )

    def _warn_of_unknown(self, prompts: Sequence[str], template: Template) -> None:
        """Says so, once for each kind of doubt."""
        for prompt in prompts:
            doubt = self._doubt(prompt, template)
            if doubt is not None and doubt.kind not in self._warned:
                self._warned.add(doubt.kind)
                warnings.warn(self._remark(prompt, doubt), stacklevel=4)

    def _answers(
        self,
        requests: Sequence[Request],
        template: Template,
        votes: int,
        logits: bool,
        batch_size: int | None,
        refine: Refinement | None,
    ) -> list[list[Segmentation]]:
        """The results for each request, in the order of its prompts."""
        size = checked_size(batch_size, self.runner.packed)
        answers: list[list[Segmentation]] = [[] for _ in requests]
        found: list[tuple[Job, np.ndarray]] = []
        for job, of_view in self._maps(self._jobs(requests, template, votes, size), size):
            found.append((job, of_view))
            if job.ends_block:
                for first, mask in self._means(found, refine):
                    result = self._result(mask, first.picture, first.vote.prompt, EVAL_ANSWER, logits)
                    answers[first.request].append(result)
                found = []
        return answers

    def _jobs(self, requests: Sequence[Request], template: Template, votes: int, block: int) -> Iterator[Job]:
        """All that is to be asked, in order. A picture is read when its turn comes, and each view is encoded once."""
        for number, request in enumerate(requests):
            if not request.prompts:
                continue
            picture = self._encoded(request.picture)
            seen: dict[View, tuple[EncodedPicture, EncodedConversation]] = {}
            for together in votes_about(request.prompts, template, votes, block):
                for vote in together:
                    if vote.view not in seen:
                        view = self._encoded(vote.view.of(picture))
                        seen[vote.view] = view, self.runner.processor.prefix(view.grid)
                    view, prefix = seen[vote.view]
                    words = given_answer(self.runner, prefix, vote.question)
                    yield Job(number, vote, view, prefix, words, ends_block=vote is together[-1])

    def _maps(self, jobs: Iterable[Job], batch_size: int) -> Iterator[tuple[Job, np.ndarray]]:
        """All jobs in order, each with its map of mask logits, float32[1, h, w]."""
        packed = self.runner.packed  # else the picture is read anew for each prompt
        for of_pass in passes(jobs, batch_size, packed):
            groups = [list(group) for _, group in groupby(of_pass, key=lambda job: job.about)]
            pictures = [group[0].picture for group in groups]
            rows = [row for index, group in enumerate(groups) for row in rows_of(group, index, packed)]
            masks = [mask[None] for row in self.runner.mask_logits(pictures, rows) for mask in row]
            yield from zip(of_pass, masks, strict=True)

    def _means(
        self, found: Sequence[tuple[Job, np.ndarray]], refine: Refinement | None
    ) -> Iterator[tuple[Job, np.ndarray]]:
        """The first vote of each prompt, and the mean of all at the picture's size, float32[1, H, W].

        One prompt after the other: logits of the picture's size take many times the memory of their maps.

        Args:
            found: All votes of a block of prompts, with their maps.
            refine: See `segment`.
        """
        enlargers: dict[View, Callable[[np.ndarray], np.ndarray]] = {}

        def enlarged(job: Job, of_view: np.ndarray) -> np.ndarray:
            if job.vote.view not in enlargers:
                enlargers[job.vote.view] = self._enlarger(job.picture, refine)
            return enlargers[job.vote.view](of_view)

        votes: dict[int, list[tuple[Job, np.ndarray]]] = {}
        for job, of_view in found:
            votes.setdefault(job.vote.place, []).append((job, of_view))
        for (first, as_it_is), *others in votes.values():
            total = enlarged(first, as_it_is)
            for job, of_view in others:
                total += job.vote.view.back(enlarged(job, of_view), first.picture)
            total /= 1 + len(others)
            yield first, total

    def _enlarger(self, picture: EncodedPicture, refine: Refinement | None) -> Callable[[np.ndarray], np.ndarray]:
        """What brings maps of a picture, float32[K, h, w], to its size."""
        columns, rows = picture.grid
        size = rows * self.runner.map_side, columns * self.runner.map_side
        return enlarger(picture.image, size, self.runner.processor.refine if refine is None else refine)

    def _result(self, masks: np.ndarray, picture: EncodedPicture, prompt: str, text: str, logits: bool) -> Segmentation:
        """float[K, H, W] mask logits at the picture's size -> the result."""
        return Segmentation.from_logits(
            masks,
            prompt=prompt,
            text=text,
            image=picture.image,
            model=self.model_name,
            calibration=self.calibration,
            keep_logits=logits,
        )

    def explain(self, image: Picture | None, prompt: str, *, template: Template = "auto") -> Explanation:
        """The steps from a prompt to its mask, as maps to look at; see `Explanation`.

        Takes longer than `segment`: the picture is encoded anew, and nothing is folded or cached.

        Args:
            image: A picture, encoded or not (see `encode`); None for the one of `set_image`.
            prompt: As in `segment`, as `template` is.

        Raises:
            ImageError: If the picture cannot be read.
            PromptError: If the prompt is empty or longer than the model can read.
            ValueError: If an argument does not fit.
            AttributeError: If this is an exported model, whose steps cannot be seen any more.
        """
        runner = self._on_torch("model")
        from self1e.segment.explain import explain

        runner.check_process()
        question = question_of(prompt, template)
        if image is None:
            image = self._encoded(None)
        if not isinstance(image, TiledPicture):
            image = self.read(image.image if isinstance(image, EncodedPicture) else image)
        return explain(runner, image, prompt, question)

    def segment_files(
        self,
        sources: Iterable[Asked],
        prompts: str | list[str] | None,
        *,
        finish: Finish[Any] | None = None,
        batch: int = 1,
        threads: int = THREADS,
        **options: Unpack[SegmentOptions],
    ) -> Generator[Done[Any], None, None]:
        """Segments any number of pictures, with reading ahead and finishing behind the model in threads.

        A handful of pictures are in memory at a time. Stopping early, by `close()` or an error, lets what is being
        finished come to its end and drops the rest. For several processes see
        `self1e.segment.files.segment_in_processes`.

        Args:
            sources: Paths, or anything else that `load_image` reads.
            prompts: See `segment`; the same for all pictures. None: each source is a pair (picture, prompts), or has a
                third part, which `finish` is told in place of the picture's index.
            finish: Is called in a thread with the index of a picture and its results, to draw and write files, say.
                What it returns takes their place.
            batch: Pictures that share forward passes. More use a GPU better and take more memory; on a CPU, 1 does.
            threads: How many read and finish.
            options: See `segment`.

        Yields:
            A `Done` for each source, in their order. A picture that cannot be read, or whose prompts cannot be, has its
            error there.

        Raises:
            ValueError: If a number is less than 1, or as in `segment`.
        """
        return segment_files(self, sources, prompts, finish=finish, batch=batch, threads=threads, **options)

    # -------------------------------------------------------------------------------------------------------- chat

    def chat(
        self,
        image: Picture | None = None,
        question: str | None = None,
        history: History = (),
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        logits: bool = False,
        on_text: OnText | None = None,
        refine: Refinement | None = None,
    ) -> Segmentation:
        """Answers a question about a picture in words, and with a mask for every `[SEG]` among them.

        Args:
            image: A picture, encoded or not (see `encode`); None for the one of `set_image`.
            question: Anything, asked as it stands.
            history: What was said before: `Turn`s or (question, answer) pairs. Its masks are not made again.
            max_new_tokens: Longer answers are cut off.
            temperature: 0 takes the likeliest token every time. Above, tokens are drawn: the higher, the more freely;
                `torch.manual_seed` makes that repeatable.
            logits: Keep the mask logits, float32 at the picture's size, in the result.
            on_text: Is given the answer piece by piece, as it is written. What it raises ends the answer.
            refine: See `segment`.

        Returns:
            `text` is the answer; `masks` are as many as it has `[SEG]`, none when it is in words only.

        Raises:
            ImageError: If the picture cannot be read.
            PromptError: If the question is empty, or the conversation is longer than the model can read.
            ValueError: If an argument does not fit.
        """
        if question is None:
            raise ValueError("there is no question: chat(picture, question), or chat(question=...) after set_image")
        if not (max_new_tokens >= 1 and temperature >= 0):  # nor NaN
            raise ValueError(f"must be at least 1 and 0: {max_new_tokens=}, {temperature=}")
        question = question_of(question, "none")
        turns = turns_of(history)
        picture = self._encoded(image)
        text, masks = self.runner.answer(
            picture, turns, question, max_new_tokens=max_new_tokens, temperature=temperature, on_text=on_text
        )
        enlarge = self._enlarger(picture, refine if len(masks) else "none")  # words alone need no look at the picture
        return self._result(enlarge(masks), picture, question, text, logits)

    def start_chat(self, image: Picture | None = None, history: History = ()) -> Chat:
        """A conversation about one picture, which is encoded once; see `Chat`."""
        return Chat(self, self._encoded(image), history)
