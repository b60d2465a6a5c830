"""The web site export: an archive as pages that need no server. ``site_builder`` says which files it has."""
