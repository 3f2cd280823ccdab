"""An offline partition on its way to the online stores, and back."""
