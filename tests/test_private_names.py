"""Private names of other packages that this one touches: all of them, and that each is still there.

A private name may go with any release of its package. `TOUCHED` says where we use each, and which tests fail when it
stays but means something else; the tests here fail when it goes, or when our code touches one that is not in the list.
The newest releases are tried every week (`.github/workflows/newest.yml`).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import pytest

import self1e

ROOT = Path(__file__).parents[1]
PARTS = ("src", "benchmarks", "examples")
DEPENDENCIES = ("torch", "transformers", "peft", "accelerate", "typer", "safetensors", "tokenizers", "huggingface_hub")


class Touched(NamedTuple):
    """A private name.

    Attributes:
        name: Module, then ":", then what is looked up in it.
        used: Our file.
        test: The file of tests, or the test, that holds what it does.
    """

    name: str
    used: str
    test: str


TRAINER = "src/self1e/training/trainer.py"
SIMULATED = ("benchmarks/simulated_gpu.py", "tests/benchmarks/test_simulated_gpu.py")
PRODUCTS = ("benchmarks/matrix_products.py", "tests/benchmarks/test_matrix_products.py")

TOUCHED = (
    Touched("torch:_int_mm", "src/self1e/segment/quantise.py", "tests/segment/test_quantise.py"),
    Touched("torch:Tensor._version", "src/self1e/fast/prepare.py", "tests/fast/test_prepare.py"),
    Touched(
        "torch.multiprocessing.reductions:StorageWeakRef", "src/self1e/fast/prepare.py", "tests/fast/test_prepare.py"
    ),
    Touched(
        "transformers:PreTrainedConfig._attn_implementation",
        "src/self1e/model/network.py",
        "tests/fast/test_attention.py",
    ),
    Touched("transformers:Trainer._get_train_sampler", TRAINER, "tests/training/test_training.py"),
    Touched("transformers:Trainer._get_output_dir", TRAINER, "tests/training/test_training.py"),
    Touched("transformers:Trainer._prepare_input", TRAINER, "tests/training/test_training.py"),
    Touched("transformers:Trainer._prepare_inputs", TRAINER, "tests/training/test_training.py"),
    Touched("transformers:Trainer._get_grad_norm", TRAINER, "tests/training/test_diverged.py"),
    Touched("transformers:Trainer._save", TRAINER, "tests/training/test_adapters.py"),
    Touched("transformers:Trainer._save_checkpoint", TRAINER, "tests/training/test_interrupted.py"),
    Touched("transformers:Trainer._load_from_checkpoint", TRAINER, "tests/training/test_interrupted.py"),
    Touched("transformers:Trainer._save_optimizer_and_scheduler", TRAINER, "tests/training/test_interrupted.py"),
    Touched("transformers:Trainer._load_optimizer_and_scheduler", TRAINER, "tests/training/test_interrupted.py"),
    Touched("torch.utils:_pytree", *SIMULATED),
    Touched("torch.utils.backend_registration:_setup_privateuseone_for_python_backend", *SIMULATED),
    Touched("torch:Tensor._make_wrapper_subclass", *SIMULATED),
    Touched("torch:_C._dispatch_get_all_op_names", *SIMULATED),
    Touched("torch:ops.aten.add.Tensor._schema", *SIMULATED),
    Touched("torch:ops.aten._index_put_impl_", *SIMULATED),
    Touched("torch:ops.aten._local_scalar_dense", *SIMULATED),
    Touched("torch:ops.aten._fused_sdp_choice", *SIMULATED),
    Touched("torch.utils:_python_dispatch.TorchDispatchMode", *PRODUCTS),
    Touched("torch:ops.aten._scaled_dot_product_flash_attention_for_cpu", *PRODUCTS),
    Touched("torch:ops.aten._scaled_dot_product_flash_attention", *PRODUCTS),
    Touched("torch:ops.aten._scaled_dot_product_efficient_attention", *PRODUCTS),
    Touched("torch:ops.aten._scaled_dot_product_cudnn_attention", *PRODUCTS),
    Touched("torch:ops.aten._scaled_dot_product_attention_math_for_mps", *PRODUCTS),
)

GUARDED = {
    "_wandb": "src/self1e/training/trackers.py: looked for with a default; without it, runs have no picture of curves",
    "_forward_hooks": "src/self1e/fast/prepare.py: without it, a segmenter that was used may not pickle; "
    "src/self1e/training/zero3.py: without it, ZeRO-3 fails in tests/training/test_deepspeed.py",
    "_forward_pre_hooks": "src/self1e/training/zero3.py: likewise",
    "_output_capturing_hooks_installed": "src/self1e/fast/prepare.py: without it, there is nothing to take out",
    "_getframe": "benchmarks/simulated_gpu.py: of CPython itself",
}
"""Names that are looked for and may be missing, and what then happens."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def private_parts(touched: Touched) -> set[str]:
    module, _, names = touched.name.partition(":")
    return {part for part in (*module.split("."), *names.split(".")) if is_private(part)}


@pytest.mark.parametrize("touched", TOUCHED, ids=lambda each: each.name)
def test_is_there(touched: Touched) -> None:
    module, _, names = touched.name.partition(":")
    attrgetter(names)(importlib.import_module(module))


@pytest.mark.parametrize("touched", TOUCHED, ids=lambda each: each.name)
def test_is_used_and_tested_where_the_list_says(touched: Touched) -> None:
    text = (ROOT / touched.used).read_text("utf-8")
    assert all(part in text for part in private_parts(touched))
    assert (ROOT / touched.test).is_file()


def test_all_are_listed() -> None:
    nodes = [node for tree in trees() for node in ast.walk(tree)]
    ours = {name for node in nodes for name in defined(node)}
    listed = set().union(*map(private_parts, TOUCHED)) | GUARDED.keys()
    assert set(looked_up(nodes, ours)) | (set(overridden()) & ours) == listed


def trees() -> Iterator[ast.Module]:
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            yield ast.parse(path.read_text("utf-8"))


def looked_up(nodes: list[ast.AST], ours: set[str]) -> Iterator[str]:
    """Private names that no code of ours defines, and those that are looked up in a base class by `super()`."""
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name) if is_private(name):
                yield name
            case ast.Attribute(attr=name) if is_private(name) and name not in ours:
                yield name
            case ast.ImportFrom(module=str(module)) if not module.startswith(("self1e", *PARTS)):
                yield from filter(is_private, (*module.split("."), *(each.name for each in node.names)))
            case ast.Call(func=ast.Name(id="getattr" | "hasattr" | "setattr"), args=[_, ast.Constant(str(name)), *_]):
                if is_private(name) and name not in ours:
                    yield name


def defined(node: ast.AST) -> Iterator[str]:
    """The names that a piece of code gives to something."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
            yield name


def overridden() -> Iterator[str]:
    """Private names of other packages' classes that our classes have, too."""
    for found in pkgutil.walk_packages(self1e.__path__, "self1e."):
        if found.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if error.name != "gradio":  # of the extra `web`, whose tests have an environment of their own
                raise
            continue
        for each in vars(module).values():
            if inspect.isclass(each) and each.__module__ == module.__name__:
                theirs = [base for base in each.__mro__ if base.__module__.split(".")[0] in DEPENDENCIES]
                yield from filter(is_private, set(vars(each)) & {name for base in theirs for name in vars(base)})
