"""Web pages of the archive's contents, for ``export site`` and ``serve``: templates, styles, the viewer."""
