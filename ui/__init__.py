"""The page. Never imports torch, transformers, peft or datasets."""

from ui import stubs

stubs.leave_out()
