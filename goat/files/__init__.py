"""Every name on disk: models, adapters, rows."""
