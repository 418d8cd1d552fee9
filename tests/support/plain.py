"""What plain transformers and PEFT, with their own attention and one document at a time, say of the documents that our models are trained on in packs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from medfinetune_api.choices import Method
from medfinetune_trainer.data.batch import collate
from medfinetune_trainer.model.architectures import architecture_of
from peft import PeftModel
from support.models import documents
from torch import Tensor, nn
from torch.nn import functional


def plain_base(base: Path, method: Method = Method.LORA) -> Any:
    """The published class in fp32, on NF4 under QLoRA. In training mode: in eval mode bitsandbytes may repack the base and compute in bf16."""
    quantization = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    kind = getattr(transformers, architecture_of(base).class_name)
    return kind.from_pretrained(base, quantization_config=quantization if method is Method.QLORA else None, dtype=torch.float32).train()


def plain_adapter(base: Path, adapter: Path, method: Method) -> PeftModel:
    """The same with an adapter on it that may be trained on."""
    return PeftModel.from_pretrained(plain_base(base, method), adapter, is_trainable=True).train()


def plain_gradients(model: nn.Module) -> tuple[float, dict[str, Tensor]]:
    """Mean loss over the loss tokens of the five rows that `support.models.run_window` takes, and every trained parameter's gradient."""
    logits, targets = [], []
    for document in (document for row in range(5) for document in documents((5, 20, 9), seed=row)):
        packed = collate([document])
        logits.append(model(input_ids=packed.input_ids).logits[0][packed.loss_positions])
        targets.append(packed.targets)
    loss = functional.cross_entropy(torch.cat(logits), torch.cat(targets))
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
    return loss.item(), {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
