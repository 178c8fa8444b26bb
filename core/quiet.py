"""Progress bars and loading reports are for people at a terminal; here events and sentences say it better."""


def quiet_libraries() -> None:
    """Silence transformers and datasets in this process, and keep datasets from filling a cache folder."""
    import datasets
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    datasets.disable_caching()
