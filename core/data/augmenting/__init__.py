"""Changed copies of training texts: for small tables, and for classes that are smaller than others."""

from core.data.augmenting.copies import Augmented, augment, planned, preview

__all__ = ["Augmented", "augment", "planned", "preview"]
