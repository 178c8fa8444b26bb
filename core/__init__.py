"""Fine-tune, judge, predict and publish language models. Never imports gradio and never speaks prose."""

__version__ = "0.1.0"
