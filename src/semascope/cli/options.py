"""Options that several commands have: which model, how it computes, and the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from semascope.config import ModelConfig

Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of the model.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")]
Dtype = Annotated[str, typer.Option(help="Of the model: auto, float32, bfloat16, float16.")]
Precision = Annotated[str, typer.Option(help="Of float32 products on a CPU: auto, full, fast.")]
TrustRemoteCode = Annotated[bool, typer.Option(help="Run code that comes with the model.")]
ContextTokens = Annotated[int, typer.Option(help="Tokens of a window of text.")]
Field = Annotated[str | None, typer.Option(help="Where the text is in JSONL, Parquet or a dataset.")]
L0s = Annotated[
    str | None,
    typer.Option(help="Active features a token; default 32, except for l1. Or several: 16,32.", metavar="N[,N…]"),
]
Coefficient = Annotated[
    float | None, typer.Option(help="λ of the sparsity penalty, instead of an L0 (l1: default 5; jumprelu, gated).")
]
VariantOptions = Annotated[
    list[str] | None, typer.Option(help="Another setting of the variant, NAME=VALUE; may be repeated.")
]
AcceptLicense = Annotated[
    str | None,
    typer.Option(help="A licence that the texts of a suite have, such as AGPL-3.0-or-later.", metavar="LICENSE"),
]


def chosen_model(
    name: str, *, revision: str | None, device: str, dtype: str, precision: str, trust_remote_code: bool
) -> ModelConfig:
    """What the options say of the model. Raises ValidationError for a device or type that there is none of."""
    from semascope.config import ModelConfig

    return ModelConfig.model_validate(
        {"name": name, "revision": revision, "device": device, "dtype": dtype, "precision": precision,
         "trust_remote_code": trust_remote_code}
    )  # fmt: skip
